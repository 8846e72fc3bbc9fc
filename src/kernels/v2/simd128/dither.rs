//! Contexts, results and codes of 16 dithered weights at a time; results and codes of bfloat16 only.
#![allow(unsafe_code)]

use crate::kernels::simd128::convert::bf16;
use crate::kernels::v2::alphabet::{ESCAPE, EXACT};
use crate::kernels::v2::element::Layout;
use crate::kernels::v2::lattice::{Lattices, RowStep};
use crate::kernels::v2::predict::FLIP;
use crate::kernels::v2::rans::LANES;
use crate::kernels::v2::read_row::{Contexts, Source};
use core::arch::wasm32::*;

/// Two vectors.
///
/// # Safety
/// 32 bytes can be read at `p`.
#[inline(always)]
unsafe fn load_two(p: *const u8) -> [v128; 2] {
    // SAFETY: promised by the caller.
    unsafe { [v128_load(p as *const v128), v128_load(p.add(16) as *const v128)] }
}

/// Stores two vectors.
///
/// # Safety
/// 32 bytes can be written at `p`.
#[inline(always)]
unsafe fn store_two(p: *mut u8, v: [v128; 2]) {
    // SAFETY: promised by the caller.
    unsafe {
        v128_store(p as *mut v128, v[0]);
        v128_store(p.add(16) as *mut v128, v[1]);
    }
}

/// Group `group` of a row of 16-bit words; zeros beyond its end.
#[inline(always)]
fn words(bytes: &[u8], group: usize) -> [v128; 2] {
    let bytes = &bytes[(2 * LANES * group).min(bytes.len())..];
    if bytes.len() >= 2 * LANES {
        // SAFETY: 32 bytes are there.
        return unsafe { load_two(bytes.as_ptr()) };
    }
    let mut all = [0; 2 * LANES];
    all[..bytes.len()].copy_from_slice(bytes);
    // SAFETY: 32 bytes.
    unsafe { load_two(all.as_ptr()) }
}

/// Group `group` of a row of bytes, as 16-bit words; zeros beyond its end.
#[inline(always)]
fn widened(bytes: &[u8], group: usize) -> [v128; 2] {
    let bytes = &bytes[(LANES * group).min(bytes.len())..];
    let mut all = [0; LANES];
    let from = if bytes.len() >= LANES {
        bytes.as_ptr()
    } else {
        all[..bytes.len()].copy_from_slice(bytes);
        all.as_ptr()
    };
    // SAFETY: sixteen bytes are there.
    let v = unsafe { v128_load(from as *const v128) };
    [u16x8_extend_low_u8x16(v), u16x8_extend_high_u8x16(v)]
}

/// Stores group `group` of a row of 16-bit words, as far as it goes.
#[inline(always)]
fn store(bytes: &mut [u8], group: usize, v: [v128; 2]) {
    let from = (2 * LANES * group).min(bytes.len());
    let bytes = &mut bytes[from..];
    if bytes.len() >= 2 * LANES {
        // SAFETY: there is room for 32 bytes.
        return unsafe { store_two(bytes.as_mut_ptr(), v) };
    }
    let mut all = [0; 2 * LANES];
    // SAFETY: 32 bytes.
    unsafe { store_two(all.as_mut_ptr(), v) };
    let n = bytes.len();
    bytes.copy_from_slice(&all[..n]);
}

/// Sixteen contexts or codes, bytes in the low halves of words, in one vector.
#[inline(always)]
fn narrow(v: [v128; 2]) -> v128 {
    let low = i16x8_splat(0xff);
    u8x16_narrow_i16x8(v128_and(v[0], low), v128_and(v[1], low))
}

/// Exponent fields, at least 1.
#[inline(always)]
fn exponent(layout: Layout, words: v128) -> v128 {
    let field = v128_and(
        u16x8_shr(words, layout.mantissa),
        i16x8_splat(layout.exponent_mask as i16),
    );
    i16x8_max(field, i16x8_splat(1))
}

/// Between bit patterns and keys of floats.
#[inline(always)]
fn fold(x: v128) -> v128 {
    v128_xor(x, v128_and(i16x8_shr(x, 15), i16x8_splat(0x7fff)))
}

/// `-x` where `mask` is all ones.
#[inline(always)]
fn negate(x: v128, mask: v128) -> v128 {
    i16x8_sub(v128_xor(x, mask), mask)
}

