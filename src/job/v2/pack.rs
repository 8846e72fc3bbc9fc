//! The pack task: one block.

use super::{in_dtype, part};
use crate::dtype::Dtype;
use crate::error::Result;
use crate::job::machine::Io;
use crate::job::placed::TensorRange;
use crate::job::report::to_wire;
use crate::job::wire::wire;
use crate::kernels::v2::element::Layout;
use crate::kernels::v2::tables::DecodeTables;
use crate::strategy::lossless::block::{self, cost_table, Stats};
use crate::strategy::lossless::model::TableSet;
use crate::strategy::lossless::params::Params;
use crate::strategy::lossless::{fit::Effort, stored};

/// A block to encode.
#[derive(Debug)]
pub struct Pack {
    /// The table set as in the file; empty for a stored block.
    pub set: Vec<u8>,
    /// Level of effort.
    pub effort: u32,
    /// What it covers.
    pub segments: Vec<PackSegment>,
}
wire!(Pack { set, effort, segments });

/// Rows of one tensor.
#[derive(Debug, Clone)]
pub struct PackSegment {
    /// The whole tensor of the fine-tune.
    pub fine: TensorRange,
    /// The whole tensor of the base; none for stored rows.
    pub base: Option<TensorRange>,
    /// First word.
    pub first: u64,
    /// Number of words.
    pub words: u64,
    /// Words per row.
    pub columns: u64,
    /// The tensor's parameters as in the file.
    pub params: Vec<u8>,
}
wire!(PackSegment {
    fine,
    base,
    first,
    words,
    columns,
    params
});

/// Stored bytes of words of a tensor, when those of `dtype` are wanted in the end.
pub async fn read_words(io: &Io, tensor: &TensorRange, dtype: Dtype, first: u64, words: u64) -> Result<Vec<u8>> {
    let width = match tensor.dtype == dtype {
        true => Layout::of(dtype).bytes(),
        false => tensor.dtype.bytes().unwrap_or(1),
    };
    let (offset, len) = part(tensor, first, words, width as u64);
    io.read_vec(tensor.source, offset, len).await
}

/// Runs the pack task; reports the block.
pub async fn pack(io: Io, pack: Pack) -> Result<String> {
    let mut fine = Vec::new();
    let mut base = Vec::new();
    for s in &pack.segments {
        let dtype = s.fine.dtype;
        fine.push(read_words(&io, &s.fine, dtype, s.first, s.words).await?);
        if let Some(b) = &s.base {
            let bytes = read_words(&io, b, dtype, s.first, s.words).await?;
            base.push(match b.dtype == dtype {
                true => bytes,
                false => in_dtype(b.dtype, dtype, &bytes, &mut Vec::new()).to_vec(),
            });
        }
    }
    let Some(layout) = pack.segments.first().map(|s| Layout::of(s.fine.dtype)) else {
        return to_wire(&Vec::<u8>::new());
    };
    let plain: usize = fine.iter().map(Vec::len).sum();
    let mut best = Vec::new();
    if !pack.set.is_empty() {
        let set = TableSet::parse(&pack.set)?;
        let tables = DecodeTables::new(&set.freqs, set.log);
        let parse =
            |s: &PackSegment| Params::parse(&set, &tables, Layout::of(s.fine.dtype), s.columns as usize, &s.params);
        let params = pack.segments.iter().map(parse).collect::<Result<Vec<_>>>()?;
        let segments: Vec<_> = pack
            .segments
            .iter()
            .zip(&params)
            .zip(base.iter().zip(&fine))
            .map(|((s, params), (base, fine))| block::Segment {
                layout: Layout::of(s.fine.dtype),
                columns: s.columns as usize,
                scales: &params.scales,
                factors: params.factors.as_ref(),
                base,
                fine,
            })
            .collect();
        let cost = (Effort::level(pack.effort, false).rounds > 0).then(|| cost_table(&set, layout.bits));
        best = block::encode(&set, cost.as_ref(), &segments, &mut Stats::default());
    }
    // A base that has nothing to do with the fine-tune is no help.
    if best.is_empty() || best.len() > plain / 8 * 5 {
        let alone = stored::encode(&fine.concat(), layout.bytes());
        if best.is_empty() || alone.len() < best.len() {
            best = alone;
        }
    }
    to_wire(&best)
}
