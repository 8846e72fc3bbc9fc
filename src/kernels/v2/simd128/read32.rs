//! Rows of 32-bit weights, 16 at a time. Most weights have raw bits here, so that they are read at once.
//!
//! A prediction leaves no contexts behind in weights this wide
//! ([`move_weight`](crate::kernels::v2::predict::move_weight)): variants are not looked at.
#![allow(unsafe_code)]

use super::lanes::{fold32, Classes, Lanes};
use super::rans::{load_states, store_states};
use super::values::{load, signed};
use crate::kernels::v2::alphabet::{raw_bits, ESCAPE, ZERO};
use crate::kernels::v2::bits::BitReader;
use crate::kernels::v2::rans::LANES;
use crate::kernels::v2::read_row::{Decoding, Source, Start, Streams};
use core::arch::wasm32::*;

/// What a code says of a 32-bit difference: number of raw bits (bits 0 to 7) and what is added to them for the
/// magnitude (from bit 8 on, modulo 2^32). The difference of an escape is its raw bits.
static LONG: [u64; 256] = {
    let mut t = [0; 256];
    let mut i = 0;
    while i < 256 {
        let code = i as u8 as i8;
        let m = (code as i64).unsigned_abs();
        let n = raw_bits(code, 32);
        let lowest = match m {
            0..=32 => m,
            33..=126 => ((2 + ((m - 33) & 1)) << n) + 1,
            // Zeros have none, and escapes are nothing but raw bits.
            _ => 0,
        };
        t[i] = n as u64 | lowest << 8;
        i += 1;
    }
    t
};

/// The magnitudes of 16 differences.
#[inline(always)]
fn magnitudes(codes: &[u8; LANES], bits: &mut BitReader, out: &mut [u32; LANES]) {
    let raw = bits.bytes.as_ptr();
    for (code, out) in codes.iter().zip(out) {
        let long = LONG[*code as usize];
        let byte = ((bits.at >> 3) as usize).min(bits.len);
        // SAFETY: eight bytes follow the last one.
        let word = unsafe { (raw.add(byte) as *const u64).read_unaligned() } >> (bits.at & 7);
        let n = long & 255;
        bits.at += n;
        *out = ((long >> 8).wrapping_add(word & ((1 << n) - 1))) as u32;
    }
}

/// What codes and the base make of 16 weights.
#[inline(always)]
fn results(fold_mask: v128, from: [v128; 4], codes: [v128; 2], bits: &mut BitReader) -> [v128; 4] {
    let (mut bytes, mut found) = ([0u8; LANES], [0u32; LANES]);
    // SAFETY: 16 codes, and 16 magnitudes of 4 bytes.
    let found: [v128; 4] = unsafe {
        v128_store(bytes.as_mut_ptr() as *mut v128, i8x16_narrow_i16x8(codes[0], codes[1]));
        magnitudes(&bytes, bits, &mut found);
        load(found.as_ptr() as *const u8)
    };
    let codes = signed(codes);
    unrolled!(
        [0, 1, 2, 3] | v | {
            // An escape has its sign in its raw bits.
            let is_escape = i32x4_eq(codes[v], i32x4_splat(ESCAPE as i32));
            let negative = v128_andnot(i32x4_shr(codes[v], 31), is_escape);
            let u = i32x4_sub(v128_xor(found[v], negative), negative);
            let moved = fold32(i32x4_add(fold32(from[v], fold_mask), u), fold_mask);
            let is_zero = i32x4_eq(i32x4_abs(codes[v]), i32x4_splat(ZERO as i32));
            v128_bitselect(i32x4_shl(negative, 31), moved, is_zero)
        }
    )
}

/// The upper halves of 16 weights: sign and exponent of a float32 lie there.
#[inline(always)]
pub(super) fn upper(x: [v128; 4]) -> [v128; 2] {
    unrolled!([0, 1] | h | i16x8_shuffle::<1, 3, 5, 7, 9, 11, 13, 15>(x[2 * h], x[2 * h + 1]))
}

/// See [`decode_row`](crate::kernels::v2::read_row::decode_row).
pub fn decode_row(decoding: &Decoding<'_>, source: &Source<'_>, streams: &mut Streams, out: &mut [u8]) {
    let Decoding { contexts, tables, .. } = *decoding;
    let Start { layout, from, .. } = source.start;
    let n = out.len() / 4;
    let (whole, rest) = (n / LANES, n % LANES);
    assert!(from.len() == 4 * n && out.len() == 4 * n);
    assert!(source.columns.len() >= n.div_ceil(LANES) * LANES);
    assert!(contexts.count() <= tables.contexts());
    let classes = Classes::new(
        layout.mantissa.saturating_sub(16),
        layout.exponent_mask,
        contexts,
        source.row,
    );
    let lanes = Lanes::new(tables);
    let fold_mask = i32x4_splat(if layout.is_float() { i32::MAX } else { 0 });
    let mut x = load_states(&streams.states);
    let Streams { words, raw, .. } = streams;
    let end = words.len + 2;
    let start = words.bytes.as_ptr();
    let mut at = words.at;
    for g in 0..whole + (rest > 0) as usize {
        // The last group works on a copy.
        let mut copy = [0u8; 64];
        let last = g == whole;
        if last {
            copy[..4 * rest].copy_from_slice(&from[64 * whole..]);
        }
        // SAFETY: whole groups lie inside the slices whose lengths were compared above, a copy has room for one; `at` is
        // at most two bytes beyond the words, after which 48 bytes are there, of which a group looks at 40 at most.
        unsafe {
            let from = load(if last { copy.as_ptr() } else { from.as_ptr().add(64 * g) });
            let columns = load(source.columns.as_ptr().add(16 * g) as *const u8);
            let mut contexts = classes.contexts::<false, false>(upper(from), columns, [i16x8_splat(0); 2]);
            if last {
                contexts = lanes.padded(contexts, rest);
            }
            let mut p = start.add(at);
            let codes = lanes.symbols::<false>(&mut x, contexts, &mut p);
            at = (p.offset_from(start) as usize).min(end);
            let result = results(fold_mask, from, codes, raw);
            let to = if last {
                copy.as_mut_ptr()
            } else {
                out.as_mut_ptr().add(64 * g)
            } as *mut v128;
            unrolled!([0, 1, 2, 3] | v | v128_store(to.add(v), result[v]));
        }
        if last {
            out[64 * whole..].copy_from_slice(&copy[..4 * rest]);
        }
    }
    words.at = at;
    store_states(x, &mut streams.states);
}
