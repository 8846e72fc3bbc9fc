#![doc = include_str!("README.md")]

pub mod header;
pub mod number;
pub mod parent_hash;
pub mod placed;
pub mod record;
pub mod walker;
pub mod writer;

/// The first bytes of every `.wdelta` file, of any version.
pub const MAGIC: [u8; 7] = *b"wdelta\0";

/// The version that this module reads and writes.
pub const VERSION: u32 = 1;

/// Bytes before the header: magic, version, length.
pub const PREFIX_BYTES: u64 = 15;

/// Bytes after the records: a SHA-256.
pub const CHECKSUM_BYTES: u64 = 32;
