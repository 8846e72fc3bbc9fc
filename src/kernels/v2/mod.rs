//! Inner loops of version 2: representable-step differences, classes, 16-lane rANS, raw bits, cost scans.
//!
//! The loops of the coder of version 2, [`strategy::lossless`](crate::strategy::lossless).
//!
//! Everything here is exact and in a fixed order, so that every build (native, scalar wasm, simd128) gives the same
//! bytes. The reading side takes any stream: tables are full, indices are masked or clamped, and readers past the end
//! of a stream see zeros. That lengths and numbers beside the streams fit together is for the caller to check, who can
//! say what is wrong; where memory depends on it (`simd128`), it is asserted again.

pub mod adaptive;
pub mod alphabet;
pub mod analyse;
pub mod bits;
pub mod cost;
pub mod dither;
pub mod element;
pub mod lattice;
pub mod log2;
pub mod predict;
pub mod rans;
pub mod read_row;
pub mod subspace;
pub mod tables;
pub mod write_row;

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub mod simd128;
