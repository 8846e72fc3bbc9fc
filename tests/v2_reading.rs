//! What `encode` reads of a pair, and what becomes of one that changes meanwhile.
#![cfg(not(target_arch = "wasm32"))]

mod common;

use common::pairs::{
    decode, decode_chain, encode_after, encode_with, one, pt_safetensors, variety, with_deltas, Files,
};
use common::random::normal;
use common::{bf16s, read_safetensors, Memory};
use serde_json::Value;
use std::ops::Range;
use wdelta::error::{Code, Error};
use wdelta::job::machine::Role;

/// Encodes while file `source` changes at `byte`, once it was read `after` times from somewhere in `reads` on.
fn encode_changing(
    base: &Files,
    fine: &Files,
    (source, byte): (usize, usize),
    reads: Range<u64>,
    after: u32,
) -> (Result<Value, Error>, Memory) {
    let mut host = Memory::new().model(Role::Base, base).model(Role::Finetuned, fine);
    let mut seen = 0;
    host.meddle = Some(Box::new(move |of, offset, files: &mut Vec<Vec<u8>>| {
        if of as usize == source && reads.contains(&offset) {
            seen += 1;
            if seen == after + 1 {
                files[source][byte] ^= 1;
            }
        }
    }));
    (host.run("encode", "{}"), host)
}

#[test]
fn of_a_source_that_changes_while_it_is_read_the_last_reading_counts() {
    let (base, fine) = variety();
    for (source, file) in [&base, &fine].into_iter().enumerate() {
        let size = file[0].1.len();
        // The last tensor of the base is `grown`, of the fine-tune `retyped`: read to be fitted, then to be encoded.
        let tail = size as u64 - 7000..size as u64;
        let (report, host) = encode_changing(&base, &fine, (source, size - 1), tail, 1);
        report.unwrap();
        let now = |i: usize| one(host.files[i].clone());
        assert_ne!(*file, now(source));
        let decoded = decode(&now(0), &host.outputs[0].1, "{}", false).unwrap();
        assert_eq!(decoded, now(1), "source {source}");
    }
}

#[test]
fn weights_that_are_tied_no_more_are_noticed() {
    let [values, other] = [3, 4].map(|seed| bf16s(&normal(12_000, 0.1, seed)));
    let model = |values: &[u8]| {
        let shape: &[u64] = &[40, 300];
        one(pt_safetensors(&[
            ("head", "BF16", shape, values),
            ("embed", "BF16", shape, values),
        ]))
    };
    let (base, fine) = (model(&other), model(&values));
    let start = fine[0].1.len() as u64 - 48_000;
    // Read for what tells it from others, to be fitted, as a whole, and to be encoded.
    let change = |after| {
        let reads = start..start + 24_000;
        encode_changing(&base, &fine, (1, 10_000), reads, after)
    };
    let (report, host) = change(4);
    assert_eq!(report.unwrap()["tensors"][1]["strategy"], "tied");
    assert_eq!(host.files[1], fine[0].1);
    let e = change(3).0.unwrap_err();
    assert_eq!(e.code, Code::SourceChanged, "{e}");
    assert!(e.message.contains("fine-tune"), "{e}");
}

#[test]
fn a_change_between_the_rows_that_are_looked_at_is_found() {
    const ROWS: usize = 3500;
    const COLUMNS: usize = 1024;
    let values = bf16s(&normal(ROWS * COLUMNS, 0.1, 5));
    let base = one(pt_safetensors(&[(
        "large",
        "BF16",
        &[ROWS as u64, COLUMNS as u64],
        &values,
    )]));
    let strategy = |report: &Value| report["tensors"][0]["strategy"].clone();
    for options in [r#"{"lowRank":"off"}"#, "{}", r#"{"effort":0}"#] {
        let (delta, report) = encode_with(&base, &base, options, false);
        assert_eq!(strategy(&report), "unchanged", "{options}");
        assert!(delta.len() < 500, "{}", delta.len());
        let mut fine = base.clone();
        let start = fine[0].1.len() - values.len();
        // In the second piece of 64 KiB and the second of 4 KiB, and the last row.
        for row in [33, 3, ROWS - 1] {
            fine[0].1[start + 2 * COLUMNS * row] ^= 1;
            let (delta, report) = encode_with(&base, &fine, options, false);
            assert_eq!(strategy(&report), "delta", "{options}");
            assert!(delta.len() < 4000, "{}", delta.len());
            assert_eq!(decode(&base, &delta, "{}", false).unwrap(), fine);
        }
    }
}

/// Models of `n` small tensors that share blocks, one for each seed.
fn small_tensors<const N: usize>(n: usize, seeds: [u64; N]) -> [Files; N] {
    let names: Vec<String> = (0..n).map(|i| format!("layer.{i}.norm")).collect();
    seeds.map(|seed| {
        let values = bf16s(&normal(n * 64, 0.1, seed));
        let shape: &[u64] = &[64];
        let tensors = names.iter().zip(values.chunks(128));
        let tensors: Vec<_> = tensors
            .map(|(name, bytes)| (name.as_str(), "BF16", shape, bytes))
            .collect();
        one(pt_safetensors(&tensors))
    })
}

