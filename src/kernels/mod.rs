//! Inner loops: slices in, slices out. No errors, no allocation, no I/O.
//!
//! | module | idea |
//! |---|---|
//! | [`float16`] | float16 and bfloat16: exact widening, one rounding to nearest even |
//! | [`convert`] | bytes of any dtype to float32 and back |
//! | [`apply`] | fine-tune minus base, base plus delta |
//! | [`topk`] | the k-th largest magnitude, and who is above it |
//! | [`affine`] | 16 levels between a minimum and a maximum |
//! | [`nibble`] | 4-bit codes, two per byte |
//! | [`signbits`] | one sign per bit |
//! | [`pairwise`] | numpy's float32 summation tree |
//! | [`stats`] | sums in float64, histogram, cosine |
//!
//! The order of float operations is part of the file format, so none may be fused or reordered. Sums in float64 are
//! not, but theirs is fixed too: element `i` of a stream is added to lane `i mod 8`, wherever the stream is cut.

#![forbid(unsafe_code)]

pub mod affine;
pub mod apply;
pub mod convert;
pub mod float16;
pub mod nibble;
pub mod pairwise;
pub mod signbits;
pub mod stats;
pub mod topk;
