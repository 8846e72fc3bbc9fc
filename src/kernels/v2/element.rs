//! Elements as integers in numeric order, and the distance between two of them in representable steps.
//!
//! For a float of `b` bits `key(x) = x` for sign 0 and `-1 - (x without its sign)` for sign 1: a bijection of bit
//! patterns onto integers, NaN payloads, infinities and both zeros included. Integers are their own key. The distance
//! `key(fine-tune) - key(base)` is taken modulo 2^b and read as a signed number.

use crate::dtype::Dtype;

/// How the bits of an element are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Width in bits: 8, 16, 32 or 64.
    pub bits: u32,
    /// Position of the exponent's lowest bit.
    pub mantissa: u32,
    /// Largest exponent; 0 for integers, which have none.
    pub exponent_mask: u32,
    /// Elements of this width per element of the dtype (2 for complex numbers).
    pub parts: u64,
}

impl Layout {
    /// The layout of a dtype. Packed types are read as bytes, complex numbers as pairs of floats.
    pub fn of(dtype: Dtype) -> Self {
        let (bits, mantissa, exponent) = match dtype {
            Dtype::F64 => (64, 52, 11),
            Dtype::F32 | Dtype::C64 => (32, 23, 8),
            Dtype::BF16 => (16, 7, 8),
            Dtype::F16 => (16, 10, 5),
            Dtype::F8_E5M2 | Dtype::F8_E5M2FNUZ => (8, 2, 5),
            Dtype::F8_E4M3 | Dtype::F8_E4M3FNUZ => (8, 3, 4),
            Dtype::I64 | Dtype::U64 => (64, 0, 0),
            Dtype::I32 | Dtype::U32 => (32, 0, 0),
            Dtype::I16 | Dtype::U16 => (16, 0, 0),
            Dtype::BOOL | Dtype::U8 | Dtype::I8 | Dtype::F8_E8M0 => (8, 0, 0),
            Dtype::F4 | Dtype::F6_E2M3 | Dtype::F6_E3M2 => (8, 0, 0),
        };
        Self {
            bits,
            mantissa,
            exponent_mask: (1 << exponent) - 1,
            parts: if dtype == Dtype::C64 { 2 } else { 1 },
        }
    }

    /// The same, with a width that the compiler knows: for code that is compiled once for each.
    #[inline(always)]
    pub fn of_words<W: Word>(self) -> Self {
        debug_assert_eq!(self.bits, W::BITS);
        Self { bits: W::BITS, ..self }
    }

    /// Bytes per element.
    pub fn bytes(self) -> usize {
        (self.bits / 8) as usize
    }

    /// What is added to `log2 |difference|` to get the exponent field at which that difference is one step: bias and
    /// mantissa bits of a float, 1 for integers.
    pub fn unit_exponent(self) -> i32 {
        if self.is_float() {
            (self.exponent_mask >> 1) as i32 + self.mantissa as i32
        } else {
            1
        }
    }

    /// The value of a bit pattern as float32, as if it had no special values: for statistics and predictions.
    #[inline(always)]
    pub fn value(self, bits: u64) -> f32 {
        match (self.bits, self.mantissa) {
            (16, 7) => f32::from_bits((bits as u32) << 16),
            (16, 10) => half::f16::from_bits(bits as u16).to_f32(),
            (32, 23) => f32::from_bits(bits as u32),
            (64, 52) => f64::from_bits(bits) as f32,
            (8, 2 | 3) => {
                let (e, m) = (self.exponent(bits), bits as u32 & ((1 << self.mantissa) - 1));
                let hidden = ((bits as u32 >> self.mantissa) & self.exponent_mask != 0) as u32;
                let x = (m | hidden << self.mantissa) as f32 * power_of_two(e - self.unit_exponent());
                if bits & 128 != 0 {
                    -x
                } else {
                    x
                }
            }
            _ => self.wrap(bits as i64) as f32,
        }
    }

    /// True for floats whose exponent field is the largest: infinities and NaN in the types that have them.
    #[inline(always)]
    pub fn is_special(self, bits: u64) -> bool {
        self.is_float() && (bits >> self.mantissa) as u32 & self.exponent_mask == self.exponent_mask
    }

    /// True for floats: their sign is apart from their magnitude.
    pub fn is_float(self) -> bool {
        self.exponent_mask != 0
    }

    /// The exponent field of a bit pattern, at least 1 because subnormal numbers have the steps of exponent 1.
    #[inline(always)]
    pub fn exponent(self, bits: u64) -> i32 {
        (((bits >> self.mantissa) as u32 & self.exponent_mask) as i32).max(1)
    }

