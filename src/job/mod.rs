//! What the core does for a user: one module per job, each a step machine over sources that the host opened.
//!
//! A job is an `async` function over [`machine::Io`]; it plans, hands out [`task::Task`]s and judges their reports.
//! [`start_job`] begins one by name, [`start_task`] begins a task in a worker. The host answers every
//! [`machine::Step`]; with feature `drive`, `drive` does so for native callers.

pub mod batch;
pub mod buffers;
pub mod chain;
pub mod changes;
pub mod check;
pub mod chunks;
pub mod decode;
pub mod delta_stream;
pub mod diff;
#[cfg(any(feature = "drive", test))]
pub mod drive;
#[cfg(feature = "encode")]
pub mod encode;
pub mod hash;
pub mod hashing;
pub mod inspect;
pub mod json;
pub mod lineage;
pub mod machine;
pub mod open;
pub mod options;
pub mod pieces;
pub mod placed;
pub mod plan;
pub mod read_back;
pub mod report;
pub mod stats;
pub mod task;
pub mod tensors;
pub mod v2;
pub mod values;
pub mod verify;
pub mod wire;

use crate::error::{quoted, Code, Error, Result};
use machine::{Machine, SourceEntry};
use std::future::Future;
use std::pin::Pin;
use task::Task;

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
        #[cfg(feature = "encode")]
        "encode" => start!(encode::encode),
        #[cfg(not(feature = "encode"))]
        "encode" => Err(Error::new(
            Code::Usage,
            "this core only reads deltas; to make one, load wdelta_bg.wasm, or leave workers out where it is the encoder",
        )),
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

type Boxed = Pin<Box<dyn Future<Output = Result<Vec<u8>>>>>;

/// A machine for the task `spec` over sources of these sizes.
pub fn start_task(spec: &[u8], sizes: Vec<u64>) -> Result<Machine> {
    let task: Task = report::from_wire(spec)?;
    // Each in a box: one future for all of them would be one function that is inlined into.
    Ok(Machine::new(sizes, |io| -> Boxed {
        match task {
            Task::HashModel { order } => Box::pin(hashing::hash_model(io, order)),
            Task::HashFile { source, len } => Box::pin(hashing::hash_file(io, source, len)),
            Task::HashValues { tensors, links } => Box::pin(hashing::hash_values(io, tensors, links)),
            #[cfg(feature = "encode")]
            Task::Survey { items, past } => Box::pin(encode::survey::survey(io, items, past)),
            #[cfg(feature = "encode")]
            Task::Emit { items, past } => Box::pin(encode::emit::emit(io, items, past)),
            Task::Decode { items } => Box::pin(decode::tasks::decode_tensors(io, items)),
            Task::Check { items } => Box::pin(check::check_records(io, items)),
            Task::Diff { items, pasts } => Box::pin(diff::compare::diff_tensors(io, items, pasts)),
            Task::Copy { source, sink } => Box::pin(decode::tasks::copy_file(io, source, sink)),
            #[cfg(feature = "encode")]
            Task::Fit(work) => Box::pin(v2::encode::fit::fit_tensors(io, work)),
            #[cfg(feature = "encode")]
            Task::Pack(pack) => Box::pin(v2::encode::pack::pack(io, pack)),
            Task::Rebuild(work) => Box::pin(v2::rebuild::rebuild(io, work)),
            Task::Examine(coded) => Box::pin(v2::examine::examine(io, coded)),
            Task::Round(work) => Box::pin(v2::round::round(io, work)),
            Task::Identify(work) => Box::pin(v2::identify::identify(io, work)),
            Task::ReadBack { source, items } => Box::pin(read_back::read_back(io, source, items)),
        }
    }))
}
