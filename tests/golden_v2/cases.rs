//! Golden files that the encoder writes.

use super::common::{self, bf16s, f32s, noise, Memory, Tensor};
use super::Files;
use std::path::Path;
use wdelta::dtype::Dtype;
use wdelta::job::machine::Role;
use wdelta::kernels::convert;

/// A golden file to be written.
pub struct Case {
    pub name: &'static str,
    pub covers: &'static str,
    pub base: Files,
    /// A delta, or a chain.
    pub deltas: Vec<Vec<u8>>,
    /// What it must decode to, unless something is lost.
    pub fine: Option<Files>,
}

const LOSSLESS: &str = r#"{"strategy":"lossless"}"#;

fn encode(options: &str, base: &Files, fine: &Files) -> Vec<u8> {
    let mut host = Memory::new().model(Role::Base, base).model(Role::Finetuned, fine);
    host.run("encode", options).unwrap();
    host.outputs.remove(0).1
}

fn case(name: &'static str, covers: &'static str, options: &str, base: Files, fine: Files) -> Case {
    Case {
        name,
        covers,
        deltas: vec![encode(options, &base, &fine)],
        base,
        fine: (!options.contains("lossy")).then_some(fine),
    }
}

/// A safetensors file as the library itself writes it: compact and padded.
pub fn safetensors(tensors: &[Tensor<'_>]) -> Vec<u8> {
    let plain = common::safetensors(tensors);
    let end = 8 + u64::from_le_bytes(plain[..8].try_into().unwrap()) as usize;
    let header = String::from_utf8(plain[8..end].to_vec()).unwrap().replace(", ", ",");
    with_header(
        &format!("{header}{}", " ".repeat(header.len().wrapping_neg() % 8)),
        &plain[end..],
    )
}

pub fn one(bytes: Vec<u8>) -> Files {
    vec![("model.safetensors".into(), bytes)]
}

/// `n` bytes.
pub fn bytes(n: usize, seed: u32) -> Vec<u8> {
    let mut x = seed | 1;
    let mut next = || {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (x >> 24) as u8
    };
    (0..n).map(|_| next()).collect()
}

/// `bytes` with one more in every `every`-th of them.
pub fn nudged(bytes: &[u8], every: usize) -> Vec<u8> {
    let nudge = |(i, b): (usize, &u8)| b.wrapping_add((i % every == 0) as u8);
    bytes.iter().enumerate().map(nudge).collect()
}

pub fn all() -> Vec<Case> {
    let mut all = vec![
        operations(),
        dtypes(),
        converted(),
        shards(),
        verbatim(),
        nothing(),
        rows(),
        escapes(),
    ];
    all.extend(low_rank());
    all.extend(real());
    all.extend(dithered());
    all.extend(chains());
    all
}

fn operations() -> Case {
    let (w, scales) = (bytes(2 * 1500, 1), bytes(700, 4));
    let (same, grown) = (bytes(400, 7), bytes(2 * 20 * 64, 8));
    let base = safetensors(&[
        ("delta", "BF16", vec![15, 100], w.clone()),
        ("unchanged", "BF16", vec![200], same.clone()),
        ("model.old.layers.0.weight", "BF16", vec![15, 100], nudged(&w, 7)),
        ("model.old.layers.1.weight", "F16", vec![5, 300], nudged(&w, 11)),
        ("shrunk", "BF16", vec![20, 64], grown.clone()),
        ("grown", "BF16", vec![20, 64], grown.clone()),
        ("removed", "F32", vec![3], bytes(12, 3)),
        ("reshaped", "F32", vec![10, 10], bytes(400, 12)),
        ("retyped", "F8_E8M0", vec![700], scales.clone()),
        ("scalar", "F32", vec![], bytes(4, 5)),
        ("empty", "F32", vec![0, 4], vec![]),
    ]);
    let fine = safetensors(&[
        ("delta", "BF16", vec![15, 100], nudged(&w, 10)),
        ("unchanged", "BF16", vec![200], same),
        ("renamed.layers.0.weight", "BF16", vec![15, 100], nudged(&w, 7)),
        (
            "renamed.layers.1.weight",
            "F16",
            vec![5, 300],
            nudged(&nudged(&w, 11), 16),
        ),
        ("shrunk", "BF16", vec![13, 64], nudged(&grown, 5)[..13 * 128].to_vec()),
        (
            "grown",
            "BF16",
            vec![23, 64],
            [nudged(&grown, 9), bytes(3 * 128, 9)].concat(),
        ),
        ("reshaped", "F32", vec![4, 25], nudged(&bytes(400, 12), 8)),
        ("retyped", "BF16", vec![350], scales),
        (
            "added.planes",
            "I32",
            vec![200],
            bytes(200, 6).iter().flat_map(|&b| [b, 0, 0, 0]).collect(),
        ),
        ("added.plain", "U8", vec![300], bytes(300, 10)),
        ("added.F16", "F16", vec![7, 9], bytes(126, 13)),
        ("tied.to added", "U8", vec![300], bytes(300, 10)),
        ("tied.to delta", "BF16", vec![15, 100], nudged(&w, 10)),
        ("scalar", "F32", vec![], bytes(4, 14)),
        ("empty", "F32", vec![0, 4], vec![]),
        ("added.empty", "I64", vec![2, 0], vec![]),
    ]);
    case(
        "operations",
        "unchanged, delta, stored; renamed, grown, shrunk, reshaped, retyped, added, tied, removed, scalar and empty tensors; \
         coded, planes and plain; the base's place",
        r#"{"strategy":"lossless","baseName":"over/there"}"#,
        one(base),
        one(fine),
    )
}

/// All dtypes with the bits of an element.
const DTYPES: [(&str, u64); 22] = [
    ("BOOL", 8),
    ("F4", 4),
    ("F6_E2M3", 6),
    ("F6_E3M2", 6),
    ("U8", 8),
    ("I8", 8),
    ("F8_E5M2", 8),
    ("F8_E4M3", 8),
    ("F8_E8M0", 8),
    ("F8_E4M3FNUZ", 8),
    ("F8_E5M2FNUZ", 8),
    ("I16", 16),
    ("U16", 16),
    ("F16", 16),
    ("BF16", 16),
    ("I32", 32),
    ("U32", 32),
    ("F32", 32),
    ("C64", 64),
    ("F64", 64),
    ("I64", 64),
    ("U64", 64),
];

fn dtypes() -> Case {
    let tensor = |i: usize, change: usize| -> Tensor<'static> {
        let (dtype, bits) = DTYPES[i];
        let n = 3 * 44 * bits / 8;
        let mut data = bytes(n as usize, i as u32 + 20);
        if dtype == "BOOL" {
            data.iter_mut().for_each(|b| *b &= 1);
        }
        (dtype, dtype, vec![3, 44], nudged(&data, change))
    };
    let model = |change: usize| {
        one(safetensors(
            &(0..DTYPES.len()).map(|i| tensor(i, change)).collect::<Vec<_>>(),
        ))
    };
    case(
        "dtypes",
        "a delta of every dtype, NaN and infinities included",
        LOSSLESS,
        model(usize::MAX),
        model(13),
    )
}

