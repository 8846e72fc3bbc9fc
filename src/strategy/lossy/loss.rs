//! The distortion of a dithered tensor: squared errors beside squared changes, and the largest error.

use crate::kernels::loss::LossSum;
use crate::kernels::v2::dither::values;
use crate::kernels::v2::element::Layout;

/// Weights that are turned into numbers at once.
const BLOCK: usize = 512;

/// Sums over the weights of a tensor: `change` from base to fine-tune, `error` from fine-tune to what is rebuilt.
///
/// Where they are not finite they count as nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DitherLoss {
    /// Sum of error times change.
    pub product: f64,
    /// Sum of squared errors.
    pub errors: f64,
    /// Sum of squared changes.
    pub changes: f64,
    /// Largest magnitude of an error.
    pub largest: f64,
}

impl DitherLoss {
    /// Adds weights: whole elements in all three, which are as long.
    pub fn feed(&mut self, layout: Layout, base: &[u8], fine: &[u8], rebuilt: &[u8]) {
        let width = layout.bytes();
        let mut sum = LossSum::default();
        let mut blocks = [[0f32; BLOCK]; 3];
        for at in (0..base.len()).step_by(BLOCK * width) {
            let bytes = at..(at + BLOCK * width).min(base.len());
            let n = bytes.len() / width;
            let [b, f, r] = &mut blocks;
            for (of, out) in [(base, &mut *b), (fine, &mut *f), (rebuilt, &mut *r)] {
                values(layout, &of[bytes.clone()], &mut out[..n]);
            }
            sum.feed(&b[..n], &f[..n], &r[..n]);
        }
        self.add(&Self {
            product: sum.product(),
            errors: sum.errors_sq(),
            changes: sum.changes_sq(),
            largest: sum.largest(),
        });
    }

    /// Norm of the error over norm of the change; 0 where nothing changed.
    pub fn relative_error(&self) -> f64 {
        match self.changes > 0.0 {
            true => (self.errors / self.changes).sqrt(),
            false => 0.0,
        }
    }

    /// Adds what was found elsewhere.
    pub fn add(&mut self, other: &Self) {
        self.product += other.product;
        self.errors += other.errors;
        self.changes += other.changes;
        self.largest = self.largest.max(other.largest);
    }
}
