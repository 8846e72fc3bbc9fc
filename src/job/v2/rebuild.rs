//! The rebuild task: tensors that share blocks, from the base and the delta.

use super::pack::read_words;
use super::{digest, hash_rest, in_dtype};
use crate::dtype::Dtype;
use crate::error::{Code, Error, Result};
use crate::format::v2::index::Digest;
use crate::job::machine::Io;
use crate::job::placed::TensorRange;
use crate::job::report::to_wire;
use crate::job::wire::wire;
use crate::kernels::v2::element::Layout;
use crate::kernels::v2::tables::DecodeTables;
use crate::limits::CHUNK_BYTES;
use crate::offset::ByteRange;
use crate::strategy::lossless::block::{self, Target};
use crate::strategy::lossless::model::TableSet;
use crate::strategy::lossless::params::Params;
use crate::strategy::lossless::stored;
use crate::strategy::lossless::wire::unseal;
use xxhash_rust::xxh3::Xxh3;

/// Tensors to rebuild, and the blocks that cover them.
#[derive(Debug, Default)]
pub struct Rebuild {
    /// Number of the delta's source.
    pub delta: u32,
    /// Only checks what can be checked without a base: checksums, tables, parameters.
    pub check_only: bool,
    /// The table set, if a block needs one.
    pub set: Option<ByteRange>,
    /// The tensors.
    pub tensors: Vec<RebuildTensor>,
    /// The blocks.
    pub blocks: Vec<RebuildBlock>,
}
wire!(Rebuild {
    delta,
    check_only,
    set,
    tensors,
    blocks
});

/// One tensor.
#[derive(Debug)]
pub struct RebuildTensor {
    /// Its name.
    pub name: String,
    /// Its dtype.
    pub dtype: Dtype,
    /// Words per row.
    pub columns: u64,
    /// Its parameters.
    pub params: ByteRange,
    /// The base's tensor.
    pub base: Option<TensorRange>,
    /// Digest that the base's tensor must have.
    pub base_digest: Digest,
    /// Digest that it must have.
    pub digest: Digest,
    /// True when it is the base's.
    pub unchanged: bool,
    /// Where it goes; none to see only whether it can be rebuilt.
    pub sink: Option<u32>,
    /// Position of its first byte there.
    pub offset: u64,
}
wire!(RebuildTensor {
    name,
    dtype,
    columns,
    params,
    base,
    base_digest,
    digest,
    unchanged,
    sink,
    offset
});

/// One block.
#[derive(Debug)]
pub struct RebuildBlock {
    /// Its bytes.
    pub range: ByteRange,
    /// What it covers.
    pub segments: Vec<RebuildSegment>,
}
wire!(RebuildBlock { range, segments });

/// Rows of one of the task's tensors.
#[derive(Debug)]
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

/// What became of a tensor: what was wrong with it, or the fast hash of its bytes.
#[derive(Debug)]
pub struct Rebuilt {
    /// What was wrong.
    pub fault: Option<Error>,
    /// xxh3 of the result.
    pub written: u64,
}
wire!(Rebuilt { fault, written });

/// A tensor on its way.
#[derive(Default)]
struct Progress {
    of_base: blake3::Hasher,
    base_done: u64,
    of_result: blake3::Hasher,
    written: Xxh3,
    params: Option<Params>,
    fault: Option<Error>,
}

/// Runs the rebuild task; reports a [`Rebuilt`] for each tensor. Damage of one leaves the others alone.
pub async fn rebuild(io: Io, work: Rebuild) -> Result<String> {
    let mut progress: Vec<Progress> = work.tensors.iter().map(|_| Progress::default()).collect();
    let mut set = None;
    if let Some(range) = work.set {
        let bytes = io.read_vec(work.delta, range.offset, range.len as usize).await?;
        match TableSet::parse(&bytes) {
            Ok(parsed) => {
                let tables = DecodeTables::new(&parsed.freqs, parsed.log);
                set = Some((parsed, tables));
            }
            Err(e) => {
                for p in &mut progress {
                    p.fault = Some(e.clone().at(range.offset));
                }
            }
        }
    }
    for (t, p) in work.tensors.iter().zip(&mut progress) {
        if let Some((set, tables)) = &set {
            let bytes = io.read_vec(work.delta, t.params.offset, t.params.len as usize).await?;
            match Params::parse(set, tables, Layout::of(t.dtype), t.columns as usize, &bytes) {
                Ok(params) => p.params = Some(params),
                Err(e) => p.fault = Some(e.at(t.params.offset)),
            }
        }
        if t.unchanged {
            copy(&io, t, p).await?;
        }
    }
    for b in &work.blocks {
        let sound = |s: &RebuildSegment| progress[s.tensor as usize].fault.is_none();
        if !b.segments.iter().all(sound) {
            continue;
        }
        if let Err(e) = one_block(&io, &work, b, set.as_ref(), &mut progress).await? {
            for s in &b.segments {
                progress[s.tensor as usize].fault = Some(e.clone().at(b.range.offset));
            }
        }
    }
    let mut rebuilt = Vec::with_capacity(progress.len());
    for (t, mut p) in work.tensors.iter().zip(progress) {
        if let Some(base) = &t.base {
            hash_rest(&io, base, p.base_done, &mut p.of_base).await?;
            if digest(&p.of_base) != t.base_digest {
                // The cause of whatever else is wrong.
                p.fault = Some(Error::new(
                    Code::WrongBase,
                    "the base's tensor is not the one that the delta was made against",
                ));
            }
        }
        if p.fault.is_none() && !work.check_only && digest(&p.of_result) != t.digest {
            p.fault = Some(Error::new(
                Code::Checksum,
                "the rebuilt tensor differs from its digest; the delta is damaged, get it again",
            ));
        }
        rebuilt.push(Rebuilt {
            fault: p.fault.map(|e| e.tensor(&t.name).source(work.delta)),
            written: p.written.digest(),
        });
    }
    to_wire(&rebuilt)
}

