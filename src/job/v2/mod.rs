//! Version 2 in the jobs: the same machines and tasks as version 1, over blocks instead of records.
//!
//! Encoding: (1) of every tensor so much is read as shows whether it changed, its scales and its counts; (2) the counts of
//! all become tables; (3) blocks are encoded in waves and appended in order, and what is read for them is hashed; the index
//! and the checksum come last. Decoding: a task rebuilds the tensors that share blocks, and compares the digests of what it
//! wrote, and where they differ of what it read.

pub mod chain;
pub mod checks;
pub mod chunks;
pub mod coded;
pub mod cut;
pub mod decode;
#[cfg(feature = "encode")]
pub mod encode;
pub mod examine;
pub mod files;
pub mod identify;
pub mod inspect;
pub mod lineage;
pub mod open;
pub mod parent_hash;
pub mod past;
pub mod reader;
pub mod rebuild;
pub mod result;
pub mod round;
pub mod rounded;
pub mod stats;
pub mod tensors;
pub mod tree;
pub mod verdict;

use crate::dtype::Dtype;
use crate::format::v2::index::Digest;
use crate::kernels::v2::element::Layout;

/// The first half of a BLAKE3 hash.
fn digest(hasher: &blake3::Hasher) -> Digest {
    let mut digest = [0; 16];
    digest.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    digest
}

/// Bytes that a base of dtype `from` has for each word of a tensor of dtype `to`.
fn width_of_base(from: Dtype, to: Dtype) -> u64 {
    match from == to {
        true => Layout::of(to).bytes() as u64,
        false => from.bytes().unwrap_or(1) as u64,
    }
}
