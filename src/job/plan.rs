//! What a job says before it does anything.

use super::machine::{Io, OutputFile};
use super::report::{to_json, Finding};
use crate::error::Result;
use serde::Serialize;

/// The answer of `plan` and `--dry-run`, and the total of the progress bar.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The job's name: `encode`, `decode` and so on.
    pub job: &'static str,
    /// Bytes of all outputs.
    pub bytes: u64,
    /// Whether that is certain before the values are seen; else it is a guess.
    pub exact: bool,
    /// The files that will be written.
    pub outputs: Vec<OutputFile>,
    /// What was noticed so far; the result names it again.
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

/// What `decode` is about to do.
pub struct DecodePlan<'a> {
    /// The files that its tasks write from end to end, each byte once.
    pub outputs: &'a [OutputFile],
    /// What was noticed so far.
    pub findings: &'a [Finding],
    /// Number of tensors.
    pub tensors: usize,
    /// Number of elements in them.
    pub elements: u64,
    /// Whether the files are read afterwards.
    pub read_back: bool,
}

impl Plan {
    /// Of a job that only reads.
    pub fn reading(job: &'static str, reads: u64, tensors: usize, elements: u64) -> Self {
        Self {
            job,
            bytes: 0,
            exact: true,
            outputs: Vec::new(),
            problems: Vec::new(),
            reads,
            writes: 0,
            tensors,
            elements,
        }
    }

    /// Of `decode`, whose tasks read and write `work` bytes.
    pub fn decoding(of: &DecodePlan<'_>, work: u64) -> Self {
        let bytes: u64 = of.outputs.iter().map(|o| o.size).sum();
        let again = if of.read_back { bytes } else { 0 };
        Self {
            bytes,
            outputs: of.outputs.to_vec(),
            writes: bytes,
            problems: of.findings.to_vec(),
            ..Self::reading("decode", work.saturating_sub(bytes) + again, of.tensors, of.elements)
        }
    }

    /// Tells the host.
    pub async fn announce(self, io: &Io) -> Result<()> {
        io.plan(to_json(&self)?).await;
        Ok(())
    }

    /// Tells the host and has the files created that the plan names; gives their bytes.
    pub async fn begin(self, io: &Io) -> Result<u64> {
        io.plan(to_json(&self)?).await;
        io.create(self.outputs).await;
        Ok(self.bytes)
    }
}
