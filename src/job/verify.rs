//! `verify`: checksums, parts that decode, and, with a base, every link.

use super::batch::{Batch, Slots};
use super::chain::{self, checksum_task, judge_checksums, Care, ChainCheck};
use super::check::{check_findings, check_tasks};
use super::inspect::report::LossReport;
use super::machine::{Io, Role, SourceEntry, TaskSpec};
use super::open::{delta_sources, groups_of, open_base, OpenDelta};
use super::options::NoOptions;
use super::plan::Plan;
use super::report::{to_json, Finding};
use super::v2::chain::{of_v1, open_links, Chain, Link};
use super::v2::checks::{Checks, RebuildTasks};
use super::v2::examine::{examine_task, examined_well};
use super::v2::files::files;
use super::v2::inspect::{is_lossless, total};
use super::v2::open::any_v2;
use super::v2::result::{expected, extra_tensors};
use crate::error::{Code, Error, Result};
use crate::format::model::Model;
use serde::Serialize;
use std::rc::Rc;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    ok: bool,
    version: u32,
    deltas: Vec<DeltaReport>,
    findings: Vec<Finding>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeltaReport {
    index: usize,
    bytes: u64,
    checksum: &'static str,
    tensors: usize,
    base_hash: String,
    base: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    lossless: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    loss: Option<LossReport>,
}

impl DeltaReport {
    fn new(index: usize, link: &Link, with_base: bool) -> Self {
        let (lossless, loss) = match link {
            Link::V1(_) => (None, None),
            Link::V2(delta) => (Some(is_lossless(&delta.index)), total(&delta.index)),
        };
        Self {
            index,
            bytes: link.file().1,
            checksum: "ok",
            tensors: link.size().0,
            base_hash: expected(link),
            base: if with_base { "verified" } else { "not checked" },
            lossless,
            loss,
        }
    }
}

/// What the deltas are held against.
enum Against {
    Nothing,
    /// A base, with links of version 1 alone.
    V1(Model),
    /// A base, with links of which one is of version 2.
    V2(Chain),
}

/// Opens the base and the deltas. With a base each must fit what comes before it.
async fn open(io: &Io, sources: &[SourceEntry], deltas: &[u32]) -> Result<(Against, Vec<Rc<Link>>)> {
    let any_v2 = any_v2(io, sources, groups_of(sources, Role::Delta)).await?;
    let base = match open_base(io, sources).await? {
        Some(base) if any_v2 => {
            let chain = Chain::open(io, base, deltas, Care::Walked).await?;
            let links = chain.stages.iter().map(|s| s.link.clone()).collect();
            return Ok((Against::V2(chain), links));
        }
        base => base,
    };
    let links = open_links(io, deltas, base.as_ref(), Care::Walked, any_v2).await?;
    Ok(match base {
        None => (Against::Nothing, links),
        Some(base) => {
            chain::check_fit_or_damage(io, &base, &of_v1(&links)).await?;
            (Against::V1(base), links)
        }
    })
}

