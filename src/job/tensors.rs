//! `tensors`: rebuilt weights in bounded pieces, for inference that needs no file.

use super::chain::{self, Care};
use super::chunks::Chunks;
use super::machine::{Io, Role, SourceEntry};
use super::open::{delta_sources, groups_of, open_model};
use super::options::{As, TensorsOptions};
use super::pieces::{part_of, Gather};
use super::plan::Plan;
use super::report::{no_tensor, to_json};
use super::v2::chain::Chain;
use super::v2::open::any_v2;
use super::v2::tensors as v2;
use super::values::{Origin, Values};
use crate::dtype::Dtype;
use crate::error::{Code, Error, Result};
use crate::format::model::{Model, Tensor};
use crate::kernels::convert;
use crate::offset::ByteRange;

/// The model that a base and its deltas rebuild.
enum RebuiltModel {
    /// By links of version 1 alone, or by none: those tensors of the base that the links have, and what each is made of.
    V1(Model, Vec<Origin>),
    /// By links of which one is of version 2.
    V2(Chain),
}

impl RebuiltModel {
    async fn open(io: &Io, sources: &[SourceEntry]) -> Result<Self> {
        let any_v2 = any_v2(io, sources, groups_of(sources, Role::Delta)).await?;
        let mut base = open_model(io, sources, Role::Base, 0).await?.model;
        let deltas = delta_sources(sources);
        if any_v2 {
            return Ok(Self::V2(Chain::open(io, base, &deltas, Care::Sampled).await?));
        }
        let deltas = chain::open_chain(io, &deltas, Some(&base), Care::Sampled).await?;
        let deltas: Vec<_> = deltas.iter().collect();
        chain::check_fit(&base, &deltas)?;
        let origins = chain::origins(&base, &deltas);
        base.tensors.retain(|t| chain::find_origin(&origins, &t.name).is_some());
        Ok(Self::V1(base, origins))
    }

    fn model(&self) -> &Model {
        match self {
            Self::V1(model, _) => model,
            Self::V2(chain) => chain.last(),
        }
    }

    /// Bytes that are read for a tensor.
    fn cost(&self, name: &str) -> u64 {
        match self {
            Self::V1(_, origins) => chain::find_origin(origins, name).map_or(0, Origin::cost),
            Self::V2(chain) => chain.cost(chain.stages.len(), name),
        }
    }
}

/// Hands out what the options name of a tensor that links of version 1, or none, rebuild.
async fn stream(io: &Io, origins: &[Origin], tensor: &Tensor, options: &TensorsOptions) -> Result<()> {
    let dtype = match options.form {
        As::Stored => tensor.dtype,
        As::Float32 => Dtype::F32,
    };
    let Some(part) = part_of(tensor, dtype, options)? else {
        return Ok(());
    };
    let mut gather = Gather::new(io, tensor, dtype, part);
    match chain::find_origin(origins, &tensor.name) {
        Some(origin) if !origin.is_unchanged() || dtype != tensor.dtype => add(&mut gather, origin).await,
        _ => copy(&mut gather).await,
    }
}

/// Runs the job: every tensor asked for, in pieces of whole rows where a row fits a piece.
pub async fn tensors(io: Io, sources: Vec<SourceEntry>, options: TensorsOptions) -> Result<String> {
    let rebuilt = RebuiltModel::open(&io, &sources).await?;
    let model = rebuilt.model();
    let find = |name: &String| model.find(name).ok_or_else(|| no_tensor(name));
    let wanted: Vec<&Tensor> = match &options.names {
        None => model.tensors.iter().collect(),
        Some(names) => names.iter().map(find).collect::<Result<_>>()?,
    };
    let reads = wanted.iter().map(|t| rebuilt.cost(&t.name)).sum();
    let elements = wanted.iter().map(|t| t.elements).sum();
    let plan = Plan::reading("tensors", reads, wanted.len(), elements);
    plan.announce(&io).await?;
    match &rebuilt {
        RebuiltModel::V2(chain) => v2::stream(&io, chain, &wanted, &options).await?,
        RebuiltModel::V1(_, origins) => {
            for tensor in wanted {
                stream(&io, origins, tensor, &options).await?;
            }
        }
    }
    to_json(&())
}

/// A tensor that lies in a file as it is wanted.
async fn copy(gather: &mut Gather<'_>) -> Result<()> {
    let (from, to) = (gather.offset(gather.part.first), gather.offset(gather.part.end));
    let range = ByteRange::new(gather.tensor.range.offset + from, to - from)?;
    let mut chunks = Chunks::new(gather.tensor.source, range);
    let mut piece = Vec::new();
    while chunks.next(gather.io, &mut piece).await? {
        gather.push(&piece).await;
    }
    Ok(())
}

/// The base's tensor and the deltas of version 1 on it.
async fn add(gather: &mut Gather<'_>, origin: &Origin) -> Result<()> {
    let (io, own, dtype) = (gather.io, gather.tensor.dtype, gather.dtype);
    let (first, end) = (gather.part.first, gather.part.end);
    let packed = || Error::new(Code::Internal, "a packed dtype cannot be rebuilt");
    let width = dtype.bytes().ok_or_else(packed)?;
    let mut values = Values::open(io, origin, None).await?;
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
                if dtype == own && dtype != Dtype::F32 {
                    let bytes = &block.base_bytes[part.start * width..part.end * width];
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
    Ok(())
}
