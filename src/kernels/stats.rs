//! Sums in float64, extremes, a histogram and the cosine of two vectors, over streams of float32.
//!
//! Element `i` of a stream is added to lane `i mod 8`, so a sum does not depend on where the stream was cut.

/// Lanes of a running sum.
const LANES: usize = 8;

/// Splits a stream at multiples of eight: calls `f(lane, x)` for every element, with the lanes 0..8 in order as often as
/// possible so that the loop unrolls.
#[inline(always)]
fn by_lane<T: Copy>(at: &mut usize, items: &[T], mut f: impl FnMut(usize, T)) {
    let head = ((LANES - *at) % LANES).min(items.len());
    for (j, &x) in items[..head].iter().enumerate() {
        f(*at + j, x);
    }
    let eights = items[head..].chunks_exact(LANES);
    let tail = eights.remainder();
    for eight in eights {
        for (j, &x) in eight.iter().enumerate() {
            f(j, x);
        }
    }
    for (j, &x) in tail.iter().enumerate() {
        f(j, x);
    }
    *at = (*at + items.len()) % LANES;
}

fn total(lanes: &[f64; LANES]) -> f64 {
    ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]))
}

/// Counts, sums and extremes of the finite values of a stream.
#[derive(Clone, Debug)]
pub struct Moments {
    at: usize,
    sums: [f64; LANES],
    squares: [f64; LANES],
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
            sums: [0.0; LANES],
            squares: [0.0; LANES],
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
        let (mut sums, mut squares) = (self.sums, self.squares);
        by_lane(&mut self.at, values, |j, v| {
            let v = f64::from(if v.abs() < f32::INFINITY { v } else { 0.0 });
            sums[j] += v;
            squares[j] += v * v;
        });
        (self.sums, self.squares) = (sums, squares);
        for &v in values {
            let finite = v.abs() < f32::INFINITY;
            self.lo = if finite && v < self.lo { v } else { self.lo };
            self.hi = if finite && v > self.hi { v } else { self.hi };
        }
        let (zeros, wild) = values.iter().fold((0u32, 0u32), |(zeros, wild), &v| {
            (
                zeros + u32::from(v == 0.0),
                wild + u32::from(v.abs() >= f32::INFINITY || v.is_nan()),
            )
        });
        self.n += values.len() as u64;
        self.zeros += u64::from(zeros);
        self.non_finite += u64::from(wild);
    }

    /// Number of values, with the ones that are not finite.
    pub fn n(&self) -> u64 {
        self.n
    }

    /// Number of values equal to zero.
    pub fn zeros(&self) -> u64 {
        self.zeros
    }

    /// Number of NaN and infinities. All other figures leave them out.
    pub fn non_finite(&self) -> u64 {
        self.non_finite
    }

    /// Smallest finite value, if there is one.
    pub fn min(&self) -> Option<f32> {
        (self.lo <= self.hi).then_some(self.lo)
    }

    /// Largest finite value, if there is one.
    pub fn max(&self) -> Option<f32> {
        (self.lo <= self.hi).then_some(self.hi)
    }

    /// Largest finite magnitude, 0 if there is none.
    pub fn largest(&self) -> f32 {
        if self.lo <= self.hi {
            self.hi.abs().max(self.lo.abs())
        } else {
            0.0
        }
    }

    /// Sum of the finite values.
    pub fn sum(&self) -> f64 {
        total(&self.sums)
    }

    /// Sum of the squares of the finite values.
    pub fn sum_sq(&self) -> f64 {
        total(&self.squares)
    }
}

/// How far decoded values lie from the true ones. Infinities and NaN that come back as they are count as no error.
#[derive(Clone, Debug, Default)]
pub struct ErrorSum {
    at: usize,
    errors: [f64; LANES],
    squares: [f64; LANES],
    largest: f64,
}

impl ErrorSum {
    /// Takes the next values with what they are decoded to. Panics if the lengths differ.
    pub fn feed(&mut self, values: &[f32], decoded: &[f32]) {
        assert_eq!(values.len(), decoded.len());
        let (mut errors, mut squares) = (self.errors, self.squares);
        let mut largest = [self.largest; LANES];
        let at = &mut self.at;
        let mut rest = decoded;
        by_lane(at, values, |j, v| {
            let d = rest[0];
            rest = &rest[1..];
            let e = error(v, d);
            errors[j] += e * e;
            let v = f64::from(if v.abs() < f32::INFINITY { v } else { 0.0 });
            squares[j] += v * v;
            largest[j] = if e > largest[j] { e } else { largest[j] };
        });
        (self.errors, self.squares) = (errors, squares);
        self.largest = largest.into_iter().fold(self.largest, f64::max);
    }

    /// Sum of the squared errors; infinite if a finite value is decoded to something that is not.
    pub fn error_sq(&self) -> f64 {
        total(&self.errors)
    }

    /// Sum of the squares of the finite true values.
    pub fn value_sq(&self) -> f64 {
        total(&self.squares)
    }

    /// Largest error.
    pub fn largest(&self) -> f64 {
        self.largest
    }
}

