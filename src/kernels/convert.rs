//! Bytes of any dtype to float32 and back.
//!
//! To float32 (`format::v1` 2): F16 and BF16 exactly; F64 and integers rounded once to nearest even; BOOL as 0 and 1.
//! Bytes are little-endian and need no alignment.

use crate::dtype::Dtype;
use crate::kernels::float16::{bf16_to_f32, f16_to_f32, f32_to_f16};

/// Converts every element of `src` to float32.
///
/// Panics unless `src` holds exactly `out.len()` elements of a dtype for which [`Dtype::to_f32_defined`] is true; jobs
/// check both while planning.
pub fn to_f32(dtype: Dtype, src: &[u8], out: &mut [f32]) {
    match dtype {
        Dtype::BOOL => widen::<1>(src, out, |b| f32::from(u8::from(b != [0]))),
        Dtype::U8 => widen::<1>(src, out, |b| f32::from(b[0])),
        Dtype::I8 => widen::<1>(src, out, |b| f32::from(b[0] as i8)),
        Dtype::U16 => widen(src, out, |b| f32::from(u16::from_le_bytes(b))),
        Dtype::I16 => widen(src, out, |b| f32::from(i16::from_le_bytes(b))),
        Dtype::F16 => widen(src, out, |b| f16_to_f32(u16::from_le_bytes(b))),
        Dtype::BF16 => widen(src, out, |b| bf16_to_f32(u16::from_le_bytes(b))),
        Dtype::U32 => widen(src, out, |b| u32::from_le_bytes(b) as f32),
        Dtype::I32 => widen(src, out, |b| i32::from_le_bytes(b) as f32),
        Dtype::F32 => widen(src, out, f32::from_le_bytes),
        Dtype::U64 => widen(src, out, |b| u64::from_le_bytes(b) as f32),
        Dtype::I64 => widen(src, out, |b| i64::from_le_bytes(b) as f32),
        Dtype::F64 => widen(src, out, |b| f64_to_f32(f64::from_le_bytes(b))),
        _ => no_values(dtype),
    }
}

/// float64 to float32, nearest even. A NaN keeps its sign and the upper bits of its mantissa, made quiet: what becomes of
/// these is up to the machine otherwise, and a delta against the result needs the same bits everywhere.
#[inline(always)]
fn f64_to_f32(x: f64) -> f32 {
    let bits = x.to_bits();
    let nan = (bits >> 32) as u32 & 0x8000_0000 | 0x7fc0_0000 | (bits >> 29) as u32 & 0x003f_ffff;
    if x.is_nan() {
        f32::from_bits(nan)
    } else {
        x as f32
    }
}

/// float32 to float64, exact; for a NaN as [`f64_to_f32`].
#[inline(always)]
fn f32_to_f64(x: f32) -> f64 {
    let bits = u64::from(x.to_bits());
    let nan = (bits & 0x8000_0000) << 32 | 0x7ff8_0000_0000_0000 | (bits & 0x003f_ffff) << 29;
    if x.is_nan() {
        f64::from_bits(nan)
    } else {
        f64::from(x)
    }
}

/// Rounds every value of `src` to `dtype`: floats to nearest even, NaN stays NaN, too large becomes infinite; integers
/// to nearest even and saturating, NaN gives 0; BOOL is 1 for everything but zero.
///
/// Panics under the conditions of [`to_f32`].
pub fn from_f32(dtype: Dtype, src: &[f32], out: &mut [u8]) {
    match dtype {
        // `as` saturates and takes NaN to 0.
        Dtype::BOOL => narrow(src, out, |v| [u8::from(v != 0.0)]),
        Dtype::U8 => narrow(src, out, |v| [v.round_ties_even() as u8]),
        Dtype::I8 => narrow(src, out, |v| [v.round_ties_even() as i8 as u8]),
        Dtype::U16 => narrow(src, out, |v| (v.round_ties_even() as u16).to_le_bytes()),
        Dtype::I16 => narrow(src, out, |v| (v.round_ties_even() as i16).to_le_bytes()),
        Dtype::F16 => narrow(src, out, |v| f32_to_f16(v).to_le_bytes()),
        Dtype::BF16 => fast::round_bf16(src, out),
        Dtype::U32 => narrow(src, out, |v| (v.round_ties_even() as u32).to_le_bytes()),
        Dtype::I32 => narrow(src, out, |v| (v.round_ties_even() as i32).to_le_bytes()),
        Dtype::F32 => narrow(src, out, f32::to_le_bytes),
        Dtype::U64 => narrow(src, out, |v| (v.round_ties_even() as u64).to_le_bytes()),
        Dtype::I64 => narrow(src, out, |v| (v.round_ties_even() as i64).to_le_bytes()),
        Dtype::F64 => narrow(src, out, |v| f32_to_f64(v).to_le_bytes()),
        _ => no_values(dtype),
    }
}

