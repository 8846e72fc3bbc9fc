//! What version 2 promises of models: any dtype and shape, any names and files, and every bit.
#![cfg(not(target_arch = "wasm32"))]

mod common;

use common::pairs::{decode, encode, encode_with, nudged, one, pt_safetensors, Files};
use common::random::{normal, random_bytes};
use common::{bf16s, f32s, Memory};
use serde_json::Value;
use sha2::{Digest, Sha256};
use wdelta::error::Code;
use wdelta::job::machine::Role;

type Tensors<'a> = &'a [(&'a str, &'a str, &'a [u64], &'a [u8])];

/// Encodes and decodes a pair; gives the length of the delta and the report.
fn round_trip(base: &Files, fine: &Files) -> (usize, Value) {
    let (delta, report) = encode_with(base, fine, "{}", false);
    assert_eq!(report["version"], 2, "lossless is the default");
    let rebuilt = decode(base, &delta, r#"{"readBack":true}"#, false).unwrap();
    assert!(rebuilt == *fine, "another model came back");
    (delta.len(), report)
}

fn pair(base: Tensors<'_>, fine: Tensors<'_>) -> (usize, Value) {
    round_trip(&one(pt_safetensors(base)), &one(pt_safetensors(fine)))
}

fn strategy(report: &Value, name: &str) -> String {
    let tensors = report["tensors"].as_array().unwrap();
    let of = tensors.iter().find(|t| t["name"] == name).unwrap();
    of["strategy"].as_str().unwrap().to_owned()
}

/// Weights of four bits, eight to an integer, as GPTQ packs them: a change of one is small, whatever it is to the integer.
#[test]
fn packed_weights_take_what_their_nibbles_take() {
    let (rows, columns) = (64u64, 512u64);
    let n = (rows * columns) as usize;
    let base = random_bytes(4 * n, 61);
    let chance = random_bytes(8 * n, 62);
    // One nibble in 32 has another value.
    let fine: Vec<u8> = base
        .iter()
        .zip(chance.chunks_exact(2))
        .map(|(b, c)| b ^ (c[0] < 8) as u8 ^ ((c[1] < 8) as u8) << 4)
        .collect();
    for dtype in ["I32", "U8"] {
        let columns = if dtype == "U8" { 4 * columns } else { columns };
        let (bytes, report) = pair(
            &[("qweight", dtype, &[rows, columns], &base)],
            &[("qweight", dtype, &[rows, columns], &fine)],
        );
        assert_eq!(strategy(&report, "qweight"), "delta");
        // The entropy of which nibbles change and by how much is 0.23 bits for each.
        let bits = 8.0 * bytes as f64 / (8 * n) as f64;
        assert!(bits < 0.27, "{dtype}: {bits} bits for each nibble");
    }
}

/// Rows of packed weights are wide, and of a large tensor only some are fitted on: what these happen to be is not taken for
/// what all are.
#[test]
fn wide_packed_weights_take_what_narrow_ones_do() {
    let (rows, columns) = (384u64, 11_008u64);
    let n = 4 * (rows * columns) as usize;
    let base = random_bytes(n, 63);
    let moved = |seed: u32, from: usize| -> Vec<u8> {
        let chance = random_bytes(2 * n, seed);
        let next = |(i, (b, c)): (usize, (&u8, &[u8]))| match i % (4 * columns as usize) < from {
            true => b ^ (c[0] < 8) as u8 ^ ((c[1] < 8) as u8) << 4,
            false => *b,
        };
        base.iter().zip(chance.chunks_exact(2)).enumerate().map(next).collect()
    };
    let bits = |fine: &[u8], shape: &[u64]| {
        let (bytes, _) = pair(&[("qweight", "I32", shape, &base)], &[("qweight", "I32", shape, fine)]);
        8.0 * bytes as f64 / (2 * n) as f64
    };
    let fine = moved(64, 4 * columns as usize);
    let (wide, narrow) = (bits(&fine, &[rows, columns]), bits(&fine, &[columns, rows]));
    assert!(wide < 0.25 && narrow < 0.25, "{wide} and {narrow} bits for each nibble");
    // Of rows that are too wide to be coded as one, most may be as they were.
    let fine = moved(65, 4 * 2048);
    let part = bits(&fine, &[rows, columns]);
    assert!(part < 0.25 / 4.0, "{part}");
}

#[test]
fn every_dtype_is_exact() {
    let dtypes = [
        "BOOL",
        "F4",
        "F6_E2M3",
        "F6_E3M2",
        "U8",
        "I8",
        "F8_E5M2",
        "F8_E4M3",
        "F8_E8M0",
        "F8_E4M3FNUZ",
        "F8_E5M2FNUZ",
        "I16",
        "U16",
        "F16",
        "BF16",
        "I32",
        "U32",
        "F32",
        "C64",
        "F64",
        "I64",
        "U64",
    ];
    for dtype in dtypes {
        let bits = wdelta::dtype::Dtype::parse(dtype).unwrap().bits() as usize;
        let bytes = random_bytes(16 * 72 * bits / 8, bits as u32);
        let shape = [16, 72];
        let near = nudged(&bytes, 29);
        let (len, report) = pair(&[("t", dtype, &shape, &bytes)], &[("t", dtype, &shape, &near)]);
        assert_eq!(strategy(&report, "t"), "delta", "{dtype}");
        assert!(len < bytes.len() / 2 + 700, "{dtype}: {len} of {}", bytes.len());
        let far = random_bytes(bytes.len(), 99);
        pair(&[("t", dtype, &shape, &bytes)], &[("t", dtype, &shape, &far)]);
        let (_, report) = pair(&[("t", dtype, &shape, &bytes)], &[("t", dtype, &shape, &bytes)]);
        assert_eq!(strategy(&report, "t"), "unchanged", "{dtype}");
        pair(&[], &[("t", dtype, &shape, &bytes)]);
    }
}

#[test]
fn nan_payloads_infinities_and_both_zeros_survive() {
    let specials: Vec<u16> = vec![
        0, 0x8000, 0x7f80, 0xff80, 0x7fc0, 0xffc1, 0x7f81, 0x7fff, 0xffff, 1, 0x8001, 0x3f80,
    ];
    let all = |shift: usize| -> Vec<u8> {
        let values = (0..specials.len() * specials.len()).map(|i| {
            let at = if shift == 0 {
                i % specials.len()
            } else {
                i / specials.len()
            };
            specials[at]
        });
        values.flat_map(u16::to_le_bytes).collect()
    };
    let shape = [12, 12];
    for dtype in ["BF16", "F16", "I16"] {
        pair(&[("t", dtype, &shape, &all(0))], &[("t", dtype, &shape, &all(1))]);
    }
    let wide = |bytes: Vec<u8>| -> Vec<u8> { bytes.chunks(2).flat_map(|b| [7, 0, b[0], b[1]]).collect() };
    pair(
        &[("t", "F32", &shape, &wide(all(0)))],
        &[("t", "F32", &shape, &wide(all(1)))],
    );
    // From another dtype, too.
    pair(
        &[("t", "F32", &shape, &wide(all(0)))],
        &[("t", "BF16", &shape, &all(1))],
    );
    pair(
        &[("t", "BF16", &shape, &all(1))],
        &[("t", "F32", &shape, &wide(all(0)))],
    );
}

#[test]
fn odd_shapes_come_back() {
    let bytes = random_bytes(4 * 300_000, 3);
    for shape in [
        &[][..],
        &[0],
        &[0, 7],
        &[7, 0],
        &[1],
        &[1, 1, 1],
        &[3, 1, 5],
        &[70_000],
        &[2, 70_000],
        &[65, 64, 2, 2],
    ] {
        let n = 4 * shape.iter().product::<u64>() as usize;
        let near = nudged(&bytes[..n], 40);
        pair(&[("t", "F32", shape, &bytes[..n])], &[("t", "F32", shape, &near)]);
        pair(&[], &[("t", "F32", shape, &near)]);
    }
}

#[test]
fn resized_renamed_added_removed_and_retyped_tensors() {
    let rows = normal(64 * 90, 0.1, 1);
    let moved: Vec<f32> = rows
        .iter()
        .zip(normal(rows.len(), 0.0005, 2))
        .map(|(a, b)| a + b)
        .collect();
    let (base, fine) = (bf16s(&rows), bf16s(&moved));
    let plain = pair(&[("e", "BF16", &[90, 64], &base)], &[("e", "BF16", &[90, 64], &fine)]).0;
    // Added tokens cost themselves and no more; dropped ones nothing.
    let grown = [&fine[..], &bf16s(&normal(640, 0.1, 3))].concat();
    let (len, report) = pair(&[("e", "BF16", &[90, 64], &base)], &[("e", "BF16", &[100, 64], &grown)]);
    assert_eq!(strategy(&report, "e"), "delta");
    assert!(len < plain + 1280 + 100, "{len} after {plain}");
    let (len, _) = pair(
        &[("e", "BF16", &[90, 64], &base)],
        &[("e", "BF16", &[80, 64], &fine[..80 * 128])],
    );
    assert!(len < plain, "{len} after {plain}");
    // Under another name, the same or moved.
    for tensor in [&base, &fine] {
        let (len, report) = pair(
            &[
                ("model.a.weight", "BF16", &[90, 64], &base),
                ("other", "U8", &[4], &[1; 4]),
            ],
            &[("b.weight", "BF16", &[90, 64], tensor), ("other", "U8", &[4], &[1; 4])],
        );
        let expected = if *tensor == base { "unchanged" } else { "delta" };
        assert_eq!(strategy(&report, "b.weight"), expected);
        assert!(len < plain + 100, "{len} after {plain}");
    }
    // In another dtype: what rounding gives is not coded.
    let wide = f32s(&rows);
    let (len, _) = pair(&[("e", "F32", &[90, 64], &wide)], &[("e", "BF16", &[90, 64], &base)]);
    assert!(len < 500, "{len}");
    let exact: Vec<u8> = base.chunks(2).flat_map(|b| [0, 0, b[0], b[1]]).collect();
    let (len, _) = pair(&[("e", "BF16", &[90, 64], &base)], &[("e", "F32", &[90, 64], &exact)]);
    assert!(len < 500, "{len}");
    // Added and removed, and all of it.
    pair(
        &[("gone", "BF16", &[90, 64], &base)],
        &[("new", "U8", &[3], &[1, 2, 3])],
    );
    pair(&[("gone", "BF16", &[90, 64], &base)], &[]);
}

#[test]
fn renamed_tensors_are_found_among_thousands() {
    const N: usize = 2100;
    let values = bf16s(&normal(16 * N, 0.1, 1));
    let model = |name: &dyn Fn(usize) -> String| {
        let names: Vec<String> = (0..N).map(name).collect();
        let tensors = names.iter().zip(values.chunks(32));
        let shape: &[u64] = &[4, 4];
        let tensors: Vec<_> = tensors.map(|(n, bytes)| (n.as_str(), "BF16", shape, bytes)).collect();
        one(pt_safetensors(&tensors))
    };
    let base = model(&|i| format!("model.language_model.layers.{i}.weight"));
    let fine = model(&|i| format!("language_model.model.layers.{i}.weight"));
    let (_, report) = round_trip(&base, &fine);
    let tensors = report["tensors"].as_array().unwrap();
    assert!(tensors.iter().all(|t| t["strategy"] == "unchanged"));
}

#[test]
fn tied_weights_are_in_the_file_once() {
    let (base, fine) = (random_bytes(2 * 64 * 100, 1), random_bytes(2 * 64 * 100, 2));
    let shape = [100, 64];
    let (single, _) = pair(&[("embed", "BF16", &shape, &base)], &[("embed", "BF16", &shape, &fine)]);
    let tied = |base: Tensors<'_>| {
        let (len, report) = pair(
            base,
            &[
                ("embed", "BF16", &shape, &fine),
                ("head", "BF16", &shape, &fine),
                ("last", "BF16", &shape, &fine),
            ],
        );
        assert!(len < single + 150, "{len} after {single}");
        assert_eq!(
            (strategy(&report, "head"), strategy(&report, "last")),
            ("tied".into(), "tied".into())
        );
    };
    tied(&[("embed", "BF16", &shape, &base), ("head", "BF16", &shape, &base)]);
    tied(&[("embed", "BF16", &shape, &base)]);
    tied(&[]);
    // The same bytes in another shape are another tensor; unchanged ones cost nothing anyway.
    let (_, report) = pair(
        &[("a", "BF16", &shape, &base), ("b", "BF16", &shape, &base)],
        &[
            ("a", "BF16", &shape, &base),
            ("b", "BF16", &shape, &base),
            ("c", "BF16", &[64, 100], &base),
        ],
    );
    let of = |name: &str| strategy(&report, name);
    assert_eq!(
        (of("a"), of("b"), of("c")),
        ("unchanged".into(), "unchanged".into(), "stored".into())
    );
}

