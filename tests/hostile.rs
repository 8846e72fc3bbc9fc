//! Files that lie: each prefix and each flipped byte of small files, as they are and with the checksum made right again,
//! and headers that claim the impossible. Nothing may panic, hang or allocate by a claim.

mod common;

use common::random::normal;
use common::{bf16s, f32s, read_safetensors, safetensors, Memory};
use sha2::{Digest, Sha256};
use wdelta::error::{Code, Result};
use wdelta::job::machine::Role;

fn base() -> Vec<u8> {
    safetensors(&[
        ("a", "BF16", vec![6, 5], bf16s(&normal(30, 0.1, 1))),
        ("b", "F32", vec![9], f32s(&normal(9, 0.1, 2))),
    ])
}

fn delta(strategy: &str) -> Vec<u8> {
    let finetuned = safetensors(&[
        ("a", "BF16", vec![6, 5], bf16s(&normal(30, 0.1, 3))),
        ("b", "F32", vec![9], f32s(&normal(9, 0.1, 4))),
    ]);
    let mut host = Memory::new()
        .with(Role::Base, 0, "b", base())
        .with(Role::Finetuned, 0, "f", finetuned);
    host.run("encode", &format!("{{\"strategy\":\"{strategy}\"}}")).unwrap();
    host.outputs.remove(0).1
}

fn seal(mut file: Vec<u8>) -> Vec<u8> {
    let end = file.len() - 32;
    let digest = Sha256::digest(&file[..end]);
    file[end..].copy_from_slice(&digest);
    file
}

fn decode(file: &[u8], verify: bool) -> Result<Vec<u8>> {
    let mut host = Memory::new()
        .with(Role::Base, 0, "b", base())
        .with(Role::Delta, 0, "d", file);
    host.run("decode", &format!("{{\"verify\":{verify}}}"))?;
    Ok(host.outputs.remove(0).1)
}

/// Runs what reads a delta alone: it may fail, but must not panic, nor run on.
fn touch_everything(file: &[u8]) {
    for kind in ["inspect", "verify", "stats", "lineage"] {
        let _ = Memory::new().with(Role::Delta, 0, "d", file).run(kind, "{}");
    }
}

#[test]
fn every_prefix_fails_cleanly() {
    for strategy in ["int4", "sparse", "quantized"] {
        let file = delta(strategy);
        for len in 0..file.len() {
            let error = decode(&file[..len], true).unwrap_err();
            assert!(
                matches!(error.code, Code::Checksum | Code::NotWdelta | Code::Truncated),
                "{strategy} {len}: {} {error}",
                error.code
            );
            touch_everything(&file[..len]);
            if len >= 64 {
                let sealed = seal(file[..len].to_vec());
                assert!(decode(&sealed, true).is_err(), "{strategy} {len}, sealed");
                touch_everything(&sealed);
            }
        }
    }
}

#[test]
fn every_flipped_byte_is_noticed() {
    for strategy in ["int4", "sparse", "quantized"] {
        let file = delta(strategy);
        let good = decode(&file, true).unwrap();
        for at in 0..file.len() {
            for bit in [1u8, 0x80] {
                let mut bad = file.clone();
                bad[at] ^= bit;
                let error = decode(&bad, true).unwrap_err();
                assert!(
                    matches!(error.code, Code::Checksum | Code::NotWdelta | Code::UnsupportedVersion),
                    "{strategy} {at}: {} {error}",
                    error.code
                );
                touch_everything(&bad);
                // Made right again: the parsers see it. It fails, or gives a model of the same form.
                if at < file.len() - 32 {
                    let sealed = seal(bad);
                    touch_everything(&sealed);
                    if let Ok(model) = decode(&sealed, true) {
                        let (model, good) = (read_safetensors(&model), read_safetensors(&good));
                        assert!(
                            good.iter().all(|(n, t)| model[n].1.len() == t.1.len()),
                            "{strategy} {at}"
                        );
                    }
                    let _ = decode(&sealed, false);
                }
            }
        }
    }
}

/// A sealed file with this header and this payload.
fn file_with(header: &str, payload: &[u8]) -> Vec<u8> {
    let mut file = b"wdelta\0\x01\0\0\0".to_vec();
    file.extend_from_slice(&(header.len() as u32).to_le_bytes());
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(payload);
    file.extend_from_slice(&[0; 32]);
    seal(file)
}

