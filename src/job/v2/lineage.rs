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
    let mut chain = Chain {
        base: base.clone(),
        stages: Vec::new(),
    };
    for &i in &path {
        chain.push(tree.links[i].clone())?;
    }
    let n = path.len();
    let mut digests: Option<Vec<String>> = None;
    // What hashes of the model were asked for last, and what they are: other deltas ask for the same.
    let (mut asked, mut hashed) = (Vec::new(), Vec::new());
    let mut attached = Vec::new();
    let mut reasons = Vec::new();
    for i in (0..tree.links.len()).filter(|&i| tree.parents[i].is_none()) {
        // In the place of the one that was tried before.
        chain.stages.truncate(n);
        if let Err(e) = chain.push(tree.links[i].clone()) {
            reasons.push((i, e.message.clone()));
            continue;
        }
        let follows = match &*tree.links[i] {
            Link::V1(_) => {
                let tasks = parent_tasks(&chain, n)?;
                let specs: Vec<_> = tasks.iter().map(|t| t.spec.clone()).collect();
                if asked != specs {
                    (asked, hashed) = (specs, io.run(tasks).await?);
                }
                judge_parent(&chain, n, &hashed)
                    .map(drop)
                    .map_err(|e| e.message.clone())
            }
            Link::V2(delta) => match chain.link(n) {
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
            tree.reasons[i] = Some(reason);
        }
    }
    for i in attached {
        tree.parents[i] = Some(parent);
        tree.order.push(i);
    }
    Ok(())
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
