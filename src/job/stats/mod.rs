//! `stats`: what the decoded delta of each tensor looks like.

pub mod look;

use super::chain;
use super::changes::Changes;
use super::machine::{Io, Role, SourceEntry};
use super::open::{delta_sources, groups_of, open_base, OpenDelta};
use super::options::StatsOptions;
use super::placed::{DeltaTensor, TensorRange};
use super::plan::Plan;
use super::report::to_json;
use super::v2::open::any_v2;
use crate::error::{Code, Error, Result};
use crate::format::v1::header::V1Tensor;
use crate::job::report::no_tensor;
use crate::strategy::Strategy;
use look::{base_norm, levels, look, Looked};

/// Runs the job: one item a tensor.
pub async fn stats(io: Io, sources: Vec<SourceEntry>, options: StatsOptions) -> Result<String> {
    if any_v2(&io, &sources, groups_of(&sources, Role::Delta)).await? {
        return super::v2::stats::stats(io, sources, options).await;
    }
    let &[source] = &delta_sources(&sources)[..] else {
        return Err(Error::new(Code::Usage, "stats takes one .wdelta file"));
    };
    let base = open_base(&io, &sources).await?;
    let model = base.as_ref();
    let opened = chain::open_chain(&io, &[source], model, chain::Care::Sampled).await?;
    let delta = &opened[0];
    if let Some(model) = model {
        chain::check_fit(model, &[delta])?;
    }
    let chosen = wanted(delta, options.names.as_ref())?;
    let range_of = |t: &V1Tensor| model.and_then(|m| m.find(&t.name)).map(TensorRange::from);
    // Each delta is read for its range and once more for its histogram.
    let reads = chosen
        .iter()
        .map(|(t, d)| 2 * d.bytes() + range_of(t).map_or(0, |r| r.range.len))
        .sum();
    let elements = chosen.iter().map(|(_, d)| d.elements).sum();
    let plan = Plan::reading("stats", reads, chosen.len(), elements);
    plan.announce(&io).await?;
    for (header, placed) in chosen {
        let base = range_of(header);
        let looked_at = Looked {
            name: &header.name,
            dtype: base.as_ref().map_or("F32", |b| b.dtype.name()),
            shape: &header.shape,
            strategy: placed.strategy.name(),
            values: placed.elements,
        };
        let mut changes = Changes::of_v1(&io, &header.name, placed).await?;
        let mut item = look(&io, &looked_at, &mut changes, options.bins).await?;
        if let Some(base) = base.filter(|b| b.dtype.to_f32_defined()) {
            item.set_base(base_norm(&io, &base).await?);
        }
        item.levels = levels(&io, placed).await?;
        if let Strategy::Int4 | Strategy::Sparse = placed.strategy {
            item.set_outliers(placed.fields.first().map_or(0, |f| f.elements));
        }
        io.item(to_json(&item)?, None).await;
    }
    to_json(&())
}

fn wanted<'a>(delta: &'a OpenDelta, names: Option<&Vec<String>>) -> Result<Vec<(&'a V1Tensor, &'a DeltaTensor)>> {
    let Some(names) = names else {
        return Ok(delta.header.tensors.iter().zip(&delta.tensors).collect());
    };
    let find = |n: &String| {
        let i = delta.header.find(n).ok_or_else(|| no_tensor(n))?;
        Ok((&delta.header.tensors[i], &delta.tensors[i]))
    };
    names.iter().map(find).collect()
}
