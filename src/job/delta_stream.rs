//! Streams the decoded version 1 delta of one tensor, and adds it to what came before.

use super::machine::{Io, Read};
use super::placed::DeltaTensor;
use crate::error::{Code, Error, Result};
use crate::format::v1::header::ResultDtype;
use crate::format::v1::writer::record_header;
use crate::kernels::{apply, float16};
use crate::limits::{BLOCK_ELEMENTS, CHUNK_ELEMENTS};
use crate::strategy::{Expander, MAX_FIELDS};

/// A window on one array of a delta: what was read and is not yet consumed.
struct ArrayWindow {
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

impl ArrayWindow {
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
    windows: Vec<ArrayWindow>,
    elements: u64,
    /// The dtype that the delta is added in: see [`add_link`].
    pub(super) dtype: ResultDtype,
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
            .map(|(field, placed)| ArrayWindow {
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
    pub(super) fn want(&mut self, n: usize) {
        for w in &mut self.windows {
            let total = w.left + w.ready() as u64;
            // Its share of the array, a quarter more, and something for short tensors; never above a chunk.
            let share = total as f64 * n as f64 * 1.25 / self.elements.max(1) as f64;
            w.want((share as usize).saturating_add(64).min(CHUNK_ELEMENTS));
        }
    }

    /// The reads that [`DeltaStream::want`] asked for.
    pub(super) fn reads(&mut self) -> impl Iterator<Item = Read<'_>> {
        self.windows.iter_mut().map(ArrayWindow::read)
    }

    /// Takes in what was read.
    pub(super) fn take(&mut self) {
        self.windows.iter_mut().for_each(ArrayWindow::take);
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
                    "its records hold fewer values than its shape has; the file is damaged, get it again",
                )
                .about(&self.name)
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
                    "its array {} is not at byte {at}, where the header lets one expect it; the file is damaged, or another program wrote it, and `verify` tells which",
                    field.name
                ),
            )
            .about(name)
            .at(at)
            .source(delta.source));
        }
    }
    Ok(())
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