/// All ones where the prediction has flipped a weight.
#[inline(always)]
fn flips(variants: v128) -> v128 {
    i16x8_ne(v128_and(variants, i16x8_splat(FLIP as i16)), i16x8_splat(0))
}

/// See [`contexts_row`](crate::kernels::v2::dither::contexts_row); words of 16 bits.
pub fn contexts_row(
    layout: Layout,
    contexts: Contexts,
    lattices: Lattices,
    step: RowStep,
    source: &Source<'_>,
    levels: &[u8],
    out: &mut [u8],
) {
    let last = i16x8_splat(contexts.classes as i16 - 1);
    let phased = i16x8_splat(contexts.phased as i16);
    let row = i16x8_splat((source.row + contexts.offset as i32) as i16);
    let of_lattice = i16x8_splat((lattices.offset as i32 - step.shift) as i16);
    let last_lattice = i16x8_splat(lattices.classes as i16 - 1);
    let (first, below) = (i16x8_splat(lattices.first as i16), i16x8_splat(step.below as i16));
    let zero = i16x8_splat(0);
    let groups = source.columns.chunks_exact(LANES).zip(out.chunks_exact_mut(LANES));
    for (group, (columns, out)) in groups.enumerate() {
        let (from, levels, variants) = (
            words(source.from, group),
            widened(levels, group),
            widened(source.variants, group),
        );
        let result = unrolled!(
            [0, 1] | h | {
                // SAFETY: sixteen columns.
                let column = unsafe { v128_load(columns.as_ptr().add(8 * h) as *const v128) };
                let e = exponent(layout, from[h]);
                let variant = v128_and(variants[h], i16x8_splat((FLIP - 1) as i16));
                let sum = i16x8_sub(i16x8_add(row, column), i16x8_shl(e, contexts.log2_q));
                let class = i16x8_max(i16x8_min(sum, last), zero);
                let own = i16x8_add(i16x8_add(i16x8_shl(class, 1), last), variant);
                let has_own = v128_and(i16x8_lt(class, phased), i16x8_gt(variant, zero));
                let exact = v128_bitselect(own, class, has_own);
                let lattice = i16x8_max(i16x8_min(i16x8_add(column, of_lattice), last_lattice), zero);
                let level = v128_and(levels[h], i16x8_splat(7));
                let dithered = i16x8_add(i16x8_add(first, i16x8_shl(lattice, 3)), level);
                v128_bitselect(dithered, exact, i16x8_lt(e, below))
            }
        );
        // SAFETY: sixteen bytes.
        unsafe { v128_store(out.as_mut_ptr() as *mut v128, narrow(result)) };
    }
}

/// Where eight weights of bfloat16 move to, with differences as two times four i32.
#[inline(always)]
fn moved(start: v128, differences: [v128; 2], levels: v128, unit: v128) -> v128 {
    let starts = [
        i32x4_shl(u32x4_extend_low_u16x8(start), 16),
        i32x4_shl(u32x4_extend_high_u16x8(start), 16),
    ];
    let levels = [u32x4_extend_low_u16x8(levels), u32x4_extend_high_u16x8(levels)];
    let r = unrolled!(
        [0, 1] | k | {
            let level = v128_and(levels[k], i32x4_splat(7));
            let n = i32x4_sub(
                i32x4_shl(differences[k], 5),
                i32x4_add(i32x4_shl(level, 1), i32x4_splat(1)),
            );
            let opposite = i32x4_ne(v128_and(levels[k], i32x4_splat(8)), i32x4_splat(0));
            let n = i32x4_sub(v128_xor(n, opposite), opposite);
            bf16(f32x4_add(starts[k], f32x4_mul(f32x4_convert_i32x4(n), unit)))
        }
    );
    u16x8_narrow_i32x4(r[0], r[1])
}

