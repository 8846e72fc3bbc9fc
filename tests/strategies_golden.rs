//! Every golden case of version 1 at the level of strategies: what we encode from the two models, byte for byte, and
//! what we decode from the file, bit for bit, through random pieces and windows.
//!
//! The readers below are the smallest that do for these files; the crate's own are tested elsewhere.

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use wdelta::dtype::Dtype;
use wdelta::job::report::{from_wire, to_wire};
use wdelta::kernels::{apply, convert, float16::f16_to_f32};
use wdelta::offset::element_count;
use wdelta::strategy::{
    array_elements, kept_int4, kept_sparse, ArrayDtype, Emitter, Expander, Strategy, Survey, MAX_FIELDS,
};

struct Tensor {
    dtype: Dtype,
    shape: Vec<u64>,
    bytes: Vec<u8>,
}

impl Tensor {
    fn n(&self) -> usize {
        element_count(&self.shape).unwrap() as usize
    }

    fn f32(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.n()];
        convert::to_f32(self.dtype, &self.bytes, &mut out);
        out
    }
}

type Model = BTreeMap<String, Tensor>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1")
}

fn shape_of(info: &Value) -> Vec<u64> {
    info["shape"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| d.as_u64().unwrap())
        .collect()
}

/// The model in one file or in a list of shards.
fn model(files: &Value) -> Model {
    let files = files.as_array().cloned().unwrap_or(vec![files.clone()]);
    let mut tensors = Model::new();
    for file in files {
        let blob = std::fs::read(root().join(file.as_str().unwrap())).unwrap();
        let header = u64::from_le_bytes(blob[..8].try_into().unwrap()) as usize;
        let body = &blob[8 + header..];
        let json: Value = serde_json::from_slice(&blob[8..8 + header]).unwrap();
        for (name, info) in json.as_object().unwrap() {
            if name != "__metadata__" {
                let at = |i: usize| info["data_offsets"][i].as_u64().unwrap() as usize;
                tensors.insert(
                    name.clone(),
                    Tensor {
                        dtype: Dtype::parse(info["dtype"].as_str().unwrap()).unwrap(),
                        shape: shape_of(info),
                        bytes: body[at(0)..at(1)].to_vec(),
                    },
                );
            }
        }
    }
    tensors
}

struct Delta {
    tensors: serde_json::Map<String, Value>,
    arrays: BTreeMap<(String, String), Vec<u8>>,
}

fn delta_file(path: &Path) -> Delta {
    let blob = std::fs::read(path).unwrap();
    let body = &blob[..blob.len() - 32];
    let mut at = 11;
    let mut take = |n: usize| {
        at += n;
        &body[at - n..at]
    };
    let n32 = |b: &[u8]| u32::from_le_bytes(b.try_into().unwrap()) as usize;
    let n64 = |b: &[u8]| u64::from_le_bytes(b.try_into().unwrap()) as usize;
    let header = n32(take(4));
    let json: Value = serde_json::from_slice(take(header)).unwrap();
    let mut left = body.len() - 15 - header;
    let mut arrays = BTreeMap::new();
    while left > 0 {
        let mut text = || {
            let n = n32(take(4));
            (String::from_utf8(take(n).to_vec()).unwrap(), n)
        };
        let ((name, a), (field, b), (_, c)) = (text(), text(), text());
        let rank = n32(take(4));
        take(8 * rank);
        let n = n64(take(8));
        arrays.insert((name, field), take(n).to_vec());
        left -= 12 + a + b + c + 4 + 8 * rank + 8 + n;
    }
    Delta {
        tensors: json["tensors"].as_object().unwrap().clone(),
        arrays,
    }
}

/// xorshift64*: the same pieces in every run.
struct Rng(u64);

