//! Reading results back after `decode`, to see that they are what was written.

use super::chunks::Chunks;
use super::machine::Io;
use super::report::to_wire;
use super::task::Task;
use crate::error::{Code, Error, Result};
use crate::offset::ByteRange;
use xxhash_rust::xxh3::Xxh3;

/// Runs the read-back task: `IO` when what lies in the output is not what was written.
pub async fn read_back(io: Io, source: u32, items: Vec<(ByteRange, u64)>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for (range, written) in items {
        let mut chunks = Chunks::new(source, range);
        let mut seen = Xxh3::new();
        while chunks.next(&io, &mut bytes).await? {
            seen.update(&bytes);
        }
        if seen.digest() != written {
            return Err(Error::new(
                Code::Io,
                "the result reads back differently from what was written; the disk or its driver is at fault, write it elsewhere",
            )
            .at(range.offset));
        }
    }
    to_wire(&())
}

/// Number of a sink, a range of it, and the fast hash of what was written there.
pub type WrittenRange = (u32, ByteRange, u64);

/// Has the results read back. `written`: ranges of outputs and their fast hashes; the `outputs` follow `sources` files.
pub async fn compare_written(io: &Io, sources: usize, outputs: usize, written: &[WrittenRange]) -> Result<()> {
    let mut by_sink = vec![Vec::new(); outputs];
    for &(sink, range, hash) in written {
        by_sink[sink as usize].push((range, hash));
    }
    let mut tasks = Vec::new();
    for (items, source) in by_sink.into_iter().zip(sources as u32..) {
        let cost = items.iter().map(|(range, _)| range.len).sum();
        if cost > 0 {
            tasks.push(Task::ReadBack { source, items }.spec("result", "checking", cost)?);
        }
    }
    io.run(tasks).await.map(drop)
}
