//! Running float64 sums of whole eights, element `i` in lane `i mod 8`.
//!
//! Each gives up where a value is not finite, before it has changed anything: the portable form then does it all.

use super::{group, load_f32, store};
use core::arch::wasm32::*;

/// Eight float64.
type Sums = [f64; 8];

#[inline(always)]
fn load_sums(sums: &Sums) -> [v128; 4] {
    unrolled!([0, 2, 4, 6] | i | f64x2(sums[i], sums[i + 1]))
}

#[inline(always)]
fn store_sums(v: [v128; 4], sums: &mut Sums) {
    unrolled!(
        [0, 1, 2, 3] | i | {
            sums[2 * i] = f64x2_extract_lane::<0>(v[i]);
            sums[2 * i + 1] = f64x2_extract_lane::<1>(v[i]);
        }
    );
}

/// Eight float32 as float64.
#[inline(always)]
fn promote(v: [v128; 2]) -> [v128; 4] {
    [
        f64x2_promote_low_f32x4(v[0]),
        f64x2_promote_low_f32x4(i64x2_shuffle::<1, 1>(v[0], v[0])),
        f64x2_promote_low_f32x4(v[1]),
        f64x2_promote_low_f32x4(i64x2_shuffle::<1, 1>(v[1], v[1])),
    ]
}

#[inline(always)]
fn load_eight(values: &[f32]) -> [v128; 2] {
    [load_f32(group(&values[..4])), load_f32(group(&values[4..]))]
}

#[inline(always)]
fn lanes(v: [v128; 2]) -> [f32; 8] {
    let mut bytes = [[0u8; 16]; 2];
    store(&mut bytes[0], v[0]);
    store(&mut bytes[1], v[1]);
    let mut lanes = [0f32; 8];
    for (l, b) in lanes.iter_mut().zip(bytes.as_flattened().chunks_exact(4)) {
        *l = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    }
    lanes
}

/// Twin of what `Spread` does with finite values: sums of `|v| - level` and of its square, least and largest `|v|`.
///
/// `values`: whole eights. False, and nothing has changed, if one of them is not finite.
pub fn spread(
    values: &[f32],
    level: f32,
    sums: &mut Sums,
    squares: &mut Sums,
    lo: &mut [f32; 8],
    hi: &mut [f32; 8],
) -> bool {
    let (mut s, mut q) = (load_sums(sums), load_sums(squares));
    let (mut least, mut most) = (load_eight(lo), load_eight(hi));
    let around = f64x2_splat(f64::from(level));
    let infinity = f32x4_splat(f32::INFINITY);
    let mut finite = i32x4_splat(-1);
    for eight in values.chunks_exact(8) {
        let v = load_eight(eight);
        let a = [f32x4_abs(v[0]), f32x4_abs(v[1])];
        let both = v128_and(f32x4_lt(a[0], infinity), f32x4_lt(a[1], infinity));
        finite = v128_and(finite, both);
        let wide = promote(a);
        unrolled!(
            [0, 1, 2, 3] | i | {
                let d = f64x2_sub(wide[i], around);
                s[i] = f64x2_add(s[i], d);
                q[i] = f64x2_add(q[i], f64x2_mul(d, d));
            }
        );
        unrolled!(
            [0, 1] | i | {
                least[i] = f32x4_pmin(least[i], a[i]);
                most[i] = f32x4_pmax(most[i], a[i]);
            }
        );
    }
    if !i32x4_all_true(finite) {
        return false;
    }
    store_sums(s, sums);
    store_sums(q, squares);
    *lo = lanes(least);
    *hi = lanes(most);
    true
}

/// Twin of what `Moments` does with finite values: sums of `v` and of its square, least and largest `v`. Gives the number
/// of zeros.
///
/// `values`: whole eights. None, and nothing has changed, if one of them is not finite.
pub fn moments(
    values: &[f32],
    sums: &mut Sums,
    squares: &mut Sums,
    lo: &mut [f32; 8],
    hi: &mut [f32; 8],
) -> Option<u64> {
    let (mut s, mut q) = (load_sums(sums), load_sums(squares));
    let (mut least, mut most) = (load_eight(lo), load_eight(hi));
    let infinity = f32x4_splat(f32::INFINITY);
    let mut finite = i32x4_splat(-1);
    let mut zeros = 0;
    // A lane counts two zeros an eight at most.
    for values in values.chunks(1 << 20) {
        let mut count = i32x4_splat(0);
        for eight in values.chunks_exact(8) {
            let v = load_eight(eight);
            let both = v128_and(f32x4_lt(f32x4_abs(v[0]), infinity), f32x4_lt(f32x4_abs(v[1]), infinity));
            finite = v128_and(finite, both);
            let none = f32x4_splat(0.0);
            count = i32x4_sub(count, i32x4_add(f32x4_eq(v[0], none), f32x4_eq(v[1], none)));
            let wide = promote(v);
            unrolled!(
                [0, 1, 2, 3] | i | {
                    s[i] = f64x2_add(s[i], wide[i]);
                    q[i] = f64x2_add(q[i], f64x2_mul(wide[i], wide[i]));
                }
            );
            unrolled!(
                [0, 1] | i | {
                    least[i] = f32x4_pmin(least[i], v[i]);
                    most[i] = f32x4_pmax(most[i], v[i]);
                }
            );
        }
        let pairs = i64x2_add(u64x2_extend_low_u32x4(count), u64x2_extend_high_u32x4(count));
        zeros += u64x2_extract_lane::<0>(pairs) + u64x2_extract_lane::<1>(pairs);
    }
    if !i32x4_all_true(finite) {
        return None;
    }
    store_sums(s, sums);
    store_sums(q, squares);
    *lo = lanes(least);
    *hi = lanes(most);
    Some(zeros)
}
