//! One battery for the kernels of version 2: what is dispatched to against the scalar twin, bit for bit.
//!
//! In wasm the dispatched form is the simd128 one. Input is random bits, so that elements of all kinds are met, and
//! streams that no encoder wrote. `cargo test --test wasm_kernels_v2`, and the same with
//! `--target wasm32-unknown-unknown` and `wasm-bindgen-test-runner`.

#[path = "common/random.rs"]
mod random;

use random::Lcg;
use wdelta::dtype::Dtype;
use wdelta::kernels::v2::alphabet;
use wdelta::kernels::v2::analyse::{
    differ, differ_scalar, differs, mark, mark_scalar, normalise as normalise_row, normalise_scalar, take_apart,
    take_apart_scalar, weighted_difference, weighted_difference_scalar, weighted_sum, weighted_sum_scalar, Reach,
};
use wdelta::kernels::v2::bits::{BitReader, BitWriter};
use wdelta::kernels::v2::cost::{add_columns, add_columns_scalar, add_row, add_row_scalar, CostTable, SHIFTS};
use wdelta::kernels::v2::dither::{self, Dither, Lattices, Row, RowPlace, LEVELS};
use wdelta::kernels::v2::element::Layout;
use wdelta::kernels::v2::predict::{predict_row, predict_row_scalar, Columns, Moves};
use wdelta::kernels::v2::rans::{self, Words, LANES};
use wdelta::kernels::v2::read_row::{self, Contexts, Decoding, Scratch, Source, Start, Streams};
use wdelta::kernels::v2::subspace::{times, times_scalar, transposed_times, transposed_times_scalar, MAX_COMPONENTS};
use wdelta::kernels::v2::tables::{normalise, DecodeTables, EncodeTables, Freqs, ESC, SYMBOLS};
use wdelta::kernels::v2::write_row::{self, write_row, write_row_scalar, Coding};

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

impl Lcg {
    /// A number from 0 to `n - 1`.
    fn below(&mut self, n: u32) -> u32 {
        ((self.next() as u64 * n as u64) >> 32) as u32
    }

    /// Contexts of a prediction, if there is one.
    fn variants(&mut self, n: usize, predicted: bool) -> Vec<u8> {
        match predicted {
            true => (0..n).map(|_| [0, 1, 2, 129, 130][self.below(5) as usize]).collect(),
            false => Vec::new(),
        }
    }

    /// Contexts that a prediction leaves in weights of this kind; wide ones have none.
    fn contexts_of(&mut self, layout: Layout, n: usize, predicted: bool) -> Vec<u8> {
        match layout.bits {
            16 => self.variants(n, predicted),
            32 if predicted => vec![0; n],
            _ => Vec::new(),
        }
    }

    /// Scales of columns, padded to groups of 16.
    fn columns(&mut self, n: usize) -> Vec<i16> {
        (0..n.div_ceil(LANES) * LANES)
            .map(|_| self.below(9) as i16 - 4)
            .collect()
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }

    /// Elements of so many bytes, and others close to most of them.
    fn pair(&mut self, n: usize, width: usize) -> (Vec<u8>, Vec<u8>) {
        let base = self.bytes(width * n);
        let mut near = |b: &[u8]| {
            let mut word = [0; 8];
            word[..width].copy_from_slice(b);
            // Pruned: 0 or -0.
            let zero = [0, 1u64 << (8 * width - 1)];
            let by = match self.below(9) {
                8 => return zero[self.below(2) as usize].to_le_bytes(),
                0 => (self.next() as u64) << 32 | self.next() as u64,
                1 => self.next() as u64 >> self.below(32),
                _ => self.below(90) as u64,
            };
            u64::from_le_bytes(word).wrapping_add(by).to_le_bytes()
        };
        let fine = base
            .chunks_exact(width)
            .flat_map(|b| near(b).into_iter().take(width))
            .collect();
        (base, fine)
    }
}

const LENGTHS: [usize; 9] = [1, 15, 16, 17, 31, 33, 64, 100, 1027];

const DTYPES: [Dtype; 7] = [
    Dtype::BF16,
    Dtype::F16,
    Dtype::I16,
    Dtype::F32,
    Dtype::I32,
    Dtype::F8_E4M3,
    Dtype::F64,
];

