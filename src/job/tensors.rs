//! `tensors`: rebuilt weights in bounded pieces, for inference that needs no file.

use super::chain;
use super::chunks::Chunks;
use super::machine::{Io, Role, SourceEntry};
use super::open::{delta_sources, groups_of, open_model};
use super::options::{As, TensorsOptions};
use super::plan::Plan;
use super::report::to_json;
use super::v2::open::any_v2;
use super::values::{Origin, Values};
use crate::dtype::Dtype;
use crate::error::{Code, Error, Result};
use crate::format::model::Tensor;
use crate::job::chain::no_tensor;
use crate::kernels::convert;
use crate::limits::CHUNK_BYTES;
use crate::offset::ByteRange;
use serde::Serialize;

/// Describes one piece.
#[derive(Serialize)]
struct Piece<'a> {
    name: &'a str,
    dtype: &'static str,
    shape: &'a [u64],
    rows: (u64, u64),
    bytes: usize,
}

/// Runs the job: every tensor asked for, in pieces of whole rows where a row fits a piece.
pub async fn tensors(io: Io, sources: Vec<SourceEntry>, options: TensorsOptions) -> Result<String> {
    if any_v2(&io, &sources, groups_of(&sources, Role::Delta)).await? {
        return super::v2::tensors::tensors(io, sources, options).await;
    }
    let opened = open_model(&io, &sources, Role::Base, 0).await?;
    let model = &opened.model;
    let delta_sources = delta_sources(&sources);
    let deltas = chain::open_chain(&io, &delta_sources, Some(model), chain::Care::Sampled).await?;
    chain::check_fit(model, &deltas)?;
    let origins = chain::origins(model, &deltas);
    let wanted: Vec<&Origin> = match &options.names {
        None => origins.iter().collect(),
        Some(names) => names.iter().map(|n| find(&origins, n)).collect::<Result<_>>()?,
    };
    let reads = wanted.iter().map(|o| o.cost()).sum();
    io.plan(
        Plan::reading(
            "tensors",
            reads,
            wanted.len(),
            wanted.iter().map(|o| o.base.elements).sum(),
        )
        .json()?,
    )
    .await;
    for origin in wanted {
        let Some(tensor) = model.find(&origin.name) else {
            continue;
        };
        stream(&io, origin, tensor, &options).await?;
    }
    to_json(&())
}

/// The origin of a tensor; `MISSING_TENSOR` when there is none of that name.
pub fn find<'a>(origins: &'a [Origin], name: &str) -> Result<&'a Origin> {
    chain::find_origin(origins, name).ok_or_else(|| no_tensor(name))
}

/// The elements of a tensor that are wanted, and how many a row has.
pub struct Part {
    /// First element.
    pub first: u64,
    /// One past the last.
    pub end: u64,
    /// Elements per row.
    pub row: u64,
}

/// The part of a tensor that the options name, none if it is empty; `USAGE` if there is no such part.
pub fn part_of(tensor: &Tensor, dtype: Dtype, options: &TensorsOptions) -> Result<Option<Part>> {
    let rows = tensor.shape.first().copied().unwrap_or(1);
    let row = tensor.elements.checked_div(rows).unwrap_or(0);
    let (from, to) = options.rows.unwrap_or((0, rows));
    if from > to || to > rows {
        return Err(Error::new(
            Code::Usage,
            format!(
                "tensor `{}` has {rows} rows; rows {from} to {to} are not among them",
                tensor.name
            ),
        )
        .tensor(&tensor.name));
    }
    if tensor.elements == 0 || from == to {
        return Ok(None);
    }
    if !(row * dtype.bits()).is_multiple_of(8) && options.rows.is_some() {
        return Err(Error::new(
            Code::Usage,
            format!(
                "tensor `{}`: its rows do not fill whole bytes; take it whole",
                tensor.name
            ),
        )
        .tensor(&tensor.name));
    }
    Ok(Some(Part {
        first: from * row,
        end: to * row,
        row,
    }))
}

