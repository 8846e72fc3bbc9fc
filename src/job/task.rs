//! The tasks that workers run: plain data in, a machine out.

use super::machine::{Machine, TaskSpec};
use super::placed::{DeltaTensor, TensorRange};
use super::report::{from_wire, to_wire};
use super::values::Origin;
use super::{decode, diff, emit, hashing, survey, v2, verify};
use crate::error::Result;
use crate::offset::ByteRange;
use serde::{Deserialize, Serialize};

/// Everything that a worker can be asked to do.
#[derive(Debug, Serialize, Deserialize)]
#[allow(missing_docs)] // each variant says what its fields are
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// SHA-256 over names and stored bytes.
    HashModel { order: Vec<(String, TensorRange)> },
    /// SHA-256 over the start of a file.
    HashFile { source: u32, len: u64 },
    /// SHA-256 over names and float32 values after each of these numbers of links.
    HashValues { tensors: Vec<Origin>, links: Vec<usize> },
    /// Look at deltas before their layout is decided.
    Survey { items: Vec<survey::SurveyItem> },
    /// Write payloads at their places.
    Emit { items: Vec<emit::EmitItem> },
    /// Rebuild tensors.
    Decode { items: Vec<decode::DecodeItem> },
    /// Decode records without a base, to see that they can be.
    Check { items: Vec<(String, DeltaTensor)> },
    /// Compare tensors.
    Diff { items: Vec<diff::DiffItem> },
    /// Copy a file.
    Copy { source: u32, sink: u32 },
    /// Find the scales and predictions of tensors for version 2.
    Fit(v2::fit::Fit),
    /// Encode a block of version 2.
    Pack(v2::pack::Pack),
    /// Rebuild tensors from blocks of version 2, or see that they can be.
    Rebuild(v2::rebuild::Rebuild),
    /// Look at the parts of a version 2 delta without a base.
    Examine(v2::past::Coded),
    /// Write tensors after a version 1 link that comes after a version 2 link.
    Round(v2::rounded::Round),
    /// Hash models that links rebuild.
    Identify(v2::identify::Identify),
    /// Read back what was written and compare its fast hash.
    ReadBack {
        source: u32,
        items: Vec<(ByteRange, String)>,
    },
}

impl Task {
    /// The task as data for the host.
    pub fn spec(&self, label: &str, phase: &str, cost: u64) -> Result<TaskSpec> {
        Ok(TaskSpec {
            label: label.to_owned(),
            phase: phase.to_owned(),
            cost,
            spec: to_wire(self)?,
        })
    }
}

/// A machine for the task `spec` over sources of these sizes.
pub fn start_task(spec: &[u8], sizes: Vec<u64>) -> Result<Machine> {
    let task: Task = from_wire(spec)?;
    Ok(Machine::new(sizes, |io| async move {
        match task {
            Task::HashModel { order } => hashing::hash_model(io, order).await,
            Task::HashFile { source, len } => hashing::hash_file(io, source, len).await,
            Task::HashValues { tensors, links } => hashing::hash_values(io, tensors, links).await,
            Task::Survey { items } => survey::survey(io, items).await,
            Task::Emit { items } => emit::emit(io, items).await,
            Task::Decode { items } => decode::decode_tensors(io, items).await,
            Task::Check { items } => verify::check_records(io, items).await,
            Task::Diff { items } => diff::diff_tensors(io, items).await,
            Task::Copy { source, sink } => decode::copy_file(io, source, sink).await,
            Task::Fit(work) => v2::fit::fit_tensors(io, work).await,
            Task::Pack(pack) => v2::pack::pack(io, pack).await,
            Task::Rebuild(work) => v2::rebuild::rebuild(io, work).await,
            Task::Examine(coded) => v2::rebuild::examine(io, coded).await,
            Task::Round(work) => v2::rounded::round(io, work).await,
            Task::Identify(work) => v2::identify::identify(io, work).await,
            Task::ReadBack { source, items } => decode::read_back(io, source, items).await,
        }
    }))
}

/// Tasks above this many bytes stand alone; smaller items share one, so that a model of many small tensors does not
/// spend its time on handing out work.
pub const BATCH_BYTES: u64 = 4 << 20;

/// Groups items into tasks of at least 4 MiB. `cost` gives an item's bytes, `name` its tensor.
pub fn batch<T>(
    items: Vec<T>,
    phase: &str,
    cost: impl Fn(&T) -> u64,
    name: impl Fn(&T) -> &str,
    task: impl Fn(Vec<T>) -> Task,
) -> Result<Vec<TaskSpec>> {
    let mut specs = Vec::new();
    let mut group = Vec::new();
    let mut sum = 0;
    let mut items = items.into_iter().peekable();
    while let Some(item) = items.next() {
        sum += cost(&item);
        group.push(item);
        if sum >= BATCH_BYTES || items.peek().is_none() {
            let label = name(&group[0]).to_owned();
            specs.push(task(std::mem::take(&mut group)).spec(&label, phase, sum)?);
            sum = 0;
        }
    }
    Ok(specs)
}
