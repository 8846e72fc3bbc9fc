//! Every golden case of version 1 through the jobs: what we decode, bit for bit; what we encode in reference mode, byte
//! for byte; what the safe mode writes, decoded again.

mod common;

use common::{files, golden, manifest, read_safetensors, Memory};
use serde_json::{json, Value};
use wdelta::error::Code;
use wdelta::job::machine::Role;

/// Runs `f` on every step of every case with its base and the deltas before it.
fn for_each_step(mut f: impl FnMut(&str, &Value, &[(String, Vec<u8>)], &[Vec<u8>])) {
    let manifest = manifest();
    let mut n = 0;
    for case in manifest["cases"].as_array().unwrap() {
        let base = files(&case["base"]);
        let mut before: Vec<Vec<u8>> = Vec::new();
        for step in case["steps"].as_array().unwrap() {
            f(case["name"].as_str().unwrap(), step, &base, &before);
            before.push(std::fs::read(golden().join(step["file"].as_str().unwrap())).unwrap());
            n += 1;
        }
    }
    assert_eq!(n, 74);
}

fn same_f32(a: &[u8], b: &[u8]) -> bool {
    let value = |b: &[u8]| f32::from_le_bytes(b.try_into().unwrap());
    a.len() == b.len()
        && a.chunks(4)
            .zip(b.chunks(4))
            .all(|(a, b)| a == b || (value(a).is_nan() && value(b).is_nan()))
}

fn assert_model(name: &str, got: &[u8], expected: &[u8]) {
    let (got, expected) = (read_safetensors(got), read_safetensors(expected));
    assert_eq!(got.len(), expected.len(), "{name}");
    for (tensor, (dtype, bytes)) in &expected {
        assert_eq!(got[tensor].0, *dtype, "{name} {tensor}");
        assert!(same_f32(&got[tensor].1, bytes), "{name} {tensor}");
    }
}

#[test]
fn decodes_every_file_bit_for_bit() {
    for_each_step(|name, step, base, before| {
        let file = std::fs::read(golden().join(step["file"].as_str().unwrap())).unwrap();
        let mut host = Memory::new().model(Role::Base, base);
        for (i, delta) in before.iter().chain([&file]).enumerate() {
            host = host.with(Role::Delta, i as u32, "delta.wdelta", delta.clone());
        }
        for backwards in [false, true] {
            host.backwards = backwards;
            let report = host
                .run("decode", r#"{"dtype":"float32","layout":"single","readBack":true}"#)
                .unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(report["links"].as_array().unwrap().len(), before.len() + 1);
            let expected = std::fs::read(golden().join(step["expected"].as_str().unwrap())).unwrap();
            assert_model(name, &host.outputs[0].1, &expected);
        }
        host.run("verify", "{}").unwrap_or_else(|e| panic!("{name}: {e}"));
    });
}

#[test]
fn encodes_what_the_reference_wrote() {
    let mut exact = 0;
    for_each_step(|name, step, base, before| {
        if step["foreign"].as_bool() == Some(true) {
            return;
        }
        let expected = std::fs::read(golden().join(step["file"].as_str().unwrap())).unwrap();
        let mut host = Memory::new()
            .model(Role::Base, base)
            .model(Role::Finetuned, &files(&step["finetuned"]));
        for (i, delta) in before.iter().enumerate() {
            host = host.with(Role::Delta, i as u32, "parent.wdelta", delta.clone());
        }
        let mut options = json!({ "strategy": step["strategy"], "reference": true });
        if step["api"] == "memory" {
            options["hashOrder"] = json!("memory");
        }
        for (key, camel) in [("outlier_fraction", "outlierFraction"), ("sparsity", "sparsity")] {
            if let Some(value) = step["options"].get(key) {
                options[camel] = json!(value.to_string());
            }
        }
        host.run("encode", &options.to_string())
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let ours = &host.outputs[0].1;
        let header = |file: &[u8]| {
            let len = u32::from_le_bytes(file[11..15].try_into().unwrap()) as usize;
            file[..15 + len].to_vec()
        };
        assert_eq!(header(ours), header(&expected), "{name}: header");
        assert_eq!(ours.len(), expected.len(), "{name}: length");
        if step["encode_byte_exact"].as_bool() == Some(true) {
            assert!(*ours == expected, "{name}: bytes differ");
            exact += 1;
        }
        // The plan of reference mode is exact.
        let plan: Value = serde_json::from_str(&host.plans[0]).unwrap();
        assert_eq!(plan["bytes"].as_u64(), Some(expected.len() as u64), "{name}: plan");
    });
    assert_eq!(exact, 62);
}

#[test]
fn refuses_the_damaged_files() {
    for case in manifest()["invalid"].as_array().unwrap() {
        let file = std::fs::read(golden().join(case["file"].as_str().unwrap())).unwrap();
        let expected = match case["error"].as_str().unwrap() {
            "checksum" => Code::Checksum,
            "magic" => Code::NotWdelta,
            "version" => Code::UnsupportedVersion,
            "truncated record" => Code::Truncated,
            other => panic!("unknown error {other}"),
        };
        let error = Memory::new()
            .with(Role::Delta, 0, "x.wdelta", file)
            .run("verify", "{}")
            .unwrap_err();
        assert_eq!(error.code, expected, "{case}: {error}");
    }
}
