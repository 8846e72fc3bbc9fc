//! Whether a tensor is dithered, with which columns and which prediction, and counts of its symbols.

use super::row::settle;
use crate::kernels::v2::alphabet::{self, ESCAPE, ZERO};
use crate::kernels::v2::analyse::add_magnitudes;
use crate::kernels::v2::dither::{can_dither, nearest, Dither, LEVELS};
use crate::kernels::v2::log2::FRACTION;
use crate::kernels::v2::rans::LANES;
use crate::kernels::v2::subspace::MAX_COMPONENTS;
use crate::kernels::v2::tables::SYMBOLS;
use crate::strategy::lossless::estimate::{factors_length, length_with_tables, side_length};
use crate::strategy::lossless::factors::{Factors, FACTOR_CLASSES};
use crate::strategy::lossless::fit::{count_factors, power, Counts, Effort, Sample, SampleFit};
use crate::strategy::lossless::scaled::{column_scale, Prediction, Scaled};

/// Classes of dithered weights that are counted.
pub const DITHER_CLASSES: usize = 64;

/// Constant of the classes that are counted.
pub const DITHER_OFFSET: i16 = 32;

/// Bytes that the loss of one tensor has to be worth: dithered it takes 14 more in the index, and its tables are not shared
/// yet. What the losses of all tensors have to be worth together is in the job, where tables are known.
const TENSOR_WORTH_BYTES: u64 = 64;

/// Weights on which the kind of way is chosen, at least, if there are as many.
const TRIAL_WEIGHTS: usize = 1 << 17;

/// A way to dither a sample.
pub struct Way {
    /// Number of the step.
    pub step: u8,
    /// Column scales.
    pub columns: Vec<i16>,
    /// The prediction, if there is one.
    pub factors: Option<Factors>,
    /// Counts of exact weights.
    pub exact: Counts,
    /// Counts of dithered weights by class and level: [`LEVELS`] contexts for each of [`DITHER_CLASSES`].
    pub dithered: Counts,
    /// Counts of factors.
    pub factor_counts: Counts,
    /// Approximate length of everything, in 2^-8 bits.
    length: u64,
}

/// A kind of [`Way`].
#[derive(Clone, Copy)]
enum Kind {
    /// Rows have scales, columns have none.
    Rows,
    /// Columns have scales as well.
    Columns,
    /// A prediction of this rank. The rows' scales stay, and with them the steps: what the prediction took is left to the
    /// columns' scales. `even`: all columns have the same.
    Predicted { rank: usize, even: bool },
}

/// Chooses how a sample is dithered with steps of this number; none where exact coding, as `fit` has it, is as short.
///
/// `share`: the part of the tensor's rows that the sample has, as one in so many.
pub fn choose_way(sample: &Sample, effort: Effort, step: u8, share: u64, fit: &SampleFit) -> Option<Way> {
    if let Some(few) = sample.few(effort) {
        return choose_way(&few, Effort { few: false, ..effort }, step, share, fit);
    }
    if !can_dither(sample.layout) || sample.is_empty() {
        return None;
    }
    let bits = sample.layout.bits;
    let exact = length_with_tables(&fit.counts, bits)
        + factors_length(&fit.factor_counts, fit.factors.as_ref())
        + side_length(&fit.columns, fit.factors.is_some()) / share;
    let mut kinds = vec![Kind::Rows];
    if effort.columns && sample.n_rows() >= 8 {
        kinds.push(Kind::Columns);
    }
    let most = fit.factors.as_ref().map_or(0, |f| f.rank);
    for rank in [1, 2, 4].map(|divisor| most / divisor).into_iter().filter(|&r| r > 0) {
        kinds.extend([false, true].map(|even| Kind::Predicted { rank, even }));
    }
    let mut all = Trial::new(sample, fit, step, share, 1);
    all.scaled.load_deltas();
    all.scaled.rows = settled(&all.scaled);
    // The kind is chosen on some of the rows.
    let stride = (sample.len() / TRIAL_WEIGHTS).max(1);
    let some = sample.every(stride);
    let mut trial = Trial::new(&some, fit, step, share, stride);
    trial.scaled.rows = every(stride, &all.scaled.rows);
    let ways = kinds.into_iter().map(|kind| (kind, trial.way(kind)));
    let (kind, mut best) = ways.min_by_key(|(_, way)| way.length)?;
    if stride > 1 {
        best = all.way(kind);
    }
    if best.dithered.iter().flatten().all(|&c| c == 0) {
        // All steps are below the type's own.
        return None;
    }
    let worth = (TENSOR_WORTH_BYTES << (FRACTION + 3)) / share;
    // Lengths are estimates; what gains less than a 32nd is not worth a loss.
    if best.length + best.length / 32 + worth >= exact {
        return None;
    }
    Some(best)
}

/// A sample on which ways are tried.
struct Trial<'a> {
    scaled: Scaled<'a>,
    all_factors: Option<&'a Factors>,
    left: Vec<[i16; MAX_COMPONENTS]>,
    octaves: Vec<i32>,
    step: u8,
    share: u64,
    /// For how many rows of the whole sample each row stands.
    stride: usize,
}

