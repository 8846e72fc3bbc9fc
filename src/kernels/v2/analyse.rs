//! The encoder's first look at a row: classes, codes, differences in value, sums of their magnitudes.

use super::alphabet;
use super::element::{Layout, Word};
use super::read_row::{Contexts, Start};
use super::tables::{Freqs, SYMBOLS};

/// True when two rows of the same length are not the same.
pub fn differs(base: &[u8], fine: &[u8]) -> bool {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    return super::simd128::analyse::differs(base, fine);
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    (base != fine)
}

/// Takes a row apart: `-q * exponent` of what it starts from and the code of every weight, its variant in the upper byte.
pub fn take_apart(start: &Start<'_>, log2_q: u32, fine: &[u8], classes: &mut [i16], codes: &mut [u16]) {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    match start.layout.bits {
        16 => return super::simd128::analyse::take_apart(start, log2_q, fine, classes, codes),
        32 => return super::simd128::write32::take_apart(start, log2_q, fine, classes, codes),
        _ => {}
    }
    take_apart_scalar(start, log2_q, fine, classes, codes);
}

/// The scalar twin of [`take_apart`].
pub fn take_apart_scalar(start: &Start<'_>, log2_q: u32, fine: &[u8], classes: &mut [i16], codes: &mut [u16]) {
    match start.layout.bits {
        8 => words::<u8>(start, log2_q, fine, classes, codes),
        16 => words::<u16>(start, log2_q, fine, classes, codes),
        32 => words::<u32>(start, log2_q, fine, classes, codes),
        _ => words::<u64>(start, log2_q, fine, classes, codes),
    }
}

fn words<W: Word>(start: &Start<'_>, log2_q: u32, fine: &[u8], classes: &mut [i16], codes: &mut [u16]) {
    let start = start.of_words::<W>();
    for (i, (class, code)) in classes.iter_mut().zip(codes).enumerate() {
        *class = -((start.layout.exponent(W::get(start.from, i)) << log2_q) as i16);
        let step = step::<W>(&start, fine, i);
        let c = alphabet::encode_word(step, W::get(fine, i), W::BITS).code;
        *code = (start.variant(i) as u16) << 8 | c as u8 as u16;
    }
}

/// The difference that weight `i` of a row is coded as.
#[inline(always)]
pub(super) fn step<W: Word>(start: &Start<'_>, fine: &[u8], i: usize) -> i64 {
    let layout = start.layout;
    let u = layout.wrap(
        layout
            .key(W::get(fine, i))
            .wrapping_sub(layout.key(W::get(start.from, i))),
    );
    if start.flips(i) {
        layout.wrap(u.wrapping_neg())
    } else {
        u
    }
}

/// Differences in value between `from` and `fine`; 0 where they are not finite, and where floats became 0: a weight that
/// was pruned says nothing of how far the others moved.
pub fn differ(layout: Layout, from: &[u8], fine: &[u8], deltas: &mut [f32]) {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    super::simd128::analyse::differ(layout, from, fine, deltas);
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    differ_scalar(layout, from, fine, deltas);
}

/// The scalar twin of [`differ`].
pub fn differ_scalar(layout: Layout, from: &[u8], fine: &[u8], deltas: &mut [f32]) {
    match layout.bits {
        8 => differ_words::<u8>(layout, from, fine, deltas),
        16 => differ_words::<u16>(layout, from, fine, deltas),
        32 => differ_words::<u32>(layout, from, fine, deltas),
        _ => differ_words::<u64>(layout, from, fine, deltas),
    }
}

fn differ_words<W: Word>(layout: Layout, from: &[u8], fine: &[u8], deltas: &mut [f32]) {
    let layout = layout.of_words::<W>();
    for (i, d) in deltas.iter_mut().enumerate() {
        let (b, f) = (W::get(from, i), W::get(fine, i));
        *d = if layout.is_float() {
            let value = layout.value(f);
            match value == 0.0 {
                true => 0.0,
                false => finite(value - layout.value(b)),
            }
        } else {
            layout.wrap(f.wrapping_sub(b) as i64) as f32
        };
    }
}

#[inline(always)]
fn finite(d: f32) -> f32 {
    if d.is_finite() {
        d
    } else {
        0.0
    }
}

