//! Low-rank factors of a tensor's normalised differences: finding them, and rounding them to few levels.

use crate::kernels::v2::element::power_of_two;
use crate::kernels::v2::log2::{log2_q8, steps};
use crate::kernels::v2::predict::Columns;
use crate::kernels::v2::subspace::{components, times, Components, MAX_RANK};

/// Classes of factors by their size: half octaves of their rms, from 2^-2 on.
pub const FACTOR_CLASSES: usize = 14;

/// Most raw bits of a factor.
pub const MAX_FINE: u32 = 7;

/// What predicts a tensor, apart from the rows' own factors.
#[derive(Clone, Debug)]
pub struct Factors {
    /// Number of components.
    pub rank: usize,
    /// Raw bits of each factor below its symbol, see [`symbol`].
    pub fine: u32,
    /// Negative exponent of the whole product.
    pub shift: i32,
    /// Gain per component.
    pub gains: Vec<i16>,
    /// Class of the rows' factors, per component.
    pub left_classes: Vec<u8>,
    /// Class of the columns' factors, per component.
    pub right_classes: Vec<u8>,
    /// Scale of each column in octaves.
    pub octaves: Vec<i16>,
    /// The columns as the kernels read them; not part of what travels.
    pub columns: Columns,
    /// Factors, `rank` per column.
    pub right: Vec<i16>,
}

/// The symbol of a factor, which is `symbol * 2^fine + low - 2^fine / 2`.
pub fn symbol(factor: i16, fine: u32) -> i8 {
    ((factor as i32 + half(fine)) >> fine) as i8
}

/// The raw bits of a factor.
pub fn low(factor: i16, fine: u32) -> u64 {
    ((factor as i32 + half(fine)) & ((1 << fine) - 1)) as u64
}

/// The factor that has this symbol and these raw bits.
pub fn factor(symbol: i8, low: u64, fine: u32) -> i16 {
    (((symbol as i32) << fine) + low as i32 - half(fine)) as i16
}

fn half(fine: u32) -> i32 {
    1 << fine >> 1
}

/// A component's rows and columns before the rank is chosen.
pub struct Candidates {
    /// Everything for the largest rank.
    pub all: Factors,
    /// Rows' factors of the sample, [`MAX_RANK`] per row.
    pub left: Vec<[i16; MAX_RANK]>,
    /// Estimated length of one factor of each component, in bits, for rows and columns.
    pub bits: Vec<(f32, f32)>,
    /// Gains before they are rounded.
    gains: Vec<f32>,
}

/// The coarsest step of factors, in units of the residual's rms: where the residual is noise, finer factors would cost more
/// than the error that this step makes.
const STEP: f32 = 3.0;

/// A matrix's leading components, from which [`Candidates`] are rounded.
pub struct Spectrum {
    components: Components,
    /// Number of components.
    p: usize,
    /// The columns' scales that the matrix was divided by.
    octaves: Vec<i16>,
    /// Root mean square of what the components leave over.
    residual: f32,
    peak_left: [f32; MAX_RANK],
    peak_right: [f32; MAX_RANK],
}

impl Spectrum {
    /// Finds the components of `z`; none where there is nothing to find. `octaves`: the columns' scales that `z` was
    /// divided by. `more`: twice as many components of a large matrix.
    pub fn new(z: &[f32], columns: usize, octaves: Vec<i16>, more: bool) -> Option<Self> {
        let rows = z.len() / columns;
        let p = match rows.min(columns) {
            512.. if more => MAX_RANK,
            512.. => MAX_RANK / 2,
            96.. => 24,
            24.. => 8,
            _ => return None,
        };
        let components = components(z, columns, p);
        let energy: f64 = z.iter().map(|&z| z as f64 * z as f64).sum();
        let taken: f64 = components.strengths.iter().map(|&s| s as f64 * s as f64).sum();
        let residual = (((energy - taken).max(energy * 1e-6)) / z.len() as f64).sqrt() as f32;
        let (peak_left, peak_right) = (peaks(&components.left, p), peaks(&components.right, p));
        (residual > 0.0 && residual.is_finite()).then_some(Self {
            components,
            p,
            octaves,
            residual,
            peak_left,
            peak_right,
        })
    }

    /// The largest factor.
    fn peak(&self) -> f32 {
        let mut peak = 0f32;
        for ((&left, &right), &s) in self
            .peak_left
            .iter()
            .zip(&self.peak_right)
            .zip(&self.components.strengths)
        {
            for x in [left, right * s] {
                // f32::max would be a call in wasm.
                if x > peak {
                    peak = x;
                }
            }
        }
        peak
    }

    /// True when a byte is too small for the largest factor with the coarsest step.
    pub fn exceeds_bytes(&self) -> bool {
        self.peak() > LARGEST * STEP * self.residual
    }

