//! Golden files that the encoder does not write: other table logs and windows, several table sets, blocks of every kind
//! for common rows, tied tensors, a prediction for complex numbers.

use super::cases::{compact_safetensors, Case};
use super::common::pairs::{nudged, one};
use super::common::random::random_bytes;
use sha2::{Digest, Sha256};
use wdelta::dtype::Dtype;
use wdelta::format::v2::placed::Geometry;
use wdelta::format::v2::{BaseRef, Block, FileRecord, Head, Index, Op, TensorRecord, PREAMBLE};
use wdelta::kernels::v2::element::Layout;
use wdelta::kernels::v2::predict::Columns;
use wdelta::kernels::v2::tables::{normalise, Freqs, SYMBOLS};
use wdelta::strategy::lossless::block::{self, Segment, Stats};
use wdelta::strategy::lossless::factors::{Factors, FACTOR_CLASSES};
use wdelta::strategy::lossless::form::Form;
use wdelta::strategy::lossless::model::{TableSet, Window};
use wdelta::strategy::lossless::params::Params;
use wdelta::strategy::lossless::{stored, wire};
use xxhash_rust::xxh3::xxh3_64;

pub fn all() -> Vec<Case> {
    vec![
        case(
            "log9",
            "tables of 2^9 slots, one class an octave, C64 with factors",
            9,
            0,
            Dtype::C64,
            0,
        ),
        case("log10", "tables of 2^10 slots, F16 with factors", 10, 1, Dtype::F16, 0),
        case(
            "log11",
            "tables of 2^11 slots, one class an octave, BF16 with factors",
            11,
            0,
            Dtype::BF16,
            0,
        ),
        case("log9-f32", "tables of 2^9 slots, F32 with factors", 9, 1, Dtype::F32, 0),
        case(
            "fine-factors",
            "factors with 7 raw bits, rank 35, sums that wrap, BF16",
            10,
            1,
            Dtype::BF16,
            7,
        ),
    ]
}

/// A table that falls off by `slope` of 8 bits for each step away from 0, with every code in it that has a slot left.
fn table(log: u32, width: u32, slope: u32) -> Freqs {
    let mut counts = [0u32; SYMBOLS];
    for (code, count) in counts.iter_mut().enumerate() {
        let away = (code as u8 as i8).unsigned_abs() as u32;
        *count = 1 + (1 << 20 >> (away * slope / 8).min(20));
    }
    normalise(&counts, log, width)
}

fn set(log: u32, log2_q: u32, width: u32, raw_factors: bool) -> TableSet {
    let window = Window {
        log2_q,
        offset: if log2_q == 0 { 9 } else { -3 },
        classes: 6,
    };
    let phased = if width == 16 { 4 } else { 0 };
    let contexts = window.classes as u32 + 2 * phased;
    let mut freqs: Vec<Freqs> = (0..contexts).map(|c| table(log, width, 2 + c % 6)).collect();
    freqs.extend((0..FACTOR_CLASSES as u32).map(|c| table(log, width, 1 + c / 2)));
    TableSet {
        window,
        phased: phased as u8,
        log,
        freqs,
        raw_factors,
        form: Form::Own,
        dither_offset: 0,
        dither_classes: 0,
    }
}

fn factors(columns: usize, raw_bits: u32) -> Factors {
    let octaves: Vec<i16> = random_bytes(columns, 71).iter().map(|b| (b % 3) as i16 - 1).collect();
    let (rank, gains, right): (_, _, Vec<i16>) = match raw_bits {
        0 => {
            let right = random_bytes(3 * columns, 70)
                .iter()
                .map(|b| (b % 15) as i16 - 7)
                .collect();
            (3, vec![40, 0, 1023], right)
        }
        _ => {
            let pairs = random_bytes(2 * 35 * columns, 70);
            let right = pairs
                .chunks_exact(2)
                .map(|b| (i16::from_le_bytes([b[0], b[1]]) >> (8 - raw_bits)).max(-(127 << raw_bits)))
                .collect();
            (35, (0..35).map(|k| if k < 30 { 32767 } else { k }).collect(), right)
        }
    };
    Factors {
        rank,
        raw_bits,
        shift: 7 + 3 * raw_bits as i32,
        gains,
        left_classes: [3, 0, 13].into_iter().cycle().take(rank).collect(),
        right_classes: [12, 3, 5].into_iter().cycle().take(rank).collect(),
        columns: Columns::new(rank, &right, &octaves),
        octaves,
        right,
    }
}

/// How the common rows of a tensor are coded.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Coded,
    Planes,
    Plain,
    /// Not at all: the tensor is the base's.
    Same,
}

/// A tensor: its name, that of the base's, dtype, shape, bytes, how it is coded, its table set.
type Made<'a> = (&'a str, &'a str, Dtype, &'a [u64], Vec<u8>, Kind, u64);