/// `sum of |deltas[j]| * weights[j]`: eight partial sums, element `j` in the one numbered `j % 8`, then their sum in a
/// fixed order.
pub fn weighted_sum(deltas: &[f32], weights: &[f32]) -> f32 {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    return super::simd128::analyse::weighted_sum(deltas, weights);
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    weighted_sum_scalar(deltas, weights)
}

/// The scalar twin of [`weighted_sum`].
pub fn weighted_sum_scalar(deltas: &[f32], weights: &[f32]) -> f32 {
    let mut sums = [0f32; 8];
    let (d8, w8) = (deltas.chunks_exact(8), weights.chunks_exact(8));
    let rest = d8
        .remainder()
        .iter()
        .zip(&weights[deltas.len() - d8.remainder().len()..]);
    for (d, w) in d8.zip(w8) {
        for ((s, d), w) in sums.iter_mut().zip(d).zip(w) {
            *s += d.abs() * w;
        }
    }
    for ((d, w), s) in rest.zip(&mut sums) {
        *s += d.abs() * w;
    }
    total(sums)
}

#[inline(always)]
pub(super) fn total(sums: [f32; 8]) -> f32 {
    ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]))
}

/// Sum of `|deltas[j]|`: eight partial sums, then their sum in a fixed order.
pub fn magnitude(deltas: &[f32]) -> f32 {
    let mut sums = [0f32; 8];
    for d8 in deltas.chunks(8) {
        for (s, d) in sums.iter_mut().zip(d8) {
            *s += d.abs();
        }
    }
    total(sums)
}

/// [`weighted_sum`] of what [`differ`] gives, without keeping it.
pub fn weighted_difference(layout: Layout, from: &[u8], fine: &[u8], weights: &[f32]) -> f32 {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    return super::simd128::analyse::weighted_difference(layout, from, fine, weights);
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    weighted_difference_scalar(layout, from, fine, weights)
}

/// The scalar twin of [`weighted_difference`].
pub fn weighted_difference_scalar(layout: Layout, from: &[u8], fine: &[u8], weights: &[f32]) -> f32 {
    let mut sums = [0f32; 8];
    let mut deltas = [0f32; 64];
    let pieces = from.chunks(64 * layout.bytes()).zip(fine.chunks(64 * layout.bytes()));
    for ((from, fine), weights) in pieces.zip(weights.chunks(64)) {
        let deltas = &mut deltas[..from.len() / layout.bytes()];
        differ_scalar(layout, from, fine, deltas);
        for (d, w) in deltas.chunks(8).zip(weights.chunks(8)) {
            for ((s, d), w) in sums.iter_mut().zip(d).zip(w) {
                *s += d.abs() * w;
            }
        }
    }
    total(sums)
}

/// Largest magnitude that a normalised difference keeps.
pub(super) const OUTLIER: f32 = 8.0;

/// Divides the differences of a row by its scale and the columns', and keeps them from being outliers: `row` and
/// `columns` are the reciprocals.
pub fn normalise(deltas: &mut [f32], row: f32, columns: &[f32]) {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    super::simd128::analyse::normalise(deltas, row, columns);
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    normalise_scalar(deltas, row, columns);
}

/// The scalar twin of [`normalise`].
pub fn normalise_scalar(deltas: &mut [f32], row: f32, columns: &[f32]) {
    for (d, c) in deltas.iter_mut().zip(columns) {
        *d = (*d * row * c).clamp(-OUTLIER, OUTLIER);
    }
}

/// Adds `|deltas[j]| * weight` to `sums[j]`.
pub fn add_magnitudes(deltas: &[f32], weight: f32, sums: &mut [f32]) {
    for (s, d) in sums.iter_mut().zip(deltas) {
        *s += d.abs() * weight;
    }
}

/// Writes `256 * context + code` of every weight of a row. `codes` have the variant in the upper byte.
pub fn index_row(contexts: Contexts, row: i32, classes: &[i16], columns: &[i16], codes: &[u16], index: &mut [u16]) {
    let row = (row + contexts.offset as i32) as i16;
    let last = contexts.classes as i16 - 1;
    let phased = contexts.phased as i16;
    for (((&e, &c), &code), out) in classes.iter().zip(columns).zip(codes).zip(index) {
        let class = e.wrapping_add(c).wrapping_add(row).min(last).max(0);
        let variant = (code >> 8) as i16;
        let own = (class << 1).wrapping_add(last).wrapping_add(variant);
        let context = if (class < phased) & (variant > 0) { own } else { class };
        *out = (context as u16) << 8 | (code & 255);
    }
}

