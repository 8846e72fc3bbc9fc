//! The decoded delta of a tensor as a stream of float32: what a version 1 delta holds, or how far a version 2 delta moves
//! each value of the base.

use super::delta_stream::DeltaStream;
use super::machine::Io;
use super::placed::DeltaTensor;
use super::v2::past::Level;
use super::v2::reader::Reader;
use super::v2::verdict::{blame, verdict};
use crate::dtype::Dtype;
use crate::error::Result;
use crate::job::wire::{wire, wire_enum};
use crate::kernels::convert;
use crate::kernels::stats::Moments;
use crate::kernels::v2::element::{Layout, Word};
use crate::limits::{BLOCK_ELEMENTS, CHUNK_ELEMENTS};

/// Where the decoded delta of a tensor comes from.
#[derive(Clone, Debug)]
pub enum Change {
    /// A version 1 delta.
    V1(DeltaTensor),
    /// A version 2 delta: the tensor after it, less the one before it.
    V2(MovedTensor),
}
wire_enum!(Change {
    0: V1 { 0: tensor },
    1: V2 { 0: moved }
});

/// A tensor before and after a version 2 link, in a [`Past`](super::v2::past::Past).
#[derive(Clone, Debug, Default)]
pub struct MovedTensor {
    /// Number of the tensor in the last model.
    pub tensor: u32,
    /// Number of the one that it is coded against in the model before.
    pub base: Option<u32>,
    /// Words of it.
    pub words: u64,
    /// Those, from the first, that it has in common with the base; the others moved from 0.
    pub common: u64,
    /// Bytes that are read for it.
    pub cost: u64,
}
wire!(MovedTensor {
    tensor,
    base,
    words,
    common,
    cost
});

impl Change {
    /// Values of the stream.
    pub fn values(&self) -> u64 {
        match self {
            Change::V1(delta) => delta.elements,
            Change::V2(moved) => moved.words,
        }
    }

    /// Bytes that are read to stream it once.
    pub fn bytes(&self) -> u64 {
        match self {
            Change::V1(delta) => delta.bytes(),
            Change::V2(moved) => moved.cost,
        }
    }
}

/// Streams a [`Change`].
pub struct Changes<'a>(Kind<'a>);

enum Kind<'a> {
    V1(String, Box<(DeltaTensor, DeltaStream)>),
    V2(Box<MovedStream<'a>>),
}

impl<'a> Changes<'a> {
    /// A stream from the first value of the tensor `name`. Of a version 2 delta, `reader` knows the past.
    pub async fn open(io: &Io, name: &str, change: &Change, reader: &'a mut Reader) -> Result<Self> {
        match change {
            Change::V1(delta) => Self::of_v1(io, name, delta).await,
            Change::V2(moved) => Ok(Self::of_v2(name, reader, moved.clone())),
        }
    }

    /// A stream of a version 1 delta.
    pub async fn of_v1(io: &Io, name: &str, delta: &DeltaTensor) -> Result<Self> {
        let stream = DeltaStream::open(io, name, delta).await?;
        Ok(Self(Kind::V1(name.to_owned(), Box::new((delta.clone(), stream)))))
    }

    /// A stream of how far a tensor moved, by way of a reader that knows its past and keeps what it decoded.
    pub fn of_v2(name: &str, reader: &'a mut Reader, moved: MovedTensor) -> Self {
        Self(Kind::V2(Box::new(MovedStream::new(name, reader, moved))))
    }

    /// Back to the first value, after the last: a version 2 link is not held against its digest again.
    pub async fn rewind(&mut self, io: &Io) -> Result<()> {
        match &mut self.0 {
            Kind::V1(name, of) => of.1 = DeltaStream::open(io, name, &of.0).await?,
            Kind::V2(stream) => stream.rewind(),
        }
        Ok(())
    }

    /// The next `out.len()` values.
    pub async fn next(&mut self, io: &Io, out: &mut [f32]) -> Result<()> {
        match &mut self.0 {
            Kind::V1(_, of) => of.1.expand(io, out).await,
            Kind::V2(stream) => stream.next(io, out).await,
        }
    }

    /// Rank of the prediction that a version 2 delta decodes these values with, some of which have passed; 0 for none.
    pub fn rank(&self) -> usize {
        match &self.0 {
            Kind::V1(..) => 0,
            Kind::V2(stream) => stream.reader.rank(stream.moved.tensor),
        }
    }

