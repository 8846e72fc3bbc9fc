//! Golden files that the encoder writes: what changes of weights it finds a way to say.

use super::cases::{case, compact_safetensors, encode, Case, LOSSLESS};
use super::common::pairs::{nudged, one, Files};
use super::common::random::{normal, random_bytes};
use super::common::{bf16s, f32s, Memory};
use std::path::Path;
use wdelta::job::machine::Role;

pub fn all() -> Vec<Case> {
    let mut all = low_rank();
    all.extend(real());
    all.extend(dithered());
    all.extend(chains());
    all.extend(adapters());
    all.extend(narrow());
    all.extend(pruned());
    all.push(nibbles());
    all
}

/// Integers with some of their nibbles moved by one: packed weights, a row that is wider than rows of nibbles may be, rows
/// that the base has not, a base of another dtype; and numbers that are coded as they are.
fn nibbles() -> Case {
    let moved = |bytes: &[u8], one_in: u8, seed: u32| -> Vec<u8> {
        let at = random_bytes(bytes.len(), seed);
        let next = |(&b, r): (&u8, u8)| match (r % one_in, r % 2) {
            (0, 0) => b & 0xf0 | b.wrapping_add(1) & 15,
            (0, _) => b.wrapping_sub(16),
            _ => b,
        };
        bytes.iter().zip(at).map(next).collect()
    };
    let (packed, halves, wide) = (
        random_bytes(12 * 72 * 4, 41),
        random_bytes(24 * 72, 42),
        random_bytes(2 * 4160 * 8, 43),
    );
    let (grown, small, plain) = (
        random_bytes(13 * 72 * 4, 44),
        random_bytes(12 * 72 * 2, 45),
        random_bytes(6 * 72 * 2, 46),
    );
    let widened = |b: &[u8]| -> Vec<u8> {
        let words = b.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]]) as i32);
        words.flat_map(i32::to_le_bytes).collect()
    };
    let base = one(compact_safetensors(&[
        ("four bits", "F4", vec![24, 144], halves.clone()),
        ("grown", "U32", vec![12, 72], grown[..12 * 72 * 4].to_vec()),
        ("halves", "U8", vec![24, 72], halves.clone()),
        ("numbers", "I16", vec![6, 72], plain.clone()),
        ("of another dtype", "I16", vec![12, 72], small.clone()),
        ("packed", "I32", vec![12, 72], packed.clone()),
        ("wide", "I64", vec![2, 4160], wide.clone()),
    ]));
    let fine = one(compact_safetensors(&[
        ("four bits", "F4", vec![24, 144], moved(&halves, 4, 51)),
        ("grown", "U32", vec![13, 72], moved(&grown, 15, 52)),
        ("halves", "U8", vec![24, 72], moved(&halves, 3, 53)),
        ("numbers", "I16", vec![6, 72], nudged(&plain, 2)),
        ("of another dtype", "I32", vec![12, 72], moved(&widened(&small), 33, 54)),
        ("packed", "I32", vec![12, 72], moved(&packed, 15, 55)),
        ("wide", "I64", vec![2, 4160], moved(&wide, 255, 56)),
    ]));
    let covers = "integers by their nibbles, and a row wider than those may be";
    case("nibbles", covers, LOSSLESS, base, fine)
}

