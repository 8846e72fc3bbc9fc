//! Eight numbers at a time, lane by lane: what sums in float64 are made of.
//!
//! In wasm with simd128 these are vectors (`simd128::eight`), elsewhere arrays. Every operation is one of IEEE 754 on each
//! lane, so both give the same bits.

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
pub use scalar::{F32x8, F64x8};

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub use super::simd128::eight::{F32x8, F64x8};

/// The portable form.
pub mod scalar {
    use std::ops::{Add, Mul, Sub};

    /// Eight float64.
    #[derive(Clone, Copy, Debug, Default)]
    pub struct F64x8([f64; 8]);

    /// Eight float32.
    #[derive(Clone, Copy, Debug)]
    pub struct F32x8([f32; 8]);

    impl F64x8 {
        /// The same number in every lane.
        pub fn splat(x: f64) -> Self {
            Self([x; 8])
        }

        /// These numbers, exactly.
        pub fn of(x: &[f32; 8]) -> Self {
            Self(x.map(f64::from))
        }

        /// The lanes.
        pub fn lanes(self) -> [f64; 8] {
            self.0
        }

        /// Magnitudes.
        pub fn abs(self) -> Self {
            Self(self.0.map(f64::abs))
        }

        /// `other` where it is larger; where one is NaN, what is there already.
        pub fn max(self, other: Self) -> Self {
            self.with(other, |a, b| if b > a { b } else { a })
        }

        fn with(self, other: Self, f: impl Fn(f64, f64) -> f64) -> Self {
            Self(std::array::from_fn(|j| f(self.0[j], other.0[j])))
        }
    }

    impl From<[f64; 8]> for F64x8 {
        fn from(lanes: [f64; 8]) -> Self {
            Self(lanes)
        }
    }

    impl Add for F64x8 {
        type Output = Self;
        fn add(self, other: Self) -> Self {
            self.with(other, |a, b| a + b)
        }
    }

    impl Sub for F64x8 {
        type Output = Self;
        fn sub(self, other: Self) -> Self {
            self.with(other, |a, b| a - b)
        }
    }

    impl Mul for F64x8 {
        type Output = Self;
        fn mul(self, other: Self) -> Self {
            self.with(other, |a, b| a * b)
        }
    }

    impl F32x8 {
        /// The same number in every lane.
        pub fn splat(x: f32) -> Self {
            Self([x; 8])
        }

        /// These numbers.
        pub fn of(x: &[f32; 8]) -> Self {
            Self(*x)
        }

        /// The lanes.
        pub fn lanes(self) -> [f32; 8] {
            self.0
        }

        /// In float64, exactly.
        pub fn widen(self) -> F64x8 {
            F64x8::of(&self.0)
        }

        /// Magnitudes.
        pub fn abs(self) -> Self {
            Self(self.0.map(f32::abs))
        }

        /// `other` where it is smaller; where one is NaN, what is there already.
        pub fn min(self, other: Self) -> Self {
            Self(std::array::from_fn(|j| {
                if other.0[j] < self.0[j] {
                    other.0[j]
                } else {
                    self.0[j]
                }
            }))
        }

        /// `other` where it is larger; where one is NaN, what is there already.
        pub fn max(self, other: Self) -> Self {
            Self(std::array::from_fn(|j| {
                if other.0[j] > self.0[j] {
                    other.0[j]
                } else {
                    self.0[j]
                }
            }))
        }
    }
    impl Add for F32x8 {
        type Output = Self;
        fn add(self, other: Self) -> Self {
            Self(std::array::from_fn(|j| self.0[j] + other.0[j]))
        }
    }
}
