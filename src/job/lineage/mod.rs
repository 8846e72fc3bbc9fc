//! `lineage`: which delta follows which, and whether each link holds.
//!
//! The tree grows from the base: what is known is held against every delta that is left.

pub(super) mod tree;

use super::chain::{self, short, Care};
use super::hashing::{self, ModelHash};
use super::machine::{Io, Role, SourceEntry};
use super::open::{delta_sources, groups_of, open_base};
use super::options::NoOptions;
use super::plan::Plan;
use super::report::{from_wire, to_json, Finding, Severity};
use super::v2;
use super::v2::chain::{of_v1, open_links};
use super::v2::open::any_v2;
use super::v2::result::expected;
use crate::error::{Code, Error, Result};
use crate::format::model::Model;
use serde::Serialize;
use tree::{path_to, LineageTree, Parent};

#[derive(Serialize)]
struct Report {
    ok: bool,
    order: Vec<usize>,
    links: Vec<LinkReport>,
    findings: Vec<Finding>,
}

#[derive(Serialize)]
struct LinkReport {
    index: usize,
    parent: Option<Parent>,
    state: &'static str,
    expected: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Runs the job. Deltas may come in any order and may branch.
pub async fn lineage(io: Io, sources: Vec<SourceEntry>, _: NoOptions) -> Result<String> {
    let deltas = delta_sources(&sources);
    if deltas.is_empty() {
        return Err(Error::new(
            Code::Usage,
            "no delta was given; name the .wdelta files whose order you want to know",
        ));
    }
    let any_v2 = any_v2(&io, &sources, groups_of(&sources, Role::Delta)).await?;
    let base = open_base(&io, &sources).await?;
    let links = open_links(&io, &deltas, base.as_ref(), Care::Checked, any_v2).await?;
    let of_base = base.as_ref().map_or(0, Model::data_bytes);
    let reads = of_base.saturating_mul(links.len() as u64);
    let (tensors, elements) = links[0].size();
    let plan = Plan {
        exact: false,
        ..Plan::reading("lineage", reads, tensors, elements)
    };
    plan.announce(&io).await?;
    let mut tree = LineageTree {
        parents: vec![None; links.len()],
        reasons: vec![None; links.len()],
        order: Vec::new(),
        found: None,
        links,
        any_v2,
    };
    match &base {
        Some(base) if any_v2 => v2::lineage::grow(&mut tree, &io, base).await?,
        Some(base) => grow(&mut tree, &io, base).await?,
        None => {}
    }
    to_json(&tree.report(base.is_some()))
}

/// Grows the tree of deltas of version 1: hash what is known, attach the deltas that name it, go on with what those rebuild.
async fn grow(tree: &mut LineageTree, io: &Io, base: &Model) -> Result<()> {
    let links = tree.links.clone();
    let deltas = of_v1(&links);
    // The orders in which the base is hashed, and which of them may have been taken for which delta.
    let mut orders: Vec<Vec<String>> = Vec::new();
    let mut candidates = Vec::new();
    for (i, &delta) in deltas.iter().enumerate() {
        if let Err(e) = chain::check_fit(base, &[delta]) {
            tree.reasons[i] = Some(e.message.clone());
            continue;
        }
        for (_, names) in chain::candidate_orders(base, delta) {
            let known = orders.iter().position(|o| *o == names);
            candidates.push((i, known.unwrap_or(orders.len())));
            if known.is_none() {
                orders.push(names);
            }
        }
    }
    let tasks = orders
        .iter()
        .map(|names| hashing::model_task("base", chain::ranges(base, names)));
    let mut hashes = Vec::with_capacity(orders.len());
    for report in io.run(tasks.collect::<Result<_>>()?).await? {
        hashes.push(from_wire::<ModelHash>(&report)?.sha256);
    }
    for (i, order) in candidates {
        tree.attach(i, &deltas[i].header.parent_hash, Parent::Base, &hashes[order]);
    }
    tree.found = Some(hashes.first().cloned().unwrap_or_default());
    let mut grown = 0;
    while grown < tree.order.len() && tree.parents.iter().any(Option::is_none) {
        let newest: Vec<usize> = tree.order[grown..].to_vec();
        grown = tree.order.len();
        let rebuilt = |&i: &usize| {
            let path: Vec<_> = path_to(&tree.parents, i).iter().map(|&p| deltas[p]).collect();
            hashing::values_task("chain", chain::origins(base, &path), vec![path.len()])
        };
        let tasks = newest.iter().map(rebuilt).collect::<Result<_>>()?;
        for (&i, report) in newest.iter().zip(io.run(tasks).await?) {
            let found = from_wire::<Vec<String>>(&report)?.swap_remove(0);
            for (j, delta) in deltas.iter().enumerate() {
                tree.attach(j, &delta.header.parent_hash, Parent::Delta(i), &found);
            }
            tree.found = Some(found);
        }
    }
    Ok(())
}

impl LineageTree {
    /// Attaches delta `i` if it has no parent yet and this one has the hash that it names.
    fn attach(&mut self, i: usize, expected: &str, parent: Parent, found: &str) {
        if self.parents[i].is_none() && expected == found {
            self.parents[i] = Some(parent);
            self.order.push(i);
        }
    }