fn converted() -> Case {
    let special = |seed| {
        let mut v = noise(seed, 80, 100.0);
        v[..10].copy_from_slice(&[
            f32::INFINITY,
            -f32::INFINITY,
            0.5,
            1.5,
            2.5,
            -0.5,
            300.0,
            -0.0,
            1e-7,
            65520.0,
        ]);
        let mut b = f32s(&v);
        b.extend_from_slice(&[0x34, 0x12, 0x80, 0x7f, 0x78, 0x56, 0xf4, 0xff]); // NaN with payloads, one not quiet
        b
    };
    let mut wide: Vec<u8> = (0..81)
        .flat_map(|i| (f64::from(i as f32 / 7.0 - 5.0) + 1e-9).to_le_bytes())
        .collect();
    wide.extend_from_slice(&0xfff4_5678_9abc_def0u64.to_le_bytes());
    let halves = [&bytes(160, 30)[..], &[0x01, 0x7c, 0xff, 0xfd]].concat();
    let (ints, flags) = (
        bytes(82 * 8, 31),
        bytes(82, 32).iter().map(|b| b & 1).collect::<Vec<u8>>(),
    );
    let from: [(&str, &[u8], &str, usize); 16] = [
        ("F32", &special(1), "BF16", 2),
        ("F32", &special(1), "F16", 2),
        ("F32", &special(1), "F64", 8),
        ("F32", &special(1), "I8", 1),
        ("F32", &special(1), "U16", 2),
        ("F32", &special(1), "I64", 8),
        ("F32", &special(1), "BOOL", 1),
        ("F64", &wide, "F32", 4),
        ("F64", &wide, "BF16", 2),
        ("F16", &halves, "F32", 4),
        ("F16", &halves, "BF16", 2),
        ("BF16", &halves, "F16", 2),
        ("BF16", &halves, "F32", 4),
        ("I64", &ints, "I32", 4),
        ("U64", &ints, "F32", 4),
        ("BOOL", &flags, "BF16", 2),
    ];
    let names: Vec<String> = from.iter().map(|(a, _, b, _)| format!("{a} to {b}")).collect();
    let tensors: Vec<Tensor> = from
        .iter()
        .zip(&names)
        .map(|(t, name)| (name.as_str(), t.0, vec![82], t.1.to_vec()))
        .collect();
    let base = one(safetensors(&tensors));
    let near = |&(from, base, to, width): &(&str, &[u8], &str, usize)| {
        let (mut values, mut bytes) = (vec![0.0; 82], vec![0; 82 * width]);
        convert::to_f32(Dtype::parse(from).unwrap(), base, &mut values);
        convert::from_f32(Dtype::parse(to).unwrap(), &values, &mut bytes);
        nudged(&bytes, 9 * width)
    };
    let tensors: Vec<Tensor> = from
        .iter()
        .zip(&names)
        .map(|(t, name)| (name.as_str(), t.2, vec![82], near(t)))
        .collect();
    case(
        "converted",
        "bases of other dtypes: every rounding, with ties, overflow, NaN with payloads",
        LOSSLESS,
        base,
        one(safetensors(&tensors)),
    )
}

