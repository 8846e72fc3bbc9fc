//! Inner loops: slices in, slices out. No errors and no I/O; those of version 2 own the buffers that they fill.
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
//! | [`eight`] | eight numbers at a time |
//! | [`stats`] | moments, histogram, cosine |
//! | [`loss`] | decoded against true values |
//! | [`v2`] | the loops of version 2 |
//!
//! The order of float operations is part of the file format, so none may be fused or reordered. Sums in float64 are
//! not, but theirs is fixed too: element `i` of a stream is added to lane `i mod 8`, wherever the stream is cut.
//!
//! Some have a hand-written twin for wasm in `simd128`; their portable forms stand beside the name that picks one of the
//! two, in a module `scalar` or with `_scalar` at the end of their names.

/// An array of what an expression gives for each of the listed indices, written out: the module is built with a compiler
/// that neither inlines the closures of `map` nor unrolls loops, and vectors in an array that is indexed by a variable
/// would live in memory.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
macro_rules! unrolled {
    ([$($index:literal),+] |$i:ident| $body:expr) => {
        [$({
            let $i = $index;
            $body
        }),+]
    };
}

#[forbid(unsafe_code)]
pub mod affine;
#[forbid(unsafe_code)]
pub mod apply;
#[forbid(unsafe_code)]
pub mod convert;
#[forbid(unsafe_code)]
pub mod eight;
#[forbid(unsafe_code)]
pub mod float16;
#[forbid(unsafe_code)]
mod lanes;
#[forbid(unsafe_code)]
pub mod loss;
#[forbid(unsafe_code)]
pub mod nibble;
#[forbid(unsafe_code)]
pub mod pairwise;
#[cfg(test)]
#[forbid(unsafe_code)]
pub(crate) mod random;
#[forbid(unsafe_code)]
pub mod signbits;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub mod simd128;
#[forbid(unsafe_code)]
pub mod stats;
#[forbid(unsafe_code)]
pub mod topk;
pub mod v2;
