//! Contexts, results and codes of 16 dithered weights at a time.
//!
//! One loop serves all types: they differ in how words become values and values words, which is chosen for each group.
#![allow(unsafe_code)]

use super::lanes::{fold32, present};
use super::read32::upper;
use super::values::{from_f16, load, signed};
use crate::kernels::simd128::convert::{bf16, f16};
use crate::kernels::v2::alphabet::{ESCAPE, EXACT};
use crate::kernels::v2::dither::Row;
use crate::kernels::v2::element::Layout;
use crate::kernels::v2::lattice::{Lattices, RowStep};
use crate::kernels::v2::predict::FLIP;
use crate::kernels::v2::rans::LANES;
use crate::kernels::v2::read_row::{Contexts, Start};
use core::arch::wasm32::*;

/// The float types that can be dithered.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Bf16,
    F16,
    F32,
}

impl Kind {
    fn of(layout: Layout) -> Self {
        match (layout.bits, layout.mantissa) {
            (16, 7) => Kind::Bf16,
            (16, _) => Kind::F16,
            _ => Kind::F32,
        }
    }

    fn bytes(self) -> usize {
        match self {
            Kind::F32 => 4,
            _ => 2,
        }
    }

    /// Group `group` of a row; zeros beyond its end. In the second half as well where words have 32 bits.
    #[inline(always)]
    fn load(self, bytes: &[u8], group: usize) -> [v128; 4] {
        let size = LANES * self.bytes();
        let bytes = &bytes[(size * group).min(bytes.len())..];
        let mut all = [0; 4 * LANES];
        let from = if bytes.len() >= 4 * LANES {
            bytes.as_ptr()
        } else {
            let n = bytes.len().min(size);
            all[..n].copy_from_slice(&bytes[..n]);
            all.as_ptr()
        };
        // SAFETY: 64 bytes are there.
        unsafe { load(from) }
    }

    /// The words of a group as signed numbers of 32 bits.
    #[inline(always)]
    fn words(self, bytes: &[u8], group: usize) -> [v128; 4] {
        let x = self.load(bytes, group);
        match self {
            Kind::F32 => x,
            _ => [
                i32x4_extend_low_i16x8(x[0]),
                i32x4_extend_high_i16x8(x[0]),
                i32x4_extend_low_i16x8(x[1]),
                i32x4_extend_high_i16x8(x[1]),
            ],
        }
    }

    /// Stores words as group `group` of a row, as far as it goes.
    #[inline(always)]
    fn store(self, bytes: &mut [u8], group: usize, words: [v128; 4]) {
        let size = LANES * self.bytes();
        let from = (size * group).min(bytes.len());
        let bytes = &mut bytes[from..];
        let low = i32x4_splat(0xffff);
        let narrow = |a, b| u16x8_narrow_i32x4(v128_and(a, low), v128_and(b, low));
        let x = match self {
            Kind::F32 => words,
            _ => {
                let x = [narrow(words[0], words[1]), narrow(words[2], words[3])];
                [x[0], x[1], words[2], words[3]]
            }
        };
        let mut all = [0; 4 * LANES];
        let is_whole = bytes.len() >= size;
        let to = if is_whole { bytes.as_mut_ptr() } else { all.as_mut_ptr() } as *mut v128;
        // SAFETY: there is room for a group, of two or four vectors.
        unsafe {
            v128_store(to, x[0]);
            v128_store(to.add(1), x[1]);
            if self == Kind::F32 {
                v128_store(to.add(2), x[2]);
                v128_store(to.add(3), x[3]);
            }
        }
        if !is_whole {
            let n = bytes.len();
            bytes.copy_from_slice(&all[..n]);
        }
    }

    /// Values of words.
    #[inline(always)]
    fn values(self, words: [v128; 4]) -> [v128; 4] {
        match self {
            Kind::Bf16 => unrolled!([0, 1, 2, 3] | i | i32x4_shl(words[i], 16)),
            Kind::F16 => unrolled!([0, 1, 2, 3] | i | from_f16(v128_and(words[i], i32x4_splat(0xffff)))),
            Kind::F32 => words,
        }
    }

