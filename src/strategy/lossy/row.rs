//! The writing side of a dithered row.

use crate::kernels::v2::alphabet::{self, Coded};
use crate::kernels::v2::analyse::{magnitude, mark, Reach};
use crate::kernels::v2::bits::BitWriter;
use crate::kernels::v2::dither::{contexts_row, far_zero, quantize, quantize_row, word, Dither, Place};
use crate::kernels::v2::element::Layout;
use crate::kernels::v2::log2::steps;
use crate::kernels::v2::predict::FLIP;
use crate::kernels::v2::rans::LANES;
use crate::kernels::v2::read_row::Source;
use crate::strategy::lossless::model::TableSet;
use crate::strategy::lossless::side::MAX_SCALE;

/// How far a row's scale may be off before it is told anew, in eighths of an octave: what that costs is more than what
/// the better step is worth.
const HOLD: i32 = 3;

/// How a segment is dithered.
pub struct Dithering<'a> {
    /// The tensor's dither.
    pub dither: Dither,
    /// Number of the segment's first row.
    pub first: u64,
    /// Gets the bytes that are rebuilt.
    pub rebuilt: &'a mut Vec<u8>,
}

/// The scale of a row of changes: that of the row before while it fits, so that it costs little to say.
pub fn settle(layout: Layout, deltas: &[f32], log2_q: u32, before: i32) -> i32 {
    let mean = magnitude(deltas) / deltas.len() as f32;
    let eighths = steps(mean, 3).max(-8 * MAX_SCALE) + (layout.unit_exponent() << 3);
    let size = 8 >> log2_q;
    if (eighths - before * size).abs() <= HOLD {
        return before;
    }
    ((eighths + size / 2) >> (3 - log2_q)).clamp(-MAX_SCALE, MAX_SCALE)
}

/// Writes rows with the tables of a set.
pub struct RowWriter<'a> {
    set: &'a TableSet,
    reach: &'a Reach,
    levels: Vec<u8>,
    contexts: Vec<u8>,
    marked: Vec<u32>,
}

impl<'a> RowWriter<'a> {
    /// A writer; `reach` is that of the set.
    pub fn new(set: &'a TableSet, reach: &'a Reach) -> Self {
        Self {
            set,
            reach,
            levels: Vec::new(),
            contexts: Vec::new(),
            marked: Vec::new(),
        }
    }

    /// Appends row `i` of a segment: symbols, raw bits, and what is rebuilt from them.
    #[allow(clippy::too_many_arguments)]
    pub fn row(
        &mut self,
        layout: Layout,
        dithering: &mut Dithering<'_>,
        i: u64,
        columns: usize,
        source: &Source<'_>,
        fine: &[u8],
        index: &mut Vec<u16>,
        raw: &mut BitWriter,
    ) {
        let (set, width) = (self.set, layout.bytes());
        let padded = (fine.len() / width).div_ceil(LANES) * LANES;
        self.levels.resize(padded, 0);
        self.contexts.resize(padded, 0);
        let place = Place {
            dither: dithering.dither,
            row: dithering.first.wrapping_add(i),
            groups: columns.div_ceil(LANES) as u64,
        };
        place.dither.levels(place.row, place.groups, &mut self.levels);
        let step = place.dither.row(layout, source.row, set.window.log2_q);
        let padding = set.freqs.len() as u8;
        contexts_row(
            layout,
            set.contexts(),
            set.lattices(),
            step,
            source,
            &self.levels,
            padding,
            &mut self.contexts,
        );
        let first = index.len();
        index.resize(first + padded, (padding as u16) << 8);
        let index = &mut index[first..];
        let start = dithering.rebuilt.len();
        dithering.rebuilt.resize(start + fine.len(), 0);
        let rebuilt = &mut dithering.rebuilt[start..];
        quantize_row(layout, step, source, fine, &self.levels, &self.contexts, index, rebuilt);
        mark(self.reach, index, &mut self.marked);
        for &at in &self.marked {
            let at = at as usize;
            let bytes = at * width..(at + 1) * width;
            let (start, fine) = (word(&source.from[bytes.clone()]), word(&fine[bytes.clone()]));
            let has = |code: i8| set.freqs[self.contexts[at] as usize][code as u8 as usize] > 0;
            let is_dithered = layout.exponent(start) < step.below;
            let bits = if is_dithered { 16 } else { layout.bits };
            let flip = source.variants.get(at).is_some_and(|v| v & FLIP != 0);
            let quantized = quantize(layout, step, self.levels[at], flip, start, fine);
            let zero = far_zero(layout, start, fine).filter(|&code| has(code));
            let coded = match zero {
                Some(code) => Some((Coded { code, n: 0, raw: 0 }, fine)),
                None => quantized.map(|(u, result)| (alphabet::encode(u, bits), result)),
            };
            let (coded, result) = coded.filter(|(coded, _)| has(coded.code)).unwrap_or_else(|| {
                // An escape of a dithered weight is the result itself.
                let escaped = match quantized {
                    Some((u, _)) if !is_dithered => u,
                    _ => fine as i64,
                };
                (alphabet::escape(escaped, layout.bits), fine)
            });
            index[at] = (index[at] & 0xff00) | coded.code as u8 as u16;
            raw.put(coded.raw, coded.n);
            rebuilt[bytes].copy_from_slice(&result.to_le_bytes()[..width]);
        }
    }
}
