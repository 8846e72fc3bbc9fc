//! What reading and writing a row share: contexts from exponents, and the symbols of 16 weights.
#![allow(unsafe_code)]

use super::rans::step;
use crate::kernels::v2::predict::FLIP;
use crate::kernels::v2::rans::{LANES, LOWER};
use crate::kernels::v2::read_row::Contexts;
use crate::kernels::v2::tables::DecodeTables;
use core::arch::wasm32::*;

/// How the weights of a row get their contexts.
pub struct Classes {
    mantissa: u32,
    exponent_mask: v128,
    log2_q: u32,
    row: v128,
    last_class: v128,
    phased: v128,
}

impl Classes {
    /// `row`: the row's scale; `mantissa`: bits below the exponent in what [`contexts`](Self::contexts) is given.
    pub fn new(mantissa: u32, exponent_mask: u32, contexts: Contexts, row: i32) -> Self {
        assert!(contexts.classes > 0);
        Self {
            mantissa,
            exponent_mask: i16x8_splat(exponent_mask as i16),
            log2_q: contexts.log2_q,
            row: i16x8_splat((row + contexts.offset as i32) as i16),
            last_class: i16x8_splat(contexts.classes as i16 - 1),
            phased: i16x8_splat(contexts.phased as i16),
        }
    }

    /// True when `USUAL` can be set.
    pub fn is_usual(&self) -> bool {
        (self.mantissa, self.log2_q) == (super::USUAL.0, super::USUAL.1)
    }

    /// The contexts of 16 weights as 16-bit numbers. `from`: the part of what coding starts from that has the exponent.
    #[inline(always)]
    pub fn contexts<const PREDICTED: bool, const USUAL: bool>(
        &self,
        from: [v128; 2],
        columns: [v128; 2],
        variants: [v128; 2],
    ) -> [v128; 2] {
        let (mantissa, log2_q) = if USUAL {
            (super::USUAL.0, super::USUAL.1)
        } else {
            (self.mantissa, self.log2_q)
        };
        unrolled!(
            [0, 1] | h | {
                let e = v128_and(u16x8_shr(from[h], mantissa), self.exponent_mask);
                let e = i16x8_shl(i16x8_max(e, i16x8_splat(1)), log2_q);
                let c = i16x8_sub(i16x8_add(columns[h], self.row), e);
                let c = i16x8_max(i16x8_min(c, self.last_class), i16x8_splat(0));
                if PREDICTED {
                    let variant = v128_and(variants[h], i16x8_splat((FLIP - 1) as i16));
                    let own = i16x8_add(i16x8_add(i16x8_shl(c, 1), self.last_class), variant);
                    // None without a variant; one of 1 or 2 leaves the limit as it is.
                    let limit = i16x8_min(self.phased, i16x8_shl(variant, 7));
                    let has_own = i16x8_lt(c, limit);
                    v128_bitselect(own, c, has_own)
                } else {
                    c
                }
            }
        )
    }
}

/// Decoding tables as the lanes need them.
pub struct Lanes {
    table: *const u32,
    log: u32,
    mask: v128,
    /// The largest state that takes a word.
    below: v128,
    /// The context of lanes without a weight.
    padding: v128,
}

impl Lanes {
    /// Lanes that read these tables, which must stay where they are.
    pub fn new(tables: &DecodeTables) -> Self {
        Self {
            table: tables.slots.as_ptr(),
            log: tables.log,
            mask: u32x4_splat((1 << tables.log) - 1),
            below: u32x4_splat(LOWER - 1),
            padding: i16x8_splat(tables.padding() as i16),
        }
    }

    /// True when `USUAL` can be set.
    pub fn is_usual(&self) -> bool {
        self.log == super::USUAL.2
    }

    /// Contexts of a group of which only the first `n` weights are there.
    #[inline(always)]
    pub fn padded(&self, contexts: [v128; 2], n: usize) -> [v128; 2] {
        let present = present(n);
        unrolled!([0, 1] | h | v128_bitselect(contexts[h], self.padding, present[h]))
    }

