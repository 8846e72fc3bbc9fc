//! The leading directions of a matrix, by subspace iteration in plain `f32` and `f64` operations of a fixed order.
//!
//! Additions run along the matrix, lanes across the components, so that vector code and scalar code round alike. No
//! fused multiplication and addition is used; Rust does not contract.

use crate::order::sorted_positions;

/// Most components.
pub const MAX_COMPONENTS: usize = 64;

/// Rows of the first iteration, at least, if there are as many.
const FIRST_ROWS: usize = 96;

/// `y[i] = sum over j of z[i][j] * v[j]`, for `p` components at once: the sum over the even `j` and that over the odd.
///
/// Only every `stride`-th row of `z` is taken, for as many as `y` has. `v` and `y` have rows of `p` components, a multiple
/// of 8 up to [`MAX_COMPONENTS`].
pub fn times(z: &[f32], columns: usize, stride: usize, p: usize, v: &[f32], y: &mut [f32]) {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    super::simd128::subspace::times(z, columns, stride, p, v, y);
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    times_scalar(z, columns, stride, p, v, y);
}

/// The scalar twin of [`times`].
pub fn times_scalar(z: &[f32], columns: usize, stride: usize, p: usize, v: &[f32], y: &mut [f32]) {
    for (row, y) in z.chunks_exact(columns).step_by(stride).zip(y.chunks_exact_mut(p)) {
        let mut sums = [[0f32; MAX_COMPONENTS]; 2];
        for (j, (&z, v)) in row.iter().zip(v.chunks_exact(p)).enumerate() {
            for (s, v) in sums[j % 2].iter_mut().zip(v) {
                *s += z * v;
            }
        }
        for ((y, even), odd) in y.iter_mut().zip(sums[0]).zip(sums[1]) {
            *y = even + odd;
        }
    }
}

/// `w[j] = sum over i of z[i][j] * q[i]`, over every `stride`-th row of `z`. As in [`times`], `q` and `w` have rows of `p`.
pub fn transposed_times(z: &[f32], columns: usize, stride: usize, p: usize, q: &[f32], w: &mut [f32]) {
    w.fill(0.0);
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    super::simd128::subspace::transposed_times(z, columns, stride, p, q, w);
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    transposed_times_scalar(z, columns, stride, p, q, w);
}

/// The scalar twin of [`transposed_times`]; adds to `w`.
pub fn transposed_times_scalar(z: &[f32], columns: usize, stride: usize, p: usize, q: &[f32], w: &mut [f32]) {
    for (row, q) in z.chunks_exact(columns).step_by(stride).zip(q.chunks_exact(p)) {
        for (&z, w) in row.iter().zip(w.chunks_exact_mut(p)) {
            for (w, q) in w.iter_mut().zip(q) {
                *w += z * q;
            }
        }
    }
}

/// A square matrix, of which the first rows and columns are used.
type Square = [[f64; MAX_COMPONENTS]; MAX_COMPONENTS];

#[allow(clippy::needless_range_loop)] // indices as in the formula
fn gram(y: &[f32], p: usize) -> Square {
    let mut g = [[0f64; MAX_COMPONENTS]; MAX_COMPONENTS];
    let mut wide = [0f64; MAX_COMPONENTS];
    for y in y.chunks_exact(p) {
        for (w, &y) in wide.iter_mut().zip(y) {
            *w = y as f64;
        }
        for (i, (g, &a)) in g[..p].iter_mut().zip(&wide).enumerate() {
            for (g, &b) in g[..=i].iter_mut().zip(&wide) {
                *g += a * b;
            }
        }
    }
    for i in 0..p {
        for j in 0..i {
            g[j][i] = g[i][j];
        }
    }
    g
}

/// Multiplies every row of `y` by a matrix: `sum over k of y[k] * m[k]`. With `upper`, `m[k][i]` is 0 for `i < k`.
fn apply(y: &mut [f32], p: usize, m: &Square, upper: bool) {
    for y in y.chunks_exact_mut(p) {
        let mut out = [0f64; MAX_COMPONENTS];
        for (k, (&x, m)) in y.iter().zip(m).enumerate() {
            let first = if upper { k } else { 0 };
            let x = x as f64;
            for (o, m) in out[first..p].iter_mut().zip(&m[first..p]) {
                *o += x * m;
            }
        }
        for (y, o) in y.iter_mut().zip(out) {
            *y = o as f32;
        }
    }
}

/// Makes the columns of `y` orthonormal (Cholesky of the Gram matrix, twice the precision).
#[allow(clippy::needless_range_loop)] // indices as in the formula
pub fn orthonormalise(y: &mut [f32], p: usize) {
    let g = gram(y, p);
    let mut trace = 0.0;
    for k in 0..p {
        trace += g[k][k];
    }
    let ridge = trace * 1e-9 + 1e-30;
    // g = l * l^T
    let mut l = [[0f64; MAX_COMPONENTS]; MAX_COMPONENTS];
    for i in 0..p {
        for j in 0..=i {
            let mut s = g[i][j];
            for k in 0..j {
                s -= l[i][k] * l[j][k];
            }
            l[i][j] = if i == j {
                (s + ridge).max(ridge).sqrt()
            } else {
                s / l[j][j]
            };
        }
    }
    // inverse[k][i]: of the lower triangle, transposed, so that a row of y is multiplied along its components.
    let mut inverse = [[0f64; MAX_COMPONENTS]; MAX_COMPONENTS];
    for k in 0..p {
        inverse[k][k] = 1.0 / l[k][k];
        for i in k + 1..p {
            let mut s = 0.0;
            for m in k..i {
                s += l[i][m] * inverse[k][m];
            }
            inverse[k][i] = -s / l[i][i];
        }
    }
    apply(y, p, &inverse, true);
}

