//! Subtractive dither: a row of steps that are coarser than the type's own, each shifted by a level that both sides know.
//!
//! A dithered weight is `start + (q - z) * step`, with `z` one of 16 levels from a hash of the tensor's seed and the
//! weight's place. With `q = round(change / step + z)` the error is uniform within half a step either way, whatever the
//! change was. Levels are symmetric: a flipped weight has `-q` coded and `-z` as its level, so eight tables do for 16.
//!
//! Loops run over groups of 16 weights without branches, so that compilers vectorise them; the rare codes with raw bits
//! are put right afterwards.

use super::alphabet::{self, raw_bits};
use super::bits::BitReader;
use super::element::{word, Layout};
pub use super::lattice::{can_dither, Dither, Lattices, RowPlace, RowStep, LEVELS, UNIT_STEP};
use super::predict::FLIP;
use super::rans::LANES;
use super::read_row::{Contexts, Decoding, Source, Start, Streams};
use crate::kernels::float16::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};

/// A float type as the loops see it: bit patterns in the low bits of a u32.
trait Real {
    const BYTES: usize;
    fn get(bytes: &[u8]) -> u32;
    fn put(bytes: &mut [u8], bits: u32);
    fn value(bits: u32) -> f32;
    fn round(value: f32) -> u32;

    /// The bits as a signed number, the sign in front.
    #[inline(always)]
    fn signed(bits: u32) -> i32 {
        let spare = 32 - 8 * Self::BYTES as u32;
        ((bits << spare) as i32) >> spare
    }

    /// Between a bit pattern and its key.
    #[inline(always)]
    fn fold(x: i32) -> i32 {
        x ^ ((x >> 31) & (i32::MAX >> (32 - 8 * Self::BYTES)))
    }
}

macro_rules! real {
    ($name:ident, $word:ty, $value:expr, $round:expr) => {
        struct $name;
        impl Real for $name {
            const BYTES: usize = size_of::<$word>();
            #[inline(always)]
            fn get(bytes: &[u8]) -> u32 {
                bytes.try_into().map_or(0, |b| <$word>::from_le_bytes(b) as u32)
            }
            #[inline(always)]
            fn put(bytes: &mut [u8], bits: u32) {
                if let Ok(bytes) = <&mut [u8; size_of::<$word>()]>::try_from(bytes) {
                    *bytes = (bits as $word).to_le_bytes();
                }
            }
            #[inline(always)]
            fn value(bits: u32) -> f32 {
                $value(bits as $word)
            }
            #[inline(always)]
            fn round(value: f32) -> u32 {
                $round(value) as u32
            }
        }
    };
}
real!(Bf16, u16, bf16_to_f32, f32_to_bf16);
real!(Half, u16, f16_to_f32, f32_to_f16);
real!(Single, u32, f32::from_bits, f32::to_bits);

/// Value of a bit pattern of a type that can be dithered.
fn value(layout: Layout, bits: u32) -> f32 {
    match (layout.bits, layout.mantissa) {
        (16, 7) => Bf16::value(bits),
        (16, _) => Half::value(bits),
        _ => Single::value(bits),
    }
}

/// Values of a row of a type that can be dithered, as long as `out`.
pub fn values(layout: Layout, bytes: &[u8], out: &mut [f32]) {
    match (layout.bits, layout.mantissa) {
        (16, 7) => values_of::<Bf16>(bytes, out),
        (16, _) => values_of::<Half>(bytes, out),
        _ => values_of::<Single>(bytes, out),
    }
}

fn values_of<R: Real>(bytes: &[u8], out: &mut [f32]) {
    for (out, bytes) in out.iter_mut().zip(bytes.chunks_exact(R::BYTES)) {
        *out = R::value(R::get(bytes));
    }
}

/// How far a weight with this code difference moves.
#[inline(always)]
fn by(difference: i32, level: u8, unit: f32) -> f32 {
    let n = 32 * difference - 2 * (level & 7) as i32 - 1;
    let n = if level & 8 != 0 { -n } else { n };
    n as f32 * unit
}

/// Where a dithered weight moves to.
fn moved(layout: Layout, start: u32, difference: i32, level: u8, unit: f32) -> u32 {
    let by = by(difference, level, unit);
    match (layout.bits, layout.mantissa) {
        (16, 7) => Bf16::round(Bf16::value(start) + by),
        (16, _) => Half::round(Half::value(start) + by),
        _ => Single::round(Single::value(start) + by),
    }
}

