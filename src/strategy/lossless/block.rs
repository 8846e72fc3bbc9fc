//! A block: some rows of one tensor, or several small tensors, coded with one run of the 16 lanes.

use super::check::check;
pub use super::encode::{cost_table, encode, Segment, Stats};
use super::factors::{factor, Factors};
use super::fit::row_octave;
use super::model::TableSet;
use super::rows::MovedRow;
use super::side::Scales;
use super::wire::{malformed, take, take_byte, take_states, take_varint, unseal};
use crate::error::Result;
use crate::kernels::v2::adaptive::Decoder;
use crate::kernels::v2::bits::BitReader;
use crate::kernels::v2::dither::{self, Dither};
use crate::kernels::v2::element::Layout;
use crate::kernels::v2::rans::{Words, LANES, LOWER};
use crate::kernels::v2::read_row::{self, Decoding, Scratch, Source, Streams};
use crate::kernels::v2::subspace::MAX_COMPONENTS;
use crate::kernels::v2::tables::DecodeTables;

/// First byte of a block that is coded against a base.
pub const CODED: u8 = 0;

/// Rows of one tensor, to be decoded.
pub struct Target<'a> {
    /// How elements are read.
    pub layout: Layout,
    /// Elements per row.
    pub columns: usize,
    /// Column scales, one per element of a row.
    pub scales: &'a [i16],
    /// The prediction, if there is one.
    pub factors: Option<&'a Factors>,
    /// Its dither and the number of the first row here, if it has one.
    pub dither: Option<(Dither, u64)>,
    /// Bytes of the base.
    pub base: &'a [u8],
    /// Bytes of the fine-tune, as many as of the base.
    pub out: &'a mut [u8],
}

/// Decodes a block into its targets, which are those that it was encoded from, in the same order.
///
/// `CHECKSUM` when the bytes differ from the block's own checksum, `MALFORMED` when they have its checksum but are not
/// what [`encode`] writes for such targets, or when set, tables and targets do not fit together. The outputs are
/// undefined after an error. Beyond the checksum, only lengths and ends of streams are checked: a block that somebody
/// made up may decode to anything.
pub fn decode(set: &TableSet, tables: &DecodeTables, bytes: &[u8], targets: &mut [Target<'_>]) -> Result<()> {
    check(set, tables, targets)?;
    let mut rest = unseal(bytes)?;
    if take_byte(&mut rest)? != CODED {
        return Err(malformed("a block is of another kind than the tensor it is for"));
    }
    let (n_side, n_words, n_raw) = (
        take_varint(&mut rest)?,
        take_varint(&mut rest)?,
        take_varint(&mut rest)?,
    );
    let side = Decoder::new(take(&mut rest, n_side)?);
    let states = take_states(&mut rest)?;
    let words = Words::new(take(&mut rest, n_words.saturating_mul(2))?);
    let raw = BitReader::new(take(&mut rest, n_raw)?);
    let mut reader = BlockReader {
        set,
        decoding: Decoding {
            contexts: set.contexts(),
            lattices: set.lattices(),
            tables,
        },
        side,
        scales: Scales::default(),
        streams: Streams { states, words, raw },
        scratch: Scratch::default(),
        dithered: dither::Scratch::default(),
        moved: MovedRow::default(),
    };
    for t in targets.iter_mut() {
        reader.target(t);
    }
    let streams = &reader.streams;
    if !rest.is_empty()
        || streams.states != [LOWER; LANES]
        || !streams.words.is_exhausted()
        || !streams.raw.is_exhausted()
        || !reader.side.is_exhausted()
    {
        return Err(malformed("a block's streams do not end where they should"));
    }
    Ok(())
}

struct BlockReader<'a> {
    set: &'a TableSet,
    decoding: Decoding<'a>,
    side: Decoder<'a>,
    scales: Scales,
    streams: Streams,
    scratch: Scratch,
    dithered: dither::Scratch,
    moved: MovedRow,
}

impl BlockReader<'_> {
    fn target(&mut self, t: &mut Target<'_>) {
        let row_bytes = t.columns * t.layout.bytes();
        let q = self.decoding.contexts.log2_q;
        let mut scales = t.scales.to_vec();
        scales.resize(t.columns.div_ceil(LANES) * LANES, 0);
        let rows = t.base.chunks(row_bytes).zip(t.out.chunks_mut(row_bytes));
        for ((base, out), i) in rows.zip(0u64..) {
            if !self.scales.changed(&mut self.side, false) {
                out.copy_from_slice(base);
                continue;
            }
            let row = self.scales.scale(&mut self.side, 0);
            self.moved.none();
            if let Some(factors) = t.factors {
                let octave = row_octave(t.layout, row, q) + self.scales.octave(&mut self.side, 0);
                let left = self.left_factors(factors);
                self.moved.predict(t.layout, factors, &left, octave, base);
            }
            let source = Source {
                start: self.moved.start(t.layout, base),
                row,
                columns: &scales,
            };
            if let Some((dither, first)) = t.dither {
                let place = dither::RowPlace {
                    dither,
                    row: first.wrapping_add(i),
                };
                let scratch = &mut self.dithered;
                dither::decode_row(&self.decoding, place, &source, &mut self.streams, scratch, out);
            } else {
                let scratch = &mut self.scratch;
                read_row::decode_row(&self.decoding, &source, &mut self.streams, scratch, out);
            }
        }
    }

    /// The factors of the next row, times their gains.
    fn left_factors(&mut self, factors: &Factors) -> [i16; MAX_COMPONENTS] {
        let tables = self.decoding.tables;
        let mut contexts = [tables.padding(); MAX_COMPONENTS];
        for (c, &class) in contexts.iter_mut().zip(&factors.left_classes) {
            *c = self.set.factor_context(class) as u8;
        }
        let mut symbols = [0; MAX_COMPONENTS];
        let n = factors.rank.div_ceil(LANES) * LANES;
        self.streams.codes(tables, &contexts[..n], &mut symbols[..n]);
        let mut left = [0; MAX_COMPONENTS];
        for (l, &s) in left[..factors.rank].iter_mut().zip(&symbols) {
            *l = factor(s, self.streams.raw.get(factors.raw_bits), factors.raw_bits);
        }
        factors.scaled_left(&left[..factors.rank])
    }
}
