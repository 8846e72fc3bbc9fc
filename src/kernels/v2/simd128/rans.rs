//! Sixteen lanes as four vectors of states.
#![allow(unsafe_code)]

use crate::kernels::v2::rans::{first_room, grow, Words, LANES, LOWER};
use crate::kernels::v2::tables::{DecodeTables, EncodeTables};
use core::arch::wasm32::*;

/// `EXPAND[m]`: bytes of the next words, placed in the 32-bit lanes whose bit in `m` is set; 0x80 gives zero.
static EXPAND: [[u8; 16]; 16] = {
    let mut t = [[0x80; 16]; 16];
    let mut m = 0;
    while m < 16 {
        let (mut lane, mut next) = (0, 0);
        while lane < 4 {
            if m >> lane & 1 == 1 {
                t[m][4 * lane] = next;
                t[m][4 * lane + 1] = next + 1;
                next += 2;
            }
            lane += 1;
        }
        m += 1;
    }
    t
};

/// `COMPRESS[m]`: the low words of the lanes whose bit in `m` is set, moved to the upper end of eight bytes.
static COMPRESS: [[u8; 16]; 16] = {
    let mut t = [[0x80; 16]; 16];
    let mut m: usize = 0;
    while m < 16 {
        let mut lane = 0;
        let mut at = 8 - 2 * m.count_ones() as usize;
        while lane < 4 {
            if m >> lane & 1 == 1 {
                t[m][at] = 4 * lane as u8;
                t[m][at + 1] = 4 * lane as u8 + 1;
                at += 2;
            }
            lane += 1;
        }
        m += 1;
    }
    t
};

/// One step of four lanes: new states, and the table entries that were hit.
///
/// `below`: 2^16 - 1 in every lane, the largest state that takes a word. Where the compiler sees that number, it makes an
/// "at most" of it a "less than", which engines do in twice as many instructions.
///
/// # Safety
/// `contexts` (already shifted by `log`) plus `mask` stay below the table's length; 8 bytes can be read at `words`.
#[inline(always)]
pub unsafe fn step(
    x: v128,
    contexts: v128,
    table: *const u32,
    mask: v128,
    log: u32,
    below: v128,
    words: &mut *const u8,
) -> (v128, v128) {
    let slot = i32x4_add(v128_and(x, mask), contexts);
    let (a, b) = (u64x2_extract_lane::<0>(slot), u64x2_extract_lane::<1>(slot));
    // SAFETY: the caller bounds slots and words.
    unsafe {
        let mut e = v128_load32_zero(table.add(a as u32 as usize));
        e = v128_load32_lane::<1>(e, table.add((a >> 32) as usize));
        e = v128_load32_lane::<2>(e, table.add(b as u32 as usize));
        e = v128_load32_lane::<3>(e, table.add((b >> 32) as usize));
        let low = u32x4_splat(0xfff);
        let y = i32x4_add(
            i32x4_mul(v128_and(e, low), u32x4_shr(x, log)),
            v128_and(u32x4_shr(e, 12), low),
        );
        let need = u32x4_le(y, below);
        let m = i32x4_bitmask(need) as usize & 15;
        let w = u8x16_swizzle(
            v128_load64_zero(*words as *const u64),
            v128_load(EXPAND[m].as_ptr() as *const v128),
        );
        *words = words.add(2 * m.count_ones() as usize);
        (v128_bitselect(v128_or(i32x4_shl(y, 16), w), y, need), e)
    }
}

/// The lanes' states as vectors.
#[inline(always)]
pub fn load_states(states: &[u32; LANES]) -> [v128; 4] {
    let s = states;
    [
        u32x4(s[0], s[1], s[2], s[3]),
        u32x4(s[4], s[5], s[6], s[7]),
        u32x4(s[8], s[9], s[10], s[11]),
        u32x4(s[12], s[13], s[14], s[15]),
    ]
}

/// Stores vectors as the lanes' states.
#[inline(always)]
pub fn store_states(x: [v128; 4], states: &mut [u32; LANES]) {
    let to = states.as_mut_ptr() as *mut v128;
    // SAFETY: sixteen states are four vectors.
    unrolled!([0, 1, 2, 3] | v | unsafe { v128_store(to.add(v), x[v]) });
}

/// See [`decode_row`](crate::kernels::v2::rans::decode_row).
pub fn decode_row(
    states: &mut [u32; LANES],
    words: &mut Words,
    tables: &DecodeTables,
    contexts: &[u8],
    codes: &mut [i8],
) {
    let log = tables.log;
    let mask = u32x4_splat((1 << log) - 1);
    let below = u32x4_splat(LOWER - 1);
    let last = u8x16_splat(tables.contexts().min(255) as u8);
    let table = tables.slots.as_ptr();
    let mut x = load_states(states);
    for (contexts, codes) in contexts.chunks_exact(LANES).zip(codes.chunks_exact_mut(LANES)) {
        let mut p = words.bytes[words.at..].as_ptr();
        let start = p;
        // SAFETY: contexts are clamped to the table's; the position is at most two bytes beyond the words, so at least
        // 46 bytes are left of which a group uses 32 and looks at 6 more.
        unsafe {
            let c = u8x16_min(v128_load(contexts.as_ptr() as *const v128), last);
            let (lo, hi) = (u16x8_extend_low_u8x16(c), u16x8_extend_high_u8x16(c));
            let c = [
                u32x4_extend_low_u16x8(lo),
                u32x4_extend_high_u16x8(lo),
                u32x4_extend_low_u16x8(hi),
                u32x4_extend_high_u16x8(hi),
            ];
            let s = unrolled!(
                [0, 1, 2, 3] | v | {
                    let (state, e) = step(x[v], i32x4_shl(c[v], log), table, mask, log, below, &mut p);
                    x[v] = state;
                    i32x4_shr(e, 24)
                }
            );
            let out = i8x16_narrow_i16x8(i16x8_narrow_i32x4(s[0], s[1]), i16x8_narrow_i32x4(s[2], s[3]));
            v128_store(codes.as_mut_ptr() as *mut v128, out);
            words.at += p.offset_from(start) as usize;
        }
        words.bound();
    }
    store_states(x, states);
}