/// The multiple of a step that a change is nearest to, seen from its level; none where it is too far or no number.
#[inline(always)]
pub fn nearest(change: f32, level: u8, step: f32) -> Option<i32> {
    let change = if level & 8 != 0 { -change } else { change };
    let z = (2 * (level & 7) + 1) as f32 / 32.0;
    let q = (change / step + z).round_ties_even();
    // Not true of a NaN.
    (q.abs() <= 32767.0).then_some(q as i32)
}

/// A row of a dithered tensor.
pub struct Row<'a> {
    /// What it starts from.
    pub source: &'a Source<'a>,
    /// Its steps.
    pub step: RowStep,
    /// Levels of its weights, padded to groups of 16.
    pub levels: &'a [u8],
}

impl<'a> Row<'a> {
    /// The row at a place; `levels` is room for its levels.
    pub fn at(place: RowPlace, source: &'a Source<'a>, log2_q: u32, levels: &'a mut Vec<u8>) -> Self {
        let groups = source.columns.len() / LANES;
        levels.resize(source.start.n().div_ceil(LANES) * LANES, 0);
        place.dither.levels(place.row, groups as u64, levels);
        Self {
            source,
            step: place.dither.row(source.start.layout, source.row, log2_q),
            levels,
        }
    }

    /// What its weight number `at` is coded as, if it is to be `fine`.
    pub fn quantize(&self, at: usize, fine: u64) -> Quantized {
        let (start, step) = (self.source.start, self.step);
        let layout = start.layout;
        let width = layout.bytes();
        let from = word(&start.from[at * width..(at + 1) * width]);
        let u = layout.wrap(layout.key(fine).wrapping_sub(layout.key(from)));
        let code = alphabet::encode_word(u, fine, layout.bits).code;
        let is_dithered = layout.exponent(from) < step.below;
        let moved = if is_dithered {
            let change = value(layout, fine as u32) - value(layout, from as u32);
            let level = self.levels[at];
            nearest(change, level, 32.0 * step.unit).and_then(|q| {
                let result = moved(layout, from as u32, q, level, step.unit) as u64;
                (!layout.is_special(result)).then_some((q as i64, result))
            })
        } else if start.flips(at) {
            Some((layout.wrap(u.wrapping_neg()), fine))
        } else {
            Some((u, fine))
        };
        Quantized {
            is_dithered,
            far_zero: alphabet::zero(code, layout.bits).map(|_| code),
            moved,
        }
    }
}

/// What a weight of a dithered row is coded as.
pub struct Quantized {
    /// False for a weight that is exact in any case.
    pub is_dithered: bool,
    /// The code of a weight that is 0 now and was not near it, which is exact in dithered rows too: what was pruned stays
    /// so.
    pub far_zero: Option<i8>,
    /// How far the weight moves and what that gives: a multiple of the step where it is dithered, which is none where no
    /// multiple is near enough or gives a finite number; else the difference to the weight itself.
    pub moved: Option<(i64, u64)>,
}

/// Contexts of a row of weights: dithered ones by column and level, the others as without dither.
///
/// `out` is padded to groups of 16; the contexts beyond the row are `padding`.
pub fn contexts_row(contexts: Contexts, lattices: Lattices, row: &Row<'_>, padding: u8, out: &mut [u8]) {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    super::simd128::dither::contexts_row(contexts, lattices, row, out);
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    contexts_row_scalar(contexts, lattices, row, out);
    out[row.source.start.n()..].fill(padding);
}

/// The scalar twin of [`contexts_row`], but for the padding.
pub fn contexts_row_scalar(contexts: Contexts, lattices: Lattices, row: &Row<'_>, out: &mut [u8]) {
    // Only the width of the words matters here.
    match row.source.start.layout.bits {
        16 => contexts_of::<Bf16>(contexts, lattices, row, out),
        _ => contexts_of::<Single>(contexts, lattices, row, out),
    }
}

/// Contexts of the prediction for a group of 16 weights; zeros without one, and beyond the row.
#[inline(always)]
fn variants_of(variants: &[u8], group: usize) -> [u8; LANES] {
    match variants.get(group * LANES..) {
        Some(some) if !some.is_empty() => padded(&some[..some.len().min(LANES)]),
        _ => [0; LANES],
    }
}

