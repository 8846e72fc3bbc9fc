//! The safetensors format: an 8-byte length, a JSON header, the tensors' bytes; and the index over several such files.
//!
//! Headers are parsed here and not by the `safetensors` crate, whose `usize` offsets end at 4 GiB on wasm32 and which
//! wants the whole file in memory. The tests hold both to the same judgement.

pub mod header;
pub mod index;
pub mod writer;

/// Bytes before the JSON: its length as a little-endian `u64`.
pub const LENGTH_BYTES: u64 = 8;
