//! Bounds on what a hostile file can make us hold or do, and the sizes of the pieces that work is cut into. Each says its
//! unit and why it has its value. Ranges that a format gives its numbers are with the format.

use crate::error::{Code, Error, Result};

/// Longest JSON header that is read, in bytes, for safetensors and `.wdelta` alike.
///
/// The safetensors library refuses headers above 100 MB; a model with 20,000 tensors needs about 3 MB.
pub const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Longest `*.safetensors.index.json` that is read, in bytes. Same reasoning as the header.
pub const MAX_INDEX_BYTES: u64 = 100_000_000;

/// Longest tensor name, in bytes. Real names stay below 200.
pub const MAX_NAME_BYTES: usize = 65_536;

/// Most dimensions of a tensor. numpy stops at 64.
pub const MAX_RANK: usize = 64;

/// Most tensors in one model or delta. The largest mixture-of-experts models have some 100,000.
pub const MAX_TENSORS: usize = 1_000_000;

/// Most objects and lists inside each other in a JSON text, as `serde_json` has it. Real headers have three.
pub const MAX_JSON_DEPTH: u32 = 127;

/// Most keys of one JSON object that we do not know. Real files have none.
pub const MAX_UNKNOWN_KEYS: usize = 64;

/// Most entries under `metadata` of a `*.safetensors.index.json`. Real files have two.
pub const MAX_INDEX_METADATA: usize = 1_000;

/// Longest name of a shard, in bytes: what file systems allow.
pub const MAX_FILE_NAME_BYTES: usize = 255;

/// Longest spelling of an option in a version 1 header that is kept, in bytes. Python's shortest form of any f64 has at
/// most 24.
pub const MAX_OPTION_BYTES: usize = 64;

/// Most array records of a version 1 file that are visited, those included that no tensor needs: twice the five arrays of
/// [`MAX_TENSORS`].
pub const MAX_RECORDS: u64 = 10 * MAX_TENSORS as u64;

/// Most rows without a single column that version 1's `quantized` writes; their scales are all that such a tensor has.
pub const MAX_EMPTY_ROWS: u64 = 1 << 20;

/// Most blocks of a version 2 file: 16 TiB of result at the usual size.
pub const MAX_BLOCKS: u64 = 1 << 23;

/// Table sets of a version 2 delta.
pub const MAX_SETS: u64 = 1 << 16;

/// Most bytes of a result that one block of version 2 covers: four times the size at which our encoder cuts.
pub const MAX_BLOCK_BYTES: u64 = 8 << 20;

/// Longest table set, parameters or block of version 2, in bytes: none needs as much.
pub const MAX_SECTION_BYTES: u64 = 4 * MAX_BLOCK_BYTES;

/// Elements that a task handles at once: 512 Ki, so 1 MiB of bf16, 2 MiB of float32, 4 MiB of float64.
pub const CHUNK_ELEMENTS: usize = 1 << 19;

/// Most bytes that one read or write of tensor data moves.
pub const CHUNK_BYTES: usize = 4 << 20;

/// Elements that kernels see at once inside a chunk: 8 Ki float32 values, 32 KiB, fit a first-level cache.
pub const BLOCK_ELEMENTS: usize = 8 << 10;

/// `LIMIT` when `what` has more than `most` bytes.
pub(crate) fn check_len(what: &str, len: u64, most: u64) -> Result<()> {
    if len <= most {
        return Ok(());
    }
    let text = format!("{what} has {len} bytes, more than the {most} that are read");
    Err(Error::new(Code::Limit, text))
}
