//! Logarithms in fixed point, so that every machine gets the same.

/// Fractional bits of a logarithm or a cost.
pub const FRACTION: u32 = 8;

/// `2^8 * log2(1 + i/256)`, rounded down, found by repeated squaring of integers.
static MANTISSA: [u16; 257] = mantissa();

const fn mantissa() -> [u16; 257] {
    let mut t = [0u16; 257];
    let mut i = 0;
    while i <= 256 {
        // x in [1, 2) with 30 fractional bits; each squaring gives one bit of the logarithm.
        let mut x = ((256 + i) as u64) << 22;
        let mut log = 0;
        if i == 256 {
            log = 256;
        } else {
            let mut bit = 0;
            while bit < 8 {
                x = (x * x) >> 30;
                log <<= 1;
                if x >= 2 << 30 {
                    x >>= 1;
                    log |= 1;
                }
                bit += 1;
            }
        }
        t[i] = log;
        i += 1;
    }
    t
}

/// `256 * log2(x)` for `x >= 1`, to about one part in 256 of an octave; 0 for 0.
#[inline]
pub fn log2_q8(x: u64) -> u32 {
    if x == 0 {
        return 0;
    }
    let octave = 63 - x.leading_zeros();
    // The nine leading bits, rounded down or shifted up.
    let m = if octave >= 8 {
        x >> (octave - 8)
    } else {
        x << (8 - octave)
    };
    (octave << FRACTION) + MANTISSA[(m & 255) as usize] as u32
}

/// `round(q * log2(x))` for a positive finite float, with `log2_q` the logarithm of the steps per octave.
///
/// Zero, subnormal and non-finite numbers give `i32::MIN`.
pub fn steps(x: f32, log2_q: u32) -> i32 {
    let bits = x.to_bits();
    let exponent = (bits >> 23) as i32;
    if exponent == 0 || exponent >= 255 {
        return i32::MIN;
    }
    let m = (bits & 0x7f_ffff) >> 15;
    let q8 = ((exponent - 127) << FRACTION) + MANTISSA[m as usize] as i32;
    (q8 + (1 << (FRACTION - 1 - log2_q))) >> (FRACTION - log2_q)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_real_logarithm() {
        for x in (1..2000).chain((0..50).map(|i| 1u64 << i | 12345)) {
            let d = log2_q8(x) as f64 - 256.0 * (x as f64).log2();
            assert!((-2.5..=0.01).contains(&d), "{x}: {d}");
        }
        assert_eq!(log2_q8(1 << 11), 11 << 8);
    }

    #[test]
    fn steps_round_to_the_nearest() {
        assert_eq!(steps(1.0, 1), 0);
        assert_eq!(steps(2.0, 1), 2);
        assert_eq!(steps(0.25, 1), -4);
        assert_eq!(steps(1.41, 1), 1);
        assert_eq!(steps(1.1, 1), 0);
        assert_eq!(steps(1.1, 2), 1);
        assert_eq!(steps(0.0, 1), i32::MIN);
        assert_eq!(steps(f32::NAN, 1), i32::MIN);
        assert_eq!(steps(-1.0, 1), i32::MIN);
    }
}
