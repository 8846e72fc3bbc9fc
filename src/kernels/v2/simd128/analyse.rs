//! Taking 16-bit rows apart, 16 weights at a time.
//!
//! None of these is inlined: in one large function with all of them the engine's registers do not last.
#![allow(unsafe_code)]

use super::lanes::{fold16, negated};
use super::values::{load, Bf16, Float, F16, F32};
use super::USUAL;
use crate::kernels::v2::alphabet;
use crate::kernels::v2::analyse::{
    differ_scalar, normalise_scalar, take_apart_scalar, total, weighted_difference_scalar, Reach, OUTLIER,
};
use crate::kernels::v2::element::Layout;
use crate::kernels::v2::predict::FLIP;
use crate::kernels::v2::read_row::Start;
use core::arch::wasm32::*;

/// See [`differs`](crate::kernels::v2::analyse::differs).
pub fn differs(base: &[u8], fine: &[u8]) -> bool {
    let (b64, f64) = (base.chunks_exact(64), fine.chunks_exact(64));
    if base.len() != fine.len() || b64.remainder() != f64.remainder() {
        return true;
    }
    for (b, f) in b64.zip(f64) {
        let (b, f) = (b.as_ptr() as *const v128, f.as_ptr() as *const v128);
        // SAFETY: 64 bytes are four vectors.
        let x = unrolled!([0, 1, 2, 3] | i | unsafe { v128_xor(v128_load(b.add(i)), v128_load(f.add(i))) });
        if v128_any_true(v128_or(v128_or(x[0], x[1]), v128_or(x[2], x[3]))) {
            return true;
        }
    }
    false
}

/// See [`take_apart`](crate::kernels::v2::analyse::take_apart).
pub fn take_apart(start: &Start<'_>, log2_q: u32, fine: &[u8], classes: &mut [i16], codes: &mut [u16]) {
    if start.variants.is_empty() && (start.layout.mantissa, log2_q) == (USUAL.0, USUAL.1) {
        run::<true>(start, log2_q, fine, classes, codes);
    } else {
        run::<false>(start, log2_q, fine, classes, codes);
    }
}

/// `PLAIN`: the usual layout, without a prediction.
fn run<const PLAIN: bool>(start: &Start<'_>, log2_q: u32, fine: &[u8], classes: &mut [i16], codes: &mut [u16]) {
    let Start { layout, from, variants } = *start;
    let predicted = !PLAIN && !variants.is_empty();
    let n = classes.len();
    assert!(from.len() == 2 * n && fine.len() == 2 * n && codes.len() == n);
    assert!(!predicted || variants.len() == n);
    let (mantissa, log2_q) = if PLAIN {
        (USUAL.0, USUAL.1)
    } else {
        (layout.mantissa, log2_q)
    };
    let whole = n / 16 * 16;
    let exponents = i16x8_splat(layout.exponent_mask as i16);
    let fold_mask = i16x8_splat(if layout.is_float() { 0x7fff } else { 0 });
    let one = i16x8_splat(1);
    let long_from = i16x8_splat(alphabet::EXACT as i16 + 1);
    for at in (0..whole).step_by(16) {
        // SAFETY: 16 elements from `at` on are inside all slices, whose lengths were compared above.
        unsafe {
            let b = from.as_ptr().add(2 * at) as *const v128;
            let f = fine.as_ptr().add(2 * at) as *const v128;
            let v = if predicted {
                let v = v128_load(variants.as_ptr().add(at) as *const v128);
                [i16x8_extend_low_i8x16(v), i16x8_extend_high_i8x16(v)]
            } else {
                [i16x8_splat(0); 2]
            };
            let fine: [v128; 2] = load(f as *const u8);
            let steps = unrolled!(
                [0, 1] | h | {
                    let (b, f) = (v128_load(b.add(h)), fine[h]);
                    let e = i16x8_max(v128_and(u16x8_shr(b, mantissa), exponents), one);
                    let class = i16x8_neg(i16x8_shl(e, log2_q));
                    v128_store(classes.as_mut_ptr().add(at + 8 * h) as *mut v128, class);
                    let mut u = i16x8_sub(fold16(f, fold_mask), fold16(b, fold_mask));
                    let mut code = v128_and(u, i16x8_splat(255));
                    if !PLAIN {
                        // Bytes were extended with their sign, which is `FLIP`.
                        u = negated(u, v[h]);
                        let variant = i16x8_shl(v128_and(v[h], i16x8_splat((FLIP - 1) as i16)), 8);
                        code = v128_or(variant, v128_and(u, i16x8_splat(255)));
                    }
                    v128_store(codes.as_mut_ptr().add(at + 8 * h) as *mut v128, code);
                    u
                }
            );
            // The magnitude of -32768 is 32768 when read without a sign.
            let magnitudes = unrolled!([0, 1] | h | i16x8_abs(steps[h]));
            let long = unrolled!([0, 1] | h | u16x8_ge(magnitudes[h], long_from));
            if v128_any_true(v128_or(long[0], long[1])) {
                unrolled!(
                    [0, 1] | h | {
                        let to = codes.as_mut_ptr().add(at + 8 * h) as *mut v128;
                        let code = v128_and(bucket(steps[h], magnitudes[h], fine[h]), i16x8_splat(255));
                        let code = v128_or(v128_and(v128_load(to), i16x8_splat(-256)), code);
                        v128_store(to, v128_bitselect(code, v128_load(to), long[h]));
                    }
                );
            }
        }
    }
    let (rest, fine) = (start.part(whole..n), &fine[2 * whole..]);
    take_apart_scalar(&rest, log2_q, fine, &mut classes[whole..], &mut codes[whole..]);
}

