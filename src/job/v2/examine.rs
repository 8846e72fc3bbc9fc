//! A look at the parts of a version 2 delta without its base.

use super::checks::with_others;
use super::cut::examined;
use super::open::OpenV2;
use super::rebuild::Rebuilt;
use crate::error::{Error, Result};
use crate::job::machine::TaskSpec;
use crate::job::report::from_wire;
use crate::job::task::Task;

/// The task that looks at them.
pub fn examine_task(delta: &OpenV2) -> Result<TaskSpec> {
    let name = delta.index.tensors.first().map_or("", |t| &t.name);
    Task::Examine(examined(delta)?).spec(name, "checking", delta.index_range.offset)
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
