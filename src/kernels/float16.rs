//! The two 16-bit floats as bit patterns: exact widening to float32, one rounding to nearest even back.
//!
//! Everything is branch-free integer work on one value, so that loops over it vectorise.

/// float16 to float32, exact. A NaN keeps its sign and payload.
#[inline(always)]
pub fn f16_to_f32(h: u16) -> f32 {
    let sign = u32::from(h & 0x8000) << 16;
    let magnitude = u32::from(h & 0x7fff) << 13;
    // Normal numbers only need another exponent bias. A subnormal one gets the exponent of 2^-14 and loses 2^-14 again
    // (exact). Multiplying by 2^112 would do both, but float32 subnormals as operands are slow on x86.
    let normal = magnitude + (112 << 23);
    let subnormal = (f32::from_bits(magnitude | (113 << 23)) - f32::from_bits(113 << 23)).to_bits();
    let special = magnitude | 0x7f80_0000;
    let bits = if magnitude < 0x0080_0000 {
        subnormal
    } else if magnitude < 0x0f80_0000 {
        normal
    } else {
        special
    };
    f32::from_bits(sign | bits)
}

/// float32 to float16, nearest even. From 65520 on infinity, up to 2^-25 zero; every NaN gives a quiet NaN of its sign.
#[inline(always)]
pub fn f32_to_f16(x: f32) -> u16 {
    const MAGIC: u32 = (127 - 15 + 23 - 10 + 1) << 23; // 0.5: its last mantissa bit weighs 2^-24
    let bits = x.to_bits();
    let sign = (bits >> 16) & 0x8000;
    let magnitude = bits & 0x7fff_ffff;
    let normal = magnitude.wrapping_sub((112 << 23) - 0xfff - ((magnitude >> 13) & 1)) >> 13;
    // The float addition rounds to a multiple of 2^-24, to nearest even.
    let subnormal = (f32::from_bits(magnitude) + f32::from_bits(MAGIC))
        .to_bits()
        .wrapping_sub(MAGIC);
    let rounded = if magnitude < (113 << 23) { subnormal } else { normal };
    let bounded = if magnitude >= (143 << 23) { 0x7c00 } else { rounded };
    let half = if magnitude > 0x7f80_0000 { 0x7e00 } else { bounded };
    (sign | half) as u16
}

/// bfloat16 to float32, exact.
#[inline(always)]
pub fn bf16_to_f32(b: u16) -> f32 {
    f32::from_bits(u32::from(b) << 16)
}

/// float32 to bfloat16, nearest even. A NaN stays one: its upper half with the quiet bit set.
#[inline(always)]
pub fn f32_to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    let nan = (bits >> 16) | 0x0040;
    (if bits & 0x7fff_ffff > 0x7f80_0000 { nan } else { rounded }) as u16
}

/// A float64 rounded **once** to float16, nearest even.
///
/// Through float32 there would be two roundings: 1 + 2^-11 + 2^-40 must give 0x3c01, not 0x3c00.
pub fn rne16(x: f64) -> u16 {
    let bits = x.to_bits();
    let sign = ((bits >> 48) & 0x8000) as u16;
    let exponent = ((bits >> 52) & 0x7ff) as i32 - 1023;
    let mantissa = bits & ((1 << 52) - 1);
    if exponent == 1024 {
        return sign | if mantissa == 0 { 0x7c00 } else { 0x7e00 };
    }
    if exponent < -25 {
        return sign; // below 2^-25, half the smallest float16; float64 subnormals too
    }
    if exponent > 15 {
        return sign | 0x7c00;
    }
    let full = mantissa | (1 << 52);
    let drop = if exponent >= -14 { 42 } else { (28 - exponent) as u32 };
    let kept = full >> drop;
    let rest = full & ((1 << drop) - 1);
    let half = 1u64 << (drop - 1);
    let up = u64::from(rest > half || (rest == half && kept & 1 == 1));
    // A mantissa that rounds up to the next power of two carries into the exponent, at the top into infinity.
    let bias = if exponent >= -14 {
        ((exponent + 14) as u64) << 10
    } else {
        0
    };
    sign | (bias + kept + up) as u16
}