/// Codes of differences beyond the exact ones, with their sign, and of zeros.
#[inline(always)]
pub(super) fn bucket(steps: v128, magnitudes: v128, fine: v128) -> v128 {
    // A float32's exponent and the first bit of its mantissa number the half octaves. The float is made by way of 2^23:
    // the compiler makes of `f32x4_convert_u32x4` after `u32x4_extend` one conversion for each lane.
    let half_octave = |v| {
        u32x4_shr(
            f32x4_sub(v128_or(v, f32x4_splat(8_388_608.0)), f32x4_splat(8_388_608.0)),
            22,
        )
    };
    let v = i16x8_sub(magnitudes, i16x8_splat(1));
    let (lo, hi) = (
        half_octave(u32x4_extend_low_u16x8(v)),
        half_octave(u32x4_extend_high_u16x8(v)),
    );
    let code = i16x8_sub(i16x8_narrow_i32x4(lo, hi), i16x8_splat(2 * (127 + 5) - 33));
    let is_zero = i16x8_eq(i16x8_shl(fine, 1), i16x8_splat(0));
    let code = v128_bitselect(i16x8_splat(alphabet::ZERO as i16), code, is_zero);
    let sign = i16x8_shr(v128_bitselect(fine, steps, is_zero), 15);
    i16x8_sub(v128_xor(code, sign), sign)
}

/// `f - b`, 0 where that is not finite or `f` is 0.
#[inline(always)]
fn difference(f: v128, b: v128) -> v128 {
    let special = i32x4_splat(0x7f80_0000);
    let d = f32x4_sub(f, b);
    let counts = f32x4_ne(f, f32x4_splat(0.0));
    v128_and(v128_andnot(d, i32x4_eq(v128_and(d, special), special)), counts)
}

/// See [`differ`](crate::kernels::v2::analyse::differ).
pub fn differ(layout: Layout, from: &[u8], fine: &[u8], deltas: &mut [f32]) {
    match (layout.bits, layout.mantissa) {
        (16, 7) => differ_floats::<Bf16>(layout, from, fine, deltas),
        (16, 10) => differ_floats::<F16>(layout, from, fine, deltas),
        (32, 23) => differ_floats::<F32>(layout, from, fine, deltas),
        _ => differ_scalar(layout, from, fine, deltas),
    }
}

#[inline(never)]
fn differ_floats<T: Float>(layout: Layout, from: &[u8], fine: &[u8], deltas: &mut [f32]) {
    let n = deltas.len();
    assert!(from.len() == T::BYTES * n && fine.len() == T::BYTES * n);
    let whole = n / 16 * 16;
    for at in (0..whole).step_by(16) {
        // SAFETY: 16 elements from `at` on are inside all slices, whose lengths were compared above.
        unsafe {
            let b = T::load(from.as_ptr().add(T::BYTES * at));
            let f = T::load(fine.as_ptr().add(T::BYTES * at));
            let d = unrolled!([0, 1, 2, 3] | i | difference(f[i], b[i]));
            let to = deltas.as_mut_ptr().add(at) as *mut v128;
            unrolled!([0, 1, 2, 3] | i | v128_store(to.add(i), d[i]));
        }
    }
    let rest = T::BYTES * whole;
    differ_scalar(layout, &from[rest..], &fine[rest..], &mut deltas[whole..]);
}

/// Adds the weighted magnitudes of the last differences to eight sums, and these together.
#[inline(always)]
fn finish(lo: v128, hi: v128, deltas: &[f32], weights: &[f32]) -> f32 {
    let mut sums = [0f32; 8];
    let to = sums.as_mut_ptr() as *mut v128;
    // SAFETY: eight f32.
    unsafe {
        v128_store(to, lo);
        v128_store(to.add(1), hi);
    }
    for (i, (d, w)) in deltas.iter().zip(weights).enumerate() {
        sums[i % 8] += d.abs() * w;
    }
    total(sums)
}

/// See [`weighted_sum`](crate::kernels::v2::analyse::weighted_sum).
#[inline(never)]
pub fn weighted_sum(deltas: &[f32], weights: &[f32]) -> f32 {
    let n = deltas.len();
    assert!(weights.len() >= n);
    let whole = n / 8 * 8;
    let (mut lo, mut hi) = (f32x4_splat(0.0), f32x4_splat(0.0));
    for at in (0..whole).step_by(8) {
        // SAFETY: 8 elements from `at` on are inside both slices.
        unsafe {
            let d = deltas.as_ptr().add(at) as *const v128;
            let w = weights.as_ptr().add(at) as *const v128;
            lo = f32x4_add(lo, f32x4_mul(f32x4_abs(v128_load(d)), v128_load(w)));
            hi = f32x4_add(hi, f32x4_mul(f32x4_abs(v128_load(d.add(1))), v128_load(w.add(1))));
        }
    }
    finish(lo, hi, &deltas[whole..], &weights[whole..])
}