/// See [`encode`](crate::kernels::v2::rans::encode).
pub fn encode(index: &[u16], tables: &EncodeTables) -> ([u32; LANES], Vec<u8>) {
    match tables.log == super::USUAL.2 {
        true => run::<true>(index, tables),
        false => run::<false>(index, tables),
    }
}

fn run<const USUAL: bool>(index: &[u16], tables: &EncodeTables) -> ([u32; LANES], Vec<u8>) {
    let log = if USUAL { super::USUAL.2 } else { tables.log };
    let entries = tables.entries.as_slice();
    // An entry is loaded together with the one behind it.
    assert!((largest(index) as usize) + 1 < entries.len());
    let mut x = [u32x4_splat(LOWER); 4];
    let mut words = vec![0u8; first_room(index.len())];
    let mut at = words.len();
    for group in index.chunks_exact(LANES).rev() {
        // A group has at most 32 bytes of words, and they are stored eight at a time.
        if at < 40 {
            at += grow(&mut words);
        }
        // SAFETY: all of the index is inside the table, and there is room for what the group can emit.
        unsafe {
            let mut to = words.as_mut_ptr().add(at);
            unrolled!([3, 2, 1, 0] | v | x[v] = push(x[v], group.as_ptr().add(4 * v), entries.as_ptr(), log, &mut to));
            at = to.offset_from(words.as_ptr()) as usize;
        }
    }
    let mut states = [0; LANES];
    store_states(x, &mut states);
    words.drain(..at);
    (states, words)
}

/// Encodes a symbol in each of four lanes; words go before `words`.
///
/// # Safety
/// `symbols` are four numbers of entries, none that of the last; eight bytes can be written before `words`.
#[inline(always)]
unsafe fn push(x: v128, symbols: *const u16, entries: *const u64, log: u32, words: &mut *mut u8) -> v128 {
    // SAFETY: promised by the caller.
    let (a, b, c, d) = unsafe {
        (
            v128_load(entries.add(*symbols as usize) as *const v128),
            v128_load(entries.add(*symbols.add(1) as usize) as *const v128),
            v128_load(entries.add(*symbols.add(2) as usize) as *const v128),
            v128_load(entries.add(*symbols.add(3) as usize) as *const v128),
        )
    };
    let (ab, cd) = (i32x4_shuffle::<0, 4, 1, 5>(a, b), i32x4_shuffle::<0, 4, 1, 5>(c, d));
    let low = i64x2_shuffle::<0, 2>(ab, cd);
    let reciprocal = i64x2_shuffle::<1, 3>(ab, cd);
    let f = v128_and(low, u32x4_splat(0xffff));
    let need = u32x4_ge(u32x4_shr(x, 32 - log), f);
    let m = i32x4_bitmask(need) as usize & 15;
    // SAFETY: promised by the caller.
    unsafe {
        let w = u8x16_swizzle(x, v128_load(COMPRESS[m].as_ptr() as *const v128));
        v128_store64_lane::<0>(w, words.sub(8) as *mut u64);
        *words = words.sub(2 * m.count_ones() as usize);
    }
    let y = v128_bitselect(u32x4_shr(x, 16), x, need);
    // mulhi(y, reciprocal): exact or one too small.
    let q = i32x4_shuffle::<1, 3, 5, 7>(
        u64x2_extmul_low_u32x4(y, reciprocal),
        u64x2_extmul_high_u32x4(y, reciprocal),
    );
    let r = i32x4_sub(y, i32x4_mul(q, f));
    let more = u32x4_ge(r, f);
    let q = i32x4_sub(q, more);
    let r = i32x4_sub(r, v128_and(f, more));
    i32x4_add(i32x4_add(i32x4_shl(q, log), u32x4_shr(low, 16)), r)
}

/// The largest number of an index.
fn largest(index: &[u16]) -> u16 {
    let mut most = u16x8_splat(0);
    let eights = index.chunks_exact(8);
    let mut largest = 0;
    for &i in eights.remainder() {
        largest = largest.max(i);
    }
    for eight in eights {
        // SAFETY: eight u16.
        most = u16x8_max(most, unsafe { v128_load(eight.as_ptr() as *const v128) });
    }
    let mut lanes = [0u16; 8];
    // SAFETY: eight u16.
    unsafe { v128_store(lanes.as_mut_ptr() as *mut v128, most) };
    for i in lanes {
        largest = largest.max(i);
    }
    largest
}
