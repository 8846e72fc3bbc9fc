//! The k-th largest magnitude, exactly, in two passes; and the positions of those that are kept.
//!
//! A float's magnitude bits order like the magnitude, so selection is counting: first the upper 15 bits of the
//! [`key`], then the lower 16 of those that share the bucket where the k-th one lies.

/// The key of every NaN: just above infinity.
pub const NAN_KEY: u32 = 0x7f80_0001;

/// Number of buckets of the first pass.
pub const BUCKETS: usize = 1 << 15;

/// Magnitude as an integer that orders alike: zeros are equal, NaN is above infinity and all NaN are equal.
#[inline(always)]
pub fn key(v: f32) -> u32 {
    (v.to_bits() & 0x7fff_ffff).min(NAN_KEY)
}

/// Counts the upper 15 bits of each key. `counts[4 b + j]`: values of bucket `b`, in four interleaved counters.
///
/// Deltas of bfloat16 models fall into few buckets; four counters keep one increment from waiting for the last.
/// No counter may be near overflow: callers drain them before 2^32 values. Panics unless there are `4 * BUCKETS`.
pub fn count_buckets(values: &[f32], counts: &mut [u32]) {
    let counts: &mut [u32; 4 * BUCKETS] = counts.try_into().expect("four counters per bucket");
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

/// Number of counters of the second pass: lower 16 bits of the key, two signs.
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

/// Second pass over one bucket: `counts[2 * low + sign]` counts its values by the lower 16 bits of the key and by sign
/// bit; `below` takes all values of lower buckets. Panics unless there are [`FINE`] counters.
pub fn scan_bucket(values: &[f32], bucket: u32, counts: &mut [u64], below: &mut Extremes) {
    let counts = counts.try_into().expect("two counters per key of the bucket");
    fast::scan_bucket(values, bucket, counts, below);
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
    use super::{key, Extremes, FINE};

    /// Portable form of [`super::scan_bucket`].
    pub fn scan_bucket(values: &[f32], bucket: u32, counts: &mut [u64; FINE], below: &mut Extremes) {
        let first = bucket << 16;
        // As integers that order like the floats (this is its own inverse), minimum and maximum may be reordered, so
        // that the loop vectorises.
        let ordered = |bits: i32| bits ^ ((bits >> 31) & i32::MAX);
        let (mut lo, mut hi) = (i32::MAX, i32::MIN);
        // Mostly none of sixteen values is hit, and that is seen at once.
        for group in values.chunks(16) {
            let mut hits = 0;
            for &v in group {
                let k = key(v);
                let place = ordered(v.to_bits() as i32);
                hits += u32::from(k >> 16 == bucket);
                lo = lo.min(if k < first { place } else { i32::MAX });
                hi = hi.max(if k < first { place } else { i32::MIN });
            }
            if hits != 0 {
                let in_bucket = group.iter().filter(|v| key(**v) >> 16 == bucket);
                in_bucket.for_each(|&v| count_hit(v, counts));
            }
        }
        if lo <= hi {
            below.add(f32::from_bits(ordered(lo) as u32));
            below.add(f32::from_bits(ordered(hi) as u32));
        }
    }

    /// Counts one value of the bucket.
    #[inline(always)]
    pub(crate) fn count_hit(v: f32, counts: &mut [u64; FINE]) {
        counts[(key(v) as usize & 0xffff) * 2 + usize::from(v.is_sign_negative())] += 1;
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
        let of = |v: f32| counts[(key(v) >> 16) as usize * 4..][..4].iter().sum::<u32>();
        assert_eq!((of(1.0), of(2.0), of(0.0), of(f32::NAN)), (4, 1, 1, 1));
        assert_eq!(counts.iter().sum::<u32>(), 7);
    }

    #[test]
    fn scans_one_bucket_and_what_lies_below() {
        let close = f32::from_bits(1f32.to_bits() + 5);
        let values = [1.0, -close, 0.5, -0.25, 2.0, close, close, f32::NAN];
        let mut counts = vec![0; FINE];
        let mut below = Extremes::NONE;
        scan_bucket(&values, key(1.0) >> 16, &mut counts, &mut below);
        assert_eq!((below.lo, below.hi), (-0.25, 0.5));
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
