//! Rows and columns of a sample with their scales, and the counts that they make of its symbols.

use super::estimate::move_length;
use super::factors::Factors;
use super::fit::{Counts, Sample};
use super::rows::{MovedRow, Parts};
use super::side::MAX_SCALE;
use crate::kernels::v2::analyse::{add_magnitudes, differ, index_row, weighted_sum};
use crate::kernels::v2::cost::{add_columns, add_row, best_shift, CostTable, SHIFTS};
use crate::kernels::v2::element::{power_of_two, Layout};
use crate::kernels::v2::log2::steps;
use crate::kernels::v2::predict::MAX_OCTAVE;
use crate::kernels::v2::subspace::MAX_COMPONENTS;
use crate::kernels::v2::tables::SYMBOLS;

/// Rows on which the columns' scales are refined, at least, if there are as many.
const COLUMN_ROWS: usize = 128;

/// Fewest weights that are counted with two counters per symbol.
const TWO_COUNTERS_FROM: usize = 1 << 16;

/// `2^(x / q)` for the steps of a scale, from exact constants.
pub fn power(x: i32, log2_q: u32) -> f32 {
    const ROOT: f32 = std::f32::consts::SQRT_2;
    let octave = (x >> log2_q).clamp(-126, 127);
    let f = f32::from_bits(((octave + 127) as u32) << 23);
    // Only q = 1 and q = 2 are used for fitting.
    if x & ((1 << log2_q) - 1) != 0 {
        f * ROOT
    } else {
        f
    }
}

/// Scale of a row or column from the mean of its absolute differences in value: `q * log2(mean)`, in steps of exponent.
pub fn mean_scale(layout: Layout, mean: f32, log2_q: u32) -> i32 {
    (steps(mean, log2_q).max(-MAX_SCALE) + (layout.unit_exponent() << log2_q)).clamp(-MAX_SCALE, MAX_SCALE)
}

/// Largest scale of a column either way: further than the 64 classes of a window are apart, so that only columns meet it
/// that hardly moved or not at all.
const MAX_COLUMN_SCALE: i32 = 40;

/// Scale of a column from the mean of its differences, each divided by its row's scale: `q * log2(mean)`.
pub(in crate::strategy) fn column_scale(mean: f32, log2_q: u32) -> i32 {
    steps(mean, log2_q).clamp(-MAX_COLUMN_SCALE, MAX_COLUMN_SCALE)
}

/// A prediction of every row of a sample.
#[derive(Clone, Copy)]
pub(in crate::strategy) struct Prediction<'a> {
    pub factors: &'a Factors,
    pub left: &'a [[i16; MAX_COMPONENTS]],
    pub octaves: &'a [i32],
}

/// A sample with its scales, and what they are for.
pub(in crate::strategy) struct Scaled<'a> {
    pub sample: &'a Sample,
    pub rows: Vec<i32>,
    pub columns: Vec<i16>,
    pub parts: Parts,
    /// Whether the parts are those of predicted rows.
    predicted: bool,
}

impl<'a> Scaled<'a> {
    pub fn new(sample: &'a Sample) -> Self {
        Self {
            sample,
            rows: vec![0; sample.n_rows()],
            columns: vec![0; sample.columns],
            parts: Parts::default(),
            predicted: false,
        }
    }

    /// Takes only the differences in value.
    pub fn load_deltas(&mut self) {
        self.parts.clear();
        self.parts.deltas.resize(self.sample.len(), 0.0);
        let Sample { layout, base, fine, .. } = self.sample;
        differ(*layout, base, fine, &mut self.parts.deltas);
    }

    /// Takes the sample apart, with a prediction for each row if there is one.
    pub fn load(&mut self, prediction: Option<Prediction<'_>>) {
        let Sample { layout, window, .. } = *self.sample;
        let mut moved = MovedRow::default();
        let size = self.sample.columns * layout.bytes();
        self.predicted = prediction.is_some();
        self.parts.clear();
        self.parts.reserve(self.sample.len());
        for (i, (base, fine)) in self
            .sample
            .base
            .chunks(size)
            .zip(self.sample.fine.chunks(size))
            .enumerate()
        {
            if let Some(Prediction { factors, left, octaves }) = prediction {
                let left = factors.scaled_left(&left[i][..factors.rank]);
                moved.predict(layout, factors, &left, octaves[i], base);
            }
            self.parts.push(&moved.start(layout, base), window.log2_q, fine);
        }
    }

