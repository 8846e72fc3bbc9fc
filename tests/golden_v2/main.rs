//! Golden files of version 2: they decode to what they were made of, whatever later code writes, and damage is found.
//!
//! `cargo test --test golden_v2 -- --ignored` writes those that are not there yet; none is ever changed.
#![cfg(not(target_arch = "wasm32"))]

mod cases;
#[path = "../common/mod.rs"]
#[allow(unused_imports)]
mod common;
mod damage;
mod handmade;
mod weights;

use common::pairs::Files;
use common::Memory;
use serde_json::{json, Value};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use wdelta::error::{Error, Result};
use wdelta::job::machine::Role;

/// More than any result here has, even if a block says that it covers all that it may.
const ROOM: u64 = 64 << 20;

/// A golden file with what it needs.
struct Golden {
    name: String,
    base: Files,
    /// The deltas of its chain that come before it.
    before: Vec<Vec<u8>>,
    delta: Vec<u8>,
    /// Path and SHA-256 of each file of the result.
    files: Vec<(String, String)>,
    identity: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v2")
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn manifest() -> Value {
    let text = std::fs::read(folder().join("manifest.json")).unwrap_or_else(|_| b"{\"cases\":[]}".to_vec());
    serde_json::from_slice(&text).unwrap()
}

fn all() -> Vec<Golden> {
    let read = |path: &str| std::fs::read(folder().join(path)).unwrap();
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    let golden = |case: &Value| {
        let name = text(&case["name"]);
        let deltas = case["deltas"].as_array().unwrap().iter();
        let mut before: Vec<_> = deltas.map(|d| read(&format!("{name}/{}", text(d)))).collect();
        let base = |path: &Value| (text(path), read(&format!("{name}/base/{}", text(path))));
        Golden {
            base: case["base"].as_array().unwrap().iter().map(base).collect(),
            delta: before.pop().unwrap(),
            before,
            files: case["files"]
                .as_object()
                .unwrap()
                .iter()
                .map(|(p, h)| (p.clone(), text(h)))
                .collect(),
            identity: text(&case["identity"]),
            name,
        }
    };
    let all: Vec<_> = manifest()["cases"].as_array().unwrap().iter().map(golden).collect();
    assert!(all.len() >= 12, "golden files are missing");
    all
}

/// A host with a base, the deltas before the last one, and that.
fn host(base: &Files, before: &[Vec<u8>], delta: &[u8]) -> Memory {
    let mut host = Memory::new().model(Role::Base, base);
    for (delta, i) in before.iter().map(Vec::as_slice).chain([delta]).zip(0..) {
        host = host.with(Role::Delta, i, "delta.wdelta", delta);
    }
    host.room = Some(ROOM);
    host
}

/// Decodes to the files of the result.
fn decode(base: &Files, before: &[Vec<u8>], delta: &[u8]) -> Result<Files> {
    let mut host = host(base, before, delta);
    host.run("decode", "{}")?;
    Ok(host.outputs)
}

fn inspect(delta: &[u8]) -> std::result::Result<Value, Error> {
    Memory::new()
        .with(Role::Delta, 0, "delta.wdelta", delta)
        .run("inspect", "{}")
}

/// Paths and SHA-256 of files, by path.
fn hashed(files: &Files) -> Vec<(String, String)> {
    let mut all: Vec<_> = files
        .iter()
        .map(|(path, bytes)| (path.clone(), sha256(bytes)))
        .collect();
    all.sort();
    all
}

#[test]
fn every_golden_file_decodes_to_what_it_was_made_of() {
    for golden in all() {
        let files =
            decode(&golden.base, &golden.before, &golden.delta).unwrap_or_else(|e| panic!("{}: {e}", golden.name));
        assert_eq!(hashed(&files), golden.files, "{}", golden.name);
        assert_eq!(
            inspect(&golden.delta).unwrap()["baseHash"],
            golden.identity,
            "{}",
            golden.name
        );
        let mut host = host(&golden.base, &golden.before, &golden.delta);
        let checked = host
            .run("verify", "{}")
            .unwrap_or_else(|e| panic!("{}: {e}", golden.name));
        let links = checked["deltas"].as_array().unwrap();
        assert_eq!(links.len(), golden.before.len() + 1, "{}", golden.name);
        assert!(
            links.iter().all(|l| l["base"] == "verified"),
            "{}: {checked}",
            golden.name
        );
    }
}

#[test]
#[ignore = "writes the golden files that are not there"]
fn write() {
    let mut manifest = manifest();
    let listed = manifest["cases"].as_array_mut().unwrap();
    for case in cases::all().into_iter().chain(weights::all()).chain(handmade::all()) {
        if listed.iter().any(|c| c["name"] == case.name) {
            continue;
        }
        let (delta, before) = case.deltas.split_last().unwrap();
        let files = decode(&case.base, before, delta).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        if let Some(fine) = &case.fine {
            assert_eq!(hashed(&files), hashed(fine), "{}", case.name);
        }
        let write = |path: String, bytes: &[u8]| {
            let path = folder().join(case.name).join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            assert!(!path.exists(), "{} is there", path.display());
            std::fs::write(path, bytes).unwrap();
        };
        for (path, bytes) in &case.base {
            write(format!("base/{path}"), bytes);
        }
        let names: Vec<String> = match case.deltas.len() {
            1 => vec!["delta.wdelta".into()],
            n => (1..=n).map(|i| format!("delta{i}.wdelta")).collect(),
        };
        for (name, delta) in names.iter().zip(&case.deltas) {
            write(name.clone(), delta);
        }
        let hashes: serde_json::Map<_, _> = hashed(&files).into_iter().map(|(p, h)| (p, h.into())).collect();
        listed.push(json!({
            "name": case.name,
            "covers": case.covers,
            "base": case.base.iter().map(|(path, _)| path).collect::<Vec<_>>(),
            "deltas": names,
            "files": hashes,
            "identity": inspect(delta).unwrap()["baseHash"],
        }));
    }
    let text = serde_json::to_string_pretty(&manifest).unwrap() + "\n";
    std::fs::write(folder().join("manifest.json"), text).unwrap();
}
