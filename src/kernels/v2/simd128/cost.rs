//! Eight lengths per look-up as one vector.
#![allow(unsafe_code)]

use crate::kernels::v2::cost::{add_columns_scalar, add_row_scalar, CostTable, FIRST_SHIFT, SHIFTS};
use core::arch::wasm32::*;

/// What the positions of a row's lengths follow from.
#[derive(Clone, Copy)]
struct Positions {
    row: v128,
    least: v128,
    most: v128,
    width: v128,
    last: v128,
    before: v128,
}

impl Positions {
    #[inline(always)]
    fn new(table: &CostTable, row: i16) -> Self {
        Self {
            row: i16x8_splat(row),
            least: i16x8_splat(-(SHIFTS as i16) / 2),
            most: i16x8_splat(table.classes as i16 + SHIFTS as i16 / 2 - 1),
            width: i16x8_splat(table.width as i16),
            last: i16x8_splat((table.codes - 1) as i16),
            before: i16x8_splat((FIRST_SHIFT + SHIFTS as i32) as i16),
        }
    }

    /// Where the lengths of the eight weights from `at` on start.
    ///
    /// # Safety
    /// All slices have these eight elements.
    #[inline(always)]
    unsafe fn of(self, classes: &[i16], columns: &[i16], codes: &[u16], at: usize) -> v128 {
        // SAFETY: promised by the caller.
        let (e, c, code) = unsafe {
            (
                v128_load(classes.as_ptr().add(at) as *const v128),
                v128_load(columns.as_ptr().add(at) as *const v128),
                v128_load(codes.as_ptr().add(at) as *const v128),
            )
        };
        let class = i16x8_add(i16x8_add(e, c), self.row);
        let class = i16x8_min(i16x8_max(class, self.least), self.most);
        let code = u16x8_min(code, self.last);
        i16x8_add(i16x8_mul(code, self.width), i16x8_add(class, self.before))
    }
}

/// The lengths of eight weights.
macro_rules! lengths {
    ($table:expr, $starts:expr) => {{
        let costs = $table.costs.as_ptr();
        [
            v128_load(costs.add(u16x8_extract_lane::<0>($starts) as usize) as *const v128),
            v128_load(costs.add(u16x8_extract_lane::<1>($starts) as usize) as *const v128),
            v128_load(costs.add(u16x8_extract_lane::<2>($starts) as usize) as *const v128),
            v128_load(costs.add(u16x8_extract_lane::<3>($starts) as usize) as *const v128),
            v128_load(costs.add(u16x8_extract_lane::<4>($starts) as usize) as *const v128),
            v128_load(costs.add(u16x8_extract_lane::<5>($starts) as usize) as *const v128),
            v128_load(costs.add(u16x8_extract_lane::<6>($starts) as usize) as *const v128),
            v128_load(costs.add(u16x8_extract_lane::<7>($starts) as usize) as *const v128),
        ]
    }};
}

/// See [`add_row`](crate::kernels::v2::cost::add_row).
pub fn add_row(table: &CostTable, row: i16, classes: &[i16], columns: &[i16], codes: &[u16], sums: &mut [u32; SHIFTS]) {
    let n = classes.len().min(columns.len()).min(codes.len());
    let whole = n / 8 * 8;
    let positions = Positions::new(table, row);
    let (mut lo, mut hi) = (u32x4_splat(0), u32x4_splat(0));
    for at in (0..whole).step_by(8) {
        // SAFETY: eight elements from `at` on are inside the slices; code and class are clamped, so that eight lengths
        // from each start are inside the table. Four lengths do not overflow 16 bits.
        unsafe {
            let starts = positions.of(classes, columns, codes, at);
            let l = lengths!(table, starts);
            let a = i16x8_add(i16x8_add(l[0], l[1]), i16x8_add(l[2], l[3]));
            let b = i16x8_add(i16x8_add(l[4], l[5]), i16x8_add(l[6], l[7]));
            lo = i32x4_add(lo, i32x4_add(u32x4_extend_low_u16x8(a), u32x4_extend_low_u16x8(b)));
            hi = i32x4_add(hi, i32x4_add(u32x4_extend_high_u16x8(a), u32x4_extend_high_u16x8(b)));
        }
    }
    // SAFETY: eight u32.
    unsafe { add(sums.as_mut_ptr(), lo, hi) };
    add_row_scalar(
        table,
        row,
        &classes[whole..n],
        &columns[whole..n],
        &codes[whole..n],
        sums,
    );
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
    let n = classes.len().min(columns.len()).min(codes.len()).min(sums.len());
    let whole = n / 8 * 8;
    let positions = Positions::new(table, row);
    for at in (0..whole).step_by(8) {
        // SAFETY: as in `add_row`; eight sums from `at` on are inside the slice.
        unsafe {
            let starts = positions.of(classes, columns, codes, at);
            let l = lengths!(table, starts);
            unrolled!(
                [0, 1, 2, 3, 4, 5, 6, 7] | i | {
                    let to = sums.as_mut_ptr().add(at + i) as *mut u32;
                    add(to, u32x4_extend_low_u16x8(l[i]), u32x4_extend_high_u16x8(l[i]))
                }
            );
        }
    }
    let rest = &mut sums[whole..n];
    add_columns_scalar(
        table,
        row,
        &classes[whole..n],
        &columns[whole..n],
        &codes[whole..n],
        rest,
    );
}

/// Adds eight numbers to eight sums.
///
/// # Safety
/// Eight sums are at `sums`.
#[inline(always)]
unsafe fn add(sums: *mut u32, lo: v128, hi: v128) {
    let s = sums as *mut v128;
    // SAFETY: promised by the caller.
    unsafe {
        v128_store(s, i32x4_add(v128_load(s), lo));
        v128_store(s.add(1), i32x4_add(v128_load(s.add(1)), hi));
    }
}
