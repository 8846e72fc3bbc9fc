//! What is lost of a tensor.

use crate::kernels::v2::dither::{value, word};
use crate::kernels::v2::element::Layout;

/// Sums over the weights of a tensor: `change` from base to fine-tune, `error` from fine-tune to what is rebuilt.
///
/// Where they are not finite they count as nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Loss {
    /// Sum of error times change.
    pub product: f64,
    /// Sum of squared errors.
    pub errors: f64,
    /// Sum of squared changes.
    pub changes: f64,
    /// Largest magnitude of an error.
    pub largest: f64,
}

impl Loss {
    /// Adds weights; all three are as long.
    pub fn feed(&mut self, layout: Layout, base: &[u8], fine: &[u8], rebuilt: &[u8]) {
        let width = layout.bytes();
        let words = base.chunks_exact(width).zip(fine.chunks_exact(width));
        for ((b, f), r) in words.zip(rebuilt.chunks_exact(width)) {
            let [b, f, r] = [b, f, r].map(|x| value(layout, word(x) as u32) as f64);
            let finite = |x: f64| if x.is_finite() { x } else { 0.0 };
            let (change, error) = (finite(f - b), finite(r - f));
            self.product += error * change;
            self.errors += error * error;
            self.changes += change * change;
            self.largest = self.largest.max(error.abs());
        }
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
