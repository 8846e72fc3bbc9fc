//! Eight lengths per look-up as one vector.
#![allow(unsafe_code)]

use crate::kernels::v2::cost::{CostTable, SHIFTS};
use core::arch::wasm32::*;

/// See [`add_row`](crate::kernels::v2::cost::add_row).
pub fn add_row(table: &CostTable, row: i16, classes: &[i16], columns: &[i16], codes: &[u16], sums: &mut [u32; SHIFTS]) {
    let (mut lo, mut hi) = (u32x4_splat(0), u32x4_splat(0));
    for ((&e, &c), &code) in classes.iter().zip(columns).zip(codes) {
        let lengths = table.lengths(e.wrapping_add(c).wrapping_add(row), code);
        // SAFETY: eight u16.
        let l = unsafe { v128_load(lengths.as_ptr() as *const v128) };
        lo = i32x4_add(lo, u32x4_extend_low_u16x8(l));
        hi = i32x4_add(hi, u32x4_extend_high_u16x8(l));
    }
    add(sums, lo, hi);
}

/// See [`add_columns`](crate::kernels::v2::cost::add_columns).
pub fn add_columns(
    table: &CostTable,
    row: i16,
    classes: &[i16],
    columns: &[i16],
    codes: &[u16],
    sums: &mut [[u32; SHIFTS]],
) {
    for (((&e, &c), &code), sums) in classes.iter().zip(columns).zip(codes).zip(sums) {
        let lengths = table.lengths(e.wrapping_add(c).wrapping_add(row), code);
        // SAFETY: eight u16.
        let l = unsafe { v128_load(lengths.as_ptr() as *const v128) };
        add(sums, u32x4_extend_low_u16x8(l), u32x4_extend_high_u16x8(l));
    }
}

#[inline(always)]
fn add(sums: &mut [u32; SHIFTS], lo: v128, hi: v128) {
    // SAFETY: eight u32.
    unsafe {
        let s = sums.as_mut_ptr() as *mut v128;
        v128_store(s, i32x4_add(v128_load(s), lo));
        v128_store(s.add(1), i32x4_add(v128_load(s.add(1)), hi));
    }
}
