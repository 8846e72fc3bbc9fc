//! The low-rank prediction: a row of the base moved to where the fine-tune is expected.
//!
//! Weight `(i, j)` is expected to move by `sum over k of left[i][k] * right[j][k]`, an integer of 32 bits (the left
//! factors have their gains in them), times `2^(octave[i] + octave[j])`. The sum of base and move is rounded to the weight's type;
//! coding goes on as if that were the base. What the rounding left over is context: its sign flips the sign of the
//! difference that is coded, so that it always points the same way, and its size (less than a quarter of a step, or
//! more) chooses the table.

use super::element::{power_of_two, Layout, Word};
use super::subspace::MAX_COMPONENTS;
use half::f16;

/// Set in a context where the difference is coded with its sign flipped. The other bits are the variant of the table:
/// 0 where nothing is known about what the rounding left over, else 1 or 2.
pub const FLIP: u8 = 128;

/// Largest octave of a row or column, either way: a product of two is finite, and with an integer sum at most infinite, never NaN.
pub const MAX_OCTAVE: i32 = 60;

/// Column factors as the kernels read them.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// Pairs of components.
    pub(super) pairs: usize,
    /// Per group of 16 columns and pair of components: two factors of each column. Columns are padded to a multiple of
    /// 16, components to pairs, with zeros.
    pub(super) factors: Vec<i16>,
    /// `2^octave` per column, padded with zeros.
    pub(super) scales: Vec<f32>,
}

impl Columns {
    /// `right`: `rank` factors per column, 1 to [`MAX_COMPONENTS`] of them; `octaves`: one per column.
    pub fn new(rank: usize, right: &[i16], octaves: &[i16]) -> Self {
        let columns = octaves.len();
        let padded = columns.div_ceil(16) * 16;
        let pairs = rank.div_ceil(2);
        let mut factors = vec![0; padded * 2 * pairs];
        for (j, r) in right.chunks_exact(rank).take(columns).enumerate() {
            for (k, &r) in r.iter().enumerate() {
                factors[((j / 16) * pairs + k / 2) * 32 + (j % 16) * 2 + k % 2] = r;
            }
        }
        let mut scales: Vec<f32> = octaves
            .iter()
            .map(|&o| power_of_two((o as i32).clamp(-MAX_OCTAVE, MAX_OCTAVE)))
            .collect();
        scales.resize(padded, 0.0);
        Self { pairs, factors, scales }
    }

    /// True when these are the factors of at least so many columns, 1 to [`MAX_COMPONENTS`] for each.
    pub fn fits(&self, rank: usize, columns: usize) -> bool {
        let padded = columns.div_ceil(16) * 16;
        (1..=MAX_COMPONENTS).contains(&rank)
            && self.pairs == rank.div_ceil(2)
            && self.scales.len() >= padded
            && self.factors.len() >= padded * 2 * self.pairs
    }
}

/// How far the weights of a row are expected to move.
pub struct Moves<'a> {
    /// The columns' factors.
    pub columns: &'a Columns,
    /// The row's factors times their gains, padded with zeros.
    pub left: &'a [i16; MAX_COMPONENTS],
    /// `2^octave` of the row.
    pub scale: f32,
}

impl Moves<'_> {
    /// How far the weight in column `j` is.
    #[inline(always)]
    fn by(&self, j: usize) -> f32 {
        let Self { columns, left, scale } = *self;
        let at = (j / 16) * columns.pairs * 32 + (j % 16) * 2;
        let mut sum = 0i32;
        for k in 0..columns.pairs {
            // A sum that is too large for 32 bits wraps.
            sum = sum.wrapping_add(left[2 * k] as i32 * columns.factors[at + 32 * k] as i32);
            sum = sum.wrapping_add(left[2 * k + 1] as i32 * columns.factors[at + 32 * k + 1] as i32);
        }
        sum as f32 * scale * columns.scales[j]
    }
}

/// Moves a row of the base. `from` and `variants` get the moved elements and their contexts; all are as long as the row.
pub fn predict_row(layout: Layout, moves: &Moves<'_>, base: &[u8], from: &mut [u8], variants: &mut [u8]) {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    super::simd128::predict::predict_row(layout, moves, base, from, variants);
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    predict_row_scalar(layout, moves, base, from, variants);
}

