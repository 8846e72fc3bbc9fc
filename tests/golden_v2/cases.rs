//! Golden files that the encoder writes: what a file can say.

use super::common::pairs::{nudged, one, Files};
use super::common::random::{normal, random_bytes};
use super::common::{self, bf16s, f32s, Memory, Tensor};
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

pub const LOSSLESS: &str = r#"{"strategy":"lossless"}"#;

pub fn encode(options: &str, base: &Files, fine: &Files) -> Vec<u8> {
    let mut host = Memory::new().model(Role::Base, base).model(Role::Finetuned, fine);
    host.run("encode", options).unwrap();
    host.outputs.remove(0).1
}

pub fn case(name: &'static str, covers: &'static str, options: &str, base: Files, fine: Files) -> Case {
    Case {
        name,
        covers,
        deltas: vec![encode(options, &base, &fine)],
        base,
        fine: (!options.contains("lossy")).then_some(fine),
    }
}

/// A safetensors file as the library itself writes it: compact and padded.
pub fn compact_safetensors(tensors: &[Tensor<'_>]) -> Vec<u8> {
    let plain = common::safetensors(tensors);
    let end = 8 + u64::from_le_bytes(plain[..8].try_into().unwrap()) as usize;
    let header = String::from_utf8(plain[8..end].to_vec()).unwrap().replace(", ", ",");
    with_header(
        &format!("{header}{}", " ".repeat(header.len().wrapping_neg() % 8)),
        &plain[end..],
    )
}

pub fn all() -> Vec<Case> {
    vec![
        operations(),
        dtypes(),
        converted(),
        shards(),
        verbatim(),
        nothing(),
        rows(),
        escapes(),
        digests(),
    ]
}

fn operations() -> Case {
    let (w, scales) = (random_bytes(2 * 1500, 1), random_bytes(700, 4));
    let (same, grown) = (random_bytes(400, 7), random_bytes(2 * 20 * 64, 8));
    let base = compact_safetensors(&[
        ("delta", "BF16", vec![15, 100], w.clone()),
        ("unchanged", "BF16", vec![200], same.clone()),
        ("model.old.layers.0.weight", "BF16", vec![15, 100], nudged(&w, 7)),
        ("model.old.layers.1.weight", "F16", vec![5, 300], nudged(&w, 11)),
        ("shrunk", "BF16", vec![20, 64], grown.clone()),
        ("grown", "BF16", vec![20, 64], grown.clone()),
        ("removed", "F32", vec![3], random_bytes(12, 3)),
        ("reshaped", "F32", vec![10, 10], random_bytes(400, 12)),
        ("retyped", "F8_E8M0", vec![700], scales.clone()),
        ("scalar", "F32", vec![], random_bytes(4, 5)),
        ("empty", "F32", vec![0, 4], vec![]),
    ]);
    let fine = compact_safetensors(&[
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
            [nudged(&grown, 9), random_bytes(3 * 128, 9)].concat(),
        ),
        ("reshaped", "F32", vec![4, 25], nudged(&random_bytes(400, 12), 8)),
        ("retyped", "BF16", vec![350], scales),
        (
            "added.planes",
            "I32",
            vec![200],
            random_bytes(200, 6).iter().flat_map(|&b| [b, 0, 0, 0]).collect(),
        ),
        ("added.plain", "U8", vec![300], random_bytes(300, 10)),
        ("added.F16", "F16", vec![7, 9], random_bytes(126, 13)),
        ("tied.to added", "U8", vec![300], random_bytes(300, 10)),
        ("tied.to delta", "BF16", vec![15, 100], nudged(&w, 10)),
        ("scalar", "F32", vec![], random_bytes(4, 14)),
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
        let mut data = random_bytes(n as usize, i as u32 + 20);
        if dtype == "BOOL" {
            data.iter_mut().for_each(|b| *b &= 1);
        }
        (dtype, dtype, vec![3, 44], nudged(&data, change))
    };
    let model = |change: usize| {
        one(compact_safetensors(
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
        let mut v = normal(80, 100.0, seed);
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
    let halves = [&random_bytes(160, 30)[..], &[0x01, 0x7c, 0xff, 0xfd]].concat();
    let (ints, flags) = (
        random_bytes(82 * 8, 31),
        random_bytes(82, 32).iter().map(|b| b & 1).collect::<Vec<u8>>(),
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
    let base = one(compact_safetensors(&tensors));
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
        one(compact_safetensors(&tensors)),
    )
}

/// The file that says where the tensors of shards are.
fn index(places: &[(&str, &str)]) -> Vec<u8> {
    let map: serde_json::Map<_, _> = places.iter().map(|(t, f)| ((*t).to_owned(), (*f).into())).collect();
    serde_json::to_vec_pretty(&serde_json::json!({ "metadata": { "total_size": 1 }, "weight_map": map })).unwrap()
}

fn shards() -> Case {
    let w = bf16s(&normal(640, 0.1, 3));
    let t = |name, change| -> Tensor<'static> { (name, "BF16", vec![10, 64], nudged(&w, change)) };
    let never = usize::MAX;
    let base = vec![
        (
            "model-00001-of-00002.safetensors".into(),
            compact_safetensors(&[t("a", never), t("b", never)]),
        ),
        (
            "model-00002-of-00002.safetensors".into(),
            compact_safetensors(&[t("c", never), t("d", 3)]),
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
        (
            "model-00001-of-00003.safetensors".into(),
            compact_safetensors(&[t("d", 3)]),
        ),
        (
            "model-00002-of-00003.safetensors".into(),
            compact_safetensors(&[t("a", 6), t("c", 20)]),
        ),
        (
            "model-00003-of-00003.safetensors".into(),
            compact_safetensors(&[t("b", 4)]),
        ),
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
    let data = random_bytes(300, 50);
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
    let model = one(compact_safetensors(&[
        ("w", "BF16", vec![5, 70], random_bytes(700, 60)),
        ("scalar", "I64", vec![], random_bytes(8, 61)),
        ("empty", "F32", vec![0], vec![]),
    ]));
    case("nothing", "a model that did not change", LOSSLESS, model.clone(), model)
}

fn rows() -> Case {
    let w = normal(60 * 64, 0.05, 4);
    let moved: Vec<f32> = w
        .iter()
        .zip(normal(w.len(), 0.0004, 5))
        .enumerate()
        .map(|(i, (w, d))| if (i / 64) % 3 == 0 { w + d } else { *w })
        .collect();
    let model = |w: &[f32]| one(compact_safetensors(&[("embeddings", "BF16", vec![60, 64], bf16s(w))]));
    case("rows", "rows that did not change", LOSSLESS, model(&w), model(&moved))
}

fn escapes() -> Case {
    let model = |seed: u64, scale: f32| {
        let halves = |v: &[f32]| v.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect();
        one(compact_safetensors(&[
            ("float32", "F32", vec![12, 64], f32s(&normal(768, scale, seed))),
            ("float16", "F16", vec![12, 64], halves(&normal(768, scale, seed + 1))),
            ("bfloat16", "BF16", vec![12, 64], bf16s(&normal(768, scale, seed + 2))),
            ("integers", "I32", vec![70], random_bytes(280, seed as u32)),
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

fn digests() -> Case {
    let (w, moves) = (normal(20 * 64, 0.05, 12), normal(20 * 64, 0.003, 13));
    let moved: Vec<f32> = w.iter().zip(moves).map(|(w, d)| w + d).collect();
    let (w, moved) = (bf16s(&w), bf16s(&moved));
    let t = |name, data: &[u8]| -> Tensor<'static> { (name, "BF16", vec![20, 64], data.to_vec()) };
    let path = |i: usize, n: usize| format!("model-0000{i}-of-0000{n}.safetensors");
    let map = index(&[("a", &path(1, 2)), ("b", &path(1, 2)), ("c", &path(2, 2))]);
    case(
        "digests",
        "a digest of each file: shards with a written and a kept header, index.json; a tensor tied to a dithered one",
        r#"{"strategy":"lossy","quality":50}"#,
        one(compact_safetensors(&[t("a", &w), t("b", &w), t("c", &w)])),
        vec![
            (path(1, 2), compact_safetensors(&[t("a", &moved), t("b", &w)])),
            (path(2, 2), common::safetensors(&[t("c", &moved)])),
            ("model.safetensors.index.json".into(), map),
        ],
    )
}
