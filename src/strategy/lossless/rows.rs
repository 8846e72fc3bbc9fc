//! A tensor as rows, and a row taken apart.

use super::factors::Factors;
use crate::kernels::v2::analyse::{differ, take_apart};
use crate::kernels::v2::element::{power_of_two, Layout};
use crate::kernels::v2::predict::{predict_row, Moves, MAX_OCTAVE};
use crate::kernels::v2::read_row::Start;
use crate::kernels::v2::subspace::MAX_COMPONENTS;
use std::ops::Range;

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

/// A row of a base, moved by a prediction if there is one.
#[derive(Default)]
pub struct MovedRow {
    /// The elements; only with a prediction.
    from: Vec<u8>,
    /// Contexts of the prediction; empty without one.
    variants: Vec<u8>,
}

impl MovedRow {
    /// Takes no prediction.
    pub fn none(&mut self) {
        self.variants.clear();
    }

    /// Moves `base` by a prediction. `left`: the row's factors times the gains.
    pub fn predict(
        &mut self,
        layout: Layout,
        factors: &Factors,
        left: &[i16; MAX_COMPONENTS],
        octave: i32,
        base: &[u8],
    ) {
        let scale = power_of_two((octave - factors.shift).clamp(-MAX_OCTAVE, MAX_OCTAVE));
        self.from.resize(base.len(), 0);
        self.variants.resize(base.len() / layout.bytes(), 0);
        let moves = Moves {
            columns: &factors.columns,
            left,
            scale,
        };
        predict_row(layout, &moves, base, &mut self.from, &mut self.variants);
    }

    /// What coding starts from.
    pub fn start<'a>(&'a self, layout: Layout, base: &'a [u8]) -> Start<'a> {
        Start {
            layout,
            from: if self.variants.is_empty() { base } else { &self.from },
            variants: &self.variants,
        }
    }
}

/// Rows taken apart, one after the other.
#[derive(Default)]
pub struct Parts {
    /// `-q * exponent` of what coding starts from.
    pub classes: Vec<i16>,
    /// Codes, with the variant of their table in the upper byte.
    pub codes: Vec<u16>,
    /// Differences in value.
    pub deltas: Vec<f32>,
}

impl Parts {
    /// Forgets all rows.
    pub fn clear(&mut self) {
        self.classes.clear();
        self.codes.clear();
        self.deltas.clear();
    }

    /// Makes room for `n` weights more.
    pub fn reserve(&mut self, n: usize) {
        self.classes.reserve(n);
        self.codes.reserve(n);
        self.deltas.reserve(n);
    }

    /// Adds a row.
    pub fn push(&mut self, start: &Start<'_>, log2_q: u32, fine: &[u8]) {
        let at = self.deltas.len();
        let end = at + start.n();
        self.deltas.resize(end, 0.0);
        self.classes.resize(end, 0);
        self.codes.resize(end, 0);
        let (classes, codes) = (&mut self.classes[at..], &mut self.codes[at..]);
        take_apart(start, log2_q, fine, classes, codes);
        differ(start.layout, start.from, fine, &mut self.deltas[at..]);
    }

    /// Puts classes and codes of some weights of one row at their places; at the others is what was there.
    pub fn piece(&mut self, start: &Start<'_>, log2_q: u32, fine: &[u8], weights: Range<usize>) {
        self.classes.resize(start.n(), 0);
        self.codes.resize(start.n(), 0);
        let width = start.layout.bytes();
        let fine = &fine[weights.start * width..weights.end * width];
        let (classes, codes) = (&mut self.classes[weights.clone()], &mut self.codes[weights.clone()]);
        take_apart(&start.part(weights), log2_q, fine, classes, codes);
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
