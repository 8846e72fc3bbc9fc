//! Classes, lanes and result of 16 weights at a time; raw bits afterwards, from a list of who needs them.
//!
//! Loops are functions of their own, not inlined: in a large one the engine's registers do not last.
#![allow(unsafe_code)]

use super::lanes::{fold16, negated, Classes, Lanes};
use super::rans::{load_states, store_states};
use super::values::load;
use crate::kernels::v2::alphabet;
use crate::kernels::v2::bits::BitReader;
use crate::kernels::v2::predict::FLIP;
use crate::kernels::v2::rans::LANES;
use crate::kernels::v2::read_row::{Decoding, Source, Start, Streams};
use core::arch::wasm32::*;

/// Positions of the set bits of a byte, in order; the rest is 0.
static POSITIONS: [[u8; 8]; 256] = {
    let mut t = [[0; 8]; 256];
    let mut m = 0;
    while m < 256 {
        let (mut bit, mut n) = (0, 0);
        while bit < 8 {
            if m >> bit & 1 == 1 {
                t[m][n] = bit;
                n += 1;
            }
            bit += 1;
        }
        m += 1;
    }
    t
};

/// Which weights of a row need raw bits.
#[derive(Default)]
pub struct List {
    /// First column of a group and the group's mask; beyond the first `n`, what earlier rows left.
    pub(super) groups: Vec<(u32, u32)>,
    pub(super) n: usize,
    positions: Vec<u16>,
}

impl List {
    /// Room for so many groups, none of them listed.
    #[inline(always)]
    pub(super) fn clear(&mut self, room: usize) {
        self.n = 0;
        if self.groups.len() < room {
            self.groups.resize(room, (0, 0));
        }
    }

    /// The columns of the listed weights.
    #[inline(always)]
    pub(super) fn positions(&mut self) -> &[u16] {
        // Eight positions are stored at a time.
        let room = 16 * self.n + 8;
        if self.positions.len() < room {
            self.positions.resize(room, 0);
        }
        let mut n = 0;
        for &(column, mask) in &self.groups[..self.n] {
            for half in 0..2 {
                let byte = (mask >> (8 * half) & 255) as usize;
                // SAFETY: 8 bytes of a table row are read; at most 16 positions a group are kept, so there is room for 8.
                unsafe {
                    let p = u16x8_load_extend_u8x8(POSITIONS[byte].as_ptr());
                    let p = i16x8_add(p, i16x8_splat((column + 8 * half) as i16));
                    v128_store(self.positions.as_mut_ptr().add(n) as *mut v128, p);
                }
                n += byte.count_ones() as usize;
            }
        }
        &self.positions[..n]
    }
}

/// What codes and the base make of 16 weights, and the mask of those that need raw bits.
#[inline(always)]
fn results<const PREDICTED: bool>(
    fold_mask: v128,
    from: [v128; 2],
    variants: [v128; 2],
    codes: [v128; 2],
) -> ([v128; 2], u32) {
    let exact = i16x8_splat(alphabet::EXACT as i16);
    let long = unrolled!([0, 1] | h | i16x8_gt(i16x8_abs(codes[h]), exact));
    let mask = i8x16_bitmask(i8x16_narrow_i16x8(long[0], long[1])) as u32;
    let out = unrolled!(
        [0, 1] | h | {
            let mut u = codes[h];
            if PREDICTED {
                // Bytes were extended with their sign, which is `FLIP`.
                u = negated(u, variants[h]);
            }
            fold16(i16x8_add(fold16(from[h], fold_mask), u), fold_mask)
        }
    );
    (out, mask)
}

