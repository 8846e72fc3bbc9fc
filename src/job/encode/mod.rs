//! `encode`: base and fine-tune to a version 1 delta.
//!
//! Rounds: (1) hash the base, check the chain before it and survey every tensor; (2) write the payloads, whose places
//! are known now; (3) hash the file and seal it.

mod choose;
mod compare;
pub mod emit;
mod layout;
pub mod names;
pub mod pair;
pub(super) mod report;
pub mod survey;
pub mod taken;
mod wanted;

use super::batch::Batch;
use super::chain::{self, ChainCheck};
use super::hashing::{self, ModelHash};
use super::machine::{Io, OutputFile, Role, SourceEntry, TaskSpec};
use super::open::{delta_sources, groups_of, open_model, OpenDelta};
use super::options::{Asked, EncodeOptions, HashOrder};
use super::placed::TensorRange;
use super::plan::Plan;
use super::report::{from_wire, source_changed, to_json, Finding};
use super::task::{grouped, Task};
use super::v2::chain::{of_v1, Chain, Link};
use super::v2::encode::parents::Parents;
use super::v2::identify::hashes;
use super::v2::open::any_v2;
use super::v2::parent_hash::hash_task;
use super::v2::past::Past;
use super::values::Origin;
use crate::error::{Code, Error, Result};
use crate::format::model::{Model, Tensor};
use crate::format::v1::CHECKSUM_BYTES;
use crate::job::wire::Wire;
use crate::order::sorted_positions;
use choose::{choose, Choice, Chosen, Decision};
use compare::{compare_models, not_in_parents};
use emit::{EmitItem, Emitted};
use layout::{layout, names, record_order, FileLayout};
use report::report;
use survey::{Seen, SurveyItem};
use wanted::{check_v2, Wanted};

/// Runs the job.
pub async fn encode(io: Io, sources: Vec<SourceEntry>, options: EncodeOptions) -> Result<String> {
    let Asked::V1(strategy) = options.strategy else {
        check_v2(&options)?;
        return Box::pin(super::v2::encode::encode(io, sources, options)).await;
    };
    let wanted = Wanted::new(strategy, &options)?;
    let opened = Opened::new(&io, &sources).await?;
    let before = opened.before();
    let (base, finetuned) = (before.root(), &opened.finetuned);
    let mut findings = compare_models(base, finetuned, wanted.reference)?;
    findings.extend(taken::notes(&sources, &opened.base, finetuned));
    chain::check_fit_or_damage(&io, base, before.parents()).await?;
    let items = survey_items(finetuned, &before.origins(), &wanted)?;

    // In reference mode every tensor takes the strategy asked for.
    let straight: Vec<Choice> = match wanted.reference {
        true => items.iter().map(Choice::as_asked).collect(),
        false => items.iter().map(Choice::as_expected).collect(),
    };
    let chosen = |choices| Chosen {
        wanted: &wanted,
        items: &items,
        choices,
    };
    let record_order = record_order(base, finetuned, wanted.reference && before.parents().is_empty());
    let guess = layout(chosen(&straight), &record_order, &options, &"0".repeat(64))?;
    let plan = plan_of(&items, guess.size, &wanted, findings.clone());
    plan.announce(&io).await?;

    let hash_names = hash_names(base, &record_order, &options, &wanted);
    let FirstRound {
        base_hash,
        parent_hash,
        seen,
    } = survey(&io, &before, &hash_names, &items).await?;
    let choices = decide(&io, &before, &items, &seen, &wanted).await?;

    let chosen = chosen(&choices);
    let layout = layout(chosen, &record_order, &options, &parent_hash)?;
    let size = layout.size;
    let emitted = write(&io, &before, chosen, layout, &seen).await?;
    check_unchanged(&items, &emitted, &hash_names, &base_hash)?;
    seal(&io, sources.len() as u32, size).await?;

    let sizes = (size, finetuned.files.iter().map(|f| io.size(f.source)).sum());
    let report = report(chosen, &emitted, sizes, parent_hash, findings);
    to_json(&report)
}

/// What was given.
struct Opened {
    base: Model,
    finetuned: Model,
    links: Links,
}

/// The deltas before.
enum Links {
    /// All of version 1, if there are any.
    V1(Vec<OpenDelta>),
    /// One of them is of version 2: with the base they are a chain.
    Mixed(Chain),
}

