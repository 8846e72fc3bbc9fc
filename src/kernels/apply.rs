//! Fine-tune minus base, and base plus delta, element by element in float32.

use crate::dtype::Dtype;
use crate::kernels::convert::{array, to_f32};
use crate::kernels::float16::{bf16_to_f32, f16_to_f32};

/// Elements that are converted at once where the two sides have unlike dtypes.
const BLOCK: usize = 1024;

/// `out = f32(a) - f32(b)`: `a` the fine-tune, `b` the base.
///
/// Pairs of equal 16-bit and 32-bit floats take one pass. Panics unless both hold exactly `out.len()` elements of dtypes
/// for which [`Dtype::to_f32_defined`] is true. Source: FORMAT-V1 2.
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
                for (v, b) in out.iter_mut().zip(block) {
                    *v -= *b;
                }
            }
        }
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
