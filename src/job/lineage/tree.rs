//! Which delta follows which, as far as it is known.

use crate::job::v2::chain::Link;
use serde::Serialize;
use std::rc::Rc;

/// `"base"`, or the number of a delta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::job) enum Parent {
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

/// What is known so far.
pub(in crate::job) struct LineageTree {
    pub(in crate::job) links: Vec<Rc<Link>>,
    pub(in crate::job) parents: Vec<Option<Parent>>,
    /// Why a delta does not follow the base.
    pub(in crate::job) reasons: Vec<Option<String>>,
    /// The deltas that have a parent, in the order in which it was found.
    pub(in crate::job) order: Vec<usize>,
    /// Hash of the model that was rebuilt last, where the links know their parents by such hashes alone.
    pub(super) found: Option<String>,
    pub(super) any_v2: bool,
}

/// The deltas from the base to `i`, in order.
pub(in crate::job) fn path_to(parents: &[Option<Parent>], i: usize) -> Vec<usize> {
    let mut path = vec![i];
    let mut at = i;
    while let Some(Parent::Delta(p)) = parents[at] {
        path.push(p);
        at = p;
    }
    path.reverse();
    path
}
