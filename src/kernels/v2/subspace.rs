//! The leading directions of a matrix, by subspace iteration in plain `f32` and `f64` operations of a fixed order.
//!
//! Additions run along the matrix, lanes across the components, so that vector code and scalar code round alike. No
//! fused multiplication and addition is used; Rust does not contract.

/// Most components.
pub const MAX_RANK: usize = 32;

/// Rows of the first iteration, at least, if there are as many.
const FIRST_ROWS: usize = 96;

/// `y[i] = sum over j of z[i][j] * v[j]`, for `P` components at once: the sum over the even `j` and that over the odd.
///
/// Only every `stride`-th row of `z` is taken, for as many as `y` has. `P` is a multiple of 8.
pub fn times<const P: usize>(z: &[f32], columns: usize, stride: usize, v: &[[f32; P]], y: &mut [[f32; P]]) {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    super::simd128::subspace::times(z, columns, stride, v, y);
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    times_scalar(z, columns, stride, v, y);
}

/// The scalar twin of [`times`].
pub fn times_scalar<const P: usize>(z: &[f32], columns: usize, stride: usize, v: &[[f32; P]], y: &mut [[f32; P]]) {
    for (row, y) in z.chunks_exact(columns).step_by(stride).zip(y) {
        let (mut even, mut odd) = ([0f32; P], [0f32; P]);
        for (z, v) in row.chunks(2).zip(v.chunks(2)) {
            for (s, v) in even.iter_mut().zip(&v[0]) {
                *s += z[0] * v;
            }
            if let (Some(z), Some(v)) = (z.get(1), v.get(1)) {
                for (s, v) in odd.iter_mut().zip(v) {
                    *s += z * v;
                }
            }
        }
        for ((y, even), odd) in y.iter_mut().zip(even).zip(odd) {
            *y = even + odd;
        }
    }
}

/// `w[j] = sum over i of z[i][j] * q[i]`, over every `stride`-th row of `z`. `P` is a multiple of 8.
pub fn transposed_times<const P: usize>(z: &[f32], columns: usize, stride: usize, q: &[[f32; P]], w: &mut [[f32; P]]) {
    w.fill([0.0; P]);
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    super::simd128::subspace::transposed_times(z, columns, stride, q, w);
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    transposed_times_scalar(z, columns, stride, q, w);
}

/// The scalar twin of [`transposed_times`]; adds to `w`.
pub fn transposed_times_scalar<const P: usize>(
    z: &[f32],
    columns: usize,
    stride: usize,
    q: &[[f32; P]],
    w: &mut [[f32; P]],
) {
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
        let y = widened(y);
        for (i, (g, &a)) in g.iter_mut().zip(&y).enumerate() {
            for (g, &b) in g[..=i].iter_mut().zip(&y) {
                *g += a * b;
            }
        }
    }
    for i in 0..P {
        for j in 0..i {
            g[j][i] = g[i][j];
        }
    }
    g
}

fn widened<const P: usize>(x: &[f32; P]) -> [f64; P] {
    let mut wide = [0f64; P];
    for (w, &x) in wide.iter_mut().zip(x) {
        *w = x as f64;
    }
    wide
}

/// `out[i] = sum over k of x[k] * m[k][i]`; `m[k][i]` is 0 for `i < first(k)`.
fn apply<const P: usize>(x: &[f32; P], m: &[[f64; P]; P], first: impl Fn(usize) -> usize) -> [f32; P] {
    let mut out = [0f64; P];
    for (k, (&x, m)) in x.iter().zip(m).enumerate() {
        let (x, first) = (x as f64, first(k));
        for (o, m) in out[first..].iter_mut().zip(&m[first..]) {
            *o += x * m;
        }
    }
    let mut narrow = [0f32; P];
    for (n, o) in narrow.iter_mut().zip(out) {
        *n = o as f32;
    }
    narrow
}

