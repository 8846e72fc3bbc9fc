//! The task that rebuilds tensors from the models before and the blocks of a delta.

use super::chunks::TensorChunks;
use super::coded::CodedSegment;
use super::past::{Level, Past};
use super::reader::Reader;
use super::verdict::verdict;
use crate::error::{Code, Error, Result};
use crate::job::buffers;
use crate::job::machine::Io;
use crate::job::report::to_wire;
use crate::job::wire::wire;
use crate::kernels::v2::element::Layout;
use xxhash_rust::xxh3::Xxh3;

/// Tensors of the last model of a past, which a version 2 link makes, to be rebuilt.
#[derive(Debug)]
pub struct Rebuild {
    /// The models to the last one, and what each is made of.
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

/// Where a tensor goes.
#[derive(Debug)]
pub struct Output {
    /// Number of the tensor in the last model of the past.
    pub tensor: u32,
    /// Where it goes; none to see only whether it can be rebuilt.
    pub sink: Option<u32>,
    /// Position of its first byte there.
    pub offset: u64,
}
wire!(Output { tensor, sink, offset });

/// What became of a result: what was wrong with it, or the fast hash of its bytes.
#[derive(Debug)]
pub struct Rebuilt {
    /// What was wrong; none where the tensor has its digest.
    pub fault: Option<Error>,
    /// xxh3 of the result, if it is read back.
    pub written: u64,
}
wire!(Rebuilt { fault, written });

/// A tensor of which some bytes are rebuilt.
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
                io.put(sink, o.offset + at, bytes).await;
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
            p.fault = take_over(&io, &mut reader, base, p, outputs).await.err();
        }
    }
    for (i, b) in coded.blocks.iter().enumerate() {
        let of_use = |s: &CodedSegment| {
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
async fn take_over(io: &Io, reader: &mut Reader, base: u32, p: &mut Progress, outputs: &[Output]) -> Result<()> {
    if outputs.is_empty() {
        return Ok(());
    }
    let mut chunks = TensorChunks::whole(reader, reader.top() - 1, base);
    while let Some((at, mut bytes)) = chunks.next(io, reader).await? {
        p.put(io, outputs, at, &mut bytes).await;
        buffers::give(bytes);
    }
    Ok(())
}
