//! The symbols: small differences by themselves, larger ones as a bucket and raw bits.
//!
//! A code is an `i8`. `-32..=32` stand for themselves. Beyond, with `v = |u| - 1 >= 32` and `o = floor(log2 v)`, the
//! code's magnitude is `33 + 2 * (o - 5) + next bit of v`, its sign is the sign of `u`, and the `o - 1` bits of `v` that
//! remain go to the raw stream. [`ESCAPE`] stands for any `u` at all, with all its bits raw; it also replaces symbols
//! that a table leaves out.

/// Largest magnitude that has a symbol of its own.
pub const EXACT: i64 = 32;

/// The code whose raw bits are the whole difference.
pub const ESCAPE: i8 = -128;

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
        // 127 and -127 are not written; read as an escape, they do no harm.
        _ => width,
    }
}

/// The difference that a code with `n = raw_bits(code)` raw bits stands for. The caller takes it modulo 2^width.
#[inline(always)]
pub fn decode(code: i8, n: u32, raw: u64) -> i64 {
    let c = code as i64;
    let m = c.abs();
    if m <= EXACT {
        return c;
    }
    decode_long(c, n, raw)
}

/// [`decode`] for codes beyond [`EXACT`], without a choice on the sign.
#[inline(always)]
pub fn decode_long(code: i64, n: u32, raw: u64) -> i64 {
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
    fn any_escape_is_the_difference_itself() {
        for u in [-32768i64, -1, 0, 32767] {
            let c = escape(u, 16);
            assert_eq!(decode(c.code, c.n, c.raw) as i16 as i64, u);
        }
    }
}
