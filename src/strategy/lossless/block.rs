//! A block: some rows of one tensor, or several small tensors, coded with one run of the 16 lanes.

use super::check::check;
use super::fit::{mean_scale, octave_factors, power, row_octave, row_scale, VARIANTS};
use super::low_rank::{Factors, Projector};
use super::model::TableSet;
use super::params::nearest;
use super::rows::{Moved, Parts};
use super::side::{move_length, Scales};
use super::wire::{malformed, put_varint, seal, take, take_byte, take_varint, unseal};
use crate::error::Result;
use crate::kernels::v2::adaptive::{Decoder, Encoder};
use crate::kernels::v2::alphabet::{self, raw_bits};
use crate::kernels::v2::analyse::{differ, differs, index_row, mark, normalise, step_at, weighted_difference, Reach};
use crate::kernels::v2::bits::{BitReader, BitWriter};
use crate::kernels::v2::cost::{add_row, best_shift, CostTable, SHIFTS};
use crate::kernels::v2::element::{power_of_two, Layout, Word};
use crate::kernels::v2::log2::{log2_q8, FRACTION};
use crate::kernels::v2::predict::FLIP;
use crate::kernels::v2::rans::{self, Words, LANES, LOWER};
use crate::kernels::v2::row16::{self, Scratch, Source, Streams};
use crate::kernels::v2::subspace::MAX_RANK;
use crate::kernels::v2::tables::{DecodeTables, EncodeTables, ESC, SYMBOLS};

/// First byte of a block that is coded against a base.
pub const CODED: u8 = 0;

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
    /// Bytes of the base.
    pub base: &'a [u8],
    /// Bytes of the fine-tune.
    pub fine: &'a [u8],
}

