//! Decoding a row of 16-bit elements in one go: classes from the base, symbols from the lanes, raw bits, result.

use super::alphabet::{self, raw_bits};
use super::bits::BitReader;
use super::element::Layout;
use super::predict::FLIP;
use super::rans::{self, Words, LANES};
use super::tables::DecodeTables;

/// How a weight's context follows from its class and variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contexts {
    /// Logarithm of the classes per octave.
    pub log2_q: u32,
    /// The window's constant.
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

/// What a row starts from, and how wide it is.
pub struct Source<'a> {
    /// Elements, little-endian: the base, or the base as moved by a prediction.
    pub from: &'a [u8],
    /// Contexts of the prediction, one per element; empty without one.
    pub variants: &'a [u8],
    /// Scale of the row.
    pub row: i32,
    /// Scales of the columns, padded to a multiple of 16.
    pub columns: &'a [i16],
}

/// The streams of a block.
pub struct Streams {
    /// States of the lanes.
    pub states: [u32; LANES],
    /// The words.
    pub words: Words,
    /// The raw bits.
    pub raw: BitReader,
}

/// Buffers for one row.
#[derive(Default)]
pub struct Scratch {
    contexts: Vec<u8>,
    codes: Vec<i8>,
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    pub(super) list: super::simd128::row16::List,
}

/// Decodes one row into `out`, as long as `source.from`. The tables have at least `contexts.count()` contexts.
pub fn decode_row(
    layout: Layout,
    contexts: Contexts,
    tables: &DecodeTables,
    source: &Source<'_>,
    streams: &mut Streams,
    scratch: &mut Scratch,
    out: &mut [u8],
) {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    super::simd128::row16::decode_row(layout, contexts, tables, source, streams, &mut scratch.list, out);
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    decode_row_scalar(layout, contexts, tables, source, streams, scratch, out);
}

/// The scalar twin of [`decode_row`].
pub fn decode_row_scalar(
    layout: Layout,
    contexts: Contexts,
    tables: &DecodeTables,
    source: &Source<'_>,
    streams: &mut Streams,
    scratch: &mut Scratch,
    out: &mut [u8],
) {
    let n = source.from.len() / 2;
    let groups = n.div_ceil(LANES) * LANES;
    scratch.contexts.clear();
    let elements = source
        .from
        .chunks_exact(2)
        .map(|b| u16::from_le_bytes([b[0], b[1]]) as u64);
    for ((b, &c), i) in elements.clone().zip(source.columns).zip(0..) {
        let variant = source.variants.get(i).map_or(0, |v| v & !FLIP);
        let sum = source.row + c as i32 - (layout.exponent(b) << contexts.log2_q);
        scratch.contexts.push(contexts.of(sum, variant));
    }
    scratch.contexts.resize(groups, tables.contexts() as u8);
    scratch.codes.resize(groups, 0);
    let codes = &mut scratch.codes[..groups];
    rans::decode_row_scalar(
        &mut streams.states,
        &mut streams.words,
        tables,
        &scratch.contexts,
        codes,
    );
    for (((b, &code), out), i) in elements.zip(codes.iter()).zip(out.chunks_exact_mut(2)).zip(0..) {
        let bits = raw_bits(code, 16);
        let u = alphabet::decode(code, bits, streams.raw.get(bits));
        let flip = source.variants.get(i).is_some_and(|v| v & FLIP != 0);
        let u = if flip { u.wrapping_neg() } else { u };
        let x = layout.unkey(layout.key(b).wrapping_add(u)) as u16;
        out.copy_from_slice(&x.to_le_bytes());
    }
}
