//! Low-rank factors of a tensor's normalised differences: finding them, and rounding them to few levels.

use super::factors::{Factors, FACTOR_CLASSES, MAX_RAW_BITS};
use crate::kernels::v2::element::power_of_two;
use crate::kernels::v2::log2::{log2_q8, steps};
use crate::kernels::v2::predict::Columns;
use crate::kernels::v2::subspace::{components, Components, MAX_COMPONENTS};
use std::borrow::Cow;

/// A component's rows and columns before the rank is chosen.
pub struct Candidates {
    /// Everything for the largest rank.
    pub all: Factors,
    /// Rows' factors of the sample, [`MAX_COMPONENTS`] per row.
    pub left: Vec<[i16; MAX_COMPONENTS]>,
    /// Estimated length of one factor of each component, in bits, for rows and columns.
    pub bits: Vec<(f32, f32)>,
    /// Gains before they are rounded.
    gains: Vec<f32>,
}

/// The coarsest step of factors, in units of the residual's rms: where the residual is noise, finer factors would cost more
/// than the error that this step makes.
const STEP: f32 = 3.0;

/// Smaller side of a matrix, from which on there may be twice as many components: what a merged adapter adds has a rank of up
/// to 64.
const WIDE: usize = 512;

/// Components that are looked for, by the smaller side of a matrix at least; the kernels take multiples of 8. The wider a
/// matrix, the higher is the rank that pays: language models of width 64 take 2 or none, those of width 256 mostly 16 and
/// at times 24.
const COMPONENTS: [(usize, usize); 3] = [(WIDE, 32), (96, 24), (24, 8)];

const _: () = assert!(2 * COMPONENTS[0].1 == MAX_COMPONENTS);

/// The rows of a sample that components are not found from: they show what a prediction is worth to those rows of a tensor
/// that are not in its sample, while components of few rows find some of their noise too.
#[derive(Clone, Copy)]
pub struct Unseen {
    /// Every so many rows one is of those on which the rank is chosen.
    pub stride: usize,
    /// Of so many of these one is seen: as many as there are rows in the tensor for one in the sample.
    pub seen: usize,
}

impl Unseen {
    /// The other rows of `z`.
    fn others<'a>(self, z: &'a [f32], columns: usize) -> Cow<'a, [f32]> {
        if self.seen == 1 {
            return Cow::Borrowed(z);
        }
        let mut others = Vec::with_capacity(z.len());
        for (i, row) in z.chunks_exact(columns).enumerate() {
            if i % self.stride > 0 || (i / self.stride).is_multiple_of(self.seen) {
                others.extend_from_slice(row);
            }
        }
        Cow::Owned(others)
    }
}

/// A matrix's leading components, from which [`Candidates`] are rounded.
pub struct Spectrum {
    components: Components,
    /// Number of components.
    p: usize,
    /// The columns' scales that the matrix was divided by.
    octaves: Vec<i16>,
    /// Root mean square of what the components leave over.
    residual: f32,
    peak_left: [f32; MAX_COMPONENTS],
    peak_right: [f32; MAX_COMPONENTS],
}

impl Spectrum {
    /// Finds the components of `z`; none where there is nothing to find. `octaves`: the columns' scales that `z` was
    /// divided by. `more`: twice as many components of a large matrix. `unseen`: rows that have no part in them.
    pub fn new(z: &[f32], columns: usize, octaves: Vec<i16>, more: bool, unseen: Unseen) -> Option<Self> {
        let rows = z.len() / columns;
        let side = rows.min(columns);
        let p = match *COMPONENTS.iter().find(|&&(from, _)| side >= from)? {
            (WIDE, p) if more => 2 * p,
            (_, p) => p,
        };
        let components = components(&unseen.others(z, columns), z, columns, p);
        let energy: f64 = z.iter().map(|&z| z as f64 * z as f64).sum();
        let taken: f64 = components.strengths.iter().map(|&s| s as f64 * s as f64).sum();
        let residual = (((energy - taken).max(energy * 1e-6)) / z.len() as f64).sqrt() as f32;
        let (peak_left, peak_right) = (peaks(&components.left, p), peaks(&components.right, p));
        (residual > 0.0 && residual.is_finite()).then_some(Self {
            components,
            p,
            octaves,
            residual,
            peak_left,
            peak_right,
        })
    }

    /// The largest factor.
    fn peak(&self) -> f32 {
        let mut peak = 0f32;
        for ((&left, &right), &s) in self
            .peak_left
            .iter()
            .zip(&self.peak_right)
            .zip(&self.components.strengths)
        {
            for x in [left, right * s] {
                // f32::max would be a call in wasm.
                if x > peak {
                    peak = x;
                }
            }
        }
        peak
    }

    /// True when a byte is too small for the largest factor with the coarsest step.
    pub fn exceeds_bytes(&self) -> bool {
        self.peak() > LARGEST * STEP * self.residual
    }

