//! The leading directions of a matrix, by subspace iteration in plain `f32` and `f64` operations of a fixed order.
//!
//! Additions run along the matrix, lanes across the components, so that vector code and scalar code round alike. No
//! fused multiplication and addition is used; Rust does not contract.

use crate::order::sorted_positions;

/// Most components.
pub const MAX_RANK: usize = 32;

/// Rows of the first iteration, at least, if there are as many.
const FIRST_ROWS: usize = 96;

/// `y[i] = sum over j of z[i][j] * v[j]`, for `P` components at once.
///
/// Only every `stride`-th row of `z` is taken, for as many as `y` has.
pub fn times<const P: usize>(z: &[f32], columns: usize, stride: usize, v: &[[f32; P]], y: &mut [[f32; P]]) {
    for (row, y) in z.chunks_exact(columns).step_by(stride).zip(y) {
        let mut sum = [0f32; P];
        for (&z, v) in row.iter().zip(v) {
            for (s, v) in sum.iter_mut().zip(v) {
                *s += z * v;
            }
        }
        *y = sum;
    }
}

/// `w[j] = sum over i of z[i][j] * q[i]`, over every `stride`-th row of `z`.
pub fn transposed_times<const P: usize>(z: &[f32], columns: usize, stride: usize, q: &[[f32; P]], w: &mut [[f32; P]]) {
    w.fill([0.0; P]);
    for (row, q) in z.chunks_exact(columns).step_by(stride).zip(q) {
        for (&z, w) in row.iter().zip(w.iter_mut()) {
            for (w, q) in w.iter_mut().zip(q) {
                *w += z * q;
            }
        }
    }
}

fn gram<const P: usize>(y: &[[f32; P]]) -> [[f64; P]; P] {
    let mut g = [[0f64; P]; P];
    for y in y {
        let y = y.map(|x| x as f64);
        for (g, &a) in g.iter_mut().zip(&y) {
            for (g, &b) in g.iter_mut().zip(&y) {
                *g += a * b;
            }
        }
    }
    g
}

/// Makes the columns of `y` orthonormal (Cholesky of the Gram matrix, twice the precision).
pub fn orthonormalise<const P: usize>(y: &mut [[f32; P]]) {
    let l = cholesky(P, gram(y).as_flattened());
    for y in y {
        solve(&l, y);
    }
}

/// The rows of the lower triangle `l` with `g = l * l^T`, for a Gram matrix `g` of `n` rows.
///
/// Not compiled for each width: that and the functions below are a small part of the time and a large one of the code.
#[allow(clippy::needless_range_loop)] // indices as in the formula
fn cholesky(n: usize, g: &[f64]) -> Vec<f64> {
    let trace: f64 = (0..n).map(|k| g[k * n + k]).sum();
    let ridge = trace * 1e-9 + 1e-30;
    let mut l = vec![0f64; n * n];
    for i in 0..n {
        for j in 0..=i {
            let mut s = g[i * n + j];
            for k in 0..j {
                s -= l[i * n + k] * l[j * n + k];
            }
            l[i * n + j] = if i == j {
                (s + ridge).max(ridge).sqrt()
            } else {
                s / l[j * n + j]
            };
        }
    }
    l
}

/// Solves `x * l^T = y` for one row; `x` takes its place.
fn solve(l: &[f64], y: &mut [f32]) {
    let mut x = [0f64; MAX_RANK];
    let rows = l.chunks_exact(y.len());
    for (i, (y, l)) in y.iter_mut().zip(rows).enumerate() {
        let mut s = *y as f64;
        for (l, x) in l[..i].iter().zip(&x) {
            s -= l * x;
        }
        x[i] = s / l[i];
        *y = x[i] as f32;
    }
}

/// Eigenvectors (as columns) and eigenvalues of a symmetric matrix of `n` rows, the largest first, by Jacobi rotations.
fn eigen(n: usize, a: &mut [f64]) -> (Vec<f64>, Vec<f64>) {
    let mut e = vec![0f64; n * n];
    for k in 0..n {
        e[k * n + k] = 1.0;
    }
    for _ in 0..12 {
        let mut off = 0.0;
        let mut diagonal = 0.0;
        for i in 0..n {
            diagonal += a[i * n + i] * a[i * n + i];
            for j in 0..i {
                off += a[i * n + j] * a[i * n + j];
            }
        }
        if off <= diagonal * 1e-12 {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                let (pp, pq, qq) = (a[p * n + p], a[p * n + q], a[q * n + q]);
                if pq * pq <= 1e-16 * (pp * qq).abs() {
                    continue;
                }
                let theta = (qq - pp) / (2.0 * pq);
                let sign = if theta < 0.0 { -1.0 } else { 1.0 };
                let t = sign / (theta.abs() + (theta * theta + 1.0).sqrt());
                let c = 1.0 / (t * t + 1.0).sqrt();
                let s = t * c;
                let rotate = |m: &mut [f64], at: usize, other: usize| {
                    let (x, y) = (m[at], m[other]);
                    m[at] = c * x - s * y;
                    m[other] = s * x + c * y;
                };
                for k in 0..n {
                    rotate(a, k * n + p, k * n + q);
                }
                for k in 0..n {
                    rotate(a, p * n + k, q * n + k);
                }
                for k in 0..n {
                    rotate(&mut e, k * n + p, k * n + q);
                }
            }
        }
    }
    let order = sorted_positions(n, &|i, j| a[j * n + j].total_cmp(&a[i * n + i]));
    let values = order.iter().map(|&k| a[k * n + k].max(0.0)).collect();
    let vectors = e
        .chunks_exact(n)
        .flat_map(|row| order.iter().map(|&k| row[k]))
        .collect();
    (vectors, values)
}

