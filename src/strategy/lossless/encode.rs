//! Encodes a block: its rows' symbols for the 16 lanes of rANS, raw bits, and scales and flags as side information.

use super::block::CODED;
use super::estimate::move_length;
use super::factors::{low, symbol, Factors};
use super::fit::{mean_scale, octave_factors, power, row_octave, row_scale, VARIANTS};
use super::model::TableSet;
use super::params::nearest;
use super::projector::Projector;
use super::rows::{MovedRow, Parts};
use super::side::Scales;
use super::wire::{put_states, put_varint, seal};
use crate::kernels::v2::adaptive::Encoder;
use crate::kernels::v2::alphabet::raw_bits;
use crate::kernels::v2::analyse::{differ, differs, normalise, weighted_difference, Reach};
use crate::kernels::v2::bits::BitWriter;
use crate::kernels::v2::cost::{add_row, best_shift, CostTable, SHIFTS};
use crate::kernels::v2::element::{power_of_two, Layout};
use crate::kernels::v2::log2::{log2_q8, FRACTION};
use crate::kernels::v2::rans::{self, LANES};
use crate::kernels::v2::read_row::Source;
use crate::kernels::v2::subspace::MAX_COMPONENTS;
use crate::kernels::v2::tables::{EncodeTables, ESC, SYMBOLS};
use crate::kernels::v2::write_row::{write_row, Coding, Scratch, Streams};
use crate::strategy::lossy::row::{settle, Dithering, NewRow, RowWriter};
use std::ops::Range;

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

/// Encodes a block: the bytes of the section, checksum included.
///
/// Segments are sound: bases as long as fine-tunes, rows of whole elements, a scale per column.
///
/// `cost`: the set's [`cost_table`], to choose row scales with; without it they are means.
pub fn encode(set: &TableSet, cost: Option<&CostTable>, segments: &mut [Segment<'_>], stats: &mut Stats) -> Vec<u8> {
    let weights: usize = segments.iter().map(|s| s.base.len() / s.layout.bytes()).sum();
    let reach = Reach::new(&set.freqs);
    let tables = EncodeTables::new(&set.freqs, set.log);
    let mut writer = BlockWriter {
        set,
        cost,
        coding: Coding {
            contexts: set.contexts(),
            lattices: set.lattices(),
            reach: &reach,
            tables: &tables,
        },
        side: Encoder::default(),
        scales: Scales::default(),
        streams: Streams {
            index: Vec::with_capacity(weights + weights / 8),
            raw: BitWriter::default(),
        },
        moved: MovedRow::default(),
        parts: Parts::default(),
        scratch: Scratch::default(),
        dithered: RowWriter::default(),
    };
    let several = segments.len() > 1;
    let lengths = if several { symbol_lengths(&tables) } else { Vec::new() };
    for segment in segments {
        let rows = SegmentRows::of(segment, writer.coding.contexts.log2_q);
        let (first, first_raw) = (writer.streams.index.len(), writer.streams.raw.len());
        let row_bytes = segment.columns * segment.layout.bytes();
        let pairs = segment.base.chunks(row_bytes).zip(segment.fine.chunks(row_bytes));
        for ((base, fine), i) in pairs.zip(0u64..) {
            let changed = writer.scales.changed(&mut writer.side, differs(base, fine));
            stats.rows += changed as usize;
            match &mut segment.dithering {
                None if changed => writer.row(&rows, base, fine),
                None => {}
                Some(d) if changed => writer.dithered_row(&rows, base, fine, i, d),
                Some(d) => d.rebuilt.extend_from_slice(base),
            }
        }
        // A segment that has the block for itself takes all of it.
        let mut share = 1;
        if several {
            let Streams { index, raw } = &writer.streams;
            share += ((raw.len() - first_raw) << FRACTION) + symbols_length(&lengths, &index[first..]);
        }
        stats.shares.push(share);
    }
    writer.finish(stats)
}

/// What stays the same for the rows of a segment.
struct SegmentRows<'a> {
    layout: Layout,
    /// The columns' scales, padded to whole groups of lanes.
    scales: Vec<i16>,
    /// What differences are multiplied by for the mean that a row's scale is.
    weights: Vec<f32>,
    prediction: Option<Predictor<'a>>,
}

/// A segment's prediction, and what a row's factors are found with.
struct Predictor<'a> {
    factors: &'a Factors,
    projector: Projector,
    column_factors: Vec<f32>,
}

