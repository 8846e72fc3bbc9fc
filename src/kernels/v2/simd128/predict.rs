//! Moves of bf16 weights, 16 at a time.
#![allow(unsafe_code)]

use crate::kernels::v2::predict::{Columns, FLIP};
use crate::kernels::v2::subspace::MAX_RANK;
use core::arch::wasm32::*;

/// See [`predict_row`](crate::kernels::v2::predict::predict_row).
pub fn predict_bf16(
    columns: &Columns,
    left: &[i16; MAX_RANK],
    scale: f32,
    base: &[u8],
    from: &mut [u8],
    variants: &mut [u8],
) {
    let n = variants.len();
    let padded = n.div_ceil(16) * 16;
    assert!(base.len() == 2 * n && from.len() == 2 * n);
    assert!(columns.factors.len() >= padded * 2 * columns.pairs && columns.scales.len() >= padded);
    assert!(columns.pairs <= MAX_RANK / 2);
    let mut pairs = [i16x8_splat(0); MAX_RANK / 2];
    for (p, l) in pairs.iter_mut().zip(left.chunks_exact(2)) {
        *p = i32x4_splat((l[0] as u16 as u32 | (l[1] as u16 as u32) << 16) as i32);
    }
    let pairs = &pairs[..columns.pairs];
    let scale = f32x4_splat(scale);
    // SAFETY: whole groups stay inside the slices whose lengths were compared above; the last one works on copies.
    unsafe {
        for g in 0..n / 16 {
            let b = base.as_ptr().add(32 * g) as *const v128;
            let (f, v) = sixteen(columns, pairs, scale, g, [v128_load(b), v128_load(b.add(1))]);
            let to = from.as_mut_ptr().add(32 * g) as *mut v128;
            v128_store(to, f[0]);
            v128_store(to.add(1), f[1]);
            v128_store(variants.as_mut_ptr().add(16 * g) as *mut v128, v);
        }
        let (whole, rest) = (n / 16, n % 16);
        if rest > 0 {
            let mut b = [0u8; 32];
            b[..2 * rest].copy_from_slice(&base[32 * whole..]);
            let p = b.as_ptr() as *const v128;
            let (f, v) = sixteen(columns, pairs, scale, whole, [v128_load(p), v128_load(p.add(1))]);
            let p = b.as_mut_ptr() as *mut v128;
            v128_store(p, f[0]);
            v128_store(p.add(1), f[1]);
            from[32 * whole..].copy_from_slice(&b[..2 * rest]);
            v128_store(b.as_mut_ptr() as *mut v128, v);
            variants[16 * whole..].copy_from_slice(&b[..rest]);
        }
    }
}

/// # Safety
/// The columns have group `g` of 16.
#[inline(always)]
unsafe fn sixteen(columns: &Columns, pairs: &[v128], scale: v128, g: usize, base: [v128; 2]) -> ([v128; 2], v128) {
    let mut sums = [i32x4_splat(0); 4];
    // SAFETY: the caller has compared lengths.
    let scales = unsafe {
        let mut factors = columns.factors.as_ptr().add(32 * pairs.len() * g);
        for &l in pairs {
            unrolled!(
                [0, 1, 2, 3] | c | {
                    let r = v128_load(factors.add(8 * c) as *const v128);
                    sums[c] = i32x4_add(sums[c], i32x4_dot_i16x8(l, r));
                }
            );
            factors = factors.add(32);
        }
        let s = columns.scales.as_ptr().add(16 * g) as *const v128;
        [
            v128_load(s),
            v128_load(s.add(1)),
            v128_load(s.add(2)),
            v128_load(s.add(3)),
        ]
    };
    let zero = i16x8_splat(0);
    // A bf16 is the upper half of a float32.
    let wide = [
        i16x8_shuffle::<8, 0, 8, 1, 8, 2, 8, 3>(base[0], zero),
        i16x8_shuffle::<8, 4, 8, 5, 8, 6, 8, 7>(base[0], zero),
        i16x8_shuffle::<8, 0, 8, 1, 8, 2, 8, 3>(base[1], zero),
        i16x8_shuffle::<8, 4, 8, 5, 8, 6, 8, 7>(base[1], zero),
    ];
    let moved = unrolled!(
        [0, 1, 2, 3] | i | {
            let by = f32x4_mul(f32x4_mul(f32x4_convert_i32x4(sums[i]), scale), scales[i]);
            i32x4_add(f32x4_add(wide[i], by), i32x4_splat(0x8000))
        }
    );
    let halves = unrolled!(
        [0, 1] | h | {
            let (a, b) = (moved[2 * h], moved[2 * h + 1]);
            let rounded = i16x8_shuffle::<1, 3, 5, 7, 9, 11, 13, 15>(a, b);
            let rest = v128_xor(i16x8_shuffle::<0, 2, 4, 6, 8, 10, 12, 14>(a, b), i16x8_splat(i16::MIN));
            let special = i16x8_eq(v128_and(base[h], i16x8_splat(0x7f80)), i16x8_splat(0x7f80));
            let large = u16x8_ge(i16x8_abs(rest), i16x8_splat(0x4000));
            let down = v128_xor(rest, rounded_sign(a, b));
            let flip = v128_andnot(i16x8_lt(down, zero), i16x8_eq(rest, zero));
            let context = i16x8_sub(i16x8_splat(1), large);
            let context = v128_or(context, v128_and(flip, i16x8_splat(FLIP as i16)));
            (
                v128_bitselect(base[h], rounded, special),
                v128_bitselect(i16x8_splat(1), context, special),
            )
        }
    );
    let [(from_0, context_0), (from_1, context_1)] = halves;
    ([from_0, from_1], u8x16_narrow_i16x8(context_0, context_1))
}

/// The sign of the sum before it was rounded: that of the rounded one, as rounding a magnitude keeps it.
#[inline(always)]
fn rounded_sign(a: v128, b: v128) -> v128 {
    i16x8_shuffle::<1, 3, 5, 7, 9, 11, 13, 15>(a, b)
}
