//! `diff`: two models or two deltas, tensor by tensor.

pub mod compare;

use super::chain;
use super::changes::{Change, MovedTensor};
use super::machine::{Io, Role, SourceEntry};
use super::open::{head, open_base, open_model, sources_of};
use super::options::NoOptions;
use super::placed::TensorRange;
use super::plan::Plan;
use super::report::{found, to_json};
use super::task::{grouped, Task};
use super::v2::chain::{open_link, Chain, Link};
use super::v2::open::is_v2;
use super::v2::past::Past;
use crate::error::{shape_text, Code, Error, Result};
use crate::format::model::{Model, Tensor};
use crate::format::{self, Kind};
use crate::kernels::v2::element::Layout;
use crate::order::{rearranged, sorted_positions};
use compare::{DiffItem, DiffSides, Sums};
use serde::Serialize;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    kind: &'static str,
    only_a: Vec<String>,
    only_b: Vec<String>,
    changed: Vec<Changed>,
    tensors: Vec<Alike>,
    totals: Alike,
}

#[derive(Serialize)]
struct Changed {
    name: String,
    a: String,
    b: String,
    what: &'static str,
}

impl Changed {
    fn new(name: &str, what: &'static str, a: String, b: String) -> Self {
        let name = name.to_owned();
        Self { name, a, b, what }
    }
}

/// How alike the sides are, in one tensor or in all.
#[derive(Serialize, Default)]
struct Alike {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    elements: u64,
    equal: u64,
    distance: f64,
    relative: Option<f64>,
    cosine: Option<f64>,
}

impl Alike {
    /// Of a tensor whose values are still to be compared.
    fn new(name: &str, elements: u64) -> Self {
        Self {
            name: Some(name.to_owned()),
            elements,
            ..Self::default()
        }
    }

    fn set(&mut self, sums: &Sums) {
        self.equal = sums.equal;
        self.distance = sums.apart_sq.sqrt();
        self.relative = sums.relative();
        self.cosine = sums.cosine();
    }
}

/// Runs the job.
pub async fn diff(io: Io, sources: Vec<SourceEntry>, _: NoOptions) -> Result<String> {
    let (a, b) = (sources_of(&sources, Role::A, 0), sources_of(&sources, Role::B, 0));
    if a.is_empty() || b.is_empty() {
        return Err(Error::new(Code::Usage, "diff takes two models or two deltas"));
    }
    let (mut report, items, chains) = match (is_delta(&io, &a).await?, is_delta(&io, &b).await?) {
        (true, true) => of_deltas(&io, &sources, a[0], b[0]).await?,
        (false, false) => of_models(&io, &sources).await?,
        _ => {
            return Err(Error::new(
                Code::Usage,
                "a model and a delta cannot be compared; give two models or two deltas",
            ))
        }
    };
    let reads = items.iter().map(DiffItem::cost).sum();
    let elements = report.tensors.iter().map(|t| t.elements).sum();
    let plan = Plan::reading("diff", reads, items.len(), elements);
    plan.announce(&io).await?;
    let task = |mut items: Vec<DiffItem>| {
        let mut pasts = Vec::new();
        for (side, chain) in chains.iter().enumerate() {
            pasts.push(set_past(chain.as_ref(), &mut items, side)?);
        }
        Ok(Task::Diff { items, pasts })
    };
    let tasks = grouped(items, "reading", DiffItem::weight, |i| &i.name, task)?;
    let mut sums = Vec::with_capacity(report.tensors.len());
    for report in io.run(tasks).await? {
        sums.extend(found::<Vec<Sums>>(&report)?);
    }
    let mut total = Sums::default();
    for (tensor, s) in report.tensors.iter_mut().zip(&sums) {
        total.add(s);
        tensor.set(s);
    }
    report.totals.elements = elements;
    report.totals.set(&total);
    to_json(&report)
}

/// True when one file was given and it starts like a delta.
async fn is_delta(io: &Io, sources: &[u32]) -> Result<bool> {
    let &[only] = sources else { return Ok(false) };
    Ok(matches!(format::sniff(&head(io, only).await?), Kind::Wdelta { .. }))
}

fn empty_report(kind: &'static str) -> Report {
    Report {
        kind,
        only_a: Vec::new(),
        only_b: Vec::new(),
        changed: Vec::new(),
        tensors: Vec::new(),
        totals: Alike::default(),
    }
}

/// What there is to say so far, what is compared, and the chains of version 2 deltas.
type Opened = (Report, Vec<DiffItem>, [Option<Chain>; 2]);

/// A tensor of a delta that is compared.
struct Held {
    name: String,
    shape: Vec<u64>,
    strategy: &'static str,
    change: Change,
}

