//! Hand-written twins for wasm with simd128, each under the name of its scalar form and equal to it bit for bit.
//!
//! Kept only where they are at least 1.3 times as fast as what the compiler makes of the scalar form with the same
//! instructions; `tests/wasm_kernels.rs` compares the two. Reading, subtracting and the 4-bit codes are not here for that
//! reason. Loads and stores are the only unsafe operations, and all of them are in this file.

#![allow(unsafe_code)]

pub mod convert;
pub mod eight;
pub mod signbits;
pub mod topk;

use core::arch::wasm32::{v128, v128_load, v128_store};

/// Loads four float32 values.
#[inline(always)]
fn load_f32(values: &[f32; 4]) -> v128 {
    // SAFETY: the reference covers 16 readable bytes, and v128_load needs no alignment.
    unsafe { v128_load(values.as_ptr().cast()) }
}

/// Loads sixteen bytes.
#[inline(always)]
fn load(bytes: &[u8; 16]) -> v128 {
    // SAFETY: the reference covers 16 readable bytes, and v128_load needs no alignment.
    unsafe { v128_load(bytes.as_ptr().cast()) }
}

/// Stores sixteen bytes.
#[inline(always)]
fn store(bytes: &mut [u8; 16], v: v128) {
    // SAFETY: the reference covers 16 writable bytes, and v128_store needs no alignment.
    unsafe { v128_store(bytes.as_mut_ptr().cast(), v) }
}

/// Numbers of four bytes, of which any bits are one.
trait Word {}
impl Word for f32 {}
impl Word for u32 {}

/// Stores four numbers.
#[inline(always)]
fn store_words<T: Word>(values: &mut [T; 4], v: v128) {
    // SAFETY: the reference covers 16 writable bytes, v128_store needs no alignment, and any bits are a `Word`.
    unsafe { v128_store(values.as_mut_ptr().cast(), v) }
}

/// A group out of `chunks_exact(N)`; the check of the length is optimised away.
#[inline(always)]
fn group<T, const N: usize>(items: &[T]) -> &[T; N] {
    items.try_into().expect("a whole group")
}