    /// The codes of 16 weights as 16-bit numbers.
    ///
    /// # Safety
    /// The tables have all the contexts; `words` can be read for 40 bytes.
    #[inline(always)]
    pub unsafe fn symbols<const USUAL: bool>(
        &self,
        x: &mut [v128; 4],
        contexts: [v128; 2],
        words: &mut *const u8,
    ) -> [v128; 2] {
        let log = if USUAL { super::USUAL.2 } else { self.log };
        let c = [
            u32x4_extend_low_u16x8(contexts[0]),
            u32x4_extend_high_u16x8(contexts[0]),
            u32x4_extend_low_u16x8(contexts[1]),
            u32x4_extend_high_u16x8(contexts[1]),
        ];
        let s = unrolled!(
            [0, 1, 2, 3] | v | {
                // SAFETY: passed on from the caller.
                let (state, e) = unsafe {
                    step(
                        x[v],
                        i32x4_shl(c[v], log),
                        self.table,
                        self.mask,
                        log,
                        self.below,
                        words,
                    )
                };
                x[v] = state;
                i32x4_shr(e, 24)
            }
        );
        [i16x8_narrow_i32x4(s[0], s[1]), i16x8_narrow_i32x4(s[2], s[3])]
    }
}

/// All ones in the first `n` of 16 numbers of 16 bits.
#[inline(always)]
pub fn present(n: usize) -> [v128; 2] {
    let mut present = [0i16; LANES];
    present[..n].fill(-1);
    // SAFETY: 16 numbers of 16 bits.
    unsafe { super::values::load(present.as_ptr() as *const u8) }
}

/// Keys of eight bit patterns of 16 bits, and back; `mask` has all bits but the sign for floats, none for integers.
#[inline(always)]
pub fn fold16(x: v128, mask: v128) -> v128 {
    v128_xor(x, v128_and(i16x8_shr(x, 15), mask))
}

/// `x`, negated in the lanes whose `sign` is negative.
#[inline(always)]
pub fn negated(x: v128, sign: v128) -> v128 {
    // The compiler knows this with a subtraction instead, and makes a choice of it that takes longer.
    i16x8_add(v128_xor(x, i16x8_shr(sign, 15)), u16x8_shr(sign, 15))
}

/// [`fold16`] for four words of 32 bits, or of 16 bits that were sign-extended.
#[inline(always)]
pub fn fold32(x: v128, mask: v128) -> v128 {
    v128_xor(x, v128_and(i32x4_shr(x, 31), mask))
}

/// Symbols of an index (contexts in the upper bytes), and the mask of those that their tables may not have or that have
/// raw bits.
///
/// Both are given as 16 numbers of 16 bits that fit 8. `limits`: the reach of the tables, 16 contexts at a time.
#[inline(always)]
pub fn index(limits: &[[u8; 16]], codes: [v128; 2], contexts: [v128; 2]) -> ([v128; 2], u32) {
    let codes = i8x16_narrow_i16x8(codes[0], codes[1]);
    let contexts = u8x16_narrow_i16x8(contexts[0], contexts[1]);
    let (mut limit, mut part) = (i8x16_splat(0), contexts);
    for of_part in limits {
        // SAFETY: sixteen bytes. A look-up beyond them gives 0.
        let of_part = unsafe { v128_load(of_part.as_ptr() as *const v128) };
        limit = v128_or(limit, i8x16_swizzle(of_part, part));
        part = i8x16_sub(part, i8x16_splat(16));
    }
    // The magnitude of -128 is 128 when read without a sign.
    let mask = i8x16_bitmask(u8x16_ge(i8x16_abs(codes), limit)) as u32;
    let symbols = [
        i8x16_shuffle::<0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23>(codes, contexts),
        i8x16_shuffle::<8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31>(codes, contexts),
    ];
    (symbols, mask)
}