    /// Rounds the components to factors, whose step is the coarsest one divided by `2^finer`.
    pub fn candidates(&self, finer: u32) -> Candidates {
        let (c, p, columns) = (&self.components, self.p, self.octaves.len());
        let rows = c.left.len() / p;
        let step = self.residual * STEP * power_of_two(-(finer as i32));
        let levels = self.peak() / step;
        let raw_bits = raw_bits_for(levels, finer);
        let largest = LARGEST * (1 << raw_bits) as f32;
        let mut factors = Factors {
            rank: p,
            raw_bits,
            shift: 0,
            gains: Vec::new(),
            left_classes: Vec::new(),
            right_classes: Vec::new(),
            columns: Columns::default(),
            octaves: self.octaves.clone(),
            right: vec![0; columns * p],
        };
        // Of symbols, whose steps are that much coarser.
        let unit = power_of_two(-(raw_bits as i32));
        let mean_square = |sum: f32, n: usize| sum * unit * unit / n as f32;
        let mut left = vec![[0i16; MAX_COMPONENTS]; rows];
        let mut bits = Vec::new();
        let mut gains = Vec::new();
        for k in 0..p {
            let s = c.strengths[k];
            let step_left = step.max(self.peak_left[k] / largest);
            let step_right = step.max(self.peak_right[k] * s / largest);
            let of_rows = c.left.chunks_exact(p).map(|l| l[k] / step_left);
            let sum_left = round_to(of_rows, left.iter_mut().map(|l| &mut l[k]));
            let of_columns = c.right.chunks_exact(p).map(|r| r[k] * s / step_right);
            let sum_right = round_to(of_columns, factors.right.chunks_exact_mut(p).map(|r| &mut r[k]));
            let (ms_left, ms_right) = (mean_square(sum_left, rows), mean_square(sum_right, columns));
            factors.left_classes.push(factor_class(ms_left));
            factors.right_classes.push(factor_class(ms_right));
            bits.push((
                factor_bits(ms_left) + raw_bits as f32,
                factor_bits(ms_right) + raw_bits as f32,
            ));
            gains.push(if s > 0.0 { step_left * step_right / s } else { 0.0 });
        }
        if raw_bits == 0 {
            let top = gains.iter().fold(1e-20f32, |a, &b| a.max(b));
            // The largest gain gets 8 or 9 bits, with large factors 7 or 8, so that gain times factor fits 16.
            factors.take_gains(
                &gains,
                8 - (levels > LARGEST / 2.0) as i32 - steps(top.min(f32::MAX), 0),
            );
        }
        Candidates {
            all: factors,
            left,
            bits,
            gains,
        }
    }
}

/// Raw bits of factors that go up to so many steps: symbols have a byte, what is finer is raw.
fn raw_bits_for(levels: f32, finer: u32) -> u32 {
    match finer {
        0 => 0,
        _ => (1..MAX_RAW_BITS)
            .find(|&f| levels <= LARGEST * (1 << f) as f32)
            .unwrap_or(MAX_RAW_BITS),
    }
}

/// Rounds factors in units of their step; gives the sum of their squares.
fn round_to<'a>(factors: impl Iterator<Item = f32>, out: impl Iterator<Item = &'a mut i16>) -> f32 {
    let mut sum = 0f32;
    for (x, out) in factors.zip(out) {
        *out = x.round_ties_even() as i16;
        sum += x * x;
    }
    sum
}

/// Largest symbol of a factor.
const LARGEST: f32 = 127.0;

/// The largest magnitude of each of `p` components.
fn peaks(x: &[f32], p: usize) -> [f32; MAX_COMPONENTS] {
    let mut peaks = [0f32; MAX_COMPONENTS];
    for x in x.chunks_exact(p) {
        for (p, x) in peaks.iter_mut().zip(x) {
            // f32::max would be a call in wasm.
            if x.abs() > *p {
                *p = x.abs();
            }
        }
    }
    peaks
}

/// Class of factors with this mean square: `round(log2(mean square))`, so half octaves of the rms.
fn factor_class(mean_square: f32) -> u8 {
    (steps(mean_square.max(1e-9), 0) + 4).clamp(0, FACTOR_CLASSES as i32 - 1) as u8
}

/// Approximate entropy of a rounded Gaussian with this mean square, in bits.
fn factor_bits(mean_square: f32) -> f32 {
    let q16 = ((1.0 + 12.0 * mean_square.min(1e6)) * 65536.0) as u64;
    (log2_q8(q16) as f32 / 256.0 - 16.0) * 0.5 + 0.25
}

impl Candidates {
    /// The first `rank` components.
    pub fn of_rank(&self, rank: usize) -> Factors {
        let mut factors = self.all.of_rank(rank);
        if factors.raw_bits > 0 {
            let mut top = 1e-20f32;
            for left in &self.left {
                for (&l, &gain) in left.iter().zip(&self.gains[..rank]) {
                    let product = gain * l.unsigned_abs() as f32;
                    if product > top {
                        top = product;
                    }
                }
            }
            // The largest product gets 14 bits or 15; other rows may have larger ones.
            factors.take_gains(
                &self.gains[..rank],
                14 + factors.raw_bits as i32 - steps(top.min(f32::MAX), 0),
            );
        }
        factors
    }
}
