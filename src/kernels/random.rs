//! Pseudo-random numbers for tests that are the same everywhere.

/// A 32-bit linear congruential generator; its lowest bits are hardly random.
pub struct Lcg32(pub u32);

impl Lcg32 {
    /// The next state.
    pub fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.0
    }
}
