//! `hash`: the parent hashes of a model, in both orders that version 1 knows.

use super::chain;
use super::hashing::{self, ModelHash};
use super::machine::{Io, Role, SourceEntry};
use super::open::open_model;
use super::options::{As, HashOptions};
use super::placed::TensorRange;
use super::plan::Plan;
use super::report::{from_wire, to_json};
use super::values::Origin;
use crate::error::Result;
use crate::format::model::Model;
use serde::Serialize;

#[derive(Serialize)]
struct Report {
    #[serde(rename = "as")]
    form: &'static str,
    tensors: usize,
    bytes: u64,
    sorted: String,
    grouped: String,
    agree: bool,
}

/// Runs the job.
pub async fn hash(io: Io, sources: Vec<SourceEntry>, options: HashOptions) -> Result<String> {
    let opened = open_model(&io, &sources, Role::Base, 0).await?;
    let model = &opened.model;
    let sorted: Vec<String> = model.tensors.iter().map(|t| t.name.clone()).collect();
    let mut orders = vec![sorted];
    let grouped = model.shard_groups();
    if grouped != orders[0] {
        orders.push(grouped);
    }
    let mut tasks = Vec::new();
    for names in &orders {
        tasks.push(match options.form {
            As::Stored => hashing::model_task("model", chain::ranges(model, names))?,
            As::Float32 => hashing::values_task("model", bare_origins(model, names), vec![0])?,
        });
    }
    let reads = tasks.iter().map(|t| t.cost).sum();
    let plan = Plan::reading("hash", reads, model.tensors.len(), model.elements());
    plan.announce(&io).await?;
    let mut hashes = Vec::with_capacity(orders.len());
    for report in io.run(tasks).await? {
        hashes.push(match options.form {
            As::Stored => from_wire::<ModelHash>(&report)?.sha256,
            As::Float32 => from_wire::<Vec<String>>(&report)?.swap_remove(0),
        });
    }
    to_json(&Report {
        form: match options.form {
            As::Stored => "stored",
            As::Float32 => "float32",
        },
        tensors: model.tensors.len(),
        bytes: model.data_bytes(),
        sorted: hashes[0].clone(),
        grouped: hashes[hashes.len() - 1].clone(),
        agree: hashes.len() == 1,
    })
}

fn bare_origins(model: &Model, names: &[String]) -> Vec<Origin> {
    names
        .iter()
        .filter_map(|n| model.find(n))
        .map(|t| Origin {
            name: t.name.clone(),
            base: TensorRange::from(t),
            deltas: Vec::new(),
            past: None,
        })
        .collect()
}
