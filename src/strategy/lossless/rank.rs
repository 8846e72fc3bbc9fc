//! Choosing a prediction's rank, and how fine its factors are.

use super::estimate::entropy_length;
use super::factors::Factors;
use super::fit::{octave_factors, row_octave, Sample};
use super::low_rank::{Candidates, Spectrum, Unseen};
use super::scaled::{Prediction, Scaled};
use crate::kernels::v2::analyse::normalise;
use crate::kernels::v2::element::power_of_two;
use crate::kernels::v2::subspace::MAX_COMPONENTS;

/// Ranks that are tried.
const RANKS: [usize; 9] = [2, 4, 8, 12, 16, 24, 32, 48, 64];

/// What more than half of all components have to gain for each weight, in 2^-8 bits.
const WORTH_Q8: u64 = 32;

/// What weights take, in 2^-8 bits, where most of what a prediction leaves over is noise.
const NOISE_Q8: u64 = 2 << 8;

/// By which powers of two finer factors are tried, as long as they pay.
const FINER: [u32; 5] = [2, 4, 6, 8, 10];

/// Rows on which the rank is chosen, at least, if there are as many.
const TRIAL_ROWS: usize = 96;

/// Of how many rows of a sample one is used for that, at most, where it has no part in the components.
const UNSEEN_PART: usize = 16;

/// By which part of its length a code has to be shorter with a prediction, which is an estimate and takes time to decode; and
/// where that is for the most part found on rows that have no part in the components.
const DOUBT: u64 = 48;
const UNSEEN_DOUBT: u64 = 96;

/// What a prediction takes beside its factors, in bits: the states of their coder and a part of the tables for predicted
/// weights; for each component its gain and its classes; for each column and each row its octave.
const PREDICTION_BITS: f32 = 600.0;
const COMPONENT_BITS: f32 = 12.0;
const COLUMN_BITS: f32 = 0.5;
const ROW_BITS: f32 = 0.7;

/// A prediction of a sample.
pub(super) struct Found {
    pub factors: Factors,
    pub left: Vec<[i16; MAX_COMPONENTS]>,
    pub octaves: Vec<i32>,
}

/// The prediction that makes a sample's code shortest, side information included; none when it does not pay.
///
/// `plain` has the sample's differences, which are used up.
pub(super) fn low_rank(plain: &mut Scaled<'_>) -> Option<Found> {
    let sample = plain.sample;
    let Sample {
        layout,
        window,
        columns,
        ..
    } = *sample;
    let q = window.log2_q;
    if !sample.len().is_multiple_of(columns) {
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
    let (part, doubt) = match sample.stride {
        1 => (1, DOUBT),
        _ => (UNSEEN_PART, UNSEEN_DOUBT),
    };
    let stride = (n_rows / TRIAL_ROWS).max(part);
    let unseen = Unseen {
        stride,
        seen: sample.stride as usize,
    };
    let spectrum = Spectrum::new(&z, columns, column_octaves, false, unseen)?;
    let some = sample.every(stride);
    let mut trial = RankTrial::new(&some, plain, &octaves, stride);
    let plain_length = trial.plain_length();
    let (mut best, mut candidates) = search(&spectrum, None, &mut trial);
    if best.rank == MAX_COMPONENTS / 2 {
        let octaves = candidates.all.octaves.clone();
        if let Some(spectrum) = Spectrum::new(&z, columns, octaves, true, unseen) {
            let (higher, more) = search(&spectrum, Some(best.rank), &mut trial);
            // On a part of a tensor's rows so many components take noise for signal, and they take long to decode.
            if higher.length + trial.words() * WORTH_Q8 < best.length {
                (best, candidates) = (higher, more);
            }
        }
    }
    let found = best.length + best.length / doubt + trial.side_length(best.rank);
    (found < plain_length).then(|| Found {
        factors: candidates.of_rank(best.rank),
        left: candidates.left,
        octaves,
    })
}

/// Some of a sample's rows, on which the rank is chosen. Lengths are in 2^-8 bits.
struct RankTrial<'a> {
    rows: Scaled<'a>,
    octaves: Vec<i32>,
    /// Of how many rows of the sample one is in it.
    stride: usize,
    /// Their part of the tensor's rows: what is said once counts in proportion.
    share: f32,
}

impl<'a> RankTrial<'a> {
    /// `some`: every `stride`-th row of the sample, for which `plain` has scales, and which has these `octaves`.
    fn new(some: &'a Sample, plain: &Scaled<'_>, octaves: &[i32], stride: usize) -> Self {
        let every = |x: &[i32]| -> Vec<i32> { x.iter().step_by(stride).copied().collect() };
        let mut rows = Scaled::new(some);
        rows.rows = every(&plain.rows);
        rows.columns.clone_from(&plain.columns);
        Self {
            rows,
            octaves: every(octaves),
            stride,
            share: some.n_rows() as f32 / (plain.sample.n_rows() as f32 * plain.sample.stride as f32),
        }
    }

    /// Weights that lengths are of.
    fn words(&self) -> u64 {
        self.rows.sample.len() as u64
    }

