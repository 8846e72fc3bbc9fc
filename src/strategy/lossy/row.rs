//! Encodes a dithered row: quantises it on its shifted lattice, and rebuilds what the decoder will.

use crate::kernels::v2::alphabet::{self, Coded};
use crate::kernels::v2::analyse::{magnitude, mark};
use crate::kernels::v2::dither::{contexts_row, quantize_row, Dither, Quantized, Row, RowPlace};
use crate::kernels::v2::element::{word, Layout};
use crate::kernels::v2::log2::steps;
use crate::kernels::v2::read_row::Source;
use crate::kernels::v2::write_row::{Coding, Streams};
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

/// A row of a segment, to be written.
pub struct NewRow<'a> {
    /// Its number in the segment.
    pub number: u64,
    /// What it is coded against.
    pub source: Source<'a>,
    /// Its bytes in the fine-tune.
    pub fine: &'a [u8],
}

/// Writes rows; what it has are buffers for one.
#[derive(Default)]
pub struct RowWriter {
    levels: Vec<u8>,
    contexts: Vec<u8>,
    marked: Vec<u32>,
}

impl RowWriter {
    /// Appends a row of a segment: symbols, raw bits, and what is rebuilt from them.
    pub fn row(&mut self, coding: &Coding<'_>, dithering: &mut Dithering<'_>, new: &NewRow<'_>, streams: &mut Streams) {
        let NewRow { number, source, fine } = new;
        let layout = source.start.layout;
        let width = layout.bytes();
        let place = RowPlace {
            dither: dithering.dither,
            row: dithering.first.wrapping_add(*number),
        };
        let row = Row::at(place, source, coding.contexts.log2_q, &mut self.levels);
        let padded = row.levels.len();
        self.contexts.resize(padded, 0);
        let padding = (coding.tables.padding() >> 8) as u8;
        contexts_row(coding.contexts, coding.lattices, &row, padding, &mut self.contexts);
        let Streams { index, raw } = streams;
        let first = index.len();
        index.resize(first + padded, 0);
        let index = &mut index[first..];
        let start = dithering.rebuilt.len();
        dithering.rebuilt.resize(start + fine.len(), 0);
        let rebuilt = &mut dithering.rebuilt[start..];
        quantize_row(&row, fine, &self.contexts, index, rebuilt);
        mark(coding.reach, index, &mut self.marked);
        for &at in &self.marked {
            let at = at as usize;
            let bytes = at * width..(at + 1) * width;
            let fine = word(&fine[bytes.clone()]);
            let Quantized {
                is_dithered,
                far_zero,
                moved,
            } = row.quantize(at, fine);
            let context = index[at] & 0xff00;
            let has = |code: i8| coding.tables.has(context | code as u8 as u16);
            let bits = if is_dithered { 16 } else { layout.bits };
            let coded = match far_zero.filter(|&code| has(code)) {
                Some(code) => Some((Coded { code, n: 0, raw: 0 }, fine)),
                None => moved.map(|(u, result)| (alphabet::encode(u, bits), result)),
            };
            let (coded, result) = coded.filter(|(coded, _)| has(coded.code)).unwrap_or_else(|| {
                // An escape of a dithered weight is the result itself.
                let escaped = match moved {
                    Some((u, _)) if !is_dithered => u,
                    _ => fine as i64,
                };
                (alphabet::escape(escaped, layout.bits), fine)
            });
            index[at] = context | coded.code as u8 as u16;
            raw.put(coded.raw, coded.n);
            rebuilt[bytes].copy_from_slice(&result.to_le_bytes()[..width]);
        }
    }
}
