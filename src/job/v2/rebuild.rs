//! The task that rebuilds tensors from the models before and the blocks of a delta.

use super::chunks::TensorChunks;
use super::coded::CodedModel;
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
struct Progress<'a> {
    /// Where they go; nowhere if nobody asked for the tensor.
    outputs: &'a [Output],
    of_result: blake3::Hasher,
    written: Option<Xxh3>,
    fault: Option<Error>,
}

impl<'a> Progress<'a> {
    /// Of tensor `t`, of which nothing is rebuilt. `outputs`: of all tensors, in their order.
    fn new(t: u32, outputs: &'a [Output], read_back: bool) -> Self {
        let start = outputs.partition_point(|o| o.tensor < t);
        let n = outputs[start..].partition_point(|o| o.tensor == t);
        Self {
            outputs: &outputs[start..start + n],
            of_result: blake3::Hasher::new(),
            written: read_back.then(Xxh3::new),
            fault: None,
        }
    }

    /// Whether more of it is to be rebuilt.
    fn is_wanted(&self) -> bool {
        !self.outputs.is_empty() && self.fault.is_none()
    }

    /// Takes the next bytes and writes them to where they belong.
    async fn put(&mut self, io: &Io, at: u64, bytes: &mut Vec<u8>) {
        self.of_result.update(bytes);
        if let Some(written) = &mut self.written {
            written.update(bytes);
        }
        for o in self.outputs {
            if let Some(sink) = o.sink {
                io.put(sink, o.offset + at, bytes).await;
            }
        }
    }

    /// Takes all of a tensor of the model before.
    async fn take_over(&mut self, io: &Io, reader: &mut Reader, base: u32) -> Result<()> {
        let mut chunks = TensorChunks::whole(reader, reader.top() - 1, base);
        while let Some((at, mut bytes)) = chunks.next(io, reader).await? {
            self.put(io, at, &mut bytes).await;
            buffers::give(bytes);
        }
        Ok(())
    }

    /// Holds what was rebuilt against the digest of tensor `t`. Another base is the cause of whatever else is wrong.
    async fn judge(&mut self, io: &Io, reader: &mut Reader, t: u32) {
        match verdict(io, reader, t, &self.of_result).await {
            Ok(Some(e)) if e.code != Code::Checksum => self.fault = Some(e),
            Ok(other) => self.fault = self.fault.take().or(other),
            Err(e) => self.fault = self.fault.take().or(Some(e)),
        }
    }
}

/// Runs the rebuild task; reports a [`Rebuilt`] for each output. Damage of one tensor leaves the others alone.
pub async fn rebuild(io: Io, work: Rebuild) -> Result<Vec<u8>> {
    let Some(Level::V2(coded)) = work.past.levels.last().cloned() else {
        return to_wire(&Vec::<Rebuilt>::new());
    };
    let mut reader = Reader::new(work.past);
    let tensors = (0u32..).zip(&coded.tensors);
    let mut progress: Vec<Progress> = tensors
        .map(|(t, _)| Progress::new(t, &work.outputs, work.read_back))
        .collect();
    for (t, p) in coded.tensors.iter().zip(&mut progress) {
        if let (true, true, Some(base)) = (p.is_wanted(), t.unchanged, t.base) {
            p.fault = p.take_over(&io, &mut reader, base).await.err();
        }
    }
    for number in 0..coded.blocks.len() {
        put_block(&io, &mut reader, &coded, number, &mut progress).await;
    }
    for (t, p) in (0..).zip(&mut progress).filter(|(_, p)| !p.outputs.is_empty()) {
        p.judge(&io, &mut reader, t).await;
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

/// Decodes a block, if it has something of a tensor that is wanted, and writes its segments; damage becomes a fault of each
/// tensor in it.
async fn put_block(io: &Io, reader: &mut Reader, coded: &CodedModel, number: usize, progress: &mut [Progress<'_>]) {
    let segments = &coded.blocks[number].segments;
    if !segments.iter().any(|s| progress[s.tensor as usize].is_wanted()) {
        return;
    }
    match reader.block(io, reader.top(), number).await {
        Ok(decoded) => {
            for (s, mut bytes) in segments.iter().zip(decoded) {
                let t = s.tensor as usize;
                let at = s.first * Layout::of(coded.tensors[t].dtype).bytes() as u64;
                progress[t].put(io, at, &mut bytes).await;
                buffers::give(bytes);
            }
        }
        Err(e) => segments.iter().for_each(|s| {
            progress[s.tensor as usize].fault.get_or_insert_with(|| e.clone());
        }),
    }
}
