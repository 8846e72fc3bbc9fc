//! simd128 twins of the kernels next door; every function gives the same bits as its scalar twin.

pub mod analyse;
pub mod cost;
pub mod predict;
pub mod rans;
pub mod row16;
