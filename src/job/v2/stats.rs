//! `stats` of a version 2 delta, or of the last of a chain that has one.

use super::chain::{Chain, Link};
use super::files::bytes_of;
use super::reader::Reader;
use crate::error::{Code, Error, Result};
use crate::format::v2::TensorRecord;
use crate::job::chain::Care;
use crate::job::changes::Changes;
use crate::job::machine::{Io, Role, SourceEntry};
use crate::job::open::{delta_sources, open_model, sources_of};
use crate::job::options::StatsOptions;
use crate::job::plan::Plan;
use crate::job::report::no_tensor;
use crate::job::report::to_json;
use crate::job::stats::look::{look, Looked};
use crate::offset::element_count;

/// Runs the job: one item a tensor. What is stored without a base counts as moved from 0.
pub async fn stats(io: Io, sources: Vec<SourceEntry>, options: StatsOptions) -> Result<String> {
    if sources_of(&sources, Role::Base, 0).is_empty() {
        return Err(Error::new(
            Code::Usage,
            "a version 2 delta says how far values move only where its base is known: give the base, and the deltas before it if there are any",
        ));
    }
    let base = open_model(&io, &sources, Role::Base, 0).await?.model;
    let chain = Chain::open(&io, base, &delta_sources(&sources), Care::Sampled).await?;
    let Some(Link::V2(delta)) = chain.last_link() else {
        return Err(Error::new(
            Code::Usage,
            "the last delta is of version 1, and shows what it holds by itself: give it alone",
        ));
    };
    let tensors = &delta.index.tensors;
    let find = |name: &String| delta.find(name).map(|t| &tensors[t]).ok_or_else(|| no_tensor(name));
    let chosen: Vec<&TensorRecord> = match &options.names {
        None => chain
            .last()
            .tensors
            .iter()
            .map(|t| find(&t.name))
            .collect::<Result<_>>()?,
        Some(names) => names.iter().map(find).collect::<Result<_>>()?,
    };
    let n = chain.stages.len();
    // Once for the range and once more for the histogram, the base beside it.
    let reads = chosen.iter().map(|t| 4 * chain.cost(n, &t.name)).sum();
    let elements = chosen.iter().filter_map(|t| element_count(&t.shape)).sum();
    let plan = Plan::reading("stats", reads, chosen.len(), elements);
    plan.announce(&io).await?;
    for run in chain.runs(&chosen, &|t| bytes_of(t)) {
        let names: Vec<&str> = run.iter().map(|t| t.name.as_str()).collect();
        let (past, moved) = chain.moved(&names)?;
        let mut reader = Reader::new(past);
        for (t, moved) in run.iter().zip(moved) {
            let looked_at = Looked {
                name: &t.name,
                dtype: t.dtype.name(),
                shape: &t.shape,
                strategy: t.op_name(),
                values: moved.words,
            };
            let mut changes = Changes::of_v2(&t.name, &mut reader, moved);
            let item = look(&io, &looked_at, &mut changes, options.bins)
                .await
                .map_err(|e| e.tensor(&t.name))?;
            io.item(to_json(&item)?, None).await;
        }
    }
    to_json(&())
}
