//! Hashing as tasks of their own: SHA-256 is sequential, so it runs beside the codec tasks.

use super::chunks::Chunks;
use super::machine::{Io, TaskSpec};
use super::placed::TensorRange;
use super::report::{hex, to_wire};
use super::task::Task;
use super::values::{Origin, Values};
use crate::dtype::Dtype;
use crate::error::Result;
use crate::job::wire::wire;
use crate::kernels::convert;
use crate::limits::{CHUNK_BYTES, CHUNK_ELEMENTS};
use crate::offset::ByteRange;
use xxhash_rust::xxh3::Xxh3;

/// Hashes names and stored bytes of tensors in this order: a parent hash (`format::v1` 6).
pub fn model_task(label: &str, order: Vec<(String, TensorRange)>) -> Result<TaskSpec> {
    let cost = order.iter().map(|(_, t)| t.range.len).sum();
    Task::HashModel { order }.spec(label, "hashing", cost)
}

/// Hashes the first `len` bytes of a file.
pub fn file_task(label: &str, source: u32, len: u64) -> Result<TaskSpec> {
    Task::HashFile { source, len }.spec(label, "hashing", len)
}

/// Hashes names and float32 values after these numbers of links (0: the base), in one pass over the tensors.
pub fn values_task(label: &str, tensors: Vec<Origin>, links: Vec<usize>) -> Result<TaskSpec> {
    let cost = tensors.iter().map(Origin::cost).sum();
    Task::HashValues { tensors, links }.spec(label, "hashing", cost)
}

/// What [`model_task`] reports.
pub struct ModelHash {
    /// The SHA-256 in hex.
    pub sha256: String,
    /// A fast hash of each tensor's bytes, in the order of the task: a later pass compares it, so that a base that changes
    /// in between is noticed.
    pub fast: Vec<u64>,
}
wire!(ModelHash { sha256, fast });

/// Runs [`Task::HashModel`].
pub async fn hash_model(io: Io, order: Vec<(String, TensorRange)>) -> Result<Vec<u8>> {
    let mut chunk = Vec::new();
    let mut fast = Vec::with_capacity(order.len());
    for (name, tensor) in order {
        io.hash(&[0], &mut name.into_bytes()).await;
        // The codec tasks read the same pieces, so the page cache serves one of the two.
        let piece = tensor.dtype.bytes().map_or(CHUNK_BYTES, |w| w * CHUNK_ELEMENTS);
        let mut chunks = Chunks::new(tensor.source, tensor.range).of_at_most(piece);
        let mut seen = Xxh3::new();
        while chunks.next(&io, &mut chunk).await? {
            seen.update(&chunk);
            io.hash(&[0], &mut chunk).await;
        }
        fast.push(seen.digest());
    }
    to_wire(&ModelHash {
        sha256: hex(&io.digest(0).await?),
        fast,
    })
}

/// Runs [`Task::HashFile`]; reports the SHA-256.
pub async fn hash_file(io: Io, source: u32, len: u64) -> Result<Vec<u8>> {
    let mut chunk = Vec::new();
    let mut chunks = Chunks::new(source, ByteRange::new(0, len)?);
    while chunks.next(&io, &mut chunk).await? {
        io.hash(&[0], &mut chunk).await;
    }
    to_wire(&io.digest(0).await?)
}

/// Runs [`Task::HashValues`]; reports a hex digest for each wanted number of links.
pub async fn hash_values(io: Io, tensors: Vec<Origin>, links: Vec<usize>) -> Result<Vec<u8>> {
    let mut lanes: Vec<Vec<u8>> = links.iter().map(|_| Vec::new()).collect();
    for origin in tensors {
        for lane in 0..lanes.len() as u32 {
            io.hash(&[lane], &mut origin.name.clone().into_bytes()).await;
        }
        let mut values = Values::open(&io, &origin, None).await?;
        while values.next_len() > 0 {
            values.load(&io, &mut []).await?;
            lanes.iter_mut().for_each(Vec::clear);
            values
                .links(&io, &mut |link, block| {
                    for (lane, _) in lanes.iter_mut().zip(&links).filter(|(_, &wanted)| wanted == link) {
                        let start = lane.len();
                        lane.resize(start + 4 * block.len(), 0);
                        convert::from_f32(Dtype::F32, block, &mut lane[start..]);
                    }
                })
                .await?;
            for (number, lane) in lanes.iter_mut().enumerate() {
                io.hash(&[number as u32], lane).await;
            }
        }
    }
    let mut digests = Vec::with_capacity(links.len());
    for lane in 0..links.len() as u32 {
        digests.push(hex(&io.digest(lane).await?));
    }
    to_wire(&digests)
}
