//! Store a fine-tune as one small `.wdelta` file against its base model, and rebuild it from both.
//!
//! The crate is a sans-IO core: it runs natively (tests, benches, a Rust library) and as WebAssembly (the npm package
//! `wdelta`). Layers, each importing only those above it:
//!
//! | layer | module | what it knows |
//! |---|---|---|
//! | basics | [`error`], [`limits`], [`dtype`], [`mod@offset`], [`order`], [`decimal`] | codes, bounds, dtypes, checked ranges, numbers as text |
//! | kernels | [`kernels`] | slices in, slices out; scalar and simd128 twins |
//! | strategies | [`strategy`] | one tensor's delta to and from payload bytes, chunk by chunk |
//! | formats | [`mod@format`] | bytes to structure and back: safetensors, version 1 |
//! | jobs | [`job`] | a plan of tasks; each says which bytes it wants and which it has ready |
//! | bindings | `wasm` | wasm-bindgen; on wasm32 only |

pub mod decimal;
pub mod dtype;
pub mod error;
pub mod format;
pub mod job;
pub mod kernels;
pub mod limits;
pub mod offset;
pub mod order;
pub mod strategy;
#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code)] // the binding macro and views on wasm memory need it
pub mod wasm;
