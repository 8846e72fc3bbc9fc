//! Classes and symbols of 16 weights at a time; raw bits afterwards, from a list of who has them.
#![allow(unsafe_code)]

use super::analyse::{bucket, fold};
use super::row16::{List, LONG};
use crate::kernels::v2::alphabet::{self, ESCAPE};
use crate::kernels::v2::bits::BitWriter;
use crate::kernels::v2::element::Layout;
use crate::kernels::v2::predict::FLIP;
use crate::kernels::v2::rans::LANES;
use crate::kernels::v2::row16::Source;
use crate::kernels::v2::write16::Coding;
use core::arch::wasm32::*;

/// What stays the same for a row.
struct Constants<'a> {
    mantissa: u32,
    exponent_mask: v128,
    log2_q: u32,
    row: v128,
    last_class: v128,
    phased: v128,
    fold: v128,
    limits: &'a [[u8; 16]],
}

/// The symbols of 16 weights, and the mask of those that their contexts may not have or that have raw bits.
///
/// `PLAIN`: the usual layout, without a prediction.
#[inline(always)]
fn group<const PLAIN: bool>(
    k: &Constants<'_>,
    from: [v128; 2],
    fine: [v128; 2],
    columns: [v128; 2],
    variants: [v128; 2],
) -> ([v128; 2], u32) {
    let (mantissa, log2_q) = if PLAIN {
        (super::USUAL.0, super::USUAL.1)
    } else {
        (k.mantissa, k.log2_q)
    };
    let contexts = unrolled!(
        [0, 1] | h | {
            let e = v128_and(u16x8_shr(from[h], mantissa), k.exponent_mask);
            let e = i16x8_shl(i16x8_max(e, i16x8_splat(1)), log2_q);
            let c = i16x8_sub(i16x8_add(columns[h], k.row), e);
            let c = i16x8_max(i16x8_min(c, k.last_class), i16x8_splat(0));
            if PLAIN {
                c
            } else {
                let variant = v128_and(variants[h], i16x8_splat((FLIP - 1) as i16));
                let own = i16x8_add(i16x8_add(i16x8_shl(c, 1), k.last_class), variant);
                let has_own = v128_and(i16x8_lt(c, k.phased), i16x8_gt(variant, i16x8_splat(0)));
                v128_bitselect(own, c, has_own)
            }
        }
    );
    let steps = unrolled!(
        [0, 1] | h | {
            let u = i16x8_sub(fold(fine[h], k.fold), fold(from[h], k.fold));
            if PLAIN {
                u
            } else {
                let flip = i16x8_lt(i16x8_shl(variants[h], 8), i16x8_splat(0));
                i16x8_sub(v128_xor(u, flip), flip)
            }
        }
    );
    // The magnitude of -32768 is 32768 when read without a sign.
    let magnitudes = unrolled!([0, 1] | h | i16x8_abs(steps[h]));
    let long = unrolled!([0, 1] | h | u16x8_gt(magnitudes[h], i16x8_splat(alphabet::EXACT as i16)));
    let mut codes = steps;
    if v128_any_true(v128_or(long[0], long[1])) {
        codes = unrolled!([0, 1] | h | v128_bitselect(bucket(steps[h], magnitudes[h]), steps[h], long[h]));
    }
    let codes = i8x16_narrow_i16x8(codes[0], codes[1]);
    let contexts = u8x16_narrow_i16x8(contexts[0], contexts[1]);
    let (mut limits, mut part) = (i8x16_splat(0), contexts);
    for of_part in k.limits {
        // SAFETY: sixteen bytes. A look-up beyond them gives 0.
        let of_part = unsafe { v128_load(of_part.as_ptr() as *const v128) };
        limits = v128_or(limits, i8x16_swizzle(of_part, part));
        part = i8x16_sub(part, i8x16_splat(16));
    }
    // The magnitude of -128 is 128 when read without a sign.
    let mask = i8x16_bitmask(u8x16_ge(i8x16_abs(codes), limits)) as u32;
    let symbols = [
        i8x16_shuffle::<0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23>(codes, contexts),
        i8x16_shuffle::<8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31>(codes, contexts),
    ];
    (symbols, mask)
}

/// See [`write_row`](crate::kernels::v2::write16::write_row).
pub fn write_row(
    layout: Layout,
    coding: &Coding<'_>,
    source: &Source<'_>,
    fine: &[u8],
    list: &mut List,
    index: &mut Vec<u16>,
    raw: &mut BitWriter,
) {
    let start = index.len();
    let usual = (layout.mantissa, coding.contexts.log2_q) == (super::USUAL.0, super::USUAL.1);
    if usual && source.variants.is_empty() {
        run::<true>(layout, coding, source, fine, list, index);
    } else {
        run::<false>(layout, coding, source, fine, list, index);
    }
    if list.n > 0 {
        write_raw(layout, coding, source, fine, list, &mut index[start..], raw);
    }
}