/// See [`weighted_difference`](crate::kernels::v2::analyse::weighted_difference).
pub fn weighted_difference(layout: Layout, from: &[u8], fine: &[u8], weights: &[f32]) -> f32 {
    match (layout.bits, layout.mantissa) {
        (16, 7) => weigh_floats::<Bf16>(layout, from, fine, weights),
        (16, 10) => weigh_floats::<F16>(layout, from, fine, weights),
        (32, 23) => weigh_floats::<F32>(layout, from, fine, weights),
        _ => weighted_difference_scalar(layout, from, fine, weights),
    }
}

#[inline(never)]
fn weigh_floats<T: Float>(layout: Layout, from: &[u8], fine: &[u8], weights: &[f32]) -> f32 {
    let n = from.len() / T::BYTES;
    assert!(from.len() == T::BYTES * n && fine.len() == T::BYTES * n && weights.len() >= n);
    let whole = n / 16 * 16;
    let (mut lo, mut hi) = (f32x4_splat(0.0), f32x4_splat(0.0));
    for at in (0..whole).step_by(16) {
        // SAFETY: 16 elements from `at` on are inside all slices.
        unsafe {
            let b = T::load(from.as_ptr().add(T::BYTES * at));
            let f = T::load(fine.as_ptr().add(T::BYTES * at));
            let w: [v128; 4] = load(weights.as_ptr().add(at) as *const u8);
            let terms = unrolled!(
                [0, 1, 2, 3] | i | {
                    // Without a sign, and without anything where an element became 0.
                    let mask = u32x4_shr(f32x4_ne(f[i], f32x4_splat(0.0)), 1);
                    f32x4_mul(v128_and(f32x4_sub(f[i], b[i]), mask), w[i])
                }
            );
            lo = f32x4_add(f32x4_add(lo, terms[0]), terms[2]);
            hi = f32x4_add(f32x4_add(hi, terms[1]), terms[3]);
        }
    }
    let mut deltas = [0f32; 16];
    let rest = &mut deltas[..n - whole];
    differ_scalar(layout, &from[T::BYTES * whole..], &fine[T::BYTES * whole..], rest);
    let sum = finish(lo, hi, rest, &weights[whole..]);
    // Differences that are not finite count nothing. They are few, and the sum shows whether there are any.
    match sum.is_finite() {
        true => sum,
        false => weighted_difference_scalar(layout, from, fine, weights),
    }
}

/// See [`normalise`](crate::kernels::v2::analyse::normalise).
#[inline(never)]
pub fn normalise(deltas: &mut [f32], row: f32, columns: &[f32]) {
    let n = deltas.len().min(columns.len());
    let whole = n / 4 * 4;
    let scale = f32x4_splat(row);
    let (least, most) = (f32x4_splat(-OUTLIER), f32x4_splat(OUTLIER));
    for at in (0..whole).step_by(4) {
        // SAFETY: four elements from `at` on are inside both slices.
        unsafe {
            let d = deltas.as_mut_ptr().add(at) as *mut v128;
            let x = f32x4_mul(
                f32x4_mul(v128_load(d), scale),
                v128_load(columns.as_ptr().add(at) as *const v128),
            );
            v128_store(d, f32x4_max(f32x4_min(x, most), least));
        }
    }
    normalise_scalar(&mut deltas[whole..n], row, &columns[whole..n]);
}

/// See [`mark`](crate::kernels::v2::analyse::mark).
#[inline(never)]
pub fn mark(reach: &Reach, index: &[u16], marked: &mut Vec<u32>) {
    for (group, at) in index.chunks_exact(16).zip((0..).step_by(16)) {
        // SAFETY: sixteen u16.
        let (a, b) = unsafe {
            let p = group.as_ptr() as *const v128;
            (v128_load(p), v128_load(p.add(1)))
        };
        let codes = i8x16_shuffle::<0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30>(a, b);
        let mut contexts = i8x16_shuffle::<1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31>(a, b);
        let mut limits = i8x16_splat(0);
        for part in &reach.limits {
            // SAFETY: sixteen bytes. A look-up beyond them gives 0.
            let part = unsafe { v128_load(part.as_ptr() as *const v128) };
            limits = v128_or(limits, i8x16_swizzle(part, contexts));
            contexts = i8x16_sub(contexts, i8x16_splat(16));
        }
        // The magnitude of -128 is 128 when read without a sign.
        let mut mask = i8x16_bitmask(u8x16_ge(i8x16_abs(codes), limits)) as u32;
        while mask != 0 {
            marked.push(at + mask.trailing_zeros());
            mask &= mask - 1;
        }
    }
}