/// Takes an unchanged tensor over.
async fn copy(io: &Io, t: &RebuildTensor, p: &mut Progress) -> Result<()> {
    let Some(base) = &t.base else { return Ok(()) };
    while p.base_done < base.range.len {
        let n = (base.range.len - p.base_done).min(CHUNK_BYTES as u64);
        let offset = base.range.offset + p.base_done;
        let mut bytes = io.read_vec(base.source, offset, n as usize).await?;
        p.of_base.update(&bytes);
        p.written.update(&bytes);
        if let Some(sink) = t.sink {
            io.write(&mut [(sink, t.offset + p.base_done, &mut bytes)]).await;
        }
        p.base_done += n;
    }
    // The result is what was read.
    p.of_result = p.of_base.clone();
    Ok(())
}

/// Decodes a block and writes what it covers. The inner result is damage of the block.
async fn one_block(
    io: &Io,
    work: &Rebuild,
    b: &RebuildBlock,
    set: Option<&(TableSet, DecodeTables)>,
    progress: &mut [Progress],
) -> Result<Result<()>> {
    let bytes = io.read_vec(work.delta, b.range.offset, b.range.len as usize).await?;
    if work.check_only {
        return Ok(unseal(&bytes).map(drop));
    }
    let (mut from, mut out) = (Vec::new(), Vec::new());
    for s in &b.segments {
        let t = &work.tensors[s.tensor as usize];
        let mut words = Vec::new();
        if let (Some(base), false) = (&t.base, s.stored) {
            words = read_words(io, base, t.dtype, s.first, s.words).await?;
            let p = &mut progress[s.tensor as usize];
            p.of_base.update(&words);
            p.base_done += words.len() as u64;
            if base.dtype != t.dtype {
                words = in_dtype(base.dtype, t.dtype, &words, &mut Vec::new()).to_vec();
            }
        }
        from.push(words);
        out.push(vec![0u8; s.words as usize * Layout::of(t.dtype).bytes()]);
    }
    if let Err(e) = decode_block(work, b, &bytes, set, progress, &from, &mut out) {
        return Ok(Err(e));
    }
    for (s, mut out) in b.segments.iter().zip(out) {
        let (t, p) = (&work.tensors[s.tensor as usize], &mut progress[s.tensor as usize]);
        p.of_result.update(&out);
        p.written.update(&out);
        let at = s.first * Layout::of(t.dtype).bytes() as u64;
        if let Some(sink) = t.sink {
            io.write(&mut [(sink, t.offset + at, &mut out)]).await;
        }
    }
    Ok(Ok(()))
}

fn decode_block(
    work: &Rebuild,
    b: &RebuildBlock,
    bytes: &[u8],
    set: Option<&(TableSet, DecodeTables)>,
    progress: &[Progress],
    from: &[Vec<u8>],
    out: &mut [Vec<u8>],
) -> Result<()> {
    let layout = |s: &RebuildSegment| Layout::of(work.tensors[s.tensor as usize].dtype);
    if stored::is_stored(bytes) {
        let width = b.segments.first().map_or(1, |s| layout(s).bytes());
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
    let (set, tables) = set.ok_or_else(no_base)?;
    let mut targets = Vec::with_capacity(out.len());
    for ((s, base), out) in b.segments.iter().zip(from).zip(out) {
        let params = progress[s.tensor as usize].params.as_ref();
        let params = params.filter(|_| base.len() == out.len()).ok_or_else(no_base)?;
        targets.push(Target {
            layout: layout(s),
            columns: work.tensors[s.tensor as usize].columns as usize,
            scales: &params.scales,
            factors: params.factors.as_ref(),
            base,
            out,
        });
    }
    block::decode(set, tables, bytes, &mut targets)
}