fn record(name: &str, field: &str, dtype: &str, dims: &[u64], data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for text in [name, field, dtype] {
        bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes.extend_from_slice(&(dims.len() as u32).to_le_bytes());
    dims.iter().for_each(|d| bytes.extend_from_slice(&d.to_le_bytes()));
    bytes.extend_from_slice(&(data.len() as u64).to_le_bytes());
    bytes.extend_from_slice(data);
    bytes
}

const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

fn header_of(tensor: &str) -> String {
    format!("{{\"parent_hash\":\"{ZEROS}\",\"strategy\":\"sparse\",\"tensors\":{{\"w\":{tensor}}}}}")
}

#[test]
fn a_small_file_that_claims_ten_trillion_elements() {
    let header = header_of(r#"{"strategy":"sparse","shape":[10000000000000],"dtype":"float32","sparsity":0.9}"#);
    let mut payload = record("w", "indices", "int64", &[1], &7i64.to_le_bytes());
    payload.extend(record("w", "values", "float32", &[1], &1f32.to_le_bytes()));
    let file = file_with(&header, &payload);
    assert!(file.len() < 400);
    let mut host = Memory::new()
        .with(Role::Base, 0, "b", base())
        .with(Role::Delta, 0, "d", file.clone());
    assert_eq!(host.run("decode", "{}").unwrap_err().code, Code::MissingTensor);
    // Shown, not allocated.
    let mut host = Memory::new().with(Role::Delta, 0, "d", file);
    let report = host.run("inspect", "{}").unwrap();
    assert_eq!(report["elements"], 10_000_000_000_000u64);
}

#[test]
fn indices_out_of_range_repeated_or_negative_are_refused() {
    let header = header_of(r#"{"strategy":"sparse","shape":[4],"dtype":"float32","sparsity":0.5}"#);
    for indices in [[0i64, 4], [1, 1], [2, 1], [-1, 2], [i64::MIN, i64::MAX]] {
        let data: Vec<u8> = indices.iter().flat_map(|i| i.to_le_bytes()).collect();
        let mut payload = record("w", "indices", "int64", &[2], &data);
        payload.extend(record("w", "values", "float32", &[2], &[0; 8]));
        let mut host = Memory::new().with(Role::Delta, 0, "d", file_with(&header, &payload));
        let error = host.run("verify", "{}").unwrap_err();
        assert_eq!(
            (error.code, error.tensor.as_deref()),
            (Code::Malformed, Some("w")),
            "{indices:?}"
        );
    }
}

#[test]
fn absurd_headers_are_refused() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let tensor = r#"{"strategy":"sparse","shape":[1],"dtype":"float32","sparsity":0.5}"#;
    let headers = [
        String::new(),
        "{".into(),
        "null".into(),
        deep.clone(),
        format!("{{\"parent_hash\":\"{ZEROS}\",\"strategy\":\"sparse\",\"tensors\":{{}},\"x\":{deep}}}"),
        header_of(r#"{"strategy":"nope","shape":[1],"dtype":"float32"}"#),
        header_of(r#"{"strategy":"sparse","shape":[-1],"dtype":"float32","sparsity":0.5}"#),
        header_of(r#"{"strategy":"sparse","shape":[1e99],"dtype":"float32","sparsity":0.5}"#),
        header_of(r#"{"strategy":"sparse","shape":[18446744073709551615,2],"dtype":"float32","sparsity":0.5}"#),
        header_of(
            r#"{"strategy":"int4","shape":[4],"dtype":"float32","n_elements":5,"n_outliers":1,"outlier_fraction":0}"#,
        ),
        header_of(
            r#"{"strategy":"int4","shape":[4],"dtype":"float32","n_elements":4,"n_outliers":9,"outlier_fraction":0}"#,
        ),
        header_of(r#"{"strategy":"quantized","shape":[4,2],"dtype":"float32","n_elements":8,"n_cols":0}"#),
        header_of(&format!("{tensor},\"w\":{tensor}")),
        format!("{{\"parent_hash\":\"short\",\"strategy\":\"sparse\",\"tensors\":{{\"w\":{tensor}}}}}"),
    ];
    for header in headers {
        let file = file_with(&header, &[]);
        let mut host = Memory::new().with(Role::Delta, 0, "d", file);
        let error = host.run("verify", "{}").expect_err(&header[..header.len().min(80)]);
        assert!(
            matches!(
                error.code,
                Code::Malformed | Code::Limit | Code::UnsupportedVersion | Code::UnsupportedDtype
            ),
            "{}: {error}",
            error.code
        );
    }
    // A header length beyond the file, and record lengths beyond it.
    let mut file = file_with(&header_of(tensor), &[]);
    file[11..15].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut host = Memory::new().with(Role::Delta, 0, "d", seal(file));
    assert_eq!(host.run("verify", "{}").unwrap_err().code, Code::Truncated);
    for absurd in [u32::MAX.to_le_bytes().to_vec(), vec![0xff; 40]] {
        let mut host = Memory::new().with(Role::Delta, 0, "d", file_with(&header_of(tensor), &absurd));
        assert!(matches!(
            host.run("verify", "{}").unwrap_err().code,
            Code::Malformed | Code::Truncated
        ));
    }
}

#[test]
fn files_of_other_kinds_are_recognised() {
    let mut host = Memory::new().with(Role::Delta, 0, "model.safetensors", base());
    let error = host.run("inspect", "{}").unwrap_err();
    assert_eq!(error.code, Code::NotWdelta);
    assert!(error.message.contains("safetensors"), "{error}");
    let mut version_99 = delta("int4");
    version_99[7] = 99;
    let mut host = Memory::new().with(Role::Delta, 0, "d", seal(version_99));
    let error = host.run("verify", "{}").unwrap_err();
    assert_eq!(error.code, Code::UnsupportedVersion);
    assert!(error.message.contains("99"), "{error}");
    for (head, word) in [
        (&b"PK\x03\x04aaaaaaaaaaaaaaaa"[..], "safetensors"),
        (b"GGUF\x03\0\0\0aaaaaaaaaaaa", "GGUF"),
    ] {
        let mut host = Memory::new()
            .with(Role::Base, 0, "x.bin", head)
            .with(Role::Delta, 0, "d", delta("int4"));
        let error = host.run("decode", "{}").unwrap_err();
        assert!(error.message.contains(word), "{error}");
    }
}

#[test]
fn every_prefix_and_flip_of_a_base_fails_cleanly() {
    let (good, delta) = (base(), delta("int4"));
    for len in 0..good.len() {
        let mut host = Memory::new()
            .with(Role::Base, 0, "b", &good[..len])
            .with(Role::Delta, 0, "d", delta.clone());
        assert!(host.run("decode", "{}").is_err(), "{len}");
    }
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 4;
        let mut host = Memory::new()
            .with(Role::Base, 0, "b", bad)
            .with(Role::Delta, 0, "d", delta.clone());
        assert!(host.run("decode", "{}").is_err(), "{at}");
    }
}
