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
use super::element::Layout;
pub use super::lattice::{can_dither, Dither, Lattices, Place, RowStep, LEVELS, UNIT_STEP};
use super::predict::FLIP;
use super::rans::{self, LANES};
use super::read_row::{Contexts, Source, Streams};
use super::tables::DecodeTables;
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

/// Contexts of a row of weights: dithered ones by column and level, the others as without dither.
///
/// `levels`, the source's columns and `out` are padded to groups of 16; the contexts beyond the row are `padding`.
#[allow(clippy::too_many_arguments)]
pub fn contexts_row(
    layout: Layout,
    contexts: Contexts,
    lattices: Lattices,
    step: RowStep,
    source: &Source<'_>,
    levels: &[u8],
    padding: u8,
    out: &mut [u8],
) {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    super::simd128::dither::contexts_row(layout, contexts, lattices, step, source, levels, out);
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    contexts_row_scalar(layout, contexts, lattices, step, source, levels, out);
    out[source.from.len() / layout.bytes()..].fill(padding);
}

/// The scalar twin of [`contexts_row`], but for the padding.
pub fn contexts_row_scalar(
    layout: Layout,
    contexts: Contexts,
    lattices: Lattices,
    step: RowStep,
    source: &Source<'_>,
    levels: &[u8],
    out: &mut [u8],
) {
    // Only the width of the words matters here.
    match layout.bits {
        16 => contexts_of::<Bf16>(layout, contexts, lattices, step, source, levels, out),
        _ => contexts_of::<Single>(layout, contexts, lattices, step, source, levels, out),
    }
}

