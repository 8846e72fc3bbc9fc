//! float32 to float16 and bfloat16, eight at a time.

use super::{group, load, load_f32, store};
use crate::kernels::convert::scalar;
use core::arch::wasm32::*;

/// Twin of [`scalar::round_bf16`]. Measured 3750 against 2230 million values a second (Node 20).
pub fn round_bf16(src: &[f32], out: &mut [u8]) {
    assert_eq!(out.len(), 2 * src.len());
    let whole = src.len() & !7;
    for (src, out) in src.chunks_exact(8).zip(out.chunks_exact_mut(16)) {
        let [low, high] = load_eight(src);
        store(
            out.try_into().expect("a whole group"),
            u16x8_narrow_i32x4(bf16(low), bf16(high)),
        );
    }
    scalar::round_bf16(&src[whole..], &mut out[2 * whole..]);
}

/// Twin of [`scalar::keep_bf16`]. Measured 2440 against 1230 million values a second.
pub fn keep_bf16(result: &[f32], base_f32: &[f32], base: &[u8], out: &mut [u8]) {
    let whole = keep(result, base_f32, base, out, bf16);
    scalar::keep_bf16(
        &result[whole..],
        &base_f32[whole..],
        &base[2 * whole..],
        &mut out[2 * whole..],
    );
}

/// Twin of [`scalar::keep_f16`]. Measured 1310 against 870 million values a second.
pub fn keep_f16(result: &[f32], base_f32: &[f32], base: &[u8], out: &mut [u8]) {
    let whole = keep(result, base_f32, base, out, f16);
    scalar::keep_f16(
        &result[whole..],
        &base_f32[whole..],
        &base[2 * whole..],
        &mut out[2 * whole..],
    );
}

/// Does whole groups of eight; returns how many values that were.
#[inline(always)]
fn keep(result: &[f32], base_f32: &[f32], base: &[u8], out: &mut [u8], round: impl Fn(v128) -> v128 + Copy) -> usize {
    let n = result.len();
    assert!(base_f32.len() == n && base.len() == 2 * n && out.len() == 2 * n);
    let bytes = out.chunks_exact_mut(16).zip(base.chunks_exact(16));
    for ((out, base), (r, b)) in bytes.zip(result.chunks_exact(8).zip(base_f32.chunks_exact(8))) {
        let (r, b) = (load_eight(r), load_eight(b));
        // Narrowing is signed and saturating, so a mask of all ones stays one.
        let same = i16x8_narrow_i32x4(is_same(r[0], b[0]), is_same(r[1], b[1]));
        let rounded = u16x8_narrow_i32x4(round(r[0]), round(r[1]));
        store(
            out.try_into().expect("a whole group"),
            v128_bitselect(load(group(base)), rounded, same),
        );
    }
    n & !7
}

#[inline(always)]
fn load_eight(values: &[f32]) -> [v128; 2] {
    [load_f32(group(&values[..4])), load_f32(group(&values[4..]))]
}

#[inline(always)]
fn is_same(a: v128, b: v128) -> v128 {
    v128_or(f32x4_eq(a, b), v128_and(f32x4_ne(a, a), f32x4_ne(b, b)))
}

/// `float16::f32_to_bf16` of four values, each in the low half of its lane.
#[inline(always)]
pub fn bf16(x: v128) -> v128 {
    let high = u32x4_shr(x, 16);
    let odd = v128_and(high, u32x4_splat(1));
    let rounded = u32x4_shr(i32x4_add(i32x4_add(x, u32x4_splat(0x7fff)), odd), 16);
    let nan = v128_or(high, u32x4_splat(0x0040));
    v128_bitselect(nan, rounded, f32x4_ne(x, x))
}

/// `float16::f32_to_f16` of four values, each in the low half of its lane.
#[inline(always)]
pub fn f16(x: v128) -> v128 {
    let magic = u32x4_splat((127 - 15 + 23 - 10 + 1) << 23);
    let sign = v128_and(u32x4_shr(x, 16), u32x4_splat(0x8000));
    let magnitude = v128_and(x, u32x4_splat(0x7fff_ffff));
    let odd = v128_and(u32x4_shr(magnitude, 13), u32x4_splat(1));
    let rebiased = i32x4_sub(magnitude, u32x4_splat((112 << 23) - 0xfff));
    let normal = u32x4_shr(i32x4_add(rebiased, odd), 13);
    let subnormal = i32x4_sub(f32x4_add(magnitude, magic), magic);
    // Magnitudes are below 2^31, so signed comparisons do.
    let rounded = v128_bitselect(subnormal, normal, i32x4_lt(magnitude, u32x4_splat(113 << 23)));
    let infinite = i32x4_ge(magnitude, u32x4_splat(143 << 23));
    let bounded = v128_bitselect(u32x4_splat(0x7c00), rounded, infinite);
    v128_or(sign, v128_bitselect(u32x4_splat(0x7e00), bounded, f32x4_ne(x, x)))
}
