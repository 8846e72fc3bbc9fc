//! `encode`: base and fine-tune to a version 1 delta.
//!
//! Rounds: (1) hash the base, check the chain before it and survey every tensor; (2) write the payloads, whose places
//! are known now; (3) hash the file and seal it.

use super::chain::{self, ChainCheck};
use super::choose::{choose, Choice, Decision};
use super::emit::{EmitItem, Emitted};
use super::hashing::{self, ModelHash};
use super::machine::{Io, OutputFile, Role, SourceEntry};
use super::open::{groups_of, open_model, sources_of};
use super::options::{EncodeOptions, HashOrder};
use super::placed::TensorRange;
use super::plan::Plan;
use super::report::{from_wire, list_names, to_json, Finding, Severity};
use super::survey::{Seen, SurveyItem};
use super::task::{batch, Task};
use super::v2::chain::{Chain, Link};
use super::v2::identify;
use super::v2::open::any_v2;
use super::v2::parents::Parents;
use crate::error::{Code, Error, Result};
use crate::format::model::Model;
use crate::format::v1::parent_hash;
use crate::format::v1::writer::{self, HeaderPlan, HeaderTensor, Layout};
use crate::job::wire::Wire;
use crate::order::sorted_positions;
use crate::strategy::{array_elements, kept_int4, kept_sparse, Strategy};
use serde::Serialize;

/// What `encode` did.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) job: &'static str,
    pub(super) version: u32,
    pub(super) strategy: &'static str,
    pub(super) bytes: u64,
    pub(super) finetuned_bytes: u64,
    pub(super) elements: u64,
    pub(super) base_hash: String,
    pub(super) relative_error: f64,
    pub(super) tensors: Vec<TensorReport>,
    pub(super) findings: Vec<Finding>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TensorReport {
    pub(super) name: String,
    pub(super) dtype: &'static str,
    pub(super) shape: Vec<u64>,
    pub(super) elements: u64,
    pub(super) strategy: &'static str,
    pub(super) requested: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    pub(super) bytes: u64,
    pub(super) unchanged: u64,
    pub(super) relative_error: f64,
    pub(super) largest_error: f64,
}

/// The strategy that was asked for, with its option.
struct Wanted {
    strategy: Strategy,
    option: Option<(String, f64)>,
    reference: bool,
}

impl Wanted {
    fn new(options: &EncodeOptions) -> Result<Self> {
        let strategy = Strategy::parse(&options.strategy)?;
        options.fidelity()?;
        if options.effort.is_some() || options.low_rank.is_some() {
            return Err(Error::new(
                Code::Usage,
                format!(
                    "effort and lowRank are options of lossless and lossy, but the strategy is {}",
                    strategy.name()
                ),
            ));
        }
        let refuse = |given: bool, option: &str, of: &str| {
            if given {
                return Err(Error::new(
                    Code::Usage,
                    format!("{option} is an option of {of}, but the strategy is {}", strategy.name()),
                ));
            }
            Ok(())
        };
        refuse(
            strategy != Strategy::Int4 && options.outlier_fraction.is_some(),
            "outlierFraction",
            "int4",
        )?;
        refuse(
            strategy != Strategy::Sparse && options.sparsity.is_some(),
            "sparsity",
            "sparse",
        )?;
        let resolve = |given: &Option<super::options::NumberText>, name: &str, default: (&str, f64)| match given {
            Some(given) => given.resolve(name),
            None => Ok((default.0.to_owned(), default.1)),
        };
        let option = match strategy {
            Strategy::Int4 => Some(resolve(&options.outlier_fraction, "outlierFraction", ("0.01", 0.01))?),
            Strategy::Sparse => Some(resolve(&options.sparsity, "sparsity", ("0.9", 0.9))?),
            Strategy::Quantized => None,
        };
        Ok(Self {
            strategy,
            option,
            reference: options.reference,
        })
    }

    /// The number of values that a tensor of `n` elements keeps.
    fn kept(&self, name: &str, n: u64) -> Result<u64> {
        let value = self.option.as_ref().map_or(0.0, |(_, v)| *v);
        let kept = match self.strategy {
            Strategy::Quantized => 0,
            Strategy::Sparse => kept_sparse(n, value).min(n),
            Strategy::Int4 => kept_int4(n, value)?,
        };
        let too_small = match self.strategy {
            Strategy::Int4 => kept >= n,
            Strategy::Quantized => n == 0,
            Strategy::Sparse => false,
        };
        // The safe mode gives such a tensor another strategy.
        if self.reference && too_small {
            return Err(Error::new(
                Code::Usage,
                format!(
                    "tensor `{name}` has {n} elements, too few for {}: the reference cannot store it; leave --reference out",
                    self.strategy.name()
                ),
            )
            .tensor(name));
        }
        Ok(kept)
    }
}

