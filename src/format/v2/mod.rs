#![doc = include_str!("README.md")]

pub mod index;
pub mod placed;
pub mod records;
pub mod text;

pub use index::{BaseRef, Block, FileRecord, Head, Index, Op, TensorRecord};

use super::v1::CHECKSUM_BYTES;
use crate::error::{Code, Error};

/// The first bytes: magic, version, flags.
pub const PREAMBLE: [u8; 12] = *b"wdelta\0\x02\0\0\0\0";

/// Bytes after the index: its position, its length, its xxh3, and the SHA-256 of everything before.
pub const TRAILER: u64 = 24 + CHECKSUM_BYTES;

/// Bytes of a result that a block is cut at.
pub const BLOCK_BYTES: u64 = 2 << 20;

/// The error of an index whose checksum holds but whose content does not.
fn malformed(what: impl Into<String>) -> Error {
    Error::new(
        Code::Malformed,
        format!("the delta's index is damaged: {}; get the file again", what.into()),
    )
}