/// Makes the columns of `y` orthonormal (Cholesky of the Gram matrix, twice the precision).
#[allow(clippy::needless_range_loop)] // indices as in the formula
pub fn orthonormalise<const P: usize>(y: &mut [[f32; P]]) {
    let g = gram(y);
    let trace: f64 = (0..P).map(|k| g[k][k]).sum();
    let ridge = trace * 1e-9 + 1e-30;
    // g = l * l^T
    let mut l = [[0f64; P]; P];
    for i in 0..P {
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
    let mut inverse = [[0f64; P]; P];
    for k in 0..P {
        inverse[k][k] = 1.0 / l[k][k];
        for i in k + 1..P {
            let mut s = 0.0;
            for m in k..i {
                s += l[i][m] * inverse[k][m];
            }
            inverse[k][i] = -s / l[i][i];
        }
    }
    for y in y {
        *y = apply(y, &inverse, |k| k);
    }
}

/// Eigenvectors (as columns) and eigenvalues of a symmetric matrix, the largest first, by Jacobi rotations.
#[allow(clippy::needless_range_loop)] // indices as in the formula
fn eigen<const P: usize>(mut a: [[f64; P]; P]) -> ([[f64; P]; P], [f64; P]) {
    let mut e = [[0f64; P]; P];
    for (k, row) in e.iter_mut().enumerate() {
        row[k] = 1.0;
    }
    for _ in 0..12 {
        let mut off = 0.0;
        let mut diagonal = 0.0;
        for i in 0..P {
            diagonal += a[i][i] * a[i][i];
            for j in 0..i {
                off += a[i][j] * a[i][j];
            }
        }
        if off <= diagonal * 1e-9 {
            break;
        }
        for p in 0..P {
            for q in p + 1..P {
                if a[p][q] * a[p][q] <= 1e-11 * (a[p][p] * a[q][q]).abs() {
                    continue;
                }
                let theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
                let sign = if theta < 0.0 { -1.0 } else { 1.0 };
                let t = sign / (theta.abs() + (theta * theta + 1.0).sqrt());
                let c = 1.0 / (t * t + 1.0).sqrt();
                let s = t * c;
                for k in 0..P {
                    let (x, y) = (a[k][p], a[k][q]);
                    a[k][p] = c * x - s * y;
                    a[k][q] = s * x + c * y;
                }
                for k in 0..P {
                    let (x, y) = (a[p][k], a[q][k]);
                    a[p][k] = c * x - s * y;
                    a[q][k] = s * x + c * y;
                }
                for row in &mut e {
                    let (x, y) = (row[p], row[q]);
                    row[p] = c * x - s * y;
                    row[q] = s * x + c * y;
                }
            }
        }
    }
    let mut order: Vec<usize> = (0..P).collect();
    order.sort_by(|&i, &j| a[j][j].total_cmp(&a[i][i]));
    let values = std::array::from_fn(|k| a[order[k]][order[k]].max(0.0));
    let vectors = std::array::from_fn(|i| std::array::from_fn(|k| e[i][order[k]]));
    (vectors, values)
}

/// Components of a matrix, the strongest first.
pub struct Components<const P: usize> {
    /// Singular values.
    pub strengths: [f32; P],
    /// Right singular vectors: `right[j][k]`, unit length over `j`.
    pub right: Vec<[f32; P]>,
    /// Left singular vectors times the singular values: `left[i][k]`.
    pub left: Vec<[f32; P]>,
}

/// The `P` leading components of `z` (rows of `columns` values): two iterations from a fixed start, the first over a
/// part of the rows when there are many.
pub fn components<const P: usize>(z: &[f32], columns: usize) -> Components<P> {
    let rows = z.len() / columns;
    let mut v: Vec<[f32; P]> = (0..columns).map(start).collect();
    let mut y = vec![[0f32; P]; rows];
    for stride in [(rows / FIRST_ROWS).max(1), 1] {
        let y = &mut y[..rows.div_ceil(stride)];
        times(z, columns, stride, &v, y);
        orthonormalise(y);
        transposed_times(z, columns, stride, y, &mut v);
        orthonormalise(&mut v);
    }
    times(z, columns, 1, &v, &mut y);
    let (e, values) = eigen(gram(&y));
    let rotate = |x: &[f32; P]| apply(x, &e, |_| 0);
    Components {
        strengths: values.map(|v| v.sqrt() as f32),
        right: v.iter().map(rotate).collect(),
        left: y.iter().map(rotate).collect(),
    }
}

/// Signs from a multiplicative hash of row and component.
fn start<const P: usize>(j: usize) -> [f32; P] {
    std::array::from_fn(|k| {
        let mut h = ((j * MAX_RANK + k) as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        h ^= h >> 29;
        h = h.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        if h >> 63 == 0 {
            1.0
        } else {
            -1.0
        }
    })
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
            let (l, r) = (&c.left[x / columns], &c.right[x % columns]);
            error = error.max((z - l.iter().zip(r).map(|(a, b)| a * b).sum::<f32>()).abs());
        }
        assert!(error < 1e-3, "{error}");
    }

    #[test]
    fn a_zero_matrix_is_harmless() {
        let c = components::<8>(&[0.0; 640], 40);
        assert!(c.strengths.iter().all(|s| s.abs() < 1e-6));
        assert!(c.right.iter().flatten().all(|x| x.is_finite()));
    }
}
