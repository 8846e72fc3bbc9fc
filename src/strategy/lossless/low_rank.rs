//! Low-rank factors of a tensor's normalised differences: finding them, and rounding them to few levels.

use crate::kernels::v2::element::power_of_two;
use crate::kernels::v2::log2::{log2_q8, steps};
use crate::kernels::v2::predict::Columns;
use crate::kernels::v2::subspace::{components, times, MAX_RANK};

/// Classes of factors by their size: half octaves of their rms, from 2^-2 on.
pub const FACTOR_CLASSES: usize = 14;

/// What predicts a tensor, apart from the rows' own factors.
#[derive(Clone, Debug)]
pub struct Factors {
    /// Number of components.
    pub rank: usize,
    /// Negative exponent of the whole product.
    pub shift: i32,
    /// Gain per component.
    pub gains: Vec<i16>,
    /// Class of the rows' factors, per component.
    pub left_classes: Vec<u8>,
    /// Class of the columns' factors, per component.
    pub right_classes: Vec<u8>,
    /// Scale of each column in octaves.
    pub octaves: Vec<i16>,
    /// The columns as the kernels read them; not part of what travels.
    pub columns: Columns,
    /// Factors, `rank` per column.
    pub right: Vec<i8>,
}

/// A component's rows and columns before the rank is chosen.
pub struct Candidates {
    /// Everything for the largest rank.
    pub all: Factors,
    /// Rows' factors of the sample, [`MAX_RANK`] per row.
    pub left: Vec<[i8; MAX_RANK]>,
    /// Estimated length of one factor of each component, in bits, for rows and columns.
    pub bits: Vec<(f32, f32)>,
}

/// Step of the factors, in units of the residual's rms: the error that it makes costs as much as finer factors would.
const STEP: f32 = 3.0;

/// Finds the components of `z` and rounds them. `octaves`: the columns' scales that `z` was divided by.
pub fn candidates(z: &[f32], columns: usize, octaves: Vec<i16>) -> Option<Candidates> {
    let rows = z.len() / columns;
    let p = match rows.min(columns) {
        512.. => 32,
        96.. => 24,
        24.. => 8,
        _ => return None,
    };
    let c = components(z, columns, p);
    let energy: f64 = z.iter().map(|&z| z as f64 * z as f64).sum();
    let taken: f64 = c.strengths.iter().map(|&s| s as f64 * s as f64).sum();
    let residual = (((energy - taken).max(energy * 1e-6)) / z.len() as f64).sqrt() as f32;
    if !(residual > 0.0 && residual.is_finite()) {
        return None;
    }
    let mut factors = Factors {
        rank: p,
        shift: 0,
        gains: Vec::new(),
        left_classes: Vec::new(),
        right_classes: Vec::new(),
        columns: Columns::default(),
        octaves,
        right: vec![0; columns * p],
    };
    let mut left = vec![[0i8; MAX_RANK]; rows];
    let mut bits = Vec::new();
    let mut gains = Vec::new();
    let (peak_left, peak_right) = (peaks(&c.left, p), peaks(&c.right, p));
    for k in 0..p {
        let s = c.strengths[k];
        let step_left = (residual * STEP).max(peak_left[k] / 127.0);
        let step_right = (residual * STEP).max(peak_right[k] * s / 127.0);
        let (mut sum_left, mut sum_right) = (0f32, 0f32);
        for (l, out) in c.left.chunks_exact(p).zip(&mut left) {
            let x = l[k] / step_left;
            out[k] = x.round_ties_even() as i8;
            sum_left += x * x;
        }
        for (r, out) in c.right.chunks_exact(p).zip(factors.right.chunks_exact_mut(p)) {
            let x = r[k] * s / step_right;
            out[k] = x.round_ties_even() as i8;
            sum_right += x * x;
        }
        let (ms_left, ms_right) = (sum_left / rows as f32, sum_right / columns as f32);
        factors.left_classes.push(factor_class(ms_left));
        factors.right_classes.push(factor_class(ms_right));
        bits.push((factor_bits(ms_left), factor_bits(ms_right)));
        gains.push(if s > 0.0 { step_left * step_right / s } else { 0.0 });
    }
    let top = gains.iter().fold(1e-20f32, |a, &b| a.max(b));
    // The largest gain gets 8 or 9 bits, so that gain times factor fits 16.
    factors.shift = 8 - steps(top.min(f32::MAX), 0);
    let unit = power_of_two(factors.shift);
    factors.gains = gains
        .iter()
        .map(|g| (g * unit).round_ties_even().clamp(0.0, 1023.0) as i16)
        .collect();
    Some(Candidates {
        all: factors,
        left,
        bits,
    })
}

