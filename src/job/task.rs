//! The tasks that workers run, as plain data. [`super::start_task`] begins one.

use super::decode::tasks::DecodeItem;
use super::diff::compare::DiffItem;
#[cfg(feature = "encode")]
use super::encode::emit::EmitItem;
#[cfg(feature = "encode")]
use super::encode::survey::SurveyItem;
use super::machine::TaskSpec;
use super::placed::{DeltaTensor, TensorRange};
use super::report::to_wire;
use super::v2;
use super::v2::past::Past;
use super::values::Origin;
use super::wire::wire_enum;
use crate::error::Result;
use crate::offset::ByteRange;

/// Everything that a worker can be asked to do.
#[derive(Debug)]
#[allow(missing_docs)] // each variant says what its fields are
pub enum Task {
    /// SHA-256 over names and stored bytes.
    HashModel { order: Vec<(String, TensorRange)> },
    /// SHA-256 over the start of a file.
    HashFile { source: u32, len: u64 },
    /// SHA-256 over names and float32 values after each of these numbers of links.
    HashValues { tensors: Vec<Origin>, links: Vec<usize> },
    /// Look at deltas before their layout is decided.
    #[cfg(feature = "encode")]
    Survey { items: Vec<SurveyItem>, past: Past },
    /// Write payloads at their places.
    #[cfg(feature = "encode")]
    Emit { items: Vec<EmitItem>, past: Past },
    /// Rebuild tensors.
    Decode { items: Vec<DecodeItem> },
    /// Decode records without a base, to see that they can be.
    Check { items: Vec<(String, DeltaTensor)> },
    /// Compare tensors; with the models up to either side, where that is a delta of version 2.
    Diff { items: Vec<DiffItem>, pasts: Vec<Past> },
    /// Copy a file.
    Copy { source: u32, sink: u32 },
    /// Find the scales and predictions of tensors for version 2.
    #[cfg(feature = "encode")]
    Fit(v2::encode::fitted::Fit),
    /// Encode a block of version 2.
    #[cfg(feature = "encode")]
    Pack(v2::encode::pack::Pack),
    /// Rebuild tensors from blocks of version 2, or see that they can be.
    Rebuild(v2::rebuild::Rebuild),
    /// Look at the parts of a version 2 delta without a base.
    Examine(v2::coded::CodedModel),
    /// Write tensors after a version 1 link that comes after a version 2 link.
    Round(v2::round::Round),
    /// Hash models that links rebuild.
    Identify(v2::identify::Identify),
    /// Read back what was written and compare its fast hash.
    ReadBack { source: u32, items: Vec<(ByteRange, u64)> },
}

wire_enum!(Task {
    0: HashModel { order: order },
    1: HashFile {
        source: source,
        len: len
    },
    2: HashValues {
        tensors: tensors,
        links: links
    },
    #[cfg(feature = "encode")]
    3: Survey {
        items: items,
        past: past
    },
    #[cfg(feature = "encode")]
    4: Emit {
        items: items,
        past: past
    },
    5: Decode { items: items },
    6: Check { items: items },
    7: Diff {
        items: items,
        pasts: pasts
    },
    8: Copy {
        source: source,
        sink: sink
    },
    #[cfg(feature = "encode")]
    9: Fit { 0: work },
    #[cfg(feature = "encode")]
    10: Pack { 0: pack },
    11: Rebuild { 0: work },
    12: Examine { 0: coded },
    13: Round { 0: work },
    14: Identify { 0: work },
    15: ReadBack {
        source: source,
        items: items
    },
});

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

/// Tasks above this many bytes stand alone; smaller items share one, so that a model of many small tensors does not
/// spend its time on handing out work.
const GROUP_BYTES: u64 = 4 << 20;

/// Groups items into tasks of at least 4 MiB. `cost` gives an item's bytes, or what its work is worth in bytes; `name` its tensor.
pub fn grouped<T>(
    items: Vec<T>,
    phase: &str,
    cost: impl Fn(&T) -> u64,
    name: impl Fn(&T) -> &str,
    task: impl Fn(Vec<T>) -> Result<Task>,
) -> Result<Vec<TaskSpec>> {
    let mut specs = Vec::new();
    let mut group = Vec::new();
    let mut sum = 0;
    let mut items = items.into_iter().peekable();
    while let Some(item) = items.next() {
        sum += cost(&item);
        group.push(item);
        if sum >= GROUP_BYTES || items.peek().is_none() {
            let label = name(&group[0]).to_owned();
            specs.push(task(std::mem::take(&mut group))?.spec(&label, phase, sum)?);
            sum = 0;
        }
    }
    Ok(specs)
}
