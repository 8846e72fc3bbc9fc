//! The fuzz targets' cases, on their seeds, the golden files, and these cut short: what a change breaks shows without a fuzzer.
#![cfg(not(target_arch = "wasm32"))]

mod common;

#[path = "fuzz/cases/safetensors_header.rs"]
mod safetensors_header;
#[path = "fuzz/cases/v1.rs"]
mod v1;
#[path = "fuzz/cases/v2_block.rs"]
mod v2_block;
#[path = "fuzz/cases/v2_index.rs"]
mod v2_index;

use std::fs;
use std::path::Path;

/// Every file in a folder of `tests`, and in those below it, whose name ends like this.
fn files(folder: &str, end: &str) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_str().is_some_and(|p| p.ends_with(end)) {
                found.push(fs::read(path).unwrap());
            }
        }
    }
    assert!(!found.is_empty(), "{folder}: nothing ends in {end}");
    found
}

/// Runs a case on inputs, whole and cut short at a dozen places.
fn run(case: fn(&[u8]), inputs: &[Vec<u8>]) {
    for input in inputs {
        case(input);
        for twelfth in 0..12 {
            case(&input[..input.len() * twelfth / 12]);
        }
    }
}

#[test]
fn safetensors_headers() {
    run(safetensors_header::run, &files("golden", ".safetensors"));
}

#[test]
fn version_1() {
    run(v1::run, &files("golden/v1", ".wdelta"));
}

#[test]
fn indexes_of_version_2() {
    run(v2_index::run, &files("golden/v2", ".wdelta"));
}

#[test]
fn blocks_of_version_2() {
    run(v2_block::run, &files("fuzz/seeds/v2_block", ""));
}
