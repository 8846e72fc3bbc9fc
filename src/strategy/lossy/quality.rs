//! Quality, from 1 to 99, as the step of the quantiser.

use crate::kernels::v2::dither::UNIT_STEP;

/// The quality whose step is as large as a row's mean change. Each 8 points lower doubles the step; that of 50 is about
/// twice the root of a row's mean squared change.
const UNIT_QUALITY: i32 = 62;

/// The step number of a quality from 1 to 99.
pub fn step(quality: u32) -> u8 {
    (UNIT_STEP + UNIT_QUALITY - quality as i32) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_fall_with_quality() {
        assert_eq!((step(1), step(50), step(62), step(99)), (189, 140, 128, 91));
    }
}
