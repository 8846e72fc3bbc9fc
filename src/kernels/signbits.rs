//! One sign per bit, most significant bit first: 0 for a negative value, 1 for all others.

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
use super::simd128::signbits as fast;
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
use scalar as fast;

const MASKS: [u32; 8] = [128, 64, 32, 16, 8, 4, 2, 1];

/// Packs the signs of `8 * packed.len()` values.
///
/// A bit is 0 if the value is below zero, so zeros of both signs and NaN give 1. Panics unless `values` is exactly
/// eight times as long as `packed`. Source: deltatensors v1, `format::v1` 4.4.
pub fn pack(values: &[f32], packed: &mut [u8]) {
    assert_eq!(values.len(), 8 * packed.len());
    fast::pack(values, packed);
}

/// Portable forms of what has a twin in `simd128`.
pub mod scalar {
    use super::MASKS;

    /// Portable form of [`super::pack`].
    pub fn pack(values: &[f32], packed: &mut [u8]) {
        for (eight, byte) in values.chunks_exact(8).zip(packed) {
            let bits: u32 = eight
                .iter()
                .zip(MASKS)
                .map(|(&v, mask)| if v < 0.0 { 0 } else { mask })
                .sum();
            *byte = bits as u8;
        }
    }

    /// Portable form of [`super::expand`].
    pub fn expand(packed: &[u8], scale: f32, out: &mut [f32]) {
        let bits = scale.to_bits();
        for (&byte, eight) in packed.iter().zip(out.chunks_exact_mut(8)) {
            for (v, mask) in eight.iter_mut().zip(MASKS) {
                let flip = if u32::from(byte) & mask == 0 { 0x8000_0000 } else { 0 };
                *v = f32::from_bits(bits ^ flip);
            }
        }
    }
}

/// Writes `+scale` for every 1 bit and `-scale` for every 0 bit.
///
/// Panics unless `out` is exactly eight times as long as `packed`.
pub fn expand(packed: &[u8], scale: f32, out: &mut [f32]) {
    assert_eq!(out.len(), 8 * packed.len());
    fast::expand(packed, scale, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_and_nan_count_as_positive() {
        let mut packed = [0; 1];
        pack(
            &[1.0, -1.0, 0.0, -0.0, f32::NAN, f32::NEG_INFINITY, -1e-45, 2.0],
            &mut packed,
        );
        assert_eq!(packed, [0b1011_1001]);
        let mut out = [0.0; 8];
        expand(&packed, 0.5, &mut out);
        assert_eq!(out, [0.5, -0.5, 0.5, 0.5, 0.5, -0.5, -0.5, 0.5]);
        expand(&[0], 0.0, &mut out);
        assert!(out.iter().all(|v| v.to_bits() == 0x8000_0000));
    }
}
