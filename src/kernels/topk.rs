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
    let counts: &mut [u64; FINE] = counts.try_into().expect("two counters per key of the bucket");
    let first = bucket << 16;
    for group in values.chunks(16) {
        let mut hits = 0;
        for &v in group {
            let k = key(v);
            hits |= u32::from(k.wrapping_sub(first) < 1 << 16);
            below.lo = if k < first && v < below.lo { v } else { below.lo };
            below.hi = if k < first && v > below.hi { v } else { below.hi };
        }
        if hits != 0 {
            for &v in group {
                let low = key(v).wrapping_sub(first);
                if low < 1 << 16 {
                    counts[low as usize * 2 + usize::from(v.is_sign_negative())] += 1;
                }
            }
        }
    }
}

/// Positions of the values whose key is at least `floor`, ascending. Returns how many there are.
///
/// `hits` must be at least as long as `values`; entries beyond the number returned are scratch.
pub fn select(values: &[f32], floor: u32, hits: &mut [u32]) -> usize {
    assert!(hits.len() >= values.len());
    let mut n = 0;
    for (i, &v) in values.iter().enumerate() {
        hits[n] = i as u32;
        n += usize::from(key(v) >= floor);
    }
    n
}

/// How many values have exactly this key.
pub fn count_key(values: &[f32], wanted: u32) -> usize {
    values.iter().map(|&v| u32::from(key(v) == wanted)).sum::<u32>() as usize
}
