//! Bits per weight of the lossless coder on the shared pairs, beside what is to be reached. Container headers and
//! digests are counted as 110 bytes per tensor.
//!
//! `cargo bench --bench v2_sizes [-- FILTER]`; `WDELTA_DATA` names the folder of the pairs.

use safetensors::SafeTensors;
use std::time::Instant;
use wdelta::dtype::Dtype;
use wdelta::kernels::v2::element::Layout;
use wdelta::kernels::v2::tables::{DecodeTables, SYMBOLS};
use wdelta::strategy::lossless::{block, fit, low_rank, merge, model::Window, rows};

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
    let filter = std::env::args().skip(1).find(|a| !a.starts_with('-')).unwrap_or_default();
    let folder = std::env::var("WDELTA_DATA").unwrap_or_else(|_| "/work/shared/data".into());
    println!("{:44} {:>7} {:>7}  parts", "pair", "bits", "target");
    for (model, base, fine, target) in PAIRS {
        let name = format!("{model} {base} -> {fine}");
        if !name.contains(&filter) {
            continue;
        }
        let read = |f: &str| std::fs::read(format!("{folder}/{model}/{f}.safetensors")).expect("a shared pair");
        let (base, fine) = (read(base), read(fine));
        let (base, fine) = (SafeTensors::deserialize(&base).unwrap(), SafeTensors::deserialize(&fine).unwrap());
        pair(&name, target, &base, &fine);
    }
}

struct Tensor<'a> {
    layout: Layout,
    columns: usize,
    base: &'a [u8],
    fine: &'a [u8],
    fit: fit::Fit,
}

fn pair(name: &str, target: f64, base: &SafeTensors<'_>, fine: &SafeTensors<'_>) {
    let start = Instant::now();
    let mut names = fine.names();
    names.sort();
    let mut tensors = Vec::new();
    let mut n = 0;
    for t in names {
        let (b, f) = (base.tensor(t).unwrap(), fine.tensor(t).unwrap());
        let dtype = Dtype::parse(&format!("{:?}", b.dtype())).unwrap();
        let layout = Layout::of(dtype);
        let shape: Vec<u64> = b.shape().iter().map(|&d| d as u64).collect();
        let columns = rows::columns(&shape) as usize;
        n += shape.iter().product::<u64>();
        let mut sample = fit::Sample::new(layout, columns);
        sample.add(b.data(), f.data());
        let env = |name: &str, default| std::env::var(name).map_or(default, |r| r.parse().unwrap());
        let effort = fit::Effort {
            rounds: env("ROUNDS", 2),
            columns: true,
            low_rank: env("LOW_RANK", 1) > 0,
        };
        tensors.push(Tensor {
            layout,
            columns,
            base: b.data(),
            fine: f.data(),
            fit: fit::fit(&sample, effort),
        });
    }
    let width = tensors[0].layout.bits;
    let window = Window::for_width(width);
    let mut counts = vec![[0; SYMBOLS]; fit::VARIANTS * window.classes as usize];
    let mut factor_counts = vec![[0; SYMBOLS]; low_rank::FACTOR_CLASSES];
    for t in &tensors {
        let sums = counts.iter_mut().chain(&mut factor_counts);
        for (sum, c) in sums.zip(t.fit.counts.iter().chain(&t.fit.factor_counts)) {
            for (s, c) in sum.iter_mut().zip(c) {
                *s += c;
            }
        }
    }
    let set = merge::tables(window, width, 11, &counts, &factor_counts);
    let table_bytes = merge::table_bytes(&set);
    let mut columns_coder = wdelta::kernels::v2::adaptive::Meter::default();
    let mut models = wdelta::strategy::lossless::side::Scales::default();
    for t in &tensors {
        for &c in &t.fit.columns {
            models.scale(&mut columns_coder, c as i32);
        }
    }
    let mut column_bytes = columns_coder.q8 / 2048 + 1;
    let mut right = 0.0;
    for f in tensors.iter().filter_map(|t| t.fit.factors.as_ref()) {
        column_bytes += 8 + 3 * f.rank as u64 + f.octaves.len() as u64 / 16;
        for (i, &b) in f.right.iter().enumerate() {
            let freqs = &set.freqs[set.factor_context(f.right_classes[i % f.rank])];
            right += 11.0 - (freqs[b as u8 as usize].max(1) as f64).log2();
        }
    }
    column_bytes += (right / 8.0) as u64;
    let ranks: Vec<_> = tensors.iter().map(|t| t.fit.factors.as_ref().map_or(0, |f| f.rank)).collect();
    let segments: Vec<_> = tensors
        .iter()
        .map(|t| block::Segment {
            layout: t.layout,
            columns: t.columns,
            scales: &t.fit.columns,
            factors: t.fit.factors.as_ref(),
            base: t.base,
            fine: t.fine,
        })
        .collect();
    let mut stats = block::Stats::default();
    let bytes = block::encode(&set, &block::cost_table(&set, width), &segments, &mut stats);
    let encoded = start.elapsed();
    let mut outs: Vec<Vec<u8>> = tensors.iter().map(|t| vec![0; t.base.len()]).collect();
    let mut targets: Vec<_> = tensors
        .iter()
        .zip(&mut outs)
        .map(|(t, out)| block::Target {
            layout: t.layout,
            columns: t.columns,
            scales: &t.fit.columns,
            factors: t.fit.factors.as_ref(),
            base: t.base,
            out,
        })
        .collect();
    let start = Instant::now();
    block::decode(&set, &DecodeTables::new(&set.freqs, set.log), &bytes, &mut targets).unwrap();
    let decoded = start.elapsed();
    for (t, out) in tensors.iter().zip(&outs) {
        assert!(t.fine == out, "not rebuilt");
    }
    let headers = 110 * tensors.len() as u64;
    let total = bytes.len() as u64 + table_bytes + column_bytes + headers;
    let bits = |b: u64| b as f64 * 8.0 / n as f64;
    println!(
        "{name:44} {:7.4} {target:7.2}  words {:.4} raw {:.4} rows {:.4} cols {:.4} tables {:.4} ({} classes) head {:.4}  enc {:.0} dec {:.0} M/s",
        bits(total),
        bits(stats.words as u64),
        bits(stats.raw as u64),
        bits(stats.side as u64),
        bits(column_bytes),
        bits(table_bytes),
        set.window.classes,
        bits(headers),
        n as f64 / encoded.as_secs_f64() / 1e6,
        n as f64 / decoded.as_secs_f64() / 1e6,
    );
    if ranks.iter().any(|&r| r > 0) {
        println!("    ranks {ranks:?}, {} of {} classes phased", set.phased, set.window.classes);
    }
}
