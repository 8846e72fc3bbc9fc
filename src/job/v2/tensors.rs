//! `tensors` of chains with a version 2 delta: only the blocks that cover what is wanted are read.

use super::chain::Chain;
use super::past::Level;
use super::reader::Reader;
use super::rebuild::{blame, verdict};
use crate::dtype::Dtype;
use crate::error::{Code, Error, Result};
use crate::format::model::Tensor;
use crate::job::chain::no_tensor;
use crate::job::chain::Care;
use crate::job::machine::{Io, Role, SourceEntry};
use crate::job::open::{delta_sources, open_model};
use crate::job::options::{As, TensorsOptions};
use crate::job::plan::Plan;
use crate::job::report::to_json;
use crate::job::tensors::{part_of, Gather};
use crate::kernels::convert;
use crate::limits::CHUNK_ELEMENTS;

/// Runs the job.
pub async fn tensors(io: Io, sources: Vec<SourceEntry>, options: TensorsOptions) -> Result<String> {
    let base = open_model(&io, &sources, Role::Base, 0).await?.model;
    let chain = Chain::open(&io, base, &delta_sources(&sources), Care::Sampled).await?;
    let n = chain.stages.len();
    let find = |name: &String| chain.last().find(name).ok_or_else(|| no_tensor(name));
    let wanted: Vec<&Tensor> = match &options.names {
        None => chain.last().tensors.iter().collect(),
        Some(names) => names.iter().map(find).collect::<Result<_>>()?,
    };
    let reads = wanted.iter().map(|t| chain.cost(n, &t.name)).sum();
    io.plan(Plan::reading("tensors", reads, wanted.len(), wanted.iter().map(|t| t.elements).sum()).json()?)
        .await;
    for tensor in wanted {
        stream(&io, &chain, tensor, &options).await?;
    }
    to_json(&())
}

/// Hands out one tensor. A whole one is held against its digest at the end.
async fn stream(io: &Io, chain: &Chain, tensor: &Tensor, options: &TensorsOptions) -> Result<()> {
    let n = chain.stages.len();
    let name = tensor.name.as_str();
    // After a version 1 link, what `decode` would write: the dtype of the last model that has files.
    let stored = chain.model(chain.rooted()).find(name).map_or(tensor.dtype, |t| t.dtype);
    let dtype = match options.form {
        As::Stored => stored,
        As::Float32 => Dtype::F32,
    };
    if dtype != tensor.dtype && !(tensor.dtype.to_f32_defined() && dtype.to_f32_defined()) {
        return Err(Error::new(
            Code::UnsupportedDtype,
            format!(
                "tensor `{name}`: {} cannot be turned into {}",
                tensor.dtype.name(),
                dtype.name()
            ),
        )
        .tensor(name));
    }
    let Some(part) = part_of(tensor, dtype, options)? else {
        return Ok(());
    };
    let bytes_at = |element: u64| element * tensor.dtype.bits() / 8;
    let whole = part.first == 0 && part.end == tensor.elements;
    let (past, numbers) = chain.past(n, &[(name, bytes_at(part.first)..bytes_at(part.end))], whole)?;
    let (mut reader, number) = (Reader::new(past), numbers[0]);
    let of_link = match &reader.levels()[n] {
        Level::V2(coded) => Some(coded.source),
        _ => None,
    };
    let mut gather = Gather::new(io, tensor, dtype, &part);
    let mut hasher = blake3::Hasher::new();
    let mut at = part.first;
    while at < part.end {
        let end = part.end.min(at + CHUNK_ELEMENTS as u64);
        let (from, to) = (bytes_at(at), bytes_at(end));
        let read = reader.read(io, n, number, from, (to - from) as usize).await;
        let mut bytes = match read {
            Ok(bytes) => bytes,
            Err(e) if whole => return Err(blame(io, &mut reader, number, e).await.tensor(name)),
            Err(e) => return Err(e.tensor(name)),
        };
        if of_link.is_some() && whole {
            hasher.update(&bytes);
        }
        if dtype != tensor.dtype {
            bytes = match options.form {
                As::Float32 => in_float32(tensor.dtype, &bytes),
                As::Stored => reader.rooted(io, number, at, &bytes).await?,
            };
        }
        gather.push(&bytes).await;
        at = end;
    }
    gather.finish().await;
    if let (Some(source), true) = (of_link, whole) {
        if let Some(e) = verdict(io, &mut reader, number, &hasher).await? {
            return Err(e.tensor(name).source(source));
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
