//! The tasks that rebuild tensors from the models before and the blocks of a delta, or look at the blocks alone.

use super::past::{Coded, Level, Past};
use super::reader::{damaged, Reader};
use super::{digest, in_dtype};
use crate::dtype::Dtype;
use crate::error::{Code, Error, Result};
use crate::format::v2::index::Digest;
use crate::job::buffers;
use crate::job::machine::Io;
use crate::job::report::to_wire;
use crate::job::wire::wire;
use crate::kernels::v2::dither::Dither;
use crate::kernels::v2::element::Layout;
use crate::limits::CHUNK_BYTES;
use crate::offset::ByteRange;
use crate::strategy::lossless::block::{self, Target};
use crate::strategy::lossless::model::DecodeSet;
use crate::strategy::lossless::params::Params;
use crate::strategy::lossless::stored;
use crate::strategy::lossless::wire::{malformed, unseal};
use xxhash_rust::xxh3::Xxh3;

/// Tensors of the last model of a past, which a version 2 link makes, to be rebuilt.
#[derive(Debug)]
pub struct Rebuild {
    /// The models.
    pub past: Past,
    /// Where results go: for each a tensor of the last model, in the order of the tensors.
    pub outputs: Vec<Output>,
    /// Whether results are read back, for which fast hashes are needed.
    pub read_back: bool,
}
wire!(Rebuild {
    past,
    outputs,
    read_back
});

/// One result.
#[derive(Debug)]
pub struct Output {
    /// Number of the tensor.
    pub tensor: u32,
    /// Where it goes; none to see only whether it can be rebuilt.
    pub sink: Option<u32>,
    /// Position of its first byte there.
    pub offset: u64,
}
wire!(Output { tensor, sink, offset });

