//! The side information of a block, under adaptive models: flags of rows, scales of rows and columns.

use crate::kernels::v2::adaptive::{Bit, Coder, Int};

/// Largest scale either way. Sums of two scales, an exponent and a window's constant stay within 16 bits.
pub const MAX_SCALE: i32 = 8191;

/// Adaptive models of one stream of flags and scales.
#[derive(Clone, Default)]
pub struct Scales {
    changed: [Bit; 2],
    last_changed: bool,
    step: [Int; 3],
    octave: Int,
    last_step: i32,
    /// The scale coded last.
    pub last: i32,
}

impl Scales {
    /// Codes whether a row changed at all.
    pub fn changed(&mut self, coder: &mut dyn Coder, changed: bool) -> bool {
        self.last_changed = coder.bit(&mut self.changed[self.last_changed as usize], changed);
        self.last_changed
    }

    /// Codes a scale against the one before it.
    pub fn scale(&mut self, coder: &mut dyn Coder, scale: i32) -> i32 {
        let model = &mut self.step[self.last_step.unsigned_abs().min(2) as usize];
        self.last_step = model.code(coder, scale - self.last);
        self.last = (self.last + self.last_step).clamp(-MAX_SCALE, MAX_SCALE);
        self.last
    }

    /// Codes how far a prediction's octave is from the row's scale.
    pub fn octave(&mut self, coder: &mut dyn Coder, octave: i32) -> i32 {
        self.octave.code(coder, octave).clamp(-MAX_SCALE, MAX_SCALE)
    }
}