/// The file that says where the tensors of shards are.
fn index(places: &[(&str, &str)]) -> Vec<u8> {
    let map: serde_json::Map<_, _> = places.iter().map(|(t, f)| ((*t).to_owned(), (*f).into())).collect();
    serde_json::to_vec_pretty(&serde_json::json!({ "metadata": { "total_size": 1 }, "weight_map": map })).unwrap()
}

fn shards() -> Case {
    let w = bf16s(&noise(3, 640, 0.1));
    let t = |name, change| -> Tensor<'static> { (name, "BF16", vec![10, 64], nudged(&w, change)) };
    let never = usize::MAX;
    let base = vec![
        (
            "model-00001-of-00002.safetensors".into(),
            safetensors(&[t("a", never), t("b", never)]),
        ),
        (
            "model-00002-of-00002.safetensors".into(),
            safetensors(&[t("c", never), t("d", 3)]),
        ),
        (
            "model.safetensors.index.json".into(),
            index(&[
                ("a", "model-00001-of-00002.safetensors"),
                ("b", "model-00001-of-00002.safetensors"),
                ("c", "model-00002-of-00002.safetensors"),
                ("d", "model-00002-of-00002.safetensors"),
            ]),
        ),
    ];
    let fine = vec![
        ("model-00001-of-00003.safetensors".into(), safetensors(&[t("d", 3)])),
        (
            "model-00002-of-00003.safetensors".into(),
            safetensors(&[t("a", 6), t("c", 20)]),
        ),
        ("model-00003-of-00003.safetensors".into(), safetensors(&[t("b", 4)])),
        (
            "model.safetensors.index.json".into(),
            index(&[
                ("a", "model-00002-of-00003.safetensors"),
                ("b", "model-00003-of-00003.safetensors"),
                ("c", "model-00002-of-00003.safetensors"),
                ("d", "model-00001-of-00003.safetensors"),
            ]),
        ),
    ];
    case("shards", "two shards to three, with index.json", LOSSLESS, base, fine)
}

/// A safetensors file with this header before this data.
fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

fn verbatim() -> Case {
    let data = bytes(300, 50);
    let spaced = "{ \"b\": {\"data_offsets\":[200, 300], \"shape\":[5,10], \"dtype\":\"F16\"},\n \
                  \"a\": {\"dtype\":\"BF16\",\"shape\":[100],\"data_offsets\":[0,200]}, \"__metadata__\": {\"format\":\"pt\"} }   ";
    let plain = "{\"__metadata__\":{\"k\\n\\u0001\\\"\\\\\":\"ü\\t\u{7f}€\"},\"a\":{\"dtype\":\"BF16\",\"shape\":[100],\"data_offsets\":[0,200]},\
                 \"ä/\\\"b\":{\"dtype\":\"F16\",\"shape\":[5,10],\"data_offsets\":[200,300]}}";
    let plain = format!("{plain}{}", " ".repeat(plain.len().wrapping_neg() % 8));
    let file = |name: &str, header: &str, change| (name.to_owned(), with_header(header, &nudged(&data, change)));
    let base = vec![file("model.safetensors", &plain, usize::MAX)];
    let fine = vec![
        file("spaced.safetensors", &spaced.replace("\"a\"", "\"c\""), 9),
        file("plain.safetensors", &plain, 5),
        (
            "model.safetensors.index.json".to_owned(),
            index(&[
                ("a", "plain.safetensors"),
                ("ä/\"b", "plain.safetensors"),
                ("b", "spaced.safetensors"),
                ("c", "spaced.safetensors"),
            ]),
        ),
    ];
    case(
        "headers",
        "a header that is kept as it is, and one with metadata and names that need escapes",
        LOSSLESS,
        base,
        fine,
    )
}

