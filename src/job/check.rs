//! Deltas of version 1 without a base: whether their records decode, and to what.

use super::delta_stream::DeltaStream;
use super::machine::{Io, TaskSpec};
use super::open::OpenDelta;
use super::placed::DeltaTensor;
use super::report::{found, to_found, Finding, Severity};
use super::task::{grouped, Task};
use crate::error::Result;
use crate::job::wire::wire;
use crate::limits::BLOCK_ELEMENTS;

/// What decoding one tensor's records showed.
#[derive(Debug)]
struct Checked {
    non_finite: u64,
}
wire!(Checked { non_finite });

/// Runs the check task: decodes records into nothing.
pub async fn check_records(io: Io, items: Vec<(String, DeltaTensor)>) -> Result<Vec<u8>> {
    to_found(check(&io, &items).await)
}

async fn check(io: &Io, items: &[(String, DeltaTensor)]) -> Result<Vec<Checked>> {
    let mut checked = Vec::with_capacity(items.len());
    let mut block = vec![0.0f32; BLOCK_ELEMENTS];
    for (name, delta) in items {
        let mut stream = DeltaStream::open(io, name, delta).await?;
        let mut non_finite = 0;
        let mut left = delta.elements;
        while left > 0 {
            let n = left.min(block.len() as u64) as usize;
            stream.expand(io, &mut block[..n]).await?;
            non_finite += block[..n].iter().filter(|v| !v.is_finite()).count() as u64;
            left -= n as u64;
        }
        checked.push(Checked { non_finite });
    }
    Ok(checked)
}

/// The tasks that decode a delta's records into nothing.
pub fn check_tasks(delta: &OpenDelta) -> Result<Vec<TaskSpec>> {
    let names = delta.header.tensors.iter().map(|t| t.name.clone());
    grouped(
        names.zip(delta.tensors.iter().cloned()).collect(),
        "checking",
        |(_, d): &(String, DeltaTensor)| d.bytes(),
        |(n, _)| n,
        |items| Ok(Task::Check { items }),
    )
}

/// What the reports of [`check_tasks`] give notice of; damage is an error.
pub fn check_findings(delta: &OpenDelta, reports: &[Vec<u8>]) -> Result<Vec<Finding>> {
    let mut checked: Vec<Checked> = Vec::with_capacity(delta.tensors.len());
    for report in reports {
        checked.extend(found::<Vec<Checked>>(report)?);
    }
    let findings = delta.header.tensors.iter().zip(&checked);
    Ok(findings
        .filter(|(_, c)| c.non_finite > 0)
        .map(|(t, c)| {
            let text = format!("{} values of the decoded delta are NaN or infinite", c.non_finite);
            Finding::new(Severity::Warning, "non-finite", text).tensor(&t.name)
        })
        .collect())
}
