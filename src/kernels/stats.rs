//! What is in a stream of float32, and how like two streams are: sums in float64, extremes, histogram, cosine.

use super::eight::{F32x8, F64x8};
use super::lanes::{by_eights, count_wild, count_zeros, is_finite, tame, total, Eight, Sums, LANES};

/// Counts, sums and extremes of a stream.
#[derive(Clone, Debug)]
pub struct Moments {
    at: usize,
    sums: Sums,
    squares: Sums,
    lo: f32,
    hi: f32,
    n: u64,
    zeros: u64,
    non_finite: u64,
}

impl Default for Moments {
    fn default() -> Self {
        Self {
            at: 0,
            sums: Sums::default(),
            squares: Sums::default(),
            lo: f32::INFINITY,
            hi: f32::NEG_INFINITY,
            n: 0,
            zeros: 0,
            non_finite: 0,
        }
    }
}

impl Moments {
    /// Takes the next values.
    pub fn feed(&mut self, values: &[f32]) {
        let wild = count_wild(values);
        self.n += values.len() as u64;
        self.zeros += count_zeros(values);
        self.non_finite += wild;
        if wild == 0 {
            self.add::<false>(values);
        } else {
            self.add::<true>(values);
        }
    }

    #[inline(always)]
    fn add<const WILD: bool>(&mut self, values: &[f32]) {
        let (mut sums, mut squares) = (self.sums, self.squares);
        by_eights(&mut self.at, 0.0, [values], |[v]| {
            let v = tame::<WILD>(v, 0.0).widen();
            sums = sums + v;
            squares = squares + v * v;
        });
        (self.sums, self.squares) = (sums, squares);
        let (mut lo, mut hi) = (F32x8::splat(self.lo), F32x8::splat(self.hi));
        let mut widen = |eight: &Eight| {
            let v = |instead| tame::<WILD>(eight, instead);
            lo = lo.min(v(f32::INFINITY));
            hi = hi.max(v(f32::NEG_INFINITY));
        };
        let eights = values.chunks_exact(LANES);
        eights.remainder().iter().for_each(|&v| widen(&[v; LANES]));
        eights.filter_map(|eight| eight.try_into().ok()).for_each(widen);
        self.lo = lo.lanes().into_iter().fold(f32::INFINITY, f32::min);
        self.hi = hi.lanes().into_iter().fold(f32::NEG_INFINITY, f32::max);
    }

    /// Number of values, with the ones that are not finite.
    pub fn n(&self) -> u64 {
        self.n
    }

    /// Number of values equal to zero.
    pub fn zeros(&self) -> u64 {
        self.zeros
    }

    /// Number of NaN and infinities.
    pub fn non_finite(&self) -> u64 {
        self.non_finite
    }

    /// Smallest and largest finite value, if there is one.
    pub fn extremes(&self) -> Option<(f32, f32)> {
        (self.lo <= self.hi).then_some((self.lo, self.hi))
    }

    /// Smallest finite value, if there is one.
    pub fn min(&self) -> Option<f32> {
        self.extremes().map(|(lo, _)| lo)
    }

    /// Largest finite value, if there is one.
    pub fn max(&self) -> Option<f32> {
        self.extremes().map(|(_, hi)| hi)
    }

    /// Largest finite magnitude, 0 if there is none.
    pub fn largest(&self) -> f32 {
        self.extremes().map_or(0.0, |(lo, hi)| lo.abs().max(hi.abs()))
    }

    /// Sum of the finite values.
    pub fn sum(&self) -> f64 {
        total(self.sums)
    }

    /// Sum of the squares of the finite values.
    pub fn sum_sq(&self) -> f64 {
        total(self.squares)
    }
}

/// Adds the finite values of `values` to `counts.len()` equal bins over `[lo, hi]`; values outside fall into the end bins.
///
/// Nothing is counted if there are no bins, or unless `lo < hi` and both are finite.
pub fn histogram(values: &[f32], lo: f32, hi: f32, counts: &mut [u64]) {
    let n = counts.len();
    let width = f64::from(hi) - f64::from(lo);
    if n == 0 || !(width > 0.0 && width.is_finite()) {
        return;
    }
    let per_unit = n as f64 / width;
    for &v in values.iter().filter(|v| is_finite(**v)) {
        // `as` saturates, so what lies below falls into bin 0.
        let bin = ((f64::from(v) - f64::from(lo)) * per_unit) as usize;
        counts[bin.min(n - 1)] += 1;
    }
}

/// Sums for distance and cosine of two streams. Pairs with a value that is not finite are left out and counted.
#[derive(Clone, Debug, Default)]
pub struct Likeness {
    at: usize,
    dot: Sums,
    a_sq: Sums,
    b_sq: Sums,
    apart_sq: Sums,
    n: u64,
    equal: u64,
    non_finite: u64,
}