/// A file with a tensor that is predicted, two coded in one block, one each in planes and plain, and one that two names
/// share. `fine_bits`: raw bits of factors.
fn case(name: &'static str, covers: &'static str, log: u32, log2_q: u32, dtype: Dtype, fine_bits: u32) -> Case {
    let layout = Layout::of(dtype);
    let rows = if fine_bits > 0 { 36 } else { 9 };
    let shape = [rows as u64, 70 / layout.parts];
    let n = rows * 70 * layout.bytes();
    let data = random_bytes(n, 72);
    let other = random_bytes(3 * 100, 73);
    let tensors: [Made; 7] = [
        ("predicted", "base", dtype, &shape, nudged(&data, 3), Kind::Coded, 0),
        ("coded", "base", dtype, &shape, nudged(&data, 17), Kind::Coded, 0),
        (
            "planes",
            "base",
            dtype,
            &shape,
            nudged(&vec![7; n], 50),
            Kind::Planes,
            0,
        ),
        (
            "plain",
            "other",
            Dtype::I8,
            &[3, 100],
            random_bytes(300, 74),
            Kind::Plain,
            1,
        ),
        (
            "bytes",
            "other",
            Dtype::I8,
            &[3, 100],
            nudged(&other, 4),
            Kind::Coded,
            1,
        ),
        ("tied", "base", dtype, &shape, data.clone(), Kind::Same, 0),
        ("tied too", "base", dtype, &shape, data.clone(), Kind::Same, 0),
    ];
    let base = compact_safetensors(&[
        ("base", dtype.name(), shape.to_vec(), data.clone()),
        ("other", "I8", vec![3, 100], other.clone()),
    ]);
    let sets = [set(log, log2_q, layout.bits, fine_bits > 0), set(log, log2_q, 8, false)];
    let geometry = |d: Dtype, s: &[u64]| Geometry::new(d, s, Some((d, s))).unwrap();
    let mut index = Index {
        metadata: vec![("made".into(), "by hand".into())],
        ..Index::default()
    };
    let mut file = PREAMBLE.to_vec();
    for set in &sets {
        let bytes = set.to_bytes();
        index.sets.push(bytes.len() as u64);
        file.extend(bytes);
    }
    let digest = |bytes: &[u8]| blake3::hash(bytes).as_bytes()[..16].try_into().unwrap();
    let mut params = Vec::new();
    for (name, from, dtype, shape, fine, kind, set) in &tensors {
        let columns = geometry(*dtype, shape).columns as usize;
        let scales: Vec<i16> = match *name {
            "plain" | "planes" => vec![0; columns],
            _ => random_bytes(columns, 75).iter().map(|b| (b % 7) as i16 - 3).collect(),
        };
        let factors = (*name == "predicted").then(|| factors(columns, fine_bits));
        let p = Params::new(&sets[*set as usize], scales, factors);
        let bytes = match kind {
            Kind::Same => Vec::new(),
            _ => p.to_bytes(&sets[*set as usize]),
        };
        let op = if *kind == Kind::Same { Op::Unchanged } else { Op::Delta };
        index.tensors.push(TensorRecord {
            name: (*name).into(),
            dtype: *dtype,
            shape: shape.to_vec(),
            op,
            base: Some(BaseRef {
                name: (*from).into(),
                dtype: *dtype,
                shape: shape.to_vec(),
                digest: digest(if *from == "base" { &data } else { &other }),
            }),
            digest: digest(fine),
            set: if op == Op::Delta { *set } else { 0 },
            params: bytes.len() as u64,
            ..TensorRecord::default()
        });
        file.extend(bytes);
        params.push(p);
    }
    let mut blocks = Vec::new();
    for group in [&[0, 1][..], &[2], &[3], &[4]] {
        let mut segments: Vec<Segment> = group
            .iter()
            .map(|&i| {
                let (_, from, dtype, shape, fine, ..) = &tensors[i];
                Segment {
                    layout: Layout::of(*dtype),
                    columns: geometry(*dtype, shape).columns as usize,
                    scales: &params[i].scales,
                    factors: params[i].factors.as_ref(),
                    dithering: None,
                    base: if *from == "base" { &data } else { &other },
                    fine,
                }
            })
            .collect();
        let (.., fine, kind, set) = &tensors[group[0]];
        let width = Layout::of(tensors[group[0]].2).bytes();
        let bytes = match kind {
            Kind::Coded => block::encode(&sets[*set as usize], None, &mut segments, &mut Stats::default()),
            Kind::Planes => stored::encode(fine, width),
            _ => wire::seal([&[stored::RAW][..], fine].concat()),
        };
        let first = match kind {
            Kind::Coded => 0,
            Kind::Planes => stored::PLANES,
            _ => stored::RAW,
        };
        assert_eq!(bytes[0], first, "{name}");
        let rows = group
            .iter()
            .map(|&i| geometry(tensors[i].2, tensors[i].3).rows().0)
            .sum();
        blocks.push(Block {
            len: bytes.len() as u64,
            rows,
        });
        file.extend(bytes);
    }
    index.blocks = blocks;
    index.files.push(FileRecord {
        path: "a folder/model.safetensors".into(),
        head: Head::Written(Vec::new()),
        tensors: tensors.len() as u64,
    });
    let notes = b"not a model".to_vec();
    index.files.push(FileRecord {
        path: "notes.txt".into(),
        head: Head::Verbatim(notes.clone()),
        tensors: 0,
    });
    let index = index.to_bytes().unwrap();
    let trailer = [file.len() as u64, index.len() as u64, xxh3_64(&index)];
    file.extend(index);
    file.extend(trailer.iter().flat_map(|n| n.to_le_bytes()));
    let checksum = Sha256::digest(&file);
    file.extend_from_slice(&checksum);
    let fine: Vec<_> = tensors
        .iter()
        .map(|t| (t.0, t.2.name(), t.3.to_vec(), t.4.clone()))
        .collect();
    let mut fine = one(compact_safetensors(&fine));
    fine[0].0 = "a folder/model.safetensors".into();
    fine.push(("notes.txt".into(), notes));
    Case {
        name,
        covers,
        base: one(base),
        deltas: vec![file],
        fine: Some(fine),
    }
}