/// See [`apply_row`](crate::kernels::v2::dither::apply_row); bfloat16.
pub fn apply_row(layout: Layout, step: RowStep, source: &Source<'_>, levels: &[u8], codes: &[i8], out: &mut [u8]) {
    let (below, unit) = (i16x8_splat(step.below as i16), f32x4_splat(step.unit));
    for (group, codes) in codes.chunks_exact(LANES).enumerate() {
        let (from, levels, variants) = (
            words(source.from, group),
            widened(levels, group),
            widened(source.variants, group),
        );
        // SAFETY: sixteen codes.
        let codes = unsafe { v128_load(codes.as_ptr() as *const v128) };
        let codes = [i16x8_extend_low_i8x16(codes), i16x8_extend_high_i8x16(codes)];
        let result = unrolled!(
            [0, 1] | h | {
                let u = negate(codes[h], flips(variants[h]));
                let exact = fold(i16x8_add(fold(from[h]), u));
                let differences = [i32x4_extend_low_i16x8(codes[h]), i32x4_extend_high_i16x8(codes[h])];
                let dithered = moved(from[h], differences, levels[h], unit);
                v128_bitselect(dithered, exact, i16x8_lt(exponent(layout, from[h]), below))
            }
        );
        store(out, group, result);
    }
}

/// See [`quantize_row`](crate::kernels::v2::dither::quantize_row); bfloat16.
#[allow(clippy::too_many_arguments)]
pub fn quantize_row(
    layout: Layout,
    step: RowStep,
    source: &Source<'_>,
    fine: &[u8],
    levels: &[u8],
    contexts: &[u8],
    index: &mut [u16],
    out: &mut [u8],
) {
    let (below, unit) = (i16x8_splat(step.below as i16), f32x4_splat(step.unit));
    let whole = f32x4_splat(32.0 * step.unit);
    let exact_codes = i16x8_splat(EXACT as i16);
    let specials = i16x8_splat((layout.exponent_mask << layout.mantissa) as i16);
    for (group, index) in index.chunks_exact_mut(LANES).enumerate() {
        let (from, to) = (words(source.from, group), words(fine, group));
        let (levels, variants) = (widened(levels, group), widened(source.variants, group));
        let contexts = widened(contexts, group);
        let mut results = [i16x8_splat(0); 2];
        let symbols = unrolled!(
            [0, 1] | h | {
                let is_dithered = i16x8_lt(exponent(layout, from[h]), below);
                let (low, high) = (
                    multiples(
                        u32x4_extend_low_u16x8(from[h]),
                        u32x4_extend_low_u16x8(to[h]),
                        u32x4_extend_low_u16x8(levels[h]),
                        whole,
                    ),
                    multiples(
                        u32x4_extend_high_u16x8(from[h]),
                        u32x4_extend_high_u16x8(to[h]),
                        u32x4_extend_high_u16x8(levels[h]),
                        whole,
                    ),
                );
                let dithered = moved(from[h], [low, high], levels[h], unit);
                let special = i16x8_eq(v128_and(dithered, specials), specials);
                // Saturating: what is too large stays so.
                let q = v128_bitselect(i16x8_splat(i16::MIN), i16x8_narrow_i32x4(low, high), special);
                let u = negate(i16x8_sub(fold(to[h]), fold(from[h])), flips(variants[h]));
                let code = v128_bitselect(q, u, is_dithered);
                results[h] = v128_bitselect(dithered, to[h], is_dithered);
                // The magnitude of the lowest number is larger than any when read without a sign.
                let short = u16x8_le(i16x8_abs(code), exact_codes);
                let code = v128_bitselect(code, i16x8_splat(ESCAPE as i16), short);
                v128_or(i16x8_shl(contexts[h], 8), v128_and(code, i16x8_splat(0xff)))
            }
        );
        store(out, group, results);
        // SAFETY: sixteen u16.
        unsafe { store_two(index.as_mut_ptr() as *mut u8, symbols) };
    }
}

/// The multiples of a step that four changes are nearest to; the lowest number where it is too far or there is none.
#[inline(always)]
fn multiples(from: v128, to: v128, levels: v128, step: v128) -> v128 {
    let change = f32x4_sub(i32x4_shl(to, 16), i32x4_shl(from, 16));
    let sign = i32x4_shl(v128_and(levels, i32x4_splat(8)), 28);
    let half = i32x4_add(i32x4_shl(v128_and(levels, i32x4_splat(7)), 1), i32x4_splat(1));
    let z = f32x4_mul(f32x4_convert_i32x4(half), f32x4_splat(1.0 / 32.0));
    let q = f32x4_nearest(f32x4_add(f32x4_div(v128_xor(change, sign), step), z));
    // Not true of a NaN.
    let is_near = f32x4_le(f32x4_abs(q), f32x4_splat(32767.0));
    v128_bitselect(i32x4_trunc_sat_f32x4(q), i32x4_splat(i32::MIN), is_near)
}
