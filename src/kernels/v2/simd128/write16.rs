//! Classes and symbols of 16 weights at a time; raw bits afterwards, from a list of who has them.
//!
//! Loops are functions of their own, not inlined: in a large one the engine's registers do not last.
#![allow(unsafe_code)]

use super::analyse::bucket;
use super::lanes::{fold16, index as symbols, negated, Classes};
use super::read16::{List, LONG};
use super::values::load;
use crate::kernels::v2::alphabet::{self, ESCAPE};
use crate::kernels::v2::bits::BitWriter;
use crate::kernels::v2::rans::LANES;
use crate::kernels::v2::read_row::{Source, Start};
use crate::kernels::v2::write_row::{Coding, Streams};
use core::arch::wasm32::*;

#[inline(always)]
fn contexts<const PLAIN: bool>(k: &Classes, from: [v128; 2], columns: [v128; 2], variants: [v128; 2]) -> [v128; 2] {
    match PLAIN {
        true => k.contexts::<false, true>(from, columns, variants),
        false => k.contexts::<true, false>(from, columns, variants),
    }
}

/// The codes of 16 weights as 16-bit numbers, with the signs that variants say.
#[inline(always)]
fn codes<const PLAIN: bool>(fold_mask: v128, from: [v128; 2], fine: [v128; 2], variants: [v128; 2]) -> [v128; 2] {
    let steps = unrolled!(
        [0, 1] | h | {
            let u = i16x8_sub(fold16(fine[h], fold_mask), fold16(from[h], fold_mask));
            if PLAIN {
                u
            } else {
                // Bytes were extended with their sign, which is `FLIP`.
                negated(u, variants[h])
            }
        }
    );
    // The magnitude of -32768 is 32768 when read without a sign.
    let magnitudes = unrolled!([0, 1] | h | i16x8_abs(steps[h]));
    let long = unrolled!([0, 1] | h | u16x8_gt(magnitudes[h], i16x8_splat(alphabet::EXACT as i16)));
    if v128_any_true(v128_or(long[0], long[1])) {
        return unrolled!([0, 1] | h | v128_bitselect(bucket(steps[h], magnitudes[h], fine[h]), steps[h], long[h]));
    }
    steps
}

/// See [`write_row`](crate::kernels::v2::write_row::write_row).
pub fn write_row(coding: &Coding<'_>, source: &Source<'_>, fine: &[u8], list: &mut List, streams: &mut Streams) {
    let Streams { index, raw } = streams;
    let Start { layout, variants, .. } = source.start;
    let first = index.len();
    let classes = Classes::new(layout.mantissa, layout.exponent_mask, coding.contexts, source.row);
    if classes.is_usual() && variants.is_empty() {
        run::<true>(coding, &classes, source, fine, list, index);
    } else {
        run::<false>(coding, &classes, source, fine, list, index);
    }
    if list.n > 0 {
        write_raw(coding, &source.start, fine, list, &mut index[first..], raw);
    }
}

