//! The k-th largest magnitude, exactly, by counting; and the positions of those that are kept.
//!
//! A float's magnitude bits order like the magnitude, so selection is counting: first the upper 15 bits of the
//! [`key`], then the lower 16 of those that share the bucket where the k-th one lies.

/// The key of every NaN: just above infinity.
pub const NAN_KEY: u32 = 0x7f80_0001;

/// Number of buckets of a coarse count: of all values, or of those that were set aside.
pub const BUCKETS: usize = 1 << 15;

/// Magnitude as an integer that orders alike: zeros are equal, NaN is above infinity and all NaN are equal.
#[inline(always)]
pub fn key(v: f32) -> u32 {
    (v.to_bits() & 0x7fff_ffff).min(NAN_KEY)
}

/// Counts the upper 15 bits of each key. `counts[4 b + j]`: values of bucket `b`, in four interleaved counters.
///
/// Deltas of bfloat16 models fall into few buckets; four counters keep one increment from waiting for the last.
/// Panics unless there are `4 * BUCKETS`.
pub fn count_buckets(values: &[f32], counts: &mut [u64]) {
    let counts: &mut [u64; 4 * BUCKETS] = counts.try_into().expect("four counters per bucket");
    let fours = values.chunks_exact(4);
    for &v in fours.remainder() {
        counts[(key(v) >> 16) as usize * 4] += 1;
    }
    for four in fours {
        for (j, &v) in four.iter().enumerate() {
            counts[(key(v) >> 16) as usize * 4 + j] += 1;
        }
    }
}

/// Number of counters for one bucket: lower 16 bits of the key, two signs.
pub const FINE: usize = 2 << 16;

/// Smallest and largest of some values; infinity and -infinity while there are none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extremes {
    /// The smallest value.
    pub lo: f32,
    /// The largest value.
    pub hi: f32,
}

impl Extremes {
    /// Of no values.
    pub const NONE: Self = Self {
        lo: f32::INFINITY,
        hi: f32::NEG_INFINITY,
    };

    /// Takes one more value. NaN is passed over.
    #[inline(always)]
    pub fn add(&mut self, v: f32) {
        self.lo = if v < self.lo { v } else { self.lo };
        self.hi = if v > self.hi { v } else { self.hi };
    }
}

/// Values whose keys lie in a range, in order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Between {
    /// The lowest key of the range.
    pub first: u32,
    /// The highest.
    pub last: u32,
    /// Number of values seen whose key is higher.
    pub above: u64,
    /// Of those whose key is lower.
    pub below: Extremes,
}

impl Between {
    /// Every value.
    pub const ALL: Self = Self {
        first: 0,
        last: NAN_KEY,
        above: 0,
        below: Extremes::NONE,
    };

    /// Copies the values of the range to the front of `hits`; returns how many there are. At most 2^31 values.
    ///
    /// `hits` must be at least as long as `values`.
    pub fn gather(&mut self, values: &[f32], hits: &mut [f32]) -> usize {
        fast::gather(self, values, hits)
    }
}

/// Counts values of one bucket: `counts[2 * low + sign]`, by the lower 16 bits of the key and the sign bit. Panics unless
/// there are [`FINE`] counters.
pub fn count_fine(values: &[f32], counts: &mut [u64]) {
    let counts: &mut [u64; FINE] = counts.try_into().expect("two counters per key of the bucket");
    for &v in values {
        counts[(key(v) as usize & 0xffff) * 2 + usize::from(v.is_sign_negative())] += 1;
    }
}

/// Positions of the values whose key is at least `floor`, ascending. Returns how many there are.
///
/// `hits` must be at least as long as `values`; entries beyond the number returned are scratch.
pub fn select(values: &[f32], floor: u32, hits: &mut [u32]) -> usize {
    fast::select(values, floor, hits)
}

/// How many values have exactly this key; at most 2^32 values.
pub fn count_key(values: &[f32], wanted: u32) -> usize {
    values.iter().map(|&v| u32::from(key(v) == wanted)).sum::<u32>() as usize
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
use super::simd128::topk as fast;
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
use scalar as fast;

/// Portable forms of what has a twin in `simd128`.
pub mod scalar {
    use super::{key, Between};

    /// Portable form of [`Between::gather`].
    pub fn gather(between: &mut Between, values: &[f32], hits: &mut [f32]) -> usize {
        assert!(hits.len() >= values.len());
        let mut n = 0;
        for &v in values {
            let k = key(v);
            hits[n] = v;
            n += usize::from(k >= between.first && k <= between.last);
            between.above += u64::from(k > between.last);
            if k < between.first {
                between.below.add(v);
            }
        }
        n
    }

    /// Portable form of [`super::select`].
    pub fn select(values: &[f32], floor: u32, hits: &mut [u32]) -> usize {
        assert!(hits.len() >= values.len());
        let mut n = 0;
        for (i, &v) in values.iter().enumerate() {
            hits[n] = i as u32;
            n += usize::from(key(v) >= floor);
        }
        n
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_order_like_magnitudes() {
        let ascending = [0.0, 1e-45, 1e-38, 1.0, -1.5, 3e38, f32::INFINITY, f32::NAN];
        assert!(ascending.windows(2).all(|w| key(w[0]) < key(w[1])));
        assert_eq!(key(-0.0), 0);
        assert_eq!(key(-f32::NAN), NAN_KEY);
        assert_eq!(key(f32::from_bits(0x7fff_ffff)), NAN_KEY);
    }

    #[test]
    fn counts_buckets_in_four_counters() {
        let mut counts = vec![0; 4 * BUCKETS];
        count_buckets(&[1.0, -1.0, 1.0, 2.0, 1.0, -0.0, f32::NAN], &mut counts);
        let of = |v: f32| counts[(key(v) >> 16) as usize * 4..][..4].iter().sum::<u64>();
        assert_eq!((of(1.0), of(2.0), of(0.0), of(f32::NAN)), (4, 1, 1, 1));
        assert_eq!(counts.iter().sum::<u64>(), 7);
    }

    #[test]
    fn gathers_one_bucket_and_counts_it() {
        let close = f32::from_bits(1f32.to_bits() + 5);
        let values = [1.0, -close, 0.5, -0.25, 2.0, close, close, f32::NAN];
        let first = key(1.0);
        let mut between = Between {
            first,
            last: first | 0xffff,
            above: 1,
            below: Extremes::NONE,
        };
        let mut hits = [0.0; 8];
        let n = between.gather(&values, &mut hits);
        assert_eq!(hits[..n], [1.0, -close, close, close]);
        assert_eq!((between.above, between.below.lo, between.below.hi), (3, -0.25, 0.5));
        let mut counts = vec![0; FINE];
        count_fine(&hits[..n], &mut counts);
        assert_eq!((counts[0], counts[1], counts[10], counts[11]), (1, 0, 2, 1));
        assert_eq!(counts.iter().sum::<u64>(), 4);
    }

    #[test]
    fn selects_at_and_above_the_floor() {
        let values = [1.0, -3.0, 0.0, f32::NAN, 2.0, -2.0];
        let mut hits = [0; 6];
        let n = select(&values, key(2.0), &mut hits);
        assert_eq!(hits[..n], [1, 3, 4, 5]);
        assert_eq!(select(&values, NAN_KEY + 1, &mut hits), 0);
        assert_eq!(count_key(&values, key(2.0)), 2);
    }
}
