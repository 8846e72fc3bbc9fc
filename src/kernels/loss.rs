//! How far decoded values lie from the true ones, in float64.

use super::eight::{F32x8, F64x8};
use super::lanes::{by_eights, count_wild, finite_or, is_finite, tamed, total, Sums};

/// How far decoded values lie from the true ones. Infinities and NaN that come back as they are count as no error.
#[derive(Clone, Debug, Default)]
pub struct ErrorSum {
    at: usize,
    errors: Sums,
    largest: Sums,
}

impl ErrorSum {
    /// Takes the next values with what they are decoded to. Panics if the lengths differ.
    pub fn feed(&mut self, values: &[f32], decoded: &[f32]) {
        assert_eq!(values.len(), decoded.len());
        let before = self.clone();
        self.add(values, decoded);
        // Errors of finite values are finite in float64, and so is the sum of their squares.
        if total(self.errors).is_finite() {
            return;
        }
        *self = before;
        let tame = |[v, d]: [f32; 2]| {
            if v == d || (v.is_nan() && d.is_nan()) {
                [0.0; 2]
            } else if is_finite(v) && is_finite(d) {
                [v, d]
            } else {
                [0.0, f32::INFINITY]
            }
        };
        tamed([values, decoded], tame, |[v, d]| self.add(v, d));
    }

    #[inline(never)]
    fn add(&mut self, values: &[f32], decoded: &[f32]) {
        let (mut errors, mut largest) = (self.errors, self.largest);
        by_eights(&mut self.at, 0.0, [values, decoded], |[v, d]| {
            let e = (F64x8::of(d) - F64x8::of(v)).abs();
            errors = errors + e * e;
            largest = largest.max(e);
        });
        (self.errors, self.largest) = (errors, largest);
    }

    /// Sum of the squared errors; infinite if a finite value is decoded to something that is not.
    pub fn error_sq(&self) -> f64 {
        total(self.errors)
    }

    /// Largest error.
    pub fn largest(&self) -> f64 {
        self.largest.lanes().into_iter().fold(0.0, f64::max)
    }
}

/// What was changed and what of it was lost: `change` from base to fine-tune, `error` from fine-tune to what is rebuilt.
///
/// A change or error that is not finite counts as none.
#[derive(Clone, Debug, Default)]
pub struct LossSum {
    at: usize,
    product: Sums,
    errors: Sums,
    changes: Sums,
    largest: Sums,
}

impl LossSum {
    /// Takes the next values of all three. Panics if the lengths differ.
    pub fn feed(&mut self, base: &[f32], fine: &[f32], rebuilt: &[f32]) {
        assert!(base.len() == fine.len() && fine.len() == rebuilt.len());
        if count_wild(base) + count_wild(fine) + count_wild(rebuilt) == 0 {
            return self.add(base, fine, rebuilt);
        }
        let tame = |[b, f, r]: [f32; 3]| match is_finite(f) {
            true => [finite_or(b, f), f, finite_or(r, f)],
            false => [0.0; 3],
        };
        tamed([base, fine, rebuilt], tame, |[b, f, r]| self.add(b, f, r));
    }

    #[inline(never)]
    fn add(&mut self, base: &[f32], fine: &[f32], rebuilt: &[f32]) {
        // Two loops, since the lanes of four sums do not fit the registers.
        let (mut product, mut changes) = (self.product, self.changes);
        let mut at = self.at;
        by_eights(&mut at, 0.0, [base, fine, rebuilt], |[b, f, r]| {
            let (b, f, r) = (F64x8::of(b), F64x8::of(f), F64x8::of(r));
            let change = f - b;
            product = product + (r - f) * change;
            changes = changes + change * change;
        });
        (self.product, self.changes) = (product, changes);
        let (mut errors, mut largest) = (self.errors, self.largest);
        by_eights(&mut self.at, 0.0, [fine, rebuilt], |[f, r]| {
            let error = (F64x8::of(r) - F64x8::of(f)).abs();
            errors = errors + error * error;
            largest = largest.max(error);
        });
        (self.errors, self.largest) = (errors, largest);
    }

    /// Sum of error times change.
    pub fn product(&self) -> f64 {
        total(self.product)
    }

    /// Sum of the squared errors.
    pub fn errors_sq(&self) -> f64 {
        total(self.errors)
    }

    /// Sum of the squared changes.
    pub fn changes_sq(&self) -> f64 {
        total(self.changes)
    }

    /// Largest magnitude of an error.
    pub fn largest(&self) -> f64 {
        self.largest.lanes().into_iter().fold(0.0, f64::max)
    }
}

/// Magnitudes of the values of a row: enough to tell afterwards how far they lie from any one level.
///
/// The moments are taken around the first magnitude, so that a constant row has no error left over from cancellation.
#[derive(Clone, Debug, Default)]
pub struct Spread {
    at: usize,
    n: u64,
    around: Option<f32>,
    sums: Sums,
    squares: Sums,
    lo: f32,
    hi: f32,
}