impl Opened {
    async fn new(io: &Io, sources: &[SourceEntry]) -> Result<Self> {
        let base = open_model(io, sources, Role::Base, 0).await?.model;
        let finetuned = open_model(io, sources, Role::Finetuned, 0).await?.model;
        let deltas = delta_sources(sources);
        let links = match any_v2(io, sources, groups_of(sources, Role::Delta)).await? {
            true => Links::Mixed(Chain::open(io, base.clone(), &deltas, chain::Care::Checked).await?),
            false => Links::V1(chain::open_chain(io, &deltas, Some(&base), chain::Care::Checked).await?),
        };
        Ok(Self { base, finetuned, links })
    }

    fn before(&self) -> Before<'_> {
        match &self.links {
            Links::V1(deltas) => Before::V1(&self.base, deltas.iter().collect()),
            Links::Mixed(chain) => Before::Mixed(chain),
        }
    }
}

/// What the delta is made against.
enum Before<'a> {
    /// A base, and deltas of version 1 on it.
    V1(&'a Model, Vec<&'a OpenDelta>),
    /// A base, and deltas of which one is of version 2.
    Mixed(&'a Chain),
}

impl<'a> Before<'a> {
    /// The base, or in its stead what the last link of version 2 rebuilds.
    fn root(&self) -> &'a Model {
        match self {
            Self::V1(base, _) => base,
            Self::Mixed(chain) => chain.model(chain.rooted()),
        }
    }

    /// The deltas before, where all of them are of version 1.
    fn parents(&self) -> &[&'a OpenDelta] {
        match self {
            Self::V1(_, parents) => parents,
            Self::Mixed(_) => &[],
        }
    }

    /// What each tensor is rebuilt from before the delta.
    fn origins(&self) -> Vec<Origin> {
        match self {
            Self::V1(base, parents) => chain::origins(base, parents),
            Self::Mixed(chain) => {
                let after = chain.stages[chain.rooted()..].iter().map(|s| s.link.clone());
                chain::origins(self.root(), &of_v1(&Vec::from_iter(after)))
            }
        }
    }

    /// The past that the origins of a task share, in which they get their numbers.
    fn past(&self, origins: &mut [&mut Origin]) -> Result<Past> {
        let Self::Mixed(chain) = self else {
            return Ok(Past::default());
        };
        let names: Vec<&str> = origins.iter().map(|o| o.name.as_str()).collect();
        let (past, numbers) = chain.past_of(chain.rooted(), &names, false)?;
        for (origin, number) in origins.iter_mut().zip(numbers) {
            origin.past = Some(number);
        }
        Ok(past)
    }

    /// The task that hashes the base, or what a chain with links of version 2 rebuilds.
    fn hash_task(&self, names: &[String]) -> Result<TaskSpec> {
        match self {
            Self::V1(base, _) => hashing::model_task("base", chain::ranges(base, names)),
            Self::Mixed(chain) => chain_hash(chain, self.root(), names),
        }
    }

    /// What the report of [`Before::hash_task`] says.
    fn hash_of(&self, report: &[u8]) -> Result<ModelHash> {
        match self {
            Self::V1(..) => from_wire(report),
            Self::Mixed(_) => Ok(ModelHash {
                sha256: hashes(report)?.swap_remove(0),
                fast: Vec::new(),
            }),
        }
    }
}

/// What the first round found.
struct FirstRound {
    /// Of the base, or of what stands in its stead.
    base_hash: ModelHash,
    /// Of the model that the delta is made against, in hex.
    parent_hash: String,
    /// One entry a tensor.
    seen: Vec<Seen>,
}

