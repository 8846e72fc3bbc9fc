//! A look at the parts of a version 2 delta without its base.

use super::checks::with_others;
use super::coded::{damaged, parse_params, CodedModel, CodedTensor};
use super::cut::examined;
use super::open::OpenV2;
use super::rebuild::Rebuilt;
use crate::error::{Error, Result};
use crate::job::machine::{Io, TaskSpec};
use crate::job::report::{from_wire, to_wire};
use crate::job::task::Task;
use crate::offset::ByteRange;
use crate::strategy::lossless::model::DecodeSet;
use crate::strategy::lossless::wire::unseal;

/// The task that looks at the parts of a delta: see [`examine`].
pub fn examine_task(delta: &OpenV2) -> Result<TaskSpec> {
    let name = delta.index.tensors.first().map_or("", |t| &t.name);
    Task::Examine(examined(delta)?).spec(name, "checking", delta.index_range.offset)
}

/// Runs the task that looks at the parts of a delta without a base: checksums, tables, parameters. Reports a [`Rebuilt`]
/// for each tensor.
pub async fn examine(io: Io, coded: CodedModel) -> Result<Vec<u8>> {
    let mut faults: Vec<Option<Error>> = vec![None; coded.tensors.len()];
    let mut set: Option<(ByteRange, Result<DecodeSet>)> = None;
    for (t, fault) in coded.tensors.iter().zip(&mut faults) {
        if t.set.len == 0 {
            continue;
        }
        if set.as_ref().is_none_or(|(of, _)| *of != t.set) {
            let bytes = io.read_vec(coded.source, t.set.offset, t.set.len as usize).await?;
            set = Some((
                t.set,
                DecodeSet::parse(&bytes).map_err(|e| damaged(e, coded.source, t.set)),
            ));
        }
        let parsed = match set.as_ref().map(|(_, set)| set) {
            Some(Ok(set)) => {
                let bytes = io
                    .read_vec(coded.source, t.params.offset, t.params.len as usize)
                    .await?;
                parse_params(t, set, coded.source, &bytes).err()
            }
            Some(Err(e)) => Some(e.clone()),
            None => None,
        };
        *fault = parsed;
    }
    for b in &coded.blocks {
        let bytes = io.read_vec(coded.source, b.range.offset, b.range.len as usize).await?;
        if let Err(e) = unseal(&bytes) {
            let e = damaged(e, coded.source, b.range);
            b.segments.iter().for_each(|s| {
                faults[s.tensor as usize].get_or_insert_with(|| e.clone());
            });
        }
    }
    let report = |(fault, t): (Option<Error>, &CodedTensor)| Rebuilt {
        fault: fault.map(|e| e.tensor(&t.name).source(coded.source)),
        written: 0,
    };
    to_wire(&faults.into_iter().zip(&coded.tensors).map(report).collect::<Vec<_>>())
}

/// An error that names what is damaged, if the report of [`examine_task`] says that something is.
pub fn examined_well(reports: &[Vec<u8>]) -> Result<()> {
    let mut all = Vec::new();
    for report in reports {
        all.extend(from_wire::<Vec<Rebuilt>>(report)?);
    }
    let faults: Vec<&Error> = all.iter().filter_map(|r| r.fault.as_ref()).collect();
    match faults.split_first() {
        Some((first, others)) => Err(with_others(first, others, all.len())),
        None => Ok(()),
    }
}