/// Tables that have all symbols, the long codes often.
fn tables(rng: &mut Lcg, contexts: usize, log: u32) -> Vec<Freqs> {
    let mut table = || {
        let counts: [u32; SYMBOLS] = std::array::from_fn(|_| 1 + rng.below(50));
        normalise(&counts, log, 50)
    };
    (0..contexts).map(|_| table()).collect()
}

#[test]
fn decoding_rows_of_streams_that_nobody_wrote() {
    let mut rng = Lcg(1);
    for dtype in DTYPES {
        for log in 9..=11 {
            let contexts = Contexts {
                log2_q: rng.below(2),
                offset: 20,
                classes: 24,
                phased: 9,
            };
            let tables = DecodeTables::new(&tables(&mut rng, contexts.count() + 2, log), log);
            let decoding = Decoding {
                contexts,
                lattices: Lattices::default(),
                tables: &tables,
            };
            for n in LENGTHS {
                for predicted in [false, true] {
                    let layout = Layout::of(dtype);
                    let from = rng.bytes(layout.bytes() * n);
                    let variants = rng.contexts_of(layout, n, predicted);
                    let columns = rng.columns(n);
                    let source = Source {
                        start: Start {
                            layout,
                            from: &from,
                            variants: &variants,
                        },
                        row: rng.below(200) as i32,
                        columns: &columns,
                    };
                    // Long enough for some rows, too short for others.
                    let (words, raw) = (rng.bytes(n), rng.bytes(n / 2));
                    let states: [u32; LANES] = std::array::from_fn(|_| rng.next() | (1 << 16));
                    let streams = || Streams {
                        states,
                        words: Words::new(&words),
                        raw: BitReader::new(&raw),
                    };
                    let (mut a, mut b) = (streams(), streams());
                    let (mut out, mut plain) = (vec![0; from.len()], vec![0; from.len()]);
                    let mut scratch = Scratch::default();
                    read_row::decode_row(&decoding, &source, &mut a, &mut scratch, &mut out);
                    read_row::decode_row_scalar(&decoding, &source, &mut b, &mut scratch, &mut plain);
                    assert_eq!(out, plain, "{dtype:?}, log {log}, {n} elements, predicted {predicted}");
                    assert_eq!(a.states, b.states);
                    assert_eq!(a.words.is_exhausted(), b.words.is_exhausted());
                    assert_eq!(a.raw.get(40), b.raw.get(40));
                }
            }
        }
    }
}

