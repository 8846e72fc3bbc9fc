//! `lineage` of deltas of which one is of version 2.
//!
//! Whether a version 2 delta follows another shows in their indexes; everything else takes the values: the base's, or what
//! a version 1 link rebuilds. The tree grows from the base: what is known is held against every delta that is left.

use super::chain::{open_link, Chain, Link};
use super::decode::expected;
use super::identify::{self, judge_parent, parent_tasks};
use super::open::OpenV2;
use crate::error::Result;
use crate::format::model::Model;
use crate::job::chain::{short, Care};
use crate::job::lineage::{path_to, LinkReport, Parent, Report};
use crate::job::machine::{Io, SourceEntry};
use crate::job::open::delta_sources;
use crate::job::open::open_base;
use crate::job::plan::Plan;
use crate::job::report::{hex, to_json, Finding, Severity};
use std::rc::Rc;

/// Tensors that one task hashes.
const AT_ONCE: usize = 64;

/// Runs the job. Deltas may come in any order and may branch.
pub async fn lineage(io: Io, sources: Vec<SourceEntry>) -> Result<String> {
    let base = open_base(&io, &sources).await?;
    let mut links = Vec::new();
    for source in delta_sources(&sources) {
        links.push(open_link(&io, source, base.as_ref(), Care::Checked).await?);
    }
    let size = |link: &Rc<Link>| match &**link {
        Link::V1(delta) => (delta.tensors.len(), delta.elements()),
        Link::V2(delta) => (delta.index.tensors.len(), super::decode::elements(delta)),
    };
    let (tensors, elements) = links.first().map_or((0, 0), size);
    let reads = base
        .as_ref()
        .map_or(0, |b| b.data_bytes().saturating_mul(links.len() as u64));
    io.plan(
        Plan {
            exact: false,
            ..Plan::reading("lineage", reads, tensors, elements)
        }
        .json()?,
    )
    .await;
    let mut tree = Tree {
        parents: vec![None; links.len()],
        reasons: vec![None; links.len()],
        order: Vec::new(),
        links,
    };
    if let Some(base) = &base {
        tree.grow(&io, base).await?;
    }
    to_json(&tree.report(base.is_some()))
}

struct Tree {
    links: Vec<Rc<Link>>,
    parents: Vec<Option<Parent>>,
    /// Why a delta does not follow the base.
    reasons: Vec<Option<String>>,
    order: Vec<usize>,
}

impl Tree {
    /// Attaches what follows the base, then what follows that, and so on.
    async fn grow(&mut self, io: &Io, base: &Model) -> Result<()> {
        self.children(io, base, Parent::Base).await?;
        let mut grown = 0;
        while grown < self.order.len() && self.parents.iter().any(Option::is_none) {
            let newest = self.order[grown];
            grown += 1;
            self.children(io, base, Parent::Delta(newest)).await?;
        }
        Ok(())
    }

    /// Attaches what follows `parent`.
    async fn children(&mut self, io: &Io, base: &Model, parent: Parent) -> Result<()> {
        let path = match parent {
            Parent::Base => Vec::new(),
            Parent::Delta(i) => path_to(&self.parents, i),
        };
        let chain_of = |more: Option<usize>| -> Result<Chain> {
            let mut chain = Chain {
                base: base.clone(),
                stages: Vec::new(),
            };
            for &i in path.iter().chain(&more) {
                chain.push(self.links[i].clone())?;
            }
            Ok(chain)
        };
        let n = path.len();
        let mut digests: Option<Vec<String>> = None;
        let mut attached = Vec::new();
        let mut reasons = Vec::new();
        for i in (0..self.links.len()).filter(|&i| self.parents[i].is_none()) {
            let chain = match chain_of(Some(i)) {
                Ok(chain) => chain,
                Err(e) => {
                    reasons.push((i, e.message.clone()));
                    continue;
                }
            };
            let follows = match &*self.links[i] {
                Link::V1(_) => {
                    let reports = io.run(parent_tasks(&chain, n)?).await?;
                    judge_parent(&chain, n, &reports)
                        .map(drop)
                        .map_err(|e| e.message.clone())
                }
                Link::V2(delta) => match n.checked_sub(1).map(|before| &*chain.stages[before].link) {
                    // The indexes agree, or there would be no such chain.
                    Some(Link::V2(_)) => Ok(()),
                    _ => {
                        if digests.is_none() {
                            digests = Some(all_digests(io, &chain, n).await?);
                        }
                        same(delta, chain.model(n), digests.as_deref().unwrap_or_default())
                    }
                },
            };
            match follows {
                Ok(()) => attached.push(i),
                Err(reason) => reasons.push((i, reason)),
            }
        }
        if let Parent::Base = parent {
            for (i, reason) in reasons {
                self.reasons[i] = Some(reason);
            }
        }
        for i in attached {
            self.parents[i] = Some(parent);
            self.order.push(i);
        }
        Ok(())
    }

