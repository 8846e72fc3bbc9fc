//! The coder of version 2, from memory to memory: exact, as small as promised, and safe on any bytes.
//!
//! `cargo test --test v2_lossless`, and the same with `--target wasm32-unknown-unknown` and `wasm-bindgen-test-runner`.

#[path = "common/random.rs"]
mod random;
#[path = "../benches/common/v2.rs"]
mod v2;

use random::Lcg;
use safetensors::SafeTensors;
use v2::{Coded, Tensor};

use wdelta::dtype::Dtype;
use wdelta::error::{Code, Result};
use wdelta::kernels::v2::predict::Columns;
use wdelta::kernels::v2::tables::{DecodeTables, Freqs, SYMBOLS};
use wdelta::strategy::lossless::block::{self, Segment, Stats, Target};
use wdelta::strategy::lossless::factors::{Factors, FACTOR_CLASSES};
use wdelta::strategy::lossless::fit::Effort;
use wdelta::strategy::lossless::rows;
use xxhash_rust::xxh3::xxh3_64;

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const BASE: &[u8] = include_bytes!("data/stories260k-full/base.safetensors");
const SFT: &[u8] = include_bytes!("data/stories260k-full/ft-sft.safetensors");
const STEP1: &[u8] = include_bytes!("data/stories260k-full/ft-step1.safetensors");

fn pair(fine: &[u8]) -> Vec<Tensor> {
    let (base, fine) = (
        SafeTensors::deserialize(BASE).unwrap(),
        SafeTensors::deserialize(fine).unwrap(),
    );
    let mut names = fine.names();
    names.sort();
    let tensor = |name: &str| {
        let (b, f) = (base.tensor(name).unwrap(), fine.tensor(name).unwrap());
        let shape: Vec<u64> = b.shape().iter().map(|&d| d as u64).collect();
        let dtype = Dtype::parse(&format!("{:?}", b.dtype())).unwrap();
        Tensor::new(dtype, &shape, b.data().to_vec(), f.data().to_vec())
    };
    names.into_iter().map(tensor).collect()
}

fn decode(tensors: &[Tensor], coded: &Coded) -> Result<Vec<Vec<u8>>> {
    let mut outs: Vec<Vec<u8>> = tensors.iter().map(|t| vec![0; t.base.len()]).collect();
    v2::decode(tensors, coded, &mut outs)?;
    Ok(outs)
}

fn assert_exact(tensors: &[Tensor], coded: &Coded) {
    for (t, out) in tensors.iter().zip(decode(tensors, coded).unwrap()) {
        assert!(t.fine == out);
    }
}

/// Bits per weight with tables, columns and 110 bytes of header and digest per tensor.
fn bits_per_weight(tensors: &[Tensor], coded: &Coded) -> f64 {
    let n: usize = tensors.iter().map(|t| t.base.len() / t.layout.bytes()).sum();
    let beside = v2::table_bytes(&coded.set) + v2::column_bytes(coded) + 110 * tensors.len() as u64;
    (coded.block.len() as u64 + beside) as f64 * 8.0 / n as f64
}

#[test]
fn fine_tunes_of_a_real_model_come_back_and_are_small() {
    for (fine, most) in [(SFT, 4.05), (STEP1, 2.02)] {
        let tensors = pair(fine);
        let coded = v2::encode(&tensors, Effort::level(2, true));
        assert_exact(&tensors, &coded);
        let bits = bits_per_weight(&tensors, &coded);
        assert!(bits <= most, "{bits} bits per weight, {most} are promised");
    }
}

#[test]
fn every_effort_is_exact() {
    let tensors = pair(STEP1);
    for level in [0, 1, 3] {
        assert_exact(&tensors, &v2::encode(&tensors, Effort::level(level, true)));
    }
}

/// A BF16 matrix of `n` rows and columns into which an adapter of `rank` was merged, whose product has `scale` times the
/// weights' deviation.
fn merged(n: usize, rank: usize, scale: f32, rng: &mut Lcg) -> Tensor {
    // The sum of twelve is as good as Gaussian, and alike on every machine.
    let mut gauss = || (0..12).map(|_| rng.next() as f32 / 4_294_967_296.0).sum::<f32>() - 6.0;
    let mut values = |n: usize| -> Vec<f32> { (0..n).map(|_| gauss()).collect() };
    let (w, b, a) = (values(n * n), values(n * rank), values(n * rank));
    let gain = scale / (rank as f32).sqrt();
    let rounded = |v: f32| half::bf16::from_f32(v);
    let mut t = Tensor::new(Dtype::BF16, &[n as u64, n as u64], Vec::new(), Vec::new());
    for (i, w) in w.iter().enumerate() {
        let base = rounded(0.02 * w);
        let pairs = b[i / n * rank..][..rank].iter().zip(&a[i % n * rank..][..rank]);
        let product: f32 = pairs.map(|(x, y)| x * y).sum();
        t.base.extend_from_slice(&base.to_le_bytes());
        t.fine
            .extend_from_slice(&rounded(base.to_f32() + 0.02 * gain * product).to_le_bytes());
    }
    t
}

