//! The pack task: one block, and the hashes of what it is made from.

use super::ranges::part;
use crate::error::{Code, Error, Result};
use crate::job::buffers;
use crate::job::machine::{Io, Read};
use crate::job::placed::TensorRange;
use crate::job::report::to_wire;
use crate::job::v2::past::Past;
use crate::job::v2::reader::Reader;
use crate::job::v2::tree::HashedPart;
use crate::job::wire::wire;
use crate::kernels::v2::dither::Dither;
use crate::kernels::v2::element::Layout;
use crate::offset::ByteRange;
use crate::strategy::lossless::block::{self, cost_table, Stats};
use crate::strategy::lossless::form::Form;
use crate::strategy::lossless::model::DecodeSet;
use crate::strategy::lossless::params::Params;
use crate::strategy::lossless::{fit::Effort, stored};
use crate::strategy::lossy::loss::DitherLoss;
use crate::strategy::lossy::row::Dithering;

/// Weights by themselves take about two thirds of their bytes at least: of the 16 bits of a BF16, sign and mantissa are 8
/// that are as good as random. A block below five eighths is not held against that: it would be encoded twice for nothing.
const WORTH_STORING: (usize, usize) = (5, 8);

/// A block to encode.
#[derive(Debug)]
pub struct Pack {
    /// The table set as in the file; empty for a stored block, and where there is none.
    pub set: Vec<u8>,
    /// Level of effort, 0 to 3.
    pub effort: u32,
    /// The models that the delta is made against, the last of them the base of the segments.
    pub past: Past,
    /// The rows that it covers, of one tensor or of several small ones.
    pub segments: Vec<PackSegment>,
}
wire!(Pack {
    set,
    effort,
    past,
    segments
});

/// Rows of one tensor, in a block.
#[derive(Debug, Clone)]
pub struct PackSegment {
    /// The whole tensor of the fine-tune.
    pub fine: TensorRange,
    /// Number of the base's tensor in the last model of the past, and the bytes of it; none for stored rows.
    pub base: Option<(u32, ByteRange)>,
    /// First word, counted from the start of the tensor.
    pub first: u64,
    /// Number of words; none where bytes of the base are only hashed.
    pub words: u64,
    /// Words per row.
    pub columns: u64,
    /// The tensor's parameters as in the file.
    pub params: Vec<u8>,
    /// Its dither, if it has one.
    pub dither: Option<Dither>,
}
wire!(PackSegment {
    fine,
    base,
    first,
    words,
    columns,
    params,
    dither
});

/// An encoded block.
#[derive(Debug)]
pub struct Packed {
    /// Its bytes.
    pub block: Vec<u8>,
    /// How much of it each segment takes, in no particular unit.
    pub shares: Vec<u64>,
    /// For each segment, what was read of the base and of the fine-tune.
    pub read: Vec<(HashedPart, HashedPart)>,
    /// For each segment of a dithered tensor: what is rebuilt, and what was lost.
    pub rebuilt: Vec<(HashedPart, DitherLoss)>,
}
wire!(Packed {
    block,
    shares,
    read,
    rebuilt
});

/// The bytes of a segment.
struct SegmentBytes {
    fine: Vec<u8>,
    /// The base as coded words; empty for stored rows.
    base: Vec<u8>,
    /// What is rebuilt, where that is not the fine-tune.
    rebuilt: Vec<u8>,
}

/// Runs the pack task; reports a [`Packed`].
pub async fn pack(io: Io, mut pack: Pack) -> Result<Vec<u8>> {
    let mut reader = Reader::new(std::mem::take(&mut pack.past));
    let set = match pack.set.is_empty() {
        true => None,
        false => Some(DecodeSet::parse(&pack.set)?),
    };
    let form = set.as_ref().map_or(Form::Own, |set| set.tables.form);
    let mut segments = Vec::with_capacity(pack.segments.len());
    let mut read = Vec::with_capacity(pack.segments.len());
    for s in &pack.segments {
        let (bytes, parts) = load(&io, &mut reader, form, s).await?;
        segments.push(bytes);
        read.push(parts);
    }
    let (block, shares) = encode_or_store(&pack, set.as_ref(), &mut segments)?;
    let rebuilt = losses(&pack, form, &segments);
    for s in segments {
        [s.fine, s.base].into_iter().for_each(buffers::give);
    }
    to_wire(&Packed {
        block,
        shares,
        read,
        rebuilt,
    })
}

/// Reads a segment; gives its bytes and the hashes of what was read of the base and of the fine-tune.
async fn load(
    io: &Io,
    reader: &mut Reader,
    form: Form,
    s: &PackSegment,
) -> Result<(SegmentBytes, (HashedPart, HashedPart))> {
    let dtype = s.fine.dtype;
    let width = Layout::of(dtype).bytes() as u64;
    let (offset, len) = part(&s.fine, s.first, s.words, width);
    let mut fine = buffers::take(len);
    let mut read = Read {
        source: s.fine.source,
        offset,
        buf: &mut fine,
    };
    let mut base = Vec::new();
    let mut of_base = HashedPart::default();
    if let Some((number, ByteRange { offset, len })) = s.base {
        let (from, total) = reader.shape_of(reader.top(), number);
        base = reader.read_with(io, number, offset, len as usize, &mut read).await?;
        of_base = HashedPart::new(offset, &base, total);
        buffers::give(form.code_in_place(from, dtype, &mut base));
        // Where the base goes on, it is only hashed.
        base.truncate(form.bytes(dtype, s.words as usize));
    } else {
        io.read(&mut [read]).await?;
    }
    let of_fine = HashedPart::new(s.first * width, &fine, s.fine.range.len);
    let rebuilt = Vec::new();
    Ok((SegmentBytes { fine, base, rebuilt }, (of_base, of_fine)))
}

