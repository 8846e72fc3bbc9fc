//! What jobs say of a chain's result: its links, and what is noticed.

use super::chain::{Chain, Link, Stage};
use super::open::base_identity;
use crate::job::chain::{CheckedLink, Order};
use crate::job::decode::report;
use crate::job::report::{hex, Finding};

/// The links for a report. Those of version 2 are held against digests in any case.
pub fn links(chain: &Chain, orders: &[Order], verified: bool) -> Vec<CheckedLink> {
    let link = |(index, stage): (usize, &Stage)| CheckedLink {
        index,
        expected: expected(&stage.link),
        order: orders.get(index).copied().unwrap_or(Order::Sorted),
        verified: verified || matches!(*stage.link, Link::V2(_)),
    };
    chain.stages.iter().enumerate().map(link).collect()
}

/// What a delta says that it was made against.
pub fn expected(link: &Link) -> String {
    match link {
        Link::V1(delta) => delta.header.parent_hash.clone(),
        Link::V2(delta) => hex(&base_identity(&delta.index)),
    }
}

/// The finding of tensors of the base that the first link does without.
pub fn extra_tensors(chain: &Chain) -> Vec<Finding> {
    let mut used = vec![false; chain.base.tensors.len()];
    for &of_base in chain.stages.iter().take(1).flat_map(|s| &s.before).flatten() {
        used[of_base] = true;
    }
    report::extra_tensors(used.iter().filter(|&&used| !used).count())
}
