//! Signs, sixteen at a time.

use super::{group, load_f32};
use crate::kernels::signbits::pack_scalar;
use core::arch::wasm32::*;

/// Twin of [`pack_scalar`].
pub fn pack(values: &[f32], packed: &mut [u8]) {
    assert_eq!(values.len(), 8 * packed.len());
    let whole = packed.len() / 2 * 2;
    let zero = f32x4_splat(0.0);
    for (sixteen, bytes) in values.chunks_exact(16).zip(packed.chunks_exact_mut(2)) {
        let below = unrolled!([0, 4, 8, 12] | i | f32x4_lt(load_f32(group(&sixteen[i..i + 4])), zero));
        let narrow = i8x16_narrow_i16x8(
            i16x8_narrow_i32x4(below[0], below[1]),
            i16x8_narrow_i32x4(below[2], below[3]),
        );
        // The first value of eight goes to the highest bit.
        let turned = i8x16_shuffle::<7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8>(narrow, narrow);
        bytes.copy_from_slice(&(!i8x16_bitmask(turned)).to_le_bytes());
    }
    pack_scalar(&values[8 * whole..], &mut packed[whole..]);
}
