//! What is in a stream of float32, and how like two streams are: sums in float64, extremes, histogram, cosine.

use super::eight::{F32x8, F64x8};
use super::lanes::{by_eights, count_wild, count_zeros, finite_or, is_finite, tamed, total, Sums, LANES};

/// Counts of a stream, and the sum of its squares.
#[derive(Clone, Debug, Default)]
pub struct Squares {
    at: usize,
    squares: Sums,
    n: u64,
    zeros: u64,
    non_finite: u64,
}

impl Squares {
    /// Takes the next values; true if all of them are finite.
    pub fn feed(&mut self, values: &[f32]) -> bool {
        self.n += values.len() as u64;
        self.zeros += count_zeros(values);
        let before = (self.at, self.squares);
        self.add(values);
        // The square of a finite value is finite in float64, so that only one that is not spoils the sum.
        let finite = total(self.squares).is_finite();
        if !finite {
            (self.at, self.squares) = before;
            self.non_finite += count_wild(values);
            tamed([values], |[v]| [finite_or(v, 0.0)], |[v]| self.add(v));
        }
        finite
    }

    #[inline(never)]
    fn add(&mut self, values: &[f32]) {
        let mut squares = self.squares;
        by_eights(&mut self.at, 0.0, [values], |[v]| {
            let v = F64x8::of(v);
            squares = squares + v * v;
        });
        self.squares = squares;
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

    /// Sum of the squares of the finite values.
    pub fn sum_sq(&self) -> f64 {
        total(self.squares)
    }
}

/// The smallest and the largest finite value of a stream.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    lo: f32,
    hi: f32,
}

impl Default for Range {
    fn default() -> Self {
        Self {
            lo: f32::INFINITY,
            hi: f32::NEG_INFINITY,
        }
    }
}

impl Range {
    /// Takes the next values. `finite`: whether all of them are.
    pub fn feed(&mut self, values: &[f32], finite: bool) {
        if finite {
            self.widen(values);
        } else if let Some(&known) = values.iter().find(|v| is_finite(**v)) {
            tamed([values], |[v]| [finite_or(v, known)], |[v]| self.widen(v));
        }
    }

    #[inline(never)]
    fn widen(&mut self, values: &[f32]) {
        let (mut lo, mut hi) = (F32x8::splat(self.lo), F32x8::splat(self.hi));
        let (eights, rest) = values.as_chunks::<LANES>();
        for eight in eights {
            let v = F32x8::of(eight);
            (lo, hi) = (lo.min(v), hi.max(v));
        }
        let lanes = |v: F32x8, with: fn(f32, f32) -> f32, first| {
            v.lanes().into_iter().chain(rest.iter().copied()).fold(first, with)
        };
        self.lo = lanes(lo, f32::min, f32::INFINITY);
        self.hi = lanes(hi, f32::max, f32::NEG_INFINITY);
    }

    /// Both, if there is a finite value.
    pub fn extremes(&self) -> Option<(f32, f32)> {
        (self.lo <= self.hi).then_some((self.lo, self.hi))
    }

    /// Largest finite magnitude, 0 if there is none.
    pub fn largest(&self) -> f32 {
        self.extremes().map_or(0.0, |(lo, hi)| lo.abs().max(hi.abs()))
    }
}

/// Counts, sums and extremes of a stream.
#[derive(Clone, Debug, Default)]
pub struct Moments {
    at: usize,
    sums: Sums,
    squares: Squares,
    range: Range,
}

impl Moments {
    /// Takes the next values, in pieces of any length.
    pub fn feed(&mut self, values: &[f32]) {
        let finite = self.squares.feed(values);
        self.range.feed(values, finite);
        match finite {
            true => self.add(values),
            false => tamed([values], |[v]| [finite_or(v, 0.0)], |[v]| self.add(v)),
        }
    }

    #[inline(never)]
    fn add(&mut self, values: &[f32]) {
        let mut sums = self.sums;
        by_eights(&mut self.at, 0.0, [values], |[v]| {
            sums = sums + F64x8::of(v);
        });
        self.sums = sums;
    }

    /// Number of values, with the ones that are not finite.
    pub fn n(&self) -> u64 {
        self.squares.n()
    }

    /// Number of values equal to zero.
    pub fn zeros(&self) -> u64 {
        self.squares.zeros()
    }

    /// Number of NaN and infinities.
    pub fn non_finite(&self) -> u64 {
        self.squares.non_finite()
    }

    /// Smallest and largest finite value, if there is one.
    pub fn extremes(&self) -> Option<(f32, f32)> {
        self.range.extremes()
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
        self.range.largest()
    }

    /// Sum of the finite values.
    pub fn sum(&self) -> f64 {
        total(self.sums)
    }

    /// Sum of the squares of the finite values.
    pub fn sum_sq(&self) -> f64 {
        self.squares.sum_sq()
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
        // Equal bits are equal, whatever they stand for; so are 0 and -0.
        self.equal += pairs().filter(|(x, y)| x == y || x.to_bits() == y.to_bits()).count() as u64;
        let both = |a: f32, b: f32| is_finite(a) && is_finite(b);
        if count_wild(a) + count_wild(b) == 0 {
            return self.add(a, b);
        }
        self.non_finite += pairs().filter(|(a, b)| !both(**a, **b)).count() as u64;
        let tame = |[a, b]: [f32; 2]| match both(a, b) {
            true => [a, b],
            false => [0.0; 2],
        };
        tamed([a, b], tame, |[a, b]| self.add(a, b));
    }

    #[inline(never)]
    fn add(&mut self, a: &[f32], b: &[f32]) {
        // Two loops, since the lanes of four sums do not fit the registers.
        let (mut dot, mut apart_sq) = (self.dot, self.apart_sq);
        let mut at = self.at;
        by_eights(&mut at, 0.0, [a, b], |[x, y]| {
            let (x, y) = (F64x8::of(x), F64x8::of(y));
            dot = dot + x * y;
            apart_sq = apart_sq + (x - y) * (x - y);
        });
        (self.dot, self.apart_sq) = (dot, apart_sq);
        let (mut a_sq, mut b_sq) = (self.a_sq, self.b_sq);
        by_eights(&mut self.at, 0.0, [a, b], |[x, y]| {
            let (x, y) = (F64x8::of(x), F64x8::of(y));
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

    /// Number of pairs of equal numbers, or of the same bits.
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
        let mut l = Likeness::default();
        l.feed(&[f32::NAN, f32::NAN, 0.0], &[f32::NAN, -f32::NAN, -0.0]);
        assert_eq!((l.equal(), l.non_finite()), (2, 2));
    }
}