/// See [`decode_row`](crate::kernels::v2::read_row::decode_row).
pub fn decode_row(
    decoding: &Decoding<'_>,
    source: &Source<'_>,
    streams: &mut Streams,
    list: &mut List,
    out: &mut [u8],
) {
    let Decoding { contexts, tables, .. } = *decoding;
    let Start { layout, variants, .. } = source.start;
    assert!(contexts.count() <= tables.contexts());
    let classes = Classes::new(layout.mantissa, layout.exponent_mask, contexts, source.row);
    let lanes = Lanes::new(tables);
    match (variants.is_empty(), classes.is_usual() && lanes.is_usual()) {
        (true, true) => run::<false, true>(&classes, &lanes, source, streams, list, out),
        (false, true) => run::<true, true>(&classes, &lanes, source, streams, list, out),
        (_, false) => run::<true, false>(&classes, &lanes, source, streams, list, out),
    }
    expand(source, streams, list, out);
}

#[inline(never)]
fn run<const PREDICTED: bool, const USUAL: bool>(
    classes: &Classes,
    lanes: &Lanes,
    source: &Source<'_>,
    streams: &mut Streams,
    list: &mut List,
    out: &mut [u8],
) {
    let Start { layout, from, variants } = source.start;
    let n = from.len() / 2;
    let (whole, rest) = (n / LANES, n % LANES);
    assert!(out.len() == 2 * n && source.columns.len() >= n.div_ceil(LANES) * LANES);
    let predicted = PREDICTED && !variants.is_empty();
    assert!(!predicted || variants.len() >= n);
    list.clear(whole + 1);
    let fold_mask = i16x8_splat(if layout.is_float() { 0x7fff } else { 0 });
    let mut x = load_states(&streams.states);
    let words = &mut streams.words;
    let end = words.len + 2;
    let start = words.bytes.as_ptr();
    let mut n_groups = 0;
    let mut at = words.at;
    // SAFETY: all pointers stay inside the slices whose lengths were compared above; `at` is at most two bytes beyond
    // the words, after which 48 bytes are there, of which a group looks at 40 at most.
    unsafe {
        for g in 0..whole {
            let from = load(from.as_ptr().add(32 * g));
            let columns = load(source.columns.as_ptr().add(16 * g) as *const u8);
            let variants = if predicted {
                let v = v128_load(variants.as_ptr().add(16 * g) as *const v128);
                [i16x8_extend_low_i8x16(v), i16x8_extend_high_i8x16(v)]
            } else {
                [i16x8_splat(0); 2]
            };
            let contexts = classes.contexts::<PREDICTED, USUAL>(from, columns, variants);
            let mut p = start.add(at);
            let codes = lanes.symbols::<USUAL>(&mut x, contexts, &mut p);
            let (result, mask) = results::<PREDICTED>(fold_mask, from, variants, codes);
            let to = out.as_mut_ptr().add(32 * g) as *mut v128;
            v128_store(to, result[0]);
            v128_store(to.add(1), result[1]);
            at = (p.offset_from(start) as usize).min(end);
            *list.groups.as_mut_ptr().add(n_groups) = (16 * g as u32, mask);
            n_groups += (mask != 0) as usize;
        }
    }
    if rest > 0 {
        let mut last = [0u8; 32];
        last[..2 * rest].copy_from_slice(&from[32 * whole..]);
        let mut last_variants = [0u8; 16];
        if predicted {
            last_variants[..rest].copy_from_slice(&variants[16 * whole..n]);
        }
        let mut result = [0u8; 32];
        // SAFETY: as above; the arrays are as long as the vectors that are loaded and stored.
        unsafe {
            let from = load(last.as_ptr());
            let columns = load(source.columns.as_ptr().add(16 * whole) as *const u8);
            let v = v128_load(last_variants.as_ptr() as *const v128);
            let variants = [i16x8_extend_low_i8x16(v), i16x8_extend_high_i8x16(v)];
            let contexts = classes.contexts::<PREDICTED, USUAL>(from, columns, variants);
            let mut p = start.add(at);
            let codes = lanes.symbols::<USUAL>(&mut x, lanes.padded(contexts, rest), &mut p);
            let (r, mask) = results::<PREDICTED>(fold_mask, from, variants, codes);
            v128_store(result.as_mut_ptr() as *mut v128, r[0]);
            v128_store(result.as_mut_ptr().add(16) as *mut v128, r[1]);
            at = (p.offset_from(start) as usize).min(end);
            list.groups[n_groups] = (16 * whole as u32, mask);
            n_groups += (mask != 0) as usize;
        }
        out[32 * whole..].copy_from_slice(&result[..2 * rest]);
    }
    words.at = at;
    store_states(x, &mut streams.states);
    list.n = n_groups;
}

