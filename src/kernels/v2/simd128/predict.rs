//! Moves of weights, 16 at a time.
#![allow(unsafe_code)]

use super::values::{from_f16, load, Bf16, Float, F16, F32};
use crate::kernels::simd128::convert::f16;
use crate::kernels::v2::element::Layout;
use crate::kernels::v2::predict::{Columns, Moves, FLIP};
use crate::kernels::v2::subspace::MAX_COMPONENTS;
use core::arch::wasm32::*;

/// See [`predict_row`](crate::kernels::v2::predict::predict_row).
pub fn predict_row(layout: Layout, moves: &Moves<'_>, base: &[u8], from: &mut [u8], variants: &mut [u8]) {
    match (layout.bits, layout.mantissa) {
        (16, 7) => run::<Bf16>(moves, base, from, variants),
        (16, _) => run::<F16>(moves, base, from, variants),
        _ => run::<F32>(moves, base, from, variants),
    }
}

/// Types that can be moved.
trait Move: Float {
    /// Stores 16 elements of the base plus `by` at `to`, rounded; gives their contexts. `values` are those of the base.
    ///
    /// # Safety
    /// 16 elements can be read at `base` and written at `to`.
    unsafe fn put(base: *const u8, values: [v128; 4], by: [v128; 4], to: *mut u8) -> v128;
}

fn run<T: Move>(moves: &Moves<'_>, base: &[u8], from: &mut [u8], variants: &mut [u8]) {
    let Moves { columns, left, scale } = *moves;
    let n = variants.len();
    let group = 16 * T::BYTES;
    assert!(base.len() == T::BYTES * n && from.len() == T::BYTES * n);
    assert!(columns.pairs <= MAX_COMPONENTS / 2);
    let mut pairs = [i16x8_splat(0); MAX_COMPONENTS / 2];
    for (p, l) in pairs.iter_mut().zip(left.chunks_exact(2)) {
        *p = i32x4_splat((l[0] as u16 as u32 | (l[1] as u16 as u32) << 16) as i32);
    }
    let pairs = &pairs[..columns.pairs];
    let scale = f32x4_splat(scale);
    let (whole, rest) = (n / 16, n % 16);
    let (first, last) = base.split_at(group * whole);
    groups::<T>(columns, pairs, scale, 0, first, from, variants);
    if rest > 0 {
        let (mut copy, mut moved, mut contexts) = ([0u8; 64], [0u8; 64], [0u8; 16]);
        copy[..last.len()].copy_from_slice(last);
        groups::<T>(columns, pairs, scale, whole, &copy[..group], &mut moved, &mut contexts);
        from[group * whole..].copy_from_slice(&moved[..last.len()]);
        variants[16 * whole..].copy_from_slice(&contexts[..rest]);
    }
}

/// Moves whole groups of 16 weights; the first of them has number `first` among those of the columns.
#[inline(never)]
fn groups<T: Move>(
    columns: &Columns,
    pairs: &[v128],
    scale: v128,
    first: usize,
    base: &[u8],
    from: &mut [u8],
    variants: &mut [u8],
) {
    let bytes = 16 * T::BYTES;
    let n = base.len() / bytes;
    assert!(from.len() >= n * bytes && variants.len() >= 16 * n);
    assert!(columns.factors.len() >= 32 * pairs.len() * (first + n) && columns.scales.len() >= 16 * (first + n));
    for g in 0..n {
        // SAFETY: whole groups stay inside the slices whose lengths were compared above.
        unsafe {
            let base = base.as_ptr().add(bytes * g);
            let by = moves(columns, pairs, scale, first + g);
            let contexts = T::put(base, T::load(base), by, from.as_mut_ptr().add(bytes * g));
            v128_store(variants.as_mut_ptr().add(16 * g) as *mut v128, contexts);
        }
    }
}

/// How far 16 weights are expected to move.
///
/// # Safety
/// The columns have group `g` of 16.
#[inline(always)]
unsafe fn moves(columns: &Columns, pairs: &[v128], scale: v128, g: usize) -> [v128; 4] {
    let mut sums = [i32x4_splat(0); 4];
    // SAFETY: the caller has compared lengths.
    let scales: [v128; 4] = unsafe {
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
        load(columns.scales.as_ptr().add(16 * g) as *const u8)
    };
    unrolled!([0, 1, 2, 3] | i | f32x4_mul(f32x4_mul(f32x4_convert_i32x4(sums[i]), scale), scales[i]))
}

