//! Finding the column scales and the prediction of a tensor, and counting its symbols by context.
//!
//! Row scales and the rows' factors are found again when a row is encoded; what is kept from here are the columns' part
//! and the counts.

use super::low_rank::{candidates, Factors, FACTOR_CLASSES};
use super::model::Window;
use super::rows::{Moved, Parts};
use super::side::{move_length, MAX_SCALE};
use crate::kernels::v2::alphabet::raw_bits;
use crate::kernels::v2::analyse::{add_magnitudes, differ, differs, index_row, normalise, weighted_sum};
use crate::kernels::v2::cost::{add_columns, add_row, best_shift, CostTable, SHIFTS};
use crate::kernels::v2::element::{power_of_two, Layout};
use crate::kernels::v2::log2::{log2_q8, steps, FRACTION};
use crate::kernels::v2::predict::MAX_OCTAVE;
use crate::kernels::v2::row16::Contexts;
use crate::kernels::v2::subspace::MAX_RANK;
use crate::kernels::v2::tables::SYMBOLS;
use std::ops::Range;
use std::sync::OnceLock;

/// Contexts per class: without a prediction, and for either size of what a prediction's rounding leaves over.
pub const VARIANTS: usize = 3;

/// Counts of symbols by context of the fitting window, every class phased: see [`Contexts`].
pub type Counts = Vec<[u32; SYMBOLS]>;

/// Rows that are counted at the lowest effort, at least, if there are as many.
const FEW_ROWS: usize = 48;

/// Weights of a tensor that are fitted on, at most.
const MOST_WEIGHTS: u64 = 4 << 20;

/// Ranks that are tried.
const RANKS: [usize; 7] = [2, 4, 8, 12, 16, 24, 32];

/// Rows on which the rank is chosen, at least, if there are as many.
const TRIAL_ROWS: usize = 96;

/// Rows on which the columns' scales are refined, at least, if there are as many.
const COLUMN_ROWS: usize = 128;

/// Rows that are counted to refine scales with, at least, if there are as many.
const COUNT_ROWS: usize = 128;

/// Fewest weights whose counts are worth refining scales for.
const REFINE_FROM: usize = 4096;

/// Fewest weights that are counted with two counters per symbol.
const TWO_COUNTERS_FROM: usize = 1 << 16;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Only some of the rows are counted.
    pub few: bool,
    /// Columns have scales.
    pub columns: bool,
    /// Rounds of refining the scales; with none, a row's scale is the mean of its differences.
    pub rounds: u32,
    /// A low-rank prediction is tried.
    pub low_rank: bool,
}

impl Effort {
    /// The levels of `--effort`: 0 counts on a part and takes means for scales, 1 fits rows and columns, 2 predicts as
    /// well, 3 fits twice.
    pub fn level(level: u32, low_rank: bool) -> Self {
        Self {
            few: level == 0,
            columns: level > 0,
            rounds: [0, 1, 1, 2][level.min(3) as usize],
            low_rank: low_rank && level >= 2,
        }
    }

    /// Of how many rows of a tensor one is fitted on. `columns`: its words per row, `words`: all of them.
    pub fn stride(self, columns: u64, words: u64) -> u64 {
        let most = match (self.low_rank, self.rounds) {
            (true, 2..) => MOST_WEIGHTS,
            (true, _) => MOST_WEIGHTS / 2,
            _ => MOST_WEIGHTS / 4,
        };
        let stride = words.div_ceil(most);
        let rows = words / columns.max(1);
        match self.few {
            // Rows that did not change do not count, and there may be many.
            true => stride.max(rows / (8 * FEW_ROWS as u64)),
            false => stride,
        }
    }
}

/// Rows of a tensor, kept for several passes.
pub struct Sample {
    layout: Layout,
    window: Window,
    columns: usize,
    stride: usize,
    seen: usize,
    base: Vec<u8>,
    fine: Vec<u8>,
}

impl Sample {
    /// An empty sample that takes every row.
    pub fn new(layout: Layout, columns: usize) -> Self {
        Self::with_stride(layout, columns, 1)
    }

    /// An empty sample that takes every `stride`-th row.
    pub fn with_stride(layout: Layout, columns: usize, stride: usize) -> Self {
        Self {
            layout,
            window: Window::for_width(layout.bits),
            columns,
            stride,
            seen: 0,
            base: Vec::new(),
            fine: Vec::new(),
        }
    }

