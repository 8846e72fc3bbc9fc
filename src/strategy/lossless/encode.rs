//! The writing side of a block.

use super::block::CODED;
use super::factors::{low, symbol, Factors};
use super::fit::{mean_scale, octave_factors, power, row_octave, row_scale, VARIANTS};
use super::model::TableSet;
use super::params::nearest;
use super::projector::Projector;
use super::rows::{Moved, Parts};
use super::side::{move_length, Scales};
use super::wire::{put_varint, seal};
use crate::kernels::v2::adaptive::Encoder;
use crate::kernels::v2::alphabet::{self, raw_bits};
use crate::kernels::v2::analyse::{differ, differs, index_row, mark, normalise, step_at, weighted_difference, Reach};
use crate::kernels::v2::bits::BitWriter;
use crate::kernels::v2::cost::{add_row, best_shift, CostTable, SHIFTS};
use crate::kernels::v2::element::{power_of_two, Layout};
use crate::kernels::v2::log2::{log2_q8, FRACTION};
use crate::kernels::v2::rans::{self, LANES};
use crate::kernels::v2::row16::Source;
use crate::kernels::v2::subspace::MAX_RANK;
use crate::kernels::v2::tables::{EncodeTables, ESC, SYMBOLS};
use crate::kernels::v2::write16::{write_row, Coding, Scratch};
use crate::strategy::lossy::row::{settle, Dithering, RowWriter};

/// Rows of one tensor, to be encoded.
pub struct Segment<'a> {
    /// How elements are read.
    pub layout: Layout,
    /// Elements per row.
    pub columns: usize,
    /// Column scales, one per element of a row.
    pub scales: &'a [i16],
    /// The prediction, if there is one.
    pub factors: Option<&'a Factors>,
    /// How it is dithered, if it is.
    pub dithering: Option<Dithering<'a>>,
    /// Bytes of the base.
    pub base: &'a [u8],
    /// Bytes of the fine-tune.
    pub fine: &'a [u8],
}

/// Lengths of every code in every class of a set.
pub fn cost_table(set: &TableSet, width: u32) -> CostTable {
    CostTable::new(
        set.window.classes as usize,
        &[true; VARIANTS * SYMBOLS],
        |class, code| {
            let freqs = &set.freqs[set.context(code >> 8, class)];
            let code = code & 255;
            let log = set.log << FRACTION;
            match freqs[code] {
                0 => (log - log2_q8(freqs[ESC].max(1) as u64)) + (width << FRACTION),
                f => log - log2_q8(f as u64) + (raw_bits(code as u8 as i8, width) << FRACTION),
            }
        },
    )
}