/// Reads the raw bits of the listed weights and puts their results right.
fn expand(source: &Source<'_>, streams: &mut Streams, list: &mut List, out: &mut [u8]) {
    if list.n == 0 {
        return;
    }
    let positions = list.positions();
    let start = &source.start;
    let bits = &mut streams.raw;
    match (start.layout.is_float(), start.variants.is_empty()) {
        (true, true) => fix::<true, false>(positions, start, bits, out),
        (true, false) => fix::<true, true>(positions, start, bits, out),
        (false, true) => fix::<false, false>(positions, start, bits, out),
        (false, false) => fix::<false, true>(positions, start, bits, out),
    }
}

#[inline(always)]
fn key<const FLOAT: bool>(b: u16) -> i16 {
    let x = b as i16;
    if FLOAT {
        x ^ ((x >> 15) & 0x7fff)
    } else {
        x
    }
}

/// What a code beyond the exact ones says of a 16-bit difference: number of raw bits (bits 0 to 5), whether it is
/// negative (bit 7), and what is added to the raw bits (from bit 8 on, modulo 2^16); see [`alphabet::decode`].
pub(super) static LONG: [u32; 256] = {
    let mut t = [0; 256];
    let mut i = 0;
    while i < 256 {
        let code = i as u8 as i8;
        let m = (code as i32).unsigned_abs();
        if m >= 33 && m <= 126 {
            let n = ((m - 33) >> 1) + 4;
            let lowest = ((2 + ((m - 33) & 1) as u64) << n) as u16 as u32;
            t[i] = n | ((code < 0) as u32) << 7 | (lowest + 1) << 8;
        } else if m > 127 {
            t[i] = 16;
        }
        i += 1;
    }
    t
};

#[inline(never)]
fn fix<const FLOAT: bool, const PREDICTED: bool>(
    positions: &[u16],
    start: &Start<'_>,
    bits: &mut BitReader,
    out: &mut [u8],
) {
    let from = start.from.as_ptr() as *const u16;
    let results = out.as_mut_ptr() as *mut u16;
    let raw = bits.bytes.as_ptr();
    for &at in positions {
        let at = at as usize;
        // SAFETY: positions are those of weights of the row, which all slices hold.
        let (b, o, flip) = unsafe {
            let flip = PREDICTED && *start.variants.get_unchecked(at) & FLIP != 0;
            (
                key::<FLOAT>(from.add(at).read_unaligned()),
                key::<FLOAT>(results.add(at).read_unaligned()),
                -(flip as i16),
            )
        };
        let code = (o.wrapping_sub(b) ^ flip).wrapping_sub(flip);
        let long = LONG[(code & 255) as usize];
        let byte = ((bits.at >> 3) as usize).min(bits.len);
        // SAFETY: eight bytes follow the last one.
        let word = unsafe { (raw.add(byte) as *const u64).read_unaligned() } >> (bits.at & 7);
        let n = long & 63;
        bits.at += n as u64;
        let magnitude = ((long >> 8) as u64 + (word & ((1 << n) - 1))) as i16;
        let sign = flip ^ -((long >> 7 & 1) as i16);
        let u = (magnitude ^ sign).wrapping_sub(sign);
        let moved = key::<FLOAT>(b.wrapping_add(u) as u16) as u16;
        let is_zero = code.unsigned_abs() == alphabet::ZERO as u16;
        let x = if is_zero { code as u16 & 0x8000 } else { moved };
        // SAFETY: as above.
        unsafe { results.add(at).write_unaligned(x) };
    }
}
