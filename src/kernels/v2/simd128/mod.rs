//! simd128 twins of the kernels next door; every function gives the same bits as its scalar twin.

/// Mantissa of bf16, `log2_q` of all but the widest types and logarithm of the tables: code that knows these numbers
/// needs no shifts by variables, which take three instructions each.
const USUAL: (u32, u32, u32) = (7, 1, 11);

pub mod analyse;
pub mod cost;
pub mod dither;
pub mod lanes;
pub mod predict;
pub mod rans;
pub mod read16;
pub mod read32;
pub mod subspace;
pub mod values;
pub mod write16;
pub mod write32;
