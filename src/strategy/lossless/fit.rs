//! Finding the column scales of a tensor, and counting its symbols by class.
//!
//! Row scales are found again when a row is encoded; what is kept from here are the columns and the counts.

use super::model::Window;
use super::rows::Row;
use super::side::{move_length, MAX_SCALE};
use crate::kernels::v2::alphabet::{self, raw_bits};
use crate::kernels::v2::cost::{add_columns, add_row, best_shift, CostTable, SHIFTS};
use crate::kernels::v2::element::Layout;
use crate::kernels::v2::log2::{log2_q8, steps, FRACTION};
use crate::kernels::v2::tables::SYMBOLS;

/// Counts of symbols by class of the fitting window.
pub type Counts = Vec<[u32; SYMBOLS]>;

/// What fitting a tensor found.
pub struct Fit {
    /// Column scales; all zero when they do not pay.
    pub columns: Vec<i16>,
    /// Counts of all symbols of the sample.
    pub counts: Counts,
}

/// Rows of a tensor taken apart, kept for several passes.
pub struct Sample {
    width: u32,
    window: Window,
    columns: usize,
    classes: Vec<i16>,
    codes: Vec<u8>,
    steps: Vec<f32>,
}

impl Sample {
    /// An empty sample.
    pub fn new(layout: Layout, columns: usize) -> Self {
        Self {
            width: layout.bits,
            window: Window::for_width(layout.bits),
            columns,
            classes: Vec::new(),
            codes: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// Adds the rows of a piece of the tensor; rows that did not change are left out.
    pub fn add(&mut self, layout: Layout, base: &[u8], fine: &[u8]) {
        let n = base.len() / layout.bytes();
        let mut row = Row::default();
        for at in (0..n).step_by(self.columns) {
            let len = self.columns.min(n - at);
            if !row.load(layout, self.window.log2_q, base, fine, at, len) {
                continue;
            }
            self.classes.extend_from_slice(&row.classes);
            self.codes.extend(row.steps.iter().map(|&u| alphabet::encode(u, self.width).code as u8));
            self.steps.extend(row.steps.iter().map(|&u| u as f32));
        }
    }

    fn rows(&self) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
        let n = self.codes.len();
        (0..n).step_by(self.columns).map(move |at| at..(at + self.columns).min(n))
    }
}

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

/// Scale of a row or column from its mean absolute difference: `q * log2(mean)`.
pub fn mean_scale(sum: f32, n: usize, log2_q: u32) -> i32 {
    steps(sum / n as f32, log2_q).max(-MAX_SCALE)
}

/// Sum of `|steps| * 2^(exponent + other scale)` of a row, relative to `2^reference`.
fn row_sum(classes: &[i16], steps: &[f32], columns: &[f32], log2_q: u32, reference: i32) -> f32 {
    let mut sum = 0f32;
    for ((&c, &s), &w) in classes.iter().zip(steps).zip(columns) {
        sum += s.abs() * power(-(c as i32) - reference, log2_q) * w;
    }
    sum
}

/// Lengths under a two-sided geometric distribution whose mean magnitude is `2^((class - offset) / q)`.
pub fn prior(window: Window, class: usize) -> [f64; SYMBOLS] {
    let mu = power(class as i32 - window.offset as i32, window.log2_q) as f64;
    let theta = ((1.0 + mu * mu).sqrt() - 1.0) / mu;
    let zero = (1.0 - theta) / (1.0 + theta);
    let mut p = [0.0; SYMBOLS];
    p[0] = zero;
    let mut t = zero;
    let mut m = 1;
    let mut tail = (1.0 - zero) / 2.0;
    while m <= 32 {
        t *= theta;
        p[m] = t;
        p[SYMBOLS - m] = t;
        tail -= t;
        m += 1;
    }
    // Buckets: the mass of v = 32.. in halves of octaves, theta^n by repeated multiplication.
    let mut rest = tail.max(1e-12);
    let mut m = 33;
    let mut width = 16u64;
    while m <= 126 {
        for _ in 0..2 {
            let mut tn = 1.0f64;
            let mut b = theta;
            let mut n = width;
            while n > 0 {
                if n & 1 == 1 {
                    tn *= b;
                }
                b *= b;
                n >>= 1;
            }
            let mass = rest * (1.0 - tn);
            p[m] = mass;
            p[SYMBOLS - m] = mass;
            rest *= tn;
            m += 1;
        }
        width *= 2;
    }
    p
}

/// Costs from counts, smoothed by a prior worth `weight` symbols per class.
pub fn costs(window: Window, width: u32, counts: &Counts, weight: f64) -> CostTable {
    let tables: Vec<[u32; SYMBOLS]> = counts
        .iter()
        .enumerate()
        .map(|(class, counts)| {
            let total: f64 = counts.iter().map(|&c| c as f64).sum::<f64>() + weight;
            let prior = prior(window, class);
            std::array::from_fn(|s| {
                let p = (counts[s] as f64 + weight * prior[s]) / total;
                let scaled = (p * (1u64 << 32) as f64) as u64;
                (32 << FRACTION) - log2_q8(scaled.max(1 << 12)).min(32 << FRACTION) + (raw_bits(s as u8 as i8, width) << FRACTION)
            })
        })
        .collect();
    CostTable::new(window.classes as usize, |class, code| tables[class][code])
}

/// Fits the scales of a sample.
pub fn fit(sample: &Sample, rounds: u32, with_columns: bool) -> Fit {
    let q = sample.window.log2_q;
    let n_columns = sample.columns;
    let mut columns = vec![0i32; n_columns];
    let mut weights = vec![1f32; n_columns];
    let n_rows = sample.rows().count();
    let reference = sample.classes.iter().map(|&c| -(c as i32)).max().unwrap_or(0);
    let mut rows = vec![0i32; n_rows];
    let start_rows = |rows: &mut [i32], weights: &[f32]| {
        for (r, range) in rows.iter_mut().zip(sample.rows()) {
            let len = range.len();
            let sum = row_sum(&sample.classes[range.clone()], &sample.steps[range], weights, q, reference);
            *r = mean_scale(sum, len, q) + reference;
        }
    };
    start_rows(&mut rows, &weights);
    let with_columns = with_columns && n_rows >= 8;
    if with_columns {
        for _ in 0..2 {
            let mut sums = vec![0f32; n_columns];
            for (r, range) in rows.iter().zip(sample.rows()) {
                for ((&c, &s), sum) in
                    sample.classes[range.clone()].iter().zip(&sample.steps[range]).zip(&mut sums)
                {
                    *sum += s.abs() * power(-(c as i32) - r, q);
                }
            }
            for ((c, w), sum) in columns.iter_mut().zip(&mut weights).zip(&sums) {
                *c = mean_scale(*sum, n_rows, q).clamp(-40, 40);
                *w = power(-*c, q);
            }
            start_rows(&mut rows, &weights);
        }
    }
    let window = sample.window;
    let mut counts = count(sample, &rows, &columns);
    for _ in 0..rounds {
        let table = costs(window, sample.width, &counts, 64.0);
        let offset = window.offset as i32;
        let mut shifted = vec![0i16; n_columns];
        let mut column_sums = vec![[0u32; SHIFTS]; n_columns];
        let mut before = rows.first().copied().unwrap_or(0);
        for (r, range) in rows.iter_mut().zip(sample.rows()) {
            let codes = &sample.codes[range.clone()];
            for ((s, &c), &e) in shifted.iter_mut().zip(&columns).zip(&sample.classes[range]) {
                *s = (c + e as i32) as i16;
            }
            let shifted = &shifted[..codes.len()];
            let mut sums = [0; SHIFTS];
            add_row(&table, *r + offset, shifted, codes, &mut sums);
            *r += best_shift(&sums, |s| move_length(*r + s - before));
            before = *r;
            if with_columns {
                add_columns(&table, *r + offset, shifted, codes, &mut column_sums);
            }
        }
        if with_columns {
            let mut before = 0;
            for (c, sums) in columns.iter_mut().zip(&column_sums) {
                *c += best_shift(sums, |s| move_length(*c + s - before));
                before = *c;
            }
        }
        counts = count(sample, &rows, &columns);
    }
    Fit {
        columns: columns.iter().map(|&c| c as i16).collect(),
        counts,
    }
}

fn count(sample: &Sample, rows: &[i32], columns: &[i32]) -> Counts {
    let mut counts = vec![[0; SYMBOLS]; sample.window.classes as usize];
    for (r, range) in rows.iter().zip(sample.rows()) {
        for ((&e, &code), &c) in sample.classes[range.clone()].iter().zip(&sample.codes[range]).zip(columns) {
            counts[sample.window.class(e as i32 + r + c)][code as usize] += 1;
        }
    }
    counts
}