/// Keeps the special ones of 16 elements of 16 bits, stores them, and gives their contexts, which are 1 for special ones.
///
/// # Safety
/// 16 elements can be read at `base` and written at `to`.
#[inline(always)]
unsafe fn put16(base: *const u8, special: v128, rounded: [v128; 2], contexts: [v128; 2], to: *mut u8) -> v128 {
    // SAFETY: promised by the caller.
    let base: [v128; 2] = unsafe { load(base) };
    let (mut rounded, mut contexts) = (rounded, contexts);
    let special = unrolled!([0, 1] | h | i16x8_eq(v128_and(base[h], special), special));
    if v128_any_true(v128_or(special[0], special[1])) {
        rounded = unrolled!([0, 1] | h | v128_bitselect(base[h], rounded[h], special[h]));
        contexts = unrolled!([0, 1] | h | v128_bitselect(i16x8_splat(1), contexts[h], special[h]));
    }
    let to = to as *mut v128;
    // SAFETY: promised by the caller.
    unrolled!([0, 1] | h | unsafe { v128_store(to.add(h), rounded[h]) });
    u8x16_narrow_i16x8(contexts[0], contexts[1])
}

impl Move for Bf16 {
    #[inline(always)]
    unsafe fn put(base: *const u8, values: [v128; 4], by: [v128; 4], to: *mut u8) -> v128 {
        let moved = unrolled!([0, 1, 2, 3] | i | i32x4_add(f32x4_add(values[i], by[i]), i32x4_splat(0x8000)));
        let rounded =
            unrolled!([0, 1] | h | i16x8_shuffle::<1, 3, 5, 7, 9, 11, 13, 15>(moved[2 * h], moved[2 * h + 1]));
        let contexts = unrolled!(
            [0, 1] | h | {
                let lower = unrolled!([0, 1] | i | v128_and(moved[2 * h + i], u32x4_splat(0xffff)));
                let rest = v128_xor(u16x8_narrow_i32x4(lower[0], lower[1]), i16x8_splat(i16::MIN));
                // The sign of the sum before it was rounded is that of the rounded one, as rounding a magnitude keeps it:
                // negative is what was rounded away from zero. Differences that saturate keep their sign and their size.
                let sign = i16x8_shr(rounded[h], 15);
                let outward = i16x8_sub_sat(v128_xor(rest, sign), sign);
                let magnitude = i16x8_max(outward, i16x8_sub_sat(i16x8_splat(0), outward));
                let context = i16x8_add(u16x8_shr(magnitude, 14), i16x8_splat(1));
                v128_or(context, v128_and(u16x8_shr(outward, 8), i16x8_splat(FLIP as i16)))
            }
        );
        // SAFETY: promised by the caller.
        unsafe { put16(base, i16x8_splat(0x7f80), rounded, contexts, to) }
    }
}

impl Move for F16 {
    #[inline(always)]
    unsafe fn put(base: *const u8, values: [v128; 4], by: [v128; 4], to: *mut u8) -> v128 {
        let sums = unrolled!([0, 1, 2, 3] | i | f32x4_add(values[i], by[i]));
        let rounded = unrolled!([0, 1, 2, 3] | i | f16(sums[i]));
        let rest = unrolled!([0, 1, 2, 3] | i | f32x4_sub(sums[i], from_f16(rounded[i])));
        let large = unrolled!(
            [0, 1, 2, 3] | i | {
                // A quarter of a step is 2^(exponent - 27).
                let e = i32x4_max(v128_and(u32x4_shr(rounded[i], 10), i32x4_splat(31)), i32x4_splat(1));
                let quarter = i32x4_shl(i32x4_add(e, i32x4_splat(127 - 27)), 23);
                f32x4_ge(f32x4_abs(rest[i]), quarter)
            }
        );
        let flip = unrolled!([0, 1, 2, 3] | i | f32x4_lt(rest[i], f32x4_splat(0.0)));
        let both = |v: [v128; 4]| [i16x8_narrow_i32x4(v[0], v[1]), i16x8_narrow_i32x4(v[2], v[3])];
        let rounded = [
            u16x8_narrow_i32x4(rounded[0], rounded[1]),
            u16x8_narrow_i32x4(rounded[2], rounded[3]),
        ];
        let (large, flip) = (both(large), both(flip));
        let contexts = unrolled!(
            [0, 1] | h | {
                let context = i16x8_sub(i16x8_splat(1), large[h]);
                v128_or(context, v128_and(flip[h], i16x8_splat(FLIP as i16)))
            }
        );
        // SAFETY: promised by the caller.
        unsafe { put16(base, i16x8_splat(0x7c00), rounded, contexts, to) }
    }
}

impl Move for F32 {
    #[inline(always)]
    unsafe fn put(_: *const u8, values: [v128; 4], by: [v128; 4], to: *mut u8) -> v128 {
        let special = i32x4_splat(0x7f80_0000);
        let to = to as *mut v128;
        unrolled!(
            [0, 1, 2, 3] | i | {
                let stays = i32x4_eq(v128_and(values[i], special), special);
                let moved = v128_bitselect(values[i], f32x4_add(values[i], by[i]), stays);
                // SAFETY: promised by the caller.
                unsafe { v128_store(to.add(i), moved) }
            }
        );
        // Every last bit is coded: what is left over says nothing.
        i8x16_splat(0)
    }
}