    /// The words nearest to values; of their upper bits only what the type has counts.
    #[inline(always)]
    fn rounded(self, values: [v128; 4]) -> [v128; 4] {
        match self {
            Kind::Bf16 => unrolled!([0, 1, 2, 3] | i | bf16(values[i])),
            Kind::F16 => unrolled!([0, 1, 2, 3] | i | f16(values[i])),
            Kind::F32 => values,
        }
    }
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

/// Sixteen contexts or codes, bytes in the low halves of words, in one vector.
#[inline(always)]
fn narrow(v: [v128; 2]) -> v128 {
    let low = i16x8_splat(0xff);
    u8x16_narrow_i16x8(v128_and(v[0], low), v128_and(v[1], low))
}

/// Exact weights and dithered ones: what both ways of a row need.
struct Words {
    kind: Kind,
    mantissa: u32,
    exponent_mask: v128,
    /// Exponents below it are dithered.
    below: v128,
    unit: v128,
    /// All bits but the sign.
    magnitude: v128,
    /// All bits of the exponent.
    special: v128,
}

impl Words {
    fn new(layout: Layout, step: RowStep) -> Self {
        Self {
            kind: Kind::of(layout),
            mantissa: layout.mantissa,
            exponent_mask: i32x4_splat(layout.exponent_mask as i32),
            below: i32x4_splat(step.below),
            unit: f32x4_splat(step.unit),
            magnitude: i32x4_splat(i32::MAX >> (32 - layout.bits)),
            special: i32x4_splat((layout.exponent_mask << layout.mantissa) as i32),
        }
    }

    /// All ones where words are dithered.
    #[inline(always)]
    fn is_dithered(&self, word: v128) -> v128 {
        let field = v128_and(u32x4_shr(word, self.mantissa), self.exponent_mask);
        i32x4_lt(i32x4_max(field, i32x4_splat(1)), self.below)
    }

    /// Between words and keys.
    #[inline(always)]
    fn fold(&self, x: v128) -> v128 {
        fold32(x, self.magnitude)
    }

    /// How far four weights with these code differences move.
    #[inline(always)]
    fn by(&self, difference: v128, level: v128) -> v128 {
        let low = v128_and(level, i32x4_splat(7));
        let n = i32x4_sub(i32x4_shl(difference, 5), i32x4_add(i32x4_shl(low, 1), i32x4_splat(1)));
        let opposite = i32x4_ne(v128_and(level, i32x4_splat(8)), i32x4_splat(0));
        f32x4_mul(f32x4_convert_i32x4(negate(n, opposite)), self.unit)
    }

