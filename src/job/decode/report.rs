//! What `decode` reports, of either version.

use crate::job::chain::Link;
use crate::job::machine::OutputFile;
use crate::job::options::OutputDtype;
use crate::job::report::Finding;
use serde::Serialize;

/// What `decode` did.
#[derive(Serialize)]
pub(in crate::job) struct Report {
    pub(in crate::job) job: &'static str,
    pub(in crate::job) bytes: u64,
    pub(in crate::job) dtype: OutputDtype,
    pub(in crate::job) files: Vec<OutputFile>,
    pub(in crate::job) tensors: usize,
    pub(in crate::job) links: Vec<Link>,
    pub(in crate::job) findings: Vec<Finding>,
}
