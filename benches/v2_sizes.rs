//! Bits per weight of the lossless coder on the shared pairs, beside what is to be reached. Container headers and
//! digests are counted as 110 bytes per tensor; `enc` and `dec` are MB of fine-tune per second in one thread, from
//! memory to memory, once.
//!
//! `cargo bench --bench v2_sizes [-- FILTER]`; `WDELTA_DATA` names the folder of the pairs (`tests/data` has those of stories260k-full), `EFFORT=0…3` and
//! `LOW_RANK=0` change the effort.

#[path = "common/v2.rs"]
mod v2;

use safetensors::SafeTensors;
use std::time::Instant;
use wdelta::dtype::Dtype;
use wdelta::strategy::lossless::fit::Effort;

const PAIRS: [(&str, &str, &str, f64); 14] = [
    ("minilm-bf16", "base", "ft-lr1e-4", 4.97),
    ("minilm-bf16", "base", "ft-sft", 2.24),
    ("minilm-bf16", "base", "ft-step2", 1.71),
    ("minilm-bf16", "base", "ft-step1", 1.33),
    ("minilm-bf16", "base", "ft-lr1e-6", 0.20),
    ("minilm-bf16", "ft-step1", "ft-step2", 1.38),
    ("minilm-f32", "base", "ft", 15.4),
    ("tinyllama-local", "base", "ft-sft", 3.85),
    ("tinyllama-local", "base", "ft-step1", 3.25),
    ("tinyllama-local", "base", "ft-lr1e-4", 0.0),
    ("stories260k-full", "base", "ft-sft", 4.05),
    ("stories260k-full", "base", "ft-step1", 2.02),
    ("stories260k-full", "base", "ft-lr1e-4", 0.0),
    ("stories260k", "base", "ft-sft", 0.0),
];

fn main() {
    let filter = std::env::args()
        .skip(1)
        .find(|a| !a.starts_with('-'))
        .unwrap_or_default();
    let folder = std::env::var("WDELTA_DATA").unwrap_or_else(|_| "tests/data".into());
    println!(
        "{:44} {:>7} {:>7} {:>7} {:>7}  parts (bits per weight)",
        "pair", "bits", "target", "enc", "dec"
    );
    for (model, base, fine, target) in PAIRS {
        let name = format!("{model} {base} -> {fine}");
        if !name.contains(&filter) {
            continue;
        }
        let read = |f: &str| std::fs::read(format!("{folder}/{model}/{f}.safetensors"));
        let (Ok(base), Ok(fine)) = (read(base), read(fine)) else {
            println!("{name:44} is not in {folder}");
            continue;
        };
        let (base, fine) = (
            SafeTensors::deserialize(&base).unwrap(),
            SafeTensors::deserialize(&fine).unwrap(),
        );
        pair(&name, target, &base, &fine);
    }
}

fn pair(name: &str, target: f64, base: &SafeTensors<'_>, fine: &SafeTensors<'_>) {
    let env = |name: &str, default| std::env::var(name).map_or(default, |r| r.parse().unwrap());
    let effort = Effort::level(env("EFFORT", 2), env("LOW_RANK", 1) > 0);
    let mut names = fine.names();
    names.sort();
    let tensors: Vec<_> = names
        .iter()
        .map(|t| {
            let (b, f) = (base.tensor(t).unwrap(), fine.tensor(t).unwrap());
            let dtype = Dtype::parse(&format!("{:?}", b.dtype())).unwrap();
            let shape: Vec<u64> = b.shape().iter().map(|&d| d as u64).collect();
            v2::Tensor::new(dtype, &shape, b.data().to_vec(), f.data().to_vec())
        })
        .collect();
    let n: usize = tensors.iter().map(|t| t.base.len() / t.layout.bytes()).sum();
    let mut outs: Vec<Vec<u8>> = tensors.iter().map(|t| vec![0; t.base.len()]).collect();
    let megabytes = outs.iter().map(Vec::len).sum::<usize>() as f64 / 1e6;
    let start = Instant::now();
    let coded = v2::encode(&tensors, effort);
    let encode = megabytes / start.elapsed().as_secs_f64();
    let start = Instant::now();
    v2::decode(&tensors, &coded, &mut outs).unwrap();
    let decode = megabytes / start.elapsed().as_secs_f64();
    for (t, out) in tensors.iter().zip(&outs) {
        assert!(t.fine == *out, "not rebuilt");
    }
    let headers = 110 * tensors.len() as u64;
    let (tables, columns) = (v2::table_bytes(&coded.set), v2::column_bytes(&coded));
    let bits = |b: u64| b as f64 * 8.0 / n as f64;
    println!(
        "{name:44} {:7.4} {target:7.2} {encode:7.1} {decode:7.1}  words {:.4} raw {:.4} rows {:.4} cols {:.4} tables {:.4} head {:.4}, {} classes, {} phased",
        bits(coded.block.len() as u64 + tables + columns + headers),
        bits(coded.stats.words as u64),
        bits(coded.stats.raw as u64),
        bits(coded.stats.side as u64),
        bits(columns),
        bits(tables),
        bits(headers),
        coded.set.window.classes,
        coded.set.phased,
    );
    let ranks: Vec<_> = coded
        .fits
        .iter()
        .map(|f| f.factors.as_ref().map_or(0, |f| f.rank))
        .collect();
    if ranks.iter().any(|&r| r > 0) {
        println!("    ranks {ranks:?}");
    }
}
