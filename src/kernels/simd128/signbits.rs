//! Signs of float32 as bits, and back.

use super::{group, load_f32, store_words};
use crate::kernels::signbits::scalar;
use core::arch::wasm32::*;

/// Twin of [`scalar::pack`].
pub fn pack(values: &[f32], packed: &mut [u8]) {
    let (sixteens, rest) = values.as_chunks::<16>();
    let (pairs, last) = packed.split_at_mut(2 * sixteens.len());
    for (values, bytes) in sixteens.iter().zip(pairs.as_chunks_mut::<2>().0) {
        // Narrowing is signed and saturating, so a mask of all ones stays one.
        let low = i16x8_narrow_i32x4(negative(&values[..4]), negative(&values[4..8]));
        let high = i16x8_narrow_i32x4(negative(&values[8..12]), negative(&values[12..]));
        let masks = i8x16_narrow_i16x8(low, high);
        // The first value of a byte has its highest bit.
        let masks = i8x16_shuffle::<7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8>(masks, masks);
        *bytes = (!i8x16_bitmask(masks)).to_le_bytes();
    }
    scalar::pack(rest, last);
}

/// Twin of [`scalar::expand`].
pub fn expand(packed: &[u8], scale: f32, out: &mut [f32]) {
    for (&byte, eight) in packed.iter().zip(out.as_chunks_mut::<8>().0) {
        let (four, last) = eight.split_at_mut(4);
        signed(byte, u32x4(128, 64, 32, 16), scale, four);
        signed(byte, u32x4(8, 4, 2, 1), scale, last);
    }
}

/// `scale` with the signs that the masked bits of `byte` stand for.
#[inline(always)]
fn signed(byte: u8, masks: v128, scale: f32, out: &mut [f32]) {
    let negative = i32x4_eq(v128_and(u32x4_splat(byte.into()), masks), u32x4_splat(0));
    let signs = v128_and(negative, u32x4_splat(0x8000_0000));
    store_words(
        out.try_into().expect("four values"),
        v128_xor(f32x4_splat(scale), signs),
    );
}

/// A mask of the values below zero.
#[inline(always)]
fn negative(values: &[f32]) -> v128 {
    f32x4_lt(load_f32(group(values)), f32x4_splat(0.0))
}