fn run<const PLAIN: bool>(
    layout: Layout,
    coding: &Coding<'_>,
    source: &Source<'_>,
    fine: &[u8],
    list: &mut List,
    index: &mut Vec<u16>,
) {
    let n = fine.len() / 2;
    let (whole, rest) = (n / LANES, n % LANES);
    let predicted = !PLAIN && !source.variants.is_empty();
    let contexts = coding.contexts;
    assert!(source.from.len() == 2 * n && source.columns.len() >= n.div_ceil(LANES) * LANES);
    assert!(!predicted || source.variants.len() >= n);
    assert!(contexts.count() <= coding.tables.contexts() && contexts.classes > 0);
    let limits = &coding.reach.limits;
    let k = Constants {
        mantissa: layout.mantissa,
        exponent_mask: i16x8_splat(layout.exponent_mask as i16),
        log2_q: contexts.log2_q,
        row: i16x8_splat((source.row + contexts.offset as i32) as i16),
        last_class: i16x8_splat(contexts.classes as i16 - 1),
        phased: i16x8_splat(contexts.phased as i16),
        fold: i16x8_splat(if layout.is_float() { 0x7fff } else { 0 }),
        limits: &limits[..limits.len().min(contexts.count() / 16 + 1)],
    };
    list.clear(whole + 1);
    let mut n_groups = 0;
    let start = index.len();
    index.reserve((whole + 1) * LANES);
    // SAFETY: all pointers stay inside the slices whose lengths were compared above, and inside what was reserved.
    unsafe {
        let to = index.as_mut_ptr().add(start) as *mut v128;
        for g in 0..whole {
            let load = |p: *const v128| [v128_load(p), v128_load(p.add(1))];
            let variants = if predicted {
                let v = v128_load(source.variants.as_ptr().add(16 * g) as *const v128);
                [u16x8_extend_low_u8x16(v), u16x8_extend_high_u8x16(v)]
            } else {
                [i16x8_splat(0); 2]
            };
            let (symbols, mask) = group::<PLAIN>(
                &k,
                load(source.from.as_ptr().add(32 * g) as *const v128),
                load(fine.as_ptr().add(32 * g) as *const v128),
                load(source.columns.as_ptr().add(16 * g) as *const v128),
                variants,
            );
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
    a[..2 * rest].copy_from_slice(&source.from[32 * whole..]);
    b[..2 * rest].copy_from_slice(&fine[32 * whole..]);
    if predicted {
        v[..rest].copy_from_slice(&source.variants[16 * whole..n]);
    }
    let mut last = [0u16; LANES];
    // SAFETY: the arrays are as long as the vectors that are loaded and stored, as are the columns' padded scales.
    unsafe {
        let load = |p: *const u8| [v128_load(p as *const v128), v128_load(p.add(16) as *const v128)];
        let v = v128_load(v.as_ptr() as *const v128);
        let (symbols, mask) = group::<PLAIN>(
            &k,
            load(a.as_ptr()),
            load(b.as_ptr()),
            load(source.columns.as_ptr().add(16 * whole) as *const u8),
            [u16x8_extend_low_u8x16(v), u16x8_extend_high_u8x16(v)],
        );
        let to = last.as_mut_ptr() as *mut v128;
        v128_store(to, symbols[0]);
        v128_store(to.add(1), symbols[1]);
        let mask = mask & ((1 << rest) - 1);
        list.groups[n_groups] = (16 * whole as u32, mask);
        n_groups += (mask != 0) as usize;
    }
    list.n = n_groups;
    last[rest..].fill((coding.tables.contexts() as u16) << 8);
    index.extend_from_slice(&last);
}

/// Turns listed symbols that their tables do not have into escapes, and writes the raw bits of a row.
fn write_raw(
    layout: Layout,
    coding: &Coding<'_>,
    source: &Source<'_>,
    fine: &[u8],
    list: &mut List,
    index: &mut [u16],
    raw: &mut BitWriter,
) {
    let sign_free = if layout.is_float() { 0x7fff } else { 0 };
    let key = |x: i16| x ^ ((x >> 15) & sign_free);
    let (from, fine) = (source.from.as_ptr() as *const i16, fine.as_ptr() as *const i16);
    for &at in list.positions() {
        let at = at as usize;
        let symbol = &mut index[at];
        // SAFETY: positions are those of weights of the row, which both slices hold.
        let (b, f) = unsafe { (from.add(at).read_unaligned(), fine.add(at).read_unaligned()) };
        let flip = -(source.variants.get(at).is_some_and(|v| v & FLIP != 0) as i16);
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