impl Spread {
    /// Takes the next values.
    pub fn feed(&mut self, values: &[f32]) {
        if self.around.is_none() {
            self.around = values.iter().map(|v| v.abs()).find(|&a| is_finite(a));
            let first = self.around.unwrap_or_default();
            (self.lo, self.hi) = (first, first);
        }
        let before = (self.at, self.sums, self.squares, self.lo, self.hi);
        self.add(values);
        self.n += values.len() as u64;
        // Distances of finite values are finite in float64, and so is their sum.
        if !total(self.sums).is_finite() {
            (self.at, self.sums, self.squares, self.lo, self.hi) = before;
            self.n -= count_wild(values);
            let level = self.around.unwrap_or_default();
            tamed([values], |[v]| [finite_or(v, level)], |[v]| self.add(v));
        }
    }

    #[inline(never)]
    fn add(&mut self, values: &[f32]) {
        // What is missing or not finite stands on the level itself and so changes nothing.
        let level = self.around.unwrap_or_default();
        let all_level = F64x8::splat(f64::from(level));
        let (mut sums, mut squares) = (self.sums, self.squares);
        let (mut lo, mut hi) = (F32x8::splat(self.lo), F32x8::splat(self.hi));
        by_eights(&mut self.at, level, [values], |[v]| {
            let a = F32x8::of(v).abs();
            let d = a.widen() - all_level;
            sums = sums + d;
            squares = squares + d * d;
            lo = lo.min(a);
            hi = hi.max(a);
        });
        (self.sums, self.squares) = (sums, squares);
        self.lo = lo.lanes().into_iter().fold(self.lo, f32::min);
        self.hi = hi.lanes().into_iter().fold(self.hi, f32::max);
    }

    /// Sum of the squared distances of the magnitudes from `level`, and the largest distance.
    ///
    /// Both are infinite if `level` is not finite while some values are; both are 0 if none is.
    pub fn from_level(&self, level: f64) -> (f64, f64) {
        if self.n == 0 {
            return (0.0, 0.0);
        }
        if !level.is_finite() {
            return (f64::INFINITY, f64::INFINITY);
        }
        let shift = level - f64::from(self.around.unwrap_or_default());
        let error_sq = self.n as f64 * shift * shift - 2.0 * shift * total(self.sums) + total(self.squares);
        let largest = (f64::from(self.hi) - level).max(level - f64::from(self.lo));
        (error_sq.max(0.0), largest)
    }
}

#[cfg(test)]
mod tests {
    use super::super::lanes::tests::sample;
    use super::*;

    #[test]
    fn errors_count_what_is_destroyed_but_not_what_was_lost_before() {
        let mut e = ErrorSum::default();
        e.feed(&[1.0, f32::NAN, f32::INFINITY], &[1.5, f32::NAN, f32::INFINITY]);
        assert_eq!((e.error_sq(), e.largest()), (0.25, 0.5));
        e.feed(&[1.0], &[f32::NAN]);
        assert_eq!((e.error_sq(), e.largest()), (f64::INFINITY, f64::INFINITY));
    }

    #[test]
    fn what_is_not_finite_is_no_loss() {
        let mut sum = LossSum::default();
        sum.feed(&[1.0, 0.0, f32::INFINITY], &[2.0, 4.0, 1.0], &[2.5, 4.0, 1.25]);
        assert_eq!((sum.product(), sum.errors_sq(), sum.changes_sq()), (0.5, 0.3125, 17.0));
        sum.feed(&[1.0, 1.0], &[f32::NAN, 0.0], &[f32::NAN, -3.0]);
        assert_eq!((sum.product(), sum.errors_sq(), sum.changes_sq()), (3.5, 9.3125, 18.0));
        assert_eq!(sum.largest(), 3.0);
    }

    #[test]
    fn spread_matches_the_direct_sum() {
        let values = sample(1001);
        let mut s = Spread::default();
        values.chunks(100).for_each(|c| s.feed(c));
        let direct: f64 = values.iter().map(|v| (f64::from(v.abs()) - 0.25).powi(2)).sum();
        let (got, largest) = s.from_level(0.25);
        assert!((got - direct).abs() < 1e-9 * direct);
        let far = values
            .iter()
            .map(|v| (f64::from(v.abs()) - 0.25).abs())
            .fold(0.0, f64::max);
        assert_eq!(largest, far);

        let mut constant = Spread::default();
        constant.feed(&[f32::NAN, 0.1, -0.1, 0.1]);
        assert_eq!(constant.from_level(f64::from(0.1f32)), (0.0, 0.0));
        assert_eq!(constant.from_level(f64::NAN), (f64::INFINITY, f64::INFINITY));
    }
}