/// The scalar twin of [`predict_row`].
pub fn predict_row_scalar(layout: Layout, moves: &Moves<'_>, base: &[u8], from: &mut [u8], variants: &mut [u8]) {
    match layout.bits {
        16 => predict_words::<u16>(layout, moves, base, from, variants),
        _ => predict_words::<u32>(layout, moves, base, from, variants),
    }
}

fn predict_words<W: Word>(layout: Layout, moves: &Moves<'_>, base: &[u8], from: &mut [u8], variants: &mut [u8]) {
    let layout = layout.of_words::<W>();
    for (j, v) in variants.iter_mut().enumerate() {
        let (bits, context) = move_weight(layout, W::get(base, j), moves.by(j));
        W::put(from, j, bits);
        *v = context;
    }
}

/// Moves one weight: the rounded sum and its context. Infinities and NaN stay.
#[inline(always)]
pub fn move_weight(layout: Layout, base: u64, by: f32) -> (u64, u8) {
    if layout.is_special(base) {
        return (base, (layout.bits == 16) as u8);
    }
    match (layout.bits, layout.mantissa) {
        (16, 7) => {
            // The upper half of a float32 is a bf16; the lower half is what rounding its magnitude leaves over.
            let sum = (f32::from_bits((base as u32) << 16) + by).to_bits();
            let rounded = sum.wrapping_add(0x8000) >> 16;
            let rest = sum.wrapping_sub(rounded << 16) as i32;
            let down = (rest < 0) != (sum >> 31 == 1);
            (
                rounded as u64,
                context(down && rest != 0, rest.unsigned_abs() >= 0x4000),
            )
        }
        (16, _) => {
            let sum = f16::from_bits(base as u16).to_f32() + by;
            let rounded = f16::from_f32(sum);
            let bits = rounded.to_bits() as u64;
            let rest = sum - rounded.to_f32();
            let quarter = power_of_two(layout.exponent(bits) - layout.unit_exponent() - 2);
            (bits, context(rest < 0.0, rest.abs() >= quarter))
        }
        _ => ((f32::from_bits(base as u32) + by).to_bits() as u64, 0),
    }
}

#[inline(always)]
fn context(negative: bool, large: bool) -> u8 {
    (1 + large as u8) | if negative { FLIP } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::Dtype;

    #[test]
    fn moves_round_and_leave_a_context() {
        let bf16 = Layout::of(Dtype::BF16);
        let one = 0x3f80;
        let step = 1.0 / 128.0;
        assert_eq!(move_weight(bf16, one, 0.0), (one, 1));
        assert_eq!(move_weight(bf16, one, step * 0.3), (one, 2));
        assert_eq!(move_weight(bf16, one, step * 0.8), (one + 1, 1 | FLIP));
        assert_eq!(move_weight(bf16, one, step * 1.7), (one + 2, 2 | FLIP));
        let minus = one | 0x8010;
        assert_eq!(move_weight(bf16, minus, 0.0), (minus, 1));
        assert_eq!(move_weight(bf16, minus, step * 0.2), (minus, 1));
        assert_eq!(move_weight(bf16, minus, -step * 0.3), (minus, 2 | FLIP));
        assert_eq!(move_weight(bf16, minus, -step * 0.8), (minus + 1, 1));
        assert_eq!(move_weight(bf16, 0x7f80, 1.0), (0x7f80, 1));
        assert_eq!(move_weight(bf16, 0x7f7f, f32::MAX).0, 0x7f80);
        let f16 = Layout::of(Dtype::F16);
        assert_eq!(move_weight(f16, 0x3c00, 0.8 / 1024.0), (0x3c01, 1 | FLIP));
        assert_eq!(move_weight(f16, 0x3c00, 0.3 / 1024.0), (0x3c00, 2));
        assert_eq!(move_weight(f16, 0x3c00, 1e30).0, 0x7c00);
        let f32 = Layout::of(Dtype::F32);
        assert_eq!(move_weight(f32, 0x3f80_0000, 1.0), (0x4000_0000, 0));
        assert_eq!(move_weight(f32, 0x7fc0_0001, 1.0), (0x7fc0_0001, 0));
    }
}
