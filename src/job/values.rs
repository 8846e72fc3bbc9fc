//! Streams one tensor's values: the base's, with the deltas of a chain added one after another, chunk by chunk.

use super::machine::{Io, Read};
use super::placed::{DeltaTensor, TensorRange};
use super::v2::past::Past;
use super::v2::reader::Reader;
use crate::error::{Code, Error, Result};
use crate::format::v1::header::ResultDtype;
use crate::format::v1::writer::record_header;
use crate::job::wire::wire;
use crate::kernels::{apply, convert, float16};
use crate::limits::{BLOCK_ELEMENTS, CHUNK_ELEMENTS};
use crate::strategy::{Expander, MAX_FIELDS};
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
    /// Where the base is what links of version 2 rebuild: how, for this tensor alone. Its place says its size then.
    pub past: Option<Past>,
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

/// A window on one array of a delta: what was read and is not yet consumed.
struct Window {
    source: u32,
    /// Where the next read starts.
    next: u64,
    /// Elements not yet read.
    left: u64,
    width: usize,
    bytes: Vec<u8>,
    used: usize,
    fresh: Vec<u8>,
}

impl Window {
    /// Elements that are there.
    fn ready(&self) -> usize {
        (self.bytes.len() - self.used) / self.width
    }

    /// Sets up a read that brings the window to `elements`, as far as the array goes.
    fn want(&mut self, elements: usize) {
        let missing = elements.saturating_sub(self.ready()) as u64;
        self.fresh.resize(missing.min(self.left) as usize * self.width, 0);
    }

    /// Takes in what was read.
    fn take(&mut self) {
        if self.fresh.is_empty() {
            return;
        }
        self.bytes.drain(..self.used);
        self.used = 0;
        self.bytes.extend_from_slice(&self.fresh);
        self.next += self.fresh.len() as u64;
        self.left -= (self.fresh.len() / self.width) as u64;
        self.fresh.clear();
    }

    fn read(&mut self) -> Read<'_> {
        Read {
            source: self.source,
            offset: self.next,
            buf: &mut self.fresh,
        }
    }
}

/// Streams the decoded delta of one tensor of one file.
pub struct DeltaStream {
    name: String,
    source: u32,
    expander: Expander,
    windows: Vec<Window>,
    elements: u64,
    dtype: ResultDtype,
}

impl DeltaStream {
    /// A stream from the tensor's first element. Record headers that were only predicted are checked now.
    pub async fn open(io: &Io, name: &str, delta: &DeltaTensor) -> Result<Self> {
        check_headers(io, name, delta).await?;
        let counts = delta.counts();
        let expander = Expander::new(delta.strategy, delta.elements, delta.cols, counts)
            .map_err(|e| e.tensor(name).source(delta.source))?;
        let windows = delta
            .strategy
            .fields()
            .iter()
            .zip(&delta.fields)
            .map(|(field, placed)| Window {
                source: delta.source,
                next: placed.offset,
                left: placed.elements,
                width: field.dtype.width(),
                bytes: Vec::new(),
                used: 0,
                fresh: Vec::new(),
            })
            .collect();
        Ok(Self {
            name: name.to_owned(),
            source: delta.source,
            expander,
            windows,
            elements: delta.elements,
            dtype: delta.dtype,
        })
    }

    /// Asks each window for what `n` elements will probably take.
    fn want(&mut self, n: usize) {
        for w in &mut self.windows {
            let total = w.left + w.ready() as u64;
            // Its share of the array, a quarter more, and something for short tensors; never above a chunk.
            let share = total as f64 * n as f64 * 1.25 / self.elements.max(1) as f64;
            w.want((share as usize).saturating_add(64).min(CHUNK_ELEMENTS));
        }
    }