/// Up to 16 values as a whole group.
#[inline(always)]
fn padded<T: Copy + Default>(some: &[T]) -> [T; LANES] {
    let mut all = [T::default(); LANES];
    all[..some.len()].copy_from_slice(some);
    all
}

fn contexts_of<R: Real>(contexts: Contexts, lattices: Lattices, row: &Row<'_>, out: &mut [u8]) {
    let Row { source, step, levels } = *row;
    let Start { layout, from, variants } = source.start;
    let last = contexts.classes as i16 - 1;
    let phased = contexts.phased as i16;
    let of_row = (source.row + contexts.offset as i32) as i16;
    let of_lattice = (lattices.offset as i32 - step.shift) as i16;
    let last_lattice = lattices.classes as i16 - 1;
    let (first, below) = (lattices.first as i16, step.below as i16);
    let rows = from.chunks(LANES * R::BYTES).zip(source.columns.chunks_exact(LANES));
    let beside = levels.chunks_exact(LANES).zip(out.chunks_exact_mut(LANES));
    for (group, ((from, columns), (levels, out))) in rows.zip(beside).enumerate() {
        let mut exponents = [0i16; LANES];
        for (e, bytes) in exponents.iter_mut().zip(from.chunks_exact(R::BYTES)) {
            *e = layout.exponent(R::get(bytes) as u64) as i16;
        }
        let variants = variants_of(variants, group);
        for (i, out) in out.iter_mut().enumerate() {
            let variant = (variants[i] & (FLIP - 1)) as i16;
            let sum = of_row
                .wrapping_add(columns[i])
                .wrapping_sub(exponents[i] << contexts.log2_q);
            let class = sum.min(last).max(0);
            let own = (class << 1).wrapping_add(last).wrapping_add(variant);
            let exact = if (class < phased) & (variant > 0) { own } else { class };
            let lattice = columns[i].wrapping_add(of_lattice).min(last_lattice).max(0);
            let dithered = first.wrapping_add(lattice << 3).wrapping_add((levels[i] & 7) as i16);
            *out = if exponents[i] < below { dithered } else { exact } as u8;
        }
    }
}

/// What a row of codes gives, but for codes with raw bits. `codes` are padded to groups of 16.
pub fn apply_row(row: &Row<'_>, codes: &[i8], out: &mut [u8]) {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    super::simd128::dither::apply_row(row, codes, out);
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    apply_row_scalar(row, codes, out);
}

/// The scalar twin of [`apply_row`].
pub fn apply_row_scalar(row: &Row<'_>, codes: &[i8], out: &mut [u8]) {
    let layout = row.source.start.layout;
    match (layout.bits, layout.mantissa) {
        (16, 7) => apply::<Bf16>(row, codes, out),
        (16, _) => apply::<Half>(row, codes, out),
        _ => apply::<Single>(row, codes, out),
    }
}

fn apply<R: Real>(row: &Row<'_>, codes: &[i8], out: &mut [u8]) {
    let Row { source, step, levels } = *row;
    let Start { layout, from, variants } = source.start;
    let rows = from.chunks(LANES * R::BYTES).zip(out.chunks_mut(LANES * R::BYTES));
    let beside = levels.chunks_exact(LANES).zip(codes.chunks_exact(LANES));
    for (group, ((from, out), (levels, codes))) in rows.zip(beside).enumerate() {
        let mut starts = [0u32; LANES];
        for (s, bytes) in starts.iter_mut().zip(from.chunks_exact(R::BYTES)) {
            *s = R::get(bytes);
        }
        let variants = variants_of(variants, group);
        let mut results = [0u32; LANES];
        for (i, result) in results.iter_mut().enumerate() {
            let (start, code) = (starts[i], codes[i] as i32);
            let u = if variants[i] & FLIP != 0 { -code } else { code };
            let key = R::fold(R::signed(start)).wrapping_add(u);
            let exact = R::fold(R::signed(key as u32)) as u32;
            let dithered = R::round(R::value(start) + by(code, levels[i], step.unit));
            *result = if layout.exponent(start as u64) < step.below {
                dithered
            } else {
                exact
            };
        }
        for (bytes, result) in out.chunks_exact_mut(R::BYTES).zip(results) {
            R::put(bytes, result);
        }
    }
}

