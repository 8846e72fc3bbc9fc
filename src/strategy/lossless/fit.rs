//! Finding the column scales and the prediction of a tensor, and counting its symbols by context.
//!
//! Row scales and the rows' factors are found again when a row is encoded; what is kept from here are the columns' part
//! and the counts.

use super::low_rank::{candidates, Factors, FACTOR_CLASSES};
use super::model::Window;
use super::rows::Row;
use super::side::{move_length, MAX_SCALE};
use crate::kernels::v2::alphabet::{self, raw_bits};
use crate::kernels::v2::cost::{add_columns, add_row, best_shift, CostTable, SHIFTS};
use crate::kernels::v2::element::Layout;
use crate::kernels::v2::log2::{log2_q8, steps, FRACTION};
use crate::kernels::v2::predict::{predict_row, FLIP};
use crate::kernels::v2::tables::SYMBOLS;
use std::ops::Range;

/// Contexts per class: without a prediction, and for either size of what a prediction's rounding leaves over.
pub const VARIANTS: usize = 3;

/// Counts of symbols by context: `variant * classes + class` of the fitting window.
pub type Counts = Vec<[u32; SYMBOLS]>;

/// What fitting a tensor found.
pub struct Fit {
    /// Column scales; all zero when they do not pay.
    pub columns: Vec<i16>,
    /// The prediction, where it pays.
    pub factors: Option<Factors>,
    /// Counts of all symbols of the sample.
    pub counts: Counts,
    /// Counts of factors by their class.
    pub factor_counts: Counts,
}

/// How much is tried.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds of refining the scales.
    pub rounds: u32,
    /// Columns have scales.
    pub columns: bool,
    /// A low-rank prediction is tried.
    pub low_rank: bool,
}

/// Rows of a tensor taken apart, kept for several passes.
pub struct Sample {
    layout: Layout,
    window: Window,
    columns: usize,
    classes: Vec<i16>,
    steps: Vec<f32>,
}