    /// Rounds the components to factors, whose step is the coarsest one divided by `2^finer`.
    pub fn candidates(&self, finer: u32) -> Candidates {
        let Self {
            components: c,
            p,
            octaves,
            ..
        } = self;
        let (p, columns) = (*p, octaves.len());
        let rows = c.left.len() / p;
        let step = self.residual * STEP * power_of_two(-(finer as i32));
        let levels = self.peak() / step;
        // Symbols have a byte; what is finer is raw.
        let fine = match finer {
            0 => 0,
            _ => (1..MAX_FINE)
                .find(|&f| levels <= LARGEST * (1 << f) as f32)
                .unwrap_or(MAX_FINE),
        };
        let unit = power_of_two(-(fine as i32));
        let largest = LARGEST * (1 << fine) as f32;
        let mut factors = Factors {
            rank: p,
            fine,
            shift: 0,
            gains: Vec::new(),
            left_classes: Vec::new(),
            right_classes: Vec::new(),
            columns: Columns::default(),
            octaves: octaves.clone(),
            right: vec![0; columns * p],
        };
        let mut left = vec![[0i16; MAX_RANK]; rows];
        let mut bits = Vec::new();
        let mut gains = Vec::new();
        for k in 0..p {
            let s = c.strengths[k];
            let step_left = step.max(self.peak_left[k] / largest);
            let step_right = step.max(self.peak_right[k] * s / largest);
            let (mut sum_left, mut sum_right) = (0f32, 0f32);
            for (l, out) in c.left.chunks_exact(p).zip(&mut left) {
                let x = l[k] / step_left;
                out[k] = x.round_ties_even() as i16;
                sum_left += x * x;
            }
            for (r, out) in c.right.chunks_exact(p).zip(factors.right.chunks_exact_mut(p)) {
                let x = r[k] * s / step_right;
                out[k] = x.round_ties_even() as i16;
                sum_right += x * x;
            }
            // Of symbols, whose steps are that much coarser.
            let (ms_left, ms_right) = (
                sum_left * unit * unit / rows as f32,
                sum_right * unit * unit / columns as f32,
            );
            factors.left_classes.push(factor_class(ms_left));
            factors.right_classes.push(factor_class(ms_right));
            bits.push((factor_bits(ms_left) + fine as f32, factor_bits(ms_right) + fine as f32));
            gains.push(if s > 0.0 { step_left * step_right / s } else { 0.0 });
        }
        if fine == 0 {
            let top = gains.iter().fold(1e-20f32, |a, &b| a.max(b));
            // The largest gain gets 8 or 9 bits, with large factors 7 or 8, so that gain times factor fits 16.
            factors.take_gains(
                &gains,
                8 - (levels > LARGEST / 2.0) as i32 - steps(top.min(f32::MAX), 0),
            );
        }
        Candidates {
            all: factors,
            left,
            bits,
            gains,
        }
    }
}

/// Largest symbol of a factor.
const LARGEST: f32 = 127.0;

/// The largest magnitude of each of `p` components.
fn peaks(x: &[f32], p: usize) -> [f32; MAX_RANK] {
    let mut peaks = [0f32; MAX_RANK];
    for x in x.chunks_exact(p) {
        for (p, x) in peaks.iter_mut().zip(x) {
            // f32::max would be a call in wasm.
            if x.abs() > *p {
                *p = x.abs();
            }
        }
    }
    peaks
}

/// Class of factors with this mean square: `round(log2(mean square))`, so half octaves of the rms.
fn factor_class(mean_square: f32) -> u8 {
    (steps(mean_square.max(1e-9), 0) + 4).clamp(0, FACTOR_CLASSES as i32 - 1) as u8
}

/// Entropy of a rounded Gaussian, about.
fn factor_bits(mean_square: f32) -> f32 {
    let q16 = ((1.0 + 12.0 * mean_square.min(1e6)) * 65536.0) as u64;
    (log2_q8(q16) as f32 / 256.0 - 16.0) * 0.5 + 0.25
}

impl Candidates {
    /// The first `rank` components.
    pub fn of_rank(&self, rank: usize) -> Factors {
        let mut factors = self.all.of_rank(rank);
        if factors.fine > 0 {
            let mut top = 1e-20f32;
            for left in &self.left {
                for (&l, &gain) in left.iter().zip(&self.gains[..rank]) {
                    let product = gain * l.unsigned_abs() as f32;
                    if product > top {
                        top = product;
                    }
                }
            }
            // The largest product gets 14 bits or 15; other rows may have larger ones.
            factors.take_gains(
                &self.gains[..rank],
                14 + factors.fine as i32 - steps(top.min(f32::MAX), 0),
            );
        }
        factors
    }
}

impl Factors {
    /// Takes gains times `2^scale`.
    fn take_gains(&mut self, gains: &[f32], scale: i32) {
        let unit = power_of_two(scale);
        self.shift = scale - self.fine as i32;
        let most = if self.fine == 0 { 1023 } else { 32767 };
        self.gains = gains
            .iter()
            .map(|g| ((g * unit).round_ties_even() as i32).clamp(0, most) as i16)
            .collect();
    }

