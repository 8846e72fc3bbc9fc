//! The symbols: small differences by themselves, larger ones as a bucket and raw bits.
//!
//! A code is an `i8`. `-32..=32` stand for themselves. Beyond, with `v = |u| - 1 >= 32` and `o = floor(log2 v)`, the
//! code's magnitude is `33 + 2 * (o - 5) + next bit of v`, its sign is the sign of `u`, and the `o - 1` bits of `v` that
//! remain go to the raw stream. [`ESCAPE`] stands for any `u` at all, with all its bits raw; it also replaces symbols
//! that a table leaves out. [`ZERO`] and its negative say that the result is 0 or -0, wherever it comes from: weights
//! that were pruned away are as cheap as they are frequent.

/// Largest magnitude that has a symbol of its own.
pub const EXACT: i64 = 32;

/// The code whose raw bits are the whole difference.
pub const ESCAPE: i8 = -128;

/// The code of a result that is 0; its negative is that of -0 (only the highest bit set). They have no raw bits.
pub const ZERO: i8 = 127;

/// Largest magnitude of a bucket code: two for each of the octaves from 2^5 to 2^51.
pub const LAST_BUCKET: i32 = 126;

/// A code with its raw bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coded {
    /// The symbol.
    pub code: i8,
    /// Number of raw bits.
    pub n: u32,
    /// The raw bits, the lowest first.
    pub raw: u64,
}

/// The code of `u` when it has a symbol of its own or a bucket, else [`ESCAPE`] with `width` bits.
#[inline(always)]
pub fn encode(u: i64, width: u32) -> Coded {
    if u.unsigned_abs() <= EXACT as u64 {
        return Coded {
            code: u as i8,
            n: 0,
            raw: 0,
        };
    }
    let v = u.unsigned_abs() - 1;
    let octave = 63 - v.leading_zeros();
    let half = (v >> (octave - 1)) & 1;
    let magnitude = 33 + 2 * (octave as i32 - 5) + half as i32;
    if magnitude > LAST_BUCKET {
        return escape(u, width);
    }
    let n = octave - 1;
    Coded {
        code: if u < 0 { -magnitude } else { magnitude } as i8,
        n,
        raw: v & ((1 << n) - 1),
    }
}

/// [`encode`], but for far results that are 0 or -0. `fine`: the result's word, without bits beyond `width`.
#[inline(always)]
pub fn encode_word(u: i64, fine: u64, width: u32) -> Coded {
    let coded = encode(u, width);
    if coded.n > 0 && fine << (65 - width) == 0 {
        return Coded {
            code: if fine == 0 { ZERO } else { -ZERO },
            n: 0,
            raw: 0,
        };
    }
    coded
}

/// The word that a code of [`ZERO`] or its negative stands for.
#[inline(always)]
pub fn zero(code: i8, width: u32) -> Option<u64> {
    (code.unsigned_abs() == ZERO as u8).then_some(((code < 0) as u64) << (width - 1))
}

/// `u` as an escape.
#[inline(always)]
pub fn escape(u: i64, width: u32) -> Coded {
    Coded {
        code: ESCAPE,
        n: width,
        raw: u as u64 & (u64::MAX >> (64 - width)),
    }
}

/// Number of raw bits of a code. `width` is the element's width in bits.
#[inline(always)]
pub const fn raw_bits(code: i8, width: u32) -> u32 {
    let m = (code as i32).unsigned_abs();
    match m {
        0..=32 => 0,
        33..=126 => ((m - 33) >> 1) + 4,
        127 => 0,
        _ => width,
    }
}

/// The difference that a code with `n = raw_bits(code)` raw bits stands for, unless [`zero`] has it. The caller takes it
/// modulo 2^width.
#[inline(always)]
pub fn decode(code: i8, n: u32, raw: u64) -> i64 {
    let c = code as i64;
    let m = c.abs();
    if m <= EXACT {
        return c;
    }
    decode_long(c, n, raw)
}

#[inline(always)]
fn decode_long(code: i64, n: u32, raw: u64) -> i64 {
    let m = code.abs();
    if m > LAST_BUCKET as i64 {
        return raw as i64;
    }
    let v = ((2 + ((m - 33) & 1)) << n) | raw as i64;
    let sign = code >> 63;
    ((v + 1) ^ sign) - sign
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(u: i64, width: u32) -> Coded {
        let c = encode(u, width);
        assert_eq!(c.n, raw_bits(c.code, width), "{u}");
        let spare = 64 - width;
        assert_eq!((decode(c.code, c.n, c.raw) << spare) >> spare, u);
        c
    }

    #[test]
    fn every_16_bit_difference_round_trips() {
        let mut buckets = std::collections::BTreeSet::new();
        for u in i16::MIN..=i16::MAX {
            buckets.insert(check(u as i64, 16).code);
        }
        assert_eq!(buckets.len(), 65 + 2 * 20);
    }

    #[test]
    fn wide_differences_round_trip() {
        for shift in 0..63 {
            for off in [-1i64, 0, 1] {
                for sign in [-1, 1] {
                    let u = sign * ((1i64 << shift) + off);
                    check(u, 64);
                    if shift < 31 {
                        check(u, 32);
                    }
                }
            }
        }
        assert_eq!(check(i64::MIN, 64).code, ESCAPE);
        assert_eq!(check(1 << 52, 64).code, 126);
        assert_eq!(check((1 << 52) + 1, 64).code, ESCAPE);
        check(i32::MIN as i64, 32);
    }

    #[test]
    fn far_zeros_have_codes_of_their_own() {
        for width in [8, 16, 32, 64] {
            let top = 1u64 << (width - 1);
            for (fine, code) in [(0, ZERO), (top, -ZERO)] {
                for u in [33, -33, 1 << 6] {
                    let coded = encode_word(u, fine, width);
                    assert_eq!((coded.code, coded.n), (code, raw_bits(code, width)));
                    assert_eq!(zero(coded.code, width), Some(fine));
                }
                assert_eq!(encode_word(-32, fine, width), encode(-32, width));
                assert_eq!(encode_word(40, fine | 1, width), encode(40, width));
            }
        }
        assert!([0, 126, -126, ESCAPE].iter().all(|&code| zero(code, 16).is_none()));
    }

    #[test]
    fn any_escape_is_the_difference_itself() {
        for u in [-32768i64, -1, 0, 32767] {
            let c = escape(u, 16);
            assert_eq!(decode(c.code, c.n, c.raw) as i16 as i64, u);
        }
    }
}
