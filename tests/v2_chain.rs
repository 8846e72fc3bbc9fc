//! Chains of version 2 and of mixed versions: every link is held against the one before, and what comes out is exact.
#![cfg(not(target_arch = "wasm32"))]

mod common;

use common::pairs::{decode_chain, encode, encode_after, nudged, one, pt_safetensors, variety, with_deltas, Files};
use common::random::{normal, random_bytes};
use common::{bf16s, f32s, read_safetensors};
use serde_json::{json, Value};
use wdelta::error::Code;
use wdelta::job::machine::Role;

/// The fine-tune of `variety` trained on: again every operation, some tensors renamed, tied, dropped and grown.
fn third(second: &Files) -> Files {
    let tensors = read_safetensors(&second[0].1);
    let of = |name: &str| tensors[name].1.clone();
    let (bf16, grown) = (of("bf16"), of("grown"));
    one(pt_safetensors(&[
        ("bf16", "BF16", &[30, 100], &nudged(&bf16, 6)),
        ("twin", "BF16", &[30, 100], &nudged(&bf16, 6)),
        ("f32", "F32", &[10, 64], &nudged(&of("f32"), 5)),
        ("f8", "F8_E4M3", &[7, 100], &of("f8")),
        ("f4", "F4", &[1400], &nudged(&of("f4"), 5)),
        ("ids", "I64", &[64], &of("ids")),
        ("widened", "F32", &[500], &nudged(&of("widened"), 8)),
        ("same", "F16", &[500], &random_bytes(1000, 77)),
        ("newer.layer.0.weight", "BF16", &[30, 100], &of("new.layer.0.weight")),
        (
            "grown",
            "BF16",
            &[60, 64],
            &[&nudged(&grown, 9)[..], &random_bytes(896, 9)].concat(),
        ),
        ("shrunk", "BF16", &[39, 64], &of("shrunk")[..4992]),
        ("complex", "C64", &[80], &nudged(&of("complex"), 9)),
        ("empty", "F32", &[0, 4], &[]),
        ("retyped", "BF16", &[350], &nudged(&of("retyped"), 3)),
    ]))
}

/// A model that version 1 can be made for, moved a little with each `step`.
fn plain(step: u64) -> Files {
    let moved = |seed: u64, n: usize| {
        let mut values = normal(n, 0.1, seed);
        for s in 1..=step {
            let by = normal(n, 0.004, 100 * s + seed);
            values.iter_mut().zip(by).for_each(|(v, d)| *v += d);
        }
        values
    };
    let ids: Vec<u8> = (0..64u64).flat_map(u64::to_le_bytes).collect();
    one(pt_safetensors(&[
        ("w", "BF16", &[40, 64], &bf16s(&moved(1, 2560))),
        ("b", "F32", &[10, 64], &f32s(&moved(2, 640))),
        ("ids", "I64", &[64], &ids),
        ("norm", "BF16", &[100], &bf16s(&moved(3, 100))),
    ]))
}