/// A dithered row as the specification has it (section 8), one weight after the other.
fn dithered_row(
    dtype: Dtype,
    decoding: &Decoding<'_>,
    place: RowPlace,
    source: &Source<'_>,
    streams: &mut Streams,
    out: &mut [u8],
) {
    let Decoding {
        contexts,
        lattices,
        tables,
    } = *decoding;
    let Start { layout, from, variants } = source.start;
    let (width, q) = (layout.bytes(), contexts.log2_q);
    let n = out.len() / width;
    let relative = place.dither.step as i32 - 128;
    let e = (source.row << (3 - q)) + relative;
    let word = |bytes: &[u8], i: usize| {
        let mut w = [0; 8];
        w[..width].copy_from_slice(&bytes[i * width..(i + 1) * width]);
        u64::from_le_bytes(w)
    };
    let groups = (source.columns.len() / 16) as u64;
    let level = |i: usize| {
        let counter = place.row.wrapping_mul(groups).wrapping_add((i / 16) as u64);
        let mut x = place
            .dither
            .seed
            .wrapping_add(counter.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        (x >> (4 * (i % 16)) & 15) as i32
    };
    let is_dithered = |start: u64| {
        let exponent = layout.exponent(start);
        exponent < layout.exponent_mask as i32 && 8 * exponent < e
    };
    let mut which: Vec<u8> = (0..n)
        .map(|i| {
            let start = word(from, i);
            let column = source.columns[i] as i32;
            if is_dithered(start) {
                let c = column - (relative >> (3 - q)) + lattices.offset as i32;
                return lattices.first + 8 * c.clamp(0, lattices.classes as i32 - 1) as u8 + (level(i) & 7) as u8;
            }
            let variant = variants.get(i).map_or(0, |v| v & 127);
            contexts.of(source.row + column - (layout.exponent(start) << q), variant)
        })
        .collect();
    which.resize(n.div_ceil(LANES) * LANES, tables.contexts() as u8);
    let mut codes = vec![0; which.len()];
    rans::decode_row_scalar(&mut streams.states, &mut streams.words, tables, &which, &mut codes);
    let octave = ((e >> 3) - 5 - layout.unit_exponent()).clamp(-126, 127);
    let root = 2f64.powi(e & 7).sqrt().sqrt().sqrt() as f32;
    let unit = (root as f64 * 2f64.powi(octave)) as f32;
    for i in 0..n {
        let (start, code) = (word(from, i), codes[i]);
        let bits = alphabet::raw_bits(code, layout.bits);
        let raw = streams.raw.get(bits);
        let difference = alphabet::decode(code, bits, raw);
        let result = if code.unsigned_abs() == 127 {
            (code as u64 >> 63) << (layout.bits - 1)
        } else if !is_dithered(start) {
            let flip = variants.get(i).is_some_and(|v| v & 128 != 0);
            let difference = if flip { difference.wrapping_neg() } else { difference };
            layout.unkey(layout.key(start).wrapping_add(difference))
        } else if code.unsigned_abs() > 126 {
            raw
        } else {
            let m = 32 * (difference as i16 as i32) - 2 * (level(i) & 7) - 1;
            let by = if level(i) & 8 != 0 { -m } else { m } as f32 * unit;
            match dtype {
                Dtype::BF16 => half::bf16::from_f32(half::bf16::from_bits(start as u16).to_f32() + by).to_bits() as u64,
                Dtype::F16 => half::f16::from_f32(half::f16::from_bits(start as u16).to_f32() + by).to_bits() as u64,
                _ => (f32::from_bits(start as u32) + by).to_bits() as u64,
            }
        };
        out[i * width..(i + 1) * width].copy_from_slice(&result.to_le_bytes()[..width]);
    }
}

#[test]
fn decoding_dithered_rows() {
    let mut rng = Lcg(6);
    for dtype in [Dtype::BF16, Dtype::F16, Dtype::F32] {
        let layout = Layout::of(dtype);
        for round in 0..24 {
            let log2_q = rng.below(2);
            let contexts = Contexts {
                log2_q,
                offset: 20,
                classes: 24,
                phased: 9,
            };
            let classes = 1 + rng.below(9) as u8;
            let lattices = Lattices {
                first: contexts.count() as u8 + 2,
                offset: rng.below(20) as i16 - 10,
                classes,
            };
            let n_tables = contexts.count() + 2 + LEVELS * classes as usize;
            let tables = DecodeTables::new(&tables(&mut rng, n_tables, 9 + round % 3), 9 + round % 3);
            let decoding = Decoding {
                contexts,
                lattices,
                tables: &tables,
            };
            for n in LENGTHS {
                let from = rng.bytes(layout.bytes() * n);
                let variants = rng.variants(n, round % 2 == 0);
                // A tensor's last row may be shorter than the others.
                let full = n + rng.below(40) as usize;
                let columns = rng.columns(full);
                let source = Source {
                    start: Start {
                        layout,
                        from: &from,
                        variants: &variants,
                    },
                    // Mostly among the exponents there are, so that some weights are dithered and some are not.
                    row: match rng.below(4) {
                        0 => rng.below(16_383) as i32 - 8191,
                        _ => rng.below(layout.exponent_mask << log2_q) as i32,
                    },
                    columns: &columns,
                };
                let place = RowPlace {
                    dither: Dither {
                        step: rng.next() as u8,
                        seed: (rng.next() as u64) << 32 | rng.next() as u64,
                    },
                    row: rng.next() as u64 >> rng.below(32),
                };
                let (words, raw) = (rng.bytes(n), rng.bytes(n / 2));
                let states: [u32; LANES] = std::array::from_fn(|_| rng.next() | (1 << 16));
                let streams = || Streams {
                    states,
                    words: Words::new(&words),
                    raw: BitReader::new(&raw),
                };
                let (mut a, mut b) = (streams(), streams());
                let (mut out, mut plain) = (vec![0; from.len()], vec![0; from.len()]);
                let mut scratch = dither::Scratch::default();
                dither::decode_row(&decoding, place, &source, &mut a, &mut scratch, &mut out);
                dithered_row(dtype, &decoding, place, &source, &mut b, &mut plain);
                assert!(out == plain, "{dtype:?}, round {round}, {n} elements");
                assert_eq!(a.states, b.states);
                assert_eq!(a.raw.get(40), b.raw.get(40));
            }
        }
    }
}

#[test]
fn coding_symbols() {
    let mut rng = Lcg(2);
    for log in 9..=11 {
        let freqs = tables(&mut rng, 7, log);
        for n in LENGTHS {
            let padded = n.div_ceil(LANES) * LANES;
            let contexts: Vec<u8> = (0..padded)
                .map(|i| if i < n { rng.below(7) as u8 } else { 7 })
                .collect();
            let symbol = |&c: &u8| match freqs.get(c as usize) {
                Some(table) => loop {
                    let s = rng.below(256) as usize;
                    if table[s] > 0 {
                        break (c as u16) << 8 | s as u16;
                    }
                },
                None => (c as u16) << 8,
            };
            let index: Vec<u16> = contexts.iter().map(symbol).collect();
            let encoders = EncodeTables::new(&freqs, log);
            let coded = rans::encode(&index, &encoders);
            assert_eq!(coded, rans::encode_scalar(&index, &encoders), "log {log}, {n} symbols");
            let decoders = DecodeTables::new(&freqs, log);
            let mut codes = vec![0; padded];
            let (mut states, words) = coded;
            rans::decode_row(&mut states, &mut Words::new(&words), &decoders, &contexts, &mut codes);
            let wanted: Vec<i8> = index.iter().map(|&i| i as u8 as i8).collect();
            assert_eq!(codes, wanted);
        }
    }
}

#[test]
fn predicting_rows() {
    let mut rng = Lcg(3);
    for dtype in [Dtype::BF16, Dtype::F16, Dtype::F32] {
        let layout = Layout::of(dtype);
        for n in LENGTHS {
            for rank in [1, 2, 3, 16, MAX_COMPONENTS] {
                let right: Vec<i16> = (0..rank * n).map(|_| rng.next() as i16).collect();
                let octaves: Vec<i16> = (0..n).map(|_| rng.below(9) as i16 - 4).collect();
                let columns = Columns::new(rank, &right, &octaves);
                let mut left = [0i16; MAX_COMPONENTS];
                left[..rank].fill_with(|| rng.next() as i16 >> rng.below(12));
                let scale = f32::from_bits((90 + rng.below(60)) << 23);
                let base = rng.bytes(n * layout.bytes());
                let mut moved = [(); 2].map(|()| (vec![0; base.len()], vec![0; n]));
                let [(from, variants), (plain_from, plain_variants)] = &mut moved;
                let moves = Moves {
                    columns: &columns,
                    left: &left,
                    scale,
                };
                predict_row(layout, &moves, &base, from, variants);
                predict_row_scalar(layout, &moves, &base, plain_from, plain_variants);
                assert!(moved[0] == moved[1], "{dtype:?}, rank {rank}, {n} elements");
            }
        }
    }
}

#[test]
fn taking_rows_apart() {
    let mut rng = Lcg(4);
    for dtype in DTYPES {
        let layout = Layout::of(dtype);
        for n in LENGTHS {
            let (from, fine) = rng.pair(n, layout.bytes());
            for predicted in [false, true] {
                let variants = rng.contexts_of(layout, n, predicted);
                let mut parts = [(); 2].map(|()| (vec![0; n], vec![0; n]));
                let [(classes, codes), (plain_classes, plain_codes)] = &mut parts;
                let log2_q = rng.below(2);
                let start = Start {
                    layout,
                    from: &from,
                    variants: &variants,
                };
                take_apart(&start, log2_q, &fine, classes, codes);
                take_apart_scalar(&start, log2_q, &fine, plain_classes, plain_codes);
                assert!(parts[0] == parts[1], "{dtype:?}, {n} elements, predicted {predicted}");
            }
            let (mut a, mut b) = (vec![0f32; n], vec![0f32; n]);
            differ(layout, &from, &fine, &mut a);
            differ_scalar(layout, &from, &fine, &mut b);
            let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&a), bits(&b), "{dtype:?}, {n} elements");
            let weights: Vec<f32> = (0..n).map(|_| f32::from_bits((100 + rng.below(50)) << 23)).collect();
            let sum = weighted_sum_scalar(&a, &weights).to_bits();
            assert_eq!(weighted_sum(&a, &weights).to_bits(), sum);
            assert_eq!(weighted_difference(layout, &from, &fine, &weights).to_bits(), sum);
            let scalar = weighted_difference_scalar(layout, &from, &fine, &weights);
            assert_eq!(scalar.to_bits(), sum);
            normalise_row(&mut a, weights[0], &weights);
            normalise_scalar(&mut b, weights[0], &weights);
            assert_eq!(bits(&a), bits(&b), "{dtype:?}, {n} elements");
        }
    }
}

