//! A tensor as rows, and a row as classes and differences.

use super::low_rank::Factors;
use crate::kernels::v2::alphabet;
use crate::kernels::v2::element::{power_of_two, Layout};
use crate::kernels::v2::predict::{move_weight, FLIP, MAX_OCTAVE};
use crate::kernels::v2::subspace::MAX_RANK;

/// Widest row, in elements.
pub const MAX_COLUMNS: u64 = 1 << 16;

/// Row width for tensors without a natural one.
const FLAT: u64 = 1024;

/// Elements per row for a shape: the trailing dimensions until they make at least 64 elements; 1024 for vectors and
/// for anything wider than [`MAX_COLUMNS`]. The last row may be shorter. At least 1.
pub fn columns(shape: &[u64]) -> u64 {
    let n = shape.iter().fold(1u64, |a, &b| a.saturating_mul(b));
    let mut columns = 1u64;
    for &d in shape.iter().rev() {
        if columns >= 64 {
            break;
        }
        columns = columns.saturating_mul(d);
    }
    if columns > MAX_COLUMNS || (columns >= n && columns > FLAT) {
        columns = FLAT;
    }
    columns.max(1)
}

/// A row of the base and of the fine-tune, taken apart.
#[derive(Default)]
pub struct Row {
    /// Bit patterns of the base.
    pub base: Vec<u64>,
    /// Bit patterns of the fine-tune.
    pub fine: Vec<u64>,
    /// Differences in value; 0 where either side is not finite.
    pub deltas: Vec<f32>,
    /// What coding starts from: the base, or the base as moved by a prediction.
    pub from: Vec<u64>,
    /// Contexts of the prediction: variant and [`FLIP`].
    pub contexts: Vec<u8>,
}

impl Row {
    /// Takes elements `at .. at + len`. True when any of them differ.
    pub fn load(&mut self, layout: Layout, base: &[u8], fine: &[u8], at: usize, len: usize) -> bool {
        unpack(layout, base, at, len, &mut self.base);
        unpack(layout, fine, at, len, &mut self.fine);
        self.from.clone_from(&self.base);
        self.contexts.clear();
        self.contexts.resize(len, 0);
        self.base != self.fine
    }

    /// Fills the differences in value from what coding starts from.
    pub fn differ(&mut self, layout: Layout) {
        self.deltas.clear();
        self.deltas.extend(self.from.iter().zip(&self.fine).map(|(&b, &f)| {
            let d = if layout.is_float() {
                layout.value(f) - layout.value(b)
            } else {
                layout.wrap(f.wrapping_sub(b) as i64) as f32
            };
            if d.is_finite() {
                d
            } else {
                0.0
            }
        }));
    }

    /// Moves the base by a prediction. `left`: the row's factors times the gains.
    pub fn predict(&mut self, layout: Layout, factors: &Factors, left: &[i16; MAX_RANK], octave: i32) {
        let scale = power_of_two((octave - factors.shift).clamp(-MAX_OCTAVE, MAX_OCTAVE));
        for (j, ((from, context), &b)) in
            self.from.iter_mut().zip(&mut self.contexts).zip(&self.base).enumerate()
        {
            (*from, *context) = move_weight(layout, b, factors.columns.by(left, scale, j));
        }
    }

    /// `-q * exponent` of what coding starts from.
    pub fn classes(&self, layout: Layout, log2_q: u32, out: &mut Vec<i16>) {
        out.clear();
        out.extend(self.from.iter().map(|&b| -((layout.exponent(b) << log2_q) as i16)));
    }

    /// Distances in representable steps, flipped where the context says so.
    pub fn steps(&self, layout: Layout, out: &mut Vec<i64>) {
        out.clear();
        out.extend(self.from.iter().zip(&self.fine).zip(&self.contexts).map(|((&b, &f), &context)| {
            let u = layout.wrap(layout.key(f).wrapping_sub(layout.key(b)));
            if context & FLIP != 0 {
                layout.wrap(u.wrapping_neg())
            } else {
                u
            }
        }));
    }

    /// Codes with the variant of their table in the upper byte.
    pub fn codes(&self, layout: Layout, steps: &[i64], out: &mut Vec<u16>) {
        out.clear();
        out.extend(steps.iter().zip(&self.contexts).map(|(&u, &context)| {
            ((context & !FLIP) as u16) << 8 | alphabet::encode(u, layout.bits).code as u8 as u16
        }));
    }
}

fn unpack(layout: Layout, bytes: &[u8], at: usize, len: usize, out: &mut Vec<u64>) {
    let size = layout.bytes();
    out.clear();
    let bytes = &bytes[at * size..(at + len) * size];
    match size {
        1 => out.extend(bytes.iter().map(|&b| b as u64)),
        2 => out.extend(bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]) as u64)),
        4 => out.extend(bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as u64)),
        _ => out.extend(
            bytes
                .chunks_exact(8)
                .map(|b| u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]])),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::columns;

    #[test]
    fn rows_follow_the_shape() {
        assert_eq!(columns(&[4096, 2048]), 2048);
        assert_eq!(columns(&[384]), 384);
        assert_eq!(columns(&[151_936]), 1024);
        assert_eq!(columns(&[8, 4096, 1024]), 1024);
        assert_eq!(columns(&[512, 256, 3, 3]), 2304);
        assert_eq!(columns(&[100, 4]), 400);
        assert_eq!(columns(&[100_000, 4]), 1024);
        assert_eq!(columns(&[2, 1 << 20]), 1024);
        assert_eq!(columns(&[]), 1);
        assert_eq!(columns(&[0, 5]), 1);
        assert_eq!(columns(&[5, 0]), 1);
    }
}