/// The largest magnitude among those that float16 is too coarse for: its bits, 0 if there is none.
///
/// Too coarse means off by more than 1 %, which happens to some numbers below 3e-6. Infinite and NaN do not count, nor
/// what is too large.
pub fn largest_lost(values: &[f32]) -> u32 {
    let mut largest = 0;
    for &v in values {
        let a = v.abs();
        // Rounds to a multiple of 2^-24, the spacing of the smallest float16 numbers; far above them it is finer than
        // float16, but then 1 % is out of reach anyway.
        let rounded = (a + 0.5) - 0.5;
        let lost = (rounded - a).abs() > 0.01 * a;
        let bits = if lost { a.to_bits() } else { 0 };
        largest = if bits > largest { bits } else { largest };
    }
    largest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widens_every_float16_and_comes_back() {
        for h in 0..=u16::MAX {
            let wide = f16_to_f32(h);
            let oracle = half::f16::from_bits(h).to_f32();
            if oracle.is_nan() {
                assert!(wide.is_nan());
                assert!(half::f16::from_bits(f32_to_f16(wide)).is_nan());
                assert!(half::f16::from_bits(rne16(f64::from(wide))).is_nan());
            } else {
                assert_eq!(wide.to_bits(), oracle.to_bits());
                assert_eq!(f32_to_f16(wide), h);
                assert_eq!(rne16(f64::from(wide)), h);
            }
        }
    }

    #[test]
    fn rounds_float32_like_the_oracle_around_every_float16() {
        for h in 0..0x7c00u16 {
            let low = f16_to_f32(h);
            let high = if h == 0x7bff { 65536.0 } else { f16_to_f32(h + 1) };
            let middle = (low + high) / 2.0;
            for bits in [low.to_bits(), middle.to_bits()] {
                for near in bits.saturating_sub(2)..=bits + 2 {
                    for x in [f32::from_bits(near), -f32::from_bits(near)] {
                        assert_eq!(f32_to_f16(x), half::f16::from_f32(x).to_bits(), "{x:e}");
                        assert_eq!(rne16(f64::from(x)), half::f16::from_f32(x).to_bits(), "{x:e}");
                    }
                }
            }
        }
    }

    #[test]
    fn rounds_float64_once() {
        let tiny = |e: i32| 2f64.powi(e);
        assert_eq!(rne16(1.0 + tiny(-11)), 0x3c00);
        assert_eq!(rne16(1.0 + tiny(-11) + tiny(-40)), 0x3c01);
        assert_eq!(rne16(1.0 + 3.0 * tiny(-11)), 0x3c02);
        assert_eq!(rne16(1.0 + 3.0 * tiny(-11) - tiny(-40)), 0x3c01);
        assert_eq!(rne16(tiny(-25)), 0);
        assert_eq!(rne16(tiny(-25) + tiny(-70)), 1);
        assert_eq!(rne16(-(tiny(-25) + tiny(-70))), 0x8001);
        assert_eq!(rne16(1.5 * tiny(-24)), 2);
        assert_eq!(rne16(1.5 * tiny(-24) - tiny(-70)), 1);
        assert_eq!(rne16(tiny(-14) - tiny(-25) - tiny(-60)), 0x03ff);
        assert_eq!(rne16(tiny(-14) - tiny(-25)), 0x0400);
        assert_eq!(rne16(65520.0 - 1e-9), 0x7bff);
        assert_eq!(rne16(65520.0), 0x7c00);
        assert_eq!(rne16(1e300), 0x7c00);
        assert_eq!(rne16(-f64::INFINITY), 0xfc00);
        assert_eq!(rne16(-0.0), 0x8000);
        assert_eq!(rne16(f64::MIN_POSITIVE / 2.0), 0);
    }

    #[test]
    fn rounds_to_bfloat16_like_the_oracle() {
        for high in 0..=u16::MAX {
            for low in [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
                let x = f32::from_bits(u32::from(high) << 16 | low);
                let oracle = half::bf16::from_f32(x);
                let ours = half::bf16::from_bits(f32_to_bf16(x));
                if x.is_nan() {
                    assert!(ours.is_nan());
                } else {
                    assert_eq!(ours.to_bits(), oracle.to_bits());
                    assert_eq!(bf16_to_f32(ours.to_bits()).to_bits(), oracle.to_f32().to_bits());
                }
            }
        }
    }

    #[test]
    fn finds_what_float16_is_too_coarse_for() {
        let step = 2f32.powi(-24);
        assert_eq!(
            largest_lost(&[0.0, step, -7.0 * step, 1.0, 7e4, f32::NAN, f32::INFINITY]),
            0
        );
        assert_eq!(largest_lost(&[1.0, -1.1 * step, 1e-9]), (1.1 * step).to_bits());
        let mut x = 1e-9f32;
        while x < 1.0 {
            let lost = (f16_to_f32(f32_to_f16(x)) - x).abs() > 0.01 * x;
            assert_eq!(largest_lost(&[x]) != 0, lost, "{x:e}");
            x *= 1.01;
        }
    }
}