/// Runs the job.
pub async fn encode(io: Io, sources: Vec<SourceEntry>, options: EncodeOptions) -> Result<String> {
    if matches!(options.strategy.as_str(), "lossless" | "lossy") {
        check_v2(&options)?;
        return Box::pin(super::v2::encode::encode(io, sources, options)).await;
    }
    let wanted = Wanted::new(&options)?;
    let base = open_model(&io, &sources, Role::Base, 0).await?;
    let finetuned = open_model(&io, &sources, Role::Finetuned, 0).await?;
    let (base, finetuned) = (&base.model, &finetuned.model);
    let parent_sources: Vec<u32> = (0..groups_of(&sources, Role::Delta))
        .flat_map(|g| sources_of(&sources, Role::Delta, g))
        .collect();
    let (mut parents, mut mixed) = (Vec::new(), None);
    match any_v2(&io, &sources, groups_of(&sources, Role::Delta)).await? {
        true => mixed = Some(Chain::open(&io, base.clone(), &parent_sources, chain::Care::Checked).await?),
        false => parents = chain::open_chain(&io, &parent_sources, Some(base), chain::Care::Checked).await?,
    }
    // What the last link of version 2 rebuilds stands for the base.
    let base = mixed.as_ref().map_or(base, |c| c.model(c.rooted()));
    let mut findings = Vec::new();
    compare_models(base, finetuned, wanted.reference, &mut findings)?;
    chain::check_fit_or_damage(&io, base, &parents).await?;

    let origins = match &mixed {
        Some(chain) => chain.origins()?,
        None => chain::origins(base, &parents),
    };
    let items: Vec<SurveyItem> = finetuned
        .tensors
        .iter()
        .map(|t| {
            let origin = chain::find_origin(&origins, &t.name).cloned();
            Ok(SurveyItem {
                origin: origin.ok_or_else(|| not_in_parents(&t.name))?,
                finetuned: TensorRange::from(t),
                shape: t.shape.clone(),
                strategy: wanted.strategy,
                kept: wanted.kept(&t.name, t.elements)?,
                keep_equal: !wanted.reference,
            })
        })
        .collect::<Result<_>>()?;

    // What it would be if every tensor took the strategy asked for: exact in reference mode.
    let straight: Vec<Choice> = items.iter().map(Choice::as_asked).collect();
    let record_order = record_order(base, finetuned, wanted.reference && parents.is_empty());
    let guess = layout(&items, &straight, &wanted, &record_order, &options, &"0".repeat(64))?;
    let reads: u64 = items
        .iter()
        .map(|i| i.cost() + i.origin.cost() + i.finetuned.range.len)
        .sum::<u64>()
        + items.iter().map(|i| i.origin.base.range.len).sum::<u64>()
        + guess.size;
    io.plan(
        Plan {
            job: "encode",
            bytes: guess.size,
            exact: wanted.reference,
            outputs: vec![OutputFile {
                path: String::new(),
                size: guess.size,
            }],
            problems: findings.clone(),
            reads,
            writes: guess.size,
            tensors: items.len(),
            elements: items.iter().map(|i| i.finetuned.elements).sum(),
        }
        .json()?,
    )
    .await;

    if let Some(chain) = &mixed {
        Parents::new(chain)?.check(&io).await?;
    }

    // Round 1: the base's hash, the links before, and a look at every tensor.
    let hash_names = match (options.hash_order, wanted.reference) {
        (HashOrder::Memory, _) => names(base),
        (HashOrder::Paths, true) => record_order.clone(),
        (HashOrder::Paths, false) => base.shard_groups(),
    };
    let mut tasks = vec![match &mixed {
        Some(chain) => chain_hash(chain, base, &hash_names)?,
        None => hashing::model_task("base", chain::ranges(base, &hash_names))?,
    }];
    let hash_tasks = tasks.len();
    let mut check = ChainCheck::new(base, &parents)?;
    let check_tasks = check.take_tasks();
    let n_checks = check_tasks.len();
    tasks.extend(check_tasks);
    if !parents.is_empty() {
        let all = vec![parents.len()];
        tasks.push(hashing::values_task("parent", chain::origins(base, &parents), all)?);
    }
    let before_surveys = tasks.len();
    tasks.extend(survey_tasks(&items)?);
    let reports = io.run(tasks).await?;
    let of_checks = &reports[hash_tasks..hash_tasks + n_checks];
    let base_hash = match &mixed {
        Some(_) => ModelHash {
            sha256: identify::hashes(&reports[0])?.swap_remove(0),
            fast: Vec::new(),
        },
        None => from_wire(&reports[0])?,
    };
    let checksums = chain::read_checksums(&io, &parents).await?;
    check.finish(of_checks, &parents, &checksums)?;
    let parent_hash = match parents.len() {
        0 => base_hash.sha256.clone(),
        _ => from_wire::<Vec<String>>(&reports[before_surveys - 1])?.swap_remove(0),
    };
    let seen = gather::<Seen>(&reports[before_surveys..], items.len())?;
    let choices = decide(&io, &items, &seen, &wanted).await?;

    // Round 2: every place is known.
    let layout = layout(&items, &choices, &wanted, &record_order, &options, &parent_hash)?;
    io.create(vec![OutputFile {
        path: String::new(),
        size: layout.size,
    }])
    .await;
    io.write(&mut [(0, 0, &mut layout.head.clone())]).await;
    let emits: Vec<EmitItem> = items
        .iter()
        .zip(&choices)
        .zip(&layout.records)
        .map(|((item, choice), records)| EmitItem {
            origin: item.origin.clone(),
            finetuned: item.finetuned.clone(),
            shape: item.shape.clone(),
            strategy: choice.strategy,
            kept: choice.kept,
            surveyed: choice.surveyed.clone(),
            keep_equal: item.keep_equal,
            sink: 0,
            records: records.clone(),
        })
        .collect();
    let costs: Vec<u64> = emits.iter().map(EmitItem::cost).collect();
    let tasks = batch(
        emits,
        "encoding",
        EmitItem::cost,
        |e| &e.origin.name,
        |items| Task::Emit { items },
    )?;
    let emitted = gather::<Emitted>(&io.run(tasks).await?, costs.len())?;
    check_unchanged(&items, &emitted, &hash_names, &base_hash)?;

    // Round 3: seal it.
    let output = sources.len() as u32;
    let seal = hashing::file_task("delta", output, layout.size - 32)?;
    let digest: String = from_wire(&io.run(vec![seal]).await?[0])?;
    let mut digest = from_hex(&digest);
    io.write(&mut [(0, layout.size - 32, &mut digest)]).await;

    let sizes = (layout.size, finetuned.files.iter().map(|f| io.size(f.source)).sum());
    let report = report(&items, &choices, &emitted, &wanted, sizes, parent_hash, findings);
    to_json(&report)
}

