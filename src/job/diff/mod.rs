//! `diff`: two models or two deltas, tensor by tensor.

pub mod compare;

use super::chain;
use super::changes::Change;
use super::machine::{Io, Role, SourceEntry};
use super::open::{open_base, open_model, sources_of};
use super::options::NoOptions;
use super::placed::TensorRange;
use super::plan::Plan;
use super::report::{found, to_json};
use super::task::{grouped, Task};
use super::v2::chain::{open_link, Chain, Link};
use super::v2::open::is_v2;
use crate::error::{shape_text, Code, Error, Result};
use crate::format::model::{Model, Tensor};
use crate::format::{self, Kind};
use crate::order::{rearranged, sorted_positions};
use compare::{DiffItem, Sides, Sums};
use serde::Serialize;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    kind: &'static str,
    only_a: Vec<String>,
    only_b: Vec<String>,
    changed: Vec<Changed>,
    tensors: Vec<TensorReport>,
    totals: Totals,
}

#[derive(Serialize)]
struct Changed {
    name: String,
    a: String,
    b: String,
    what: &'static str,
}

#[derive(Serialize)]
struct TensorReport {
    name: String,
    elements: u64,
    equal: u64,
    distance: f64,
    relative: Option<f64>,
    cosine: Option<f64>,
}

#[derive(Serialize)]
struct Totals {
    elements: u64,
    equal: u64,
    distance: f64,
    relative: Option<f64>,
    cosine: Option<f64>,
}

/// Runs the job.
pub async fn diff(io: Io, sources: Vec<SourceEntry>, _: NoOptions) -> Result<String> {
    let (a, b) = (sources_of(&sources, Role::A, 0), sources_of(&sources, Role::B, 0));
    if a.is_empty() || b.is_empty() {
        return Err(Error::new(Code::Usage, "diff takes two models or two deltas"));
    }
    let (mut report, items) = match (is_delta(&io, &a).await?, is_delta(&io, &b).await?) {
        (true, true) => of_deltas(&io, &sources, a[0], b[0]).await?,
        (false, false) => of_models(&io, &sources).await?,
        _ => {
            return Err(Error::new(
                Code::Usage,
                "a model and a delta cannot be compared; give two models or two deltas",
            ))
        }
    };
    let costs: u64 = items.iter().map(DiffItem::cost).sum();
    let reads = costs;
    io.plan(Plan::reading("diff", reads, items.len(), items.iter().map(DiffItem::elements).sum()).json()?)
        .await;
    let listed = items.clone();
    let tasks = grouped(
        items,
        "reading",
        DiffItem::cost,
        |i| &i.name,
        |items| Task::Diff { items },
    )?;
    let mut sums = Vec::with_capacity(listed.len());
    for report in io.run(tasks).await? {
        sums.extend(found::<Vec<Sums>>(&report)?);
    }
    let mut total = Sums::default();
    for (item, s) in listed.iter().zip(&sums) {
        total.add(s);
        report.totals.elements += item.elements();
        report.tensors.push(TensorReport {
            name: item.name.clone(),
            elements: item.elements(),
            equal: s.equal,
            distance: s.apart_sq.sqrt(),
            relative: s.relative(),
            cosine: s.cosine(),
        });
    }
    report.totals.equal = total.equal;
    report.totals.distance = total.apart_sq.sqrt();
    report.totals.relative = total.relative();
    report.totals.cosine = total.cosine();
    to_json(&report)
}

/// True when one file was given and it starts like a delta.
async fn is_delta(io: &Io, sources: &[u32]) -> Result<bool> {
    let &[only] = sources else { return Ok(false) };
    let head = io.read_vec(only, 0, io.size(only).min(16) as usize).await?;
    Ok(matches!(format::sniff(&head), Kind::Wdelta { .. }))
}

