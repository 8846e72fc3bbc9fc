//! A tensor and its base, read side by side: what differs, or that nothing does.

use super::fitted::{FitItem, Look};
use super::ranges::{block_words, part, piece_words};
use crate::dtype::Dtype;
use crate::error::Result;
use crate::format::v2::index::Digest;
use crate::format::v2::BLOCK_BYTES;
use crate::job::buffers;
use crate::job::machine::{Io, Read};
use crate::job::v2::reader::Reader;
use crate::job::v2::{digest, width_of_base};
use crate::kernels::v2::element::Layout;
use crate::strategy::lossless::fit::Sample;
use crate::strategy::lossless::form::{in_dtype, Form};
use crate::strategy::lossless::wire::checksum;
use std::future::Future;

/// Bytes of a piece of a tensor that is not read as a whole.
const PIECE_BYTES: u64 = 64 << 10;

/// Rows of a piece, at most, at the lowest effort: of an embedding whose first rows changed more than its last a few long
/// pieces show neither.
const FEW_ROWS: u64 = 32;

/// Bytes of a piece where a prediction is tried: rows side by side say less about the rest than rows from everywhere.
const SMALL_PIECE_BYTES: u64 = 4 << 10;

/// What comparing a tensor with its base gives.
pub struct Compared {
    /// The rows that the tensor is fitted on: those that differ, of the pieces that were read.
    pub rows: Sample,
    /// Whether nothing differs in what was read.
    pub equal: bool,
    /// Made from the pieces that differ; 0 without a step.
    pub seed: u64,
    /// Digest of the fine-tune's tensor, if all of it is the base's.
    pub whole: Option<Digest>,
}

/// A tensor and its base, read side by side, and what that has shown so far.
pub struct Sides<'a> {
    reader: &'a mut Reader,
    item: &'a FitItem,
    base: u32,
    /// Dtype of the base.
    from: Dtype,
    /// In which words the tensor is coded.
    form: Form,
    /// Bytes of a word of the fine-tune, and what the base has for it.
    widths: (u64, u64),
    /// Words from the first on that are known to be the same.
    same: u64,
    /// The hash of those.
    hasher: blake3::Hasher,
    /// As in [`Compared`].
    rows: Sample,
    /// As in [`Compared`].
    equal: bool,
    /// As in [`Compared`].
    seed: u64,
    /// Bytes of the fine-tune that were read last.
    fine: Vec<u8>,
    /// Those, and the base's, in another dtype.
    scratch: [Vec<u8>; 2],
}

/// Pieces of a tensor that are compared in one pass, the first of every `stride`.
#[derive(Clone, Copy)]
struct ComparedPieces {
    /// First word of the first piece.
    at: u64,
    /// Words of each.
    words: u64,
    stride: u64,
    /// Whether a piece that differs ends the pass.
    until_differs: bool,
}

impl<'a> Sides<'a> {
    /// Nothing is read yet. `base`: number of the base's tensor in the last model of `reader`; `form`: in which words
    /// the tensor is coded.
    pub fn new(reader: &'a mut Reader, item: &'a FitItem, base: u32, form: Form) -> Self {
        let to = item.fine.dtype;
        let (from, _) = reader.shape_of(reader.top(), base);
        Self {
            reader,
            item,
            base,
            from,
            form,
            widths: (Layout::of(to).bytes() as u64, width_of_base(from, to)),
            same: 0,
            hasher: blake3::Hasher::new(),
            rows: Sample::new(form.layout(to), form.columns(to, item.columns as usize), item.stride),
            equal: true,
            seed: 0,
            fine: Vec::new(),
            scratch: Default::default(),
        }
    }

    /// Compares pieces, one of `item.stride`. Where none of them differs, all are compared, up to the first that does.
    pub async fn compare(mut self, io: &Io, look: Look) -> Result<Compared> {
        let item = self.item;
        let piece = match (item.stride, look.effort().low_rank) {
            (1, _) => BLOCK_BYTES,
            (_, true) => SMALL_PIECE_BYTES,
            (_, false) => PIECE_BYTES,
        };
        let mut words = piece_words(piece, item.columns, self.widths.0);
        if item.stride > 1 && look.effort().few {
            words = words.min(FEW_ROWS * item.columns);
        }
        self.fine = buffers::take((words.min(item.common) * self.widths.0) as usize);
        let pieces = ComparedPieces {
            at: 0,
            words,
            stride: item.stride,
            until_differs: false,
        };
        self.pass(io, look, pieces).await?;
        if self.equal && !look.probes() {
            self.compare_rest(io, look).await?;
        }
        buffers::give(self.fine);
        let all_equal = self.equal && self.same * self.widths.0 == item.fine.range.len;
        Ok(Compared {
            rows: self.rows,
            equal: self.equal,
            seed: self.seed,
            whole: all_equal.then(|| digest(&self.hasher)),
        })
    }

    /// Compares everything after what is known to be the same, up to the first piece that differs.
    fn compare_rest<'b>(&'b mut self, io: &'b Io, look: Look) -> impl Future<Output = Result<()>> + use<'a, 'b> {
        let pieces = ComparedPieces {
            at: self.same,
            words: block_words(self.item.columns, self.widths.0),
            stride: 1,
            until_differs: true,
        };
        self.pass(io, look, pieces)
    }

    async fn pass(&mut self, io: &Io, look: Look, pieces: ComparedPieces) -> Result<()> {
        let (width, base_width) = self.widths;
        let mut at = pieces.at;
        while at < self.item.common && (self.equal || !pieces.until_differs) {
            let words = pieces.words.min(self.item.common - at);
            let (offset, len) = part(&self.item.fine, at, words, width);
            self.fine.resize(len, 0);
            let mut fine = Read {
                source: self.item.fine.source,
                offset,
                buf: &mut self.fine,
            };
            let (from, len) = (at * base_width, (words * base_width) as usize);
            let base = self.reader.read_with(io, self.base, from, len, &mut fine).await?;
            self.take(&base, look, at, words);
            buffers::give(base);
            at += pieces.words * pieces.stride;
        }
        Ok(())
    }

    /// Takes in a piece of `words` words from word `at` on, with these bytes of the base.
    fn take(&mut self, base: &[u8], look: Look, at: u64, words: u64) {
        let (from, to) = (self.from, self.item.fine.dtype);
        let [before, after] = &mut self.scratch;
        if in_dtype(from, to, base, before) != self.fine {
            self.equal = false;
            if look.step.is_some() {
                self.seed = self.seed.rotate_left(1) ^ checksum(&self.fine);
            }
            let after = self.form.code(to, to, &self.fine, after);
            self.rows.add(self.form.code(from, to, base, before), after);
        } else if at == self.same {
            self.hasher.update(&self.fine);
            self.same += words;
        }
    }
}