    /// The reads that [`DeltaStream::want`] asked for.
    fn reads(&mut self) -> impl Iterator<Item = Read<'_>> {
        self.windows.iter_mut().map(Window::read)
    }

    fn take(&mut self) {
        self.windows.iter_mut().for_each(Window::take);
    }

    /// Reads what the next `n` deltas will probably take.
    pub async fn prefetch(&mut self, io: &Io, n: usize) -> Result<()> {
        self.want(n);
        io.read(&mut self.reads().collect::<Vec<_>>()).await?;
        self.take();
        Ok(())
    }

    /// Decodes the next `out.len()` deltas, reading more where the windows run dry.
    pub async fn expand(&mut self, io: &Io, out: &mut [f32]) -> Result<()> {
        let mut done = 0;
        while done < out.len() {
            let mut inputs: [&[u8]; MAX_FIELDS] = [&[]; MAX_FIELDS];
            for (input, w) in inputs.iter_mut().zip(&self.windows) {
                *input = &w.bytes[w.used..];
            }
            let progress = self
                .expander
                .expand(&inputs, &mut out[done..])
                .map_err(|e| e.tensor(&self.name).source(self.source))?;
            for (w, consumed) in self.windows.iter_mut().zip(progress.consumed) {
                w.used += consumed;
            }
            done += progress.produced;
            if done == out.len() {
                break;
            }
            let dry = progress
                .wants
                .filter(|&f| self.windows.get(f).is_some_and(|w| w.left > 0));
            let Some(field) = dry else {
                return Err(Error::new(
                    Code::Malformed,
                    format!(
                        "tensor `{}`: its records hold fewer values than its shape has; the file is damaged, get it again",
                        self.name
                    ),
                )
                .tensor(&self.name)
                .source(self.source));
            };
            let w = &mut self.windows[field];
            w.want(w.ready() + (out.len() - done).clamp(64, BLOCK_ELEMENTS));
            io.read(&mut [w.read()]).await?;
            w.take();
        }
        self.elements -= out.len() as u64;
        Ok(())
    }
}

/// Compares record headers that were predicted with what the file has.
async fn check_headers(io: &Io, name: &str, delta: &DeltaTensor) -> Result<()> {
    for (field, placed) in delta.strategy.fields().iter().zip(&delta.fields) {
        let Some(at) = placed.unchecked else { continue };
        let expected = record_header(name, field.name, field.dtype, placed.elements);
        if io.read_vec(delta.source, at, expected.len()).await? != expected {
            return Err(Error::new(
                Code::Malformed,
                format!(
                    "tensor `{name}`: its array {} is not at byte {at}, where the header lets one expect it; the file is damaged, or another program wrote it, and `verify` tells which",
                    field.name
                ),
            )
            .tensor(name)
            .at(at)
            .source(delta.source));
        }
    }
    Ok(())
}

/// A piece of a tensor in float32, with the base it came from.
pub struct Block<'a> {
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
pub struct Values {
    base: TensorRange,
    past: Option<Reader>,
    width: usize,
    deltas: Vec<DeltaStream>,
    position: u64,
    chunk: Vec<u8>,
    seen: Option<Xxh3>,
    base_block: Vec<f32>,
    block: Vec<f32>,
    step: Vec<f32>,
}

impl Values {
    /// A stream from the first element. The dtype must be one that converts to float32.
    pub async fn open(io: &Io, origin: &Origin) -> Result<Self> {
        let width = origin.base.dtype.bytes().filter(|_| origin.base.dtype.to_f32_defined()).ok_or_else(|| {
            Error::new(
                Code::UnsupportedDtype,
                format!(
                    "tensor `{}`: {} cannot be turned into float32; only unchanged tensors of this dtype can be rebuilt, in the base's own dtype",
                    origin.name,
                    origin.base.dtype.name()
                ),
            )
            .tensor(&origin.name)
        })?;
        let mut deltas = Vec::with_capacity(origin.deltas.len());
        for delta in &origin.deltas {
            deltas.push(DeltaStream::open(io, &origin.name, delta).await?);
        }
        Ok(Self {
            base: origin.base.clone(),
            past: origin.past.clone().map(Reader::new),
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
            Some(past) => self.chunk = past.read(io, past.top(), 0, at, n * self.width).await?,
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
    pub async fn blocks(&mut self, io: &Io, f: &mut dyn FnMut(Block<'_>) -> Result<()>) -> Result<()> {
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
            f(Block {
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

/// Adds one link's delta as the reference does (`format::v1` 2): in float32, or, where a foreign header names another
/// dtype, with the delta and the sum rounded to that dtype.
pub fn add_link(dtype: ResultDtype, values: &mut [f32], delta: &[f32]) {
    match dtype {
        // float64: the delta is a float32 number, and the sum of two float32 numbers rounded to float64 and then to
        // float32 is the float32 sum, since float64 has more than twice its digits.
        ResultDtype::Float32 | ResultDtype::Float64 => apply::add(values, delta),
        ResultDtype::Float16 => {
            for (v, &d) in values.iter_mut().zip(delta) {
                *v = through_f16(*v + through_f16(d));
            }
        }
    }
}

fn through_f16(x: f32) -> f32 {
    float16::f16_to_f32(float16::f32_to_f16(x))
}
