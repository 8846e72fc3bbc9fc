//! Where the multiples of a row's step lie: the step itself, the levels that shift them, the contexts that they have.

use super::element::{power_of_two, Layout};
use super::rans::LANES;

/// Levels of `|z|`, which are the contexts of a class.
pub const LEVELS: usize = 8;

/// The step number of a step as large as the row's scale. Eight numbers are an octave.
pub const UNIT_STEP: i32 = 128;

/// `2^(i/8)` as float32.
const ROOTS: [u32; 8] = [
    0x3f80_0000,
    0x3f8b_95c2,
    0x3f98_37f0,
    0x3fa5_fed7,
    0x3fb5_04f3,
    0x3fc5_672a,
    0x3fd7_44fd,
    0x3fea_c0c7,
];

/// How a tensor is dithered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dither {
    /// Its steps relative to the scales of its rows, in eighths of an octave, [`UNIT_STEP`] being equal.
    pub step: u8,
    /// Seed of its levels.
    pub seed: u64,
}

/// Which contexts dithered weights have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lattices {
    /// Number of the first context.
    pub first: u8,
    /// The constant of their classes, in classes.
    pub offset: i16,
    /// Number of classes; 0 where nothing can be dithered.
    pub classes: u8,
}

/// The steps of one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowStep {
    /// Weights with exponent fields below are dithered.
    pub below: i32,
    /// A 32nd of a step, in units of value.
    pub unit: f32,
    /// What is taken from a column's scale to get the class, without the window's constant.
    pub shift: i32,
}

impl Dither {
    /// The steps of a row with this scale.
    pub fn row(self, layout: Layout, scale: i32, log2_q: u32) -> RowStep {
        let relative = self.step as i32 - UNIT_STEP;
        let eighths = (scale << (3 - log2_q)) + relative;
        RowStep {
            below: ((eighths + 7) >> 3).min(layout.exponent_mask as i32),
            unit: f32::from_bits(ROOTS[(eighths & 7) as usize])
                * power_of_two((eighths >> 3) - 5 - layout.unit_exponent()),
            shift: relative >> (3 - log2_q),
        }
    }

    /// The steps in units of the scales of the rows.
    pub fn relative_step(self) -> f64 {
        let relative = self.step as i32 - UNIT_STEP;
        let root = f32::from_bits(ROOTS[(relative & 7) as usize]);
        (root * power_of_two(relative >> 3)) as f64
    }

    /// Levels of the weights of a row, padded to groups of 16. `row`: its number; `groups`: those of a full row.
    pub fn levels(self, row: u64, groups: u64, levels: &mut [u8]) {
        let first = row.wrapping_mul(groups);
        for (group, out) in (1u64..).zip(levels.chunks_exact_mut(LANES)) {
            let counter = first.wrapping_add(group);
            let x = mix(self.seed.wrapping_add(counter.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
            for (pair, byte) in out.chunks_exact_mut(2).zip(x.to_le_bytes()) {
                (pair[0], pair[1]) = (byte & 15, byte >> 4);
            }
        }
    }
}

/// The output function of SplitMix64.
fn mix(x: u64) -> u64 {
    let x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// True for types whose weights can be dithered.
pub fn can_dither(layout: Layout) -> bool {
    layout.is_float() && matches!(layout.bits, 16 | 32)
}

/// Where a row's levels come from.
#[derive(Clone, Copy)]
pub struct RowPlace {
    /// The tensor's dither.
    pub dither: Dither,
    /// Number of the row in the tensor.
    pub row: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::Dtype;

    #[test]
    fn levels_are_evenly_spread_and_depend_on_seed_and_place() {
        let d = Dither { step: 128, seed: 7 };
        let mut a = vec![0; 1 << 16];
        d.levels(0, 1 << 12, &mut a);
        let mut counts = [0; 16];
        a.iter().for_each(|&l| counts[l as usize] += 1);
        assert!(counts.iter().all(|&c: &i32| (c - 4096).abs() < 300), "{counts:?}");
        let mut b = vec![0; 64];
        d.levels(1, 4, &mut b);
        assert_eq!(a[64..128], b);
        Dither { seed: 8, ..d }.levels(1, 4, &mut b);
        assert_ne!(a[64..128], b);
        // The first output of SplitMix64 with this seed.
        Dither {
            step: 0,
            seed: 1_234_567,
        }
        .levels(0, 1, &mut b[..16]);
        let x = b[..16].iter().rev().fold(0u64, |x, &l| x << 4 | l as u64);
        assert_eq!(x, 6_457_827_717_110_365_317);
    }

    #[test]
    fn steps_are_eighths_of_octaves_and_never_finer_than_the_type() {
        let layout = Layout::of(Dtype::BF16);
        // The scale of a row whose differences are one step of numbers with exponent field 100.
        let at = |step| Dither { step, seed: 0 }.row(layout, 200, 1);
        assert_eq!(at(128).below, 100);
        assert_eq!(at(129).below, 101);
        assert_eq!(at(136).below, 101);
        assert_eq!(at(120).below, 99);
        assert_eq!(at(128).unit * 32.0, power_of_two(100 - 134));
        assert_eq!(at(132).unit * 32.0, power_of_two(100 - 134) * std::f32::consts::SQRT_2);
        assert_eq!((at(128).shift, at(136).shift, at(127).shift), (0, 2, -1));
        assert_eq!(at(255).below, 116);
        assert_eq!(Dither { step: 255, seed: 0 }.row(layout, 8191, 1).below, 255);
    }
}