/// The largest magnitude of each of `p` components.
fn peaks(x: &[f32], p: usize) -> [f32; MAX_RANK] {
    let mut peaks = [0f32; MAX_RANK];
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

/// Entropy of a rounded Gaussian, about.
fn factor_bits(mean_square: f32) -> f32 {
    let q16 = ((1.0 + 12.0 * mean_square.min(1e6)) * 65536.0) as u64;
    (log2_q8(q16) as f32 / 256.0 - 16.0) * 0.5 + 0.25
}

impl Candidates {
    /// The first `rank` components.
    pub fn of_rank(&self, rank: usize) -> Factors {
        self.all.of_rank(rank)
    }
}

impl Factors {
    /// The first `rank` components.
    pub fn of_rank(&self, rank: usize) -> Factors {
        let mut factors = Factors {
            rank,
            shift: self.shift,
            gains: self.gains[..rank].to_vec(),
            left_classes: self.left_classes[..rank].to_vec(),
            right_classes: self.right_classes[..rank].to_vec(),
            octaves: self.octaves.clone(),
            columns: Columns::default(),
            right: Vec::with_capacity(self.octaves.len() * rank),
        };
        for r in self.right.chunks_exact(self.rank) {
            factors.right.extend_from_slice(&r[..rank]);
        }
        factors.columns = Columns::new(rank, &factors.right, &factors.octaves);
        factors
    }
}

impl Factors {
    /// A row's factors times the gains.
    pub fn scaled_left(&self, left: &[i8]) -> [i16; MAX_RANK] {
        let mut out = [0; MAX_RANK];
        for ((o, &l), &g) in out.iter_mut().zip(left).zip(&self.gains) {
            *o = (l as i32 * g as i32).clamp(-32767, 32767) as i16;
        }
        out
    }
}

/// Finds a row's factors: the least-squares solution, given the columns' rounded factors.
pub struct Projector {
    /// The columns' factors times gains, `padded` to each.
    basis: Vec<f32>,
    /// Inverse of the basis's Gram matrix.
    inverse: Vec<f64>,
    rank: usize,
    /// The rank, up to a multiple of 8.
    padded: usize,
}

impl Projector {
    /// The projector onto these factors.
    #[inline(never)]
    pub fn new(factors: &Factors) -> Self {
        let rank = factors.rank;
        let padded = rank.div_ceil(8) * 8;
        let unit = power_of_two(-factors.shift);
        let mut basis = vec![0f32; factors.octaves.len() * padded];
        let mut gram = vec![0f64; rank * rank];
        for (r, b) in factors.right.chunks_exact(rank).zip(basis.chunks_exact_mut(padded)) {
            for ((b, &r), &g) in b.iter_mut().zip(r).zip(&factors.gains) {
                *b = r as f32 * (g as f32 * unit);
            }
            for (row, &x) in gram.chunks_exact_mut(rank).zip(b.iter()) {
                for (sum, &y) in row.iter_mut().zip(b.iter()) {
                    *sum += x as f64 * y as f64;
                }
            }
        }
        Self {
            basis,
            inverse: invert(gram, rank),
            rank,
            padded,
        }
    }

    /// The factors of a row of normalised differences, not rounded yet.
    #[inline(never)]
    pub fn solve(&self, z: &[f32]) -> [f32; MAX_RANK] {
        let mut t = [0f32; MAX_RANK];
        let columns = self.basis.len() / self.padded;
        times(z, columns, 1, self.padded, &self.basis, &mut t[..self.padded]);
        let mut out = [0f32; MAX_RANK];
        for (o, row) in out.iter_mut().zip(self.inverse.chunks_exact(self.rank)) {
            let mut sum = 0f64;
            for (&a, &t) in row.iter().zip(&t) {
                sum += a * t as f64;
            }
            *o = sum as f32;
        }
        out
    }
}

/// Inverse of a symmetric positive matrix by Gauss and Jordan, with a little on the diagonal.
fn invert(mut a: Vec<f64>, n: usize) -> Vec<f64> {
    let trace: f64 = (0..n).map(|k| a[k * n + k]).sum();
    let ridge = trace * 1e-9 + 1e-30;
    let mut inverse = vec![0f64; n * n];
    for k in 0..n {
        a[k * n + k] += ridge;
        inverse[k * n + k] = 1.0;
    }
    for k in 0..n {
        let pivot = 1.0 / a[k * n + k];
        for j in 0..n {
            a[k * n + j] *= pivot;
            inverse[k * n + j] *= pivot;
        }
        for i in (0..n).filter(|&i| i != k) {
            let f = a[i * n + k];
            for j in 0..n {
                a[i * n + j] -= f * a[k * n + j];
                inverse[i * n + j] -= f * inverse[k * n + j];
            }
        }
    }
    inverse
}
