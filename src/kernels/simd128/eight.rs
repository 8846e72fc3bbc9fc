//! Eight numbers as four vectors of float64, or two of float32.

use super::{group, load_f32};
use core::arch::wasm32::*;
use std::ops::{Add, Mul, Sub};

/// Twin of [`scalar::F64x8`](crate::kernels::eight::scalar::F64x8).
#[derive(Clone, Copy, Debug)]
pub struct F64x8([v128; 4]);

/// Twin of [`scalar::F32x8`](crate::kernels::eight::scalar::F32x8).
#[derive(Clone, Copy, Debug)]
pub struct F32x8([v128; 2]);

impl F64x8 {
    /// The same number in every lane.
    #[inline(always)]
    pub fn splat(x: f64) -> Self {
        Self([f64x2_splat(x); 4])
    }

    /// These numbers, exactly.
    #[inline(always)]
    pub fn of(x: &[f32; 8]) -> Self {
        F32x8::of(x).widen()
    }

    /// The lanes.
    pub fn lanes(self) -> [f64; 8] {
        let [a, b, c, d] = self.0.map(|v| [f64x2_extract_lane::<0>(v), f64x2_extract_lane::<1>(v)]);
        [a[0], a[1], b[0], b[1], c[0], c[1], d[0], d[1]]
    }

    /// Magnitudes.
    #[inline(always)]
    pub fn abs(self) -> Self {
        let [a, b, c, d] = self.0;
        Self([f64x2_abs(a), f64x2_abs(b), f64x2_abs(c), f64x2_abs(d)])
    }

    /// `other` where it is larger; where one is NaN, what is there already.
    #[inline(always)]
    pub fn max(self, other: Self) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        Self([f64x2_pmax(a, e), f64x2_pmax(b, f), f64x2_pmax(c, g), f64x2_pmax(d, h)])
    }
}

impl Default for F64x8 {
    fn default() -> Self {
        Self::splat(0.0)
    }
}

impl From<[f64; 8]> for F64x8 {
    fn from(x: [f64; 8]) -> Self {
        Self([
            f64x2(x[0], x[1]),
            f64x2(x[2], x[3]),
            f64x2(x[4], x[5]),
            f64x2(x[6], x[7]),
        ])
    }
}

impl Add for F64x8 {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        Self([f64x2_add(a, e), f64x2_add(b, f), f64x2_add(c, g), f64x2_add(d, h)])
    }
}

impl Sub for F64x8 {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        Self([f64x2_sub(a, e), f64x2_sub(b, f), f64x2_sub(c, g), f64x2_sub(d, h)])
    }
}

impl Mul for F64x8 {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        Self([f64x2_mul(a, e), f64x2_mul(b, f), f64x2_mul(c, g), f64x2_mul(d, h)])
    }
}

impl F32x8 {
    /// The same number in every lane.
    #[inline(always)]
    pub fn splat(x: f32) -> Self {
        Self([f32x4_splat(x); 2])
    }

    /// These numbers.
    #[inline(always)]
    pub fn of(x: &[f32; 8]) -> Self {
        Self([load_f32(group(&x[..4])), load_f32(group(&x[4..]))])
    }

    /// The lanes.
    pub fn lanes(self) -> [f32; 8] {
        let four = |v| {
            [
                f32x4_extract_lane::<0>(v),
                f32x4_extract_lane::<1>(v),
                f32x4_extract_lane::<2>(v),
                f32x4_extract_lane::<3>(v),
            ]
        };
        let [a, b] = self.0.map(four);
        [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]]
    }

    /// In float64, exactly.
    #[inline(always)]
    pub fn widen(self) -> F64x8 {
        let [a, b] = self.0;
        F64x8([
            f64x2_promote_low_f32x4(a),
            f64x2_promote_low_f32x4(i64x2_shuffle::<1, 0>(a, a)),
            f64x2_promote_low_f32x4(b),
            f64x2_promote_low_f32x4(i64x2_shuffle::<1, 0>(b, b)),
        ])
    }

    /// Magnitudes.
    #[inline(always)]
    pub fn abs(self) -> Self {
        let [a, b] = self.0;
        Self([f32x4_abs(a), f32x4_abs(b)])
    }

    /// `other` where it is smaller; where one is NaN, what is there already.
    #[inline(always)]
    pub fn min(self, other: Self) -> Self {
        let ([a, b], [c, d]) = (self.0, other.0);
        Self([f32x4_pmin(a, c), f32x4_pmin(b, d)])
    }

    /// `other` where it is larger; where one is NaN, what is there already.
    #[inline(always)]
    pub fn max(self, other: Self) -> Self {
        let ([a, b], [c, d]) = (self.0, other.0);
        Self([f32x4_pmax(a, c), f32x4_pmax(b, d)])
    }
}

impl Add for F32x8 {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        let ([a, b], [c, d]) = (self.0, other.0);
        Self([f32x4_add(a, c), f32x4_add(b, d)])
    }
}
