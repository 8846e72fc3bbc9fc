//! Projects a row's differences on a prediction's column factors: least squares, which gives the row's own factors.

use super::factors::Factors;
use crate::kernels::v2::element::power_of_two;
use crate::kernels::v2::subspace::{times, MAX_COMPONENTS};

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
        let unit = power_of_two(-factors.shift - factors.raw_bits as i32);
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
    pub fn solve(&self, z: &[f32]) -> [f32; MAX_COMPONENTS] {
        let mut t = [0f32; MAX_COMPONENTS];
        let columns = self.basis.len() / self.padded;
        times(z, columns, 1, self.padded, &self.basis, &mut t[..self.padded]);
        let mut out = [0f32; MAX_COMPONENTS];
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