    /// Adds the rows of a piece of the tensor; rows that did not change are left out.
    pub fn add(&mut self, base: &[u8], fine: &[u8]) {
        let size = self.columns * self.layout.bytes();
        let room = base.len().div_ceil(self.stride * size) * size;
        self.base.reserve(room);
        self.fine.reserve(room);
        for (b, f) in base.chunks(size).zip(fine.chunks(size)) {
            let taken = self.seen % self.stride == 0;
            self.seen += 1;
            if taken && differs(b, f) {
                self.base.extend_from_slice(b);
                self.fine.extend_from_slice(f);
            }
        }
    }

    /// Goes past a piece of this many bytes that did not change.
    pub fn skip(&mut self, bytes: usize) {
        self.seen += bytes.div_ceil(self.columns * self.layout.bytes());
    }

    /// Every `stride`-th row.
    fn every(&self, stride: usize) -> Self {
        let mut some = Self::new(self.layout, self.columns);
        let size = self.columns * self.layout.bytes();
        for (b, f) in self.base.chunks(size).zip(self.fine.chunks(size)).step_by(stride) {
            some.base.extend_from_slice(b);
            some.fine.extend_from_slice(f);
        }
        some
    }

    fn len(&self) -> usize {
        self.base.len() / self.layout.bytes()
    }

    fn rows(&self) -> impl Iterator<Item = Range<usize>> {
        let (n, columns) = (self.len(), self.columns);
        (0..n).step_by(columns).map(move |at| at..(at + columns).min(n))
    }

    fn n_rows(&self) -> usize {
        self.len().div_ceil(self.columns)
    }

    /// The contexts that are counted.
    fn contexts(&self) -> Contexts {
        Contexts {
            log2_q: self.window.log2_q,
            offset: self.window.offset,
            classes: self.window.classes,
            phased: self.window.classes,
        }
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

/// Scale of a row or column from the mean of its absolute differences in value: `q * log2(mean)`, in steps of exponent.
pub fn mean_scale(layout: Layout, mean: f32, log2_q: u32) -> i32 {
    (steps(mean, log2_q).max(-MAX_SCALE) + (layout.unit_exponent() << log2_q)).clamp(-MAX_SCALE, MAX_SCALE)
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

/// [`prior`] of every class, found once for each width of elements.
fn priors(window: Window, width: u32) -> &'static [[f64; SYMBOLS]] {
    static PRIORS: [OnceLock<Vec<[f64; SYMBOLS]>>; 4] = [const { OnceLock::new() }; 4];
    let which = (width.trailing_zeros() as usize).saturating_sub(3).min(3);
    PRIORS[which].get_or_init(|| (0..window.classes as usize).map(|class| prior(window, class)).collect())
}

/// Costs from counts, smoothed by a prior worth `weight` symbols per class. Codes that were not counted cost nothing.
fn costs(window: Window, width: u32, counts: &Counts, weight: f64) -> CostTable {
    let classes = window.classes as usize;
    let context = |variant: usize, class: usize| match variant {
        0 => class,
        variant => classes + 2 * class + variant - 1,
    };
    let mut used = vec![false; VARIANTS * SYMBOLS];
    for variant in 0..VARIANTS {
        for class in 0..classes {
            for (used, &c) in used[variant * SYMBOLS..]
                .iter_mut()
                .zip(&counts[context(variant, class)])
            {
                *used |= c > 0;
            }
        }
    }
    let priors = priors(window, width);
    let totals: Vec<f64> = counts
        .iter()
        .map(|c| weight + c.iter().map(|&c| c as u64).sum::<u64>() as f64)
        .collect();
    CostTable::new(classes, &used, |class, code| {
        let (context, s) = (context(code >> 8, class), code & 255);
        let p = (counts[context][s] as f64 + weight * priors[class][s]) / totals[context];
        let scaled = (p * (1u64 << 32) as f64) as u64;
        (32 << FRACTION) - log2_q8(scaled.max(1 << 12)).min(32 << FRACTION)
            + (raw_bits(s as u8 as i8, width) << FRACTION)
    })
}

/// Length of counted symbols under their own frequencies, raw bits included, in 2^-8 bits.
fn length(counts: &Counts, width: u32) -> u64 {
    let mut sum = 0;
    for table in counts {
        let mut total = 0;
        for &c in table {
            total += c as u64;
        }
        if total == 0 {
            continue;
        }
        sum += total * log2_q8(total) as u64;
        for (s, &c) in table.iter().enumerate() {
            if c == 0 {
                continue;
            }
            sum -= c as u64 * log2_q8(c as u64) as u64;
            sum += c as u64 * (raw_bits(s as u8 as i8, width) << FRACTION) as u64;
        }
    }
    sum
}

/// A prediction of every row of a sample.
#[derive(Clone, Copy)]
struct Prediction<'a> {
    factors: &'a Factors,
    left: &'a [[i8; MAX_RANK]],
    octaves: &'a [i32],
}

/// A sample with its scales, and what they are for.
struct Scaled<'a> {
    sample: &'a Sample,
    rows: Vec<i32>,
    columns: Vec<i16>,
    parts: Parts,
}