impl<'a> SegmentRows<'a> {
    fn of(segment: &Segment<'a>, log2_q: u32) -> Self {
        // A dithered tensor's columns have in their scales what the prediction took.
        let weights = match (segment.factors, &segment.dithering) {
            (Some(f), Some(_)) => f
                .octaves
                .iter()
                .map(|&k| power(-(k as i32) << log2_q, log2_q))
                .collect(),
            _ => segment.scales.iter().map(|&c| power(-(c as i32), log2_q)).collect(),
        };
        let mut scales = segment.scales.to_vec();
        scales.resize(segment.columns.div_ceil(LANES) * LANES, 0);
        let prediction = segment.factors.map(|factors| Predictor {
            factors,
            projector: Projector::new(factors),
            column_factors: octave_factors(&factors.octaves),
        });
        Self {
            layout: segment.layout,
            scales,
            weights,
            prediction,
        }
    }
}

/// A block on its way, and buffers for a row.
struct BlockWriter<'a> {
    set: &'a TableSet,
    cost: Option<&'a CostTable>,
    coding: Coding<'a>,
    side: Encoder,
    scales: Scales,
    streams: Streams,
    moved: MovedRow,
    parts: Parts,
    scratch: Scratch,
    dithered: RowWriter,
}

impl BlockWriter<'_> {
    /// The block: lengths of its parts, side information, states, words and raw bits of the rows, checksum.
    fn finish(self, stats: &mut Stats) -> Vec<u8> {
        let side = self.side.finish();
        let raw = self.streams.raw.finish();
        let (states, words) = rans::encode(&self.streams.index, self.coding.tables);
        let mut out = vec![CODED];
        for n in [side.len(), words.len() / 2, raw.len()] {
            put_varint(&mut out, n as u64);
        }
        stats.side += side.len();
        stats.words += words.len();
        stats.raw += raw.len();
        out.extend_from_slice(&side);
        put_states(&mut out, states);
        out.extend_from_slice(&words);
        out.extend_from_slice(&raw);
        seal(out)
    }

    /// A row that changed, exactly.
    fn row(&mut self, rows: &SegmentRows<'_>, base: &[u8], fine: &[u8]) {
        let (layout, contexts) = (rows.layout, self.coding.contexts);
        let q = contexts.log2_q;
        let octave = self.predict(rows, base, fine);
        let start = self.moved.start(layout, base);
        let sum = weighted_difference(layout, start.from, fine, &rows.weights);
        let mut r = mean_scale(layout, sum / start.n() as f32, q);
        let mut pieces = Pieces::of(start.n());
        for cost in std::iter::repeat_n(self.cost, 2).flatten() {
            let class = (r + contexts.offset as i32) as i16;
            let sums = pieces.lengths(cost, class, &rows.scales, &mut self.parts, |parts, piece| {
                parts.piece(&start, q, fine, piece)
            });
            let shift = best_shift(&sums, |s| move_length(r + s - self.scales.last));
            r += shift;
            if shift.abs() < 3 {
                break;
            }
        }
        let r = self.scales.scale(&mut self.side, r);
        if rows.prediction.is_some() {
            self.scales.octave(&mut self.side, octave - row_octave(layout, r, q));
        }
        let source = Source {
            start,
            row: r,
            columns: &rows.scales,
        };
        write_row(&self.coding, &source, fine, &mut self.scratch, &mut self.streams);
    }

    /// A row that changed, dithered; row `number` of its segment.
    fn dithered_row(
        &mut self,
        rows: &SegmentRows<'_>,
        base: &[u8],
        fine: &[u8],
        number: u64,
        dithering: &mut Dithering<'_>,
    ) {
        let (layout, q) = (rows.layout, self.coding.contexts.log2_q);
        self.parts.deltas.resize(base.len() / layout.bytes(), 0.0);
        differ(layout, base, fine, &mut self.parts.deltas);
        let settled = settle(layout, &self.parts.deltas, q, self.scales.last);
        let octave = self.predict(rows, base, fine);
        let r = self.scales.scale(&mut self.side, settled);
        if rows.prediction.is_some() {
            self.scales.octave(&mut self.side, octave - row_octave(layout, r, q));
        }
        let new = NewRow {
            number,
            source: Source {
                start: self.moved.start(layout, base),
                row: r,
                columns: &rows.scales,
            },
            fine,
        };
        self.dithered.row(&self.coding, dithering, &new, &mut self.streams);
    }

    /// Finds a row's factors, writes them and moves the base by what they predict; gives the octave that the row's
    /// differences were divided by. Nothing of this where there is no prediction.
    fn predict(&mut self, rows: &SegmentRows<'_>, base: &[u8], fine: &[u8]) -> i32 {
        self.moved.none();
        let Some(Predictor {
            factors,
            projector,
            column_factors,
        }) = &rows.prediction
        else {
            return 0;
        };
        let (layout, q) = (rows.layout, self.coding.contexts.log2_q);
        let deltas = &mut self.parts.deltas;
        deltas.resize(base.len() / layout.bytes(), 0.0);
        differ(layout, base, fine, deltas);
        let octave = row_octave(layout, row_scale(layout, deltas, &rows.weights, q), q);
        normalise(deltas, power_of_two(-octave), column_factors);
        let exact = projector.solve(deltas);
        let mut left = [0i16; MAX_COMPONENTS];
        let Streams { index, raw } = &mut self.streams;
        let end = index.len() + factors.rank.div_ceil(LANES) * LANES;
        for ((a, x), &class) in left.iter_mut().zip(exact).zip(&factors.left_classes) {
            let context = self.set.factor_context(class);
            *a = nearest(&self.set.freqs[context], x, factors.raw_bits);
            index.push((context as u16) << 8 | symbol(*a, factors.raw_bits) as u8 as u16);
            raw.put(low(*a, factors.raw_bits), factors.raw_bits);
        }
        index.resize(end, self.coding.tables.padding());
        let scaled = factors.scaled_left(&left[..factors.rank]);
        self.moved.predict(layout, factors, &scaled, octave, base);
        octave
    }
}

