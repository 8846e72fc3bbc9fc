//! Pairs of models for version 2, and the jobs over them.

use super::random::random_bytes;
use super::Memory;
use wdelta::dtype::Dtype;
use wdelta::error::Error;
use wdelta::format::safetensors::header::Entry;
use wdelta::format::safetensors::writer;
use wdelta::job::machine::Role;
use wdelta::offset::ByteRange;

/// Names and bytes of a model's files.
pub type Files = Vec<(String, Vec<u8>)>;

pub fn one(bytes: Vec<u8>) -> Files {
    vec![("model.safetensors".into(), bytes)]
}

/// Base, parents and fine-tune to a delta and a report.
pub fn encode_after(
    base: &Files,
    parents: &[&[u8]],
    fine: &Files,
    options: &str,
    backwards: bool,
) -> Result<(Vec<u8>, serde_json::Value), Error> {
    let mut host = with_deltas(base, parents).model(Role::Finetuned, fine);
    host.backwards = backwards;
    let report = host.run("encode", options)?;
    Ok((host.outputs.remove(0).1, report))
}

pub fn encode_with(base: &Files, fine: &Files, options: &str, backwards: bool) -> (Vec<u8>, serde_json::Value) {
    encode_after(base, &[], fine, options, backwards).unwrap()
}

/// Encodes with the default options.
pub fn encode(base: &Files, fine: &Files) -> Vec<u8> {
    encode_with(base, fine, "{}", false).0
}

pub fn with_deltas(base: &Files, deltas: &[&[u8]]) -> Memory {
    let mut host = Memory::new().model(Role::Base, base);
    for (delta, group) in deltas.iter().zip(0..) {
        host = host.with(Role::Delta, group, &format!("{group}.wdelta"), *delta);
    }
    host
}

pub fn decode_chain(base: &Files, deltas: &[&[u8]], options: &str) -> Result<Files, Error> {
    let mut host = with_deltas(base, deltas);
    host.run("decode", options)?;
    Ok(host.outputs)
}

pub fn decode(base: &Files, delta: &[u8], options: &str, backwards: bool) -> Result<Files, Error> {
    let mut host = with_deltas(base, &[delta]);
    host.backwards = backwards;
    host.run("decode", options)?;
    Ok(host.outputs)
}

/// A safetensors file as the crate writes it, and as PyTorch saves one: compact, padded, with the metadata `format`.
pub fn pt_safetensors(tensors: &[(&str, &str, &[u64], &[u8])]) -> Vec<u8> {
    let mut data = Vec::new();
    let mut entries = Vec::new();
    for (name, dtype, shape, bytes) in tensors {
        let range = ByteRange::new(data.len() as u64, bytes.len() as u64).unwrap();
        entries.push(Entry {
            name: (*name).to_owned(),
            dtype: Dtype::parse(dtype).unwrap(),
            shape: shape.to_vec(),
            range,
        });
        data.extend_from_slice(bytes);
    }
    let mut file = writer::header_bytes(&[("format".into(), "pt".into())], &entries);
    file.extend_from_slice(&data);
    file
}

/// `bytes` with one more in every `every`-th of them, from the first on.
pub fn nudged(bytes: &[u8], every: usize) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for b in out.iter_mut().step_by(every) {
        *b = b.wrapping_add(1);
    }
    out
}

/// A safetensors file with a few changes in its tensors.
pub fn nudged_model(file: &[u8], every: usize) -> Vec<u8> {
    let mut length = [0; 8];
    length.copy_from_slice(&file[..8]);
    let (head, data) = file.split_at(8 + u64::from_le_bytes(length) as usize);
    [head, &nudged(data, every)].concat()
}

/// Bases and fine-tunes that cover every operation.
pub fn variety() -> (Files, Files) {
    let w = random_bytes;
    let (bf16, f32s, f64s, f8) = (w(2 * 3000, 1), w(4 * 640, 2), w(8 * 200, 3), w(700, 4));
    let (ids, same, grown) = (w(8 * 64, 5), w(2 * 500, 7), w(2 * 50 * 64, 8));
    let widened: Vec<u8> = same.chunks(2).flat_map(|b| [0, 0, b[0], b[1]]).collect();
    let base = pt_safetensors(&[
        ("bf16", "BF16", &[30, 100], &bf16),
        ("f16", "F16", &[3000], &bf16),
        ("f32", "F32", &[10, 64], &f32s),
        ("f64", "F64", &[200], &f64s),
        ("f8", "F8_E4M3", &[7, 100], &f8),
        ("f4", "F4", &[1400], &f8),
        ("ids", "I64", &[64], &ids),
        ("same", "BF16", &[500], &same),
        ("widened", "BF16", &[500], &same),
        ("old.layer.0.weight", "BF16", &[30, 100], &nudged(&bf16, 7)),
        ("shrunk", "BF16", &[50, 64], &grown),
        ("empty", "F32", &[0, 4], &[]),
        ("scalar", "F32", &[], &f32s[..4]),
        ("complex", "C64", &[80], &f32s[..640]),
        ("retyped", "F8_E8M0", &[700], &f8),
        ("grown", "BF16", &[50, 64], &grown),
    ]);
    let fine = pt_safetensors(&[
        ("bf16", "BF16", &[30, 100], &nudged(&bf16, 10)),
        ("f16", "F16", &[3000], &nudged(&bf16, 31)),
        ("f32", "F32", &[10, 64], &nudged(&f32s, 4)),
        ("f64", "F64", &[200], &nudged(&f64s, 5)),
        ("f8", "F8_E4M3", &[7, 100], &nudged(&f8, 6)),
        ("f4", "F4", &[1400], &nudged(&f8, 3)),
        ("ids", "I64", &[64], &nudged(&ids, 16)),
        ("same", "BF16", &[500], &same),
        ("widened", "F32", &[500], &nudged(&widened, 4)),
        ("new.layer.0.weight", "BF16", &[30, 100], &nudged(&bf16, 7)),
        (
            "grown",
            "BF16",
            &[53, 64],
            &[&nudged(&grown, 9)[..], &w(384, 9)].concat(),
        ),
        ("shrunk", "BF16", &[40, 64], &nudged(&grown, 5)[..5120]),
        ("added", "U8", &[3, 300], &w(900, 11)),
        ("zeros", "I32", &[500], &[0; 2000]),
        ("empty", "F32", &[0, 4], &[]),
        ("scalar", "F32", &[], &f32s[4..8]),
        ("complex", "C64", &[80], &nudged(&f32s[..640], 8)),
        ("retyped", "BF16", &[350], &f8),
    ]);
    (one(base), one(fine))
}
