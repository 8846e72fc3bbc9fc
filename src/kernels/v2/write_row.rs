//! Encoding a row: classes from the base, symbols from the fine-tune, raw bits.

use super::alphabet;
use super::analyse::{step, Reach};
use super::bits::BitWriter;
use super::element::{Layout, Word};
use super::predict::FLIP;
use super::rans::LANES;
use super::read_row::{Contexts, Source};
use super::tables::EncodeTables;

/// What the rows of a block are written with.
pub struct Coding<'a> {
    /// How contexts follow from classes.
    pub contexts: Contexts,
    /// What the tables have.
    pub reach: &'a Reach,
    /// The tables, of at least `contexts.count()` contexts.
    pub tables: &'a EncodeTables,
}

impl Coding<'_> {
    /// The symbol of lanes without a weight: of the context behind all others, which has only one.
    pub(super) fn padding(&self) -> u16 {
        (self.tables.contexts() as u16) << 8
    }

    /// The reach of the contexts that weights can have.
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    pub(super) fn limits(&self) -> &[[u8; 16]] {
        assert!(self.contexts.count() <= self.tables.contexts());
        let limits = &self.reach.limits;
        &limits[..limits.len().min(self.contexts.count() / 16 + 1)]
    }
}

/// Buffers for one row.
#[derive(Default)]
pub struct Scratch {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    pub(super) list: super::simd128::read16::List,
}

/// Appends the symbols of one row to `index`, padded to whole groups of lanes, and its raw bits to `raw`.
///
/// `fine` is as long as `source.from`.
pub fn write_row(
    layout: Layout,
    coding: &Coding<'_>,
    source: &Source<'_>,
    fine: &[u8],
    scratch: &mut Scratch,
    index: &mut Vec<u16>,
    raw: &mut BitWriter,
) {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    match layout.bits {
        8 => words::<u8>(layout, coding, source, fine, index, raw),
        16 => super::simd128::write16::write_row(layout, coding, source, fine, &mut scratch.list, index, raw),
        32 => super::simd128::write32::write_row(layout, coding, source, fine, index, raw),
        _ => words::<u64>(layout, coding, source, fine, index, raw),
    }
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    {
        let Scratch {} = scratch;
        write_row_scalar(layout, coding, source, fine, index, raw);
    }
}

/// The scalar twin of [`write_row`].
pub fn write_row_scalar(
    layout: Layout,
    coding: &Coding<'_>,
    source: &Source<'_>,
    fine: &[u8],
    index: &mut Vec<u16>,
    raw: &mut BitWriter,
) {
    match layout.bits {
        8 => words::<u8>(layout, coding, source, fine, index, raw),
        16 => words::<u16>(layout, coding, source, fine, index, raw),
        32 => words::<u32>(layout, coding, source, fine, index, raw),
        _ => words::<u64>(layout, coding, source, fine, index, raw),
    }
}

fn words<W: Word>(
    layout: Layout,
    coding: &Coding<'_>,
    source: &Source<'_>,
    fine: &[u8],
    index: &mut Vec<u16>,
    raw: &mut BitWriter,
) {
    let layout = layout.of_words::<W>();
    let n = fine.len() / layout.bytes();
    let padded = index.len() + n.div_ceil(LANES) * LANES;
    for i in 0..n {
        let variant = source.variants.get(i).map_or(0, |v| v & !FLIP);
        let exponent = layout.exponent(W::get(source.from, i));
        let sum = source.row + source.columns[i] as i32 - (exponent << coding.contexts.log2_q);
        let context = (coding.contexts.of(sum, variant) as u16) << 8;
        let step = step::<W>(layout, source.from, fine, source.variants, i);
        let mut coded = alphabet::encode_word(step, W::get(fine, i), W::BITS);
        if !coding.tables.has(context | coded.code as u8 as u16) {
            coded = alphabet::escape(step, W::BITS);
        }
        index.push(context | coded.code as u8 as u16);
        raw.put(coded.raw, coded.n);
    }
    index.resize(padded, coding.padding());
}
