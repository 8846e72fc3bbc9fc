//! Taking 16-bit rows apart, 16 weights at a time.
#![allow(unsafe_code)]

use crate::kernels::v2::alphabet;
use crate::kernels::v2::analyse::{differ_scalar, take_apart_scalar, Long};
use crate::kernels::v2::element::Layout;
use crate::kernels::v2::predict::FLIP;
use core::arch::wasm32::*;

/// See [`take_apart`](crate::kernels::v2::analyse::take_apart).
#[allow(clippy::too_many_arguments)]
pub fn take_apart(
    layout: Layout,
    log2_q: u32,
    from: &[u8],
    fine: &[u8],
    variants: &[u8],
    classes: &mut [i16],
    codes: &mut [u16],
    long: &mut Vec<Long>,
) {
    let n = classes.len();
    assert!(from.len() == 2 * n && fine.len() == 2 * n && codes.len() == n);
    assert!(variants.is_empty() || variants.len() == n);
    let whole = n / 16 * 16;
    let exponents = i16x8_splat(layout.exponent_mask as i16);
    let fold_mask = i16x8_splat(if layout.is_float() { 0x7fff } else { 0 });
    let fold = |x: v128| v128_xor(x, v128_and(i16x8_shr(x, 15), fold_mask));
    let one = i16x8_splat(1);
    let exact = i16x8_splat(alphabet::EXACT as i16);
    for at in (0..whole).step_by(16) {
        // SAFETY: 16 elements from `at` on are inside all slices, whose lengths were compared above.
        unsafe {
            let b = from.as_ptr().add(2 * at) as *const v128;
            let f = fine.as_ptr().add(2 * at) as *const v128;
            let v = if variants.is_empty() {
                [i16x8_splat(0); 2]
            } else {
                let v = v128_load(variants.as_ptr().add(at) as *const v128);
                [u16x8_extend_low_u8x16(v), u16x8_extend_high_u8x16(v)]
            };
            let mut masks = [one; 2];
            let mut steps = [one; 2];
            for h in 0..2 {
                let (b, f) = (v128_load(b.add(h)), v128_load(f.add(h)));
                let e = i16x8_max(v128_and(u16x8_shr(b, layout.mantissa), exponents), one);
                v128_store(
                    classes.as_mut_ptr().add(at + 8 * h) as *mut v128,
                    i16x8_neg(i16x8_shl(e, log2_q)),
                );
                let flip = i16x8_lt(i16x8_shl(v[h], 8), i16x8_splat(0));
                let u = i16x8_sub(fold(f), fold(b));
                let u = i16x8_sub(v128_xor(u, flip), flip);
                let variant = i16x8_shl(v128_and(v[h], i16x8_splat((FLIP - 1) as i16)), 8);
                let code = v128_or(variant, v128_and(u, i16x8_splat(255)));
                v128_store(codes.as_mut_ptr().add(at + 8 * h) as *mut v128, code);
                // The magnitude of -32768 is 32768 when read without a sign.
                masks[h] = u16x8_gt(i16x8_abs(u), exact);
                steps[h] = u;
            }
            let mut mask = i8x16_bitmask(i8x16_narrow_i16x8(masks[0], masks[1])) as u32;
            if mask != 0 {
                let mut u = [0i16; 16];
                v128_store(u.as_mut_ptr() as *mut v128, steps[0]);
                v128_store(u.as_mut_ptr().add(8) as *mut v128, steps[1]);
                while mask != 0 {
                    let i = mask.trailing_zeros() as usize & 15;
                    mask &= mask - 1;
                    let code = alphabet::encode(u[i] as i64, 16).code as u8 as u16;
                    codes[at + i] = (codes[at + i] & 0xff00) | code;
                    long.push(((at + i) as u32, u[i] as i64));
                }
            }
        }
    }
    if whole < n {
        let tail = long.len();
        let v = if variants.is_empty() {
            variants
        } else {
            &variants[whole..]
        };
        let (classes, codes) = (&mut classes[whole..], &mut codes[whole..]);
        take_apart_scalar(
            layout,
            log2_q,
            &from[2 * whole..],
            &fine[2 * whole..],
            v,
            classes,
            codes,
            long,
        );
        for (at, _) in &mut long[tail..] {
            *at += whole as u32;
        }
    }
}

/// See [`differ`](crate::kernels::v2::analyse::differ).
pub fn differ_bf16(layout: Layout, from: &[u8], fine: &[u8], deltas: &mut [f32]) {
    let n = deltas.len();
    assert!(from.len() == 2 * n && fine.len() == 2 * n);
    let whole = n / 8 * 8;
    let zero = i16x8_splat(0);
    let special = i32x4_splat(0x7f80_0000);
    let finite = |d: v128| v128_andnot(d, i32x4_eq(v128_and(d, special), special));
    for at in (0..whole).step_by(8) {
        // SAFETY: 8 elements from `at` on are inside all slices, whose lengths were compared above.
        unsafe {
            let b = v128_load(from.as_ptr().add(2 * at) as *const v128);
            let f = v128_load(fine.as_ptr().add(2 * at) as *const v128);
            let low = |x| i16x8_shuffle::<8, 0, 8, 1, 8, 2, 8, 3>(x, zero);
            let high = |x| i16x8_shuffle::<8, 4, 8, 5, 8, 6, 8, 7>(x, zero);
            let to = deltas.as_mut_ptr().add(at) as *mut v128;
            v128_store(to, finite(f32x4_sub(low(f), low(b))));
            v128_store(to.add(1), finite(f32x4_sub(high(f), high(b))));
        }
    }
    differ_scalar(layout, &from[2 * whole..], &fine[2 * whole..], &mut deltas[whole..]);
}