/// `PLAIN`: the usual layout, without a prediction.
#[inline(never)]
fn run<const PLAIN: bool>(
    coding: &Coding<'_>,
    classes: &Classes,
    source: &Source<'_>,
    fine: &[u8],
    list: &mut List,
    index: &mut Vec<u16>,
) {
    let Start { layout, from, variants } = source.start;
    let n = fine.len() / 2;
    let (whole, rest) = (n / LANES, n % LANES);
    let predicted = !PLAIN && !variants.is_empty();
    assert!(from.len() == 2 * n && source.columns.len() >= n.div_ceil(LANES) * LANES);
    assert!(!predicted || variants.len() >= n);
    let limits = coding.limits();
    let fold_mask = i16x8_splat(if layout.is_float() { 0x7fff } else { 0 });
    list.clear(whole + 1);
    let mut n_groups = 0;
    let start = index.len();
    index.reserve((whole + 1) * LANES);
    // SAFETY: all pointers stay inside the slices whose lengths were compared above, and inside what was reserved.
    unsafe {
        let to = index.as_mut_ptr().add(start) as *mut v128;
        for g in 0..whole {
            let variants = if predicted {
                let v = v128_load(variants.as_ptr().add(16 * g) as *const v128);
                [i16x8_extend_low_i8x16(v), i16x8_extend_high_i8x16(v)]
            } else {
                [i16x8_splat(0); 2]
            };
            let from = load(from.as_ptr().add(32 * g));
            let columns = load(source.columns.as_ptr().add(16 * g) as *const u8);
            let contexts = contexts::<PLAIN>(classes, from, columns, variants);
            let codes = codes::<PLAIN>(fold_mask, from, load(fine.as_ptr().add(32 * g)), variants);
            let (symbols, mask) = symbols(limits, codes, contexts);
            v128_store(to.add(2 * g), symbols[0]);
            v128_store(to.add(2 * g + 1), symbols[1]);
            *list.groups.as_mut_ptr().add(n_groups) = (16 * g as u32, mask);
            n_groups += (mask != 0) as usize;
        }
        index.set_len(start + whole * LANES);
    }
    if rest == 0 {
        list.n = n_groups;
        return;
    }
    let (mut a, mut b, mut v) = ([0u8; 32], [0u8; 32], [0u8; 16]);
    a[..2 * rest].copy_from_slice(&from[32 * whole..]);
    b[..2 * rest].copy_from_slice(&fine[32 * whole..]);
    if predicted {
        v[..rest].copy_from_slice(&variants[16 * whole..n]);
    }
    let mut last = [0u16; LANES];
    // SAFETY: the arrays are as long as the vectors that are loaded and stored, as are the columns' padded scales.
    unsafe {
        let v = v128_load(v.as_ptr() as *const v128);
        let variants = [i16x8_extend_low_i8x16(v), i16x8_extend_high_i8x16(v)];
        let from = load(a.as_ptr());
        let columns = load(source.columns.as_ptr().add(16 * whole) as *const u8);
        let contexts = contexts::<PLAIN>(classes, from, columns, variants);
        let codes = codes::<PLAIN>(fold_mask, from, load(b.as_ptr()), variants);
        let (symbols, mask) = symbols(limits, codes, contexts);
        let to = last.as_mut_ptr() as *mut v128;
        v128_store(to, symbols[0]);
        v128_store(to.add(1), symbols[1]);
        let mask = mask & ((1 << rest) - 1);
        list.groups[n_groups] = (16 * whole as u32, mask);
        n_groups += (mask != 0) as usize;
    }
    list.n = n_groups;
    last[rest..].fill(coding.tables.padding());
    index.extend_from_slice(&last);
}

/// Turns listed symbols that their tables do not have into escapes, and writes the raw bits of a row.
#[inline(never)]
fn write_raw(
    coding: &Coding<'_>,
    start: &Start<'_>,
    fine: &[u8],
    list: &mut List,
    index: &mut [u16],
    raw: &mut BitWriter,
) {
    let sign_free = if start.layout.is_float() { 0x7fff } else { 0 };
    let key = |x: i16| x ^ ((x >> 15) & sign_free);
    let (from, fine) = (start.from.as_ptr() as *const i16, fine.as_ptr() as *const i16);
    for &at in list.positions() {
        let at = at as usize;
        let symbol = &mut index[at];
        // SAFETY: positions are those of weights of the row, which both slices hold.
        let (b, f) = unsafe { (from.add(at).read_unaligned(), fine.add(at).read_unaligned()) };
        let flip = -(start.flips(at) as i16);
        let step = (key(f).wrapping_sub(key(b)) ^ flip).wrapping_sub(flip);
        let long = LONG[(*symbol & 255) as usize];
        let mut n = long & 63;
        let mut value = (step.unsigned_abs() as u32).wrapping_sub(long >> 8) & ((1 << n) - 1);
        if !coding.tables.has(*symbol) {
            *symbol = *symbol & 0xff00 | ESCAPE as u8 as u16;
            (value, n) = (step as u16 as u32, 16);
        }
        raw.put_short(value as u64, n);
    }
}