    /// `x` modulo 2^bits as a signed number.
    #[inline(always)]
    pub fn wrap(self, x: i64) -> i64 {
        let spare = 64 - self.bits;
        (x << spare) >> spare
    }

    /// The key of a bit pattern; see the module.
    #[inline(always)]
    pub fn key(self, bits: u64) -> i64 {
        let x = self.wrap(bits as i64);
        if self.is_float() {
            fold(x, self.bits)
        } else {
            x
        }
    }

    /// The bit pattern of a key (taken modulo 2^bits).
    #[inline(always)]
    pub fn unkey(self, key: i64) -> u64 {
        let x = self.wrap(key);
        let x = if self.is_float() { fold(x, self.bits) } else { x };
        x as u64 & (u64::MAX >> (64 - self.bits))
    }
}

/// `2^n` as float32, with `n` clamped to the normal range.
#[inline(always)]
pub fn power_of_two(n: i32) -> f32 {
    f32::from_bits(((n.clamp(-126, 127) + 127) as u32) << 23)
}

/// Flips all bits but the sign of negative numbers; its own inverse.
#[inline(always)]
fn fold(x: i64, bits: u32) -> i64 {
    x ^ ((x >> 63) & (i64::MAX >> (64 - bits)))
}

/// An unsigned little-endian word of an element's width.
pub trait Word: Copy + Default + 'static {
    /// Width in bits.
    const BITS: u32;
    /// Element `i` of `bytes`.
    fn get(bytes: &[u8], i: usize) -> u64;
    /// Stores the low bits of `value` as element `i` of `bytes`.
    fn put(bytes: &mut [u8], i: usize, value: u64);
}

macro_rules! word {
    ($t:ty, $n:literal) => {
        impl Word for $t {
            const BITS: u32 = 8 * $n;
            #[inline(always)]
            fn get(bytes: &[u8], i: usize) -> u64 {
                let mut b = [0; $n];
                b.copy_from_slice(&bytes[i * $n..i * $n + $n]);
                <$t>::from_le_bytes(b) as u64
            }
            #[inline(always)]
            fn put(bytes: &mut [u8], i: usize, value: u64) {
                bytes[i * $n..i * $n + $n].copy_from_slice(&(value as $t).to_le_bytes());
            }
        }
    };
}
word!(u8, 1);
word!(u16, 2);
word!(u32, 4);
word!(u64, 8);

/// The word in these bytes, 8 at most.
pub fn word(bytes: &[u8]) -> u64 {
    if let Ok(two) = bytes.try_into() {
        return u16::from_le_bytes(two) as u64;
    }
    let mut b = [0; 8];
    b[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPES: [Dtype; 7] = [
        Dtype::F64,
        Dtype::F32,
        Dtype::BF16,
        Dtype::F16,
        Dtype::F8_E4M3,
        Dtype::I16,
        Dtype::U8,
    ];

    #[test]
    fn keys_are_a_bijection() {
        for d in TYPES {
            let l = Layout::of(d);
            let step = if l.bits <= 16 { 1 } else { 0x0123_4567_89ab_cdef };
            let mut x = 0u64;
            for _ in 0..1 << 16 {
                let pattern = x & (u64::MAX >> (64 - l.bits));
                assert_eq!(l.unkey(l.key(pattern)), pattern, "{d:?}");
                x = x.wrapping_add(step);
            }
        }
    }

    #[test]
    fn float_keys_are_in_numeric_order() {
        let l = Layout::of(Dtype::F32);
        let values = [
            f32::NEG_INFINITY,
            -2.0,
            -1.5,
            -1e-40,
            -0.0,
            0.0,
            1e-40,
            1.0,
            f32::MAX,
            f32::INFINITY,
        ];
        let keys: Vec<_> = values.iter().map(|v| l.key(v.to_bits() as u64)).collect();
        assert!(keys.windows(2).all(|w| w[0] < w[1]));
        assert_eq!(l.key((-0.0f32).to_bits() as u64), -1);
        assert_eq!(l.key(1) - l.key(0), 1);
    }

    #[test]
    fn exponents_of_subnormals_are_one() {
        let l = Layout::of(Dtype::BF16);
        assert_eq!(l.exponent(0), 1);
        assert_eq!(l.exponent(0x8001), 1);
        assert_eq!(l.exponent(0x3f80), 127);
        assert_eq!(Layout::of(Dtype::I32).exponent(u64::MAX), 1);
    }
}