/// Which codes every context has a frequency for.
pub struct Reach {
    /// Per context: all codes with a magnitude below this have a frequency and no raw bits. Padded to groups of 16.
    pub(super) limits: Vec<[u8; 16]>,
}

impl Reach {
    /// The reach of some tables; contexts beyond the last have all codes.
    pub fn new(contexts: &[Freqs]) -> Self {
        let mut limits = vec![[u8::MAX; 16]; contexts.len() / 16 + 1];
        for (freqs, limit) in contexts.iter().zip(limits.as_flattened_mut()) {
            let has = |m: &usize| freqs[*m] > 0 && freqs[(SYMBOLS - m) % SYMBOLS] > 0;
            *limit = (0..=alphabet::EXACT as usize).take_while(has).count() as u8;
        }
        Self { limits }
    }
}

/// Finds the symbols of an index that are beyond their context's reach: their positions replace what is in `marked`.
///
/// The index consists of whole groups of 16.
pub fn mark(reach: &Reach, index: &[u16], marked: &mut Vec<u32>) {
    marked.clear();
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    super::simd128::analyse::mark(reach, index, marked);
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    mark_scalar(reach, index, marked);
}

/// The scalar twin of [`mark`]; appends to `marked`.
pub fn mark_scalar(reach: &Reach, index: &[u16], marked: &mut Vec<u32>) {
    let limits = reach.limits.as_flattened();
    for (&i, at) in index.iter().zip(0..) {
        let limit = limits.get((i >> 8) as usize).copied().unwrap_or(0);
        if (i as u8 as i8).unsigned_abs() >= limit {
            marked.push(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::Dtype;

    #[test]
    fn sums_do_not_depend_on_the_tail() {
        let d: Vec<f32> = (0..23)
            .map(|i| if i % 2 == 0 { i as f32 } else { -(i as f32) })
            .collect();
        let w = vec![2.0; 30];
        assert_eq!(weighted_sum(&d, &w), 2.0 * (22 * 23 / 2) as f32);
        assert_eq!(weighted_sum(&d[..3], &w), 6.0);
    }

    #[test]
    fn what_a_table_leaves_out_is_marked() {
        let mut freqs = [[0; SYMBOLS]; 2];
        for code in [0usize, 1, 255, 2, 254, 3, 128] {
            freqs[0][code] = 1;
        }
        for m in 0..=40usize {
            freqs[1][m] = 1;
            freqs[1][(SYMBOLS - m) % SYMBOLS] = 1;
        }
        let reach = Reach::new(&freqs);
        let codes = [0i8, 1, -1, 2, -2, 3, -3, 4, -128, 127, 32, -32, 33, -33];
        let mut marked = vec![7];
        let index: Vec<u16> = codes.iter().map(|&c| c as u8 as u16).chain([0x200, 0x200]).collect();
        mark(&reach, &index, &mut marked);
        assert_eq!(marked, [5, 6, 7, 8, 9, 10, 11, 12, 13]);
        let index: Vec<u16> = codes
            .iter()
            .map(|&c| 0x100 | c as u8 as u16)
            .chain([0x200, 0x200])
            .collect();
        mark(&reach, &index, &mut marked);
        assert_eq!(marked, [8, 9, 12, 13]);
    }

    #[test]
    fn the_index_agrees_with_the_decoders_contexts() {
        let contexts = Contexts {
            log2_q: 1,
            offset: 7,
            classes: 20,
            phased: 9,
        };
        for variant in 0..3u8 {
            for e in -60..60i16 {
                let mut out = [0];
                index_row(contexts, 3, &[e], &[-2], &[(variant as u16) << 8 | 77], &mut out);
                assert_eq!(out[0], (contexts.of(e as i32 + 1, variant) as u16) << 8 | 77);
            }
        }
    }

    #[test]
    fn differences_that_are_not_finite_count_nothing() {
        let l = Layout::of(Dtype::BF16);
        let bytes = |x: [u16; 3]| x.map(u16::to_le_bytes).concat();
        let mut d = [1.0; 3];
        differ(
            l,
            &bytes([0x3f80, 0x7f80, 0xff7f]),
            &bytes([0x4000, 0x3f80, 0x7f7f]),
            &mut d,
        );
        assert_eq!(d, [1.0, 0.0, 0.0]);
    }
}