/// A number below `n`, 0 for `n` = 0.
fn below(rng: &mut Rng, n: usize) -> usize {
    rng.0 ^= rng.0 >> 12;
    rng.0 ^= rng.0 << 25;
    rng.0 ^= rng.0 >> 27;
    (rng.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n.max(1)
}

/// Pieces of a slice: mostly short, so that every boundary is met, sometimes empty.
fn pieces<'a>(rng: &mut Rng, mut all: &'a [f32]) -> Vec<&'a [f32]> {
    let mut out = vec![];
    while !all.is_empty() {
        let most = [4, 40, 400, 10_000][below(rng, 4)];
        let (piece, rest) = all.split_at(below(rng, most + 1).min(all.len()));
        out.push(piece);
        all = rest;
    }
    out
}

fn encode(rng: &mut Rng, strategy: Strategy, shape: &[u64], kept: u64, delta: &[f32]) -> ([Vec<u8>; MAX_FIELDS], bool) {
    let mut survey = Survey::new(strategy, shape, kept);
    loop {
        pieces(rng, delta).into_iter().for_each(|p| survey.feed(p));
        if !survey.end_pass() {
            break;
        }
    }
    let surveyed = survey.finish();
    // As it travels from one task to the next.
    let surveyed = from_wire(&to_wire(&surveyed).unwrap()).unwrap();
    let mut out: [Vec<u8>; MAX_FIELDS] = Default::default();
    let mut emitter = Emitter::new(strategy, shape, kept, &surveyed);
    pieces(rng, delta).into_iter().for_each(|p| emitter.feed(p, &mut out));
    emitter.finish(&mut out).unwrap();
    (out, surveyed.cut.is_some_and(|c| c.tied))
}

fn decode(rng: &mut Rng, strategy: Strategy, n: usize, n_cols: u64, arrays: &[&[u8]; MAX_FIELDS]) -> Vec<f32> {
    let fields = strategy.fields();
    let counts = std::array::from_fn(|f| fields.get(f).map_or(0, |x| (arrays[f].len() / x.dtype.width()) as u64));
    let mut expander = Expander::new(strategy, n as u64, n_cols, counts).unwrap();
    let mut out = vec![f32::NAN; n];
    let (mut at, mut done) = ([0usize; MAX_FIELDS], 0);
    let mut at_least = [0usize; MAX_FIELDS];
    while done < n {
        let windows = std::array::from_fn(|f| {
            let width = fields.get(f).map_or(1, |x| x.dtype.width());
            let most = [1, 5, 60, 3000][below(rng, 4)];
            let elements = below(rng, most + 1).max(at_least[f]);
            &arrays[f][at[f]..(at[f] + elements * width).min(arrays[f].len())]
        });
        let room = [3, 70, 5000][below(rng, 3)];
        let end = (done + 1 + below(rng, room)).min(n);
        let progress = expander.expand(&windows, &mut out[done..end]).unwrap();
        assert_eq!(progress.wants.is_some(), progress.produced < end - done);
        if let Some(f) = progress.wants {
            assert_eq!(windows[f].len(), progress.consumed[f], "the wanted window is dry");
            at_least[f] = 1;
        }
        done += progress.produced;
        at.iter_mut().zip(progress.consumed).for_each(|(at, n)| *at += n);
    }
    if n > 0 {
        assert_eq!(at, std::array::from_fn(|f| arrays[f].len()), "all bytes are used");
    }
    out
}

fn same(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len()
        && a.iter()
            .zip(b)
            .all(|(a, b)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()))
}

