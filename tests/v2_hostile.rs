//! Version 2 files that lie: changed bytes and cut ends with all checksums made right again. Nothing may panic, hang or
//! allocate by a claim, and a model that comes out is the right one.
#![cfg(not(target_arch = "wasm32"))]

mod common;

use common::pairs::{decode, encode, one, pt_safetensors, variety, with_deltas, Files};
use common::random::random_bytes;
use common::Memory;
use serde_json::Value;
use sha2::{Digest, Sha256};
use wdelta::error::{Code, Error};
use wdelta::format::v2::{BaseRef, Block, Head, Index, Op, TensorRecord, TRAILER};
use wdelta::job::machine::Role;
use xxhash_rust::xxh3::xxh3_64;

/// Where the parts of a file lie that end with an xxh3 of their own: table sets, parameters, blocks.
fn sections(delta: &[u8]) -> Vec<(usize, usize)> {
    let report = with_deltas(&Vec::new(), &[delta]).run("inspect", "{}").unwrap();
    let place = |p: &Value| {
        let at = p["offset"].as_u64().unwrap() as usize;
        (at, at + p["length"].as_u64().unwrap() as usize)
    };
    let mut all: Vec<_> = report["layout"]["sets"].as_array().unwrap().iter().map(place).collect();
    for t in report["tensors"].as_array().unwrap() {
        all.extend(t["records"].as_array().unwrap().iter().map(place));
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// Makes the checksums of all sections, of the index and of the file right.
fn seal(mut file: Vec<u8>, sections: &[(usize, usize)]) -> Vec<u8> {
    for &(from, to) in sections {
        let sum = xxh3_64(&file[from..to - 8]).to_le_bytes();
        file[to - 8..to].copy_from_slice(&sum);
    }
    let end = file.len();
    let index = sections.last().map_or(12, |s| s.1);
    let sum = xxh3_64(&file[index..end - TRAILER as usize]).to_le_bytes();
    file[end - 40..end - 32].copy_from_slice(&sum);
    let sum = Sha256::digest(&file[..end - 32]);
    file[end - 32..].copy_from_slice(&sum);
    file
}

/// Runs every job over a delta; none may end with a defect of ours.
fn touch(base: &Files, delta: &[u8]) {
    for (kind, with_base) in [
        ("inspect", false),
        ("verify", false),
        ("verify", true),
        ("tensors", true),
        ("stats", true),
    ] {
        let files = if with_base { base.clone() } else { Vec::new() };
        if let Err(e) = with_deltas(&files, &[delta]).run(kind, "{}") {
            assert_ne!(e.code, Code::Internal, "{kind}: {e}");
        }
    }
}

fn right_or_refused(result: Result<Files, Error>, fine: &Files, what: &str) -> bool {
    match result {
        Ok(files) => {
            assert!(files == *fine, "{what}: another model came out");
            false
        }
        Err(e) => {
            assert_ne!(e.code, Code::Internal, "{what}: {e}");
            true
        }
    }
}

#[test]
fn changes_under_right_checksums_are_found_or_harmless() {
    let (base, fine) = variety();
    let delta = encode(&base, &fine);
    let sections = sections(&delta);
    let mut refused = 0;
    let mut tried = 0;
    for at in 12..delta.len() - TRAILER as usize {
        for flip in [1 << (at % 8), 0xff] {
            let mut bad = delta.clone();
            bad[at] ^= flip;
            let bad = seal(bad, &sections);
            tried += 1;
            let found = decode(&base, &bad, "{}", false);
            refused += right_or_refused(found, &fine, &format!("byte {at}")) as usize;
            if at % 21 == 0 {
                touch(&base, &bad);
            }
        }
    }
    assert!(refused * 10 > tried * 9, "{refused} of {tried}");
}

/// A delta with another index, all checksums right.
fn with_index(delta: &[u8], change: impl FnOnce(&mut Index)) -> Vec<u8> {
    let sections = sections(delta);
    let (at, end) = (sections.last().unwrap().1, delta.len() - TRAILER as usize);
    let mut index = Index::parse(&delta[at..end]).unwrap();
    change(&mut index);
    let bytes = index.to_bytes().unwrap();
    let mut file = [&delta[..at], &bytes].concat();
    for n in [at as u64, bytes.len() as u64, 0] {
        file.extend_from_slice(&n.to_le_bytes());
    }
    file.extend_from_slice(&[0; 32]);
    seal(file, &sections)
}

#[test]
fn another_header_or_path_is_not_the_fine_tunes() {
    let (base, fine) = variety();
    let delta = encode(&base, &fine);
    assert!(decode(&base, &with_index(&delta, |_| ()), "{}", false).unwrap() == fine);
    let changes: [fn(&mut Index); 3] = [
        |index| index.files[0].path = "other.safetensors".into(),
        |index| match &mut index.files[0].head {
            Head::Written(metadata) => metadata.push(("a".into(), "b".into())),
            Head::Verbatim(head) => *head.last_mut().unwrap() = b'\n',
        },
        |index| index.digests[0][3] ^= 1,
    ];
    for change in changes {
        let bad = with_index(&delta, change);
        let e = decode(&base, &bad, "{}", false).unwrap_err();
        assert!(e.code == Code::Checksum && e.to_string().contains("header"), "{e}");
        assert!(with_deltas(&Vec::new(), &[&bad]).run("verify", "{}").is_err());
        // In a delta without digests of files nothing contradicts.
        let old = with_index(&bad, |index| index.digests.clear());
        assert!(decode(&base, &old, "{}", false).is_ok());
    }
}

#[test]
fn sealed_prefixes_are_refused() {
    let (base, fine) = variety();
    let delta = encode(&base, &fine);
    for len in (60..delta.len()).step_by(53) {
        let mut cut = delta[..len].to_vec();
        let sum = Sha256::digest(&cut[..len - 32]);
        cut[len - 32..].copy_from_slice(&sum);
        let e = decode(&base, &cut, "{}", false).unwrap_err();
        assert!(
            matches!(e.code, Code::Truncated | Code::Checksum | Code::Malformed | Code::Limit),
            "{len}: {e}"
        );
        touch(&base, &cut);
    }
}

/// A sealed file of an index and nothing else.
fn of_index(index: &Index) -> Vec<u8> {
    let mut file = b"wdelta\0\x02\0\0\0\0".to_vec();
    let bytes = index.to_bytes().unwrap();
    file.extend_from_slice(&bytes);
    for n in [12, bytes.len() as u64, 0] {
        file.extend_from_slice(&n.to_le_bytes());
    }
    file.extend_from_slice(&[0; 32]);
    seal(file, &[])
}

#[test]
fn an_index_that_claims_the_impossible_is_refused() {
    let base = one(pt_safetensors(&[("t", "F32", &[4], &random_bytes(16, 1))]));
    let tensor = |shape: &[u64], op: Op| TensorRecord {
        name: "t".into(),
        shape: shape.to_vec(),
        op,
        base: (op != Op::Stored).then(|| BaseRef {
            name: "t".into(),
            dtype: wdelta::dtype::Dtype::U8,
            shape: shape.to_vec(),
            digest: [0; 16],
        }),
        ..TensorRecord::default()
    };
    for (shape, op) in [
        (vec![u64::MAX, 3], Op::Stored),
        (vec![1 << 40], Op::Stored),
        (vec![1 << 62], Op::Unchanged),
        (vec![1 << 40, 1 << 20], Op::Delta),
        (vec![4], Op::Unchanged),
        (vec![4], Op::Tied { back: 1 }),
    ] {
        let mut index = Index {
            tensors: vec![tensor(&shape, op)],
            ..Index::default()
        };
        index.files.push(wdelta::format::v2::FileRecord {
            path: "model.safetensors".into(),
            tensors: 1,
            ..Default::default()
        });
        if op.is_tied() {
            index.tensors[0].base = None;
        }
        let file = of_index(&index);
        assert!(file.len() < 300);
        let e = decode(&base, &file, "{}", false).unwrap_err();
        assert!(
            matches!(e.code, Code::Malformed | Code::WrongBase | Code::Limit),
            "{shape:?}: {} {e}",
            e.code
        );
        touch(&base, &file);
        let mut host = Memory::new()
            .model(Role::Base, &base)
            .model(Role::Finetuned, &base)
            .with(Role::Delta, 0, "d", file);
        assert!(host.run("encode", "{}").is_err());
    }
    // Blocks of nothing cost nothing in the file: what is made of each must not be much memory.
    let mut index = Index {
        tensors: vec![tensor(&[1 << 17, 1024], Op::Stored)],
        blocks: vec![Block { len: 0, rows: 1 }; 1 << 17],
        ..Index::default()
    };
    index.files.push(wdelta::format::v2::FileRecord {
        path: "model.safetensors".into(),
        tensors: 1,
        ..Default::default()
    });
    let file = of_index(&index);
    assert!(file.len() < 1000, "{}", file.len());
    let mut host = Memory::new().with(Role::Delta, 0, "d", file);
    assert_eq!(host.run("inspect", "{}").unwrap_err().code, Code::Malformed);
    for path in ["../x", "/x", "a//b", "a\\b", "C:x", ""] {
        let mut index = Index::default();
        index.files.push(wdelta::format::v2::FileRecord {
            path: path.into(),
            ..Default::default()
        });
        // Writing and reading are one pass: what cannot be read cannot be written.
        assert_eq!(index.to_bytes().unwrap_err().code, Code::Malformed, "{path}");
    }
}
