//! A binary arithmetic coder with adaptive probabilities, for the small numbers beside the weights: scales, flags,
//! tables.
//!
//! The interval `[low, high]` of 32 bits is cut at `low + (high - low) * p / 2^16`; a one takes the lower part. Equal
//! leading bytes are shifted out. Past the end of the bytes a decoder reads zeros, so an encoder leaves trailing zeros
//! out.

/// A probability that adapts at two speeds: the mean of a quick and a slow estimate, in 16 bits.
///
/// Estimates are kept as what they are above one half, so that models begin as zeros and are not many stores.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bit {
    quick: i16,
    slow: i16,
}

/// An estimate of one half.
const HALF: i32 = 1 << 15;

impl Bit {
    /// Probability of a one in units of 2^-16, between 2^-11 and 1 - 2^-11.
    fn p(self) -> u32 {
        let sum = 2 * HALF + self.quick as i32 + self.slow as i32;
        (sum as u32 >> 1).clamp(32, 65536 - 32)
    }

    fn update(&mut self, bit: bool) {
        let target = if bit { HALF - 1 } else { -HALF };
        self.quick = (self.quick as i32 + ((target - self.quick as i32) >> 4)) as i16;
        self.slow = (self.slow as i32 + ((target - self.slow as i32) >> 6)) as i16;
    }
}

/// The writing side.
pub struct Encoder {
    low: u32,
    high: u32,
    bytes: Vec<u8>,
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            low: 0,
            high: u32::MAX,
            bytes: Vec::new(),
        }
    }
}

impl Encoder {
    /// The bytes; trailing zeros are left out.
    pub fn finish(mut self) -> Vec<u8> {
        // The shortest number that, continued by zeros, lies in the interval.
        for n in 0..=4u32 {
            let mask = u32::MAX.checked_shr(8 * n).unwrap_or(0);
            let value = (self.low as u64 + mask as u64) & !(mask as u64);
            if value <= self.high as u64 {
                self.bytes
                    .extend_from_slice(&(value as u32).to_be_bytes()[..n as usize]);
                break;
            }
        }
        while self.bytes.last() == Some(&0) {
            self.bytes.pop();
        }
        self.bytes
    }
}

/// The reading side. It never fails; what it read is checked by whoever uses it.
pub struct Decoder<'a> {
    low: u32,
    high: u32,
    value: u32,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Decoder<'a> {
    /// A decoder at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        let mut d = Self {
            low: 0,
            high: u32::MAX,
            value: 0,
            bytes,
            at: 0,
        };
        for _ in 0..4 {
            d.shift();
        }
        d
    }

    fn shift(&mut self) {
        self.value = self.value << 8 | self.bytes.get(self.at).copied().unwrap_or(0) as u32;
        self.at += 1;
    }

    /// True when no byte is left that could still have an effect: a sound stream is read to its end.
    pub fn is_exhausted(&self) -> bool {
        self.at >= self.bytes.len()
    }
}

/// Either side of the coder, so that a structure is described once for both directions.
pub trait Coder {
    /// Codes a bit that is one with probability `p / 2^16`: the encoder writes `bit`, the decoder ignores it; both
    /// return what was coded.
    fn code(&mut self, p: u32, bit: bool) -> bool;

    /// Codes a bit with a probability that adapts.
    fn bit(&mut self, model: &mut Bit, bit: bool) -> bool {
        let bit = self.code(model.p(), bit);
        model.update(bit);
        bit
    }

    /// True for a decoder that has read far past its bytes, so that what it gives means nothing.
    fn ran_out(&self) -> bool {
        false
    }
}

fn cut(low: u32, high: u32, p: u32) -> u32 {
    low + (((high - low) as u64 * p as u64) >> 16) as u32
}

impl Coder for Encoder {
    fn code(&mut self, p: u32, bit: bool) -> bool {
        let mid = cut(self.low, self.high, p);
        if bit {
            self.high = mid;
        } else {
            self.low = mid + 1;
        }
        while (self.low ^ self.high) >> 24 == 0 {
            self.bytes.push((self.high >> 24) as u8);
            self.low <<= 8;
            self.high = self.high << 8 | 255;
        }
        bit
    }
}

