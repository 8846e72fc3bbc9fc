//! What the core does for a user: one module per job, each a step machine over sources that the host opened.
//!
//! A job is an `async` function over [`machine::Io`]; it plans, hands out [`task::Task`]s and judges their reports.
//! [`start_job`] begins one by name, [`task::start_task`] begins a task in a worker. The host answers every
//! [`machine::Step`]; with feature `drive`, `drive` does so for native callers.

pub mod buffers;
pub mod chain;
pub mod changes;
pub mod check;
pub mod choose;
pub mod chunks;
pub mod decode;
pub mod diff;
#[cfg(any(feature = "drive", test))]
pub mod drive;
pub mod emit;
pub mod encode;
pub mod hash;
pub mod hashing;
pub mod inspect;
pub mod json;
pub mod lineage;
pub mod machine;
pub mod open;
pub mod options;
pub mod pair;
pub mod pieces;
pub mod placed;
pub mod plan;
pub mod report;
pub mod stats;
pub mod survey;
pub mod task;
pub mod tensors;
pub mod v2;
pub mod values;
pub mod verify;
pub mod wire;

use crate::error::{quoted, Code, Error, Result};
use machine::{Machine, SourceEntry};

/// Begins the job `kind` with options as JSON over these sources.
///
/// `USAGE` for an unknown job or option; everything else shows when the machine is stepped.
pub fn start_job(kind: &str, options: &str, sources: Vec<SourceEntry>) -> Result<Machine> {
    let sizes = sources.iter().map(|s| s.size).collect();
    macro_rules! start {
        ($job:path) => {{
            let options = options::Options::parse(options)?;
            Ok(Machine::new(sizes, |io| $job(io, sources, options)))
        }};
    }
    match kind {
        "inspect" => start!(inspect::inspect),
        "encode" => start!(encode::encode),
        "decode" => start!(decode::decode),
        "verify" => start!(verify::verify),
        "hash" => start!(hash::hash),
        "lineage" => start!(lineage::lineage),
        "stats" => start!(stats::stats),
        "diff" => start!(diff::diff),
        "tensors" => start!(tensors::tensors),
        other => Err(Error::new(
            Code::Usage,
            format!("there is no job {other}", other = quoted(other)),
        )),
    }
}
