//! Bytes to structure and back; where each byte lies. Never the values of tensors.
//!
//! | module | turns |
//! |---|---|
//! | [`safetensors`] | headers and shard indexes of models to structure and back |
//! | [`model`] | one file or many into one list of tensors |
//! | [`v1`] | header and records of version 1 of `.wdelta` to structure and back |
//! | [`v2`] | the index of version 2 to structure and back |
//!
//! Nothing here reads: callers hand in bytes and learn which range comes next.

#![forbid(unsafe_code)]

mod folder;
pub(crate) mod json;
pub(crate) mod json_text;
pub mod model;
pub mod safetensors;
mod sniff;
pub mod v1;
pub mod v2;

pub use sniff::{not_a_delta, not_a_model, sniff, Kind};

use crate::error::{Code, Error};

/// The error of a header whose entry for a tensor contradicts itself.
fn damaged_entry(name: &str, what: &str) -> Error {
    let text = format!("{what}; the file is damaged, get it again");
    Error::new(Code::Malformed, text).about(name)
}