/// The block and the segments' shares of it: encoded against the base, or stored where a base that has nothing to do with the
/// fine-tune is no help.
fn encode_or_store(pack: &Pack, set: Option<&DecodeSet>, segments: &mut [SegmentBytes]) -> Result<(Vec<u8>, Vec<u64>)> {
    let (mut block, shares) = match set {
        Some(set) => encode(pack, set, segments)?,
        None => (Vec::new(), segments.iter().map(|s| s.fine.len() as u64).collect()),
    };
    let plain: usize = segments.iter().map(|s| s.fine.len()).sum();
    if plain > 0 && (block.is_empty() || block.len() > plain / WORTH_STORING.1 * WORTH_STORING.0) {
        let width = pack.segments.first().map_or(1, |s| Layout::of(s.fine.dtype).bytes());
        let fine: Vec<&[u8]> = segments.iter().map(|s| &s.fine[..]).collect();
        let alone = stored::encode(&fine.concat(), width);
        if block.is_empty() || alone.len() < block.len() {
            block = alone;
            segments.iter_mut().for_each(|s| s.rebuilt.clear());
        }
    }
    Ok((block, shares))
}

/// For each segment of a dithered tensor the hash of what is rebuilt, and what was lost.
fn losses(pack: &Pack, form: Form, segments: &[SegmentBytes]) -> Vec<(HashedPart, DitherLoss)> {
    let dithered = pack.segments.iter().zip(segments).filter(|(s, _)| s.dither.is_some());
    let loss = |(s, bytes): (&PackSegment, &SegmentBytes)| {
        let layout = Layout::of(s.fine.dtype);
        let result = match bytes.rebuilt.is_empty() {
            true => &bytes.fine,
            false => &bytes.rebuilt,
        };
        let mut loss = DitherLoss::default();
        let mut wide = Vec::new();
        let base = form.decode(s.fine.dtype, &bytes.base, &mut wide);
        loss.feed(layout, base, &bytes.fine, result);
        let at = s.first * layout.bytes() as u64;
        (HashedPart::new(at, result, s.fine.range.len), loss)
    };
    dithered.map(loss).collect()
}

/// The error of a fine-tune that is not what it was when it was fitted.
fn changed() -> Error {
    let text = "the fine-tune changed while it was read; close whatever writes to it and run again";
    Error::new(Code::SourceChanged, text)
}

/// Encodes against the base; gives the block and the segments' shares of it.
fn encode(pack: &Pack, set: &DecodeSet, bytes: &mut [SegmentBytes]) -> Result<(Vec<u8>, Vec<u64>)> {
    let DecodeSet { tables: set, decode } = set;
    let form = set.form;
    let shape = |s: &PackSegment| {
        let dtype = s.fine.dtype;
        (form.layout(dtype), form.columns(dtype, s.columns as usize))
    };
    let (mut params, mut coded) = (Vec::new(), Vec::new());
    for (s, bytes) in pack.segments.iter().zip(&*bytes) {
        let (layout, columns) = shape(s);
        params.push(Params::parse(set, decode, layout, columns, &s.params)?);
        coded.push(match form.changes(s.fine.dtype) {
            true => Some(form.exactly(s.fine.dtype, &bytes.fine).ok_or_else(changed)?),
            false => None,
        });
    }
    let mut segments = Vec::with_capacity(pack.segments.len());
    for ((s, params), (bytes, coded)) in pack.segments.iter().zip(&params).zip(bytes.iter_mut().zip(&coded)) {
        let (layout, columns) = shape(s);
        segments.push(block::Segment {
            layout,
            columns,
            scales: &params.scales,
            factors: params.factors.as_ref(),
            dithering: s.dither.map(|dither| Dithering {
                dither,
                first: s.first / s.columns,
                rebuilt: &mut bytes.rebuilt,
            }),
            base: &bytes.base,
            fine: coded.as_ref().unwrap_or(&bytes.fine),
        });
    }
    let width = segments.first().map_or(8, |s| s.layout.bits);
    let cost = (Effort::level(pack.effort, false).rounds > 0).then(|| cost_table(set, width));
    let mut stats = Stats::default();
    let block = block::encode(set, cost.as_ref(), &mut segments, &mut stats);
    for (s, bytes) in pack.segments.iter().zip(bytes) {
        buffers::give(form.decode_in_place(s.fine.dtype, &mut bytes.rebuilt));
    }
    Ok((block, stats.shares))
}
