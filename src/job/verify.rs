//! `verify`: checksums, records that decode, and, with a base, every link.

use super::chain::{self, ChainCheck};
use super::inspect::LossReport;
use super::machine::{Io, Role, SourceEntry, TaskSpec};
use super::open::{delta_sources, groups_of, open_base, OpenDelta};
use super::options::NoOptions;
use super::placed::DeltaTensor;
use super::plan::Plan;
use super::report::{found, to_found, to_json, Finding, Severity};
use super::task::{batch, Task};
use super::v2::open::any_v2;
use super::values::DeltaStream;
use crate::error::{Code, Error, Result};
use crate::job::wire::wire;
use crate::limits::BLOCK_ELEMENTS;
use serde::Serialize;

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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) ok: bool,
    pub(super) version: u32,
    pub(super) deltas: Vec<DeltaReport>,
    pub(super) findings: Vec<Finding>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeltaReport {
    pub(super) index: usize,
    pub(super) bytes: u64,
    pub(super) checksum: &'static str,
    pub(super) tensors: usize,
    pub(super) base_hash: String,
    pub(super) base: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lossless: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) loss: Option<LossReport>,
}

/// Sources and names of the tensors that tasks report on.
type Reported = Vec<(u32, String)>;

/// The tasks that decode a delta's records into nothing, and the tensors that they report on.
pub fn check_tasks(delta: &OpenDelta) -> Result<(Vec<TaskSpec>, Reported)> {
    let names = || delta.header.tensors.iter().map(|t| t.name.clone());
    let tasks = batch(
        names().zip(delta.tensors.iter().cloned()).collect(),
        "checking",
        |(_, d): &(String, DeltaTensor)| d.bytes(),
        |(n, _)| n,
        |items| Task::Check { items },
    )?;
    Ok((tasks, names().map(|n| (delta.source, n)).collect()))
}

/// What the reports of [`check_tasks`] give notice of; damage is an error.
pub fn check_findings(names: &[(u32, String)], reports: &[Vec<u8>]) -> Result<Vec<Finding>> {
    let mut checked: Vec<Checked> = Vec::with_capacity(names.len());
    for report in reports {
        checked.extend(found::<Vec<Checked>>(report)?);
    }
    let findings = names.iter().zip(&checked).filter(|(_, c)| c.non_finite > 0);
    Ok(findings
        .map(|((_, name), c)| {
            Finding::new(
                Severity::Warning,
                "non-finite",
                format!("{} values of the decoded delta are NaN or infinite", c.non_finite),
            )
            .tensor(name)
        })
        .collect())
}

/// Runs the job. Whatever does not hold is an error that names the file, the tensor or the link.
pub async fn verify(io: Io, sources: Vec<SourceEntry>, _: NoOptions) -> Result<String> {
    let delta_sources = delta_sources(&sources);
    if delta_sources.is_empty() {
        return Err(Error::new(
            Code::Usage,
            "no delta was given; name at least one .wdelta file",
        ));
    }
    if any_v2(&io, &sources, groups_of(&sources, Role::Delta)).await? {
        return Box::pin(super::v2::verify::verify(io, sources)).await;
    }
    let base = open_base(&io, &sources).await?;
    let model = base.as_ref();
    let deltas = chain::open_chain(&io, &delta_sources, model, chain::Care::Walked).await?;
    if let Some(model) = model {
        chain::check_fit_or_damage(&io, model, &deltas).await?;
    }
    let files: Vec<_> = deltas.iter().map(OpenDelta::file).collect();
    let mut check = model.map(|m| ChainCheck::new(m, &deltas)).transpose()?;
    let mut tasks = match &mut check {
        Some(check) => check.take_tasks(),
        None => files.iter().map(|&f| chain::checksum_task(f)).collect::<Result<_>>()?,
    };
    let n_checks = tasks.len();
    let elements = deltas.iter().map(OpenDelta::elements).sum();
    let mut names = Vec::new();
    for delta in &deltas {
        let (own, of_delta) = check_tasks(delta)?;
        tasks.extend(own);
        names.extend(of_delta);
    }
    let reads = tasks.iter().map(|t| t.cost).sum();
    io.plan(Plan::reading("verify", reads, names.len(), elements).json()?)
        .await;
    let reports = io.run(tasks).await?;
    match &check {
        Some(check) => {
            check.finish(&io, &reports[..n_checks], &deltas).await?;
        }
        None => chain::judge_checksums(&io, &files, &reports).await?,
    }
    let findings = check_findings(&names, &reports[n_checks..])?;
    to_json(&Report {
        ok: true,
        version: 1,
        deltas: deltas
            .iter()
            .enumerate()
            .map(|(index, d)| DeltaReport {
                index,
                bytes: d.size,
                checksum: "ok",
                tensors: d.tensors.len(),
                base_hash: d.header.parent_hash.clone(),
                base: if model.is_some() { "verified" } else { "not checked" },
                lossless: None,
                loss: None,
            })
            .collect(),
        findings,
    })
}