/// Tables with all codes of a class's own magnitude or less, some of them left out, and the escape.
fn short_tables(rng: &mut Lcg, contexts: usize, log: u32) -> Vec<Freqs> {
    let mut table = |_| {
        let reach = [0, 3, 32, 60][rng.below(4) as usize];
        let mut counts = [0; SYMBOLS];
        for (s, c) in counts.iter_mut().enumerate() {
            let near = (s as u8 as i8).unsigned_abs() <= reach;
            *c = 100 * (near && rng.below(20) > 0) as u32;
        }
        counts[ESC] = 100;
        normalise(&counts, log, 16)
    };
    (0..contexts).map(&mut table).collect()
}

#[test]
fn writing_rows() {
    let mut rng = Lcg(8);
    let mut scratch = write_row::Scratch::default();
    for dtype in DTYPES {
        let layout = Layout::of(dtype);
        for round in 0..12u32 {
            // Up to 24 contexts of weights, or up to 192 of them.
            let contexts = Contexts {
                log2_q: rng.below(2),
                offset: rng.below(60) as i16,
                classes: 1 + rng.below(if round % 2 == 0 { 8 } else { 64 }) as u8,
                phased: rng.below(70) as u8,
            };
            let log = 9 + round % 3;
            let n_tables = contexts.count() + rng.below(20) as usize;
            let freqs = match round {
                // Nothing but escapes.
                0 => vec![normalise(&[0; SYMBOLS], log, 16); n_tables],
                _ => short_tables(&mut rng, n_tables, log),
            };
            let (reach, tables) = (Reach::new(&freqs), EncodeTables::new(&freqs, log));
            let coding = Coding {
                contexts,
                lattices: Lattices::default(),
                reach: &reach,
                tables: &tables,
            };
            let decoding = Decoding {
                contexts,
                lattices: Lattices::default(),
                tables: &DecodeTables::new(&freqs, log),
            };
            let mut written = [(); 2].map(|()| write_row::Streams {
                index: vec![7; LANES],
                raw: BitWriter::default(),
            });
            let mut rows = Vec::new();
            for n in LENGTHS.into_iter().chain([0]) {
                let (mut from, mut fine) = rng.pair(n, layout.bytes());
                match rng.below(8) {
                    0 => from.fill(0),
                    1 => fine.clone_from(&from),
                    // The largest differences there are.
                    2 => {
                        fine.fill(0);
                        from.fill(0);
                        from.iter_mut()
                            .skip(layout.bytes() - 1)
                            .step_by(layout.bytes())
                            .for_each(|b| *b = 0x80);
                    }
                    _ => {}
                }
                let predicted = rng.below(2) == 0;
                let variants = rng.contexts_of(layout, n, predicted);
                let columns = rng.columns(n);
                let row = match rng.below(4) {
                    0 => rng.below(16_383) as i32 - 8191,
                    _ => rng.below(layout.exponent_mask << contexts.log2_q | 1) as i32,
                };
                let source = Source {
                    start: Start {
                        layout,
                        from: &from,
                        variants: &variants,
                    },
                    row,
                    columns: &columns,
                };
                let [streams, plain] = &mut written;
                write_row(&coding, &source, &fine, &mut scratch, streams);
                write_row_scalar(&coding, &source, &fine, plain);
                assert!(streams.index == plain.index, "{dtype:?}, {n} elements, round {round}");
                assert_eq!(
                    streams.raw.len(),
                    plain.raw.len(),
                    "{dtype:?}, {n} elements, round {round}"
                );
                rows.push((from, fine, variants, columns, row));
            }
            let [write_row::Streams { index, raw }, plain] = written;
            let raw = raw.finish();
            assert!(raw == plain.raw.finish(), "{dtype:?}, round {round}");
            // What was written is what is read.
            let (states, words) = rans::encode(&index[LANES..], &tables);
            let mut streams = Streams {
                states,
                words: Words::new(&words),
                raw: BitReader::new(&raw),
            };
            let mut out = Vec::new();
            for (from, fine, variants, columns, row) in &rows {
                let source = Source {
                    start: Start { layout, from, variants },
                    row: *row,
                    columns,
                };
                out.clear();
                out.resize(fine.len(), 0);
                let scratch = &mut Scratch::default();
                read_row::decode_row(&decoding, &source, &mut streams, scratch, &mut out);
                assert!(out == *fine, "{dtype:?}, {} bytes, round {round}", out.len());
            }
            assert!(streams.words.is_exhausted() && streams.raw.is_exhausted());
        }
    }
}

