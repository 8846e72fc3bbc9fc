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
//! | formats | [`mod@format`] | bytes to structure and back: safetensors, versions 1 and 2 of `.wdelta` |
//! | jobs | [`job`] | a plan of tasks; each says which bytes it wants and which it has ready |
//! | bindings | `wasm` | wasm-bindgen; on wasm32 only |
//!
//! # A job
//!
//! ```text
//! start_job(kind, options, sources) -> Machine     the host, in a loop:
//!   step() -> Need(ranges)     reads them              -> step()
//!             Plan(json)       shows it, or stops
//!             Create(outputs)  makes the files
//!             Start(tasks)     begins a Machine for each, in any order, on any thread
//!             Collect          waits for them: put_reports
//!             Ready(ranges)    writes them
//!             Done(report)
//! ```
//!
//! [`job::drive`] is such a host's loop, natively (feature `drive`):
//!
//! ```
//! use wdelta::error::Result;
//! use wdelta::job::drive::{run_job, Ended, Host};
//! use wdelta::job::machine::{OutputFile, Role, SourceEntry};
//!
//! /// Files in memory: the sources, and after them what was made.
//! struct Files(Vec<Vec<u8>>);
//!
//! impl Host for Files {
//!     fn read(&mut self, source: u32, offset: u64, out: &mut [u8]) -> Result<()> {
//!         out.copy_from_slice(&self.0[source as usize][offset as usize..][..out.len()]);
//!         Ok(())
//!     }
//!     fn write(&mut self, sink: u32, offset: u64, bytes: &[u8]) -> Result<()> {
//!         self.0[2 + sink as usize][offset as usize..][..bytes.len()].copy_from_slice(bytes);
//!         Ok(())
//!     }
//!     fn create(&mut self, outputs: &[OutputFile]) -> Result<()> {
//!         self.0.extend(outputs.iter().map(|o| vec![0; o.size as usize]));
//!         Ok(())
//!     }
//!     fn resize(&mut self, sink: u32, size: u64) -> Result<()> {
//!         self.0[2 + sink as usize].truncate(size as usize);
//!         Ok(())
//!     }
//! }
//!
//! /// A safetensors file of one tensor.
//! fn model(values: [f32; 2]) -> Vec<u8> {
//!     let header = r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
//!     let values = values.map(f32::to_le_bytes).concat();
//!     [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &values].concat()
//! }
//!
//! fn run(kind: &str, files: &mut Files, roles: [Role; 2]) -> Result<Ended> {
//!     let entry = |(role, file): (Role, &Vec<u8>)| SourceEntry {
//!         role,
//!         group: 0,
//!         path: "model.safetensors".into(),
//!         size: file.len() as u64,
//!     };
//!     let sources = roles.into_iter().zip(&files.0).map(entry).collect();
//!     run_job(kind, "{}", sources, files)
//! }
//!
//! let (base, finetuned) = (model([0.5, 1.0]), model([0.5, 1.25]));
//! let mut files = Files(vec![base.clone(), finetuned.clone()]);
//! run("encode", &mut files, [Role::Base, Role::Finetuned])?;
//! let mut files = Files(vec![base, files.0.remove(2)]);
//! run("decode", &mut files, [Role::Base, Role::Delta])?;
//! assert_eq!(files.0[2], finetuned);
//! # Ok::<(), wdelta::error::Error>(())
//! ```

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