impl<'a> Trial<'a> {
    fn new(sample: &'a Sample, fit: &'a SampleFit, step: u8, share: u64, stride: usize) -> Self {
        Self {
            scaled: Scaled::new(sample),
            all_factors: fit.factors.as_ref(),
            left: every(stride, &fit.left),
            octaves: every(stride, &fit.octaves),
            step,
            share,
            stride,
        }
    }

    fn way(&mut self, kind: Kind) -> Way {
        let scaled = &mut self.scaled;
        let bits = scaled.sample.layout.bits;
        let mut factor_counts = vec![[0; SYMBOLS]; FACTOR_CLASSES];
        let mut factors = None;
        if let (Kind::Predicted { rank, .. }, Some(all)) = (kind, self.all_factors) {
            let own = all.of_rank(rank);
            scaled.load(Some(Prediction {
                factors: &own,
                left: &self.left,
                octaves: &self.octaves,
            }));
            count_factors(&own, &self.left, &mut factor_counts);
            factors = Some(own);
        } else {
            scaled.load(None);
        }
        match kind {
            Kind::Rows => scaled.columns.fill(0),
            _ => scaled.columns = column_scales(scaled),
        }
        if let Kind::Predicted { even: true, .. } = kind {
            let mean = scaled.columns.iter().map(|&c| c as i32).sum::<i32>() / scaled.columns.len() as i32;
            scaled.columns.fill(mean as i16);
        }
        let (mut exact, mut dithered) = count(scaled, self.step);
        for c in exact.iter_mut().chain(&mut dithered).flatten() {
            *c = c.saturating_mul(self.stride as u32);
        }
        let length = length_with_tables(&exact, bits)
            + length_with_tables(&dithered, bits)
            + factors_length(&factor_counts, factors.as_ref())
            + side_length(&scaled.columns, factors.is_some()) / self.share;
        Way {
            step: self.step,
            columns: scaled.columns.clone(),
            factors,
            exact,
            dithered,
            factor_counts,
            length,
        }
    }
}

fn every<T: Copy>(stride: usize, of: &[T]) -> Vec<T> {
    of.iter().step_by(stride).copied().collect()
}

/// Scales of the sample's rows, which their steps follow: of the changes as they are.
fn settled(scaled: &Scaled<'_>) -> Vec<i32> {
    let Sample { layout, window, .. } = *scaled.sample;
    let mut before = 0;
    let rows = scaled.sample.rows().map(|range| {
        before = settle(layout, &scaled.parts.deltas[range], window.log2_q, before);
        before
    });
    rows.collect()
}

/// Scales of the columns: of their mean change, or of what a prediction leaves of it, in units of the rows' scales.
fn column_scales(scaled: &Scaled<'_>) -> Vec<i16> {
    let Sample { layout, window, .. } = *scaled.sample;
    let q = window.log2_q;
    let mut sums = vec![0f32; scaled.columns.len()];
    for (&r, range) in scaled.rows.iter().zip(scaled.sample.rows()) {
        let unit = power((layout.unit_exponent() << q) - r, q);
        add_magnitudes(&scaled.parts.deltas[range], unit, &mut sums);
    }
    let n = scaled.rows.len() as f32;
    sums.iter().map(|sum| column_scale(sum / n, q) as i16).collect()
}

/// Counts of exact weights by context, and of dithered ones.
fn count(scaled: &Scaled<'_>, step: u8) -> (Counts, Counts) {
    let sample = scaled.sample;
    let (layout, q, contexts) = (sample.layout, sample.window.log2_q, sample.contexts());
    let mut exact = vec![[0; SYMBOLS]; contexts.count()];
    let mut dithered = vec![[0; SYMBOLS]; LEVELS * DITHER_CLASSES];
    // Any levels will do to count.
    let dither = Dither { step, seed: 1 };
    let mut levels = vec![0; sample.columns.div_ceil(LANES) * LANES];
    let groups = (levels.len() / LANES) as u64;
    for (i, (range, &r)) in sample.rows().zip(&scaled.rows).enumerate() {
        let deltas = &scaled.parts.deltas[range.clone()];
        let row = dither.row(layout, r, q);
        dither.levels(i as u64, groups, &mut levels);
        let beside = scaled.parts.classes[range.clone()]
            .iter()
            .zip(&scaled.parts.codes[range]);
        let words = deltas.iter().zip(beside).zip(scaled.columns.iter().zip(&levels));
        for ((&delta, (&class, &code)), (&column, &level)) in words {
            let exponent = -(class as i32) >> q;
            if exponent < row.below {
                let c = (column as i32 - row.shift + DITHER_OFFSET as i32).clamp(0, DITHER_CLASSES as i32 - 1);
                let code = match nearest(delta, level, 32.0 * row.unit) {
                    _ if (code as i8).unsigned_abs() == ZERO as u8 => code as i8,
                    Some(q) => alphabet::encode(q as i64, 16).code,
                    None => ESCAPE,
                };
                dithered[LEVELS * c as usize + (level & 7) as usize][code as u8 as usize] += 1;
            } else {
                let sum = r + column as i32 + class as i32;
                exact[contexts.of(sum, (code >> 8) as u8) as usize][(code & 255) as usize] += 1;
            }
        }
    }
    (exact, dithered)
}
