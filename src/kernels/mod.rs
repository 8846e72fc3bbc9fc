//! Inner loops: slices in, slices out. No errors, no allocation, no I/O.
pub mod v2;
