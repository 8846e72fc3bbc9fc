//! What is asked for as one number, as a step.

use crate::kernels::v2::dither::UNIT_STEP;

/// The quality that loses nothing.
pub const LOSSLESS: u32 = 100;

/// The quality whose step is as large as a row's mean change; eight more halve it.
const UNIT_QUALITY: i32 = 40;

/// The step number of a quality from 1 to 99.
pub fn step(quality: u32) -> u8 {
    (UNIT_STEP + UNIT_QUALITY - quality as i32) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_fall_with_quality() {
        assert_eq!((step(1), step(40), step(99)), (167, 128, 69));
    }
}
