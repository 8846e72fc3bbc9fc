//! Pseudo-random numbers that are the same everywhere.
#![allow(dead_code)] // each test binary uses a part

#[path = "../../src/kernels/random.rs"]
mod lcg32;

pub use lcg32::Lcg32;

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

/// `n` bytes.
pub fn random_bytes(n: usize, seed: u32) -> Vec<u8> {
    let mut lcg = Lcg32(seed | 1);
    (0..n).map(|_| (lcg.next() >> 24) as u8).collect()
}

/// `n` numbers, roughly normal: four uniform ones in `-scale / 2..scale / 2` added up.
pub fn normal(n: usize, scale: f32, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u32 << 24) as f32 - 0.5
    };
    (0..n).map(|_| (next() + next() + next() + next()) * scale).collect()
}