/// Rounds `result` to `dtype`, except where nothing changed: there the base's own bytes stand.
///
/// `base_f32`: the base as [`to_f32`] gives it; `base`: its bytes. An element is unchanged if result and base are equal
/// as numbers or both NaN. So an int64 or float64 that float32 cannot hold, a -0.0 and the payload of a NaN survive a
/// delta of zero. Panics under the conditions of [`to_f32`], or if the lengths differ.
pub fn keep_or_round(dtype: Dtype, result: &[f32], base_f32: &[f32], base: &[u8], out: &mut [u8]) {
    assert!(result.len() == base_f32.len() && base.len() == out.len());
    match dtype {
        Dtype::BF16 => fast::keep_bf16(result, base_f32, base, out),
        Dtype::F16 => fast::keep_f16(result, base_f32, base, out),
        _ => {
            from_f32(dtype, result, out);
            let width = dtype.bytes().unwrap_or(1);
            let bytes = out.chunks_exact_mut(width).zip(base.chunks_exact(width));
            for ((new, old), (&r, &b)) in bytes.zip(result.iter().zip(base_f32)) {
                if is_same(r, b) {
                    new.copy_from_slice(old);
                }
            }
        }
    }
}

#[inline(always)]
fn is_same(a: f32, b: f32) -> bool {
    (a == b) | (a.is_nan() & b.is_nan())
}

#[inline(always)]
pub(crate) fn widen<const W: usize>(src: &[u8], out: &mut [f32], convert: impl Fn([u8; W]) -> f32) {
    assert_eq!(src.len(), W * out.len());
    for (v, bytes) in out.iter_mut().zip(src.chunks_exact(W)) {
        *v = convert(array(bytes));
    }
}

#[inline(always)]
pub(crate) fn narrow<const W: usize>(src: &[f32], out: &mut [u8], convert: impl Fn(f32) -> [u8; W]) {
    assert_eq!(out.len(), W * src.len());
    for (bytes, &v) in out.chunks_exact_mut(W).zip(src) {
        bytes.copy_from_slice(&convert(v));
    }
}

/// The bytes of one element, out of `chunks_exact(W)`; the check of the length is optimised away.
#[inline(always)]
pub(crate) fn array<const W: usize>(bytes: &[u8]) -> [u8; W] {
    bytes.try_into().expect("a chunk of W bytes")
}

