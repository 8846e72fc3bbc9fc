//! Fine-tune minus base, and base plus delta, element by element in float32.

use crate::dtype::Dtype;
use crate::kernels::convert::{array, to_f32};
use crate::kernels::float16::{bf16_to_f32, f16_to_f32};

/// Elements that are converted at once where the two sides have unlike dtypes.
const BLOCK: usize = 1024;

/// `out = f32(a) - f32(b)`: `a` the fine-tune, `b` the base.
///
/// Pairs of equal 16-bit and 32-bit floats take one pass. Panics unless both hold exactly `out.len()` elements of dtypes
/// for which [`Dtype::to_f32_defined`] is true. Source: `format::v1` 2.
pub fn delta(dtype_a: Dtype, a: &[u8], dtype_b: Dtype, b: &[u8], out: &mut [f32]) {
    match (dtype_a, dtype_b) {
        (Dtype::BF16, Dtype::BF16) => pairs(a, b, out, |x| bf16_to_f32(u16::from_le_bytes(x))),
        (Dtype::F16, Dtype::F16) => pairs(a, b, out, |x| f16_to_f32(u16::from_le_bytes(x))),
        (Dtype::F32, Dtype::F32) => pairs(a, b, out, f32::from_le_bytes),
        _ => {
            to_f32(dtype_a, a, out);
            let width = dtype_b.bytes().unwrap_or(1);
            let mut block = [0.0; BLOCK];
            for (out, b) in out.chunks_mut(BLOCK).zip(b.chunks(BLOCK * width)) {
                let block = &mut block[..out.len()];
                to_f32(dtype_b, b, block);
                subtract(out, block);
            }
        }
    }
}

/// `a -= b`, for a base that is the result of earlier links of a chain. Panics if the lengths differ.
pub fn subtract(a: &mut [f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter_mut().zip(b) {
        *a -= b;
    }
}

/// `acc += delta`, as the decoder adds one link of a chain. Panics if the lengths differ.
pub fn add(acc: &mut [f32], delta: &[f32]) {
    assert_eq!(acc.len(), delta.len());
    for (v, d) in acc.iter_mut().zip(delta) {
        *v += d;
    }
}

#[inline(always)]
fn pairs<const W: usize>(a: &[u8], b: &[u8], out: &mut [f32], convert: impl Fn([u8; W]) -> f32) {
    assert!(a.len() == W * out.len() && b.len() == W * out.len());
    for ((v, a), b) in out.iter_mut().zip(a.chunks_exact(W)).zip(b.chunks_exact(W)) {
        *v = convert(array(a)) - convert(array(b));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::convert::from_f32;

    fn stored(dtype: Dtype, values: &[f32]) -> Vec<u8> {
        let mut bytes = vec![0; values.len() * dtype.bytes().unwrap()];
        from_f32(dtype, values, &mut bytes);
        bytes
    }

    #[test]
    fn subtracts_pairs_of_all_dtypes() {
        let a: Vec<f32> = (0..3000).map(|i| (i % 97) as f32).collect();
        let b: Vec<f32> = (0..3000).map(|i| (i % 31) as f32).collect();
        let want: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a - b).collect();
        let dtypes = [
            Dtype::F64,
            Dtype::F32,
            Dtype::F16,
            Dtype::BF16,
            Dtype::I64,
            Dtype::U8,
            Dtype::I16,
        ];
        for da in dtypes {
            for db in dtypes {
                let mut out = vec![f32::NAN; 3000];
                delta(da, &stored(da, &a), db, &stored(db, &b), &mut out);
                assert_eq!(out, want, "{da:?} - {db:?}");
            }
        }
    }

    #[test]
    fn adding_keeps_numpys_zeros() {
        let mut acc = [-0.0, -0.0, 1.0];
        add(&mut acc, &[0.0, -0.0, 0.5]);
        assert_eq!(acc.map(f32::to_bits), [0.0f32, -0.0, 1.5].map(f32::to_bits));
        subtract(&mut acc, &[0.0, 0.0, 1.5]);
        assert_eq!(acc.map(f32::to_bits), [0.0f32, -0.0, 0.0].map(f32::to_bits));
    }
}
