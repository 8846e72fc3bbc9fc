//! Every bound in one place. Each says its unit and why it has its value.

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

/// Elements that a task handles at once: 512 Ki, so 1 MiB of bf16, 2 MiB of float32, 4 MiB of float64.
pub const CHUNK_ELEMENTS: usize = 1 << 19;

/// Most bytes that one read or write of tensor data moves.
pub const CHUNK_BYTES: usize = 4 << 20;

/// Elements that kernels see at once inside a chunk: 8 Ki float32 values, 32 KiB, fit a first-level cache.
pub const BLOCK_ELEMENTS: usize = 8 << 10;