#[cold]
fn no_values(dtype: Dtype) -> ! {
    panic!("{} has no float32 values; the plan must not get here", dtype.name())
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
use super::simd128::convert as fast;
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
use scalar as fast;

/// Portable forms of what has a twin in `simd128`.
pub mod scalar {
    use super::{array, is_same, narrow};
    use crate::kernels::float16::{f32_to_bf16, f32_to_f16};

    /// Portable form of [`super::from_f32`] for BF16.
    pub fn round_bf16(src: &[f32], out: &mut [u8]) {
        narrow(src, out, |v| f32_to_bf16(v).to_le_bytes());
    }

    /// Portable form of [`super::keep_or_round`] for BF16.
    pub fn keep_bf16(result: &[f32], base_f32: &[f32], base: &[u8], out: &mut [u8]) {
        keep(result, base_f32, base, out, f32_to_bf16);
    }

    /// Portable form of [`super::keep_or_round`] for F16.
    pub fn keep_f16(result: &[f32], base_f32: &[f32], base: &[u8], out: &mut [u8]) {
        keep(result, base_f32, base, out, f32_to_f16);
    }

    #[inline(always)]
    fn keep(result: &[f32], base_f32: &[f32], base: &[u8], out: &mut [u8], round: impl Fn(f32) -> u16) {
        let n = result.len();
        assert!(base_f32.len() == n && base.len() == 2 * n && out.len() == 2 * n);
        let bytes = out.chunks_exact_mut(2).zip(base.chunks_exact(2));
        for ((new, old), (&r, &b)) in bytes.zip(result.iter().zip(base_f32)) {
            let old = u16::from_le_bytes(array(old));
            let bits = if is_same(r, b) { old } else { round(r) };
            new.copy_from_slice(&bits.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back(dtype: Dtype, values: &[f32]) -> Vec<f32> {
        let mut bytes = vec![0; values.len() * dtype.bytes().unwrap()];
        from_f32(dtype, values, &mut bytes);
        let mut out = vec![0.0; values.len()];
        to_f32(dtype, &bytes, &mut out);
        out
    }

    #[test]
    fn integers_round_half_to_even_and_saturate() {
        assert_eq!(
            back(Dtype::I8, &[0.5, 1.5, -2.5, 200.0, -200.0]),
            [0.0, 2.0, -2.0, 127.0, -128.0]
        );
        assert_eq!(
            back(Dtype::U16, &[-1.0, 65_535.4, 7e9, f32::NAN]),
            [0.0, 65_535.0, 65_535.0, 0.0]
        );
        assert_eq!(back(Dtype::I64, &[-9.3e18, 1e10]), [-9.223_372e18, 1e10]);
        assert_eq!(back(Dtype::BOOL, &[0.0, -0.0, 0.1, f32::NAN]), [0.0, 0.0, 1.0, 1.0]);
    }

    #[test]
    fn wide_integers_round_once() {
        // 2^53 + 2^29 + 1 lies just above a float32 tie; through float64 it would land on the tie and go down.
        let n: u64 = (1 << 53) + (1 << 29) + 1;
        let mut out = [0.0];
        to_f32(Dtype::U64, &n.to_le_bytes(), &mut out);
        assert_eq!(out[0], 9_007_200_328_482_816.0);
        to_f32(Dtype::I64, &(-(n as i64)).to_le_bytes(), &mut out);
        assert_eq!(out[0], -9_007_200_328_482_816.0);
    }

    #[test]
    fn floats_come_back_and_nan_stays() {
        for dtype in [Dtype::F16, Dtype::BF16, Dtype::F32, Dtype::F64] {
            let values = [0.0, -0.0, 1.5, -2.0, f32::INFINITY, f32::NEG_INFINITY];
            let got = back(dtype, &values);
            assert!(got.iter().zip(values).all(|(a, b)| a.to_bits() == b.to_bits()));
            assert!(back(dtype, &[f32::NAN])[0].is_nan());
        }
        assert_eq!(back(Dtype::F16, &[65_520.0, 1e-8]), [f32::INFINITY, 0.0]);
    }

    #[test]
    fn what_a_nan_carries_is_kept_and_made_quiet() {
        assert_eq!(f64_to_f32(f64::from_bits(0xfff4_5678_9abc_def0)).to_bits(), 0xffe2_b3c4);
        assert_eq!(f32_to_f64(f32::from_bits(0x7f80_1234)).to_bits(), 0x7ff8_0246_8000_0000);
        assert_eq!(f64_to_f32(1e300), f32::INFINITY);
        assert_eq!(f32_to_f64(-0.0).to_bits(), (-0.0f64).to_bits());
    }

    #[test]
    fn unchanged_elements_keep_their_bytes() {
        let base: Vec<u8> = [16_777_217i64, 5, -3].iter().flat_map(|v| v.to_le_bytes()).collect();
        let mut wide = [0.0; 3];
        to_f32(Dtype::I64, &base, &mut wide);
        let mut out = vec![0; 24];
        keep_or_round(Dtype::I64, &[wide[0], 6.0, wide[2]], &wide, &base, &mut out);
        let got: Vec<i64> = out.chunks(8).map(|b| i64::from_le_bytes(array(b))).collect();
        assert_eq!(got, [16_777_217, 6, -3]);

        let base = [0xff, 0x7f, 0x00, 0x80]; // a NaN with payload, and -0.0
        let mut wide = [0.0; 2];
        to_f32(Dtype::BF16, &base, &mut wide);
        let mut out = [0; 4];
        keep_or_round(Dtype::BF16, &[f32::NAN, 0.0], &wide, &base, &mut out);
        assert_eq!(out, base);
    }
}
