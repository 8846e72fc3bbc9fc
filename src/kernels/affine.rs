//! 16 levels between the minimum and the maximum of a tensor: quantise, and the levels that the decoder will use.

/// Codes of `values`: `clip(roundTiesEven((v - lo) / range * 15), 0, 15)`, four separate float32 roundings; NaN gives 0.
///
/// `range`: the float64 difference of maximum and minimum, rounded to float32. Panics unless the slices are equally
/// long. Source: deltatensors v1, `format::v1` 4.5.
pub fn quantize(values: &[f32], lo: f32, range: f32, codes: &mut [u8]) {
    assert_eq!(values.len(), codes.len());
    for (&v, code) in values.iter().zip(codes) {
        let level = (v - lo) / range * 15.0;
        // Adding 2^23 leaves no fraction bits, so the addition itself rounds, ties to even; both clips come before it
        // (0 and 15 are whole, so the order does not matter) and NaN fails the first comparison.
        let level = if level > 0.0 { level } else { 0.0 };
        let level = if level < 15.0 { level } else { 15.0 };
        *code = (level + 8_388_608.0).to_bits() as u8;
    }
}

/// The 16 levels that `q` decodes to: `f32(f32(f32(q / 15) * g) + zero_point)` with `g = scale * 15`.
///
/// Source: deltatensors v1, `format::v1` 5. `scale` and `zero_point` are widened float16 numbers, so `g` is exact.
pub fn levels(scale: f32, zero_point: f32) -> [f32; 16] {
    let gain = scale * 15.0;
    std::array::from_fn(|q| q as f32 / 15.0 * gain + zero_point)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::random::Lcg32;

    #[test]
    fn rounds_ties_to_even_and_clips() {
        let values = [
            0.0,
            0.5,
            1.5,
            2.5,
            14.5,
            15.0,
            16.0,
            -1.0,
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
        ];
        let mut codes = [0xff; 11];
        quantize(&values, 0.0, 15.0, &mut codes);
        assert_eq!(codes, [0, 0, 2, 2, 14, 15, 15, 0, 0, 15, 0]);
    }

    #[test]
    fn matches_the_definition() {
        let mut lcg = Lcg32(7);
        for _ in 0..20_000 {
            let v = f32::from_bits(lcg.next() >> 9 | 0x3f80_0000) - 1.0;
            let mut code = [0];
            quantize(&[v], 0.01, 0.9, &mut code);
            let want = ((v - 0.01) / 0.9 * 15.0).round_ties_even().clamp(0.0, 15.0) as u8;
            assert_eq!(code[0], want);
        }
    }

    #[test]
    fn levels_round_three_times() {
        let l = levels(0.1, -0.7);
        assert_eq!(l[0], -0.7);
        assert_eq!(l[15].to_bits(), (0.1f32 * 15.0 + -0.7).to_bits());
        assert_eq!(l[7].to_bits(), (7.0f32 / 15.0 * (0.1 * 15.0) + -0.7).to_bits());
    }
}
