//! `lineage`: which delta follows which, and whether each link holds.

use super::chain::{self, short};
use super::hashing::{self, ModelHash};
use super::machine::{Io, Role, SourceEntry, TaskSpec};
use super::open::{delta_sources, groups_of, open_base, OpenDelta};
use super::options::NoOptions;
use super::plan::Plan;
use super::report::{from_wire, to_json, Finding, Severity};
use super::v2::open::any_v2;
use crate::error::{Code, Error, Result};
use crate::format::model::Model;
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct Report {
    pub(super) ok: bool,
    pub(super) order: Vec<usize>,
    pub(super) links: Vec<LinkReport>,
    pub(super) findings: Vec<Finding>,
}

#[derive(Serialize)]
pub(super) struct LinkReport {
    pub(super) index: usize,
    pub(super) parent: Option<Parent>,
    pub(super) state: &'static str,
    pub(super) expected: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) found: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
}

/// `"base"`, or the number of a delta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parent {
    Base,
    Delta(usize),
}

impl Serialize for Parent {
    fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Parent::Base => s.serialize_str("base"),
            Parent::Delta(i) => s.serialize_u64(*i as u64),
        }
    }
}

/// Runs the job. Deltas may come in any order and may branch.
pub async fn lineage(io: Io, sources: Vec<SourceEntry>, _: NoOptions) -> Result<String> {
    let delta_sources = delta_sources(&sources);
    if delta_sources.is_empty() {
        return Err(Error::new(
            Code::Usage,
            "no delta was given; name the .wdelta files whose order you want to know",
        ));
    }
    if any_v2(&io, &sources, groups_of(&sources, Role::Delta)).await? {
        return super::v2::lineage::lineage(io, sources).await;
    }
    let base = open_base(&io, &sources).await?;
    let model = base.as_ref();
    let deltas = chain::open_chain(&io, &delta_sources, model, chain::Care::Checked).await?;
    let reads = model.map_or(0, |m| m.tensors.iter().map(|t| t.range.len).sum::<u64>());
    let reads = reads * deltas.len() as u64;
    io.plan(
        Plan {
            exact: false,
            ..Plan::reading("lineage", reads, deltas[0].tensors.len(), deltas[0].elements())
        }
        .json()?,
    )
    .await;
    match model {
        Some(model) => to_json(&with_base(&io, model, &deltas).await?),
        None => to_json(&without_base(&deltas)),
    }
}

fn without_base(deltas: &[OpenDelta]) -> Report {
    let mut findings = vec![Finding::new(
        Severity::Note,
        "no-base",
        "without the base no link can be checked: a delta names only the hash of the model before it; give the base",
    )];
    for (i, d) in deltas.iter().enumerate() {
        if let Some(first) = deltas[..i]
            .iter()
            .position(|e| e.header.parent_hash == d.header.parent_hash)
        {
            findings.push(Finding::new(
                Severity::Note,
                "siblings",
                format!("deltas {} and {} were made against the same model", first + 1, i + 1),
            ));
        }
    }
    Report {
        ok: true,
        order: (0..deltas.len()).collect(),
        links: deltas
            .iter()
            .enumerate()
            .map(|(index, d)| LinkReport {
                index,
                parent: None,
                state: "not checked",
                expected: d.header.parent_hash.clone(),
                found: None,
                reason: None,
            })
            .collect(),
        findings,
    }
}

/// Grows the tree from the base: hash what is known, attach the deltas that name it, go on with what those rebuild.
async fn with_base(io: &Io, model: &Model, deltas: &[OpenDelta]) -> Result<Report> {
    let mut parents: Vec<Option<Parent>> = vec![None; deltas.len()];
    let mut reasons: Vec<Option<String>> = deltas
        .iter()
        .map(|d| chain::check_fit(model, &[d]).err().map(|e| e.message.clone()))
        .collect();
    let mut order = Vec::new();
    let mut tasks = Vec::new();
    let mut owners = Vec::new();
    let mut asked: Vec<Vec<String>> = Vec::new();
    for (i, delta) in deltas.iter().enumerate().filter(|(i, _)| reasons[*i].is_none()) {
        for (_, names) in chain::candidate_orders(model, delta) {
            match asked.iter().position(|a| *a == names) {
                Some(known) => owners.push((known, i)),
                None => {
                    owners.push((asked.len(), i));
                    tasks.push(hashing::model_task("base", chain::ranges(model, &names))?);
                    asked.push(names);
                }
            }
        }
    }
    let hashes: Vec<String> = io
        .run(tasks)
        .await?
        .iter()
        .map(|r| from_wire::<ModelHash>(r).map(|h| h.sha256))
        .collect::<Result<_>>()?;
    for (asked, i) in owners {
        if parents[i].is_none() && hashes[asked] == deltas[i].header.parent_hash {
            parents[i] = Some(Parent::Base);
            order.push(i);
        }
    }
    let mut known = hashes.first().cloned().unwrap_or_default();
    let mut grown = 0;
    while grown < order.len() && parents.iter().any(Option::is_none) {
        let newest: Vec<usize> = order[grown..].to_vec();
        grown = order.len();
        let mut tasks: Vec<TaskSpec> = Vec::new();
        for &i in &newest {
            let path = path_to(&parents, i);
            let links: Vec<&OpenDelta> = path.iter().map(|&p| &deltas[p]).collect();
            let origins = chain::origins(model, &links);
            tasks.push(hashing::values_task("chain", origins, vec![links.len()])?);
        }
        for (&i, report) in newest.iter().zip(io.run(tasks).await?) {
            let found = from_wire::<Vec<String>>(&report)?.swap_remove(0);
            for (j, delta) in deltas.iter().enumerate() {
                if parents[j].is_none() && delta.header.parent_hash == found {
                    parents[j] = Some(Parent::Delta(i));
                    order.push(j);
                }
            }
            known = found;
        }
    }
    let ok = parents.iter().all(Option::is_some);
    let links = (0..deltas.len())
        .map(|i| {
            let verified = parents[i].is_some();
            LinkReport {
                index: i,
                parent: parents[i],
                state: if verified { "verified" } else { "broken" },
                expected: deltas[i].header.parent_hash.clone(),
                found: (!verified).then(|| known.clone()),
                reason: (!verified).then(|| {
                    reasons[i].take().unwrap_or_else(|| {
                        format!(
                            "it was made against a model with hash {}, which neither the base nor any of these deltas gives; a delta in between is missing, or the base is another one",
                            short(&deltas[i].header.parent_hash)
                        )
                    })
                }),
            }
        })
        .collect();
    for i in 0..deltas.len() {
        if !order.contains(&i) {
            order.push(i);
        }
    }
    Ok(Report {
        ok,
        order,
        links,
        findings: Vec::new(),
    })
}

/// The deltas from the base to `i`, in order.
pub(super) fn path_to(parents: &[Option<Parent>], i: usize) -> Vec<usize> {
    let mut path = vec![i];
    let mut at = i;
    while let Some(Parent::Delta(p)) = parents[at] {
        path.push(p);
        at = p;
    }
    path.reverse();
    path
}