/// Every third weight is 0 and every fifth -0, where the base has neither; exactly, with a prediction, and dithered.
fn pruned() -> Vec<Case> {
    let n = 72;
    let (u, v) = (normal(n, 1.0, 35), normal(n, 0.02, 36));
    let w = normal(n * n, 0.05, 37);
    let zero = |i: usize, w: f32| match (i % 3, i % 5) {
        (0, _) => 0.0,
        (_, 0) => -0.0,
        _ => w,
    };
    let predicted: Vec<f32> = (0..n * n).map(|i| zero(i, w[i] + u[i / n] * v[i % n])).collect();
    let few = &w[..16 * 40];
    let near: Vec<f32> = few
        .iter()
        .zip(normal(few.len(), 0.001, 38))
        .map(|(w, d)| w + d)
        .collect();
    let near: Vec<f32> = near.iter().enumerate().map(|(i, &w)| zero(i, w)).collect();
    let halves = |v: &[f32]| v.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect();
    let doubles = |v: &[f32]| v.iter().flat_map(|&v| (v as f64).to_le_bytes()).collect();
    let model = |few: &[f32], all: &[f32]| {
        one(compact_safetensors(&[
            ("bfloat16", "BF16", vec![16, 40], bf16s(few)),
            ("float16", "F16", vec![16, 40], halves(few)),
            ("float32", "F32", vec![16, 40], f32s(few)),
            ("float64", "F64", vec![16, 40], doubles(few)),
            ("integers", "I16", vec![16, 80], f32s(few)),
            ("predicted", "BF16", vec![n as u64, n as u64], bf16s(all)),
        ]))
    };
    let (base, fine) = (model(few, &w), model(&near, &predicted));
    vec![
        case(
            "pruned",
            "weights that became 0 and -0",
            LOSSLESS,
            base.clone(),
            fine.clone(),
        ),
        case(
            "pruned-dither",
            "the same dithered",
            r#"{"strategy":"lossy","quality":50}"#,
            base,
            fine,
        ),
    ]
}

/// Tensors of F32 that have values of BF16 or F16: after a base like them, after one with values of its own, after one of
/// another dtype, and dithered ones.
fn narrow() -> Vec<Case> {
    let w = normal(48 * 72, 0.05, 33);
    let moved: Vec<f32> = w.iter().zip(normal(w.len(), 0.003, 34)).map(|(w, d)| w + d).collect();
    let bf16 = |v: &[f32]| -> Vec<f32> { v.iter().map(|&v| half::bf16::from_f32(v).to_f32()).collect() };
    let f16 = |v: &[f32]| -> Vec<f32> { v.iter().map(|&v| half::f16::from_f32(v).to_f32()).collect() };
    let shape = || vec![48, 72];
    let base = one(compact_safetensors(&[
        ("bfloat16", "F32", shape(), f32s(&bf16(&w))),
        ("float16", "F32", shape(), f32s(&f16(&w))),
        ("float32", "F32", shape(), f32s(&w)),
        ("of bfloat16", "BF16", shape(), bf16s(&w)),
    ]));
    let mut special = bf16(&moved);
    special[80..86].copy_from_slice(&[f32::INFINITY, f32::NAN, 0.0, -0.0, f32::from_bits(1 << 16), -1.0]);
    let fine = one(compact_safetensors(&[
        ("bfloat16", "F32", shape(), f32s(&special)),
        ("float16", "F32", shape(), f32s(&f16(&moved))),
        ("float32", "F32", shape(), f32s(&bf16(&moved))),
        ("of bfloat16", "F32", shape(), f32s(&bf16(&moved))),
    ]));
    let covers = "F32 with values of BF16 and of F16";
    vec![
        case("narrow", covers, LOSSLESS, base.clone(), fine.clone()),
        case(
            "narrow-dither",
            "the same dithered",
            r#"{"strategy":"lossy","quality":50}"#,
            base,
            fine,
        ),
    ]
}

