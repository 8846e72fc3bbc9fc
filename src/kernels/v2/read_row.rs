//! Decoding a row: classes from the base, symbols from the lanes, raw bits, result.

use super::alphabet::{self, raw_bits};
use super::bits::BitReader;
use super::element::{Layout, Word};
use super::lattice::Lattices;
use super::predict::FLIP;
use super::rans::{self, Words, LANES};
use super::tables::DecodeTables;
use std::ops::Range;

/// How a weight's context follows from its class and variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contexts {
    /// Logarithm of the classes per octave.
    pub log2_q: u32,
    /// The window's constant, in classes.
    pub offset: i16,
    /// Number of classes, 1 to 64.
    pub classes: u8,
    /// How many of them have contexts of their own for predicted weights.
    pub phased: u8,
}

impl Contexts {
    /// The context of a weight. `sum`: row scale plus column scale minus `q * exponent`.
    #[inline(always)]
    pub fn of(self, sum: i32, variant: u8) -> u8 {
        // Not `clamp`, which is a call in wasm.
        let class = (sum + self.offset as i32).min(self.classes as i32 - 1).max(0) as u8;
        if variant == 0 || class >= self.phased {
            class
        } else {
            self.classes + 2 * class + variant - 1
        }
    }

    /// Number of contexts of weights: all that [`of`](Self::of) can give.
    pub fn count(self) -> usize {
        self.classes as usize + 2 * self.phased.min(self.classes) as usize
    }
}

/// What the rows of a block are decoded with.
pub struct Decoding<'a> {
    /// How contexts follow from classes.
    pub contexts: Contexts,
    /// How those of dithered weights follow from columns and levels.
    pub lattices: Lattices,
    /// The tables: they have all contexts that these lead to.
    pub tables: &'a DecodeTables,
}

/// The elements that a row starts from: the base, or the base as moved by a prediction.
#[derive(Clone, Copy)]
pub struct Start<'a> {
    /// How elements are read.
    pub layout: Layout,
    /// The elements, little-endian.
    pub from: &'a [u8],
    /// Contexts of the prediction, one per element; empty without one.
    pub variants: &'a [u8],
}

impl Start<'_> {
    /// Number of elements.
    pub fn n(&self) -> usize {
        self.from.len() / self.layout.bytes()
    }

    /// Some of the elements.
    pub fn part(self, elements: Range<usize>) -> Self {
        let width = self.layout.bytes();
        Self {
            from: &self.from[elements.start * width..elements.end * width],
            variants: self.variants.get(elements).unwrap_or_default(),
            ..self
        }
    }

    /// The same, with a width that the compiler knows.
    #[inline(always)]
    pub(super) fn of_words<W: Word>(self) -> Self {
        let layout = self.layout.of_words::<W>();
        Self { layout, ..self }
    }

    /// Which of its class's tables an element's code is in.
    #[inline(always)]
    pub(super) fn variant(&self, i: usize) -> u8 {
        self.variants.get(i).map_or(0, |v| v & !FLIP)
    }

    /// True when an element's difference is coded with its sign flipped.
    #[inline(always)]
    pub(super) fn flips(&self, i: usize) -> bool {
        self.variants.get(i).is_some_and(|v| v & FLIP != 0)
    }
}

/// What a row starts from, and the scales that its classes follow from.
pub struct Source<'a> {
    /// The elements.
    pub start: Start<'a>,
    /// Scale of the row.
    pub row: i32,
    /// Scales of the columns of a full row, padded to a multiple of 16.
    pub columns: &'a [i16],
}

/// What is left to read of the streams of a block.
pub struct Streams {
    /// States of the lanes.
    pub states: [u32; LANES],
    /// The 16-bit words of the lanes.
    pub words: Words,
    /// The raw bits of codes, in the order of the weights.
    pub raw: BitReader,
}

impl Streams {
    /// The codes of whole groups of weights with these contexts.
    pub fn codes(&mut self, tables: &DecodeTables, contexts: &[u8], codes: &mut [i8]) {
        rans::decode_row(&mut self.states, &mut self.words, tables, contexts, codes);
    }
}

/// Buffers for one row.
#[derive(Default)]
pub struct Scratch {
    contexts: Vec<u8>,
    codes: Vec<i8>,
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    pub(super) list: super::simd128::read16::List,
}

/// Decodes one row into `out`, as long as what it starts from.
pub fn decode_row(
    decoding: &Decoding<'_>,
    source: &Source<'_>,
    streams: &mut Streams,
    scratch: &mut Scratch,
    out: &mut [u8],
) {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    match source.start.layout.bits {
        8 => words::<u8>(decoding, source, streams, scratch, out),
        16 => super::simd128::read16::decode_row(decoding, source, streams, &mut scratch.list, out),
        32 => super::simd128::read32::decode_row(decoding, source, streams, out),
        _ => words::<u64>(decoding, source, streams, scratch, out),
    }
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    decode_row_scalar(decoding, source, streams, scratch, out);
}

/// The scalar twin of [`decode_row`], but for the lanes, which have their own
/// ([`rans::decode_row_scalar`]).
pub fn decode_row_scalar(
    decoding: &Decoding<'_>,
    source: &Source<'_>,
    streams: &mut Streams,
    scratch: &mut Scratch,
    out: &mut [u8],
) {
    match source.start.layout.bits {
        8 => words::<u8>(decoding, source, streams, scratch, out),
        16 => words::<u16>(decoding, source, streams, scratch, out),
        32 => words::<u32>(decoding, source, streams, scratch, out),
        _ => words::<u64>(decoding, source, streams, scratch, out),
    }
}

fn words<W: Word>(
    decoding: &Decoding<'_>,
    source: &Source<'_>,
    streams: &mut Streams,
    scratch: &mut Scratch,
    out: &mut [u8],
) {
    let Decoding { contexts, tables, .. } = *decoding;
    let start = source.start.of_words::<W>();
    let layout = start.layout;
    let n = out.len() / layout.bytes();
    let groups = n.div_ceil(LANES) * LANES;
    scratch.contexts.clear();
    scratch.contexts.extend((0..n).map(|i| {
        let exponent = layout.exponent(W::get(start.from, i));
        let sum = source.row + source.columns[i] as i32 - (exponent << contexts.log2_q);
        contexts.of(sum, start.variant(i))
    }));
    scratch.contexts.resize(groups, tables.padding());
    scratch.codes.resize(groups, 0);
    let codes = &mut scratch.codes[..groups];
    streams.codes(tables, &scratch.contexts, codes);
    for (i, &code) in codes[..n].iter().enumerate() {
        let bits = raw_bits(code, W::BITS);
        let u = alphabet::decode(code, bits, streams.raw.get(bits));
        let u = if start.flips(i) { u.wrapping_neg() } else { u };
        let moved = layout.unkey(layout.key(W::get(start.from, i)).wrapping_add(u));
        W::put(out, i, alphabet::zero(code, W::BITS).unwrap_or(moved));
    }
}
