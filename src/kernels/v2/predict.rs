//! The low-rank prediction of a row, in representable steps of the base's weights.
//!
//! Weight `(i, j)` is predicted as `sum over k of left[i][k] * gain[k] * right[j][k]`, an integer, times
//! `2^(octave[i] + octave[j] - exponent - shift)`, rounded to the nearest whole number of steps, ties to even. What was
//! rounded away is context: its sign flips the sign of the difference that is coded, so that it always points the same
//! way, and its size (less than a quarter, or more) chooses the table.

/// Largest magnitude of a prediction.
pub const MAX_PREDICTION: f32 = (1 << 24) as f32;

/// What is rounded away from a prediction, as context: 1 or 2, plus [`FLIP`] where it is negative.
pub const FLIP: u8 = 128;

/// `2^n` for `n` in `-126..=127`, clamped.
#[inline(always)]
pub fn power_of_two(n: i32) -> f32 {
    f32::from_bits(((n.clamp(-126, 127) + 127) as u32) << 23)
}

/// Rounds `sum * 2^octaves` and says what is left over.
#[inline(always)]
pub fn round(sum: i32, octaves: i32) -> (i32, u8) {
    let exact = (sum as f32 * power_of_two(octaves)).clamp(-MAX_PREDICTION, MAX_PREDICTION);
    let p = exact.round_ties_even();
    let rest = exact - p;
    let level = 1 + (rest.abs() >= 0.25) as u8;
    (p as i32, if rest < 0.0 { level | FLIP } else { level })
}

/// Predicts a row. `left`: factors of the row times the gains. `right`: `rank` factors per column. `octaves`: per
/// column, everything of the exponent but the base's part; `exponents`: that part.
pub fn predict_row(
    left: &[i16],
    right: &[i8],
    octaves: &[i16],
    row_octave: i32,
    exponents: &[i16],
    steps: &mut [i32],
    contexts: &mut [u8],
) {
    let rank = left.len();
    for ((((r, &o), &e), step), context) in
        right.chunks_exact(rank).zip(octaves).zip(exponents).zip(steps).zip(contexts)
    {
        let mut sum = 0i32;
        for (&l, &r) in left.iter().zip(r) {
            sum += l as i32 * r as i32;
        }
        (*step, *context) = round(sum, row_octave + o as i32 - e as i32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_leaves_a_context() {
        assert_eq!(round(5, -1), (2, 2));
        assert_eq!(round(7, -1), (4, 2 | FLIP));
        assert_eq!(round(9, -3), (1, 1));
        assert_eq!(round(-9, -3), (-1, 1 | FLIP));
        assert_eq!(round(3, -2), (1, 2 | FLIP));
        assert_eq!(round(i32::MAX, 100), (1 << 24, 1));
        assert_eq!(round(0, -126), (0, 1));
    }
}
