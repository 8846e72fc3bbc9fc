//! What shows whether links hold: checksums of files, hashes of models, and tensors that come out as they should. The error
//! is the one that says best what is wrong.

use super::chain::{Chain, Link};
use super::files::bytes_of;
use super::open::OpenV2;
use super::parent_hash::{judge_parent, parent_tasks};
use super::rebuild::{Output, Rebuild, Rebuilt};
use crate::error::{Code, Error, Result};
use crate::job::batch::{Batch, Slots};
use crate::job::chain::{checksum_task, judge_checksums, Order};
use crate::job::machine::{Io, TaskSpec};
use crate::job::report::{from_wire, list_names};
use crate::job::task::Task;

/// Bytes that a task handles at least, if there are as many.
const TASK_BYTES: u64 = 8 << 20;

/// Where a tensor's bytes are in the result.
#[derive(Clone, Copy)]
pub struct OutputPlace {
    /// Number of the output file.
    pub sink: u32,
    /// Position of its first byte there.
    pub offset: u64,
}

/// The checks that read whole files: the checksum of every delta, and the hash of the model before each version 1 link.
#[derive(Default)]
pub struct Checks {
    /// How many tasks hash the model before each link.
    parents: Vec<usize>,
}

impl Checks {
    /// As [`Checks::tasks`], into a batch; none, if they are not `wanted`.
    pub fn add_to(&mut self, batch: &mut Batch, chain: &Chain, wanted: bool) -> Result<Slots> {
        let tasks = if wanted { self.tasks(chain)? } else { Vec::new() };
        Ok(batch.add(tasks))
    }

    /// One task for each file, in the order of the links, then those for the models before version 1 links.
    pub fn tasks(&mut self, chain: &Chain) -> Result<Vec<TaskSpec>> {
        let mut tasks = Vec::new();
        for stage in &chain.stages {
            tasks.push(checksum_task(stage.link.file())?);
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
        let files: Vec<_> = chain.stages.iter().map(|s| s.link.file()).collect();
        judge_checksums(io, &files, of_files).await?;
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

/// The tasks that rebuild all tensors after a version 2 link, and how to read their reports.
pub struct RebuildTasks<'a> {
    chain: &'a Chain,
    n: usize,
    read_back: bool,
    tasks: Vec<TaskSpec>,
    /// For each output of the tasks, the tensor of the index.
    tensors: Vec<usize>,
}

impl<'a> RebuildTasks<'a> {
    /// Tasks for the model after `n` links, over runs of tensors that no block crosses. `read_back`: results have to be
    /// read back afterwards.
    pub fn new(chain: &'a Chain, n: usize, places: &[Option<OutputPlace>], read_back: bool) -> Result<Self> {
        let mut all = Self {
            chain,
            n,
            read_back,
            tasks: Vec::new(),
            tensors: Vec::new(),
        };
        let Some(Link::V2(delta)) = chain.link(n) else {
            return Err(Error::new(Code::Internal, "a version 1 link has no blocks"));
        };
        let mut copies: Vec<Vec<usize>> = vec![Vec::new(); delta.index.tensors.len()];
        for (i, t) in delta.index.tensors.iter().enumerate() {
            if t.op.is_tied() {
                copies[delta.origin(i)].push(i);
            }
        }
        let mut run: Vec<usize> = Vec::new();
        let (mut cost, mut joined) = (0, 0);
        for (i, t) in delta.index.tensors.iter().enumerate() {
            if t.op.is_tied() {
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

    /// Tasks that see whether the tensors after link `n`, from 1, can be rebuilt, and write none of them.
    fn checking(chain: &'a Chain, n: usize) -> Result<Self> {
        Self::new(chain, n, &vec![None; chain.stages[n - 1].link.size().0], false)
    }

    /// The same of the last link, if it is of version 2.
    pub fn of_last(chain: &'a Chain) -> Result<Option<Self>> {
        match chain.last_link() {
            Some(Link::V2(_)) => Self::checking(chain, chain.stages.len()).map(Some),
            _ => Ok(None),
        }
    }

    fn push(
        &mut self,
        delta: &OpenV2,
        run: Vec<usize>,
        copies: &[Vec<usize>],
        places: &[Option<OutputPlace>],
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
        let rebuild = Rebuild {
            past,
            outputs,
            read_back: self.read_back,
        };
        self.tasks.push(Task::Rebuild(rebuild).spec(names[0], phase, cost)?);
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
                let names = list_names(&tensors_of(&wrong));
                let (text, hint) = match code {
                    Code::WrongBase => (
                        "this is not the base that the delta was made against",
                        "; give that one, and the deltas before this one if it belongs to a chain",
                    ),
                    _ => (first.message.as_str(), ""),
                };
                let mut e = Error::clone(first);
                e.message = format!("{text}: {} of {n} tensors differ: {names}{hint}", wrong.len());
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
pub async fn blame_base(io: &Io, chain: &Chain, error: Error) -> Result<Error> {
    if !matches!(chain.link(1), Some(Link::V2(_))) || error.code == Code::WrongBase || chain.stages.len() == 1 {
        return Ok(error);
    }
    let mut tasks = RebuildTasks::checking(chain, 1)?;
    let reports = io.run(tasks.take()).await?;
    let of_first = tasks.found(&reports, None).err();
    Ok(of_first.filter(|e| e.code == Code::WrongBase).unwrap_or(error))
}

/// The tensors that errors are about.
fn tensors_of<'a>(errors: &[&'a Error]) -> Vec<&'a str> {
    errors.iter().filter_map(|e| e.tensor.as_deref()).collect()
}

/// The first fault of a file, with the names of the other tensors that have one.
pub fn with_others(first: &Error, others: &[&Error], n: usize) -> Error {
    let mut e = first.clone().about(first.tensor.as_deref().unwrap_or_default());
    if !others.is_empty() {
        let names = list_names(&tensors_of(others));
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