/// Encodes a block.
///
/// Segments are sound: bases as long as fine-tunes, rows of whole elements, a scale per column.
///
/// `cost`: the set's [`cost_table`], to choose row scales with; without it they are means.
pub fn encode(set: &TableSet, cost: Option<&CostTable>, segments: &mut [Segment<'_>], stats: &mut Stats) -> Vec<u8> {
    let mut side = Encoder::default();
    let mut scales = Scales::default();
    let mut raw = BitWriter::default();
    let weights: usize = segments.iter().map(|s| s.base.len() / s.layout.bytes()).sum();
    let mut index: Vec<u16> = Vec::with_capacity(weights + weights / 8);
    let mut moved = Moved::default();
    let mut parts = Parts::default();
    let contexts = set.contexts();
    let q = contexts.log2_q;
    let padding = (set.freqs.len() as u16) << 8;
    let reach = Reach::new(&set.freqs);
    let mut marked = Vec::new();
    let mut dithered = RowWriter::new(set, &reach);
    let several = segments.len() > 1;
    let tables = EncodeTables::new(&set.freqs, set.log);
    let coding = Coding {
        contexts,
        reach: &reach,
        tables: &tables,
    };
    let mut scratch = Scratch::default();
    for segment in segments {
        let layout = segment.layout;
        let row_bytes = segment.columns * layout.bytes();
        // A dithered tensor's columns have in their scales what the prediction took.
        let weights: Vec<f32> = match (segment.factors, &segment.dithering) {
            (Some(f), Some(_)) => f.octaves.iter().map(|&k| power(-(k as i32) << q, q)).collect(),
            _ => segment.scales.iter().map(|&c| power(-(c as i32), q)).collect(),
        };
        let projector = segment.factors.map(Projector::new);
        let column_factors = segment.factors.map_or(Vec::new(), |f| octave_factors(&f.octaves));
        let (first, first_raw) = (index.len(), raw.len());
        let mut padded_scales = segment.scales.to_vec();
        padded_scales.resize(segment.columns.div_ceil(LANES) * LANES, 0);
        let rows = segment.base.chunks(row_bytes).zip(segment.fine.chunks(row_bytes));
        for ((base, fine), i) in rows.zip(0u64..) {
            if !scales.changed(&mut side, differs(base, fine)) {
                if let Some(d) = &mut segment.dithering {
                    d.rebuilt.extend_from_slice(base);
                }
                continue;
            }
            moved.none();
            let (mut octave, mut settled) = (0, 0);
            if segment.dithering.is_some() {
                parts.deltas.resize(base.len() / layout.bytes(), 0.0);
                differ(layout, base, fine, &mut parts.deltas);
                settled = settle(layout, &parts.deltas, q, scales.last);
            }
            if let (Some(factors), Some(projector)) = (segment.factors, &projector) {
                parts.deltas.resize(base.len() / layout.bytes(), 0.0);
                differ(layout, base, fine, &mut parts.deltas);
                octave = row_octave(layout, row_scale(layout, &parts.deltas, &weights, q), q);
                normalise(&mut parts.deltas, power_of_two(-octave), &column_factors);
                let exact = projector.solve(&parts.deltas);
                let mut left = [0i16; MAX_RANK];
                let start = index.len();
                for ((a, x), &class) in left.iter_mut().zip(exact).zip(&factors.left_classes) {
                    let context = set.factor_context(class);
                    *a = nearest(&set.freqs[context], x, factors.raw_bits);
                    index.push((context as u16) << 8 | symbol(*a, factors.raw_bits) as u8 as u16);
                    raw.put(low(*a, factors.raw_bits), factors.raw_bits);
                }
                index.resize(start + factors.rank.div_ceil(LANES) * LANES, padding);
                let scaled = factors.scaled_left(&left[..factors.rank]);
                moved.predict(layout, factors, &scaled, octave, base);
            }
            if let Some(d) = &mut segment.dithering {
                let r = scales.scale(&mut side, settled);
                if segment.factors.is_some() {
                    scales.octave(&mut side, octave - row_octave(layout, r, q));
                }
                stats.rows += 1;
                let source = Source {
                    from: moved.from(base),
                    variants: &moved.variants,
                    row: r,
                    columns: &padded_scales,
                };
                dithered.row(layout, d, i, segment.columns, &source, fine, &mut index, &mut raw);
                continue;
            }
            let in_one_go = layout.bits == 16;
            if cost.is_some() || !in_one_go {
                parts.only_codes(layout, q, &moved, base, fine);
            }
            let Parts { classes, codes, .. } = &parts;
            let sum = weighted_difference(layout, moved.from(base), fine, &weights);
            let mut r = mean_scale(layout, sum / (base.len() / layout.bytes()) as f32, q);
            for cost in std::iter::repeat_n(cost, 2).flatten() {
                let class = (r + contexts.offset as i32) as i16;
                let sums = row_lengths(cost, class, classes, segment.scales, codes);
                let shift = best_shift(&sums, |s| move_length(r + s - scales.last));
                r += shift;
                if shift.abs() < 3 {
                    break;
                }
            }
            let r = scales.scale(&mut side, r);
            if segment.factors.is_some() {
                scales.octave(&mut side, octave - row_octave(layout, r, q));
            }
            stats.rows += 1;
            if in_one_go {
                let source = Source {
                    from: moved.from(base),
                    variants: &moved.variants,
                    row: r,
                    columns: &padded_scales,
                };
                write_row(layout, &coding, &source, fine, &mut scratch, &mut index, &mut raw);
                continue;
            }
            let start = index.len();
            index.resize(start + codes.len().div_ceil(LANES) * LANES, padding);
            let row_index = &mut index[start..start + codes.len()];
            index_row(contexts, r, classes, segment.scales, codes, row_index);
            mark(&reach, &index[start..], &mut marked);
            write_raw(
                set,
                layout,
                &moved,
                (base, fine),
                &marked,
                &mut index[start..],
                &mut raw,
            );
        }
        // A segment that has the block for itself takes all of it.
        let mut share = 1;
        if several {
            share += ((raw.len() - first_raw) << FRACTION) + symbols_length(&tables, &index[first..]);
        }
        stats.shares.push(share);
    }
    let side = side.finish();
    let raw = raw.finish();
    let (states, words) = rans::encode(&index, &tables);
    let mut out = vec![CODED];
    for n in [side.len(), words.len() / 2, raw.len()] {
        put_varint(&mut out, n as u64);
    }
    stats.side += side.len();
    stats.words += words.len();
    stats.raw += raw.len();
    out.extend_from_slice(&side);
    for s in states {
        out.extend_from_slice(&s.to_le_bytes());
    }
    out.extend_from_slice(&words);
    out.extend_from_slice(&raw);
    seal(out)
}

/// Symbols whose lengths are enough to say which share of a block a segment has.
const ENOUGH_SYMBOLS: usize = 1 << 13;

/// Length of some symbols in 2^-8 bits, that of many estimated from a part of them.
fn symbols_length(tables: &EncodeTables, index: &[u16]) -> u64 {
    let mut sum = 0;
    // An odd number, so that it is not always the same columns.
    let stride = (index.len() / ENOUGH_SYMBOLS) | 1;
    for group in index.chunks_exact(LANES).step_by(stride) {
        for &i in group {
            sum += ((tables.log << FRACTION) - log2_q8(tables.frequency(i) as u64)) as u64;
        }
    }
    sum * stride as u64
}

/// Weights whose lengths are enough to choose the scale of a row that has more.
const ENOUGH_WEIGHTS: usize = 512;

/// Bits that are enough: where most weights do not change, more of them are needed.
const ENOUGH_BITS: u32 = 1500;

/// Weights that are taken together from a row.
const PIECE: usize = 128;

/// Lengths of a row by shift, those of a wide row estimated from a part of it.
fn row_lengths(table: &CostTable, row: i16, classes: &[i16], columns: &[i16], codes: &[u16]) -> [u32; SHIFTS] {
    let mut sums = [0; SHIFTS];
    let stride = codes.len() / ENOUGH_WEIGHTS;
    if stride < 2 {
        add_row(table, row, classes, columns, codes, &mut sums);
        return sums;
    }
    let mut seen = 0;
    for first in 0..stride {
        for at in (first * PIECE..codes.len()).step_by(stride * PIECE) {
            let piece = at..(at + PIECE).min(codes.len());
            seen += piece.len();
            let (classes, columns) = (&classes[piece.clone()], &columns[piece.clone()]);
            add_row(table, row, classes, columns, &codes[piece], &mut sums);
        }
        if sums[SHIFTS / 2] > ENOUGH_BITS << FRACTION {
            break;
        }
    }
    sums.map(|s| (s as u64 * codes.len() as u64 / seen.max(1) as u64) as u32)
}

/// Turns marked symbols that their tables do not have into escapes, and writes the raw bits of a row.
#[inline(never)]
fn write_raw(
    set: &TableSet,
    layout: Layout,
    moved: &Moved,
    (base, fine): (&[u8], &[u8]),
    marked: &[u32],
    index: &mut [u16],
    raw: &mut BitWriter,
) {
    let from = moved.from(base);
    for &at in marked {
        let i = &mut index[at as usize];
        let step = step_at(layout, from, fine, &moved.variants, at as usize);
        let mut coded = alphabet::encode(step, layout.bits);
        if set.freqs[(*i >> 8) as usize][(*i & 255) as usize] == 0 {
            coded = alphabet::escape(step, layout.bits);
            *i = (*i & 0xff00) | coded.code as u8 as u16;
        }
        raw.put(coded.raw, coded.n);
    }
}

/// Where the bytes of blocks went.
#[derive(Default, Debug)]
#[allow(missing_docs)]
pub struct Stats {
    pub rows: usize,
    pub side: usize,
    pub words: usize,
    pub raw: usize,
    /// How much of the block each segment takes: the length of its symbols and raw bits, in 2^-8 bits, where there are several.
    pub shares: Vec<u64>,
}