/// Options of version 1 do not go with version 2.
fn check_v2(options: &EncodeOptions) -> Result<()> {
    let given = [
        (options.outlier_fraction.is_some(), "outlierFraction"),
        (options.sparsity.is_some(), "sparsity"),
        (options.reference, "reference"),
    ];
    match given.iter().find(|(given, _)| *given) {
        None => Ok(()),
        Some((_, name)) => Err(Error::new(
            Code::Usage,
            format!(
                "{name} is an option of version 1, but the strategy is {}",
                options.strategy
            ),
        )),
    }
}

fn names(model: &Model) -> Vec<String> {
    model.tensors.iter().map(|t| t.name.clone()).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .filter_map(|i| u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok())
        .collect()
}

/// Names and shapes must be the same on both sides: version 1 cannot say anything else.
fn compare_models(base: &Model, finetuned: &Model, reference: bool, findings: &mut Vec<Finding>) -> Result<()> {
    let only = |a: &Model, b: &Model| {
        a.tensors
            .iter()
            .map(|t| t.name.clone())
            .filter(|n| b.find(n).is_none())
            .collect::<Vec<_>>()
    };
    let (added, removed) = (only(finetuned, base), only(base, finetuned));
    if !added.is_empty() || !removed.is_empty() {
        let side = |names: &[String], what: &str| match names.len() {
            0 => String::new(),
            n => format!(
                " {n} only in the {what}: {}.",
                list_names(names.iter().map(String::as_str))
            ),
        };
        return Err(Error::new(
            Code::MissingTensor,
            format!(
                "base and fine-tune do not have the same tensors.{}{} A version 1 delta needs the same names on both sides",
                side(&added, "fine-tune"),
                side(&removed, "base"),
            ),
        )
        .tensor(added.first().or(removed.first()).map_or("", |n| n)));
    }
    for t in &finetuned.tensors {
        let Some(b) = base.find(&t.name) else { continue };
        if b.shape != t.shape {
            return Err(Error::new(
                Code::ShapeMismatch,
                format!(
                    "tensor `{}`: the base has {}, the fine-tune {}; a version 1 delta needs the same shapes (added tokens resize the embedding)",
                    t.name,
                    chain::shape_text(&b.shape),
                    chain::shape_text(&t.shape),
                ),
            )
            .tensor(&t.name));
        }
        if reference && !(b.dtype.to_f32_defined() && t.dtype.to_f32_defined()) {
            return Err(Error::new(
                Code::UnsupportedDtype,
                format!("tensor `{}`: the reference cannot read {}", t.name, t.dtype.name()),
            )
            .tensor(&t.name));
        }
        if b.dtype != t.dtype {
            findings.push(
                Finding::new(
                    Severity::Note,
                    "dtype-differs",
                    format!(
                        "the fine-tune has {}, the base {}; `decode` gives the base's dtype unless --dtype float32 is asked for",
                        t.dtype.name(),
                        b.dtype.name()
                    ),
                )
                .tensor(&t.name),
            );
        }
    }
    Ok(())
}