#[test]
fn comparing_rows() {
    let mut rng = Lcg(6);
    for n in (0..200).chain(LENGTHS) {
        let a = rng.bytes(n);
        assert!(!differs(&a, &a.clone()));
        for at in 0..n {
            let mut b = a.clone();
            b[at] ^= 1 << rng.below(8);
            assert!(differs(&a, &b), "{n} bytes, other at {at}");
        }
    }
}

#[test]
fn marking_symbols() {
    let mut rng = Lcg(7);
    for contexts in [1, 15, 16, 17, 200] {
        let freqs: Vec<Freqs> = (0..contexts)
            .map(|_| {
                let reach = 1 + rng.below(50) as usize;
                std::array::from_fn(|s| (rng.below(40) > 0 && (s as u8 as i8).unsigned_abs() as usize <= reach) as u16)
            })
            .collect();
        let reach = Reach::new(&freqs);
        for groups in [0, 1, 2, 30] {
            let index: Vec<u16> = (0..16 * groups)
                .map(|_| (rng.below(contexts + 1) << 8 | rng.below(256)) as u16)
                .collect();
            let (mut a, mut b) = (vec![3], Vec::new());
            mark(&reach, &index, &mut a);
            mark_scalar(&reach, &index, &mut b);
            assert_eq!(a, b, "{contexts} contexts, {groups} groups");
        }
    }
}

