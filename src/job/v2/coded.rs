//! What a task must know of a version 2 delta, and how its blocks become words.

use crate::dtype::Dtype;
use crate::error::{Code, Error, Result};
use crate::format::v2::index::Digest;
use crate::job::wire::wire;
use crate::kernels::v2::dither::Dither;
use crate::kernels::v2::element::Layout;
use crate::offset::ByteRange;
use crate::strategy::lossless::block::{self, Target};
use crate::strategy::lossless::model::DecodeSet;
use crate::strategy::lossless::params::Params;
use crate::strategy::lossless::stored;
use crate::strategy::lossless::wire::malformed;

/// Tensors after a version 2 link.
#[derive(Clone, Debug, Default)]
pub struct CodedModel {
    /// Number of the delta's source.
    pub source: u32,
    /// The tensors, in the order of the file.
    pub tensors: Vec<CodedTensor>,
    /// Blocks with rows of them, in the order of the file.
    pub blocks: Vec<CodedBlock>,
}
wire!(CodedModel {
    source,
    tensors,
    blocks
});

/// A tensor after a version 2 link.
#[derive(Clone, Debug)]
pub struct CodedTensor {
    /// Its name.
    pub name: String,
    /// Its dtype.
    pub dtype: Dtype,
    /// Its length in bytes.
    pub bytes: u64,
    /// Words per row.
    pub columns: u64,
    /// Where its table set lies in the delta; empty for a tensor that is not coded against a base.
    pub set: ByteRange,
    /// Where its parameters (scales of the columns, a prediction) lie in the delta; empty as `set` is.
    pub params: ByteRange,
    /// Number of the tensor in the model before.
    pub base: Option<u32>,
    /// Digest that its bytes must have.
    pub digest: Digest,
    /// True when it is the tensor of the model before, byte for byte.
    pub unchanged: bool,
    /// Its dither, if it has one.
    pub dither: Option<Dither>,
}
wire!(CodedTensor {
    name,
    dtype,
    bytes,
    columns,
    set,
    params,
    base,
    digest,
    unchanged,
    dither
});

/// One block of a version 2 delta.
#[derive(Clone, Debug)]
pub struct CodedBlock {
    /// Where it lies in the delta.
    pub range: ByteRange,
    /// The rows that it covers, in their order in the block.
    pub segments: Vec<CodedSegment>,
}
wire!(CodedBlock { range, segments });

/// Rows of one tensor, in a block.
#[derive(Clone, Debug)]
pub struct CodedSegment {
    /// Number of the tensor in [`CodedModel::tensors`].
    pub tensor: u32,
    /// First word, counted from the start of the tensor.
    pub first: u64,
    /// Number of words.
    pub words: u64,
    /// True in the part without a base.
    pub stored: bool,
}
wire!(CodedSegment {
    tensor,
    first,
    words,
    stored
});

/// Adds to the error of a part of a delta which bytes it has.
pub fn damaged(mut e: Error, source: u32, range: ByteRange) -> Error {
    e.message = format!("bytes {} to {} of the delta: {}", range.offset, range.end(), e.message);
    e.at(range.offset).source(source)
}

/// Parameters of a tensor. A prediction has no higher rank than its tensor has rows, so that factors take no more memory
/// than the tensor.
pub(super) fn parse_params(t: &CodedTensor, set: &DecodeSet, source: u32, bytes: &[u8]) -> Result<Params> {
    let form = set.tables.form;
    let rows = (t.bytes / Layout::of(t.dtype).bytes() as u64).div_ceil(t.columns.max(1));
    let sound = |p: Params| match p.factors.as_ref().is_some_and(|f| f.rank as u64 > rows) {
        true => Err(malformed("a prediction has a higher rank than its tensor has rows")),
        false => Ok(p),
    };
    let columns = form.columns(t.dtype, t.columns as usize);
    Params::parse(&set.tables, &set.decode, form.layout(t.dtype), columns, bytes)
        .and_then(sound)
        .map_err(|e| damaged(e.tensor(&t.name), source, t.params))
}

/// What blocks of a delta are decoded with.
pub(super) struct BlockDecoder<'a> {
    /// The delta's tensors.
    pub tensors: &'a [CodedTensor],
    /// The table set of the block, if it has one.
    pub set: Option<&'a DecodeSet>,
    /// Parameters of each tensor; those of the block's are there if it needs them.
    pub params: &'a [Option<Params>],
}