/// Two shards and their index, with metadata and a header that no one writes like this.
fn sharded(a: &[u8], b: &[u8]) -> Files {
    let odd =
        br#"{ "b":{"shape":[10,64],"data_offsets":[0,1280],"dtype":"BF16"} ,"__metadata__":{"z":"1","a":"\u00e9"}}  "#;
    let mut second = (odd.len() as u64).to_le_bytes().to_vec();
    second.extend_from_slice(odd);
    second.extend_from_slice(b);
    let first = pt_safetensors(&[("a", "BF16", &[10, 64], a), ("c", "BF16", &[10, 64], a)]);
    let index = br#"{"metadata": {"total_size": 3840}, "weight_map": {"a": "1.safetensors", "c": "1.safetensors", "b": "2.safetensors"}}"#;
    vec![
        ("1.safetensors".into(), first),
        ("2.safetensors".into(), second),
        ("model.safetensors.index.json".into(), index.to_vec()),
    ]
}

#[test]
fn shards_headers_and_index_come_back_byte_for_byte() {
    let (a, b) = (random_bytes(1280, 1), random_bytes(1280, 2));
    let fine = sharded(&nudged(&a, 9), &nudged(&b, 5));
    round_trip(&sharded(&a, &b), &fine);
    // Whatever files the base comes in, and whatever else is in it.
    let whole = |extra: bool| {
        let mut tensors: Vec<(&str, &str, &[u64], &[u8])> = vec![
            ("b", "BF16", &[10, 64], &b),
            ("a", "BF16", &[10, 64], &a),
            ("c", "BF16", &[10, 64], &a),
        ];
        if extra {
            tensors.push(("more", "F32", &[3], &[0; 12]));
        }
        one(pt_safetensors(&tensors))
    };
    let delta = encode(&sharded(&a, &b), &fine);
    assert!(encode(&whole(false), &fine) == delta, "the files of the base matter");
    for base in [whole(false), whole(true)] {
        assert!(decode(&base, &delta, "{}", true).unwrap() == fine);
    }
    let mut other = whole(true);
    *other[0].1.last_mut().unwrap() = 1;
    assert!(
        decode(&other, &delta, "{}", false).unwrap() == fine,
        "an extra tensor does no harm"
    );
    // What it needs it needs.
    let short = one(pt_safetensors(&[
        ("a", "BF16", &[10, 64], &a),
        ("c", "BF16", &[10, 64], &a),
    ]));
    let e = decode(&short, &delta, "{}", false).unwrap_err();
    assert_eq!((e.code, e.tensor.as_deref()), (Code::MissingTensor, Some("b")), "{e}");
    let narrow = one(pt_safetensors(&[
        ("a", "F16", &[10, 64], &a),
        ("b", "BF16", &[10, 64], &b),
        ("c", "BF16", &[10, 64], &a),
    ]));
    let e = decode(&narrow, &delta, "{}", false).unwrap_err();
    assert_eq!((e.code, e.tensor.as_deref()), (Code::WrongBase, Some("a")), "{e}");
}

