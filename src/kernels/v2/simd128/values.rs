//! Weights as float32, 16 at a time, for the three types that models are stored in.
#![allow(unsafe_code)]

use core::arch::wasm32::*;

/// A type of floats.
pub trait Float {
    /// Bytes per element.
    const BYTES: usize;

    /// The values of 16 elements. Infinities stay, NaN may become one.
    ///
    /// # Safety
    /// 16 elements can be read at `p`.
    unsafe fn load(p: *const u8) -> [v128; 4];
}

/// bfloat16: the upper half of a float32.
pub struct Bf16;

/// float16.
pub struct F16;

/// float32.
pub struct F32;

/// # Safety
/// `16 * N` bytes can be read at `p`.
#[inline(always)]
pub unsafe fn load<const N: usize>(p: *const u8) -> [v128; N] {
    let p = p as *const v128;
    // SAFETY: promised by the caller.
    core::array::from_fn(|i| unsafe { v128_load(p.add(i)) })
}

impl Float for Bf16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load(p: *const u8) -> [v128; 4] {
        // SAFETY: promised by the caller.
        let [a, b] = unsafe { load(p) };
        let zero = i16x8_splat(0);
        // As one instruction interleaves them: engines know no other order.
        [
            i16x8_shuffle::<8, 0, 9, 1, 10, 2, 11, 3>(a, zero),
            i16x8_shuffle::<12, 4, 13, 5, 14, 6, 15, 7>(a, zero),
            i16x8_shuffle::<8, 0, 9, 1, 10, 2, 11, 3>(b, zero),
            i16x8_shuffle::<12, 4, 13, 5, 14, 6, 15, 7>(b, zero),
        ]
    }
}

impl Float for F16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load(p: *const u8) -> [v128; 4] {
        // SAFETY: promised by the caller.
        let [a, b] = unsafe { load(p) };
        [
            from_f16(u32x4_extend_low_u16x8(a)),
            from_f16(u32x4_extend_high_u16x8(a)),
            from_f16(u32x4_extend_low_u16x8(b)),
            from_f16(u32x4_extend_high_u16x8(b)),
        ]
    }
}

impl Float for F32 {
    const BYTES: usize = 4;
    #[inline(always)]
    unsafe fn load(p: *const u8) -> [v128; 4] {
        // SAFETY: promised by the caller.
        unsafe { load(p) }
    }
}

/// Sixteen numbers of 16 bits as numbers of 32 bits.
#[inline(always)]
pub fn signed(halves: [v128; 2]) -> [v128; 4] {
    [
        i32x4_extend_low_i16x8(halves[0]),
        i32x4_extend_high_i16x8(halves[0]),
        i32x4_extend_low_i16x8(halves[1]),
        i32x4_extend_high_i16x8(halves[1]),
    ]
}

/// Four float16, each in the low half of its lane, as float32; NaN as infinities.
#[inline(always)]
pub fn from_f16(x: v128) -> v128 {
    let magnitude = v128_and(x, u32x4_splat(0x7fff));
    // The exponents' biases differ by 112; subnormal numbers become normal ones in the same product.
    let finite = f32x4_mul(u32x4_shl(magnitude, 13), f32x4_splat(f32::from_bits((127 + 112) << 23)));
    let infinite = i32x4_ge(magnitude, u32x4_splat(0x7c00));
    let value = v128_bitselect(u32x4_splat(0x7f80_0000), finite, infinite);
    v128_or(value, u32x4_shl(v128_xor(x, magnitude), 16))
}
