//! Products of a matrix with a few vectors, components in lanes.
#![allow(unsafe_code)]

use core::arch::wasm32::*;

/// See [`times`](crate::kernels::v2::subspace::times).
pub fn times(z: &[f32], columns: usize, stride: usize, p: usize, v: &[f32], y: &mut [f32]) {
    assert!(p.is_multiple_of(8) && v.len() >= columns * p);
    for (row, y) in z.chunks_exact(columns).step_by(stride).zip(y.chunks_exact_mut(p)) {
        // SAFETY: `v` has as many rows of `p` components as `row` has values, and the blocks end at `p`.
        unsafe {
            let (v, y) = (v.as_ptr(), y.as_mut_ptr());
            for k in (0..p / 16 * 16).step_by(16) {
                sixteen(row, p, v.add(k), y.add(k));
            }
            if p % 16 == 8 {
                eight(row, p, v.add(p - 8), y.add(p - 8));
            }
        }
    }
}

macro_rules! sums {
    ($name:ident, [$($i:literal),+], $($zero:expr),+) => {
        /// Some components of the product of a row with the vectors in rows of `p`.
        ///
        /// # Safety
        /// At `v` are as many rows of `p` as `row` is long; the components are inside a row, and `y` has room for them.
        #[inline(never)]
        unsafe fn $name(row: &[f32], p: usize, v: *const f32, y: *mut f32) {
            let mut even = [$($zero),+];
            let mut odd = [$($zero),+];
            let n = row.len();
            // SAFETY: promised by the caller.
            unsafe {
                for j in (0..n / 2 * 2).step_by(2) {
                    let z = row.as_ptr().add(j);
                    let a = v.add(j * p) as *const v128;
                    let b = v.add((j + 1) * p) as *const v128;
                    let x = v128_load32_splat(z as *const u32);
                    $(even[$i] = f32x4_add(even[$i], f32x4_mul(x, v128_load(a.add($i))));)+
                    let x = v128_load32_splat(z.add(1) as *const u32);
                    $(odd[$i] = f32x4_add(odd[$i], f32x4_mul(x, v128_load(b.add($i))));)+
                }
                if n % 2 == 1 {
                    let a = v.add((n - 1) * p) as *const v128;
                    let x = f32x4_splat(row[n - 1]);
                    $(even[$i] = f32x4_add(even[$i], f32x4_mul(x, v128_load(a.add($i))));)+
                }
                let to = y as *mut v128;
                $(v128_store(to.add($i), f32x4_add(even[$i], odd[$i]));)+
            }
        }
    };
}
sums!(
    sixteen,
    [0, 1, 2, 3],
    f32x4_splat(0.0),
    f32x4_splat(0.0),
    f32x4_splat(0.0),
    f32x4_splat(0.0)
);
sums!(eight, [0, 1], f32x4_splat(0.0), f32x4_splat(0.0));

/// See [`transposed_times`](crate::kernels::v2::subspace::transposed_times); adds to `w`.
pub fn transposed_times(z: &[f32], columns: usize, stride: usize, p: usize, q: &[f32], w: &mut [f32]) {
    assert!(p.is_multiple_of(8) && w.len() >= columns * p);
    let rows = (z.len() / columns).div_ceil(stride).min(q.len() / p);
    let at = |i: usize| &z[i * stride * columns..][..columns];
    // Four rows at a time, so that sums are loaded and stored a quarter as often; the order of additions stays.
    for i in (0..rows / 4 * 4).step_by(4) {
        let rows = [at(i), at(i + 1), at(i + 2), at(i + 3)];
        for k in (0..p).step_by(8) {
            // SAFETY: eight components from `k` on are inside each row of `p`.
            unsafe {
                let q = q.as_ptr().add(i * p + k);
                let q = unrolled!([0, 1, 2, 3] | r | q.add(r * p) as *const v128);
                let a = unrolled!([0, 1, 2, 3] | r | v128_load(q[r]));
                let b = unrolled!([0, 1, 2, 3] | r | v128_load(q[r].add(1)));
                for j in 0..columns {
                    let to = w.as_mut_ptr().add(j * p + k) as *mut v128;
                    let (mut x, mut y) = (v128_load(to), v128_load(to.add(1)));
                    unrolled!(
                        [0, 1, 2, 3] | r | {
                            let z = v128_load32_splat(rows[r].as_ptr().add(j) as *const u32);
                            x = f32x4_add(x, f32x4_mul(z, a[r]));
                            y = f32x4_add(y, f32x4_mul(z, b[r]));
                        }
                    );
                    v128_store(to, x);
                    v128_store(to.add(1), y);
                }
            }
        }
    }
    for i in rows / 4 * 4..rows {
        for (&z, w) in at(i).iter().zip(w.chunks_exact_mut(p)) {
            for (w, q) in w.iter_mut().zip(&q[i * p..(i + 1) * p]) {
                *w += z * q;
            }
        }
    }
}