/// What a merged adapter leaves over is known but for what rounding took from its factors: a small part of the bits that
/// the weights' differences have, and of those of factors without raw bits.
#[test]
fn merged_adapters_are_small() {
    // A move of a 16th of the weights' size is some 16 of their steps; bits, of which factors take a third to a half themselves.
    for (n, rank, scale, most) in [
        (256, 4, 1.0 / 16.0, 1.15),
        (256, 4, 0.5, 1.2),
        (512, 40, 1.0 / 64.0, 2.4),
    ] {
        let tensors = [merged(n, rank, scale, &mut Lcg(5))];
        let coded = v2::encode(&tensors, Effort::level(2, true));
        assert_exact(&tensors, &coded);
        let (bits, factors) = (bits_per_weight(&tensors, &coded), coded.fits[0].factors.as_ref());
        let plain = bits_per_weight(&tensors, &v2::encode(&tensors, Effort::level(2, false)));
        assert!(
            factors.is_some_and(|f| f.rank >= rank),
            "rank {rank}, {scale}: none that high"
        );
        assert!(
            bits <= most,
            "rank {rank}, {scale}: {bits} bits per weight, {plain} without a prediction"
        );
    }
}

/// A tensor of `rows` rows: mostly small moves of the bit patterns, some unchanged rows, and `wild` of 16 weights that
/// are anything at all, infinities and NaN included.
fn tensor(dtype: Dtype, rows: usize, columns: usize, wild: u32, rng: &mut Lcg) -> Tensor {
    let mut t = Tensor::new(dtype, &[rows as u64, columns as u64], Vec::new(), Vec::new());
    t.columns = columns;
    for i in 0..rows * columns {
        let any = |rng: &mut Lcg| (rng.next() as u64) << 32 | rng.next() as u64;
        let b = match t.layout.bits {
            16 if rng.next() % 16 >= wild => 0x3c00 | (any(rng) & 0x83ff),
            _ => any(rng),
        };
        let step = ((rng.next() % 9) as u64 * (rng.next() % 3) as u64).wrapping_sub(8);
        let f = match rng.next() % 16 {
            x if x < wild => any(rng),
            _ if (i / columns) % 4 == 3 => b,
            _ => b.wrapping_add(step),
        };
        t.base.extend_from_slice(&b.to_le_bytes()[..t.layout.bytes()]);
        t.fine.extend_from_slice(&f.to_le_bytes()[..t.layout.bytes()]);
    }
    t
}

const DTYPES: [Dtype; 9] = [
    Dtype::BF16,
    Dtype::F16,
    Dtype::F32,
    Dtype::F64,
    Dtype::F8_E4M3,
    Dtype::F8_E5M2,
    Dtype::U8,
    Dtype::I16,
    Dtype::I64,
];

#[test]
fn any_bits_of_any_dtype_come_back() {
    let rng = &mut Lcg(1);
    for dtype in DTYPES {
        for wild in [0, 1, 16] {
            let tensors = [
                tensor(dtype, 40, 33, wild, rng),
                tensor(dtype, 1, 5, wild, rng),
                tensor(dtype, 0, 7, wild, rng),
                tensor(dtype, 100, 96, wild, rng),
            ];
            assert_exact(&tensors, &v2::encode(&tensors, Effort::level(3, true)));
        }
    }
}

/// Factors that look like those of a fit.
fn factors(rank: usize, columns: usize, rng: &mut Lcg) -> Factors {
    let right: Vec<i16> = (0..rank * columns).map(|_| (rng.next() % 15) as i16 - 7).collect();
    let octaves: Vec<i16> = (0..columns).map(|_| (rng.next() % 3) as i16 - 1).collect();
    Factors {
        rank,
        raw_bits: 0,
        shift: 8,
        gains: vec![40; rank],
        left_classes: vec![3; rank],
        right_classes: vec![3; rank],
        columns: Columns::new(rank, &right, &octaves),
        octaves,
        right,
    }
}