/// The tensors of a delta by name. A version 2 delta needs its base, and is given as the chain of both: what moves its
/// tensors is only found for tasks, see [`set_past`].
async fn held(io: &Io, source: u32, base: Option<&Model>) -> Result<(Vec<Held>, Option<Chain>)> {
    if !is_v2(io, source).await? {
        let link = open_link(io, source, base, chain::Care::Checked).await?;
        let Link::V1(delta) = &*link else {
            return Ok((Vec::new(), None));
        };
        let tensors = delta.header.tensors.iter().zip(&delta.tensors);
        let mut held: Vec<Held> = tensors
            .map(|(t, placed)| Held {
                name: t.name.clone(),
                shape: t.shape.clone(),
                strategy: t.strategy.name(),
                change: Change::V1(placed.clone()),
            })
            .collect();
        let order = sorted_positions(held.len(), &|a, b| held[a].name.cmp(&held[b].name));
        held = rearranged(held, &order);
        return Ok((held, None));
    }
    let Some(base) = base else {
        return Err(Error::new(
            Code::Usage,
            "a version 2 delta says how far values move only where its base is known: give the base",
        )
        .source(source));
    };
    let chain = Chain::open(io, base.clone(), &[source], chain::Care::Checked).await?;
    let Some(Link::V2(delta)) = chain.last_link() else {
        return Ok((Vec::new(), None));
    };
    let of = |t: &Tensor| {
        let record = delta.find(&t.name).map(|i| &delta.index.tensors[i]);
        Held {
            name: t.name.clone(),
            shape: t.shape.clone(),
            strategy: record.map_or("", |r| r.op_name()),
            change: Change::V2(MovedTensor {
                words: t.range.len / Layout::of(t.dtype).bytes() as u64,
                cost: 2 * chain.cost(1, &t.name),
                ..MovedTensor::default()
            }),
        }
    };
    let held = chain.last().tensors.iter().map(of).collect();
    Ok((held, Some(chain)))
}

/// Sets what moves the tensors of one side of a task, if a version 2 delta does, and gives the past that they share.
fn set_past(chain: Option<&Chain>, items: &mut [DiffItem], side: usize) -> Result<Past> {
    let Some(chain) = chain else {
        return Ok(Past::default());
    };
    let names: Vec<&str> = items.iter().map(|i| i.name.as_str()).collect();
    let (past, moved) = chain.moved(&names)?;
    for (item, moved) in items.iter_mut().zip(moved) {
        if let DiffSides::Deltas { a, b } = &mut item.sides {
            *[a, b][side] = Change::V2(moved);
        }
    }
    Ok(past)
}

async fn of_deltas(io: &Io, sources: &[SourceEntry], a: u32, b: u32) -> Result<Opened> {
    let base = open_base(io, sources).await?;
    let (a, chain_a) = held(io, a, base.as_ref()).await?;
    let (b, chain_b) = held(io, b, base.as_ref()).await?;
    let mut report = empty_report("deltas");
    let find = |all: &[Held], name: &str| all.binary_search_by(|h| h.name.as_str().cmp(name)).ok();
    let missing = |from: &[Held], to: &[Held]| {
        let names = from.iter().map(|h| h.name.clone());
        names.filter(|n| find(to, n).is_none()).collect::<Vec<_>>()
    };
    report.only_a = missing(&a, &b);
    report.only_b = missing(&b, &a);
    let mut items = Vec::new();
    for of_a in a {
        let Some(of_b) = find(&b, &of_a.name).map(|i| &b[i]) else {
            continue;
        };
        let mut changed = |what, a, b| report.changed.push(Changed::new(&of_a.name, what, a, b));
        let values = of_a.change.values();
        if of_a.shape != of_b.shape || values != of_b.change.values() {
            changed("shape", shape_text(&of_a.shape), shape_text(&of_b.shape));
            continue;
        }
        if of_a.strategy != of_b.strategy {
            changed("strategy", of_a.strategy.to_owned(), of_b.strategy.to_owned());
        }
        report.tensors.push(Alike::new(&of_a.name, values));
        items.push(DiffItem {
            name: of_a.name,
            sides: DiffSides::Deltas {
                a: of_a.change,
                b: of_b.change.clone(),
            },
        });
    }
    Ok((report, items, [chain_a, chain_b]))
}

async fn of_models(io: &Io, sources: &[SourceEntry]) -> Result<Opened> {
    let a = open_model(io, sources, Role::A, 0).await?.model;
    let b = open_model(io, sources, Role::B, 0).await?.model;
    let base = open_base(io, sources).await?;
    let mut report = empty_report("models");
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    report.only_a = owned(b.lacks(&a));
    report.only_b = owned(a.lacks(&b));
    let mut items = Vec::new();
    for of_a in &a.tensors {
        let Some(of_b) = b.find(&of_a.name) else { continue };
        let mut changed = |what, a, b| report.changed.push(Changed::new(&of_a.name, what, a, b));
        if of_a.shape != of_b.shape {
            changed("shape", shape_text(&of_a.shape), shape_text(&of_b.shape));
            continue;
        }
        if of_a.dtype != of_b.dtype {
            changed("dtype", of_a.dtype.name().to_owned(), of_b.dtype.name().to_owned());
        }
        if !(of_a.dtype.to_f32_defined() && of_b.dtype.to_f32_defined()) {
            continue;
        }
        let of_base = base
            .as_ref()
            .and_then(|m| m.find(&of_a.name))
            .filter(|t| t.shape == of_a.shape);
        report.tensors.push(Alike::new(&of_a.name, of_a.elements));
        let sides = DiffSides::Models {
            a: TensorRange::from(of_a),
            b: TensorRange::from(of_b),
            base: of_base.filter(|t| t.dtype.to_f32_defined()).map(TensorRange::from),
        };
        items.push(DiffItem {
            name: of_a.name.clone(),
            sides,
        });
    }
    Ok((report, items, [None, None]))
}
