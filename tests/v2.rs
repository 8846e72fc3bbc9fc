//! Version 2 through the jobs: what comes out is what went in, byte for byte, and damage is found.
#![cfg(not(target_arch = "wasm32"))]

mod common;

use common::Memory;
use std::path::Path;
use wdelta::dtype::Dtype;
use wdelta::error::{Code, Error};
use wdelta::format::safetensors::writer;
use wdelta::job::machine::Role;
use wdelta::offset::ByteRange;

fn data(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/stories260k-full");
    std::fs::read(folder.join(name)).unwrap()
}

type Files = Vec<(String, Vec<u8>)>;

fn one(bytes: Vec<u8>) -> Files {
    vec![("model.safetensors".into(), bytes)]
}

fn encode_with(base: &Files, fine: &Files, options: &str, backwards: bool) -> (Vec<u8>, serde_json::Value) {
    let mut host = Memory::new().model(Role::Base, base).model(Role::Finetuned, fine);
    host.backwards = backwards;
    let report = host.run("encode", options).unwrap();
    (host.outputs.remove(0).1, report)
}

fn encode(base: &Files, fine: &Files) -> Vec<u8> {
    encode_with(base, fine, r#"{"strategy":"lossless"}"#, false).0
}

fn decode(base: &Files, delta: &[u8], options: &str, backwards: bool) -> Result<Files, Error> {
    let mut host = Memory::new()
        .model(Role::Base, base)
        .with(Role::Delta, 0, "d.wdelta", delta);
    host.backwards = backwards;
    host.run("decode", options)?;
    Ok(host.outputs)
}

/// A safetensors file of these tensors.
fn safetensors(tensors: &[(&str, &str, &[u64], &[u8])]) -> Vec<u8> {
    let mut data = Vec::new();
    let mut entries = Vec::new();
    for (name, dtype, shape, bytes) in tensors {
        let range = ByteRange::new(data.len() as u64, bytes.len() as u64).unwrap();
        entries.push((*name, Dtype::parse(dtype).unwrap(), shape.to_vec(), range));
        data.extend_from_slice(bytes);
    }
    let mut file = writer::header_bytes(&[("format".into(), "pt".into())], &entries);
    file.extend_from_slice(&data);
    file
}

fn noise(n: usize, seed: u32) -> Vec<u8> {
    let mut x = seed | 1;
    let mut next = || {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (x >> 24) as u8
    };
    (0..n).map(|_| next()).collect()
}

/// `bytes` with a few changes.
fn nudged(bytes: &[u8], every: usize) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for b in out.iter_mut().step_by(every) {
        *b = b.wrapping_add(1);
    }
    out
}

/// Bases and fine-tunes that cover every operation.
fn variety() -> (Files, Files) {
    let w = noise;
    let (bf16, f32s, f64s, f8) = (w(2 * 3000, 1), w(4 * 640, 2), w(8 * 200, 3), w(700, 4));
    let (ids, same, grown) = (w(8 * 64, 5), w(2 * 500, 7), w(2 * 50 * 64, 8));
    let widened: Vec<u8> = same.chunks(2).flat_map(|b| [0, 0, b[0], b[1]]).collect();
    let base = safetensors(&[
        ("bf16", "BF16", &[30, 100], &bf16),
        ("f16", "F16", &[3000], &bf16),
        ("f32", "F32", &[10, 64], &f32s),
        ("f64", "F64", &[200], &f64s),
        ("f8", "F8_E4M3", &[7, 100], &f8),
        ("f4", "F4", &[1400], &f8),
        ("ids", "I64", &[64], &ids),
        ("same", "BF16", &[500], &same),
        ("widened", "BF16", &[500], &same),
        ("old.layer.0.weight", "BF16", &[30, 100], &nudged(&bf16, 7)),
        ("shrunk", "BF16", &[50, 64], &grown),
        ("empty", "F32", &[0, 4], &[]),
        ("scalar", "F32", &[], &f32s[..4]),
        ("complex", "C64", &[80], &f32s[..640]),
        ("retyped", "F8_E8M0", &[700], &f8),
        ("grown", "BF16", &[50, 64], &grown),
    ]);
    let fine = safetensors(&[
        ("bf16", "BF16", &[30, 100], &nudged(&bf16, 10)),
        ("f16", "F16", &[3000], &nudged(&bf16, 31)),
        ("f32", "F32", &[10, 64], &nudged(&f32s, 4)),
        ("f64", "F64", &[200], &nudged(&f64s, 5)),
        ("f8", "F8_E4M3", &[7, 100], &nudged(&f8, 6)),
        ("f4", "F4", &[1400], &nudged(&f8, 3)),
        ("ids", "I64", &[64], &nudged(&ids, 16)),
        ("same", "BF16", &[500], &same),
        ("widened", "F32", &[500], &nudged(&widened, 4)),
        ("new.layer.0.weight", "BF16", &[30, 100], &nudged(&bf16, 7)),
        (
            "grown",
            "BF16",
            &[53, 64],
            &[&nudged(&grown, 9)[..], &w(384, 9)].concat(),
        ),
        ("shrunk", "BF16", &[40, 64], &nudged(&grown, 5)[..5120]),
        ("added", "U8", &[3, 300], &w(900, 11)),
        ("zeros", "I32", &[500], &[0; 2000]),
        ("empty", "F32", &[0, 4], &[]),
        ("scalar", "F32", &[], &f32s[4..8]),
        ("complex", "C64", &[80], &nudged(&f32s[..640], 8)),
        ("retyped", "BF16", &[350], &f8),
    ]);
    (one(base), one(fine))
}