fn not_in_parents(name: &str) -> Error {
    Error::new(
        Code::MissingTensor,
        format!("tensor `{name}` is not in the parent deltas; a chain keeps the same tensors from link to link"),
    )
    .tensor(name)
}

/// The task that hashes what a chain with links of version 2 rebuilds: after a link of version 1 in sorted order, as there
/// are no files then.
fn chain_hash(chain: &Chain, root: &Model, order: &[String]) -> Result<super::machine::TaskSpec> {
    let sorted = names(root);
    let order = match chain.stages.last().map(|s| &*s.link) {
        Some(Link::V1(_)) => &sorted[..],
        _ => order,
    };
    let order: Vec<&str> = order.iter().map(String::as_str).collect();
    identify::task(chain, chain.stages.len(), &order, false)
}

/// The order of the records: sorted, or, as the reference's path-based writer has it, by shards of both sides.
fn record_order(base: &Model, finetuned: &Model, by_shards: bool) -> Vec<String> {
    let sorted = names(finetuned);
    if !by_shards {
        return sorted;
    }
    let shard = |model: &Model, name: &str| model.find(name).map_or(0, |t| t.file);
    parent_hash::record_order_for_paths(&sorted, |n| shard(base, n), |n| shard(finetuned, n))
}

fn survey_tasks(items: &[SurveyItem]) -> Result<Vec<super::machine::TaskSpec>> {
    batch(
        items.to_vec(),
        "reading",
        SurveyItem::cost,
        |i| &i.origin.name,
        |items| Task::Survey { items },
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
async fn decide(io: &Io, items: &[SurveyItem], seen: &[Seen], wanted: &Wanted) -> Result<Vec<Choice>> {
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
    let seen = gather::<Seen>(&io.run(survey_tasks(&items)?).await?, items.len())?;
    for ((at, _), seen) in again.iter().zip(seen) {
        choices[*at].surveyed = seen.surveyed;
    }
    Ok(choices)
}

/// The finished header, and where every record goes.
struct FileLayout {
    head: Vec<u8>,
    /// Per item: where its records start.
    records: Vec<Vec<u64>>,
    size: u64,
}

fn layout(
    items: &[SurveyItem],
    choices: &[Choice],
    wanted: &Wanted,
    record_order: &[String],
    options: &EncodeOptions,
    parent_hash: &str,
) -> Result<FileLayout> {
    let default_option = |strategy| match strategy {
        Strategy::Int4 => "0.01",
        Strategy::Sparse => "0.9",
        Strategy::Quantized => "",
    };
    let tensors = items
        .iter()
        .zip(choices)
        .map(|(item, choice)| HeaderTensor {
            name: item.origin.name.clone(),
            strategy: choice.strategy,
            shape: item.shape.clone(),
            elements: item.finetuned.elements,
            kept: choice.kept,
            option: match (&choice.option, &wanted.option) {
                (Some(text), _) => text.clone(),
                (None, Some((text, _))) => text.clone(),
                (None, None) => default_option(choice.strategy).to_owned(),
            },
        })
        .collect();
    let plan = HeaderPlan {
        parent_hash: parent_hash.to_owned(),
        strategy: wanted.strategy.name().to_owned(),
        base_name: options.base_name.clone(),
        tensors,
    };
    let head = writer::preamble(&writer::header_json(&plan))?;
    // Items, and so the plan's tensors, are sorted by name.
    let at = |name: &String| plan.tensors.binary_search_by(|t| t.name.cmp(name)).ok();
    let order: Vec<usize> = record_order.iter().filter_map(at).collect();
    let ordered: Vec<&HeaderTensor> = order.iter().map(|&i| &plan.tensors[i]).collect();
    let placed = Layout::new(head.len() as u64, &ordered)?;
    let mut records = vec![Vec::new(); items.len()];
    for (i, starts) in order.into_iter().zip(placed.records) {
        records[i] = starts;
    }
    Ok(FileLayout {
        head,
        records,
        size: placed.size,
    })
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
        if let (Some(seen), Some(hashed)) = (&emitted.seen, hashed_of(name)) {
            if seen != hashed {
                return Err(source_changed(name, item.origin.base.source));
            }
        }
    }
    Ok(())
}

/// The error of a base that is not what it was a moment ago.
pub fn source_changed(name: &str, source: u32) -> Error {
    Error::new(
        Code::SourceChanged,
        format!("tensor `{name}`: the base changed while it was read; close whatever writes to it and run again"),
    )
    .tensor(name)
    .source(source)
}

impl Choice {
    /// The strategy asked for, before anything is known of the values.
    fn as_asked(item: &SurveyItem) -> Self {
        Choice {
            strategy: item.strategy,
            kept: item.kept,
            surveyed: None,
            option: None,
            reason: None,
            unchanged: 0,
        }
    }
}

fn report(
    items: &[SurveyItem],
    choices: &[Choice],
    emitted: &[Emitted],
    wanted: &Wanted,
    (bytes, finetuned_bytes): (u64, u64),
    base_hash: String,
    mut findings: Vec<Finding>,
) -> Report {
    let relative = |error_sq: f64, delta_sq: f64| {
        if delta_sq > 0.0 {
            (error_sq / delta_sq).sqrt()
        } else {
            0.0
        }
    };
    let (mut error_sq, mut delta_sq) = (0.0, 0.0);
    let mut tensors = Vec::with_capacity(items.len());
    for ((item, choice), emitted) in items.iter().zip(choices).zip(emitted) {
        let loss = &emitted.loss;
        error_sq += loss.error_sq;
        delta_sq += loss.delta_sq;
        let counts = array_elements(choice.strategy, &item.shape, choice.kept);
        let payload = choice
            .strategy
            .fields()
            .iter()
            .zip(counts)
            .map(|(f, n)| f.dtype.width() as u64 * n)
            .sum();
        let lossy = loss.error_sq > 0.0 && choice.strategy != wanted.strategy;
        if let (Some(reason), true) = (&choice.reason, lossy) {
            findings.push(
                Finding::new(
                    Severity::Warning,
                    "strategy-changed",
                    format!(
                        "{reason}; stored as sparse, with a relative error of {} %",
                        (100.0 * relative(loss.error_sq, loss.delta_sq)).round() as u64
                    ),
                )
                .tensor(&item.origin.name),
            );
        }
        tensors.push(TensorReport {
            name: item.origin.name.clone(),
            dtype: item.finetuned.dtype.name(),
            shape: item.shape.clone(),
            elements: item.finetuned.elements,
            strategy: choice.strategy.name(),
            requested: wanted.strategy.name(),
            reason: choice.reason.clone(),
            bytes: payload,
            unchanged: choice.unchanged,
            relative_error: relative(loss.error_sq, loss.delta_sq),
            largest_error: loss.largest,
        });
    }
    Report {
        job: "encode",
        version: 1,
        strategy: wanted.strategy.name(),
        bytes,
        finetuned_bytes,
        elements: items.iter().map(|i| i.finetuned.elements).sum(),
        base_hash,
        relative_error: relative(error_sq, delta_sq),
        tensors,
        findings,
    }
}