/// Round 1: the base's hash, the links before, and a look at every tensor.
async fn survey(io: &Io, before: &Before<'_>, hash_names: &[String], items: &[SurveyItem]) -> Result<FirstRound> {
    if let Before::Mixed(chain) = before {
        Parents::new(chain)?.check(io).await?;
    }
    let (root, parents) = (before.root(), before.parents());
    let mut batch = Batch::default();
    let of_base = batch.add(vec![before.hash_task(hash_names)?]);
    let mut check = ChainCheck::new(root, parents)?;
    let of_checks = batch.add(check.take_tasks());
    let of_parent = batch.add(match parents.len() {
        0 => Vec::new(),
        n => vec![hashing::values_task("parent", chain::origins(root, parents), vec![n])?],
    });
    let of_surveys = batch.add(survey_tasks(before, items)?);
    let reports = io.run(batch.tasks()).await?;
    let base_hash = before.hash_of(&of_base.of(&reports)[0])?;
    check.finish(io, of_checks.of(&reports)).await?;
    let parent_hash = match of_parent.of(&reports).first() {
        None => base_hash.sha256.clone(),
        Some(report) => from_wire::<Vec<String>>(report)?.swap_remove(0),
    };
    Ok(FirstRound {
        base_hash,
        parent_hash,
        seen: gather(of_surveys.of(&reports), items.len())?,
    })
}

/// Round 2: the header and the payloads, whose places are known.
async fn write(
    io: &Io,
    before: &Before<'_>,
    chosen: Chosen<'_>,
    mut layout: FileLayout,
    seen: &[Seen],
) -> Result<Vec<Emitted>> {
    io.create(vec![OutputFile {
        path: String::new(),
        size: layout.size,
    }])
    .await;
    io.put(0, 0, &mut layout.head).await;
    let tasks = grouped(
        emit_items(chosen, layout.records, seen),
        "encoding",
        EmitItem::cost,
        |e| &e.origin.name,
        |mut items| {
            let mut origins: Vec<_> = items.iter_mut().map(|i: &mut EmitItem| &mut i.origin).collect();
            let past = before.past(&mut origins)?;
            Ok(Task::Emit { items, past })
        },
    )?;
    gather(&io.run(tasks).await?, chosen.items.len())
}

/// Round 3: hashes the file of `size` bytes, which is source `output` now, and writes the checksum at its end.
async fn seal(io: &Io, output: u32, size: u64) -> Result<()> {
    let end = size - CHECKSUM_BYTES;
    let digest: [u8; 32] = from_wire(&io.run(vec![hashing::file_task("delta", output, end)?]).await?[0])?;
    io.put(0, end, &mut digest.to_vec()).await;
    Ok(())
}

/// What is looked at of every tensor of the fine-tune; `MISSING_TENSOR` where the links before do not have one.
fn survey_items(finetuned: &Model, origins: &[Origin], wanted: &Wanted) -> Result<Vec<SurveyItem>> {
    let item = |t: &Tensor| {
        let origin = chain::find_origin(origins, &t.name).cloned();
        Ok(SurveyItem {
            origin: origin.ok_or_else(|| not_in_parents(&t.name))?,
            finetuned: TensorRange::from(t),
            shape: t.shape.clone(),
            strategy: wanted.strategy,
            kept: wanted.kept(&t.name, t.elements)?,
            keep_equal: !wanted.reference,
        })
    };
    finetuned.tensors.iter().map(item).collect()
}

/// What is known of a delta of `size` bytes, or at most so many, before anything is read but headers.
fn plan_of(items: &[SurveyItem], size: u64, wanted: &Wanted, problems: Vec<Finding>) -> Plan {
    // Every tensor is looked at and then coded; the base is hashed besides.
    let read = |i: &SurveyItem| i.cost() + i.origin.cost() + i.finetuned.range.len + i.origin.base.range.len;
    Plan {
        job: "encode",
        bytes: size,
        exact: wanted.reference,
        outputs: vec![OutputFile {
            path: String::new(),
            size,
        }],
        problems,
        reads: items.iter().map(read).sum::<u64>() + size,
        writes: size,
        tensors: items.len(),
        elements: items.iter().map(|i| i.finetuned.elements).sum(),
    }
}

/// What is coded of every tensor, and where to.
fn emit_items(chosen: Chosen<'_>, records: Vec<Vec<u64>>, seen: &[Seen]) -> Vec<EmitItem> {
    let item = |(((item, choice), records), seen): (((&SurveyItem, &Choice), Vec<u64>), &Seen)| EmitItem {
        origin: item.origin.clone(),
        finetuned: item.finetuned.clone(),
        shape: item.shape.clone(),
        strategy: choice.strategy,
        kept: choice.kept,
        surveyed: choice.surveyed.clone(),
        keep_equal: seen.keep_equal,
        sink: 0,
        records,
    };
    chosen.pairs().zip(records).zip(seen).map(item).collect()
}