    /// The first `rank` components.
    pub fn of_rank(&self, rank: usize) -> Factors {
        let mut factors = Factors {
            rank,
            fine: self.fine,
            shift: self.shift,
            gains: self.gains.iter().copied().take(rank).collect(),
            left_classes: self.left_classes[..rank].to_vec(),
            right_classes: self.right_classes[..rank].to_vec(),
            octaves: self.octaves.clone(),
            columns: Columns::default(),
            right: Vec::with_capacity(self.octaves.len() * rank),
        };
        for r in self.right.chunks_exact(self.rank) {
            factors.right.extend_from_slice(&r[..rank]);
        }
        factors.columns = Columns::new(rank, &factors.right, &factors.octaves);
        factors
    }
}

impl Factors {
    /// A row's factors times the gains, in units of symbols.
    pub fn scaled_left(&self, left: &[i16]) -> [i16; MAX_RANK] {
        let mut out = [0; MAX_RANK];
        for ((o, &l), &g) in out.iter_mut().zip(left).zip(&self.gains) {
            *o = ((l as i32 * g as i32 + half(self.fine)) >> self.fine).clamp(-32767, 32767) as i16;
        }
        out
    }
}

/// Finds a row's factors: the least-squares solution, given the columns' rounded factors.
pub struct Projector {
    /// The columns' factors times gains, `padded` to each.
    basis: Vec<f32>,
    /// Inverse of the basis's Gram matrix.
    inverse: Vec<f64>,
    rank: usize,
    /// The rank, up to a multiple of 8.
    padded: usize,
}

impl Projector {
    /// The projector onto these factors.
    #[inline(never)]
    pub fn new(factors: &Factors) -> Self {
        let rank = factors.rank;
        let padded = rank.div_ceil(8) * 8;
        let unit = power_of_two(-factors.shift - factors.fine as i32);
        let mut basis = vec![0f32; factors.octaves.len() * padded];
        let mut gram = vec![0f64; rank * rank];
        for (r, b) in factors.right.chunks_exact(rank).zip(basis.chunks_exact_mut(padded)) {
            for ((b, &r), &g) in b.iter_mut().zip(r).zip(&factors.gains) {
                *b = r as f32 * (g as f32 * unit);
            }
            for (row, &x) in gram.chunks_exact_mut(rank).zip(b.iter()) {
                for (sum, &y) in row.iter_mut().zip(b.iter()) {
                    *sum += x as f64 * y as f64;
                }
            }
        }
        Self {
            basis,
            inverse: invert(gram, rank),
            rank,
            padded,
        }
    }

    /// The factors of a row of normalised differences, not rounded yet.
    #[inline(never)]
    pub fn solve(&self, z: &[f32]) -> [f32; MAX_RANK] {
        let mut t = [0f32; MAX_RANK];
        let columns = self.basis.len() / self.padded;
        times(z, columns, 1, self.padded, &self.basis, &mut t[..self.padded]);
        let mut out = [0f32; MAX_RANK];
        for (o, row) in out.iter_mut().zip(self.inverse.chunks_exact(self.rank)) {
            let mut sum = 0f64;
            for (&a, &t) in row.iter().zip(&t) {
                sum += a * t as f64;
            }
            *o = sum as f32;
        }
        out
    }
}

/// Inverse of a symmetric positive matrix by Gauss and Jordan, with a little on the diagonal.
fn invert(mut a: Vec<f64>, n: usize) -> Vec<f64> {
    let trace: f64 = (0..n).map(|k| a[k * n + k]).sum();
    let ridge = trace * 1e-9 + 1e-30;
    let mut inverse = vec![0f64; n * n];
    for k in 0..n {
        a[k * n + k] += ridge;
        inverse[k * n + k] = 1.0;
    }
    for k in 0..n {
        let pivot = 1.0 / a[k * n + k];
        for j in 0..n {
            a[k * n + j] *= pivot;
            inverse[k * n + j] *= pivot;
        }
        for i in (0..n).filter(|&i| i != k) {
            let f = a[i * n + k];
            for j in 0..n {
                a[i * n + j] -= f * a[k * n + j];
                inverse[i * n + j] -= f * inverse[k * n + j];
            }
        }
    }
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_is_its_symbol_and_its_raw_bits() {
        for fine in 0..=MAX_FINE {
            let (first, last) = (factor(-128, 0, fine), factor(127, (1 << fine) - 1, fine));
            assert!(first < 0 && last > 0 && (last as i32 - first as i32) == (256 << fine) - 1);
            for f in first..=last {
                assert_eq!(factor(symbol(f, fine), low(f, fine), fine), f, "{fine}");
                // The symbol is the nearest, with half a step up.
                let off = f as i32 - ((symbol(f, fine) as i32) << fine);
                assert!((-half(fine)..=half(fine)).contains(&off), "{f}, {fine}");
            }
        }
    }

    #[test]
    fn products_are_in_units_of_symbols() {
        let factors = |fine| Factors {
            rank: 3,
            fine,
            shift: 0,
            gains: vec![1, 300, 32767],
            left_classes: vec![0; 3],
            right_classes: vec![0; 3],
            octaves: Vec::new(),
            columns: Columns::default(),
            right: Vec::new(),
        };
        assert_eq!(factors(0).scaled_left(&[-5, 7, 2])[..4], [-5, 2100, 32767, 0]);
        assert_eq!(factors(3).scaled_left(&[-5, 7, -9])[..4], [-1, 263, -32767, 0]);
    }
}