    /// Scales from means of differences: the rows', then the columns' and the rows' again, `passes` times.
    pub fn take_means(&mut self, passes: u32) {
        let Sample { layout, window, .. } = *self.sample;
        let q = window.log2_q;
        let n_rows = self.rows.len() as f32;
        let deltas = &self.parts.deltas;
        let mut weights: Vec<f32> = self.columns.iter().map(|&c| power(-(c as i32), q)).collect();
        for pass in 0..=passes {
            for (r, range) in self.rows.iter_mut().zip(self.sample.rows()) {
                *r = row_scale(layout, &deltas[range], &weights, q);
            }
            if pass == passes {
                return;
            }
            let mut sums = vec![0f32; self.columns.len()];
            for (&r, range) in self.rows.iter().zip(self.sample.rows()) {
                add_magnitudes(&deltas[range], power((layout.unit_exponent() << q) - r, q), &mut sums);
            }
            for ((c, w), sum) in self.columns.iter_mut().zip(&mut weights).zip(&sums) {
                let scale = column_scale(*sum / n_rows, q);
                *c = scale as i16;
                *w = power(-scale, q);
            }
        }
    }

    /// Gives each row, then each column, the shift that makes its code shortest.
    pub fn refine(&mut self, table: &CostTable, with_columns: bool) {
        let offset = self.sample.window.offset as i32;
        let mut column_sums = vec![[0u32; SHIFTS]; self.columns.len()];
        let mut before = self.rows.first().copied().unwrap_or(0);
        let stride = (self.rows.len() / COLUMN_ROWS).max(1);
        for (i, (r, range)) in self.rows.iter_mut().zip(self.sample.rows()).enumerate() {
            let codes = &self.parts.codes[range.clone()];
            let classes = &self.parts.classes[range];
            let mut sums = [0; SHIFTS];
            add_row(table, (*r + offset) as i16, classes, &self.columns, codes, &mut sums);
            *r += best_shift(&sums, |s| move_length(*r + s - before));
            before = *r;
            if with_columns && i % stride == 0 {
                add_columns(
                    table,
                    (*r + offset) as i16,
                    classes,
                    &self.columns,
                    codes,
                    &mut column_sums,
                );
            }
        }
        if with_columns {
            let mut before = 0;
            for (c, sums) in self.columns.iter_mut().zip(&column_sums) {
                *c += best_shift(sums, |s| move_length(*c as i32 + s - before)) as i16;
                before = *c as i32;
            }
        }
    }

    /// Counts the symbols of every `stride`-th row.
    pub fn count(&self, stride: usize) -> Counts {
        let mut contexts = self.sample.contexts();
        if !self.predicted {
            // Two thirds of all contexts would stay empty, and there are many to fill with zeros and to look through.
            contexts.phased = 0;
        }
        let mut counts = vec![[0; SYMBOLS]; contexts.count()];
        // Most symbols are the same few: two counters for each, so that an addition seldom waits for the one before.
        let mut others = match self.sample.len() / stride {
            0..TWO_COUNTERS_FROM => Vec::new(),
            _ => counts.clone(),
        };
        let mut index = vec![0; self.sample.columns];
        for (&r, range) in self.rows.iter().zip(self.sample.rows()).step_by(stride) {
            let index = &mut index[..range.len()];
            let (classes, codes) = (&self.parts.classes[range.clone()], &self.parts.codes[range]);
            index_row(contexts, r, classes, &self.columns, codes, index);
            let (counts, others) = (counts.as_flattened_mut(), others.as_flattened_mut());
            let pairs = index.chunks_exact(2);
            if others.is_empty() {
                for &i in index.iter() {
                    counts[i as usize] += 1;
                }
                continue;
            }
            for &i in pairs.remainder() {
                counts[i as usize] += 1;
            }
            for pair in pairs {
                counts[pair[0] as usize] += 1;
                others[pair[1] as usize] += 1;
            }
        }
        for (c, o) in counts.as_flattened_mut().iter_mut().zip(others.as_flattened()) {
            *c += o;
        }
        counts
    }
}

/// Scale of a row from the mean of its differences, each divided by its column's scale.
pub fn row_scale(layout: Layout, deltas: &[f32], weights: &[f32], log2_q: u32) -> i32 {
    mean_scale(layout, weighted_sum(deltas, weights) / deltas.len() as f32, log2_q)
}

/// The octave of a row's prediction: of its differences before the prediction.
pub fn row_octave(layout: Layout, scale: i32, log2_q: u32) -> i32 {
    ((scale >> log2_q) - layout.unit_exponent()).clamp(-MAX_OCTAVE, MAX_OCTAVE)
}

/// What differences are multiplied with to divide them by the columns' scales.
pub fn octave_factors(octaves: &[i16]) -> Vec<f32> {
    octaves.iter().map(|&o| power_of_two(-(o as i32))).collect()
}