fn empty_report(kind: &'static str) -> Report {
    Report {
        kind,
        only_a: Vec::new(),
        only_b: Vec::new(),
        changed: Vec::new(),
        tensors: Vec::new(),
        totals: Totals {
            elements: 0,
            equal: 0,
            distance: 0.0,
            relative: None,
            cosine: None,
        },
    }
}

/// A tensor of a delta that is compared.
struct Held {
    name: String,
    shape: Vec<u64>,
    strategy: &'static str,
    change: Change,
}

/// The tensors of a delta by name. A version 2 delta needs its base.
async fn held(io: &Io, source: u32, base: Option<&Model>) -> Result<Vec<Held>> {
    if !is_v2(io, source).await? {
        let link = open_link(io, source, base, chain::Care::Checked).await?;
        let Link::V1(delta) = &*link else { return Ok(Vec::new()) };
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
        return Ok(held);
    }
    let Some(base) = base else {
        return Err(Error::new(
            Code::Usage,
            "a version 2 delta says how far values move only where its base is known: give the base",
        )
        .source(source));
    };
    let chain = Chain::open(io, base.clone(), &[source], chain::Care::Checked).await?;
    let Some(Link::V2(delta)) = chain.stages.last().map(|s| &*s.link) else {
        return Ok(Vec::new());
    };
    let of = |t: &Tensor| {
        let record = delta.find(&t.name).map(|i| &delta.index.tensors[i]);
        Ok(Held {
            name: t.name.clone(),
            shape: t.shape.clone(),
            strategy: record.map_or("", |r| r.op_name()),
            change: {
                let (past, mut moved) = chain.moved(&[&t.name])?;
                Change::V2(past, moved.swap_remove(0))
            },
        })
    };
    chain.last().tensors.iter().map(of).collect()
}

async fn of_deltas(io: &Io, sources: &[SourceEntry], a: u32, b: u32) -> Result<(Report, Vec<DiffItem>)> {
    let base = open_base(io, sources).await?;
    let a = held(io, a, base.as_ref()).await?;
    let b = held(io, b, base.as_ref()).await?;
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
        let mut changed = |what, a: String, b: String| {
            report.changed.push(Changed {
                name: of_a.name.clone(),
                a,
                b,
                what,
            });
        };
        if of_a.shape != of_b.shape || of_a.change.values() != of_b.change.values() {
            changed("shape", shape_text(&of_a.shape), shape_text(&of_b.shape));
            continue;
        }
        if of_a.strategy != of_b.strategy {
            changed("strategy", of_a.strategy.to_owned(), of_b.strategy.to_owned());
        }
        items.push(DiffItem {
            name: of_a.name,
            sides: Sides::Deltas {
                a: of_a.change,
                b: of_b.change.clone(),
            },
        });
    }
    Ok((report, items))
}

async fn of_models(io: &Io, sources: &[SourceEntry]) -> Result<(Report, Vec<DiffItem>)> {
    let a = open_model(io, sources, Role::A, 0).await?.model;
    let b = open_model(io, sources, Role::B, 0).await?.model;
    let base = open_base(io, sources).await?;
    let mut report = empty_report("models");
    let missing = |from: &Model, to: &Model| {
        from.tensors
            .iter()
            .map(|t| t.name.clone())
            .filter(|n| to.find(n).is_none())
            .collect::<Vec<_>>()
    };
    report.only_a = missing(&a, &b);
    report.only_b = missing(&b, &a);
    let mut items = Vec::new();
    for of_a in &a.tensors {
        let Some(of_b) = b.find(&of_a.name) else { continue };
        let mut changed = |what, a: String, b: String| {
            report.changed.push(Changed {
                name: of_a.name.clone(),
                a,
                b,
                what,
            });
        };
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
        items.push(DiffItem {
            name: of_a.name.clone(),
            sides: Sides::Models {
                a: TensorRange::from(of_a),
                b: TensorRange::from(of_b),
                base: of_base.filter(|t| t.dtype.to_f32_defined()).map(TensorRange::from),
            },
        });
    }
    Ok((report, items))
}