#[test]
fn a_real_pair_comes_back_at_every_effort() {
    let (base, fine) = (one(data("base.safetensors")), one(data("ft-sft.safetensors")));
    let (delta, report) = encode_with(&base, &fine, r#"{"strategy":"lossless"}"#, false);
    let bits = delta.len() as f64 * 8.0 / report["elements"].as_f64().unwrap();
    println!("{bits:.4} bits");
    assert!(bits < 4.05, "{bits}");
    assert!(decode(&base, &delta, r#"{"readBack":true}"#, false).unwrap() == fine);
    for effort in 0..=3 {
        let options = format!(r#"{{"strategy":"lossless","effort":{effort},"lowRank":"off"}}"#);
        let (delta, _) = encode_with(&base, &fine, &options, false);
        assert!(decode(&base, &delta, "{}", false).unwrap() == fine, "effort {effort}");
    }
}

#[test]
fn every_operation_and_dtype_comes_back() {
    let (base, fine) = variety();
    let options = r#"{"strategy":"lossless","baseName":"over/there"}"#;
    let (delta, report) = encode_with(&base, &fine, options, false);
    assert!(
        encode_with(&base, &fine, options, true).0 == delta,
        "the order of tasks matters"
    );
    assert!(decode(&base, &delta, "{}", true).unwrap() == fine);
    for (name, expected) in [
        ("same", "unchanged"),
        ("empty", "unchanged"),
        ("bf16", "delta"),
        ("widened", "delta"),
        ("grown", "delta"),
        ("shrunk", "delta"),
        ("complex", "delta"),
        ("new.layer.0.weight", "unchanged"),
        ("added", "stored"),
        ("retyped", "stored"),
    ] {
        let tensors = report["tensors"].as_array().unwrap();
        let t = tensors.iter().find(|t| t["name"] == name).unwrap();
        assert_eq!(t["strategy"], expected, "{name}");
    }
    let mut host = Memory::new().with(Role::Delta, 0, "d.wdelta", delta.clone());
    let inspected = host.run("inspect", "{}").unwrap();
    assert_eq!(
        (&inspected["version"], &inspected["baseName"]),
        (&2.into(), &"over/there".into())
    );
    let checked = host.run("verify", "{}").unwrap();
    assert_eq!(checked["deltas"][0]["base"], "not checked");
    let mut host = Memory::new().model(Role::Base, &base).with(Role::Delta, 0, "d", delta);
    assert_eq!(host.run("verify", "{}").unwrap()["deltas"][0]["base"], "verified");
}

#[test]
fn an_unchanged_model_is_small() {
    let (base, _) = variety();
    let delta = encode(&base, &base);
    assert!(delta.len() <= 600 + 22 * 16, "{}", delta.len());
    assert!(decode(&base, &delta, "{}", false).unwrap() == base);
}

#[test]
fn another_base_is_named_tensor_by_tensor() {
    let (base, fine) = variety();
    let delta = encode(&base, &fine);
    let mut other = base.clone();
    *other[0].1.last_mut().unwrap() ^= 1;
    let e = decode(&other, &delta, "{}", false).unwrap_err();
    assert_eq!(e.code, Code::WrongBase, "{e:?}");
    assert!(e.message.contains("`grown`"), "{e:?}");
}

#[test]
fn prefixes_and_changed_bytes_are_found() {
    let (base, fine) = variety();
    let delta = encode(&base, &fine);
    for n in (0..delta.len()).step_by(97).chain(delta.len() - 60..delta.len()) {
        assert!(decode(&base, &delta[..n], "{}", false).is_err(), "prefix {n}");
    }
    for at in (0..delta.len()).step_by(13) {
        let mut bad = delta.clone();
        bad[at] ^= 1 << (at % 8);
        let e = decode(&base, &bad, "{}", false).unwrap_err();
        assert_ne!(e.code, Code::Internal, "byte {at}: {e:?}");
    }
}