    /// Length of the code without a prediction; only before any other is tried, which changes the rows' scales.
    fn plain_length(&mut self) -> u64 {
        self.rows.load(None);
        entropy_length(&self.rows.count(1), self.rows.sample.layout.bits)
    }

    /// Length of the code with a prediction of this rank, factors included.
    fn length(&mut self, candidates: &Candidates, rank: usize) -> u64 {
        let sample = self.rows.sample;
        let bits: f32 = candidates.bits[..rank]
            .iter()
            .map(|(l, r)| l * sample.n_rows() as f32 + r * sample.columns as f32 * self.share)
            .sum();
        let left: Vec<_> = candidates.left.iter().step_by(self.stride).copied().collect();
        self.rows.load(Some(Prediction {
            factors: &candidates.of_rank(rank),
            left: &left,
            octaves: &self.octaves,
        }));
        self.rows.take_means(0);
        entropy_length(&self.rows.count(1), sample.layout.bits) + (bits * 256.0) as u64
    }

    /// What a prediction of this rank takes beside its factors: a share of what is said once, and all that is said for the
    /// rows.
    fn side_length(&self, rank: usize) -> u64 {
        let sample = self.rows.sample;
        let once = PREDICTION_BITS + COMPONENT_BITS * rank as f32 + COLUMN_BITS * sample.columns as f32;
        let side = once * self.share + ROW_BITS * sample.n_rows() as f32;
        (side * 256.0) as u64
    }
}

/// The rank that gives the shortest code, as far as is known.
#[derive(Clone, Copy)]
struct Best {
    rank: usize,
    /// In 2^-8 bits, factors included.
    length: u64,
}

/// The best rank and the factors that it is for.
///
/// `from`: the rank to start at, by default the middle one.
fn search(spectrum: &Spectrum, from: Option<usize>, trial: &mut RankTrial<'_>) -> (Best, Candidates) {
    let mut candidates = spectrum.candidates(0);
    let n = RANKS.partition_point(|&r| r <= candidates.all.rank);
    let ranks = &RANKS[..n];
    let rank = from.unwrap_or(ranks[n / 2]);
    let length = trial.length(&candidates, rank);
    let mut best = best_rank(ranks, Best { rank, length }, &mut |r| trial.length(&candidates, r));
    if best.length > trial.words() * NOISE_Q8 && !spectrum.exceeds_bytes() {
        return (best, candidates);
    }
    // What a merged adapter leaves over is no noise, but what rounding the sum to the weights' type made of it, which is
    // known once the sum is: then finer factors pay.
    for finer in FINER {
        let finer = spectrum.candidates(finer);
        let (rank, length) = (best.rank, trial.length(&finer, best.rank));
        if length >= best.length - best.length / 64 {
            break;
        }
        best = best_rank(ranks, Best { rank, length }, &mut |r| trial.length(&finer, r));
        candidates = finer;
    }
    (best, candidates)
}

/// The best of `ranks`, from `first` on: the length falls to one minimum and rises again, so go up, or else down.
fn best_rank(ranks: &[usize], first: Best, length_of: &mut dyn FnMut(usize) -> u64) -> Best {
    let mut best = first;
    for &rank in ranks.iter().filter(|&&r| r > first.rank) {
        let length = length_of(rank);
        // A higher rank takes longer to decode; it has to be worth it.
        if length >= best.length - best.length / 256 {
            break;
        }
        best = Best { rank, length };
    }
    if best.rank == first.rank {
        for &rank in ranks.iter().rev().filter(|&&r| r < first.rank) {
            let length = length_of(rank);
            if length >= best.length {
                break;
            }
            best = Best { rank, length };
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::super::fit::{fit, Effort};
    use super::*;
    use crate::dtype::Dtype;
    use crate::kernels::v2::element::Layout;

    /// The rank for a sample of 2,000 rows of 300 weights that moved at random, one of `stride` rows of its tensor.
    fn fit_of_noise(stride: u64) -> Option<usize> {
        let mut state = 0u64;
        // The sum of four numbers between 0 and 1, of splitmix64.
        let mut noise = || {
            let mut sum = -2.0;
            for _ in 0..4 {
                state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                sum += ((z ^ (z >> 31)) >> 40) as f32 / (1 << 24) as f32;
            }
            sum
        };
        let mut sample = Sample::new(Layout::of(Dtype::BF16), 300, stride);
        let bits = |x: f32| ((x.to_bits() >> 16) as u16).to_le_bytes();
        for _ in 0..2000 {
            let pairs: Vec<(f32, f32)> = (0..300).map(|_| (noise() * 0.02, noise() * 0.001)).collect();
            let base: Vec<u8> = pairs.iter().flat_map(|&(b, _)| bits(b)).collect();
            let fine: Vec<u8> = pairs.iter().flat_map(|&(b, d)| bits(b + d)).collect();
            sample.add(&base, &fine);
        }
        fit(&sample, Effort::level(2, true)).factors.map(|f| f.rank)
    }

    #[test]
    fn noise_of_rows_that_are_looked_at_is_no_prediction_of_others() {
        assert_eq!(fit_of_noise(20), None);
    }
}