#[test]
fn metadata_of_any_length_comes_back() {
    let weights = bf16s(&normal(64, 0.1, 1));
    let model = |len: usize| {
        let text = "tag ".repeat(len / 4);
        let mut header = format!(
            r#"{{"__metadata__":{{"tags":"{text}"}},"w":{{"dtype":"BF16","shape":[64],"data_offsets":[0,128]}}}}"#
        );
        header.extend(std::iter::repeat_n(
            ' ',
            header.len().next_multiple_of(8) - header.len(),
        ));
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.bytes());
        file.extend(&weights);
        one(file)
    };
    for len in [65_536, 65_540, 2_000_000] {
        round_trip(&model(0), &model(len));
    }
}

#[test]
fn an_older_reader_says_what_it_lacks() {
    let (a, b) = (random_bytes(1280, 1), random_bytes(1280, 2));
    let delta = encode(&sharded(&a, &a), &sharded(&b, &b));
    assert_eq!(delta[..11], *b"wdelta\0\x02\0\0\0");
    let mut flagged = delta.clone();
    flagged[11] = 1;
    let e = decode(&sharded(&a, &a), &flagged, "{}", false).unwrap_err();
    assert!(e.code == Code::UnsupportedVersion && e.message.contains("0x1"), "{e}");
    let mut newer = delta;
    newer[7] = 3;
    let end = newer.len() - 32;
    let seal = Sha256::digest(&newer[..end]);
    newer[end..].copy_from_slice(&seal);
    let e = decode(&sharded(&a, &a), &newer, "{}", false).unwrap_err();
    assert!(e.code == Code::UnsupportedVersion && e.message.contains('3'), "{e}");
}