impl BlockDecoder<'_> {
    /// Decodes a block: the segments' words, given those of the base. A block of a kind that needs no base may still lie among
    /// tensors that have one.
    pub fn decode(&self, b: &CodedBlock, bytes: &[u8], from: &[Vec<u8>], out: &mut [Vec<u8>]) -> Result<()> {
        let dtype = |s: &CodedSegment| self.tensors[s.tensor as usize].dtype;
        if stored::is_stored(bytes) {
            let width = b.segments.first().map_or(1, |s| Layout::of(dtype(s)).bytes());
            let mut all = vec![0; out.iter().map(Vec::len).sum()];
            stored::decode(bytes, width, &mut all)?;
            let mut rest = &all[..];
            for o in out {
                let (head, tail) = rest.split_at(o.len());
                o.copy_from_slice(head);
                rest = tail;
            }
            return Ok(());
        }
        let no_base = || Error::new(Code::Malformed, "a block needs a base or tables where there are none");
        let set = self.set.ok_or_else(no_base)?;
        let form = set.tables.form;
        let coded = |s: &CodedSegment| match form.changes(dtype(s)) {
            true => vec![0; form.bytes(dtype(s), s.words as usize)],
            false => Vec::new(),
        };
        let mut coded: Vec<Vec<u8>> = b.segments.iter().map(coded).collect();
        let mut targets = Vec::with_capacity(out.len());
        for ((s, base), (out, coded)) in b.segments.iter().zip(from).zip(out.iter_mut().zip(&mut coded)) {
            let out = if coded.is_empty() { out } else { coded };
            let t = &self.tensors[s.tensor as usize];
            let params = self.params[s.tensor as usize].as_ref();
            let params = params.filter(|_| base.len() == out.len()).ok_or_else(no_base)?;
            targets.push(Target {
                layout: form.layout(t.dtype),
                columns: form.columns(t.dtype, t.columns as usize),
                scales: &params.scales,
                factors: params.factors.as_ref(),
                dither: t.dither.map(|d| (d, s.first / t.columns)),
                base,
                out,
            });
        }
        block::decode(&set.tables, &set.decode, bytes, &mut targets)?;
        for ((s, out), coded) in b.segments.iter().zip(out).zip(&coded).filter(|(_, c)| !c.is_empty()) {
            out.copy_from_slice(form.decode(dtype(s), coded, &mut Vec::new()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::v2::tables::{DecodeTables, SYMBOLS};
    use crate::strategy::lossless::factors::{Factors, FACTOR_CLASSES};
    use crate::strategy::lossless::form::Form;
    use crate::strategy::lossless::model::{TableSet, Window};

    /// A file claims factors for many tensors of one row: they would take far more memory than the tensors.
    #[test]
    fn a_prediction_has_no_higher_rank_than_its_tensor_has_rows() {
        let (columns, rank) = (64, 3);
        let set = TableSet {
            window: Window {
                classes: 1,
                ..Window::for_width(16)
            },
            phased: 0,
            log: 9,
            raw_factors: true,
            form: Form::Own,
            dither_offset: 0,
            dither_classes: 0,
            freqs: vec![[2; SYMBOLS]; 1 + FACTOR_CLASSES],
        };
        let factors = Factors {
            rank,
            raw_bits: 2,
            shift: 0,
            gains: vec![1; rank],
            left_classes: vec![0; rank],
            right_classes: vec![0; rank],
            octaves: vec![0; columns],
            columns: Default::default(),
            right: vec![5; rank * columns],
        };
        let bytes = Params::new(&set, vec![0; columns], Some(factors)).to_bytes(&set);
        let decode = DecodeTables::new(&set.freqs, set.log);
        let set = DecodeSet { tables: set, decode };
        let parse = |rows: usize| {
            let tensor = CodedTensor {
                name: "w".into(),
                dtype: Dtype::BF16,
                bytes: (2 * columns * rows) as u64,
                columns: columns as u64,
                set: ByteRange::new(12, 80).unwrap(),
                params: ByteRange::new(100, bytes.len() as u64).unwrap(),
                base: Some(0),
                digest: Digest::default(),
                unchanged: false,
                dither: None,
            };
            parse_params(&tensor, &set, 0, &bytes)
        };
        assert!(parse(rank).unwrap().factors.is_some_and(|f| f.right == [5; 3 * 64]));
        let e = parse(rank - 1).unwrap_err();
        assert_eq!((e.code, e.tensor.as_deref()), (Code::Malformed, Some("w")));
    }
}