impl<'a> Scaled<'a> {
    fn new(sample: &'a Sample) -> Self {
        Self {
            sample,
            rows: vec![0; sample.n_rows()],
            columns: vec![0; sample.columns],
            parts: Parts::default(),
        }
    }

    /// Takes only the differences in value.
    fn load_deltas(&mut self) {
        self.parts.clear();
        self.parts.deltas.resize(self.sample.len(), 0.0);
        let Sample { layout, base, fine, .. } = self.sample;
        differ(*layout, base, fine, &mut self.parts.deltas);
    }

    /// Takes the sample apart, with a prediction for each row if there is one.
    fn load(&mut self, prediction: Option<Prediction<'_>>) {
        let Sample { layout, window, .. } = *self.sample;
        let mut moved = Moved::default();
        let size = self.sample.columns * layout.bytes();
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
            self.parts.push(layout, window.log2_q, &moved, base, fine);
        }
    }

    /// Scales from means of differences: the rows', then the columns' and the rows' again, `passes` times.
    fn take_means(&mut self, passes: u32) {
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
                let scale = steps(*sum / n_rows, q).clamp(-40, 40);
                *c = scale as i16;
                *w = power(-scale, q);
            }
        }
    }

    /// Gives each row, then each column, the shift that makes its code shortest.
    fn refine(&mut self, table: &CostTable, with_columns: bool) {
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
    fn count(&self, stride: usize) -> Counts {
        let contexts = self.sample.contexts();
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

/// Fits a sample.
pub fn fit(sample: &Sample, effort: Effort) -> Fit {
    if effort.few && sample.n_rows() > FEW_ROWS {
        let few = sample.every(sample.n_rows() / FEW_ROWS);
        return fit(&few, Effort { few: false, ..effort });
    }
    let with_columns = effort.columns && sample.n_rows() >= 8;
    let with_factors = effort.low_rank && matches!(sample.layout.bits, 16 | 32) && sample.layout.is_float();
    let mut scaled = Scaled::new(sample);
    let mut factors = None;
    let mut factor_counts = vec![[0; SYMBOLS]; FACTOR_CLASSES];
    if with_factors {
        scaled.load_deltas();
    } else {
        scaled.load(None);
    }
    scaled.take_means(with_columns as u32);
    if with_factors {
        if let Some(found) = low_rank(&mut scaled) {
            scaled.load(Some(Prediction {
                factors: &found.factors,
                left: &found.left,
                octaves: &found.octaves,
            }));
            scaled.take_means(1);
            found.count(&mut factor_counts);
            factors = Some(found.factors);
        } else {
            scaled.load(None);
        }
    }
    let rounds = if sample.len() < REFINE_FROM { 0 } else { effort.rounds };
    for _ in 0..rounds {
        // Lengths need no more counts than there are in a part of a large sample.
        let counts = scaled.count((scaled.rows.len() / COUNT_ROWS).max(1));
        scaled.refine(&costs(sample.window, sample.layout.bits, &counts, 64.0), with_columns);
    }
    let counts = scaled.count(1);
    Fit {
        columns: scaled.columns,
        factors,
        counts,
        factor_counts,
    }
}

/// The octave of a row's prediction: of its differences before the prediction.
pub fn row_octave(layout: Layout, scale: i32, log2_q: u32) -> i32 {
    ((scale >> log2_q) - layout.unit_exponent()).clamp(-MAX_OCTAVE, MAX_OCTAVE)
}

/// A prediction of a sample.
struct Found {
    factors: Factors,
    left: Vec<[i8; MAX_RANK]>,
    octaves: Vec<i32>,
}

impl Found {
    fn count(&self, counts: &mut Counts) {
        let Factors {
            rank,
            left_classes,
            right_classes,
            right,
            ..
        } = &self.factors;
        for left in &self.left {
            for (&class, &a) in left_classes.iter().zip(left) {
                counts[class as usize][a as u8 as usize] += 1;
            }
        }
        for right in right.chunks_exact(*rank) {
            for (&class, &b) in right_classes.iter().zip(right) {
                counts[class as usize][b as u8 as usize] += 1;
            }
        }
    }
}

/// The prediction that makes a sample's code shortest, side information included; none when it does not pay.
///
/// `plain` has the sample's differences, which are used up.
fn low_rank(plain: &mut Scaled<'_>) -> Option<Found> {
    let sample = plain.sample;
    let Sample {
        layout,
        window,
        columns,
        ..
    } = *sample;
    let q = window.log2_q;
    if sample.len() % columns != 0 {
        return None;
    }
    let n_rows = sample.n_rows();
    let column_octaves: Vec<i16> = plain.columns.iter().map(|&c| c >> q).collect();
    let octaves: Vec<i32> = plain.rows.iter().map(|&r| row_octave(layout, r, q)).collect();
    let column_factors = octave_factors(&column_octaves);
    let mut z = std::mem::take(&mut plain.parts.deltas);
    for (&o, range) in octaves.iter().zip(sample.rows()) {
        normalise(&mut z[range], power_of_two(-o), &column_factors);
    }
    let candidates = candidates(&z, columns, column_octaves)?;
    drop(z);
    // The rank is chosen on some of the rows; the columns' factors count in proportion.
    let stride = (n_rows / TRIAL_ROWS).max(1);
    let some = sample.every(stride);
    let every = |x: &[i32]| -> Vec<i32> { x.iter().step_by(stride).copied().collect() };
    let some_left: Vec<_> = candidates.left.iter().step_by(stride).copied().collect();
    let some_octaves = every(&octaves);
    let mut trial = Scaled::new(&some);
    trial.load(None);
    trial.rows = every(&plain.rows);
    trial.columns.clone_from(&plain.columns);
    let plain_length = length(&trial.count(1), layout.bits);
    let share = some.n_rows() as f32 / n_rows as f32;
    let mut try_rank = |rank: usize| -> u64 {
        let bits: f32 = candidates.bits[..rank]
            .iter()
            .map(|(l, r)| l * some.n_rows() as f32 + r * columns as f32 * share)
            .sum();
        trial.load(Some(Prediction {
            factors: &candidates.of_rank(rank),
            left: &some_left,
            octaves: &some_octaves,
        }));
        trial.take_means(0);
        length(&trial.count(1), layout.bits) + (bits * 256.0) as u64
    };
    // The length falls to one minimum and rises again: go up from the middle, or else down.
    let ranks: Vec<usize> = RANKS.into_iter().filter(|&r| r <= candidates.all.rank).collect();
    let start = ranks.len() / 2;
    let mut best = (try_rank(ranks[start]), ranks[start]);
    for &rank in &ranks[start + 1..] {
        let total = try_rank(rank);
        // A higher rank takes longer to decode; it has to be worth it.
        if total >= best.0 - best.0 / 256 {
            break;
        }
        best = (total, rank);
    }
    if best.1 == ranks[start] {
        for &rank in ranks[..start].iter().rev() {
            let total = try_rank(rank);
            if total >= best.0 {
                break;
            }
            best = (total, rank);
        }
    }
    (best.0 < plain_length).then(|| Found {
        factors: candidates.of_rank(best.1),
        left: candidates.left,
        octaves,
    })
}

/// What differences are multiplied with to divide them by the columns' scales.
pub fn octave_factors(octaves: &[i16]) -> Vec<f32> {
    octaves.iter().map(|&o| power_of_two(-(o as i32))).collect()
}