/// Symbols of a row, `256 * context + code`, and what they give: multiples of steps where weights are dithered, else
/// differences. A weight whose code would have raw bits, give no finite number or be that of a
/// [`far_zero`](Quantized::far_zero) has [`alphabet::ESCAPE`] and any result.
///
/// `contexts` and `index` are padded to groups of 16.
pub fn quantize_row(row: &Row<'_>, fine: &[u8], contexts: &[u8], index: &mut [u16], out: &mut [u8]) {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    super::simd128::dither::quantize_row(row, fine, contexts, index, out);
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    quantize_row_scalar(row, fine, contexts, index, out);
}

/// The scalar twin of [`quantize_row`].
pub fn quantize_row_scalar(row: &Row<'_>, fine: &[u8], contexts: &[u8], index: &mut [u16], out: &mut [u8]) {
    for (i, &context) in index.iter_mut().zip(contexts) {
        *i = (context as u16) << 8;
    }
    let width = row.source.start.layout.bytes();
    let words = fine.chunks_exact(width).zip(out.chunks_exact_mut(width));
    for (at, ((fine, out), index)) in words.zip(index).enumerate() {
        let fine = word(fine);
        let Quantized { far_zero, moved, .. } = row.quantize(at, fine);
        let (code, result) = match moved {
            Some((u, result)) if far_zero.is_none() && u.unsigned_abs() <= alphabet::EXACT as u64 => (u as i8, result),
            _ => (alphabet::ESCAPE, fine),
        };
        *index |= code as u8 as u16;
        out.copy_from_slice(&result.to_le_bytes()[..width]);
    }
}

/// Buffers for one row.
#[derive(Default)]
pub struct Scratch {
    levels: Vec<u8>,
    contexts: Vec<u8>,
    codes: Vec<i8>,
}

/// Decodes one row of a dithered tensor into `out`, as long as what it starts from.
pub fn decode_row(
    decoding: &Decoding<'_>,
    place: RowPlace,
    source: &Source<'_>,
    streams: &mut Streams,
    scratch: &mut Scratch,
    out: &mut [u8],
) {
    let Decoding {
        contexts,
        lattices,
        tables,
    } = *decoding;
    let row = Row::at(place, source, contexts.log2_q, &mut scratch.levels);
    scratch.contexts.resize(row.levels.len(), 0);
    scratch.codes.resize(row.levels.len(), 0);
    let codes = &mut scratch.codes;
    contexts_row(contexts, lattices, &row, tables.padding(), &mut scratch.contexts);
    streams.codes(tables, &scratch.contexts, codes);
    apply_row(&row, codes, out);
    if codes
        .iter()
        .fold(false, |any, c| any | (c.unsigned_abs() > alphabet::EXACT as u8))
    {
        expand(&row, &codes[..source.start.n()], &mut streams.raw, out);
    }
}

/// Reads the raw bits of the codes that have some and puts their results right.
fn expand(row: &Row<'_>, codes: &[i8], raw: &mut BitReader, out: &mut [u8]) {
    let Row { source, step, levels } = *row;
    let layout = source.start.layout;
    let width = layout.bytes();
    let long = |c: &i8| c.unsigned_abs() > alphabet::EXACT as u8;
    for (i, &code) in codes.iter().enumerate().filter(|(_, c)| long(c)) {
        let bytes = i * width..(i + 1) * width;
        let start = word(&source.start.from[bytes.clone()]);
        let bits = raw_bits(code, layout.bits);
        let raw = raw.get(bits);
        let u = alphabet::decode(code, bits, raw);
        let result = if let Some(zero) = alphabet::zero(code, layout.bits) {
            zero
        } else if layout.exponent(start) >= step.below {
            let u = if source.start.flips(i) { u.wrapping_neg() } else { u };
            layout.unkey(layout.key(start).wrapping_add(u))
        } else if code.unsigned_abs() > alphabet::LAST_BUCKET as u8 {
            raw
        } else {
            moved(layout, start as u32, u as i16 as i32, levels[i], step.unit) as u64
        };
        out[bytes].copy_from_slice(&result.to_le_bytes()[..width]);
    }
}