/// Symbols whose lengths are enough to say which share of a block a segment has.
const ENOUGH_SYMBOLS: usize = 1 << 13;

/// Length of every symbol of an index in 2^-8 bits.
fn symbol_lengths(tables: &EncodeTables) -> Vec<u16> {
    let frequencies = tables.entries.iter().map(|&e| e as u16 as u64);
    let lengths = frequencies.map(|f| ((tables.log << FRACTION) - log2_q8(f)) as u16);
    lengths.collect()
}

/// Length of some symbols in 2^-8 bits, that of many estimated from a part of them.
fn symbols_length(lengths: &[u16], index: &[u16]) -> u64 {
    let mut sum = 0;
    // An odd number, so that it is not always the same columns.
    let stride = (index.len() / ENOUGH_SYMBOLS) | 1;
    for group in index.chunks_exact(LANES).step_by(stride) {
        for &i in group {
            sum += lengths.get(i as usize).copied().unwrap_or(0) as u64;
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

/// As many pieces of a row as it takes to choose its scale: every `stride`-th one, then those beside them, and so on.
struct Pieces {
    weights: usize,
    stride: usize,
    /// How often every `stride`-th piece was taken apart.
    known: usize,
}

impl Pieces {
    /// Of a row of that many weights.
    fn of(weights: usize) -> Self {
        let stride = weights.div_ceil(ENOUGH_WEIGHTS);
        Self {
            weights,
            stride,
            known: 0,
        }
    }

    /// Lengths of the row by shift, estimated from pieces of it. `take`: takes a piece of the row apart, into its place in
    /// `parts`.
    fn lengths(
        &mut self,
        table: &CostTable,
        row: i16,
        columns: &[i16],
        parts: &mut Parts,
        mut take: impl FnMut(&mut Parts, Range<usize>),
    ) -> [u32; SHIFTS] {
        let mut sums = [0; SHIFTS];
        let mut seen = 0;
        for first in 0..self.stride {
            for at in (first * PIECE..self.weights).step_by(self.stride * PIECE) {
                let piece = at..(at + PIECE).min(self.weights);
                seen += piece.len();
                if first >= self.known {
                    take(parts, piece.clone());
                }
                let (classes, codes) = (&parts.classes[piece.clone()], &parts.codes[piece.clone()]);
                add_row(table, row, classes, &columns[piece], codes, &mut sums);
            }
            self.known = self.known.max(first + 1);
            if sums[SHIFTS / 2] > ENOUGH_BITS << FRACTION {
                break;
            }
        }
        sums.map(|s| (s as u64 * self.weights as u64 / seen.max(1) as u64) as u32)
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
