//! Encoding a row: classes from the base, symbols from the fine-tune, raw bits.

use super::alphabet;
use super::analyse::{step, Reach};
use super::bits::BitWriter;
use super::element::Word;
use super::lattice::Lattices;
use super::rans::LANES;
use super::read_row::{Contexts, Source};
use super::tables::EncodeTables;

/// What the rows of a block are written with.
pub struct Coding<'a> {
    /// How contexts follow from classes.
    pub contexts: Contexts,
    /// How those of dithered weights follow from columns and levels.
    pub lattices: Lattices,
    /// What the tables have.
    pub reach: &'a Reach,
    /// The tables: they have all contexts that these lead to.
    pub tables: &'a EncodeTables,
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
impl Coding<'_> {
    /// The reach of the contexts that weights can have.
    pub(super) fn limits(&self) -> &[[u8; 16]] {
        assert!(self.contexts.count() <= self.tables.contexts());
        let limits = &self.reach.limits;
        &limits[..limits.len().min(self.contexts.count() / 16 + 1)]
    }
}

/// The streams of a block on their way.
#[derive(Default)]
pub struct Streams {
    /// The lanes' symbols, `256 * context + code`; those of a row are padded to whole groups of lanes.
    pub index: Vec<u16>,
    /// The raw bits.
    pub raw: BitWriter,
}

/// Buffers for one row.
#[derive(Default)]
pub struct Scratch {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    pub(super) list: super::simd128::read16::List,
}

/// Appends the symbols and raw bits of one row, whose elements become those of `fine`.
pub fn write_row(coding: &Coding<'_>, source: &Source<'_>, fine: &[u8], scratch: &mut Scratch, streams: &mut Streams) {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    match source.start.layout.bits {
        8 => words::<u8>(coding, source, fine, streams),
        16 => super::simd128::write16::write_row(coding, source, fine, &mut scratch.list, streams),
        32 => super::simd128::write32::write_row(coding, source, fine, streams),
        _ => words::<u64>(coding, source, fine, streams),
    }
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    {
        let Scratch {} = scratch;
        write_row_scalar(coding, source, fine, streams);
    }
}

/// The scalar twin of [`write_row`].
pub fn write_row_scalar(coding: &Coding<'_>, source: &Source<'_>, fine: &[u8], streams: &mut Streams) {
    match source.start.layout.bits {
        8 => words::<u8>(coding, source, fine, streams),
        16 => words::<u16>(coding, source, fine, streams),
        32 => words::<u32>(coding, source, fine, streams),
        _ => words::<u64>(coding, source, fine, streams),
    }
}

fn words<W: Word>(coding: &Coding<'_>, source: &Source<'_>, fine: &[u8], streams: &mut Streams) {
    let start = source.start.of_words::<W>();
    let layout = start.layout;
    let Streams { index, raw } = streams;
    let n = fine.len() / layout.bytes();
    let padded = index.len() + n.div_ceil(LANES) * LANES;
    for i in 0..n {
        let exponent = layout.exponent(W::get(start.from, i));
        let sum = source.row + source.columns[i] as i32 - (exponent << coding.contexts.log2_q);
        let context = (coding.contexts.of(sum, start.variant(i)) as u16) << 8;
        let step = step::<W>(&start, fine, i);
        let mut coded = alphabet::encode_word(step, W::get(fine, i), W::BITS);
        if !coding.tables.has(context | coded.code as u8 as u16) {
            coded = alphabet::escape(step, W::BITS);
        }
        index.push(context | coded.code as u8 as u16);
        raw.put(coded.raw, coded.n);
    }
    index.resize(padded, coding.tables.padding());
}
