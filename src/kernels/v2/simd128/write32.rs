//! Rows of 32-bit weights, 16 at a time. Most weights have raw bits here, so that they are written at once.
//!
//! Variants are not looked at, as in [`read32`](super::read32).
#![allow(unsafe_code)]

use super::lanes::{fold32, index as symbols, Classes};
use super::read32::upper;
use super::values::load;
use crate::kernels::v2::alphabet::{self, raw_bits, ESCAPE};
use crate::kernels::v2::analyse::take_apart_scalar;
use crate::kernels::v2::element::Layout;
use crate::kernels::v2::rans::LANES;
use crate::kernels::v2::read_row::{Source, Start};
use crate::kernels::v2::write_row::{Coding, Streams};
use core::arch::wasm32::*;

/// The differences of 16 weights, and their codes as 16-bit numbers.
#[inline(always)]
fn codes(fold_mask: v128, from: [v128; 4], fine: [v128; 4]) -> ([v128; 4], [v128; 2]) {
    let steps = unrolled!([0, 1, 2, 3] | v | i32x4_sub(fold32(fine[v], fold_mask), fold32(from[v], fold_mask)));
    let codes = unrolled!(
        [0, 1, 2, 3] | v | {
            // The magnitude of the lowest number is 2^31 when read without a sign, and is one less after this.
            let less = i32x4_sub(i32x4_abs(steps[v]), i32x4_splat(1));
            // A float32's exponent and the first bit of its mantissa number the half octaves. Where a bit is set, the
            // one two below it is cleared: then rounding to 24 bits does not carry into the bits that are looked at.
            let cut = v128_andnot(less, u32x4_shr(less, 2));
            let half_octave = u32x4_shr(f32x4_convert_i32x4(cut), 22);
            let bucket = i32x4_sub(half_octave, i32x4_splat(2 * (127 + 5) - 33));
            let is_far_zero = i32x4_eq(i32x4_shl(fine[v], 1), i32x4_splat(0));
            let bucket = v128_bitselect(i32x4_splat(alphabet::ZERO as i32), bucket, is_far_zero);
            let sign = i32x4_shr(v128_bitselect(fine[v], steps[v], is_far_zero), 31);
            let bucket = i32x4_sub(v128_xor(bucket, sign), sign);
            let long = u32x4_ge(less, u32x4_splat(alphabet::EXACT as u32));
            let is_zero = i32x4_eq(steps[v], i32x4_splat(0));
            v128_bitselect(bucket, steps[v], v128_andnot(long, is_zero))
        }
    );
    let narrow = [
        i16x8_narrow_i32x4(codes[0], codes[1]),
        i16x8_narrow_i32x4(codes[2], codes[3]),
    ];
    (steps, narrow)
}

fn fold_mask(layout: Layout) -> v128 {
    i32x4_splat(if layout.is_float() { i32::MAX } else { 0 })
}

/// See [`take_apart`](crate::kernels::v2::analyse::take_apart).
pub fn take_apart(start: &Start<'_>, log2_q: u32, fine: &[u8], classes: &mut [i16], codes_out: &mut [u16]) {
    let Start { layout, from, .. } = *start;
    let n = classes.len();
    assert!(from.len() == 4 * n && fine.len() == 4 * n && codes_out.len() == n);
    let fold_mask = fold_mask(layout);
    let mantissa = layout.mantissa.saturating_sub(16);
    let exponents = i16x8_splat(layout.exponent_mask as i16);
    let whole = n / LANES * LANES;
    for at in (0..whole).step_by(LANES) {
        // SAFETY: 16 elements from `at` on are inside all slices, whose lengths were compared above.
        unsafe {
            let from = load(from.as_ptr().add(4 * at));
            let (_, codes) = codes(fold_mask, from, load(fine.as_ptr().add(4 * at)));
            let upper = upper(from);
            unrolled!(
                [0, 1] | h | {
                    let e = i16x8_max(v128_and(u16x8_shr(upper[h], mantissa), exponents), i16x8_splat(1));
                    let class = i16x8_neg(i16x8_shl(e, log2_q));
                    v128_store(classes.as_mut_ptr().add(at + 8 * h) as *mut v128, class);
                    let code = v128_and(codes[h], i16x8_splat(255));
                    v128_store(codes_out.as_mut_ptr().add(at + 8 * h) as *mut v128, code);
                }
            );
        }
    }
    let (rest, fine) = (start.part(whole..n), &fine[4 * whole..]);
    take_apart_scalar(&rest, log2_q, fine, &mut classes[whole..], &mut codes_out[whole..]);
}

/// See [`write_row`](crate::kernels::v2::write_row::write_row).
pub fn write_row(coding: &Coding<'_>, source: &Source<'_>, fine: &[u8], streams: &mut Streams) {
    let Streams { index, raw } = streams;
    let Start { layout, from, .. } = source.start;
    let n = fine.len() / 4;
    let (whole, rest) = (n / LANES, n % LANES);
    assert!(from.len() == 4 * n && source.columns.len() >= n.div_ceil(LANES) * LANES);
    let classes = Classes::new(
        layout.mantissa.saturating_sub(16),
        layout.exponent_mask,
        coding.contexts,
        source.row,
    );
    let (limits, fold_mask) = (coding.limits(), fold_mask(layout));
    let first = index.len();
    index.resize(first + n.div_ceil(LANES) * LANES, coding.tables.padding());
    for (g, out) in index[first..].chunks_exact_mut(LANES).enumerate() {
        // The last group works on copies, which are the same where there is nothing.
        let mut copies = [[0u8; 64]; 2];
        let last = g == whole;
        if last {
            copies[0][..4 * rest].copy_from_slice(&from[64 * whole..]);
            copies[1][..4 * rest].copy_from_slice(&fine[64 * whole..]);
        }
        let (mut found, mut steps) = ([0u16; LANES], [0u32; LANES]);
        // SAFETY: whole groups lie inside the slices whose lengths were compared above, a copy has room for one.
        let mut mask = unsafe {
            let from = load(if last {
                copies[0].as_ptr()
            } else {
                from.as_ptr().add(64 * g)
            });
            let to = load(if last {
                copies[1].as_ptr()
            } else {
                fine.as_ptr().add(64 * g)
            });
            let columns = load(source.columns.as_ptr().add(16 * g) as *const u8);
            let contexts = classes.contexts::<false, false>(upper(from), columns, [i16x8_splat(0); 2]);
            let (differences, codes) = codes(fold_mask, from, to);
            let (symbols, mask) = symbols(limits, codes, contexts);
            let p = found.as_mut_ptr() as *mut v128;
            v128_store(p, symbols[0]);
            v128_store(p.add(1), symbols[1]);
            let p = steps.as_mut_ptr() as *mut v128;
            unrolled!([0, 1, 2, 3] | v | v128_store(p.add(v), differences[v]));
            mask
        };
        let present = if last { rest } else { LANES };
        mask &= (1 << present) - 1;
        while mask != 0 {
            let lane = mask.trailing_zeros() as usize;
            mask &= mask - 1;
            let (symbol, step) = (&mut found[lane], steps[lane]);
            let mut n = raw_bits(*symbol as u8 as i8, 32);
            let mut value = ((step as i32).unsigned_abs().wrapping_sub(1) as u64) & ((1 << n) - 1);
            if !coding.tables.has(*symbol) {
                *symbol = *symbol & 0xff00 | ESCAPE as u8 as u16;
                (value, n) = (step as u64, 32);
            }
            raw.put_short(value, n);
        }
        out[..present].copy_from_slice(&found[..present]);
    }
}
