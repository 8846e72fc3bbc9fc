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

/// Has the results read back. `places`: where every tensor was written, sink after sink; `written`: the fast hash of
/// each. The first sink is the source after `sources` others.
pub async fn compare_written(io: &Io, sources: usize, places: &[(u32, ByteRange)], written: Vec<u64>) -> Result<()> {
    let written: Vec<_> = places.iter().zip(written).collect();
    let mut tasks = Vec::new();
    for of_sink in written.chunk_by(|(a, _), (b, _)| a.0 == b.0) {
        let (&(sink, _), _) = of_sink[0];
        let source = sources as u32 + sink;
        let items: Vec<_> = of_sink.iter().map(|&(&(_, range), hash)| (range, hash)).collect();
        let cost = items.iter().map(|(range, _)| range.len).sum();
        if cost > 0 {
            tasks.push(Task::ReadBack { source, items }.spec("result", "checking", cost)?);
        }
    }
    io.run(tasks).await.map(drop)
}