/// A small block: two tensors, the first predicted where its dtype can be, the last row of the second cut short.
fn small(dtype: Dtype) -> (Vec<Tensor>, Coded) {
    let rng = &mut Lcg(7);
    let mut tensors = vec![tensor(dtype, 6, 35, 1, rng), tensor(dtype, 3, 20, 1, rng)];
    let cut = tensors[1].base.len() - 3 * tensors[1].layout.bytes();
    tensors[1].base.truncate(cut);
    tensors[1].fine.truncate(cut);
    let mut coded = v2::encode(&tensors, Effort::level(1, false));
    if matches!(dtype, Dtype::BF16 | Dtype::F16 | Dtype::F32) {
        coded.fits[0].factors = Some(factors(5, 35, rng));
        let flat: Freqs = [(1 << coded.set.log) / SYMBOLS as u16; SYMBOLS];
        coded.set.freqs.extend([flat; FACTOR_CLASSES]);
        let mut segments: Vec<_> = tensors
            .iter()
            .zip(&coded.fits)
            .map(|(t, f)| Segment {
                layout: t.layout,
                columns: t.columns,
                scales: &f.columns,
                factors: f.factors.as_ref(),
                dithering: None,
                base: &t.base,
                fine: &t.fine,
            })
            .collect();
        let mut stats = Stats::default();
        coded.block = block::encode(&coded.set, None, &mut segments, &mut stats);
        coded.stats = stats;
    }
    assert_exact(&tensors, &coded);
    (tensors, coded)
}

fn seal(block: &mut Vec<u8>) {
    let body = block.len().saturating_sub(8);
    block.truncate(body);
    block.extend_from_slice(&xxh3_64(block).to_le_bytes());
}

#[test]
fn a_flipped_byte_is_found_and_no_made_up_block_panics() {
    for dtype in DTYPES {
        let (tensors, mut coded) = small(dtype);
        let sound = coded.block.clone();
        // Raw bits and numbers beside the weights may stand for other ones; only the checksum tells. The lanes' states
        // seldom come back to where they started when one of them or a word differs: it takes symbols that trade places.
        let raw = sound.len() - 8 - coded.stats.raw;
        let lanes = raw - coded.stats.words - 64..raw;
        let mut missed = 0;
        for at in 0..sound.len() {
            for mask in [1, 0x80, 0xff] {
                coded.block.clone_from(&sound);
                coded.block[at] ^= mask;
                let error = decode(&tensors, &coded).unwrap_err();
                assert_eq!(error.code, Code::Checksum, "byte {at}");
                seal(&mut coded.block);
                match decode(&tensors, &coded) {
                    Ok(outs) => {
                        let equal = outs.iter().zip(&tensors).all(|(o, t)| *o == t.fine);
                        missed += (!equal && lanes.contains(&at)) as usize;
                    }
                    Err(e) => assert_eq!(e.code, Code::Malformed, "byte {at}: {e}"),
                }
            }
        }
        assert!(
            missed * 10 <= 3 * lanes.len(),
            "{dtype:?}: {missed} of {}",
            3 * lanes.len()
        );
    }
}

#[test]
fn a_cut_or_longer_block_is_refused() {
    for dtype in DTYPES {
        let (tensors, mut coded) = small(dtype);
        let sound = coded.block.clone();
        for len in 0..sound.len() {
            coded.block = sound[..len].to_vec();
            decode(&tensors, &coded).unwrap_err();
            seal(&mut coded.block);
            let error = decode(&tensors, &coded).unwrap_err();
            assert_eq!(error.code, Code::Malformed, "{len} bytes: {error}");
        }
        coded.block.clone_from(&sound);
        coded.block.extend_from_slice(&[0; 8]);
        seal(&mut coded.block);
        assert_eq!(decode(&tensors, &coded).unwrap_err().code, Code::Malformed);
    }
}

#[test]
fn random_blocks_are_refused() {
    let rng = &mut Lcg(3);
    for dtype in DTYPES {
        let (tensors, mut coded) = small(dtype);
        for round in 0..300 {
            let len = rng.next() as usize % 700;
            coded.block = (0..len + 8).map(|_| rng.next() as u8).collect();
            if round % 2 == 0 {
                // Lengths that fit, so that the streams are read.
                coded.block.splice(0..0, [9, 5, (round / 4) as u8]);
                coded.block.truncate(3 + 9 + 64 + 10 + round / 4 + 8);
            }
            seal(&mut coded.block);
            let error = decode(&tensors, &coded).unwrap_err();
            assert_eq!(error.code, Code::Malformed, "{error}");
        }
    }
}