    /// Where weights with these values move to.
    #[inline(always)]
    fn moved(&self, values: [v128; 4], differences: [v128; 4], levels: [v128; 4]) -> [v128; 4] {
        let sums = unrolled!([0, 1, 2, 3] | i | f32x4_add(values[i], self.by(differences[i], levels[i])));
        self.kind.rounded(sums)
    }
}

/// `-x` where `mask` is all ones.
#[inline(always)]
fn negate(x: v128, mask: v128) -> v128 {
    i32x4_sub(v128_xor(x, mask), mask)
}

/// All ones where the prediction has flipped a weight.
#[inline(always)]
fn flips(variants: v128) -> v128 {
    i32x4_ne(v128_and(variants, i32x4_splat(FLIP as i32)), i32x4_splat(0))
}

/// See [`contexts_row`](crate::kernels::v2::dither::contexts_row).
pub fn contexts_row(contexts: Contexts, lattices: Lattices, row: &Row<'_>, out: &mut [u8]) {
    let Row { source, step, levels } = *row;
    let Start { layout, from, variants } = source.start;
    let last = i16x8_splat(contexts.classes as i16 - 1);
    let phased = i16x8_splat(contexts.phased as i16);
    let of_row = i16x8_splat((source.row + contexts.offset as i32) as i16);
    let of_lattice = i16x8_splat((lattices.offset as i32 - step.shift) as i16);
    let last_lattice = i16x8_splat(lattices.classes as i16 - 1);
    let (first, below) = (i16x8_splat(lattices.first as i16), i16x8_splat(step.below as i16));
    let zero = i16x8_splat(0);
    let kind = Kind::of(layout);
    // Sign and exponent of a float32 lie in its upper half.
    let mantissa = layout.mantissa - 8 * (kind.bytes() as u32 - 2);
    let exponents = i16x8_splat(layout.exponent_mask as i16);
    let groups = source.columns.chunks_exact(LANES).zip(out.chunks_exact_mut(LANES));
    for (group, (columns, out)) in groups.enumerate() {
        let from = kind.load(from, group);
        let from = match kind {
            Kind::F32 => upper(from),
            _ => [from[0], from[1]],
        };
        let (levels, variants) = (widened(levels, group), widened(variants, group));
        let result = unrolled!(
            [0, 1] | h | {
                // SAFETY: sixteen columns.
                let column = unsafe { v128_load(columns.as_ptr().add(8 * h) as *const v128) };
                let e = i16x8_max(v128_and(u16x8_shr(from[h], mantissa), exponents), i16x8_splat(1));
                let variant = v128_and(variants[h], i16x8_splat((FLIP - 1) as i16));
                let sum = i16x8_sub(i16x8_add(of_row, column), i16x8_shl(e, contexts.log2_q));
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

/// See [`apply_row`](crate::kernels::v2::dither::apply_row).
pub fn apply_row(row: &Row<'_>, codes: &[i8], out: &mut [u8]) {
    let Start { layout, from, variants } = row.source.start;
    let k = Words::new(layout, row.step);
    for (group, codes) in codes.chunks_exact(LANES).enumerate() {
        let from = k.kind.words(from, group);
        let levels = signed(widened(row.levels, group));
        let variants = signed(widened(variants, group));
        // SAFETY: sixteen codes.
        let codes = unsafe { v128_load(codes.as_ptr() as *const v128) };
        let codes = signed([i16x8_extend_low_i8x16(codes), i16x8_extend_high_i8x16(codes)]);
        let dithered = k.moved(k.kind.values(from), codes, levels);
        let result = unrolled!(
            [0, 1, 2, 3] | i | {
                let u = negate(codes[i], flips(variants[i]));
                let exact = k.fold(wrapped(k.kind, i32x4_add(k.fold(from[i]), u)));
                v128_bitselect(dithered[i], exact, k.is_dithered(from[i]))
            }
        );
        k.kind.store(out, group, result);
    }
}

/// Numbers modulo 2^16 as signed ones, where words have 16 bits.
#[inline(always)]
fn wrapped(kind: Kind, x: v128) -> v128 {
    match kind {
        Kind::F32 => x,
        _ => i32x4_shr(i32x4_shl(x, 16), 16),
    }
}

/// See [`quantize_row`](crate::kernels::v2::dither::quantize_row).
pub fn quantize_row(row: &Row<'_>, fine: &[u8], contexts: &[u8], index: &mut [u16], out: &mut [u8]) {
    let Start { layout, from, variants } = row.source.start;
    let k = Words::new(layout, row.step);
    let whole = f32x4_splat(32.0 * row.step.unit);
    let exact = i32x4_splat(EXACT as i32);
    let n = row.source.start.n();
    for (group, index) in index.chunks_exact_mut(LANES).enumerate() {
        let (from, to) = (k.kind.words(from, group), k.kind.words(fine, group));
        let levels = signed(widened(row.levels, group));
        let variants = signed(widened(variants, group));
        let contexts = widened(contexts, group);
        let (start, end) = (k.kind.values(from), k.kind.values(to));
        let multiples = unrolled!([0, 1, 2, 3] | i | multiple(f32x4_sub(end[i], start[i]), levels[i], whole));
        let dithered = k.moved(start, multiples, levels);
        let mut results = to;
        let codes = unrolled!(
            [0, 1, 2, 3] | i | {
                let is_dithered = k.is_dithered(from[i]);
                let special = i32x4_eq(v128_and(dithered[i], k.special), k.special);
                let q = v128_bitselect(i32x4_splat(i32::MIN), multiples[i], special);
                let u = wrapped(k.kind, i32x4_sub(k.fold(to[i]), k.fold(from[i])));
                let is_far = u32x4_gt(i32x4_abs(u), exact);
                let is_zero = i32x4_eq(v128_and(to[i], k.magnitude), i32x4_splat(0));
                let u = negate(u, flips(variants[i]));
                let code = v128_bitselect(q, u, is_dithered);
                results[i] = v128_bitselect(dithered[i], to[i], is_dithered);
                // The magnitude of the lowest number is larger than any when read without a sign.
                let short = v128_andnot(u32x4_le(i32x4_abs(code), exact), v128_and(is_far, is_zero));
                v128_bitselect(code, i32x4_splat(ESCAPE as i32), short)
            }
        );
        k.kind.store(out, group, results);
        let mut codes = [
            i16x8_narrow_i32x4(codes[0], codes[1]),
            i16x8_narrow_i32x4(codes[2], codes[3]),
        ];
        if group == n / LANES {
            // What is beyond the row is no weight, even where a step is too large for the type.
            let present = present(n % LANES);
            codes = unrolled!([0, 1] | h | v128_and(codes[h], present[h]));
        }
        let to = index.as_mut_ptr() as *mut v128;
        unrolled!(
            [0, 1] | h | {
                let symbols = v128_or(i16x8_shl(contexts[h], 8), v128_and(codes[h], i16x8_splat(0xff)));
                // SAFETY: sixteen u16.
                unsafe { v128_store(to.add(h), symbols) };
            }
        );
    }
}

/// The multiples of a step that four changes are nearest to; the lowest number where it is too far or there is none.
#[inline(always)]
fn multiple(change: v128, level: v128, step: v128) -> v128 {
    let sign = i32x4_shl(v128_and(level, i32x4_splat(8)), 28);
    let half = i32x4_add(i32x4_shl(v128_and(level, i32x4_splat(7)), 1), i32x4_splat(1));
    let z = f32x4_mul(f32x4_convert_i32x4(half), f32x4_splat(1.0 / 32.0));
    let q = f32x4_nearest(f32x4_add(f32x4_div(v128_xor(change, sign), step), z));
    // Not true of a NaN.
    let is_near = f32x4_le(f32x4_abs(q), f32x4_splat(32767.0));
    v128_bitselect(i32x4_trunc_sat_f32x4(q), i32x4_splat(i32::MIN), is_near)
}