/// Contexts of the prediction for a group of 16 weights; zeros without one, and beyond the row.
#[inline(always)]
fn variants_of(source: &Source<'_>, group: usize) -> [u8; LANES] {
    match source.variants.get(group * LANES..) {
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

fn contexts_of<R: Real>(
    layout: Layout,
    contexts: Contexts,
    lattices: Lattices,
    step: RowStep,
    source: &Source<'_>,
    levels: &[u8],
    out: &mut [u8],
) {
    let last = contexts.classes as i16 - 1;
    let phased = contexts.phased as i16;
    let row = (source.row + contexts.offset as i32) as i16;
    let of_lattice = (lattices.offset as i32 - step.shift) as i16;
    let last_lattice = lattices.classes as i16 - 1;
    let (first, below) = (lattices.first as i16, step.below as i16);
    let rows = source
        .from
        .chunks(LANES * R::BYTES)
        .zip(source.columns.chunks_exact(LANES));
    let beside = levels.chunks_exact(LANES).zip(out.chunks_exact_mut(LANES));
    for (group, ((from, columns), (levels, out))) in rows.zip(beside).enumerate() {
        let mut exponents = [0i16; LANES];
        for (e, bytes) in exponents.iter_mut().zip(from.chunks_exact(R::BYTES)) {
            *e = layout.exponent(R::get(bytes) as u64) as i16;
        }
        let variants = variants_of(source, group);
        for (i, out) in out.iter_mut().enumerate() {
            let variant = (variants[i] & (FLIP - 1)) as i16;
            let sum = row
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

/// What a row of codes gives, but for codes with raw bits. `levels` and `codes` are padded to groups of 16.
pub fn apply_row(layout: Layout, step: RowStep, source: &Source<'_>, levels: &[u8], codes: &[i8], out: &mut [u8]) {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    super::simd128::dither::apply_row(layout, step, source, levels, codes, out);
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    apply_row_scalar(layout, step, source, levels, codes, out);
}

/// The scalar twin of [`apply_row`].
pub fn apply_row_scalar(
    layout: Layout,
    step: RowStep,
    source: &Source<'_>,
    levels: &[u8],
    codes: &[i8],
    out: &mut [u8],
) {
    match (layout.bits, layout.mantissa) {
        (16, 7) => apply::<Bf16>(layout, step, source, levels, codes, out),
        (16, _) => apply::<Half>(layout, step, source, levels, codes, out),
        _ => apply::<Single>(layout, step, source, levels, codes, out),
    }
}

fn apply<R: Real>(layout: Layout, step: RowStep, source: &Source<'_>, levels: &[u8], codes: &[i8], out: &mut [u8]) {
    let rows = source
        .from
        .chunks(LANES * R::BYTES)
        .zip(out.chunks_mut(LANES * R::BYTES));
    let beside = levels.chunks_exact(LANES).zip(codes.chunks_exact(LANES));
    for (group, ((from, out), (levels, codes))) in rows.zip(beside).enumerate() {
        let mut starts = [0u32; LANES];
        for (s, bytes) in starts.iter_mut().zip(from.chunks_exact(R::BYTES)) {
            *s = R::get(bytes);
        }
        let variants = variants_of(source, group);
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

/// The code of a weight that is 0 now and was not near it, which is exact in dithered rows too: what was pruned stays so.
#[inline(always)]
pub fn far_zero(layout: Layout, start: u64, fine: u64) -> Option<i8> {
    let u = layout.wrap(layout.key(fine).wrapping_sub(layout.key(start)));
    let code = alphabet::encode_word(u, fine, layout.bits).code;
    alphabet::zero(code, layout.bits).map(|_| code)
}

/// How far a weight moves and what that gives: a multiple of the step where it is dithered, which is none where no multiple
/// is near enough or gives a finite number; else the difference to the weight itself.
pub fn quantize(layout: Layout, step: RowStep, level: u8, flip: bool, start: u64, fine: u64) -> Option<(i64, u64)> {
    if layout.exponent(start) < step.below {
        let change = value(layout, fine as u32) - value(layout, start as u32);
        let q = nearest(change, level, 32.0 * step.unit)?;
        let result = moved(layout, start as u32, q, level, step.unit) as u64;
        return (!layout.is_special(result)).then_some((q as i64, result));
    }
    let u = layout.key(fine).wrapping_sub(layout.key(start));
    Some((layout.wrap(if flip { u.wrapping_neg() } else { u }), fine))
}

/// Symbols of a row, `256 * context + code`, and what they give: multiples of steps where weights are dithered, else
/// differences. A weight whose code would have raw bits, give no finite number or be that of a [`far_zero`] has
/// [`alphabet::ESCAPE`] and any result.
///
/// `levels`, `contexts`, `index` and the source's columns are padded to groups of 16.
#[allow(clippy::too_many_arguments)]
pub fn quantize_row(
    layout: Layout,
    step: RowStep,
    source: &Source<'_>,
    fine: &[u8],
    levels: &[u8],
    contexts: &[u8],
    index: &mut [u16],
    out: &mut [u8],
) {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    super::simd128::dither::quantize_row(layout, step, source, fine, levels, contexts, index, out);
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    quantize_row_scalar(layout, step, source, fine, levels, contexts, index, out);
}

/// The scalar twin of [`quantize_row`].
#[allow(clippy::too_many_arguments)]
pub fn quantize_row_scalar(
    layout: Layout,
    step: RowStep,
    source: &Source<'_>,
    fine: &[u8],
    levels: &[u8],
    contexts: &[u8],
    index: &mut [u16],
    out: &mut [u8],
) {
    for (i, &context) in index.iter_mut().zip(contexts) {
        *i = (context as u16) << 8;
    }
    let width = layout.bytes();
    let words = source.from.chunks_exact(width).zip(fine.chunks_exact(width));
    let beside = levels.iter().zip(index).zip(out.chunks_exact_mut(width));
    for (at, ((start, fine), ((&level, index), out))) in words.zip(beside).enumerate() {
        let (start, fine) = (word(start), word(fine));
        let flip = source.variants.get(at).is_some_and(|v| v & FLIP != 0);
        let near = far_zero(layout, start, fine).is_none();
        let (code, result) = match quantize(layout, step, level, flip, start, fine) {
            Some((u, result)) if near && u.unsigned_abs() <= alphabet::EXACT as u64 => (u as i8, result),
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

/// Decodes one row of a dithered tensor into `out`, as long as `source.from`. The tables have all contexts that
/// `contexts` and `lattices` lead to.
#[allow(clippy::too_many_arguments)]
pub fn decode_row(
    layout: Layout,
    contexts: Contexts,
    lattices: Lattices,
    tables: &DecodeTables,
    place: Place,
    source: &Source<'_>,
    streams: &mut Streams,
    scratch: &mut Scratch,
    out: &mut [u8],
) {
    let n = out.len() / layout.bytes();
    let padded = n.div_ceil(LANES) * LANES;
    scratch.levels.resize(padded, 0);
    scratch.contexts.resize(padded, 0);
    scratch.codes.resize(padded, 0);
    let Scratch {
        levels,
        contexts: own,
        codes,
    } = scratch;
    place.dither.levels(place.row, place.groups, levels);
    let step = place.dither.row(layout, source.row, contexts.log2_q);
    let padding = tables.contexts() as u8;
    contexts_row(layout, contexts, lattices, step, source, levels, padding, own);
    rans::decode_row(&mut streams.states, &mut streams.words, tables, own, codes);
    apply_row(layout, step, source, levels, codes, out);
    if codes
        .iter()
        .fold(false, |any, c| any | (c.unsigned_abs() > alphabet::EXACT as u8))
    {
        expand(layout, step, source, &mut streams.raw, levels, &codes[..n], out);
    }
}

/// Reads the raw bits of the codes that have some and puts their results right.
fn expand(
    layout: Layout,
    step: RowStep,
    source: &Source<'_>,
    raw: &mut BitReader,
    levels: &[u8],
    codes: &[i8],
    out: &mut [u8],
) {
    let width = layout.bytes();
    let long = |c: &i8| c.unsigned_abs() > alphabet::EXACT as u8;
    for (i, &code) in codes.iter().enumerate().filter(|(_, c)| long(c)) {
        let bytes = i * width..(i + 1) * width;
        let start = word(&source.from[bytes.clone()]);
        let bits = raw_bits(code, layout.bits);
        let raw = raw.get(bits);
        let u = alphabet::decode(code, bits, raw);
        let result = if let Some(zero) = alphabet::zero(code, layout.bits) {
            zero
        } else if layout.exponent(start) >= step.below {
            let flip = source.variants.get(i).is_some_and(|v| v & FLIP != 0);
            let u = if flip { u.wrapping_neg() } else { u };
            layout.unkey(layout.key(start).wrapping_add(u))
        } else if code.unsigned_abs() > alphabet::LAST_BUCKET as u8 {
            raw
        } else {
            moved(layout, start as u32, u as i16 as i32, levels[i], step.unit) as u64
        };
        out[bytes].copy_from_slice(&result.to_le_bytes()[..width]);
    }
}

/// The word in these bytes, 8 at most.
pub fn word(bytes: &[u8]) -> u64 {
    if let Ok(two) = bytes.try_into() {
        return u16::from_le_bytes(two) as u64;
    }
    let mut b = [0; 8];
    b[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(b)
}
