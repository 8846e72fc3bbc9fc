//! Factors of a low-rank prediction: few levels, each a symbol and raw bits.

use crate::kernels::v2::element::power_of_two;
use crate::kernels::v2::predict::Columns;
use crate::kernels::v2::subspace::MAX_COMPONENTS;

/// Classes of factors by their size: half octaves of their rms, from 2^-2 on.
pub const FACTOR_CLASSES: usize = 14;

/// Most raw bits of a factor.
pub const MAX_RAW_BITS: u32 = 7;

/// Largest gain of factors without raw bits: the most that files could say before factors had raw bits. The largest gain
/// is scaled to less than 2^9, so only one that is not finite meets it.
const MAX_WHOLE_GAIN: i32 = 1023;

/// Largest gain of factors with raw bits: the most that a file can say.
pub const MAX_GAIN: i32 = 32767;

/// What predicts a tensor, apart from the rows' own factors.
#[derive(Clone, Debug)]
pub struct Factors {
    /// Number of components.
    pub rank: usize,
    /// Raw bits of each factor below its symbol, see [`symbol`].
    pub raw_bits: u32,
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

/// The symbol of a factor, which is `symbol * 2^raw_bits + low - 2^raw_bits / 2`.
pub fn symbol(factor: i16, raw_bits: u32) -> i8 {
    ((factor as i32 + half(raw_bits)) >> raw_bits) as i8
}

/// The raw bits of a factor.
pub fn low(factor: i16, raw_bits: u32) -> u64 {
    ((factor as i32 + half(raw_bits)) & ((1 << raw_bits) - 1)) as u64
}

/// The factor that has this symbol and these raw bits.
pub fn factor(symbol: i8, low: u64, raw_bits: u32) -> i16 {
    (((symbol as i32) << raw_bits) + low as i32 - half(raw_bits)) as i16
}

fn half(raw_bits: u32) -> i32 {
    1 << raw_bits >> 1
}

impl Factors {
    /// Takes gains times `2^scale`.
    pub(super) fn take_gains(&mut self, gains: &[f32], scale: i32) {
        let unit = power_of_two(scale);
        self.shift = scale - self.raw_bits as i32;
        let most = if self.raw_bits == 0 { MAX_WHOLE_GAIN } else { MAX_GAIN };
        self.gains = gains
            .iter()
            .map(|g| ((g * unit).round_ties_even() as i32).clamp(0, most) as i16)
            .collect();
    }

    /// The first `rank` components.
    pub fn of_rank(&self, rank: usize) -> Factors {
        let mut factors = Factors {
            rank,
            raw_bits: self.raw_bits,
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

    /// A row's factors times the gains, in units of symbols.
    pub fn scaled_left(&self, left: &[i16]) -> [i16; MAX_COMPONENTS] {
        let mut out = [0; MAX_COMPONENTS];
        for ((o, &l), &g) in out.iter_mut().zip(left).zip(&self.gains) {
            *o = ((l as i32 * g as i32 + half(self.raw_bits)) >> self.raw_bits).clamp(-32767, 32767) as i16;
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_is_its_symbol_and_its_raw_bits() {
        for raw_bits in 0..=MAX_RAW_BITS {
            let (first, last) = (factor(-128, 0, raw_bits), factor(127, (1 << raw_bits) - 1, raw_bits));
            assert!(first < 0 && last > 0 && (last as i32 - first as i32) == (256 << raw_bits) - 1);
            for f in first..=last {
                assert_eq!(factor(symbol(f, raw_bits), low(f, raw_bits), raw_bits), f, "{raw_bits}");
                // The symbol is the nearest, with half a step up.
                let off = f as i32 - ((symbol(f, raw_bits) as i32) << raw_bits);
                assert!((-half(raw_bits)..=half(raw_bits)).contains(&off), "{f}, {raw_bits}");
            }
        }
    }

    #[test]
    fn products_are_in_units_of_symbols() {
        let factors = |raw_bits| Factors {
            rank: 3,
            raw_bits,
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
