//! simd128 twins of the kernels next door; every function gives the same bits as its scalar twin.

/// An array of what an expression gives for each of the listed indices, written out: the module is built with a compiler
/// that neither inlines the closures of `map` nor unrolls loops, and vectors in an array that is indexed by a variable
/// would live in memory.
macro_rules! unrolled {
    ([$($index:literal),+] |$i:ident| $body:expr) => {
        [$({
            let $i = $index;
            $body
        }),+]
    };
}

pub mod analyse;
pub mod cost;
pub mod predict;
pub mod rans;
pub mod row16;
pub mod subspace;