impl Coder for Decoder<'_> {
    fn ran_out(&self) -> bool {
        self.at > self.bytes.len() + 8
    }

    fn code(&mut self, p: u32, _: bool) -> bool {
        let mid = cut(self.low, self.high, p);
        let bit = self.value <= mid;
        if bit {
            self.high = mid;
        } else {
            self.low = mid + 1;
        }
        while (self.low ^ self.high) >> 24 == 0 {
            self.low <<= 8;
            self.high = self.high << 8 | 255;
            self.shift();
        }
        bit
    }
}

/// Counts bits instead of writing them, in units of 2^-8 bit.
#[derive(Default)]
pub struct Meter {
    /// Length so far in 2^-8 bits.
    pub q8: u64,
}

impl Coder for Meter {
    fn code(&mut self, p: u32, bit: bool) -> bool {
        let p = if bit { p } else { 65536 - p };
        self.q8 += ((16 << super::log2::FRACTION) - super::log2::log2_q8(p as u64)) as u64;
        bit
    }
}

/// Number of distinct sizes (bit lengths) of an [`Int`].
const SIZES: usize = 17;

/// A model of signed numbers in `-65535..=65535` that are mostly small: bit length in unary, sign, then the bits below
/// the leading one, of which the first two have probabilities of their own.
#[derive(Clone, Default)]
pub struct Int {
    size: [Bit; SIZES],
    sign: [Bit; 3],
    top: [[Bit; 4]; SIZES],
    low: [Bit; SIZES],
}

impl Int {
    /// Codes `value`, which the decoder ignores and returns.
    pub fn code(&mut self, coder: &mut dyn Coder, value: i32) -> i32 {
        let magnitude = value.unsigned_abs();
        let len = (32 - magnitude.leading_zeros()) as usize;
        let mut size = 0;
        while size < SIZES - 1 && coder.bit(&mut self.size[size], size < len) {
            size += 1;
        }
        if size == 0 {
            return 0;
        }
        let negative = coder.bit(&mut self.sign[size.min(3) - 1], value < 0);
        let mut m = 1u32;
        for place in (0..size - 1).rev() {
            let depth = size - 2 - place;
            let model = match depth {
                0 | 1 => &mut self.top[size][(m & ((1 << depth) - 1)) as usize + depth],
                _ => &mut self.low[size],
            };
            m = m << 1 | coder.bit(model, magnitude >> place & 1 == 1) as u32;
        }
        if negative {
            -(m as i32)
        } else {
            m as i32
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers() -> impl Iterator<Item = i32> {
        (0..3000i32).map(|i| match i % 7 {
            0 => i - 1500,
            1 => (i % 5) - 2,
            2 => 65535 - 3 * i,
            _ => 0,
        })
    }

    #[test]
    fn numbers_come_back_and_the_meter_is_right() {
        let (mut e, mut m) = (Encoder::default(), Int::default());
        let (mut meter, mut m2) = (Meter::default(), Int::default());
        for n in numbers() {
            m.code(&mut e, n);
            m2.code(&mut meter, n);
        }
        let bytes = e.finish();
        let bits = meter.q8 as f64 / 256.0;
        assert!(
            (bytes.len() as f64 * 8.0 / bits - 1.0).abs() < 0.01,
            "{} {bits}",
            bytes.len() * 8
        );
        let (mut d, mut m) = (Decoder::new(&bytes), Int::default());
        for n in numbers() {
            assert_eq!(m.code(&mut d, 0), n);
        }
        assert!(d.is_exhausted());
    }

    #[test]
    fn nothing_takes_no_bytes_and_zeros_hardly_any() {
        assert!(Encoder::default().finish().is_empty());
        let (mut e, mut m) = (Encoder::default(), Int::default());
        for _ in 0..10_000 {
            m.code(&mut e, 0);
        }
        assert!(e.finish().len() < 20);
    }

    #[test]
    fn any_bytes_decode_to_something() {
        let bytes: Vec<u8> = (0..999u32).map(|i| ((i * i) >> 3) as u8).collect();
        let (mut d, mut m) = (Decoder::new(&bytes), Int::default());
        for _ in 0..20_000 {
            assert!(m.code(&mut d, 0).abs() <= 65535);
        }
    }
}
