//! Version 1 from structure to bytes, byte for byte as the reference writes it.

use super::header::quantized_cols;
use super::placed::place;
use super::{record, CHECKSUM_BYTES, MAGIC, PREFIX_BYTES, VERSION};
use crate::error::{Code, Error, Result};
use crate::limits::MAX_HEADER_BYTES;
use crate::strategy::{array_elements, ArrayDtype, Strategy};
use std::collections::HashMap;
use std::fmt::Write;

pub use super::number::{option_text, py_float};

/// A tensor to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderTensor {
    /// Its name.
    pub name: String,
    /// How its delta is stored.
    pub strategy: Strategy,
    /// Its dimensions, none for a scalar.
    pub shape: Vec<u64>,
    /// Product of the dimensions.
    pub elements: u64,
    /// How many values `int4` and `sparse` keep apart.
    pub kept: u64,
    /// Spelling of `outlier_fraction` for `int4`, of `sparsity` for `sparse`.
    ///
    /// A `sparse` tensor that keeps nothing, because nothing changed, wants `1.0`: from any other value readers would
    /// expect entries and have to walk the file to find that there are none.
    pub option: String,
}

/// What goes into a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderPlan {
    /// SHA-256 of the base, 64 hex digits; zeros while it is not known ([`super::PARENT_HASH_AT`]).
    pub parent_hash: String,
    /// The strategy that was asked for.
    pub strategy: String,
    /// Where the base is to be had. The reference ignores the key.
    pub base_name: Option<String>,
    /// The tensors, in any order.
    pub tensors: Vec<HeaderTensor>,
}

/// The JSON of a header: compact, ASCII only, tensors sorted by the bytes of their names.
pub fn header_json(plan: &HeaderPlan) -> Vec<u8> {
    let mut json = String::from("{\"parent_hash\":");
    push_text(&mut json, &plan.parent_hash);
    json.push_str(",\"strategy\":");
    push_text(&mut json, &plan.strategy);
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
    if let Some(base_name) = &plan.base_name {
        json.push_str(",\"base_name\":");
        push_text(&mut json, base_name);
    }
    json.push('}');
    json.into_bytes()
}

/// Everything before the records: magic, version, length and the JSON of a header.
///
/// `LIMIT` when the header is longer than readers take.
pub fn preamble(json: &[u8]) -> Result<Vec<u8>> {
    let len = u32::try_from(json.len())
        .ok()
        .filter(|len| u64::from(*len) <= MAX_HEADER_BYTES);
    let Some(len) = len else {
        return Err(Error::new(
            Code::Limit,
            format!(
                "the header would have {} bytes, more than the {MAX_HEADER_BYTES} that are read",
                json.len()
            ),
        ));
    };
    let mut bytes = Vec::with_capacity(PREFIX_BYTES as usize + json.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(json);
    Ok(bytes)
}

/// Where the records of a file to be written go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// By tensor: where each of its records starts, in the order of the strategy's fields. Each takes
    /// [`record_header`] and its data.
    pub records: HashMap<String, Vec<u64>>,
    /// Where the checksum stands.
    pub checksum_at: u64,
    /// Length of the file.
    pub size: u64,
}

impl Layout {
    /// Places for the records of `tensors`, in the order given, from `records_at` on, the end of the header.
    ///
    /// `LIMIT` when a position does not fit in `u64`.
    pub fn new(records_at: u64, tensors: &[&HeaderTensor]) -> Result<Self> {
        let sized = |t: &&HeaderTensor| array_elements(t.strategy, &t.shape, t.kept);
        let items: Vec<_> = tensors
            .iter()
            .map(|t| (t.name.as_str(), t.strategy, sized(t)))
            .collect();
        let placed = place(records_at, &items).and_then(|p| Some((p.0, p.1, p.1.checked_add(CHECKSUM_BYTES)?)));
        let Some((places, checksum_at, size)) = placed else {
            return Err(Error::new(Code::Limit, "the delta would be longer than any file"));
        };
        let starts = places
            .iter()
            .map(|records| records.iter().map(|r| r.header_at).collect());
        let records = tensors.iter().map(|t| t.name.clone()).zip(starts).collect();
        Ok(Self {
            records,
            checksum_at,
            size,
        })
    }
}

fn push_tensor(json: &mut String, t: &HeaderTensor) {
    push_text(json, &t.name);
    let _ = write!(json, ":{{\"strategy\":\"{}\",\"shape\":[", t.strategy.name());
    for (i, dim) in t.shape.iter().enumerate() {
        let comma = if i > 0 { "," } else { "" };
        let _ = write!(json, "{comma}{dim}");
    }
    json.push_str("],\"dtype\":\"float32\"");
    let _ = match t.strategy {
        Strategy::Sparse => write!(json, ",\"sparsity\":{}", t.option),
        Strategy::Quantized => {
            let cols = quantized_cols(&t.shape).unwrap_or(0);
            write!(json, ",\"n_elements\":{},\"n_cols\":{cols}", t.elements)
        }
        Strategy::Int4 => {
            let (option, n) = (&t.option, t.elements);
            write!(
                json,
                ",\"outlier_fraction\":{option},\"n_elements\":{n},\"n_outliers\":{}",
                t.kept
            )
        }
    };
    for field in t.strategy.fields() {
        let _ = write!(json, ",\"{0}\":{{\"_ref\":\"{0}\"}}", field.name);
    }
    json.push('}');
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
    let mut bytes = Vec::with_capacity(record::header_len(name, field, dtype) as usize);
    for text in texts {
        bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes.extend_from_slice(&1u32.to_le_bytes());
    bytes.extend_from_slice(&elements.to_le_bytes());
    bytes.extend_from_slice(&elements.saturating_mul(dtype.width() as u64).to_le_bytes());
    bytes
}