/// Models into which an adapter of rank 2 was merged: factors have raw bits.
fn adapters() -> Vec<Case> {
    let n = 96;
    let (u, v) = (normal(2 * n, 1.0, 30), normal(2 * n, 0.02, 31));
    let w = normal(n * n, 0.05, 32);
    let at = |i: usize| u[2 * (i / n)] * v[2 * (i % n)] + u[2 * (i / n) + 1] * v[2 * (i % n) + 1];
    let moved: Vec<f32> = w.iter().enumerate().map(|(i, w)| w + at(i)).collect();
    let halves = |v: &[f32]| v.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect();
    let model = |dtype, bytes: &dyn Fn(&[f32]) -> Vec<u8>, w: &[f32]| {
        one(compact_safetensors(&[("w", dtype, vec![n as u64, n as u64], bytes(w))]))
    };
    let pair = |name, covers, dtype, bytes: &dyn Fn(&[f32]) -> Vec<u8>| {
        let (base, fine) = (model(dtype, bytes, &w), model(dtype, bytes, &moved));
        let case = case(name, covers, LOSSLESS, base, fine);
        assert_eq!(
            case.deltas[0][12 + 6] & 5,
            5,
            "{name}: the encoder found no fine factors"
        );
        case
    };
    vec![
        pair("adapter-bf16", "a merged adapter, BF16", "BF16", &bf16s),
        pair("adapter-f16", "a merged adapter, F16", "F16", &halves),
        pair("adapter-f32", "a merged adapter, F32", "F32", &f32s),
    ]
}