#[test]
fn files_that_no_delta_can_hold_are_refused_before_the_work() {
    let base = one(pt_safetensors(&[("t", "F32", &[4], &random_bytes(16, 1))]));
    let (a, b) = (
        pt_safetensors(&[("t", "F32", &[4], &random_bytes(16, 2))]),
        random_bytes(40, 3),
    );
    for (paths, what) in [
        (["x.safetensors", "x.safetensors"], "another file has"),
        (["c:x.safetensors", "y.safetensors"], "no path"),
    ] {
        let other = pt_safetensors(&[("u", "U8", &[40], &b)]);
        let fine = vec![(paths[0].to_owned(), a.clone()), (paths[1].to_owned(), other)];
        let mut host = Memory::new().model(Role::Base, &base).model(Role::Finetuned, &fine);
        let e = host.run("encode", "{}").unwrap_err();
        assert!(e.code == Code::Usage && e.message.contains(what), "{e}");
        assert!(host.plans.is_empty(), "it has planned the work");
    }
}

#[test]
fn float32_with_values_of_fewer_bits_takes_what_these_take() {
    let w = normal(120 * 160, 0.05, 5);
    let moved: Vec<f32> = w.iter().zip(normal(w.len(), 0.002, 6)).map(|(w, d)| w + d).collect();
    let rounded = |v: &[f32]| -> Vec<f32> { v.iter().map(|&v| half::bf16::from_f32(v).to_f32()).collect() };
    let of = |dtype, base: &[u8], fine: &[u8]| {
        pair(&[("w", dtype, &[120, 160], base)], &[("w", dtype, &[120, 160], fine)]).0
    };
    let plain = of("BF16", &bf16s(&w), &bf16s(&moved));
    let (base, fine) = (f32s(&rounded(&w)), f32s(&rounded(&moved)));
    assert!(of("F32", &base, &fine) < plain + 40);
    // A base with values of its own, of which the fine-tune was rounded.
    assert!(of("F32", &f32s(&w), &fine) < plain + plain / 10);
    // One value that is none of BF16, where no sample looks.
    let mut odd = fine.clone();
    odd[120 * 160 * 4 - 4] = 1;
    assert!(of("F32", &base, &odd) > plain + plain / 10);
}