fn floats(dtype: ArrayDtype, bytes: &[u8]) -> Vec<f32> {
    match dtype {
        ArrayDtype::F16 => bytes
            .chunks(2)
            .map(|b| f16_to_f32(u16::from_le_bytes(b.try_into().unwrap())))
            .collect(),
        _ => bytes
            .chunks(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect(),
    }
}

fn magnitudes(dtype: ArrayDtype, bytes: &[u8]) -> Vec<f32> {
    let mut all: Vec<f32> = floats(dtype, bytes).iter().map(|v| v.abs()).collect();
    all.sort_by(f32::total_cmp);
    all
}

#[test]
fn encodes_and_decodes_every_golden_case() {
    let mut rng = Rng(7);
    let manifest: Value = serde_json::from_slice(&std::fs::read(root().join("manifest.json")).unwrap()).unwrap();
    let (mut files, mut exact, mut tied) = (0, 0, 0);
    for case in manifest["cases"].as_array().unwrap() {
        let mut base = model(&case["base"]);
        for step in case["steps"].as_array().unwrap() {
            let label = step["file"].as_str().unwrap();
            let file = delta_file(&root().join(label));
            let expected = model(&step["expected"]);
            for (name, meta) in &file.tensors {
                let label = format!("{label} {name:?}");
                let strategy = Strategy::parse(meta["strategy"].as_str().unwrap()).unwrap();
                let fields = strategy.fields();
                let array = |f: usize| {
                    let name = (name.clone(), fields.get(f).map_or("", |f| f.name).to_string());
                    file.arrays.get(&name).map_or(&[][..], |a| a)
                };
                let arrays: [&[u8]; MAX_FIELDS] = std::array::from_fn(array);
                let base_f32 = base[name].f32();
                let n = base_f32.len();

                let mut got = decode(&mut rng, strategy, n, meta["n_cols"].as_u64().unwrap_or(0), &arrays);
                if meta["dtype"] == "float16" {
                    // A foreign file may ask for a delta rounded to another dtype (`format::v1` 2).
                    got.iter_mut()
                        .for_each(|v| *v = f16_to_f32(half::f16::from_f32(*v).to_bits()));
                }
                let mut sum = base_f32.clone();
                apply::add(&mut sum, &got);
                if meta["dtype"] == "float16" {
                    sum.iter_mut().for_each(|v| *v = half::f16::from_f32(*v).to_f32());
                }
                assert!(same(&sum, &expected[name].f32()), "decoded values of {label}");

                if step["foreign"] == true {
                    continue;
                }
                let finetuned = &model(&step["finetuned"])[name];
                let mut delta = vec![0.0; n];
                let b = &base[name];
                apply::delta(finetuned.dtype, &finetuned.bytes, b.dtype, &b.bytes, &mut delta);
                let option =
                    |key: &str, default: f64| step["options"].get(key).map_or(default, |v| v.as_f64().unwrap());
                let kept = match strategy {
                    Strategy::Sparse => kept_sparse(n as u64, option("sparsity", 0.9)),
                    Strategy::Int4 => kept_int4(n as u64, option("outlier_fraction", 0.01)).unwrap(),
                    Strategy::Quantized => 0,
                };
                let shape = &finetuned.shape;
                let (ours, is_tied) = encode(&mut rng, strategy, shape, kept, &delta);
                let in_list = step["tied_tensors"].as_array().unwrap().iter().any(|t| t == name);
                // Equal NaN are a tie to us; the list has the same rule.
                assert_eq!(is_tied, in_list, "tie of {label}");
                tied += usize::from(is_tied);
                let counts = array_elements(strategy, shape, kept);
                for (f, field) in fields.iter().enumerate() {
                    let label = format!("{} of {label}", field.name);
                    assert_eq!(ours[f].len(), arrays[f].len(), "{label}");
                    assert_eq!(ours[f].len() as u64, counts[f] * field.dtype.width() as u64, "{label}");
                    let is_float = matches!(field.dtype, ArrayDtype::F16 | ArrayDtype::F32);
                    if is_tied {
                        if matches!(field.name, "values" | "outlier_vals") {
                            let (a, b) = (magnitudes(field.dtype, &ours[f]), magnitudes(field.dtype, arrays[f]));
                            assert!(same(&a, &b), "{label}");
                        }
                    } else if is_float && step["has_nan"] == true {
                        assert!(
                            same(&floats(field.dtype, &ours[f]), &floats(field.dtype, arrays[f])),
                            "{label}"
                        );
                    } else {
                        assert!(ours[f] == arrays[f], "{label}");
                        exact += 1;
                    }
                }
            }
            files += 1;
            base = expected;
        }
    }
    assert_eq!(files, 74);
    assert!(
        exact > 1000 && tied > 5,
        "{exact} arrays byte for byte, {tied} tensors with ties"
    );
}
