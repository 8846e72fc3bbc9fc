//! `verify` of deltas of which one is of version 2.

use super::chain::{open_link, Chain, Link};
use super::checks::{with_others, Checks, RebuildTasks};
use super::cut::examined;
use super::decode::{elements, expected, extra_tensors};
use super::files::files;
use super::inspect::{is_lossless, total};
use super::rebuild::Rebuilt;
use crate::error::{Error, Result};
use crate::job::chain::{checksum_task, judge_checksums, Care};
use crate::job::machine::{Io, SourceEntry};
use crate::job::open::delta_sources;
use crate::job::open::open_base;
use crate::job::plan::Plan;
use crate::job::report::{from_wire, to_json};
use crate::job::task::Task;
use crate::job::verify::{check_findings, check_tasks, DeltaReport, Report};

/// What one link adds to the tasks.
struct Part {
    /// Number of the link.
    number: usize,
    /// How many tasks.
    tasks: usize,
    /// The tensors of a version 1 link.
    names: Vec<(u32, String)>,
}

/// Runs `verify`.
pub async fn verify(io: Io, sources: Vec<SourceEntry>) -> Result<String> {
    let deltas = delta_sources(&sources);
    let chain = match open_base(&io, &sources).await? {
        None => None,
        Some(base) => Some(Chain::open(&io, base, &deltas, Care::Walked).await?),
    };
    let mut opened = Vec::new();
    if chain.is_none() {
        for &source in &deltas {
            opened.push(open_link(&io, source, None, Care::Walked).await?);
        }
    }
    let links: Vec<&Link> = match &chain {
        Some(chain) => chain.stages.iter().map(|s| &*s.link).collect(),
        None => opened.iter().map(|l| &**l).collect(),
    };
    for link in &links {
        if let Link::V2(delta) = link {
            files(delta)?;
        }
    }
    let mut checks = Checks::default();
    let mut tasks = match &chain {
        Some(chain) => checks.tasks(chain)?,
        None => links.iter().map(|l| checksum_task(l.file())).collect::<Result<_>>()?,
    };
    let n_checks = tasks.len();
    let mut rebuild = match (&chain, links.last()) {
        (Some(chain), Some(Link::V2(delta))) => Some(RebuildTasks::new(
            chain,
            links.len(),
            &vec![None; delta.index.tensors.len()],
            false,
        )?),
        _ => None,
    };
    let rebuilding = rebuild.as_mut().map_or(Vec::new(), RebuildTasks::take);
    let n_rebuild = rebuilding.len();
    tasks.extend(rebuilding);
    // The last link of version 2 is rebuilt, which shows all that a look at its parts would.
    let looked_at = links.len() - rebuild.is_some() as usize;
    let mut parts = Vec::with_capacity(looked_at);
    for (number, link) in links[..looked_at].iter().enumerate() {
        let (own, names) = match link {
            Link::V1(delta) => check_tasks(delta)?,
            Link::V2(delta) => {
                let name = delta.index.tensors.first().map_or("", |t| &t.name);
                let task = Task::Examine(examined(delta)?).spec(name, "checking", delta.index_range.offset)?;
                (vec![task], Vec::new())
            }
        };
        parts.push(Part {
            number,
            tasks: own.len(),
            names,
        });
        tasks.extend(own);
    }
    let size = |link: &&Link| match link {
        Link::V1(delta) => (delta.tensors.len(), delta.elements()),
        Link::V2(delta) => (delta.index.tensors.len(), elements(delta)),
    };
    let sizes: Vec<_> = links.iter().map(size).collect();
    let reads = tasks.iter().map(|t| t.cost).sum();
    io.plan(
        Plan::reading(
            "verify",
            reads,
            sizes.iter().map(|s| s.0).sum(),
            sizes.iter().fold(0, |n, s| n.saturating_add(s.1)),
        )
        .json()?,
    )
    .await;
    let reports = io.run(tasks).await?;
    let checked = match &chain {
        Some(chain) => checks.judge(&io, chain, &reports[..n_checks]).await.map(drop),
        None => {
            let files: Vec<_> = links.iter().map(|l| l.file()).collect();
            judge_checksums(&io, &files, &reports).await
        }
    };
    let mut rest = &reports[n_checks..];
    if let Some(rebuild) = &rebuild {
        rebuild.judge(&io, &rest[..n_rebuild], checked.as_ref().err()).await?;
    }
    rest = &rest[n_rebuild..];
    let mut findings = chain.as_ref().map_or(Vec::new(), extra_tensors);
    for part in parts {
        let (own, others) = rest.split_at(part.tasks);
        rest = others;
        match links[part.number] {
            Link::V1(_) if checked.is_ok() => findings.extend(check_findings(&part.names, own)?),
            Link::V1(_) => {}
            Link::V2(_) => examined_well(own)?,
        }
    }
    checked?;
    let newest = links.iter().any(|l| matches!(l, Link::V2(_)));
    let report = |(index, link): (usize, &&Link)| DeltaReport {
        index,
        bytes: link.file().1,
        checksum: "ok",
        tensors: sizes[index].0,
        base_hash: expected(link),
        base: if chain.is_some() { "verified" } else { "not checked" },
        lossless: match link {
            Link::V1(_) => None,
            Link::V2(delta) => Some(is_lossless(&delta.index)),
        },
        loss: match link {
            Link::V1(_) => None,
            Link::V2(delta) => total(&delta.index),
        },
    };
    to_json(&Report {
        ok: true,
        version: if newest { 2 } else { 1 },
        deltas: links.iter().enumerate().map(report).collect(),
        findings,
    })
}

/// An error that names what is damaged, if something is.
fn examined_well(reports: &[Vec<u8>]) -> Result<()> {
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
