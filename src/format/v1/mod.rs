//! Version 1 of `.wdelta`: what the Python package deltatensors 0.2.0 writes and reads, to the bit.
//!
//! | bytes | content |
//! |---|---|
//! | 0..7 | [`MAGIC`] |
//! | 7..11 | version, `u32` little-endian, [`VERSION`] |
//! | 11..15 | length H of the header, `u32` little-endian |
//! | 15..15+H | [`header`]: JSON |
//! | 15+H..end-32 | [`record`]s, one per array, one after another |
//! | last 32 | SHA-256 of all bytes before it |
//!
//! Where the arrays lie follows from the header ([`placed`]), or is found by visiting every record ([`walker`]).

pub mod header;
pub mod number;
pub mod parent_hash;
pub mod placed;
pub mod record;
pub mod walker;
pub mod writer;

use std::ops::Range;

/// The first bytes of every `.wdelta` file, of any version.
pub const MAGIC: [u8; 7] = *b"wdelta\0";

/// The version that this module reads and writes.
pub const VERSION: u32 = 1;

/// Bytes before the header: magic, version, length.
pub const PREFIX_BYTES: u64 = 15;

/// Bytes after the records: a SHA-256.
pub const CHECKSUM_BYTES: u64 = 32;

/// Where the 64 hex digits of the parent hash stand in every file that [`writer`] makes, so that they can be filled in
/// once the base was hashed: after the prefix and `{"parent_hash":"`.
pub const PARENT_HASH_AT: Range<u64> = 31..95;