/// A tensor after a version 2 link.
#[derive(Clone, Debug)]
pub struct RebuildTensor {
    /// Its name.
    pub name: String,
    /// Its dtype.
    pub dtype: Dtype,
    /// Its length.
    pub bytes: u64,
    /// Words per row.
    pub columns: u64,
    /// Its table set; empty for a tensor that is not coded against a base.
    pub set: ByteRange,
    /// Its parameters.
    pub params: ByteRange,
    /// Number of the tensor in the model before.
    pub base: Option<u32>,
    /// Digest that it must have.
    pub digest: Digest,
    /// True when it is the base's.
    pub unchanged: bool,
    /// Its dither, if it has one.
    pub dither: Option<Dither>,
}
wire!(RebuildTensor {
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

/// One block.
#[derive(Clone, Debug)]
pub struct RebuildBlock {
    /// Its bytes.
    pub range: ByteRange,
    /// What it covers.
    pub segments: Vec<RebuildSegment>,
}
wire!(RebuildBlock { range, segments });

/// Rows of one tensor.
#[derive(Clone, Debug)]
pub struct RebuildSegment {
    /// Which.
    pub tensor: u32,
    /// First word.
    pub first: u64,
    /// Number of words.
    pub words: u64,
    /// True in the part without a base.
    pub stored: bool,
}
wire!(RebuildSegment {
    tensor,
    first,
    words,
    stored
});

/// What became of a result: what was wrong with it, or the fast hash of its bytes.
#[derive(Debug)]
pub struct Rebuilt {
    /// What was wrong.
    pub fault: Option<Error>,
    /// xxh3 of the result, if it is read back.
    pub written: u64,
}
wire!(Rebuilt { fault, written });

/// A tensor on its way.
#[derive(Default)]
struct Progress {
    of_result: blake3::Hasher,
    written: Option<Xxh3>,
    fault: Option<Error>,
}

impl Progress {
    /// Takes the next bytes and writes them to where they belong.
    async fn put(&mut self, io: &Io, outputs: &[Output], at: u64, bytes: &mut Vec<u8>) {
        self.of_result.update(bytes);
        if let Some(written) = &mut self.written {
            written.update(bytes);
        }
        for o in outputs {
            if let Some(sink) = o.sink {
                io.write(&mut [(sink, o.offset + at, bytes)]).await;
            }
        }
    }
}

/// Runs the rebuild task; reports a [`Rebuilt`] for each output. Damage of one tensor leaves the others alone.
pub async fn rebuild(io: Io, work: Rebuild) -> Result<Vec<u8>> {
    let Some(Level::V2(coded)) = work.past.levels.last().cloned() else {
        return to_wire(&Vec::<Rebuilt>::new());
    };
    let mut reader = Reader::new(work.past);
    let top = reader.top();
    let outputs_of: Vec<&[Output]> = (0..coded.tensors.len() as u32)
        .map(|t| {
            let start = work.outputs.partition_point(|o| o.tensor < t);
            let n = work.outputs[start..].partition_point(|o| o.tensor == t);
            &work.outputs[start..start + n]
        })
        .collect();
    let mut progress: Vec<Progress> = coded
        .tensors
        .iter()
        .map(|_| Progress {
            written: work.read_back.then(Xxh3::new),
            ..Progress::default()
        })
        .collect();
    for ((t, p), outputs) in coded.tensors.iter().zip(&mut progress).zip(&outputs_of) {
        if let (true, Some(base)) = (t.unchanged, t.base) {
            p.fault = take_over(&io, &mut reader, base, t.bytes, p, outputs).await.err();
        }
    }
    for (i, b) in coded.blocks.iter().enumerate() {
        let of_use = |s: &RebuildSegment| {
            let t = s.tensor as usize;
            !outputs_of[t].is_empty() && progress[t].fault.is_none()
        };
        if !b.segments.iter().any(of_use) {
            continue;
        }
        match reader.block(&io, top, i).await {
            Ok(decoded) => {
                for (s, mut bytes) in b.segments.iter().zip(decoded) {
                    let t = s.tensor as usize;
                    let at = s.first * Layout::of(coded.tensors[t].dtype).bytes() as u64;
                    progress[t].put(&io, outputs_of[t], at, &mut bytes).await;
                    buffers::give(bytes);
                }
            }
            Err(e) => b.segments.iter().for_each(|s| {
                progress[s.tensor as usize].fault.get_or_insert_with(|| e.clone());
            }),
        }
    }
    for (i, p) in progress.iter_mut().enumerate() {
        if outputs_of[i].is_empty() {
            continue;
        }
        // Another base is the cause of whatever else is wrong.
        match verdict(&io, &mut reader, i as u32, &p.of_result).await {
            Ok(Some(e)) if e.code != Code::Checksum => p.fault = Some(e),
            Ok(other) => p.fault = p.fault.take().or(other),
            Err(e) => p.fault = p.fault.take().or(Some(e)),
        }
    }
    let report = |o: &Output| {
        let (t, p) = (&coded.tensors[o.tensor as usize], &progress[o.tensor as usize]);
        Rebuilt {
            fault: p.fault.clone().map(|e| e.tensor(&t.name).source(coded.source)),
            written: p.written.as_ref().map_or(0, Xxh3::digest),
        }
    };
    to_wire(&work.outputs.iter().map(report).collect::<Vec<_>>())
}

/// Takes an unchanged tensor over.
async fn take_over(
    io: &Io,
    reader: &mut Reader,
    base: u32,
    len: u64,
    p: &mut Progress,
    outputs: &[Output],
) -> Result<()> {
    if outputs.is_empty() {
        return Ok(());
    }
    let level = reader.top() - 1;
    let mut done = 0;
    while done < len {
        let n = (len - done).min(CHUNK_BYTES as u64);
        let mut bytes = reader.read(io, level, base, done, n as usize).await?;
        p.put(io, outputs, done, &mut bytes).await;
        buffers::give(bytes);
        done += n;
    }
    Ok(())
}

/// What is wrong with a whole tensor of the last model that has this hash, if something is: the tensor that it comes from,
/// or the tensor itself.
pub async fn verdict(io: &Io, reader: &mut Reader, tensor: u32, hasher: &blake3::Hasher) -> Result<Option<Error>> {
    let top = reader.top();
    let Level::V2(coded) = &reader.levels()[top] else {
        return Ok(None);
    };
    let t = &coded.tensors[tensor as usize];
    // What came out right was made from the right base. Otherwise that may be the cause.
    if digest(hasher) == t.digest {
        return Ok(None);
    }
    let text = "the rebuilt tensor differs from its digest; the delta is damaged, get it again";
    let mut error = Error::new(Code::Checksum, text);
    if let Some((level, before)) = origin(reader, t.base) {
        if !reader.is_expected(io, level, before).await? {
            error = match level {
                0 => Error::new(
                    Code::WrongBase,
                    "the base's tensor is not the one that the delta was made against; give the delta's own base, or with \
                     this one the deltas before it",
                ),
                _ => Error::new(
                    Code::BrokenChain,
                    format!(
                        "link {level} rebuilds another model than link {} was made against",
                        level + 1
                    ),
                ),
            };
        }
    }
    Ok(Some(error))
}

/// The error of a whole tensor of the last model whose blocks cannot be decoded: another base, if that is the cause.
pub async fn blame(io: &Io, reader: &mut Reader, tensor: u32, error: Error) -> Error {
    match verdict(io, reader, tensor, &blake3::Hasher::new()).await {
        Ok(Some(found)) if found.code != Code::Checksum => found,
        _ => error,
    }
}

/// The tensor, and the number of its model, that a tensor of the last model comes from and that no index vouches for.
fn origin(reader: &Reader, base: Option<u32>) -> Option<(usize, u32)> {
    let (mut level, mut tensor) = (reader.top().checked_sub(1)?, base?);
    while let Level::V2(coded) = &reader.levels()[level] {
        tensor = coded.tensors[tensor as usize].base?;
        level -= 1;
    }
    Some((level, tensor))
}

/// Runs the task that looks at the parts of a delta without a base: checksums, tables, parameters. Reports a [`Rebuilt`]
/// for each tensor.
pub async fn examine(io: Io, coded: Coded) -> Result<Vec<u8>> {
    let mut faults: Vec<Option<Error>> = vec![None; coded.tensors.len()];
    let mut set: Option<(ByteRange, Result<DecodeSet>)> = None;
    for (t, fault) in coded.tensors.iter().zip(&mut faults) {
        if t.set.len == 0 {
            continue;
        }
        if set.as_ref().is_none_or(|(of, _)| *of != t.set) {
            let bytes = io.read_vec(coded.source, t.set.offset, t.set.len as usize).await?;
            set = Some((
                t.set,
                DecodeSet::parse(&bytes).map_err(|e| damaged(e, coded.source, t.set)),
            ));
        }
        let parsed = match set.as_ref().map(|(_, set)| set) {
            Some(Ok(set)) => {
                let bytes = io
                    .read_vec(coded.source, t.params.offset, t.params.len as usize)
                    .await?;
                parse_params(t, set, coded.source, &bytes).err()
            }
            Some(Err(e)) => Some(e.clone()),
            None => None,
        };
        *fault = parsed;
    }
    for b in &coded.blocks {
        let bytes = io.read_vec(coded.source, b.range.offset, b.range.len as usize).await?;
        if let Err(e) = unseal(&bytes) {
            let e = damaged(e, coded.source, b.range);
            b.segments.iter().for_each(|s| {
                faults[s.tensor as usize].get_or_insert_with(|| e.clone());
            });
        }
    }
    let report = |(fault, t): (Option<Error>, &RebuildTensor)| Rebuilt {
        fault: fault.map(|e| e.tensor(&t.name).source(coded.source)),
        written: 0,
    };
    to_wire(&faults.into_iter().zip(&coded.tensors).map(report).collect::<Vec<_>>())
}

/// Parameters of a tensor. A prediction has no higher rank than its tensor has rows, so that factors take no more memory
/// than the tensor.
pub(super) fn parse_params(t: &RebuildTensor, set: &DecodeSet, source: u32, bytes: &[u8]) -> Result<Params> {
    let layout = Layout::of(set.tables.coded(t.dtype));
    let rows = (t.bytes / Layout::of(t.dtype).bytes() as u64).div_ceil(t.columns.max(1));
    let sound = |p: Params| match p.factors.as_ref().is_some_and(|f| f.rank as u64 > rows) {
        true => Err(malformed("a prediction has a higher rank than its tensor has rows")),
        false => Ok(p),
    };
    Params::parse(&set.tables, &set.decode, layout, t.columns as usize, bytes)
        .and_then(sound)
        .map_err(|e| damaged(e.tensor(&t.name), source, t.params))
}

/// Decodes a block: the segments' words, given those of the base. A block of a kind that needs no base may still lie among
/// tensors that have one.
pub(super) fn decode_block(
    tensors: &[RebuildTensor],
    b: &RebuildBlock,
    bytes: &[u8],
    set: Option<&DecodeSet>,
    params: &[Option<Params>],
    from: &[Vec<u8>],
    out: &mut [Vec<u8>],
) -> Result<()> {
    let dtype = |s: &RebuildSegment| tensors[s.tensor as usize].dtype;
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
    let set = set.ok_or_else(no_base)?;
    let coded = |s: &RebuildSegment| set.tables.coded(dtype(s));
    let narrow = |s: &RebuildSegment| match coded(s) == dtype(s) {
        true => Vec::new(),
        false => vec![0; s.words as usize * Layout::of(coded(s)).bytes()],
    };
    let mut narrow: Vec<Vec<u8>> = b.segments.iter().map(narrow).collect();
    let mut targets = Vec::with_capacity(out.len());
    for ((s, base), (out, narrow)) in b.segments.iter().zip(from).zip(out.iter_mut().zip(&mut narrow)) {
        let out = if narrow.is_empty() { out } else { narrow };
        let t = &tensors[s.tensor as usize];
        let params = params[s.tensor as usize].as_ref();
        let params = params.filter(|_| base.len() == out.len()).ok_or_else(no_base)?;
        targets.push(Target {
            layout: Layout::of(coded(s)),
            columns: t.columns as usize,
            scales: &params.scales,
            factors: params.factors.as_ref(),
            dither: t.dither.map(|d| (d, s.first / t.columns)),
            base,
            out,
        });
    }
    block::decode(&set.tables, &set.decode, bytes, &mut targets)?;
    for ((s, out), narrow) in b.segments.iter().zip(out).zip(&narrow).filter(|(_, n)| !n.is_empty()) {
        out.copy_from_slice(in_dtype(coded(s), dtype(s), narrow, &mut Vec::new()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::v2::tables::{DecodeTables, SYMBOLS};
    use crate::strategy::lossless::factors::{Factors, FACTOR_CLASSES};
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
            narrow: None,
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
            let tensor = RebuildTensor {
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