fn nothing() -> Case {
    let model = one(safetensors(&[
        ("w", "BF16", vec![5, 70], bytes(700, 60)),
        ("scalar", "I64", vec![], bytes(8, 61)),
        ("empty", "F32", vec![0], vec![]),
    ]));
    case("nothing", "a model that did not change", LOSSLESS, model.clone(), model)
}

fn rows() -> Case {
    let w = noise(4, 60 * 64, 0.05);
    let moved: Vec<f32> = w
        .iter()
        .zip(noise(5, w.len(), 0.0004))
        .enumerate()
        .map(|(i, (w, d))| if (i / 64) % 3 == 0 { w + d } else { *w })
        .collect();
    let model = |w: &[f32]| one(safetensors(&[("embeddings", "BF16", vec![60, 64], bf16s(w))]));
    case("rows", "rows that did not change", LOSSLESS, model(&w), model(&moved))
}

fn escapes() -> Case {
    let model = |seed: u64, scale: f32| {
        let halves = |v: &[f32]| v.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect();
        one(safetensors(&[
            ("float32", "F32", vec![12, 64], f32s(&noise(seed, 768, scale))),
            ("float16", "F16", vec![12, 64], halves(&noise(seed + 1, 768, scale))),
            ("bfloat16", "BF16", vec![12, 64], bf16s(&noise(seed + 2, 768, scale))),
            ("integers", "I32", vec![70], bytes(280, seed as u32)),
        ]))
    };
    case(
        "escapes",
        "differences of every size",
        LOSSLESS,
        model(6, 0.1),
        model(9, 0.2),
    )
}

fn low_rank() -> Vec<Case> {
    let (m, n) = (72, 72);
    let (u, v) = (noise(20, 2 * m, 1.0), noise(21, 2 * n, 0.001));
    let w = noise(22, m * n, 0.05);
    let rest = noise(23, m * n, 0.00002);
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
        let model = |w: &[f32]| one(safetensors(&[(name, dtype, shape.clone(), bytes(w))]));
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
    all.map(|(name, covers, (base, fine))| {
        let case = case(name, covers, r#"{"strategy":"lossless","effort":3}"#, base, fine);
        // The head of the table set, which stands first, says whether there are factors.
        assert_eq!(case.deltas[0][12 + 6] & 1, 1, "{name}: the encoder found no prediction");
        case
    })
    .into()
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
    one(safetensors(&names.iter().map(tensor).collect::<Vec<_>>()))
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
    let w = noise(30, 16 * 72, 0.05);
    let moved: Vec<f32> = w.iter().zip(noise(31, w.len(), 0.003)).map(|(w, d)| w + d).collect();
    let halves = |v: &[f32]| v.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect();
    let model = |w: &[f32]| {
        let mut kept = w.to_vec();
        // A row as in the base, and words that no step can be added to.
        kept[72..144].copy_from_slice(&noise(32, 72, 0.05));
        kept[150..154].copy_from_slice(&[f32::INFINITY, f32::NAN, 0.0, -0.0]);
        one(safetensors(&[
            ("bfloat16", "BF16", vec![16, 72], bf16s(&kept)),
            ("float16", "F16", vec![16, 72], halves(&kept)),
            ("float32", "F32", vec![16, 72], f32s(&kept)),
            ("complex", "C64", vec![8, 72], f32s(&kept)),
            ("integers", "I16", vec![100], bytes(200, w[0].to_bits())),
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
            "dither of a model, with predictions where they pay",
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
        let moved: Vec<f32> = noise(40, 900, 0.1)
            .iter()
            .zip(noise(seed, 900, scale))
            .map(|(w, d)| w + d)
            .collect();
        let bytes = match dtype {
            "F32" => f32s(&moved),
            _ => bf16s(&moved),
        };
        one(safetensors(&[
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
