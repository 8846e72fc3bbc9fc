//! `decode` of chains whose last link is of version 2.

use super::chain::{bytes_of, files, Chain, Link};
use super::identify::{judge_parent, parent_tasks};
use super::open::{base_identity, OpenV2};
use super::rebuild::{Output, Rebuild, Rebuilt};
use crate::error::{Code, Error, Result};
use crate::format::v2::Op;
use crate::job::chain::{self as v1, short, Care, Order};
use crate::job::decode::{OutputDtypeName, Report};
use crate::job::hashing;
use crate::job::machine::{Io, OutputFile, Role, SourceEntry, TaskSpec};
use crate::job::open::{groups_of, open_model, sources_of};
use crate::job::options::{DecodeOptions, OutputDtype, OutputLayout};
use crate::job::plan::Plan;
use crate::job::report::{from_wire, hex, list_names, to_json, Finding, Severity};
use crate::job::task::Task;
use crate::offset::ByteRange;

/// Bytes that a task handles at least, if there are as many.
const TASK_BYTES: u64 = 8 << 20;

/// Where a tensor's bytes are in the result.
#[derive(Clone, Copy)]
pub struct Place {
    sink: u32,
    offset: u64,
}

/// Runs `decode`.
pub async fn decode(io: Io, sources: Vec<SourceEntry>, options: DecodeOptions) -> Result<String> {
    let opened = open_model(&io, &sources, Role::Base, 0).await?;
    let deltas = delta_sources(&sources);
    let chain = Chain::open(&io, opened.model, &deltas, Care::Checked).await?;
    let n = chain.stages.len();
    let Some(Link::V2(delta)) = chain.stages.last().map(|s| &*s.link) else {
        return super::rounded::decode(io, &sources, options, &chain, &opened.side_files).await;
    };
    let files = files(delta)?;
    let several = files.iter().filter(|(f, ..)| f.tensors > 0).count() > 1;
    if options.dtype == OutputDtype::Float32 || (options.layout == OutputLayout::Single && several) {
        return Err(Error::new(
            Code::Usage,
            "a version 2 delta rebuilds the fine-tune's own files; leave dtype and layout out",
        ));
    }
    let mut outputs = Vec::new();
    let mut heads = Vec::new();
    let mut places = Vec::with_capacity(delta.index.tensors.len());
    for ((file, head, own), sink) in files.into_iter().zip(0..) {
        let mut at = head.len() as u64;
        for t in &delta.index.tensors[own] {
            places.push(Some(Place { sink, offset: at }));
            at = ByteRange::new(at, bytes_of(t))?.end();
        }
        outputs.push(OutputFile {
            path: file.path.clone(),
            size: at,
        });
        heads.push(head);
    }
    let n_files = heads.len();
    let mut rebuild = RebuildTasks::new(&chain, n, &places)?;
    let mut tasks = rebuild.take();
    let n_rebuild = tasks.len();
    let side_files: &[u32] = if options.side_files { &opened.side_files } else { &[] };
    for &source in side_files {
        let (path, size) = (sources[source as usize].path.clone(), io.size(source));
        if outputs.iter().all(|o| o.path != path) {
            let sink = outputs.len() as u32;
            tasks.push(Task::Copy { source, sink }.spec(&path, "copying", 2 * size)?);
            outputs.push(OutputFile { path, size });
        }
    }
    let mut checks = Checks::default();
    let first_check = tasks.len();
    if options.verify {
        tasks.extend(checks.tasks(&chain)?);
    }
    let bytes: u64 = outputs.iter().map(|o| o.size).sum();
    let work: u64 = tasks.iter().map(|t| t.cost).sum();
    io.plan(
        Plan {
            job: "decode",
            bytes,
            exact: true,
            outputs: outputs.clone(),
            problems: Vec::new(),
            reads: work.saturating_sub(bytes) + if options.read_back { bytes } else { 0 },
            writes: bytes,
            tensors: places.len(),
            elements: elements(delta),
        }
        .json()?,
    )
    .await;
    io.create(outputs.clone()).await;
    for (mut head, sink) in heads.into_iter().zip(0..) {
        io.write(&mut [(sink, 0, &mut head)]).await;
    }
    let reports = io.run(tasks).await?;
    let orders = checks.judge(&io, &chain, &reports[first_check..]).await;
    let rebuilt = rebuild.judge(&io, &reports[..n_rebuild], orders.as_ref().err()).await?;
    let orders = orders?;
    if options.read_back {
        let mut by_sink = vec![Vec::new(); n_files];
        for ((place, t), rebuilt) in places.iter().flatten().zip(&delta.index.tensors).zip(&rebuilt) {
            let range = ByteRange::new(place.offset, bytes_of(t))?;
            by_sink[place.sink as usize].push((range, format!("{:016x}", rebuilt.written)));
        }
        let mut tasks = Vec::new();
        for (items, source) in by_sink.into_iter().zip(sources.len() as u32..) {
            let cost = items.iter().map(|(r, _)| r.len).sum();
            tasks.push(Task::ReadBack { source, items }.spec("result", "checking", cost)?);
        }
        io.run(tasks).await?;
    }
    to_json(&Report {
        job: "decode",
        bytes,
        dtype: OutputDtypeName::Base,
        files: outputs,
        tensors: places.len(),
        links: links(&chain, &orders, options.verify),
        findings: extra_tensors(&chain),
    })
}

