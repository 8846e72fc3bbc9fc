//! Streams one tensor's values: the base's, with the deltas of a chain added one after another, chunk by chunk.

use super::delta_stream::{add_link, DeltaStream};
use super::machine::{Io, Read};
use super::placed::{DeltaTensor, TensorRange};
use super::v2::reader::Reader;
use crate::error::Result;
use crate::job::report::not_float32;
use crate::job::wire::wire;
use crate::kernels::convert;
use crate::limits::{BLOCK_ELEMENTS, CHUNK_ELEMENTS};
use xxhash_rust::xxh3::Xxh3;

/// What a tensor is rebuilt from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Its name, for errors and reports.
    pub name: String,
    /// Where the base has it.
    pub base: TensorRange,
    /// Its records in each delta of the chain, first link first.
    pub deltas: Vec<DeltaTensor>,
    /// Where the base is what links of version 2 rebuild: its number in the last model of the past that the task has. Its
    /// place says its size then.
    pub past: Option<u32>,
}
wire!(Origin {
    name,
    base,
    deltas,
    past
});

impl Origin {
    /// True when no delta holds anything for this tensor, so that it is the base's, byte for byte.
    pub fn is_unchanged(&self) -> bool {
        self.deltas.iter().all(DeltaTensor::is_empty)
    }

    /// Bytes read to stream it once.
    pub fn cost(&self) -> u64 {
        self.base.range.len + self.deltas.iter().map(DeltaTensor::bytes).sum::<u64>()
    }
}

/// A piece of a tensor in float32, with the base it came from.
pub struct ValueBlock<'a> {
    /// First element, counted from the start of the chunk.
    pub at: usize,
    /// Base plus deltas.
    pub values: &'a [f32],
    /// The base alone.
    pub base: &'a [f32],
    /// The base's own bytes.
    pub base_bytes: &'a [u8],
}

/// Streams the values of one [`Origin`].
pub struct Values<'a> {
    base: TensorRange,
    past: Option<(&'a mut Reader, u32)>,
    width: usize,
    deltas: Vec<DeltaStream>,
    position: u64,
    chunk: Vec<u8>,
    seen: Option<Xxh3>,
    base_block: Vec<f32>,
    block: Vec<f32>,
    step: Vec<f32>,
}

impl<'a> Values<'a> {
    /// A stream from the first element. The dtype must be one that converts to float32. `reader` knows the origin's past, if
    /// it has one.
    pub async fn open(io: &Io, origin: &Origin, reader: Option<&'a mut Reader>) -> Result<Self> {
        let dtype = origin.base.dtype;
        let width = dtype.bytes().filter(|_| dtype.to_f32_defined());
        let width = width.ok_or_else(|| not_float32(&origin.name, dtype))?;
        let mut deltas = Vec::with_capacity(origin.deltas.len());
        for delta in &origin.deltas {
            deltas.push(DeltaStream::open(io, &origin.name, delta).await?);
        }
        Ok(Self {
            base: origin.base.clone(),
            past: reader.zip(origin.past),
            width,
            deltas,
            position: 0,
            chunk: Vec::new(),
            seen: None,
            base_block: vec![0.0; BLOCK_ELEMENTS],
            block: vec![0.0; BLOCK_ELEMENTS],
            step: vec![0.0; BLOCK_ELEMENTS],
        })
    }

    /// Keeps a fast hash of the base's bytes as they pass, see [`Values::seen`].
    #[must_use]
    pub fn watching(mut self) -> Self {
        self.seen = Some(Xxh3::new());
        self
    }

    /// The fast hash of the base's bytes that have passed.
    pub fn seen(&self) -> u64 {
        self.seen.as_ref().map_or(0, Xxh3::digest)
    }

    /// Elements that the next chunk will have; 0 at the end.
    pub fn next_len(&self) -> usize {
        (self.base.elements - self.position).min(CHUNK_ELEMENTS as u64) as usize
    }

    /// Reads the next chunk's bytes, together with `more` in the same step. [`Values::next_len`] says its length.
    pub async fn load(&mut self, io: &Io, more: &mut [Read<'_>]) -> Result<usize> {
        let n = self.next_len();
        self.chunk.resize(n * self.width, 0);
        for d in &mut self.deltas {
            d.want(n);
        }
        let at = self.position * self.width as u64;
        let mut reads = Vec::new();
        match &mut self.past {
            Some((past, number)) => self.chunk = past.read(io, past.top(), *number, at, n * self.width).await?,
            None => reads.push(Read {
                source: self.base.source,
                offset: self.base.range.offset + at,
                buf: &mut self.chunk,
            }),
        }
        reads.extend(self.deltas.iter_mut().flat_map(DeltaStream::reads));
        reads.extend(more.iter_mut().map(|r| Read {
            source: r.source,
            offset: r.offset,
            buf: r.buf,
        }));
        io.read(&mut reads).await?;
        self.deltas.iter_mut().for_each(DeltaStream::take);
        if let Some(seen) = &mut self.seen {
            seen.update(&self.chunk);
        }
        self.position += n as u64;
        Ok(n)
    }

    /// The base's bytes of the loaded chunk.
    pub fn base_bytes(&self) -> &[u8] {
        &self.chunk
    }

    /// Calls `f` with the values of the loaded chunk, block by block.
    pub async fn blocks(&mut self, io: &Io, f: &mut dyn FnMut(ValueBlock<'_>) -> Result<()>) -> Result<()> {
        let n = self.chunk.len() / self.width;
        let mut at = 0;
        while at < n {
            let len = (n - at).min(BLOCK_ELEMENTS);
            let base_bytes = &self.chunk[at * self.width..(at + len) * self.width];
            let base = &mut self.base_block[..len];
            convert::to_f32(self.base.dtype, base_bytes, base);
            let values = &mut self.block[..len];
            values.copy_from_slice(base);
            for delta in &mut self.deltas {
                let step = &mut self.step[..len];
                delta.expand(io, step).await?;
                add_link(delta.dtype, values, step);
            }
            f(ValueBlock {
                at,
                values,
                base,
                base_bytes,
            })?;
            at += len;
        }
        Ok(())
    }

    /// As [`Values::blocks`], but `f` gets the values after every number of links, 0 being the base: for chains whose
    /// links are hashed.
    pub async fn links(&mut self, io: &Io, f: &mut dyn FnMut(usize, &[f32])) -> Result<()> {
        let n = self.chunk.len() / self.width;
        let mut at = 0;
        while at < n {
            let len = (n - at).min(BLOCK_ELEMENTS);
            let values = &mut self.block[..len];
            convert::to_f32(
                self.base.dtype,
                &self.chunk[at * self.width..(at + len) * self.width],
                values,
            );
            f(0, values);
            for (link, delta) in self.deltas.iter_mut().enumerate() {
                let step = &mut self.step[..len];
                delta.expand(io, step).await?;
                add_link(delta.dtype, values, step);
                f(link + 1, values);
            }
            at += len;
        }
        Ok(())
    }
}