    /// The values of the base that have passed, if they were read.
    pub fn base(&self) -> Option<&Moments> {
        match &self.0 {
            Kind::V1(..) => None,
            Kind::V2(stream) => stream.moved.base.map(|_| &stream.of_base),
        }
    }
}

struct MovedStream<'a> {
    name: String,
    moved: MovedTensor,
    /// Of the tensor's bytes, if they are held against its digest at the end.
    hasher: Option<blake3::Hasher>,
    reader: &'a mut Reader,
    /// Words that were taken from the tensor so far, with those of `ready`.
    done: u64,
    ready: Vec<f32>,
    used: usize,
    of_base: Moments,
}

impl<'a> MovedStream<'a> {
    fn new(name: &str, reader: &'a mut Reader, moved: MovedTensor) -> Self {
        Self {
            name: name.to_owned(),
            hasher: Some(blake3::Hasher::new()),
            reader,
            moved,
            done: 0,
            ready: Vec::new(),
            used: 0,
            of_base: Moments::default(),
        }
    }

    fn rewind(&mut self) {
        self.hasher = None;
        self.done = 0;
        self.ready.clear();
        self.used = 0;
    }

    async fn next(&mut self, io: &Io, out: &mut [f32]) -> Result<()> {
        let mut filled = 0;
        while filled < out.len() {
            if self.used == self.ready.len() {
                self.load(io).await?;
            }
            let n = (self.ready.len() - self.used).min(out.len() - filled);
            if n == 0 {
                break;
            }
            out[filled..filled + n].copy_from_slice(&self.ready[self.used..self.used + n]);
            self.used += n;
            filled += n;
        }
        Ok(())
    }

    /// Reads the next piece of both sides.
    async fn load(&mut self, io: &Io) -> Result<()> {
        let source = match self.reader.levels().last() {
            Some(Level::V2(coded)) => coded.source,
            _ => return Ok(()),
        };
        self.load_checked(io)
            .await
            .map_err(|e| e.tensor(&self.name).source(source))
    }

    async fn load_checked(&mut self, io: &Io) -> Result<()> {
        let top = self.reader.top();
        let n = (self.moved.words - self.done).min(CHUNK_ELEMENTS as u64);
        let (dtype, _) = self.reader.shape_of(top, self.moved.tensor);
        let width = Layout::of(dtype).bytes() as u64;
        let (at, len) = (self.done * width, (n * width) as usize);
        let tensor = self.moved.tensor;
        let bytes = match self.reader.read(io, top, tensor, at, len).await {
            Ok(bytes) => bytes,
            Err(e) => return Err(blame(io, self.reader, e).await),
        };
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&bytes);
            if self.done + n == self.moved.words {
                if let Some(e) = verdict(io, self.reader, tensor, hasher).await? {
                    return Err(blame(io, self.reader, e).await);
                }
            }
        }
        self.ready.resize(n as usize, 0.0);
        values(dtype, &bytes, &mut self.ready);
        let common = self.moved.common.saturating_sub(self.done).min(n);
        if let (Some(base), true) = (self.moved.base, common > 0) {
            let (dtype, _) = self.reader.shape_of(top - 1, base);
            let width = Layout::of(dtype).bytes() as u64;
            let (at, len) = (self.done * width, (common * width) as usize);
            let bytes = self.reader.read(io, top - 1, base, at, len).await?;
            let mut old = vec![0f32; common as usize];
            values(dtype, &bytes, &mut old);
            for piece in old.chunks(BLOCK_ELEMENTS) {
                self.of_base.feed(piece);
            }
            for (new, old) in self.ready.iter_mut().zip(&old) {
                // Equal bits did not move, whatever they stand for.
                *new = if new.to_bits() == old.to_bits() {
                    0.0
                } else {
                    *new - old
                };
            }
        }
        self.done += n;
        self.used = 0;
        Ok(())
    }
}

/// Words as numbers: those of floats of 8 bits and of the parts of complex numbers, too; bytes of packed types as they are.
fn values(dtype: Dtype, bytes: &[u8], out: &mut [f32]) {
    if dtype.to_f32_defined() {
        return convert::to_f32(dtype, bytes, out);
    }
    let layout = Layout::of(dtype);
    for (i, v) in out.iter_mut().enumerate() {
        *v = layout.value(match layout.bits {
            8 => u64::from(bytes[i]),
            _ => u32::get(bytes, i),
        });
    }
}