#[inline(always)]
fn error(v: f32, d: f32) -> f64 {
    let e = (f64::from(d) - f64::from(v)).abs();
    if v == d || (v.is_nan() && d.is_nan()) {
        0.0
    } else if e.is_nan() {
        f64::INFINITY
    } else {
        e
    }
}

/// Magnitudes of the finite values of a row: enough to tell afterwards how far they lie from any one level.
///
/// The moments are taken around the first magnitude, so that a constant row has no error left over from cancellation.
#[derive(Clone, Debug, Default)]
pub struct Spread {
    at: usize,
    n: u64,
    around: Option<f64>,
    sums: [f64; LANES],
    squares: [f64; LANES],
    values: [f64; LANES],
    lo: f32,
    hi: f32,
}

impl Spread {
    /// Takes the next values.
    pub fn feed(&mut self, values: &[f32]) {
        let Some(c) = self.around.or_else(|| self.first(values)) else {
            return; // nothing finite yet
        };
        let (mut sums, mut squares, mut raw) = (self.sums, self.squares, self.values);
        let (mut lo, mut hi) = ([self.lo; LANES], [self.hi; LANES]);
        let mut n = 0u32;
        by_lane(&mut self.at, values, |j, v| {
            let a = v.abs();
            let finite = a < f32::INFINITY;
            n += u32::from(finite);
            lo[j] = if a < lo[j] { a } else { lo[j] };
            hi[j] = if finite && a > hi[j] { a } else { hi[j] };
            let (a, d) = if finite {
                (f64::from(a), f64::from(a) - c)
            } else {
                (0.0, 0.0)
            };
            sums[j] += d;
            squares[j] += d * d;
            raw[j] += a * a;
        });
        (self.sums, self.squares, self.values) = (sums, squares, raw);
        self.lo = lo.into_iter().fold(self.lo, f32::min);
        self.hi = hi.into_iter().fold(self.hi, f32::max);
        self.n += u64::from(n);
    }

    fn first(&mut self, values: &[f32]) -> Option<f64> {
        let a = values.iter().map(|v| v.abs()).find(|a| *a < f32::INFINITY)?;
        (self.lo, self.hi) = (a, a);
        self.around = Some(f64::from(a));
        self.around
    }

    /// Sum of the squared distances of the magnitudes from `level`, and the largest distance.
    ///
    /// Both are infinite if `level` is not finite while some values are.
    pub fn from_level(&self, level: f64) -> (f64, f64) {
        let Some(c) = self.around else {
            return (0.0, 0.0);
        };
        if !level.is_finite() {
            return (f64::INFINITY, f64::INFINITY);
        }
        let shift = level - c;
        let error_sq = self.n as f64 * shift * shift - 2.0 * shift * total(&self.sums) + total(&self.squares);
        let largest = (f64::from(self.hi) - level).max(level - f64::from(self.lo));
        (error_sq.max(0.0), largest)
    }

    /// Sum of the squares of the finite values.
    pub fn value_sq(&self) -> f64 {
        total(&self.values)
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
    for &v in values.iter().filter(|v| v.is_finite()) {
        // `as` saturates, so what lies below falls into bin 0.
        let bin = ((f64::from(v) - f64::from(lo)) * per_unit) as usize;
        counts[bin.min(n - 1)] += 1;
    }
}

/// Sums for distance and cosine of two streams. Pairs with a value that is not finite are left out and counted.
#[derive(Clone, Debug, Default)]
pub struct Likeness {
    at: usize,
    dot: [f64; LANES],
    a_sq: [f64; LANES],
    b_sq: [f64; LANES],
    apart_sq: [f64; LANES],
    equal: u64,
    non_finite: u64,
}

impl Likeness {
    /// Takes the next values of both. Panics if the lengths differ.
    pub fn feed(&mut self, a: &[f32], b: &[f32]) {
        assert_eq!(a.len(), b.len());
        let (mut dot, mut a_sq, mut b_sq, mut apart_sq) = (self.dot, self.a_sq, self.b_sq, self.apart_sq);
        let (mut equal, mut wild) = (0u32, 0u32);
        let mut rest = b;
        by_lane(&mut self.at, a, |j, x| {
            let y = rest[0];
            rest = &rest[1..];
            equal += u32::from(x == y);
            let finite = x.abs() < f32::INFINITY && y.abs() < f32::INFINITY;
            wild += u32::from(!finite);
            let (x, y) = if finite {
                (f64::from(x), f64::from(y))
            } else {
                (0.0, 0.0)
            };
            dot[j] += x * y;
            a_sq[j] += x * x;
            b_sq[j] += y * y;
            apart_sq[j] += (x - y) * (x - y);
        });
        (self.dot, self.a_sq, self.b_sq, self.apart_sq) = (dot, a_sq, b_sq, apart_sq);
        self.equal += u64::from(equal);
        self.non_finite += u64::from(wild);
    }

    /// Sum of the products.
    pub fn dot(&self) -> f64 {
        total(&self.dot)
    }

    /// Sums of the squares of the first and of the second stream.
    pub fn squares(&self) -> (f64, f64) {
        (total(&self.a_sq), total(&self.b_sq))
    }

    /// Sum of the squared differences.
    pub fn apart_sq(&self) -> f64 {
        total(&self.apart_sq)
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
