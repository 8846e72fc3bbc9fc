//! Selection by magnitude, four values at a time.

use super::{load, load_f32, store_words, Word};
use crate::kernels::topk::{scalar, Between, Extremes, NAN_KEY};
use core::arch::wasm32::*;

/// Twin of [`scalar::select`].
pub fn select(values: &[f32], floor: u32, hits: &mut [u32]) -> usize {
    assert!(hits.len() >= values.len());
    // Keys are below 2^31.
    let before = i32x4_splat(floor as i32 - 1);
    let (fours, tail) = values.as_chunks::<4>();
    let mut places = u32x4(0, 1, 2, 3);
    let mut n = 0;
    for four in fours {
        let wanted = i32x4_gt(keys(load_f32(four)), before);
        n += pack(places, wanted, &mut hits[n..]);
        places = i32x4_add(places, u32x4_splat(4));
    }
    let start = values.len() - tail.len();
    let in_tail = scalar::select(tail, floor, &mut hits[n..]);
    for hit in &mut hits[n..n + in_tail] {
        *hit += start as u32;
    }
    n + in_tail
}

/// Twin of [`scalar::gather`].
pub fn gather(between: &mut Between, values: &[f32], hits: &mut [f32]) -> usize {
    assert!(hits.len() >= values.len());
    let (before, last) = (i32x4_splat(between.first as i32 - 1), u32x4_splat(between.last));
    let Extremes { lo: low, hi: high } = between.below;
    let (mut lo, mut hi) = (f32x4_splat(low), f32x4_splat(high));
    let mut above = i32x4_splat(0);
    let (fours, tail) = values.as_chunks::<4>();
    let mut n = 0;
    for four in fours {
        let v = load_f32(four);
        let k = keys(v);
        let (not_below, is_above) = (i32x4_gt(k, before), i32x4_gt(k, last));
        // A NaN, which is passed over, if it is not below.
        let below = v128_or(v, not_below);
        lo = f32x4_pmin(lo, below);
        hi = f32x4_pmax(hi, below);
        above = i32x4_sub(above, is_above);
        n += pack(v, v128_andnot(not_below, is_above), &mut hits[n..]);
    }
    between.below.lo = fold(lo, low, f32::min);
    between.below.hi = fold(hi, high, f32::max);
    let above = i64x2_add(u64x2_extend_low_u32x4(above), u64x2_extend_high_u32x4(above));
    between.above += u64x2_extract_lane::<0>(above) + u64x2_extract_lane::<1>(above);
    n + scalar::gather(between, tail, &mut hits[n..])
}

/// `topk::key` of four values.
#[inline(always)]
fn keys(v: v128) -> v128 {
    i32x4_min(v128_and(v, u32x4_splat(0x7fff_ffff)), u32x4_splat(NAN_KEY))
}

/// Stores those lanes that are wanted one after another, and anything after them; returns how many they are. There are no
/// branches, since none would be foreseen.
#[inline(always)]
fn pack<T: Word>(lanes: v128, wanted: v128, out: &mut [T]) -> usize {
    let choice = i32x4_bitmask(wanted);
    let packed = i8x16_swizzle(lanes, load(&PACK[usize::from(choice)]));
    store_words((&mut out[..4]).try_into().expect("four words"), packed);
    choice.count_ones() as usize
}

/// For each choice of four lanes: where the bytes of those chosen come from.
const PACK: [[u8; 16]; 16] = {
    let mut table = [[0; 16]; 16];
    let mut choice = 0;
    while choice < 16 {
        let (mut lane, mut n) = (0, 0);
        while lane < 16 {
            if choice >> (lane / 4) & 1 == 1 {
                table[choice][n] = lane as u8;
                n += 1;
            }
            lane += 1;
        }
        choice += 1;
    }
    table
};

#[inline(always)]
fn fold(v: v128, start: f32, f: impl Fn(f32, f32) -> f32) -> f32 {
    let lanes = [
        f32x4_extract_lane::<0>(v),
        f32x4_extract_lane::<1>(v),
        f32x4_extract_lane::<2>(v),
        f32x4_extract_lane::<3>(v),
    ];
    lanes.into_iter().fold(start, f)
}