/// The order in which the base's tensors are hashed.
fn hash_names(base: &Model, record_order: &[String], options: &EncodeOptions, wanted: &Wanted) -> Vec<String> {
    match (options.hash_order, wanted.reference) {
        (HashOrder::Memory, _) => names(base),
        (HashOrder::Paths, true) => record_order.to_vec(),
        (HashOrder::Paths, false) => base.shard_groups(),
    }
}

/// The task that hashes what a chain with links of version 2 rebuilds: after a link of version 1 in sorted order, as there
/// are no files then.
fn chain_hash(chain: &Chain, root: &Model, order: &[String]) -> Result<TaskSpec> {
    let sorted = names(root);
    let order = match chain.last_link() {
        Some(Link::V1(_)) => &sorted[..],
        _ => order,
    };
    let order: Vec<&str> = order.iter().map(String::as_str).collect();
    hash_task(chain, chain.stages.len(), &order, false)
}

fn survey_tasks(before: &Before<'_>, items: &[SurveyItem]) -> Result<Vec<TaskSpec>> {
    grouped(
        items.to_vec(),
        "reading",
        SurveyItem::cost,
        |i| &i.origin.name,
        |mut items| {
            let mut origins: Vec<_> = items.iter_mut().map(|i: &mut SurveyItem| &mut i.origin).collect();
            let past = before.past(&mut origins)?;
            Ok(Task::Survey { items, past })
        },
    )
}

/// The items of batched reports, in order.
fn gather<T: Wire>(reports: &[Vec<u8>], expected: usize) -> Result<Vec<T>> {
    let mut all = Vec::with_capacity(expected);
    for report in reports {
        all.extend(from_wire::<Vec<T>>(report)?);
    }
    if all.len() != expected {
        return Err(Error::new(
            Code::Internal,
            "the tasks reported another number of tensors",
        ));
    }
    Ok(all)
}

/// Decides for every tensor; surveys the few again that take a strategy which needs its own look.
async fn decide(
    io: &Io,
    before: &Before<'_>,
    items: &[SurveyItem],
    seen: &[Seen],
    wanted: &Wanted,
) -> Result<Vec<Choice>> {
    let mut choices = Vec::with_capacity(items.len());
    let mut again = Vec::new();
    for (item, seen) in items.iter().zip(seen) {
        if wanted.reference {
            let surveyed = seen.surveyed.clone();
            let unchanged = surveyed.as_ref().map_or(0, |s| s.zeros);
            choices.push(Choice {
                surveyed,
                unchanged,
                ..Choice::as_asked(item)
            });
            continue;
        }
        match choose(item, seen)? {
            Decision::Take(choice) => choices.push(choice),
            Decision::Again(choice) => {
                let (strategy, kept) = (choice.strategy, choice.kept);
                again.push((
                    choices.len(),
                    SurveyItem {
                        strategy,
                        kept,
                        ..item.clone()
                    },
                ));
                choices.push(choice);
            }
        }
    }
    let items: Vec<SurveyItem> = again.iter().map(|(_, item)| item.clone()).collect();
    let seen = gather::<Seen>(&io.run(survey_tasks(before, &items)?).await?, items.len())?;
    for ((at, _), seen) in again.iter().zip(seen) {
        choices[*at].surveyed = seen.surveyed;
    }
    Ok(choices)
}

/// The base must have been the same when it was hashed and when its deltas were taken.
fn check_unchanged(items: &[SurveyItem], emitted: &[Emitted], order: &[String], hash: &ModelHash) -> Result<()> {
    let sorted = sorted_positions(order.len(), &|a, b| order[a].cmp(&order[b]));
    let hashed_of = |name: &str| {
        let found = sorted.binary_search_by(|&p| order[p].as_str().cmp(name)).ok()?;
        hash.fast.get(sorted[found])
    };
    for (item, emitted) in items.iter().zip(emitted) {
        let name = item.origin.name.as_str();
        if let (Some(seen), Some(&hashed)) = (emitted.seen, hashed_of(name)) {
            if seen != hashed {
                return Err(source_changed("base", name).source(item.origin.base.source));
            }
        }
    }
    Ok(())
}
