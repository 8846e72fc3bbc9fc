//! What jobs say and write of a chain's result beside its tensors: files that are copied, links, findings.

use super::chain::{Chain, Link, Stage};
use super::open::base_identity;
use crate::error::Result;
use crate::job::chain::{self as v1, Order};
use crate::job::machine::{Io, OutputFile, SourceEntry, TaskSpec};
use crate::job::report::{hex, Finding, Severity};
use crate::job::task::Task;

/// Adds files of the base's folder to the outputs, but for those that the result has itself.
pub fn copy_side_files(
    io: &Io,
    sources: &[SourceEntry],
    side_files: &[u32],
    outputs: &mut Vec<OutputFile>,
    tasks: &mut Vec<TaskSpec>,
) -> Result<()> {
    for &source in side_files {
        let (path, size) = (sources[source as usize].path.clone(), io.size(source));
        if outputs.iter().all(|o| o.path != path) {
            let sink = outputs.len() as u32;
            tasks.push(Task::Copy { source, sink }.spec(&path, "copying", 2 * size)?);
            outputs.push(OutputFile { path, size });
        }
    }
    Ok(())
}

/// The links for a report. Those of version 2 are held against digests in any case.
pub fn links(chain: &Chain, orders: &[Order], verified: bool) -> Vec<v1::Link> {
    let link = |(index, stage): (usize, &Stage)| v1::Link {
        index,
        expected: expected(&stage.link),
        order: orders.get(index).copied().unwrap_or(Order::Sorted),
        verified: verified || matches!(*stage.link, Link::V2(_)),
    };
    chain.stages.iter().enumerate().map(link).collect()
}

/// What a delta says that it was made against.
pub fn expected(link: &Link) -> String {
    match link {
        Link::V1(delta) => delta.header.parent_hash.clone(),
        Link::V2(delta) => hex(&base_identity(&delta.index)),
    }
}

/// A note of the tensors of the base that the first link does without.
pub fn extra_tensors(chain: &Chain) -> Vec<Finding> {
    let used = match chain.stages.first().map(|s| &*s.link) {
        Some(Link::V2(delta)) => delta.index.tensors.iter().filter(|t| t.base.is_some()).count(),
        Some(Link::V1(delta)) => delta.tensors.len(),
        None => return Vec::new(),
    };
    match chain.base.tensors.len().saturating_sub(used) {
        0 => Vec::new(),
        n => vec![Finding::new(
            Severity::Note,
            "extra-tensors",
            format!("{n} tensors of the base are not needed by the delta"),
        )],
    }
}