#[test]
fn a_chain_of_version_2_comes_back() {
    let (base, second) = variety();
    let third = third(&second);
    let fourth = one(pt_safetensors(&[(
        "bf16",
        "BF16",
        &[30, 100],
        &nudged(&random_bytes(6000, 1), 10),
    )]));
    let d1 = encode(&base, &second);
    let (d2, report) = encode_after(&base, &[&d1], &third, "{}", false).unwrap();
    // What counts is the model, not where it comes from.
    assert!(
        d2 == encode(&second, &third),
        "the chain gives another file than its files do"
    );
    assert!(d2 == encode_after(&base, &[&d1], &third, "{}", true).unwrap().0);
    let (d3, _) = encode_after(&base, &[&d1, &d2], &fourth, "{}", false).unwrap();
    assert!(decode_chain(&base, &[&d1], "{}").unwrap() == second);
    assert!(decode_chain(&base, &[&d1, &d2], r#"{"readBack":true}"#).unwrap() == third);
    assert!(decode_chain(&base, &[&d1, &d2, &d3], "{}").unwrap() == fourth);
    let of = |name: &str| {
        let tensors = report["tensors"].as_array().unwrap();
        tensors.iter().find(|t| t["name"] == name).unwrap().clone()
    };
    assert_eq!(
        (&of("twin")["strategy"], &of("twin")["bytes"]),
        (&json!("tied"), &json!(0))
    );
    assert_eq!(of("newer.layer.0.weight")["strategy"], "unchanged");
    for deltas in [vec![&d1[..]], vec![&d1, &d2], vec![&d1, &d2, &d3]] {
        let mut host = with_deltas(&base, &deltas);
        host.backwards = true;
        let report = host.run("verify", "{}").unwrap();
        assert_eq!(report["deltas"].as_array().unwrap().len(), deltas.len());
        assert_eq!(report["deltas"][0]["base"], "verified");
        with_deltas(&Vec::new(), &deltas).run("verify", "{}").unwrap();
    }
}

#[test]
fn a_wrong_link_is_named_before_any_tensor_is_read() {
    let (base, second) = variety();
    let third = third(&second);
    let (d1, d2) = (encode(&base, &second), encode(&second, &third));
    let other = encode(
        &base,
        &one(pt_safetensors(&[("bf16", "BF16", &[30, 100], &random_bytes(6000, 5))])),
    );
    for kind in ["decode", "verify", "tensors"] {
        let mut host = with_deltas(&base, &[&d1, &other]);
        let e = host.run(kind, "{}").unwrap_err();
        assert_eq!((e.code, e.source_id), (Code::BrokenChain, Some(2)), "{kind}: {e}");
        assert!(e.message.contains("link 2") && e.message.contains("\"bf16\""), "{e}");
        assert!(host.read[&0] < 4000, "{kind} read {} bytes of the base", host.read[&0]);
    }
    let e = decode_chain(&base, &[&d2, &d1], "{}").unwrap_err();
    assert!(matches!(e.code, Code::WrongBase | Code::MissingTensor), "{e}");
    // The first link does not fit the base, though the second follows the first.
    let mut wrong = base.clone();
    *wrong[0].1.last_mut().unwrap() ^= 1;
    let e = decode_chain(&wrong, &[&d1, &d2], "{}").unwrap_err();
    assert_eq!(e.code, Code::WrongBase, "{e}");
    assert!(e.message.contains("\"grown\""), "{e}");
    let e = encode_after(&wrong, &[&d1], &third, "{}", false).unwrap_err();
    assert_eq!(e.code, Code::WrongBase, "{e}");
}

#[test]
fn damage_in_any_link_is_found() {
    let (base, second) = variety();
    let third = third(&second);
    let (d1, d2) = (encode(&base, &second), encode(&second, &third));
    for link in 0..2 {
        let good = [&d1, &d2][link];
        for at in (0..good.len()).step_by(61) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            let chain = if link == 0 { [&bad, &d2] } else { [&d1, &bad] };
            let e = decode_chain(&base, &chain.map(|d| &d[..]), "{}").unwrap_err();
            assert_ne!(e.code, Code::Internal, "link {link}, byte {at}: {e}");
            assert_eq!(
                e.source_id,
                Some(1 + link as u32),
                "link {link}, byte {at}: {} {e}",
                e.code
            );
        }
        for n in (0..good.len()).step_by(211) {
            let chain = if link == 0 {
                [&good[..n], &d2]
            } else {
                [&d1, &good[..n]]
            };
            assert!(decode_chain(&base, &chain, "{}").is_err(), "link {link}, prefix {n}");
        }
    }
}

/// The bytes of a model's tensors by name, as `tensors` gives them.
fn streamed(base: &Files, deltas: &[&[u8]], options: &str) -> Vec<(String, Vec<u8>)> {
    let mut host = with_deltas(base, deltas);
    host.run("tensors", options).unwrap();
    let mut all: Vec<(String, Vec<u8>)> = Vec::new();
    for (json, bytes) in host.items {
        let item: Value = serde_json::from_str(&json).unwrap();
        let name = item["name"].as_str().unwrap();
        match all.last_mut().filter(|(n, _)| n == name) {
            Some((_, all)) => all.extend_from_slice(&bytes),
            None => all.push((name.to_owned(), bytes)),
        }
    }
    all
}

fn same_tensors(streamed: &[(String, Vec<u8>)], file: &[u8]) {
    let expected = read_safetensors(file);
    assert_eq!(streamed.len(), expected.values().filter(|t| !t.1.is_empty()).count());
    for (name, bytes) in streamed {
        assert!(expected[name].1 == *bytes, "{name}");
    }
}

/// A link of version 1 after one of version 2 in which tensors share blocks: it is the same delta as against the model
/// that the version 2 link rebuilds, and gives the same model.
#[test]
fn a_version_1_link_follows_tensors_that_share_a_block() {
    let model = |step: u64| {
        let of = |seed: u64, n: usize| {
            let moved = normal(n, 0.002 * step as f32, 10 * step + seed);
            let values: Vec<f32> = normal(n, 0.1, seed).iter().zip(moved).map(|(w, d)| w + d).collect();
            bf16s(&values)
        };
        one(pt_safetensors(&[
            ("a", "BF16", &[20, 64], &of(1, 1280)),
            ("b", "BF16", &[20, 64], &of(2, 1280)),
            ("c", "BF16", &[100], &of(3, 100)),
            ("d", "BF16", &[30, 64], &of(4, 1920)),
            ("ids", "I64", &[16], &random_bytes(128, 5)),
        ]))
    };
    let (base, parent, fine) = (model(0), model(1), model(2));
    let link = encode(&base, &parent);
    for strategy in ["int4", "sparse", "quantized"] {
        let options = format!(r#"{{"strategy":"{strategy}"}}"#);
        let after = encode_after(&base, &[&link], &fine, &options, false).unwrap().0;
        let alone = encode_after(&parent, &[], &fine, &options, false).unwrap().0;
        assert!(after == alone, "{strategy}: another delta after a link");
        let rebuilt = decode_chain(&parent, &[&alone], "{}").unwrap();
        assert!(
            decode_chain(&base, &[&link, &after], "{}").unwrap() == rebuilt,
            "{strategy}: another model"
        );
    }
}

#[test]
fn mixed_chains_come_back() {
    let models: Vec<Files> = (0..5).map(plain).collect();
    let base = &models[0];
    // Links 1 and 3 are of version 1, links 2 and 4 of version 2.
    let lossy = |from: &Files, parents: &[&[u8]], to: &Files| {
        let options = r#"{"strategy":"int4"}"#;
        encode_after(from, parents, to, options, false).unwrap().0
    };
    let d1 = lossy(base, &[], &models[1]);
    let d2 = encode_after(base, &[&d1], &models[2], "{}", false).unwrap().0;
    assert!(decode_chain(base, &[&d1, &d2], "{}").unwrap() == models[2]);
    let d3 = lossy(&models[2], &[], &models[3]);
    let alone = decode_chain(&models[2], &[&d3], "{}").unwrap();
    assert!(decode_chain(base, &[&d1, &d2, &d3], r#"{"readBack":true}"#).unwrap() == alone);
    let wide = r#"{"dtype":"float32"}"#;
    assert!(decode_chain(base, &[&d1, &d2, &d3], wide).unwrap() == decode_chain(&models[2], &[&d3], wide).unwrap());
    let d4 = encode_after(base, &[&d1, &d2, &d3], &models[4], "{}", false).unwrap().0;
    let all = [&d1[..], &d2, &d3, &d4];
    assert!(decode_chain(base, &all, "{}").unwrap() == models[4]);
    // Two links of version 1 after one of version 2.
    let d4b = lossy(&models[2], &[&d3], &models[4]);
    let mixed = [&d1[..], &d2, &d3, &d4b];
    let alone = decode_chain(&models[2], &[&d3, &d4b], "{}").unwrap();
    assert!(decode_chain(base, &mixed, "{}").unwrap() == alone);
    for (chain, expected) in [(&all[..], &models[4]), (&all[..2], &models[2]), (&mixed, &alone)] {
        same_tensors(&streamed(base, chain, "{}"), &expected[0].1);
        let report = with_deltas(base, chain).run("verify", "{}").unwrap();
        assert_eq!(report["version"], 2);
    }
    let wide = streamed(base, &mixed, r#"{"as":"float32"}"#);
    let expected = decode_chain(&models[2], &[&d3, &d4b], r#"{"dtype":"float32"}"#).unwrap();
    same_tensors(&wide, &expected[0].1);
    // What does not follow is refused, whichever version it is of.
    for (chain, code) in [
        (vec![&d2[..]], Code::WrongBase),
        (vec![&d1, &d3], Code::BrokenChain),
        (vec![&d1, &d2, &d4], Code::BrokenChain),
        (vec![&d1, &d2, &d4b], Code::BrokenChain),
        (vec![&d3, &d4], Code::WrongBase),
    ] {
        for kind in ["decode", "verify"] {
            let e = with_deltas(base, &chain).run(kind, "{}").unwrap_err();
            assert_eq!(e.code, code, "{kind}: {e}");
        }
    }
    let e = with_deltas(&models[1], &[&d1, &d2]).run("decode", "{}").unwrap_err();
    assert_eq!(e.code, Code::WrongBase, "{e}");
    let e = with_deltas(&models[3], &mixed).run("decode", "{}").unwrap_err();
    assert_eq!(e.code, Code::WrongBase, "{e}");
    // A delta of version 1 does not depend on how its parents are given.
    assert!(lossy(base, &[&d1, &d2], &models[3]) == d3);
    assert!(lossy(base, &[&d1, &d2, &d3], &models[4]) == d4b);
    let e = encode_after(&models[3], &[&d1, &d2], &models[3], r#"{"strategy":"int4"}"#, false).unwrap_err();
    assert_eq!(e.code, Code::WrongBase, "{e}");
}

#[test]
fn lineage_finds_the_order_and_what_is_missing() {
    let models: Vec<Files> = (0..5).map(plain).collect();
    let base = &models[0];
    let int4 = r#"{"strategy":"int4"}"#;
    let d1 = encode_after(base, &[], &models[1], int4, false).unwrap().0;
    let d2 = encode_after(base, &[&d1], &models[2], "{}", false).unwrap().0;
    let d3 = encode(&models[2], &models[3]);
    let branch = encode_after(&models[3], &[], &models[4], int4, false).unwrap().0;
    let of_base = encode(base, &models[4]);
    let given = [&branch[..], &d3, &of_base, &d2, &d1];
    let report = with_deltas(base, &given).run("lineage", "{}").unwrap();
    assert_eq!(report["ok"], true, "{report}");
    let parents: Vec<_> = (0..5).map(|i| report["links"][i]["parent"].clone()).collect();
    assert_eq!(parents, [json!(1), json!(3), json!("base"), json!(4), json!("base")]);
    assert_eq!(report["order"], json!([2, 4, 3, 1, 0]));
    // Without the link between, what follows it is broken; what follows by its index is still told.
    let report = with_deltas(base, &[&branch, &d3, &d2]).run("lineage", "{}").unwrap();
    assert_eq!(report["ok"], false);
    let of = |i: usize, field: &str| report["links"][i][field].clone();
    assert_eq!((of(2, "state"), of(2, "parent")), (json!("broken"), Value::Null));
    let reason = of(2, "reason");
    let reason = reason.as_str().unwrap();
    assert!(
        reason.contains("the base has 40×64 of BF16") && reason.ends_with("gives its base either"),
        "{reason}"
    );
    assert_eq!((of(1, "state"), of(1, "parent")), (json!("verified"), json!(2)));
    assert_eq!(of(0, "state"), "broken");
    // Without a base only indexes are held against each other.
    let mut host = with_deltas(&Vec::new(), &[&d3, &d2]);
    let report = host.run("lineage", "{}").unwrap();
    assert_eq!((&report["ok"], &report["order"]), (&json!(true), &json!([1, 0])));
    assert_eq!(report["links"][0]["state"], "verified");
    assert_eq!(report["links"][1]["state"], "not checked");
    assert!(host.entries.iter().all(|e| e.role == Role::Delta));
}

fn data(name: &str) -> Files {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/stories260k-full");
    one(std::fs::read(folder.join(name)).unwrap())
}

#[test]
fn a_lossy_link_is_what_it_decodes_to() {
    let models = ["base", "ft-step1", "ft-step2", "ft-sft"].map(|name| data(&format!("{name}.safetensors")));
    let base = &models[0];
    let lossy = r#"{"strategy":"lossy","quality":40,"effort":0}"#;
    let d1 = encode_after(base, &[], &models[1], lossy, false).unwrap().0;
    let rebuilt = decode_chain(base, &[&d1], "{}").unwrap();
    assert!(rebuilt != models[1], "nothing was lost");
    // Its rows can be read alone, whatever was dithered before them.
    let whole = read_safetensors(&rebuilt[0].1);
    let (name, (_, bytes)) = whole.iter().max_by_key(|(_, t)| t.1.len()).unwrap();
    let rows = streamed(base, &[&d1], &format!(r#"{{"names":["{name}"],"rows":[300,317]}}"#));
    let row = bytes.len() / 512;
    assert!(rows[0].1 == bytes[300 * row..317 * row], "{name}");
    // The next links start from what it gives, with loss or without.
    let exact = r#"{"effort":0}"#;
    let d2 = encode_after(base, &[&d1], &models[2], exact, false).unwrap().0;
    assert!(d2 == encode_after(&rebuilt, &[], &models[2], exact, false).unwrap().0);
    assert!(decode_chain(base, &[&d1, &d2], "{}").unwrap() == models[2]);
    let d3 = encode_after(base, &[&d1, &d2], &models[3], lossy, false).unwrap().0;
    assert!(d3 == encode_after(&models[2], &[], &models[3], lossy, false).unwrap().0);
    let last = decode_chain(base, &[&d1, &d2, &d3], "{}").unwrap();
    assert!(last == decode_chain(&models[2], &[&d3], "{}").unwrap());
    let report = with_deltas(base, &[&d3, &d1, &d2]).run("lineage", "{}").unwrap();
    assert_eq!((&report["ok"], &report["order"]), (&json!(true), &json!([1, 2, 0])));
    with_deltas(base, &[&d1, &d2, &d3]).run("verify", "{}").unwrap();
}