/// Eigenvectors (as columns) and eigenvalues of a symmetric matrix, the largest first, by Jacobi rotations.
#[allow(clippy::needless_range_loop)] // indices as in the formula
fn eigen(mut a: Square, n: usize) -> (Square, Vec<f64>) {
    let mut e = [[0f64; MAX_COMPONENTS]; MAX_COMPONENTS];
    for (k, row) in e.iter_mut().enumerate() {
        row[k] = 1.0;
    }
    for _ in 0..12 {
        let mut off = 0.0;
        let mut diagonal = 0.0;
        for i in 0..n {
            diagonal += a[i][i] * a[i][i];
            for j in 0..i {
                off += a[i][j] * a[i][j];
            }
        }
        if off <= diagonal * 1e-9 {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                if a[p][q] * a[p][q] <= 1e-11 * (a[p][p] * a[q][q]).abs() {
                    continue;
                }
                let theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
                let sign = if theta < 0.0 { -1.0 } else { 1.0 };
                let t = sign / (theta.abs() + (theta * theta + 1.0).sqrt());
                let c = 1.0 / (t * t + 1.0).sqrt();
                let s = t * c;
                for k in 0..n {
                    let (x, y) = (a[k][p], a[k][q]);
                    a[k][p] = c * x - s * y;
                    a[k][q] = s * x + c * y;
                }
                for k in 0..n {
                    let (x, y) = (a[p][k], a[q][k]);
                    a[p][k] = c * x - s * y;
                    a[q][k] = s * x + c * y;
                }
                for row in &mut e[..n] {
                    let (x, y) = (row[p], row[q]);
                    row[p] = c * x - s * y;
                    row[q] = s * x + c * y;
                }
            }
        }
    }
    let order = sorted_positions(n, &|i, j| a[j][j].total_cmp(&a[i][i]));
    let values = order.iter().map(|&k| a[k][k].max(0.0)).collect();
    let mut vectors = [[0f64; MAX_COMPONENTS]; MAX_COMPONENTS];
    for (vectors, e) in vectors.iter_mut().zip(&e[..n]) {
        for (v, &k) in vectors.iter_mut().zip(&order) {
            *v = e[k];
        }
    }
    (vectors, values)
}

/// Components of a matrix, the strongest first.
pub struct Components {
    /// Singular values.
    pub strengths: Vec<f32>,
    /// Right singular vectors: a row of components per column of the matrix; each has unit length.
    pub right: Vec<f32>,
    /// Left singular vectors times the singular values: a row of components per row of the matrix.
    pub left: Vec<f32>,
}

/// The `p` leading components of `z` (rows of `columns` values) as far as `some` of its rows tell, or all: two iterations from a
/// fixed start, the first over a part of the rows when there are many. `p` as in [`times`].
pub fn components(some: &[f32], z: &[f32], columns: usize, p: usize) -> Components {
    let rows = some.len() / columns;
    let mut v = vec![0f32; columns * p];
    for (j, v) in v.chunks_exact_mut(p).enumerate() {
        for (k, v) in v.iter_mut().enumerate() {
            *v = start(j, k);
        }
    }
    let mut y = vec![0f32; z.len() / columns * p];
    for stride in [(rows / FIRST_ROWS).max(1), 1] {
        let y = &mut y[..rows.div_ceil(stride) * p];
        times(some, columns, stride, p, &v, y);
        orthonormalise(y, p);
        transposed_times(some, columns, stride, p, y, &mut v);
        orthonormalise(&mut v, p);
    }
    times(z, columns, 1, p, &v, &mut y);
    let (e, values) = eigen(gram(&y, p), p);
    apply(&mut v, p, &e, false);
    apply(&mut y, p, &e, false);
    Components {
        strengths: values.iter().map(|v| v.sqrt() as f32).collect(),
        right: v,
        left: y,
    }
}

/// A sign from a multiplicative hash of row and component, 32 of which follow each other.
fn start(j: usize, k: usize) -> f32 {
    let mut h = (((k as u64 / 32) << 40 | (j * 32 + k % 32) as u64) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    h ^= h >> 29;
    h = h.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    if h >> 63 == 0 {
        1.0
    } else {
        -1.0
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
        let c = components(&z, &z, columns, 8);
        assert!(
            c.strengths[0] > c.strengths[1] && c.strengths[2] < 1e-2,
            "{:?}",
            c.strengths
        );
        let mut error = 0f32;
        for (x, z) in z.iter().enumerate() {
            let (l, r) = (&c.left[8 * (x / columns)..][..8], &c.right[8 * (x % columns)..][..8]);
            error = error.max((z - l.iter().zip(r).map(|(a, b)| a * b).sum::<f32>()).abs());
        }
        assert!(error < 1e-3, "{error}");
    }

    #[test]
    fn a_zero_matrix_is_harmless() {
        let c = components(&[0.0; 640], &[0.0; 640], 40, 8);
        assert!(c.strengths.iter().all(|s| s.abs() < 1e-6));
        assert!(c.right.iter().all(|x| x.is_finite()));
    }
}
