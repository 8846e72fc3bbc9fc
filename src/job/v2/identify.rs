//! The task that hashes tensors of a model that need not exist.

use super::chunks::TensorChunks;
use super::digest;
use super::past::Past;
use super::reader::Reader;
use crate::error::Result;
use crate::job::buffers;
use crate::job::machine::Io;
use crate::job::report::{from_wire, hex, to_wire};
use crate::job::wire::wire;

/// Tensors of the last model of a past, to be hashed.
#[derive(Debug)]
pub struct Identify {
    /// The models up to the one that is hashed.
    pub past: Past,
    /// Names and numbers of the tensors, in order.
    pub order: Vec<(String, u32)>,
    /// A digest of each tensor, as version 2 has them; else one SHA-256 over names and bytes, as version 1 has it.
    pub each: bool,
}
wire!(Identify { past, order, each });

/// Runs the task; reports hashes in hex, or what is wrong with the links, which need not be the cause: see [`hashes`].
pub async fn identify(io: Io, work: Identify) -> Result<Vec<u8>> {
    to_wire(&hash(&io, work).await)
}

/// The hashes that [`identify`] reports.
pub fn hashes(report: &[u8]) -> Result<Vec<String>> {
    from_wire::<Result<Vec<String>>>(report)?
}

async fn hash(io: &Io, work: Identify) -> Result<Vec<String>> {
    let mut reader = Reader::new(work.past);
    let top = reader.top();
    let mut digests = Vec::new();
    for (name, tensor) in work.order {
        let mut of_tensor = blake3::Hasher::new();
        if !work.each {
            io.hash(&[0], &mut name.into_bytes()).await;
        }
        let mut chunks = TensorChunks::whole(&reader, top, tensor);
        while let Some((_, mut bytes)) = chunks.next(io, &mut reader).await? {
            match work.each {
                true => {
                    of_tensor.update(&bytes);
                }
                false => io.hash(&[0], &mut bytes).await,
            }
            buffers::give(bytes);
        }
        digests.push(hex(&digest(&of_tensor)));
    }
    if !work.each {
        digests = vec![hex(&io.digest(0).await?)];
    }
    Ok(digests)
}
