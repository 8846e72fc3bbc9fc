//! Pseudo-random numbers that are the same everywhere.

/// A 64-bit linear congruential generator; the upper half of its state.
pub struct Lcg(pub u64);

impl Lcg {
    /// The next 32 bits.
    pub fn next(&mut self) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }
}