async fn stream(io: &Io, origin: &Origin, tensor: &Tensor, options: &TensorsOptions) -> Result<()> {
    let dtype = match options.form {
        As::Stored => tensor.dtype,
        As::Float32 => Dtype::F32,
    };
    let Some(part) = part_of(tensor, dtype, options)? else {
        return Ok(());
    };
    let (first, end) = (part.first, part.end);
    let copy = origin.is_unchanged() && dtype == tensor.dtype;
    let mut gather = Gather::new(io, tensor, dtype, &part);
    if copy {
        return copy_rows(&mut gather, first, end).await;
    }
    let width = dtype
        .bytes()
        .ok_or_else(|| Error::new(Code::Internal, "a packed dtype cannot be rebuilt"))?;
    let mut values = Values::open(io, origin).await?;
    let mut at = 0u64;
    let mut piece = Vec::new();
    while at < end && values.next_len() > 0 {
        let n = values.load(io, &mut []).await?;
        piece.clear();
        values
            .blocks(io, &mut |block| {
                // Deltas decode from the start of the tensor, so rows before the wanted ones are decoded and dropped.
                let start = at + block.at as u64;
                let len = block.values.len() as u64;
                let (a, b) = (first.clamp(start, start + len), end.clamp(start, start + len));
                let part = (a - start) as usize..(b - start) as usize;
                let begin = piece.len();
                piece.resize(begin + part.len() * width, 0);
                let out = &mut piece[begin..];
                let own = tensor.dtype.bytes().unwrap_or(1);
                if dtype == tensor.dtype && dtype != Dtype::F32 {
                    let bytes = &block.base_bytes[part.start * own..part.end * own];
                    convert::keep_or_round(dtype, &block.values[part.clone()], &block.base[part], bytes, out);
                } else {
                    convert::from_f32(dtype, &block.values[part], out);
                }
                Ok(())
            })
            .await?;
        gather.push(&piece).await;
        at += n as u64;
    }
    gather.finish().await;
    Ok(())
}

/// Collects bytes and hands them out in whole rows.
pub struct Gather<'a> {
    io: &'a Io,
    tensor: &'a Tensor,
    dtype: Dtype,
    row: u64,
    bytes: Vec<u8>,
    /// Elements handed out so far, counted from the start of the tensor.
    sent: u64,
}

impl<'a> Gather<'a> {
    /// Collects the bytes of a part of a tensor, in this dtype.
    pub fn new(io: &'a Io, tensor: &'a Tensor, dtype: Dtype, part: &Part) -> Self {
        Self {
            io,
            tensor,
            dtype,
            row: part.row,
            bytes: Vec::new(),
            sent: part.first,
        }
    }

    /// Takes the next bytes.
    pub async fn push(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
        let bits = self.dtype.bits();
        let row_bytes = (self.row * bits / 8) as usize;
        let whole = self.bytes.len() - self.bytes.len() % row_bytes.max(1);
        // A row above a chunk is handed out in parts; `rows` then names the rows that the part lies in.
        let ready = if whole > 0 {
            whole
        } else if self.bytes.len() >= CHUNK_BYTES {
            self.bytes.len()
        } else {
            0
        };
        if ready > 0 {
            self.send(ready).await;
        }
    }

    async fn send(&mut self, len: usize) {
        let rest = self.bytes.split_off(len);
        let elements = len as u64 * 8 / self.dtype.bits();
        let rows = (self.sent / self.row, (self.sent + elements).div_ceil(self.row));
        self.sent += elements;
        let json = to_json(&Piece {
            name: &self.tensor.name,
            dtype: self.dtype.name(),
            shape: &self.tensor.shape,
            rows,
            bytes: len,
        })
        .unwrap_or_default();
        let mut bytes = std::mem::replace(&mut self.bytes, rest);
        self.io.item(json, Some(&mut bytes)).await;
    }

    /// Hands out what is left.
    pub async fn finish(&mut self) {
        if !self.bytes.is_empty() {
            self.send(self.bytes.len()).await;
        }
    }
}

async fn copy_rows(gather: &mut Gather<'_>, first: u64, end: u64) -> Result<()> {
    let bits = gather.dtype.bits();
    let (from, to) = (first * bits / 8, end * bits / 8);
    let range = ByteRange::new(gather.tensor.range.offset + from, to - from)?;
    let mut chunks = Chunks::new(gather.tensor.source, range);
    let mut piece = Vec::new();
    while chunks.next(gather.io, &mut piece).await? {
        gather.push(&piece).await;
    }
    gather.finish().await;
    Ok(())
}
