//! Version 2 through the jobs: what comes out is what went in, byte for byte, and damage is found.
#![cfg(not(target_arch = "wasm32"))]

mod common;

use common::pairs::{decode, encode, encode_with, one, variety};
use common::Memory;
use std::path::Path;
use wdelta::error::Code;
use wdelta::job::machine::Role;

fn data(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/stories260k-full");
    std::fs::read(folder.join(name)).unwrap()
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
    assert!(e.message.contains("\"grown\""), "{e:?}");
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

#[test]
fn the_file_that_the_specification_shows_is_a_golden_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("src/format/v2/README.md")).unwrap();
    let mut shown = Vec::new();
    for line in text.lines() {
        // `offset | bytes | meaning`; lines of tables begin with `|`.
        let mut cells = line.split('|').map(str::trim);
        let Some(offset) = cells.next().and_then(|cell| cell.parse::<usize>().ok()) else {
            continue;
        };
        assert_eq!(offset, shown.len(), "{line}");
        let bytes = cells.next().unwrap_or_default().split(' ');
        shown.extend(bytes.map(|byte| u8::from_str_radix(byte, 16).unwrap()));
    }
    assert_eq!(
        shown,
        std::fs::read(root.join("tests/golden/v2/nothing/delta.wdelta")).unwrap()
    );
}
