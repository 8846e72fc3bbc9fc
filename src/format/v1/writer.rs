//! Version 1 from structure to bytes, byte for byte as the reference writes it.

use super::header::V1Tensor;
use crate::strategy::{ArrayDtype, Strategy};
use std::fmt::Write;

pub use super::number::{option_text, py_float};
pub use super::placed::Layout;

/// What goes into a header.
#[derive(Clone, Copy, Debug)]
pub struct HeaderPlan<'a> {
    /// SHA-256 of the base, 64 hex digits; zeros while it is not known ([`super::PARENT_HASH_AT`]).
    pub parent_hash: &'a str,
    /// The strategy that was asked for.
    pub strategy: &'a str,
    /// Where the base is to be had. The reference ignores the key.
    pub base_name: Option<&'a str>,
    /// The tensors, in any order.
    pub tensors: &'a [V1Tensor],
}

/// The JSON of a header: compact, ASCII only, tensors sorted by the bytes of their names.
pub fn header_json(plan: &HeaderPlan<'_>) -> Vec<u8> {
    let mut json = String::from("{\"parent_hash\":");
    push_text(&mut json, plan.parent_hash);
    json.push_str(",\"strategy\":");
    push_text(&mut json, plan.strategy);
    json.push_str(",\"tensors\":{");
    let mut tensors: Vec<_> = plan.tensors.iter().collect();
    tensors.sort_by_key(|t| &t.name);
    for (i, t) in tensors.into_iter().enumerate() {
        if i > 0 {
            json.push(',');
        }
        push_tensor(&mut json, t);
    }
    json.push('}');
    if let Some(base_name) = plan.base_name {
        json.push_str(",\"base_name\":");
        push_text(&mut json, base_name);
    }
    json.push('}');
    json.into_bytes()
}

fn push_tensor(json: &mut String, t: &V1Tensor) {
    push_text(json, &t.name);
    let _ = write!(json, ":{{\"strategy\":\"{}\",\"shape\":[", t.strategy.name());
    for (i, dim) in t.shape.iter().enumerate() {
        let comma = if i > 0 { "," } else { "" };
        let _ = write!(json, "{comma}{dim}");
    }
    let _ = write!(json, "],\"dtype\":\"{}\"", t.dtype.name());
    let option = t.option.as_deref();
    match t.strategy {
        Strategy::Sparse => push_number(json, "sparsity", option),
        Strategy::Quantized => {
            push_number(json, "n_elements", Some(&t.elements));
            push_number(json, "n_cols", t.cols);
        }
        Strategy::Int4 => {
            push_number(json, "outlier_fraction", option);
            push_number(json, "n_elements", Some(&t.elements));
            push_number(json, "n_outliers", t.kept);
        }
    }
    for field in t.strategy.fields() {
        let _ = write!(json, ",\"{0}\":{{\"_ref\":\"{0}\"}}", field.name);
    }
    json.push('}');
}

/// A key with its number, both or neither.
fn push_number(json: &mut String, key: &str, number: Option<impl std::fmt::Display>) {
    if let Some(number) = number {
        let _ = write!(json, ",\"{key}\":{number}");
    }
}

/// A string as Python's `json` writes it: ASCII, the rest escaped as UTF-16 with lower-case digits, DEL included.
fn push_text(json: &mut String, text: &str) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\u{8}' => json.push_str("\\b"),
            '\u{c}' => json.push_str("\\f"),
            ' '..='~' => json.push(c),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(json, "\\u{unit:04x}");
                }
            }
        }
    }
    json.push('"');
}

/// The bytes before an array's data: three texts with their lengths, one dimension, the length of the data.
///
/// `elements` times the width of `dtype` must fit in `u64`; [`Layout`] has checked that.
pub fn record_header(name: &str, field: &str, dtype: ArrayDtype, elements: u64) -> Vec<u8> {
    let texts = [name, field, dtype.name()];
    let mut bytes = Vec::with_capacity(super::record::header_len(name, field, dtype) as usize);
    for text in texts {
        bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes.extend_from_slice(&1u32.to_le_bytes());
    bytes.extend_from_slice(&elements.to_le_bytes());
    bytes.extend_from_slice(&elements.saturating_mul(dtype.width() as u64).to_le_bytes());
    bytes
}