/// Rows of one tensor, to be decoded.
pub struct Target<'a> {
    /// How elements are read.
    pub layout: Layout,
    /// Elements per row.
    pub columns: usize,
    /// Column scales, one per element of a row.
    pub scales: &'a [i16],
    /// The prediction, if there is one.
    pub factors: Option<&'a Factors>,
    /// Bytes of the base.
    pub base: &'a [u8],
    /// Bytes of the fine-tune, as many as of the base.
    pub out: &'a mut [u8],
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
pub fn encode(set: &TableSet, cost: Option<&CostTable>, segments: &[Segment<'_>], stats: &mut Stats) -> Vec<u8> {
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
    for segment in segments {
        let layout = segment.layout;
        let row_bytes = segment.columns * layout.bytes();
        let weights: Vec<f32> = segment.scales.iter().map(|&c| power(-(c as i32), q)).collect();
        let projector = segment.factors.map(Projector::new);
        let column_factors = segment.factors.map_or(Vec::new(), |f| octave_factors(&f.octaves));
        for (base, fine) in segment.base.chunks(row_bytes).zip(segment.fine.chunks(row_bytes)) {
            if !scales.changed(&mut side, differs(base, fine)) {
                continue;
            }
            moved.none();
            let mut octave = 0;
            if let (Some(factors), Some(projector)) = (segment.factors, &projector) {
                parts.deltas.resize(base.len() / layout.bytes(), 0.0);
                differ(layout, base, fine, &mut parts.deltas);
                octave = row_octave(layout, row_scale(layout, &parts.deltas, &weights, q), q);
                normalise(&mut parts.deltas, power_of_two(-octave), &column_factors);
                let exact = projector.solve(&parts.deltas);
                let mut left = [0i8; MAX_RANK];
                let start = index.len();
                for ((a, x), &class) in left.iter_mut().zip(exact).zip(&factors.left_classes) {
                    let context = set.factor_context(class);
                    *a = nearest(&set.freqs[context], x);
                    index.push((context as u16) << 8 | *a as u8 as u16);
                }
                index.resize(start + factors.rank.div_ceil(LANES) * LANES, padding);
                let scaled = factors.scaled_left(&left[..factors.rank]);
                moved.predict(layout, factors, &scaled, octave, base);
            }
            parts.only_codes(layout, q, &moved, base, fine);
            let Parts { classes, codes, .. } = &parts;
            let sum = weighted_difference(layout, moved.from(base), fine, &weights);
            let mut r = mean_scale(layout, sum / codes.len() as f32, q);
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
    }
    let side = side.finish();
    let raw = raw.finish();
    let (states, words) = rans::encode(&index, &EncodeTables::new(&set.freqs, set.log));
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
}

/// Decodes a block into its targets, which are those that it was encoded from, in the same order.
///
/// `CHECKSUM` when the bytes differ from the block's own checksum, `MALFORMED` when they have its checksum but are not
/// what [`encode`] writes for such targets, or when set, tables and targets do not fit together. The outputs are
/// undefined after an error. Beyond the checksum, only lengths and ends of streams are checked: a block that somebody
/// made up may decode to anything.
pub fn decode(set: &TableSet, tables: &DecodeTables, bytes: &[u8], targets: &mut [Target<'_>]) -> Result<()> {
    check(set, tables, targets)?;
    let mut rest = unseal(bytes)?;
    if take_byte(&mut rest)? != CODED {
        return Err(malformed("a block is of another kind than the tensor it is for"));
    }
    let (n_side, n_words, n_raw) = (
        take_varint(&mut rest)?,
        take_varint(&mut rest)?,
        take_varint(&mut rest)?,
    );
    let side = Decoder::new(take(&mut rest, n_side)?);
    let mut states = [0; LANES];
    for s in &mut states {
        let b = take(&mut rest, 4)?;
        *s = u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    }
    let words = Words::new(take(&mut rest, n_words.saturating_mul(2))?);
    let raw = BitReader::new(take(&mut rest, n_raw)?);
    let mut reader = BlockReader {
        set,
        tables,
        side,
        scales: Scales::default(),
        streams: Streams { states, words, raw },
        scratch: Scratch::default(),
        moved: Moved::default(),
        contexts: Vec::new(),
        codes: Vec::new(),
    };
    for t in targets.iter_mut() {
        reader.target(t);
    }
    let streams = &reader.streams;
    if !rest.is_empty()
        || streams.states != [LOWER; LANES]
        || !streams.words.is_exhausted()
        || !streams.raw.is_exhausted()
        || !reader.side.is_exhausted()
    {
        return Err(malformed("a block's streams do not end where they should"));
    }
    Ok(())
}

struct BlockReader<'a> {
    set: &'a TableSet,
    tables: &'a DecodeTables,
    side: Decoder<'a>,
    scales: Scales,
    streams: Streams,
    scratch: Scratch,
    moved: Moved,
    contexts: Vec<u8>,
    codes: Vec<i8>,
}

impl BlockReader<'_> {
    fn target(&mut self, t: &mut Target<'_>) {
        let row_bytes = t.columns * t.layout.bytes();
        let q = self.set.window.log2_q;
        let mut scales = t.scales.to_vec();
        scales.resize(t.columns.div_ceil(LANES) * LANES, 0);
        for (base, out) in t.base.chunks(row_bytes).zip(t.out.chunks_mut(row_bytes)) {
            if !self.scales.changed(&mut self.side, false) {
                out.copy_from_slice(base);
                continue;
            }
            let row = self.scales.scale(&mut self.side, 0);
            self.moved.none();
            if let Some(factors) = t.factors {
                let octave = row_octave(t.layout, row, q) + self.scales.octave(&mut self.side, 0);
                let left = self.left_factors(factors);
                self.moved.predict(t.layout, factors, &left, octave, base);
            }
            let source = Source {
                from: self.moved.from(base),
                variants: &self.moved.variants,
                row,
                columns: &scales,
            };
            if t.layout.bits == 16 {
                let contexts = self.set.contexts();
                row16::decode_row(
                    t.layout,
                    contexts,
                    self.tables,
                    &source,
                    &mut self.streams,
                    &mut self.scratch,
                    out,
                );
                continue;
            }
            let buffers = (&mut self.contexts, &mut self.codes);
            match t.layout.bits {
                8 => decode_words::<u8>(
                    t.layout,
                    self.set,
                    self.tables,
                    &source,
                    &mut self.streams,
                    buffers,
                    out,
                ),
                32 => decode_words::<u32>(
                    t.layout,
                    self.set,
                    self.tables,
                    &source,
                    &mut self.streams,
                    buffers,
                    out,
                ),
                _ => decode_words::<u64>(
                    t.layout,
                    self.set,
                    self.tables,
                    &source,
                    &mut self.streams,
                    buffers,
                    out,
                ),
            }
        }
    }

    /// The factors of the next row, times their gains.
    fn left_factors(&mut self, factors: &Factors) -> [i16; MAX_RANK] {
        let mut contexts = [self.tables.contexts() as u8; MAX_RANK];
        for (c, &class) in contexts.iter_mut().zip(&factors.left_classes) {
            *c = self.set.factor_context(class) as u8;
        }
        let mut left = [0; MAX_RANK];
        let n = factors.rank.div_ceil(LANES) * LANES;
        let Streams { states, words, .. } = &mut self.streams;
        rans::decode_row(states, words, self.tables, &contexts[..n], &mut left[..n]);
        factors.scaled_left(&left[..factors.rank])
    }
}

fn decode_words<W: Word>(
    layout: Layout,
    set: &TableSet,
    tables: &DecodeTables,
    source: &Source<'_>,
    streams: &mut Streams,
    (contexts, codes): (&mut Vec<u8>, &mut Vec<i8>),
    out: &mut [u8],
) {
    let n = out.len() / (W::BITS as usize / 8);
    let groups = n.div_ceil(LANES) * LANES;
    let which = set.contexts();
    contexts.clear();
    contexts.extend((0..n).map(|i| {
        let variant = source.variants.get(i).map_or(0, |v| v & !FLIP);
        let exponent = layout.exponent(W::get(source.from, i));
        which.of(
            source.row + source.columns[i] as i32 - (exponent << which.log2_q),
            variant,
        )
    }));
    contexts.resize(groups, tables.contexts() as u8);
    codes.resize(groups, 0);
    rans::decode_row(
        &mut streams.states,
        &mut streams.words,
        tables,
        contexts,
        &mut codes[..groups],
    );
    for (i, &code) in codes[..n].iter().enumerate() {
        let bits = raw_bits(code, W::BITS);
        let u = alphabet::decode(code, bits, streams.raw.get(bits));
        let flip = source.variants.get(i).is_some_and(|v| v & FLIP != 0);
        let u = if flip { u.wrapping_neg() } else { u };
        W::put(out, i, layout.unkey(layout.key(W::get(source.from, i)).wrapping_add(u)));
    }
}