/// The sources of all deltas, in order.
pub fn delta_sources(sources: &[SourceEntry]) -> Vec<u32> {
    (0..groups_of(sources, Role::Delta))
        .flat_map(|g| sources_of(sources, Role::Delta, g))
        .collect()
}

/// The links for a report. Those of version 2 are held against digests in any case.
pub fn links(chain: &Chain, orders: &[Order], verified: bool) -> Vec<v1::Link> {
    let link = |(index, stage): (usize, &super::chain::Stage)| v1::Link {
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

/// Number of words of all tensors.
pub fn elements(delta: &OpenV2) -> u64 {
    delta.placed.geometry.iter().fold(0, |n, g| n.saturating_add(g.words))
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

/// The checks that read whole files: the checksum of every delta, and the hash of the model before each version 1 link.
#[derive(Default)]
pub struct Checks {
    /// How many tasks hash the model before each link.
    parents: Vec<usize>,
}

impl Checks {
    /// The tasks.
    pub fn tasks(&mut self, chain: &Chain) -> Result<Vec<TaskSpec>> {
        let mut tasks = Vec::new();
        for stage in &chain.stages {
            tasks.push(hashing::file_task(
                "delta",
                stage.link.source(),
                stage.link.size() - 32,
            )?);
        }
        for number in 0..chain.stages.len() {
            let parents = parent_tasks(chain, number)?;
            self.parents.push(parents.len());
            tasks.extend(parents);
        }
        Ok(tasks)
    }

    /// Judges the reports; gives the order in which the model before each link was hashed. Nothing, if there were no tasks.
    pub async fn judge(&self, io: &Io, chain: &Chain, reports: &[Vec<u8>]) -> Result<Vec<Order>> {
        let (of_files, mut of_parents) = reports.split_at(self.parents.len().min(reports.len()));
        let links: Vec<&Link> = chain.stages.iter().map(|s| &*s.link).collect();
        judge_checksums(io, &links, of_files).await?;
        let mut orders = Vec::with_capacity(self.parents.len());
        for (number, &n) in self.parents.iter().enumerate() {
            let (own, rest) = of_parents.split_at(n);
            of_parents = rest;
            match judge_parent(chain, number, own) {
                Ok(order) => orders.push(order),
                Err(e) => return Err(blame_base(io, chain, e).await?),
            }
        }
        Ok(orders)
    }
}

/// Compares the hashes of files in `reports` with the checksums at their ends.
pub async fn judge_checksums(io: &Io, links: &[&Link], reports: &[Vec<u8>]) -> Result<()> {
    for (link, report) in links.iter().zip(reports) {
        let (source, end) = (link.source(), link.size() - 32);
        let found: String = from_wire(report)?;
        if hex(&io.read_vec(source, end, 32).await?) != found {
            let text = format!(
                "the file is damaged: its bytes give {}, not its checksum; get the delta again",
                short(&found)
            );
            return Err(Error::new(Code::Checksum, text).at(end).source(source));
        }
    }
    Ok(())
}

/// The tasks that rebuild all tensors after a version 2 link, and how to read their reports.
pub struct RebuildTasks<'a> {
    chain: &'a Chain,
    n: usize,
    tasks: Vec<TaskSpec>,
    /// For each output of the tasks, the tensor of the index.
    tensors: Vec<usize>,
}

impl<'a> RebuildTasks<'a> {
    /// Tasks for the model after `n` links, over runs of tensors that no block crosses.
    pub fn new(chain: &'a Chain, n: usize, places: &[Option<Place>]) -> Result<Self> {
        let mut all = Self {
            chain,
            n,
            tasks: Vec::new(),
            tensors: Vec::new(),
        };
        let Link::V2(delta) = &*chain.stages[n - 1].link else {
            return Err(Error::new(Code::Internal, "a version 1 link has no blocks"));
        };
        let mut copies: Vec<Vec<usize>> = vec![Vec::new(); delta.index.tensors.len()];
        for (i, t) in delta.index.tensors.iter().enumerate() {
            if t.op == Op::Tied {
                copies[delta.origin(i)].push(i);
            }
        }
        let mut run: Vec<usize> = Vec::new();
        let (mut cost, mut joined) = (0, 0);
        for (i, t) in delta.index.tensors.iter().enumerate() {
            if t.op == Op::Tied {
                continue;
            }
            if cost >= TASK_BYTES && i > joined {
                all.push(delta, std::mem::take(&mut run), &copies, places, cost)?;
                cost = 0;
            }
            let span = &delta.placed.spans[i];
            let last = span.clone().last().and_then(|b| delta.placed.blocks[b].segments.last());
            joined = last.map_or(joined, |s| s.tensor);
            let own = copies[i].iter().chain([&i]).filter(|&&c| places[c].is_some()).count() as u64;
            cost += chain.cost(n, &t.name) + own * bytes_of(t);
            run.push(i);
        }
        if !run.is_empty() {
            all.push(delta, run, &copies, places, cost)?;
        }
        Ok(all)
    }

    fn push(
        &mut self,
        delta: &OpenV2,
        run: Vec<usize>,
        copies: &[Vec<usize>],
        places: &[Option<Place>],
        cost: u64,
    ) -> Result<()> {
        let names: Vec<&str> = run.iter().map(|&t| delta.index.tensors[t].name.as_str()).collect();
        let (past, numbers) = self.chain.past_of(self.n, &names, true)?;
        let mut outputs = Vec::with_capacity(run.len());
        for (&t, &tensor) in run.iter().zip(&numbers) {
            for &one in [t].iter().chain(&copies[t]) {
                self.tensors.push(one);
                outputs.push(Output {
                    tensor,
                    sink: places[one].map(|p| p.sink),
                    offset: places[one].map_or(0, |p| p.offset),
                });
            }
        }
        let phase = if places[run[0]].is_some() {
            "decoding"
        } else {
            "checking"
        };
        self.tasks
            .push(Task::Rebuild(Rebuild { past, outputs }).spec(names[0], phase, cost)?);
        Ok(())
    }

    /// The tasks; their reports go to [`RebuildTasks::judge`].
    pub fn take(&mut self) -> Vec<TaskSpec> {
        std::mem::take(&mut self.tasks)
    }

    /// What became of each tensor, or the error that says best what is wrong: another base, then what `other` checks say,
    /// if they blame a link, then damage of tensors, then the rest of what they say.
    pub async fn judge(&self, io: &Io, reports: &[Vec<u8>], other: Option<&Error>) -> Result<Vec<Rebuilt>> {
        match self.found(reports, other) {
            Err(e) => Err(blame_base(io, self.chain, e).await?),
            found => found,
        }
    }

    fn found(&self, reports: &[Vec<u8>], other: Option<&Error>) -> Result<Vec<Rebuilt>> {
        let mut rebuilt: Vec<Option<Rebuilt>> = self.tensors.iter().map(|_| None).collect();
        let mut at = self.tensors.iter();
        for report in reports {
            for (found, &t) in from_wire::<Vec<Rebuilt>>(report)?.into_iter().zip(at.by_ref()) {
                rebuilt[t] = Some(found);
            }
        }
        let faults = || rebuilt.iter().flatten().filter_map(|r| r.fault.as_ref());
        let of = |code: Code| faults().filter(|e| e.code == code).collect::<Vec<_>>();
        let damaged_file = other.is_some_and(|e| e.code == Code::Checksum);
        let n = rebuilt.len();
        for code in [Code::WrongBase, Code::BrokenChain] {
            let wrong = of(code);
            if let Some(first) = wrong.first().filter(|_| !damaged_file) {
                let names = list_names(wrong.iter().filter_map(|e| e.tensor.as_deref()));
                let text = match code {
                    Code::WrongBase => "this is not the base that the delta was made against".into(),
                    _ => first.message.clone(),
                };
                let mut e = Error::clone(first);
                e.message = format!("{text}: {} of {n} tensors differ: {names}", wrong.len());
                return Err(e);
            }
            if let Some(e) = other.filter(|e| e.code == code) {
                return Err(e.clone());
            }
        }
        let all: Vec<&Error> = faults().collect();
        match (all.first(), other) {
            (Some(first), _) => Err(with_others(first, &all[1..], n)),
            (None, Some(e)) => Err(e.clone()),
            (None, None) => {
                let lost = || Error::new(Code::Internal, "a tensor was not reported on");
                rebuilt.into_iter().map(|r| r.ok_or_else(lost)).collect()
            }
        }
    }
}

/// The error of the first link, if it was made against another base: a chain goes wrong there already; else `error`.
async fn blame_base(io: &Io, chain: &Chain, error: Error) -> Result<Error> {
    let Some(Link::V2(first)) = chain.stages.first().map(|s| &*s.link) else {
        return Ok(error);
    };
    if error.code != Code::BrokenChain && error.code != Code::Checksum || chain.stages.len() == 1 {
        return Ok(error);
    }
    let mut tasks = RebuildTasks::new(chain, 1, &vec![None; first.index.tensors.len()])?;
    let reports = io.run(tasks.take()).await?;
    let of_first = tasks.found(&reports, None).err();
    Ok(of_first.filter(|e| e.code == Code::WrongBase).unwrap_or(error))
}

/// The first fault of a file, with the names of the other tensors that have one.
pub fn with_others(first: &Error, others: &[&Error], n: usize) -> Error {
    let mut e = first.clone();
    let name = e.tensor.clone().unwrap_or_default();
    e.message = format!("tensor `{name}`: {}", e.message);
    if !others.is_empty() {
        let names = list_names(others.iter().filter_map(|e| e.tensor.as_deref()));
        e.message = format!("{}; also damaged: {names}", e.message);
    }
    let sound = n - others.len() - 1;
    if sound > 0 {
        e.message = format!(
            "{}; the other {sound} of {n} tensors can still be read one by one",
            e.message
        );
    }
    e
}