impl Sample {
    /// An empty sample.
    pub fn new(layout: Layout, columns: usize) -> Self {
        Self {
            layout,
            window: Window::for_width(layout.bits),
            columns,
            classes: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// Adds the rows of a piece of the tensor; rows that did not change are left out.
    pub fn add(&mut self, base: &[u8], fine: &[u8]) {
        let n = base.len() / self.layout.bytes();
        let mut row = Row::default();
        for at in (0..n).step_by(self.columns) {
            let len = self.columns.min(n - at);
            if row.load(self.layout, self.window.log2_q, base, fine, at, len) {
                self.classes.extend_from_slice(&row.classes);
                self.steps.extend(row.steps.iter().map(|&u| u as f32));
            }
        }
    }

    fn rows(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let n = self.classes.len();
        (0..n).step_by(self.columns).map(move |at| at..(at + self.columns).min(n))
    }

    fn n_rows(&self) -> usize {
        self.classes.len().div_ceil(self.columns)
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

/// Lengths under a two-sided geometric distribution whose mean magnitude is `2^((class - offset) / q)`.
fn prior(window: Window, class: usize) -> [f64; SYMBOLS] {
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
fn costs(window: Window, width: u32, counts: &Counts, weight: f64) -> CostTable {
    let classes = window.classes as usize;
    let tables: Vec<[u32; SYMBOLS]> = counts
        .iter()
        .enumerate()
        .map(|(context, counts)| {
            let total: f64 = counts.iter().map(|&c| c as f64).sum::<f64>() + weight;
            let prior = prior(window, context % classes);
            std::array::from_fn(|s| {
                let p = (counts[s] as f64 + weight * prior[s]) / total;
                let scaled = (p * (1u64 << 32) as f64) as u64;
                (32 << FRACTION) - log2_q8(scaled.max(1 << 12)).min(32 << FRACTION)
                    + (raw_bits(s as u8 as i8, width) << FRACTION)
            })
        })
        .collect();
    CostTable::new(classes, VARIANTS, |class, code| {
        tables[(code >> 8) * classes + class][code & 255]
    })
}

/// Length of counted symbols under their own frequencies, raw bits included, in 2^-8 bits.
fn length(counts: &Counts, width: u32) -> u64 {
    let mut sum = 0;
    for table in counts {
        let total: u64 = table.iter().map(|&c| c as u64).sum();
        sum += total * log2_q8(total) as u64;
        for (s, &c) in table.iter().enumerate() {
            sum -= c as u64 * log2_q8(c as u64) as u64;
            sum += c as u64 * (raw_bits(s as u8 as i8, width) << FRACTION) as u64;
        }
    }
    sum
}

/// Scales of the rows and columns of a sample, and the codes that they are for.
struct Scaled<'a> {
    sample: &'a Sample,
    rows: Vec<i32>,
    columns: Vec<i32>,
    /// Variant in the upper byte.
    codes: Vec<u16>,
}

impl Scaled<'_> {
    /// Scales from means of `|differences|`, as `2^(exponent)` times steps.
    fn from_means(&mut self, differences: &[f32], passes: u32) {
        let q = self.sample.window.log2_q;
        let classes = &self.sample.classes;
        let reference = classes.iter().map(|&c| -(c as i32)).max().unwrap_or(0);
        let n_rows = self.sample.n_rows();
        let mut weights: Vec<f32> = self.columns.iter().map(|&c| power(-c, q)).collect();
        for pass in 0..=passes {
            for (r, range) in self.rows.iter_mut().zip(self.sample.rows()) {
                let mut sum = 0f32;
                let len = range.len();
                for ((&c, &s), &w) in classes[range.clone()].iter().zip(&differences[range]).zip(&weights) {
                    sum += s.abs() * power(-(c as i32) - reference, q) * w;
                }
                *r = mean_scale(sum, len, q) + reference;
            }
            if pass == passes {
                return;
            }
            let mut sums = vec![0f32; self.columns.len()];
            for (r, range) in self.rows.iter().zip(self.sample.rows()) {
                for ((&c, &s), sum) in classes[range.clone()].iter().zip(&differences[range]).zip(&mut sums) {
                    *sum += s.abs() * power(-(c as i32) - r, q);
                }
            }
            for ((c, w), sum) in self.columns.iter_mut().zip(&mut weights).zip(&sums) {
                *c = mean_scale(*sum, n_rows, q).clamp(-40, 40);
                *w = power(-*c, q);
            }
        }
    }

    /// Gives each row, then each column, the shift that makes its code shortest.
    fn refine(&mut self, counts: &Counts, with_columns: bool) {
        let window = self.sample.window;
        let table = costs(window, self.sample.layout.bits, counts, 64.0);
        let offset = window.offset as i32;
        let mut shifted = vec![0i16; self.columns.len()];
        let mut column_sums = vec![[0u32; SHIFTS]; self.columns.len()];
        let mut before = self.rows.first().copied().unwrap_or(0);
        for (r, range) in self.rows.iter_mut().zip(self.sample.rows()) {
            let codes = &self.codes[range.clone()];
            for ((s, &c), &e) in shifted.iter_mut().zip(&self.columns).zip(&self.sample.classes[range]) {
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
            for (c, sums) in self.columns.iter_mut().zip(&column_sums) {
                *c += best_shift(sums, |s| move_length(*c + s - before));
                before = *c;
            }
        }
    }

    fn count(&self) -> Counts {
        let window = self.sample.window;
        let classes = window.classes as usize;
        let mut counts = vec![[0; SYMBOLS]; VARIANTS * classes];
        for (r, range) in self.rows.iter().zip(self.sample.rows()) {
            for ((&e, &code), &c) in self.sample.classes[range.clone()].iter().zip(&self.codes[range]).zip(&self.columns)
            {
                counts[(code >> 8) as usize * classes + window.class(e as i32 + r + c)][code as usize & 255] += 1;
            }
        }
        counts
    }
}

/// Fits a sample.
pub fn fit(sample: &Sample, effort: Effort) -> Fit {
    let width = sample.layout.bits;
    let code = |u: f32| alphabet::encode(u as i64, width).code as u8 as u16;
    let with_columns = effort.columns && sample.n_rows() >= 8;
    let mut plain = Scaled {
        sample,
        rows: vec![0; sample.n_rows()],
        columns: vec![0; sample.columns],
        codes: sample.steps.iter().map(|&u| code(u)).collect(),
    };
    plain.from_means(&sample.steps, if with_columns { 2 } else { 0 });
    let mut counts = plain.count();
    for _ in 0..effort.rounds {
        plain.refine(&counts, with_columns);
        counts = plain.count();
    }
    let mut found = Fit {
        columns: Vec::new(),
        factors: None,
        counts,
        factor_counts: vec![[0; SYMBOLS]; FACTOR_CLASSES],
    };
    if effort.low_rank {
        if let Some((scaled, counts, factors, factor_counts)) = low_rank(sample, &plain, &found.counts, effort) {
            plain = scaled;
            found.counts = counts;
            found.factors = Some(factors);
            found.factor_counts = factor_counts;
        }
    }
    found.columns = plain.columns.iter().map(|&c| c as i16).collect();
    found
}

fn low_rank<'a>(
    sample: &'a Sample,
    plain: &Scaled<'a>,
    plain_counts: &Counts,
    effort: Effort,
) -> Option<(Scaled<'a>, Counts, Factors, Counts)> {
    let q = sample.window.log2_q;
    let width = sample.layout.bits;
    let columns = sample.columns;
    if sample.classes.len() % columns != 0 {
        return None;
    }
    let n_rows = sample.n_rows();
    let octaves: Vec<i16> = plain.columns.iter().map(|&c| (c >> q) as i16).collect();
    let row_octaves: Vec<i32> = plain.rows.iter().map(|&r| r >> q).collect();
    let mut z = Vec::with_capacity(n_rows * columns);
    for (o, range) in row_octaves.iter().zip(sample.rows()) {
        for ((&c, &s), &k) in sample.classes[range.clone()].iter().zip(&sample.steps[range]).zip(&octaves) {
            let exponent = -(c as i32) >> q;
            z.push((s * power(exponent - o - k as i32, 0)).clamp(-8.0, 8.0));
        }
    }
    let candidates = candidates(&z, columns, octaves)?;
    drop(z);
    let plain_length = length(plain_counts, width);
    let mut best: Option<(u64, usize)> = None;
    let mut trial = Scaled {
        sample,
        rows: plain.rows.clone(),
        columns: plain.columns.clone(),
        codes: vec![0; plain.codes.len()],
    };
    let mut residual = vec![0f32; sample.steps.len()];
    let mut side_bits = 0f32;
    let mut used = 0;
    for rank in [2, 4, 8, 16, 24, 32] {
        if rank > candidates.all.rank {
            break;
        }
        for (l, r) in &candidates.bits[used..rank] {
            side_bits += l * n_rows as f32 + r * columns as f32;
        }
        used = rank;
        predict(sample, &candidates.of_rank(rank), &candidates.left, &row_octaves, &mut residual, &mut trial.codes);
        trial.rows.clone_from(&plain.rows);
        trial.columns.clone_from(&plain.columns);
        trial.from_means(&residual, 0);
        let total = length(&trial.count(), width) + (side_bits * 256.0) as u64;
        if std::env::var("TRACE").is_ok() {
            eprintln!(
                "  {}x{} rank {rank}: {:.4} (plain {:.4}, side {:.4})",
                n_rows,
                columns,
                total as f64 / 256.0 / residual.len() as f64,
                plain_length as f64 / 256.0 / residual.len() as f64,
                side_bits as f64 / residual.len() as f64
            );
        }
        match best {
            Some((b, r)) if total >= b => {
                if rank > 2 * r {
                    break;
                }
            }
            _ => best = Some((total, rank)),
        }
    }
    let (total, rank) = best?;
    if total >= plain_length {
        return None;
    }
    let factors = candidates.of_rank(rank);
    predict(sample, &factors, &candidates.left, &row_octaves, &mut residual, &mut trial.codes);
    trial.rows.clone_from(&plain.rows);
    trial.columns.clone_from(&plain.columns);
    trial.from_means(&residual, 1);
    let mut counts = trial.count();
    for _ in 0..effort.rounds {
        trial.refine(&counts, true);
        counts = trial.count();
    }
    let mut factor_counts = vec![[0; SYMBOLS]; FACTOR_CLASSES];
    for left in &candidates.left {
        for (&class, &a) in factors.left_classes.iter().zip(left) {
            factor_counts[class as usize][a as u8 as usize] += 1;
        }
    }
    for right in factors.right.chunks_exact(rank) {
        for (&class, &b) in factors.right_classes.iter().zip(right) {
            factor_counts[class as usize][b as u8 as usize] += 1;
        }
    }
    Some((trial, counts, factors, factor_counts))
}

/// Differences that a prediction leaves, and their codes.
fn predict(
    sample: &Sample,
    factors: &Factors,
    left: &[[i8; 32]],
    row_octaves: &[i32],
    residual: &mut [f32],
    codes: &mut [u16],
) {
    let q = sample.window.log2_q;
    let width = sample.layout.bits;
    let mut steps = vec![0i32; sample.columns];
    let mut contexts = vec![0u8; sample.columns];
    let mut exponents = vec![0i16; sample.columns];
    for ((left, &octave), range) in left.iter().zip(row_octaves).zip(sample.rows()) {
        for (e, &c) in exponents.iter_mut().zip(&sample.classes[range.clone()]) {
            *e = -c >> q;
        }
        let scaled = factors.scaled_left(&left[..factors.rank]);
        predict_row(
            &scaled[..factors.rank],
            &factors.right,
            &factors.octaves,
            octave - factors.shift,
            &exponents,
            &mut steps,
            &mut contexts,
        );
        let (residual, codes) = (&mut residual[range.clone()], &mut codes[range.clone()]);
        for ((((r, code), &u), &p), &context) in
            residual.iter_mut().zip(codes).zip(&sample.steps[range]).zip(&steps).zip(&contexts)
        {
            let d = u - p as f32;
            *r = d;
            let d = if context & FLIP != 0 { -d } else { d };
            *code = ((context & !FLIP) as u16) << 8 | alphabet::encode(d as i64, width).code as u8 as u16;
        }
    }
}