fn low_rank() -> Vec<Case> {
    let (m, n) = (72, 72);
    let (u, v) = (normal(2 * m, 1.0, 20), normal(2 * n, 0.001, 21));
    let w = normal(m * n, 0.05, 22);
    let rest = normal(m * n, 0.00002, 23);
    let at = |i: usize| u[2 * (i / n)] * v[2 * (i % n)] + u[2 * (i / n) + 1] * v[2 * (i % n) + 1];
    let moved: Vec<f32> = w
        .iter()
        .zip(&rest)
        .enumerate()
        .map(|(i, (w, r))| w + at(i) + r)
        .collect();
    let halves = |v: &[f32]| v.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect();
    let shape = vec![m as u64, n as u64];
    let pair = |name, dtype, bytes: &dyn Fn(&[f32]) -> Vec<u8>| {
        let model = |w: &[f32]| one(compact_safetensors(&[(name, dtype, shape.clone(), bytes(w))]));
        (model(&w), model(&moved))
    };
    let all = [
        (
            "low-rank-bf16",
            "a prediction of low rank, BF16",
            pair("w", "BF16", &bf16s),
        ),
        (
            "low-rank-f16",
            "a prediction of low rank, F16",
            pair("w", "F16", &halves),
        ),
        ("low-rank-f32", "a prediction of low rank, F32", pair("w", "F32", &f32s)),
    ];
    let dithered = |name, (base, fine)| {
        let options = r#"{"strategy":"lossy","quality":85,"effort":3}"#;
        case(name, "dither on a prediction of low rank", options, base, fine)
    };
    let lossy = [
        dithered("dither-low-rank-bf16", pair("w", "BF16", &bf16s)),
        dithered("dither-low-rank-f32", pair("w", "F32", &f32s)),
    ];
    let exact = all.map(|(name, covers, (base, fine))| {
        let case = case(name, covers, r#"{"strategy":"lossless","effort":3}"#, base, fine);
        // The head of the table set, which stands first, says whether there are factors.
        assert_eq!(case.deltas[0][12 + 6] & 1, 1, "{name}: the encoder found no prediction");
        case
    });
    exact.into_iter().chain(lossy).collect()
}

/// Some tensors of a model and its fine-tune.
fn slice(file: &str) -> Files {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/stories260k-full");
    let bytes = std::fs::read(folder.join(file)).unwrap();
    let model = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut names = model.names();
    names.retain(|n| n.contains("layers.0.self_attn") || n.contains("layers.0.input"));
    names.sort();
    let tensor = |name: &&str| {
        let t = model.tensor(name).unwrap();
        let shape = t.shape().iter().map(|&d| d as u64).collect();
        let dtype: &'static str = Box::leak(format!("{:?}", t.dtype()).into_boxed_str());
        let name: &'static str = Box::leak((*name).to_owned().into_boxed_str());
        (name, dtype, shape, t.data().to_vec())
    };
    one(compact_safetensors(&names.iter().map(tensor).collect::<Vec<_>>()))
}

fn real() -> Vec<Case> {
    let (base, fine) = (slice("base.safetensors"), slice("ft-sft.safetensors"));
    vec![case(
        "real",
        "the attention of a layer of a language model",
        LOSSLESS,
        base,
        fine,
    )]
}

fn dithered() -> Vec<Case> {
    let w = normal(16 * 72, 0.05, 30);
    let moved: Vec<f32> = w.iter().zip(normal(w.len(), 0.003, 31)).map(|(w, d)| w + d).collect();
    let halves = |v: &[f32]| v.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect();
    let model = |w: &[f32]| {
        let mut kept = w.to_vec();
        // A row as in the base, and words that no step can be added to.
        kept[72..144].copy_from_slice(&normal(72, 0.05, 32));
        kept[150..154].copy_from_slice(&[f32::INFINITY, f32::NAN, 0.0, -0.0]);
        one(compact_safetensors(&[
            ("bfloat16", "BF16", vec![16, 72], bf16s(&kept)),
            ("float16", "F16", vec![16, 72], halves(&kept)),
            ("float32", "F32", vec![16, 72], f32s(&kept)),
            ("complex", "C64", vec![8, 72], f32s(&kept)),
            ("integers", "I16", vec![100], random_bytes(200, w[0].to_bits())),
        ]))
    };
    let (base, fine) = (slice("base.safetensors"), slice("ft-sft.safetensors"));
    let lossy = |quality: u32| format!(r#"{{"strategy":"lossy","quality":{quality}}}"#);
    vec![
        case(
            "dither",
            "dither of every dtype that has it",
            &lossy(50),
            model(&w),
            model(&moved),
        ),
        case(
            "dither-fine",
            "the same with finer steps, some of them exact",
            &lossy(90),
            model(&w),
            model(&moved),
        ),
        case(
            "dither-real",
            "dither of the attention of a layer of a language model",
            &lossy(30),
            base,
            fine,
        ),
    ]
}

/// The files of a model after a delta.
fn after(base: &Files, delta: &[u8], options: &str) -> Files {
    let mut host = Memory::new()
        .model(Role::Base, base)
        .with(Role::Delta, 0, "delta.wdelta", delta);
    host.run("decode", options).unwrap();
    host.outputs
}

fn chains() -> Vec<Case> {
    let model = |seed: u64, scale: f32, dtype: &'static str| {
        let moved: Vec<f32> = normal(900, 0.1, 40)
            .iter()
            .zip(normal(900, scale, seed))
            .map(|(w, d)| w + d)
            .collect();
        let bytes = match dtype {
            "F32" => f32s(&moved),
            _ => bf16s(&moved),
        };
        one(compact_safetensors(&[
            ("w", dtype, vec![9, 100], bytes),
            ("same", "I32", vec![3], vec![7; 12]),
        ]))
    };
    let (base, middle, last) = (
        model(41, 0.0, "BF16"),
        model(42, 0.002, "BF16"),
        model(43, 0.003, "BF16"),
    );
    let two = Case {
        name: "chain",
        covers: "a delta against what another one rebuilds",
        deltas: vec![encode(LOSSLESS, &base, &middle), encode(LOSSLESS, &middle, &last)],
        base,
        fine: Some(last),
    };
    let (base, middle, last) = (model(41, 0.0, "F32"), model(42, 0.002, "F32"), model(43, 0.003, "BF16"));
    let first = encode(r#"{"strategy":"quantized"}"#, &base, &middle);
    let between = after(&base, &first, r#"{"dtype":"float32","layout":"single"}"#);
    let mixed = Case {
        name: "chain-mixed",
        covers: "a delta against the float32 that a version 1 delta decodes to",
        deltas: vec![first, encode(LOSSLESS, &between, &last)],
        base,
        fine: Some(last),
    };
    vec![two, mixed]
}