#[test]
fn small_tensors_that_share_blocks_are_not_decoded_for_each() {
    const TENSORS: usize = 400;
    let [base, fine] = small_tensors(TENSORS, [1, 2]);
    let (delta, _) = encode_with(&base, &fine, "{}", false);
    for (job, options) in [("stats", "{}"), ("tensors", "{}"), ("tensors", r#"{"rows":[3,9]}"#)] {
        let mut host = with_deltas(&base, &[&delta]);
        host.run(job, options).unwrap();
        assert_eq!(host.items.len(), TENSORS, "{job} {options}");
        let read: u64 = host.read.values().sum();
        let all = (base[0].1.len() + delta.len()) as u64;
        assert!(read < 4 * all, "{job} {options}: {read} bytes read of {all}");
    }
}

#[test]
fn small_tensors_that_share_blocks_are_not_decoded_for_each_that_is_compared() {
    const TENSORS: usize = 400;
    let [base, fine, other] = small_tensors(TENSORS, [1, 2, 3]);
    let delta = |fine, options| encode_with(&base, fine, options, false).0;
    let of_fine = delta(&fine, "{}");
    for options in ["{}", r#"{"strategy":"int4"}"#] {
        let of_other = delta(&other, options);
        let mut host = Memory::new()
            .model(Role::Base, &base)
            .with(Role::A, 0, "a.wdelta", &of_fine[..])
            .with(Role::B, 0, "b.wdelta", &of_other[..]);
        let report = host.run("diff", "{}").unwrap();
        assert_eq!(report["tensors"].as_array().unwrap().len(), TENSORS);
        let read: u64 = host.read.values().sum();
        let all = (base[0].1.len() + of_fine.len() + of_other.len()) as u64;
        assert!(read < 5 * all, "{options}: {read} bytes read of {all}");
    }
}

#[test]
fn small_tensors_of_a_parent_are_read_as_they_are_and_not_decoded_for_each() {
    let [base, fine, next] = small_tensors(400, [1, 2, 3]);
    let parent = encode_with(&base, &fine, "{}", false).0;
    let mut host = with_deltas(&base, &[&parent]).model(Role::Finetuned, &next);
    host.run("encode", r#"{"strategy":"sparse","sparsity":0}"#).unwrap();
    let read: u64 = host.read.values().sum();
    let all = (base[0].1.len() + parent.len() + next[0].1.len()) as u64;
    assert!(read < 10 * all, "{read} bytes read of {all}");
    // What differs from the parent's is kept exactly, so the result is the fine-tune.
    let rebuilt = decode_chain(&base, &[&parent, &host.outputs[0].1], "{}").unwrap();
    assert!(read_safetensors(&rebuilt[0].1) == read_safetensors(&next[0].1));
}

#[test]
fn small_tensors_of_a_chain_are_not_decoded_for_each_when_links_are_put_in_order() {
    let [base, first, second, third] = small_tensors(1000, [1, 2, 3, 4]);
    let mut deltas: Vec<Vec<u8>> = Vec::new();
    for (fine, options) in [(&first, "{}"), (&second, r#"{"strategy":"int4"}"#), (&third, "{}")] {
        let parents: Vec<&[u8]> = deltas.iter().map(Vec::as_slice).collect();
        let delta = encode_after(&base, &parents, fine, options, false).unwrap().0;
        deltas.push(delta);
    }
    let mut host = with_deltas(&base, &[&deltas[2], &deltas[1], &deltas[0]]);
    let report = host.run("lineage", "{}").unwrap();
    assert_eq!(report["order"], serde_json::json!([2, 1, 0]));
    let read: u64 = host.read.values().sum();
    let all = base[0].1.len() as u64 + deltas.iter().map(|d| d.len() as u64).sum::<u64>();
    assert!(read < 4 * all, "{read} bytes read of {all}");
}

#[test]
fn each_model_of_a_chain_is_hashed_once_when_links_are_put_in_order() {
    const LINKS: u64 = 8;
    let [base] = small_tensors(20, [1]);
    let mut deltas: Vec<Vec<u8>> = Vec::new();
    for link in 0..LINKS {
        let [fine] = small_tensors(20, [2 + link]);
        let options = [r#"{"strategy":"sparse"}"#, "{}"][link as usize % 2];
        let parents: Vec<&[u8]> = deltas.iter().map(Vec::as_slice).collect();
        let delta = encode_after(&base, &parents, &fine, options, false).unwrap().0;
        deltas.push(delta);
    }
    let reversed: Vec<&[u8]> = deltas.iter().rev().map(Vec::as_slice).collect();
    let mut host = with_deltas(&base, &reversed);
    let report = host.run("lineage", "{}").unwrap();
    assert_eq!(report["ok"], true);
    let (read, size) = (host.read[&0], base[0].1.len() as u64);
    assert!(read < (LINKS + 4) * size, "{read} bytes read of {size}");
}

#[test]
fn packed_rows_that_end_inside_a_byte_are_handed_out_once_each() {
    // Rows of 84 and of 12 bits.
    for (dtype, shape, len) in [("F6_E2M3", [2, 14], 21), ("F4", [6, 3], 9)] {
        let model = |seed: u8| {
            let values: Vec<u8> = (0..len).map(|i| i * seed).collect();
            one(pt_safetensors(&[("packed", dtype, &shape, &values)]))
        };
        let (base, fine) = (model(3), model(5));
        let (delta, _) = encode_with(&base, &fine, "{}", false);
        for deltas in [&[][..], &[&delta[..]]] {
            let mut host = with_deltas(&base, deltas);
            host.run("tensors", "{}").unwrap();
            let of = |json: &str| serde_json::from_str::<Value>(json).unwrap()["rows"].clone();
            let rows: Vec<_> = host.items.iter().map(|(json, bytes)| (of(json), bytes.len())).collect();
            assert_eq!(rows, [(serde_json::json!([0, shape[0]]), len.into())], "{dtype}");
        }
    }
}
