//! The lineage of deltas of which one is of version 2.
//!
//! Whether a version 2 delta follows another shows in their indexes; everything else takes the values: the base's, or what
//! a version 1 link rebuilds.

use super::chain::{Chain, Link};
use super::identify::hashes;
use super::open::OpenV2;
use super::parent_hash::{hash_task, judge_parent, parent_tasks};
use crate::error::Result;
use crate::format::model::Model;
use crate::job::lineage::tree::{path_to, LineageTree, Parent};
use crate::job::machine::Io;
use crate::job::report::{hex, list_names};
use std::rc::Rc;

/// Attaches what follows the base, then what follows that, and so on.
pub(in crate::job) async fn grow(tree: &mut LineageTree, io: &Io, base: &Model) -> Result<()> {
    children(tree, io, base, Parent::Base).await?;
    let mut grown = 0;
    while grown < tree.order.len() && tree.parents.iter().any(Option::is_none) {
        let newest = tree.order[grown];
        grown += 1;
        children(tree, io, base, Parent::Delta(newest)).await?;
    }
    Ok(())
}

/// Attaches what follows `parent`.
async fn children(tree: &mut LineageTree, io: &Io, base: &Model, parent: Parent) -> Result<()> {
    let path = match parent {
        Parent::Base => Vec::new(),
        Parent::Delta(i) => path_to(&tree.parents, i),
    };
    let mut stem = Stem::of(base, path.iter().map(|&i| tree.links[i].clone()))?;
    for i in 0..tree.links.len() {
        if tree.parents[i].is_some() {
            continue;
        }
        match (stem.takes(io, &tree.links[i]).await?, parent) {
            (Ok(()), _) => {
                tree.parents[i] = Some(parent);
                tree.order.push(i);
            }
            (Err(reason), Parent::Base) => tree.reasons[i] = Some(reason),
            (Err(_), Parent::Delta(_)) => {}
        }
    }
    Ok(())
}

/// A chain that deltas are tried on, and what was found of the model that it rebuilds: each of them asks for the same.
struct Stem {
    chain: Chain,
    /// Links without the one that is tried.
    n: usize,
    /// Digests of all tensors, for deltas of version 2.
    digests: Option<Vec<String>>,
    /// Which hashes deltas of version 1 asked for last.
    asked: Vec<Vec<u8>>,
    hashed: Vec<Vec<u8>>,
}

impl Stem {
    fn of(base: &Model, links: impl Iterator<Item = Rc<Link>>) -> Result<Self> {
        let mut chain = Chain {
            base: base.clone(),
            stages: Vec::new(),
        };
        for link in links {
            chain.push(link)?;
        }
        Ok(Self {
            n: chain.stages.len(),
            chain,
            digests: None,
            asked: Vec::new(),
            hashed: Vec::new(),
        })
    }

    /// Whether a link follows; why not, if it does not.
    async fn takes(&mut self, io: &Io, link: &Rc<Link>) -> Result<std::result::Result<(), String>> {
        let n = self.n;
        // In the place of the one that was tried before.
        self.chain.stages.truncate(n);
        if let Err(e) = self.chain.push(link.clone()) {
            return Ok(Err(e.message.clone()));
        }
        match (&**link, self.chain.link(n)) {
            (Link::V1(_), _) => {
                let tasks = parent_tasks(&self.chain, n)?;
                let specs: Vec<_> = tasks.iter().map(|t| t.spec.clone()).collect();
                if self.asked != specs {
                    (self.asked, self.hashed) = (specs, io.run(tasks).await?);
                }
                Ok(match judge_parent(&self.chain, n, &self.hashed) {
                    Ok(_) => Ok(()),
                    Err(e) => Err(e.message.clone()),
                })
            }
            // The indexes agree, or there would be no such chain.
            (Link::V2(_), Some(Link::V2(_))) => Ok(Ok(())),
            (Link::V2(delta), _) => {
                if self.digests.is_none() {
                    self.digests = Some(all_digests(io, &self.chain, n).await?);
                }
                Ok(same(
                    delta,
                    self.chain.model(n),
                    self.digests.as_deref().unwrap_or_default(),
                ))
            }
        }
    }
}

/// The delta that delta `i` follows by their indexes, both of version 2, though that one's own parent may not be known.
pub fn by_index(links: &[Rc<Link>], i: usize) -> Option<usize> {
    let Link::V2(delta) = &*links[i] else { return None };
    (0..links.len()).find(|&j| match &*links[j] {
        Link::V2(before) if j != i => follows(before, delta),
        _ => false,
    })
}

/// Digests in hex of all tensors of the model after `n` links, in its order.
async fn all_digests(io: &Io, chain: &Chain, n: usize) -> Result<Vec<String>> {
    let tensors = &chain.model(n).tensors;
    let runs = chain.runs(tensors, &|t| t.range.len).into_iter();
    let tasks = runs.map(|run| {
        let names: Vec<&str> = run.iter().map(|t| t.name.as_str()).collect();
        hash_task(chain, n, &names, true)
    });
    let mut digests = Vec::with_capacity(tensors.len());
    for report in io.run(tasks.collect::<Result<_>>()?).await? {
        digests.extend(hashes(&report)?);
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
            "{n} of {} tensors have other values in the base: {}",
            delta.index.tensors.len(),
            list_names(&other)
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