/// The checks of whole files and of what each link was made against.
enum Check<'a> {
    Files(Vec<(u32, u64)>),
    V1(ChainCheck<'a>),
    V2(&'a Chain, Checks),
}

impl<'a> Check<'a> {
    fn new(against: &'a Against, links: &[Rc<Link>], deltas: &'a [&'a OpenDelta]) -> Result<Self> {
        Ok(match against {
            Against::Nothing => Self::Files(links.iter().map(|l| l.file()).collect()),
            Against::V1(base) => Self::V1(ChainCheck::new(base, deltas)?),
            Against::V2(chain) => Self::V2(chain, Checks::default()),
        })
    }

    fn tasks(&mut self) -> Result<Vec<TaskSpec>> {
        match self {
            Self::Files(files) => files.iter().map(|&f| checksum_task(f)).collect(),
            Self::V1(check) => Ok(check.take_tasks()),
            Self::V2(chain, checks) => checks.tasks(chain),
        }
    }

    async fn judge(&self, io: &Io, reports: &[Vec<u8>]) -> Result<()> {
        match self {
            Self::Files(files) => judge_checksums(io, files, reports).await,
            Self::V1(check) => check.finish(io, reports).await.map(drop),
            Self::V2(chain, checks) => checks.judge(io, chain, reports).await.map(drop),
        }
    }
}

/// The links whose parts are looked at one by one.
struct Parts<'a> {
    links: &'a [Rc<Link>],
    /// Where the reports of each are.
    slots: Vec<Slots>,
}

impl<'a> Parts<'a> {
    /// Adds the tasks that look at them.
    fn new(links: &'a [Rc<Link>], batch: &mut Batch) -> Result<Self> {
        let mut slots = Vec::with_capacity(links.len());
        for link in links {
            slots.push(batch.add(match &**link {
                Link::V1(delta) => check_tasks(delta)?,
                Link::V2(delta) => vec![examine_task(delta)?],
            }));
        }
        Ok(Self { links, slots })
    }

    /// What was noticed of them, or their damage. `sound`: checksums and bases are as they should be; else what version 1
    /// records show only follows from that.
    fn judge(&self, reports: &[Vec<u8>], sound: bool) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for (link, slots) in self.links.iter().zip(&self.slots) {
            let own = slots.of(reports);
            match &**link {
                Link::V1(delta) if sound => findings.extend(check_findings(delta, own)?),
                Link::V1(_) => {}
                Link::V2(_) => examined_well(own)?,
            }
        }
        Ok(findings)
    }
}

/// What is known before anything is read but headers.
fn plan(links: &[Rc<Link>], reads: u64) -> Plan {
    let (mut tensors, mut elements) = (0, 0u64);
    for (of_link, in_link) in links.iter().map(|l| l.size()) {
        tensors += of_link;
        elements = elements.saturating_add(in_link);
    }
    Plan::reading("verify", reads, tensors, elements)
}

/// Runs the job. Whatever does not hold is an error that names the file, the tensor or the link.
pub async fn verify(io: Io, sources: Vec<SourceEntry>, _: NoOptions) -> Result<String> {
    let deltas = delta_sources(&sources);
    if deltas.is_empty() {
        return Err(Error::new(
            Code::Usage,
            "no delta was given; name at least one .wdelta file",
        ));
    }
    let (against, links) = open(&io, &sources, &deltas).await?;
    for link in &links {
        if let Link::V2(delta) = &**link {
            files(delta)?;
        }
    }
    let deltas = of_v1(&links);
    let mut check = Check::new(&against, &links, &deltas)?;
    let mut batch = Batch::default();
    let of_checks = batch.add(check.tasks()?);
    // The last link of version 2 is rebuilt, which shows all that a look at its parts would.
    let mut rebuild = match &against {
        Against::V2(chain) => RebuildTasks::of_last(chain)?,
        _ => None,
    };
    let of_rebuild = batch.add(rebuild.as_mut().map_or(Vec::new(), RebuildTasks::take));
    let parts = Parts::new(&links[..links.len() - rebuild.is_some() as usize], &mut batch)?;
    plan(&links, batch.cost()).announce(&io).await?;
    let reports = io.run(batch.tasks()).await?;
    let checked = check.judge(&io, of_checks.of(&reports)).await;
    if let Some(rebuild) = &rebuild {
        rebuild
            .judge(&io, of_rebuild.of(&reports), checked.as_ref().err())
            .await?;
    }
    let mut findings = match &against {
        Against::V2(chain) => extra_tensors(chain),
        _ => Vec::new(),
    };
    findings.extend(parts.judge(&reports, checked.is_ok())?);
    checked?;
    let with_base = !matches!(against, Against::Nothing);
    let report = |(index, link): (usize, &Rc<Link>)| DeltaReport::new(index, link, with_base);
    to_json(&Report {
        ok: true,
        version: if deltas.len() < links.len() { 2 } else { 1 },
        deltas: links.iter().enumerate().map(report).collect(),
        findings,
    })
}
