//! What `decode` reports, of either version.

use crate::job::chain::CheckedLink;
use crate::job::machine::OutputFile;
use crate::job::options::OutputDtype;
use crate::job::report::{Finding, Severity};
use serde::Serialize;

/// What `decode` did.
#[derive(Serialize)]
pub(in crate::job) struct Report {
    pub(in crate::job) job: &'static str,
    pub(in crate::job) bytes: u64,
    pub(in crate::job) dtype: OutputDtype,
    pub(in crate::job) files: Vec<OutputFile>,
    pub(in crate::job) tensors: usize,
    pub(in crate::job) links: Vec<CheckedLink>,
    pub(in crate::job) findings: Vec<Finding>,
}

/// The finding of so many tensors of the base that the deltas do not use, if there are any.
pub(in crate::job) fn extra_tensors(n: usize) -> Vec<Finding> {
    let (tensors, are) = match n {
        0 => return Vec::new(),
        1 => ("tensor", "is"),
        _ => ("tensors", "are"),
    };
    let text = format!("{n} {tensors} of the base {are} not in the fine-tune, nor in the result");
    vec![Finding::new(Severity::Note, "extra-tensors", text)]
}