#[test]
fn damage_in_a_real_block_is_found() {
    let tensors = pair(STEP1);
    let mut coded = v2::encode(&tensors, Effort::level(0, false));
    for at in (0..coded.block.len()).step_by(1009) {
        coded.block[at] ^= 0x10;
        assert_eq!(decode(&tensors, &coded).unwrap_err().code, Code::Checksum);
        let checksum = coded.block[coded.block.len() - 8..].to_vec();
        seal(&mut coded.block);
        if let Err(e) = decode(&tensors, &coded) {
            assert_eq!(e.code, Code::Malformed, "{e}");
        }
        coded.block[at] ^= 0x10;
        let body = coded.block.len() - 8;
        coded.block[body..].copy_from_slice(&checksum);
    }
    assert_exact(&tensors, &coded);
}

/// Decodes the small block of a dtype after something beside it was changed.
fn changed(dtype: Dtype, change: impl FnOnce(&mut Vec<Tensor>, &mut Coded)) -> Code {
    let (mut tensors, mut coded) = small(dtype);
    let sizes: Vec<usize> = tensors.iter().map(|t| t.base.len()).collect();
    let tables = DecodeTables::new(&coded.set.freqs, coded.set.log);
    change(&mut tensors, &mut coded);
    let mut outs: Vec<Vec<u8>> = sizes.iter().map(|&n| vec![0; n]).collect();
    let mut targets: Vec<_> = tensors
        .iter()
        .zip(&coded.fits)
        .zip(&mut outs)
        .map(|((t, f), out)| Target {
            layout: t.layout,
            columns: t.columns,
            scales: &f.columns,
            factors: f.factors.as_ref(),
            dither: None,
            base: &t.base,
            out,
        })
        .collect();
    block::decode(&coded.set, &tables, &coded.block, &mut targets)
        .unwrap_err()
        .code
}

#[test]
fn what_does_not_fit_together_is_refused() {
    type Change = fn(&mut Vec<Tensor>, &mut Coded);
    let changes: [Change; 20] = [
        |t, _| t[0].base.truncate(8),
        |t, _| t[0].base.clear(),
        |t, _| t[0].columns = 0,
        |t, _| t[0].columns = 36,
        |t, _| t[0].columns = rows::MAX_COLUMNS as usize + 1,
        |t, _| t[0].layout.bits = 24,
        |_, c| c.fits[0].columns.truncate(34),
        |_, c| c.fits[0].columns[3] = i16::MIN,
        |_, c| c.set.log = 12,
        |_, c| c.set.log = 10,
        |_, c| c.set.freqs.truncate(3),
        |_, c| c.set.phased = 255,
        |_, c| c.set.window.classes = 0,
        |_, c| c.set.window.classes = 255,
        |_, c| c.set.window.offset = i16::MAX,
        |_, c| c.set.window.log2_q = 40,
        |_, c| c.fits[0].factors = Some(factors(5, 16, &mut Lcg(1))),
        |_, c| c.fits[1].factors.clone_from(&Some(factors(1, 1, &mut Lcg(1)))),
        |_, c| c.fits[0].factors.iter_mut().for_each(|f| f.rank = 33),
        |_, c| c.fits[0].factors.iter_mut().for_each(|f| f.shift = i32::MIN + 1),
    ];
    for dtype in [Dtype::BF16, Dtype::F16, Dtype::F32] {
        for (i, change) in changes.into_iter().enumerate() {
            assert_eq!(changed(dtype, change), Code::Malformed, "{dtype:?}, change {i}");
        }
        let class = |_: &mut Vec<Tensor>, c: &mut Coded| {
            c.fits[0].factors.iter_mut().for_each(|f| f.left_classes[0] = 255);
        };
        assert_eq!(changed(dtype, class), Code::Malformed);
    }
    let predicted = |_: &mut Vec<Tensor>, c: &mut Coded| c.fits[0].factors = Some(factors(5, 35, &mut Lcg(1)));
    assert_eq!(changed(Dtype::I16, predicted), Code::Malformed);
    assert_eq!(changed(Dtype::F64, predicted), Code::Malformed);
}
