//! One tensor's delta to and from payload bytes, chunk by chunk, with fixed scratch.
pub mod lossless;
