//! Tensors of chains with a version 2 delta, in pieces: only the blocks that cover what is wanted are read.

use super::chain::Chain;
use super::chunks::TensorChunks;
use super::past::Level;
use super::reader::Reader;
use super::verdict::{blame, verdict};
use crate::dtype::Dtype;
use crate::error::{Code, Error, Result};
use crate::format::model::Tensor;
use crate::job::machine::Io;
use crate::job::options::{As, TensorsOptions};
use crate::job::pieces::{part_of, Gather};
use crate::kernels::convert;
use crate::limits::CHUNK_ELEMENTS;
use std::ops::Range;

/// The dtype in which a tensor is handed out; `UNSUPPORTED_DTYPE` if that cannot be. As stored means here what `decode`
/// would write: after a version 1 link, the dtype of the last model that has files.
fn dtype_of(chain: &Chain, tensor: &Tensor, form: As) -> Result<Dtype> {
    let name = tensor.name.as_str();
    let dtype = match form {
        As::Stored => chain.model(chain.rooted()).find(name).map_or(tensor.dtype, |t| t.dtype),
        As::Float32 => Dtype::F32,
    };
    if dtype == tensor.dtype || (tensor.dtype.to_f32_defined() && dtype.to_f32_defined()) {
        return Ok(dtype);
    }
    let (from, to) = (tensor.dtype.name(), dtype.name());
    let text = format!("{from} cannot be turned into {to}");
    Err(Error::new(Code::UnsupportedDtype, text).about(name))
}

/// Hands out parts of tensors of the last model.
pub async fn stream(io: &Io, chain: &Chain, wanted: &[&Tensor], options: &TensorsOptions) -> Result<()> {
    for run in chain.runs(wanted, &|t| t.range.len) {
        let mut gathers = Vec::with_capacity(run.len());
        for tensor in run {
            let dtype = dtype_of(chain, tensor, options.form)?;
            if let Some(part) = part_of(tensor, dtype, options)? {
                gathers.push(Gather::new(io, tensor, dtype, part));
            }
        }
        let parts: Vec<_> = gathers.iter().map(|g| (g.tensor.name.as_str(), bytes_of(g))).collect();
        let (past, numbers) = chain.past(chain.stages.len(), &parts, true)?;
        let mut reader = Reader::new(past);
        for (gather, number) in gathers.iter_mut().zip(numbers) {
            one(gather, &mut reader, number).await?;
        }
    }
    Ok(())
}

/// Bytes of the tensor that a part has.
fn bytes_of(gather: &Gather<'_>) -> Range<u64> {
    let bytes_at = |element: u64| element * gather.tensor.dtype.bits() / 8;
    bytes_at(gather.part.first)..bytes_at(gather.part.end)
}

/// Hands out a part of a tensor. A whole one is held against its digest at the end.
async fn one(gather: &mut Gather<'_>, reader: &mut Reader, number: u32) -> Result<()> {
    let (io, tensor, n) = (gather.io, gather.tensor, reader.top());
    let name = tensor.name.as_str();
    let whole = gather.part.first == 0 && gather.part.end == tensor.elements;
    let of_link = match &reader.levels()[n] {
        Level::V2(coded) => Some(coded.source),
        _ => None,
    };
    let mut hasher = blake3::Hasher::new();
    let bits = tensor.dtype.bits();
    let mut chunks = TensorChunks::part(n, number, bytes_of(gather)).of_at_most(CHUNK_ELEMENTS as u64 * bits / 8);
    loop {
        let (at, mut bytes) = match chunks.next(io, reader).await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            Err(e) => return Err(blame(io, reader, e).await.tensor(name)),
        };
        if of_link.is_some() && whole {
            hasher.update(&bytes);
        }
        if gather.dtype != tensor.dtype {
            bytes = match gather.dtype {
                Dtype::F32 => in_float32(tensor.dtype, &bytes),
                // What links of version 1 rebuild is float32.
                _ => reader.rooted(io, number, at * 8 / bits, &bytes).await?,
            };
        }
        gather.push(&bytes).await;
    }
    if let (Some(source), true) = (of_link, whole) {
        if let Some(e) = verdict(io, reader, number, &hasher).await? {
            return Err(blame(io, reader, e).await.tensor(name).source(source));
        }
    }
    Ok(())
}

fn in_float32(dtype: Dtype, bytes: &[u8]) -> Vec<u8> {
    let mut values = vec![0f32; bytes.len() / dtype.bytes().unwrap_or(1)];
    convert::to_f32(dtype, bytes, &mut values);
    let mut out = vec![0; 4 * values.len()];
    convert::from_f32(Dtype::F32, &values, &mut out);
    out
}