#[test]
fn multiplying_matrices() {
    let mut rng = Lcg(8);
    for p in [8, 16, 24, 32] {
        for (rows, columns, stride) in [(1usize, 1, 1), (4, 7, 1), (9, 16, 1), (23, 33, 2), (40, 100, 3)] {
            let mut values = |n: usize| -> Vec<f32> { (0..n).map(|_| (rng.next() >> 8) as f32 / 1e6 - 8.0).collect() };
            let taken = rows.div_ceil(stride);
            let (z, v) = (values(rows * columns), values(columns * p));
            let (mut a, mut b) = (vec![1.0; taken * p], vec![2.0; taken * p]);
            times(&z, columns, stride, p, &v, &mut a);
            times_scalar(&z, columns, stride, p, &v, &mut b);
            assert_eq!(a, b);
            let (mut c, mut d) = (vec![3.0; columns * p], vec![0.0; columns * p]);
            transposed_times(&z, columns, stride, p, &a, &mut c);
            transposed_times_scalar(&z, columns, stride, p, &a, &mut d);
            assert_eq!(c, d);
        }
    }
}

#[test]
fn adding_up_lengths() {
    let mut rng = Lcg(5);
    let costs: Vec<u32> = (0..30 * 3 * SYMBOLS).map(|_| rng.below(70_000)).collect();
    let table = CostTable::new(30, &[true; 3 * SYMBOLS], |class, code| {
        costs[class * 3 * SYMBOLS + code]
    });
    for n in LENGTHS {
        let mut numbers =
            |below: u32, less: i16| -> Vec<i16> { (0..n).map(|_| rng.below(below) as i16 - less).collect() };
        let (classes, columns) = (numbers(80, 40), numbers(9, 4));
        // Some codes that the table does not have.
        let codes: Vec<u16> = numbers(3 * 256 + 40, 0).into_iter().map(|c| c as u16).collect();
        let (mut a, mut b) = ([7; SHIFTS], [7; SHIFTS]);
        add_row(&table, 5, &classes, &columns, &codes, &mut a);
        add_row_scalar(&table, 5, &classes, &columns, &codes, &mut b);
        assert_eq!(a, b, "{n} elements");
        let (mut a, mut b) = (vec![[7; SHIFTS]; n], vec![[7; SHIFTS]; n]);
        add_columns(&table, 5, &classes, &columns, &codes, &mut a);
        add_columns_scalar(&table, 5, &classes, &columns, &codes, &mut b);
        assert_eq!(a, b, "{n} elements");
    }
}