    /// What of the rest follows another one of version 2 by their indexes, though its own parent is not known.
    fn by_index(&self, i: usize) -> Option<usize> {
        let Link::V2(delta) = &*self.links[i] else { return None };
        (0..self.links.len()).find(|&j| match &*self.links[j] {
            Link::V2(before) if j != i => follows(before, delta),
            _ => false,
        })
    }

    fn report(mut self, with_base: bool) -> Report {
        let ok = !with_base || self.parents.iter().all(Option::is_some);
        let links = (0..self.links.len())
            .map(|i| {
                let by_index = if self.parents[i].is_none() { self.by_index(i) } else { None };
                let parent = self.parents[i].or(by_index.map(Parent::Delta));
                let expected = expected(&self.links[i]);
                let of_base = self.reasons[i].take().map_or(String::new(), |r| format!("; held against the base: {r}"));
                let reason = format!(
                    "it was made against a model with hash {}, which neither the base nor any of these deltas gives; a delta in between is missing, or the base is another one{of_base}",
                    short(&expected)
                );
                LinkReport {
                    index: i,
                    parent,
                    state: match (parent, with_base) {
                        (Some(_), _) => "verified",
                        (None, true) => "broken",
                        (None, false) => "not checked",
                    },
                    expected,
                    found: None,
                    reason: (parent.is_none() && with_base).then_some(reason),
                }
            })
            .collect::<Vec<_>>();
        let mut findings = Vec::new();
        if !with_base {
            findings.push(Finding::new(
                Severity::Note,
                "no-base",
                "without the base only links between deltas of version 2 can be checked; give the base",
            ));
        }
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
            links,
            findings,
        }
    }
}

/// Digests in hex of all tensors of the model after `n` links, in its order.
async fn all_digests(io: &Io, chain: &Chain, n: usize) -> Result<Vec<String>> {
    let names: Vec<&str> = chain.model(n).tensors.iter().map(|t| t.name.as_str()).collect();
    let tasks = names.chunks(AT_ONCE).map(|some| identify::task(chain, n, some, true));
    let mut digests = Vec::with_capacity(names.len());
    for report in io.run(tasks.collect::<Result<_>>()?).await? {
        digests.extend(identify::hashes(&report)?);
    }
    Ok(digests)
}

/// Whether the tensors that a delta was made against have the digests that it names; which do not, if not.
fn same(delta: &OpenV2, model: &Model, digests: &[String]) -> std::result::Result<(), String> {
    let mut other = Vec::new();
    for base in delta.index.tensors.iter().filter_map(|t| t.base.as_ref()) {
        let at = model.tensors.binary_search_by(|t| t.name.cmp(&base.name));
        let found = at.ok().and_then(|at| digests.get(at));
        if found != Some(&hex(&base.digest)) {
            other.push(base.name.as_str());
        }
    }
    match other.len() {
        0 => Ok(()),
        n => Err(format!(
            "{n} of {} tensors have other values: {}",
            delta.index.tensors.len(),
            crate::job::report::list_names(other)
        )),
    }
}

/// Whether all that a delta was made against is what `before` rebuilds.
fn follows(before: &OpenV2, delta: &OpenV2) -> bool {
    let mut bases = delta.index.tensors.iter().filter_map(|t| t.base.as_ref()).peekable();
    bases.peek().is_some()
        && bases.all(|b| {
            let found = before.find(&b.name).map(|t| &before.index.tensors[t]);
            found.is_some_and(|t| (t.dtype, &t.shape, t.digest) == (b.dtype, &b.shape, b.digest))
        })
}