impl Likeness {
    /// Takes the next values of both. Panics if the lengths differ.
    pub fn feed(&mut self, a: &[f32], b: &[f32]) {
        assert_eq!(a.len(), b.len());
        let pairs = || a.iter().zip(b);
        self.n += a.len() as u64;
        self.equal += pairs().filter(|(x, y)| x == y).count() as u64;
        let wild = if count_wild(a) + count_wild(b) == 0 {
            0
        } else {
            pairs().filter(|(x, y)| !is_finite(**x) || !is_finite(**y)).count() as u64
        };
        self.non_finite += wild;
        if wild == 0 {
            self.add::<false>(a, b);
        } else {
            self.add::<true>(a, b);
        }
    }

    #[inline(always)]
    fn add<const WILD: bool>(&mut self, a: &[f32], b: &[f32]) {
        let pair = |x: &Eight, y: &Eight| {
            if !WILD {
                return (F64x8::of(x), F64x8::of(y));
            }
            let (mut x, mut y) = (*x, *y);
            for (x, y) in x.iter_mut().zip(&mut y) {
                if !is_finite(*x) || !is_finite(*y) {
                    (*x, *y) = (0.0, 0.0);
                }
            }
            (F64x8::of(&x), F64x8::of(&y))
        };
        // Two loops, since the lanes of four sums do not fit the registers.
        let (mut dot, mut apart_sq) = (self.dot, self.apart_sq);
        let mut at = self.at;
        by_eights(&mut at, 0.0, [a, b], |[x, y]| {
            let (x, y) = pair(x, y);
            dot = dot + x * y;
            apart_sq = apart_sq + (x - y) * (x - y);
        });
        (self.dot, self.apart_sq) = (dot, apart_sq);
        let (mut a_sq, mut b_sq) = (self.a_sq, self.b_sq);
        by_eights(&mut self.at, 0.0, [a, b], |[x, y]| {
            let (x, y) = pair(x, y);
            a_sq = a_sq + x * x;
            b_sq = b_sq + y * y;
        });
        (self.a_sq, self.b_sq) = (a_sq, b_sq);
    }

    /// Number of pairs.
    pub fn n(&self) -> u64 {
        self.n
    }

    /// Sum of the products.
    pub fn dot(&self) -> f64 {
        total(self.dot)
    }

    /// Sums of the squares of the first and of the second stream.
    pub fn squares(&self) -> (f64, f64) {
        (total(self.a_sq), total(self.b_sq))
    }

    /// Sum of the squared differences.
    pub fn apart_sq(&self) -> f64 {
        total(self.apart_sq)
    }

    /// Number of pairs of equal numbers; NaN equals nothing.
    pub fn equal(&self) -> u64 {
        self.equal
    }

    /// Number of pairs in which a value is not finite.
    pub fn non_finite(&self) -> u64 {
        self.non_finite
    }

    /// The cosine; `None` if one of the two is all zero.
    pub fn cosine(&self) -> Option<f64> {
        let (a, b) = self.squares();
        let norm = a.sqrt() * b.sqrt();
        (norm > 0.0).then(|| (self.dot() / norm).clamp(-1.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::super::lanes::tests::sample;
    use super::*;

    #[test]
    fn moments_leave_out_what_is_not_finite() {
        let mut m = Moments::default();
        assert_eq!((m.extremes(), m.largest()), (None, 0.0));
        m.feed(&[1.0, f32::NAN, -3.0, 0.0, -0.0, f32::INFINITY, 2.0]);
        assert_eq!((m.n(), m.zeros(), m.non_finite()), (7, 2, 2));
        assert_eq!((m.sum(), m.sum_sq()), (0.0, 14.0));
        assert_eq!((m.extremes(), m.largest()), (Some((-3.0, 2.0)), 3.0));
    }

    #[test]
    fn histogram_puts_the_ends_into_the_end_bins() {
        let mut counts = [0; 4];
        histogram(
            &[-1.0, -2.0, 1.0, 9.0, 0.0, -0.1, f32::NAN, f32::INFINITY],
            -1.0,
            1.0,
            &mut counts,
        );
        assert_eq!(counts, [2, 1, 1, 2]);
        histogram(&[1.0], 1.0, 1.0, &mut counts);
        histogram(&[1.0], f32::NAN, 1.0, &mut counts);
        histogram(&[1.0], 0.0, 1.0, &mut []);
        assert_eq!(counts, [2, 1, 1, 2]);
    }

    #[test]
    fn cosine_of_equal_opposite_and_nothing() {
        let a = sample(100);
        let b: Vec<f32> = a.iter().map(|v| -2.0 * v).collect();
        let mut l = Likeness::default();
        l.feed(&a, &b);
        assert_eq!((l.cosine(), l.equal(), l.n()), (Some(-1.0), 0, 100));
        let mut l = Likeness::default();
        l.feed(&a, &a);
        assert_eq!((l.cosine(), l.apart_sq(), l.equal()), (Some(1.0), 0.0, 100));
        let mut l = Likeness::default();
        l.feed(&[0.0, f32::NAN], &[1.0, 1.0]);
        assert_eq!((l.cosine(), l.non_finite()), (None, 1));
    }
}
