//! The header of a safetensors file, from structure to bytes.

use super::header::Entry;
use super::LENGTH_BYTES;
use crate::format::json_text::{self, is_plain};
use std::fmt::Write;

/// What the data section's start is a multiple of, as in the `safetensors` crate.
const ALIGNMENT: usize = 8;

/// The first bytes of a safetensors file: length, JSON, and spaces up to a multiple of 8.
///
/// Tensors come in the order given, with the ranges given. Metadata comes first, and only if there is any. The JSON is
/// compact, and non-ASCII names stand as UTF-8.
pub fn header_bytes(metadata: &[(String, String)], tensors: &[Entry]) -> Vec<u8> {
    let mut json = String::from("{");
    if !metadata.is_empty() {
        json.push_str("\"__metadata__\":{");
        for (i, (key, text)) in metadata.iter().enumerate() {
            separate(&mut json, i);
            push_text(&mut json, key);
            json.push(':');
            push_text(&mut json, text);
        }
        json.push('}');
    }
    for (i, t) in tensors.iter().enumerate() {
        separate(&mut json, i + usize::from(!metadata.is_empty()));
        push_text(&mut json, &t.name);
        let _ = write!(json, ":{{\"dtype\":\"{}\",\"shape\":[", t.dtype.name());
        for (i, dim) in t.shape.iter().enumerate() {
            separate(&mut json, i);
            let _ = write!(json, "{dim}");
        }
        let _ = write!(json, "],\"data_offsets\":[{},{}]}}", t.range.offset, t.range.end());
    }
    json.push('}');
    let mut json = json.into_bytes();
    json.resize(json.len().next_multiple_of(ALIGNMENT), b' ');
    let mut bytes = Vec::with_capacity(LENGTH_BYTES as usize + json.len());
    bytes.extend_from_slice(&(json.len() as u64).to_le_bytes());
    bytes.append(&mut json);
    bytes
}

fn separate(json: &mut String, i: usize) {
    if i > 0 {
        json.push(',');
    }
}

/// A JSON string; the same escapes as serde_json, which are the format's.
pub(super) fn push_text(json: &mut String, text: &str) {
    json_text::push_text(json, text, is_plain);
}