    fn report(mut self, with_base: bool) -> Report {
        let ok = !with_base || self.parents.iter().all(Option::is_some);
        let links: Vec<LinkReport> = (0..self.links.len()).map(|i| self.link(i, with_base)).collect();
        // Parents before children, as far as they are known.
        while self.order.len() < links.len() {
            let ready = |i: &usize| match links[*i].parent {
                Some(Parent::Delta(p)) => self.order.contains(&p),
                _ => true,
            };
            let left = || (0..links.len()).filter(|i| !self.order.contains(i));
            match left().find(ready).or(left().next()) {
                Some(next) => self.order.push(next),
                None => break,
            }
        }
        Report {
            ok,
            order: self.order,
            findings: match with_base {
                true => Vec::new(),
                false => without_base(&links, self.any_v2),
            },
            links,
        }
    }

    fn link(&self, i: usize, with_base: bool) -> LinkReport {
        let by_index = || v2::lineage::by_index(&self.links, i).map(Parent::Delta);
        let parent = self.parents[i].or_else(by_index);
        let expected = expected(&self.links[i]);
        let reason = || {
            match &self.reasons[i] {
            None => format!(
                "it was made against a model with hash {}, which neither the base nor any of these deltas gives; a delta in between is missing, or the base is another one",
                short(&expected)
            ),
            Some(of_base) if self.any_v2 => format!("{of_base}; none of these deltas gives its base either"),
            Some(of_base) => of_base.clone(),
        }
        };
        LinkReport {
            index: i,
            parent,
            state: match (parent, with_base) {
                (Some(_), _) => "verified",
                (None, true) => "broken",
                (None, false) => "not checked",
            },
            found: self.found.clone().filter(|_| parent.is_none()),
            reason: (parent.is_none() && with_base).then(reason),
            expected,
        }
    }
}

/// What there is to say where no link can be held against a base.
fn without_base(links: &[LinkReport], any_v2: bool) -> Vec<Finding> {
    let note = |code, text: String| Finding::new(Severity::Note, code, text);
    let text = match any_v2 {
        true => "without the base only links between deltas of version 2 can be checked; give the base",
        false => {
            "without the base no link can be checked: a delta names only the hash of the model before it; give the base"
        }
    };
    let mut findings = vec![note("no-base", text.into())];
    for (i, link) in links.iter().enumerate().filter(|_| !any_v2) {
        if let Some(first) = links[..i].iter().position(|l| l.expected == link.expected) {
            let text = format!("deltas {} and {} were made against the same model", first + 1, i + 1);
            findings.push(note("siblings", text));
        }
    }
    findings
}