/// Multiplies one row by a matrix with as many rows and columns as it has values.
fn turn(x: &mut [f32], matrix: &[f64]) {
    let mut out = [0f64; MAX_RANK];
    for (&x, row) in x.iter().zip(matrix.chunks_exact(x.len())) {
        for (o, e) in out.iter_mut().zip(row) {
            *o += x as f64 * e;
        }
    }
    for (x, &o) in x.iter_mut().zip(&out) {
        *x = o as f32;
    }
}

/// Components of a matrix, the strongest first.
pub struct Components {
    /// Singular values.
    pub strengths: Vec<f32>,
    /// Right singular vectors, a row for each column of the matrix: unit length over the rows.
    pub right: Vec<f32>,
    /// Left singular vectors times the singular values, a row for each of the matrix.
    pub left: Vec<f32>,
}

/// The `P` leading components of `z` (rows of `columns` values): two iterations from a fixed start, the first over a
/// part of the rows when there are many.
pub fn components<const P: usize>(z: &[f32], columns: usize) -> Components {
    let rows = z.len() / columns;
    let mut v = vec![[0f32; P]; columns];
    start(P, v.as_flattened_mut());
    let mut y = vec![[0f32; P]; rows];
    for stride in [(rows / FIRST_ROWS).max(1), 1] {
        let y = &mut y[..rows.div_ceil(stride)];
        times(z, columns, stride, &v, y);
        orthonormalise(y);
        transposed_times(z, columns, stride, y, &mut v);
        orthonormalise(&mut v);
    }
    times(z, columns, 1, &v, &mut y);
    let (e, values) = eigen(P, gram(&y).as_flattened_mut());
    for row in v.iter_mut().chain(&mut y) {
        turn(row, &e);
    }
    Components {
        strengths: values.iter().map(|v| v.sqrt() as f32).collect(),
        right: v.into_flattened(),
        left: y.into_flattened(),
    }
}

/// Signs from a multiplicative hash of row and component, for rows of `n`.
fn start(n: usize, v: &mut [f32]) {
    for (j, row) in v.chunks_exact_mut(n).enumerate() {
        for (k, v) in row.iter_mut().enumerate() {
            let mut h = ((j * MAX_RANK + k) as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            h ^= h >> 29;
            h = h.wrapping_mul(0xbf58_476d_1ce4_e5b9);
            *v = if h >> 63 == 0 { 1.0 } else { -1.0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_planted_directions() {
        let (rows, columns) = (90, 70);
        let wave = |n: usize, f: usize, i: usize| ((i * f * 37 % n) as f32 / n as f32 - 0.5) * 2.0;
        let z: Vec<f32> = (0..rows * columns)
            .map(|x| {
                let (i, j) = (x / columns, x % columns);
                10.0 * wave(90, 1, i) * wave(70, 3, j) - 4.0 * wave(90, 7, i) * wave(70, 11, j)
            })
            .collect();
        let c = components::<8>(&z, columns);
        assert!(
            c.strengths[0] > c.strengths[1] && c.strengths[2] < 1e-2,
            "{:?}",
            c.strengths
        );
        let mut error = 0f32;
        for (x, z) in z.iter().enumerate() {
            let (l, r) = (&c.left[x / columns * 8..][..8], &c.right[x % columns * 8..][..8]);
            error = error.max((z - l.iter().zip(r).map(|(a, b)| a * b).sum::<f32>()).abs());
        }
        assert!(error < 1e-3, "{error}");
    }

    #[test]
    fn a_zero_matrix_is_harmless() {
        let c = components::<8>(&[0.0; 640], 40);
        assert!(c.strengths.iter().all(|s| s.abs() < 1e-6));
        assert!(c.right.iter().all(|x| x.is_finite()));
    }
}
