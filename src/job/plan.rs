//! What a job says before it does anything.

use super::machine::OutputFile;
use super::report::{to_json, Finding};
use crate::error::Result;
use serde::Serialize;

/// The answer of `plan` and `--dry-run`, and the total of the progress bar.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The job's name.
    pub job: &'static str,
    /// Bytes of all outputs.
    pub bytes: u64,
    /// Whether that is certain before the values are seen.
    pub exact: bool,
    /// The files that will be written.
    pub outputs: Vec<OutputFile>,
    /// What was noticed.
    pub problems: Vec<Finding>,
    /// Bytes that will be read.
    pub reads: u64,
    /// Bytes that will be written.
    pub writes: u64,
    /// Number of tensors.
    pub tensors: usize,
    /// Number of elements in them.
    pub elements: u64,
}

impl Plan {
    /// As JSON.
    pub fn json(&self) -> Result<String> {
        to_json(self)
    }
}