type Quantize = fn(&Row<'_>, &[u8], &[u8], &mut [u16], &mut [u8]);

#[test]
fn quantizing_dithered_rows() {
    let mut rng = Lcg(7);
    for dtype in [Dtype::BF16, Dtype::F16, Dtype::F32] {
        let layout = Layout::of(dtype);
        let width = layout.bytes();
        for (round, n) in (0..24).flat_map(|round| LENGTHS.map(|n| (round, n))) {
            let from = rng.bytes(width * n);
            // Near the start, or anywhere; numbers of all kinds, the special ones included.
            let mut fine = from.clone();
            for (i, word) in fine.chunks_exact_mut(width).enumerate() {
                if rng.below(8) == 0 {
                    word.fill(0);
                    word[width - 1] = 128 * rng.below(2) as u8;
                } else if round % 3 == 0 {
                    word.copy_from_slice(&rng.bytes(width));
                } else {
                    word[0] = word[0].wrapping_add(rng.below(64) as u8 * (i % 2) as u8);
                }
            }
            let padded = n.div_ceil(LANES) * LANES;
            let (variants, columns) = (rng.variants(n, round % 2 == 0), rng.columns(n));
            let source = Source {
                start: Start {
                    layout,
                    from: &from,
                    variants: &variants,
                },
                row: rng.below(layout.exponent_mask << 1) as i32,
                columns: &columns,
            };
            let dither = Dither {
                step: rng.next() as u8,
                seed: rng.next() as u64,
            };
            let mut levels = Vec::new();
            let row = Row::at(RowPlace { dither, row: round }, &source, 1, &mut levels);
            let contexts = rng.bytes(padded);
            let run = |quantize: Quantize| {
                let (mut index, mut out) = (vec![0; padded], vec![0; from.len()]);
                quantize(&row, &fine, &contexts, &mut index, &mut out);
                // A weight without a short code may have any result.
                for (&i, word) in index.iter().zip(out.chunks_exact_mut(width)) {
                    if i as u8 as i8 == alphabet::ESCAPE {
                        word.fill(0);
                    }
                }
                (index, out)
            };
            let (index, out) = run(dither::quantize_row);
            assert_eq!(
                (index.clone(), out.clone()),
                run(dither::quantize_row_scalar),
                "{dtype:?} {n}"
            );
            assert!(index.iter().zip(&contexts).all(|(&i, &c)| i >> 8 == c as u16));
            // What decoding makes of the codes.
            let codes: Vec<i8> = index.iter().map(|&i| i as u8 as i8).collect();
            let mut decoded = vec![0; from.len()];
            dither::apply_row(&row, &codes, &mut decoded);
            let words = decoded.chunks_exact(width).zip(out.chunks_exact(width));
            for ((decoded, out), code) in words.zip(&codes).filter(|(_, &c)| c != alphabet::ESCAPE) {
                assert_eq!(decoded, out, "{dtype:?} {n} {code}");
            }
        }
    }
}
