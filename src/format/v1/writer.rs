//! Version 1 from structure to bytes, byte for byte as the reference writes it.

use super::header::{check_header_len, quantized_cols};
use super::placed::{place, PlacedRecord};
use super::{record, CHECKSUM_BYTES, MAGIC, PREFIX_BYTES, VERSION};
use crate::error::{Code, Error, Result};
use crate::format::json_text;
use crate::order::sorted_positions;
use crate::strategy::{array_elements, ArrayDtype, Strategy};
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
    /// SHA-256 of the base, 64 hex digits; while it is not known any will do, since the header is as long.
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
    let by_name = sorted_positions(plan.tensors.len(), &|a, b| {
        plan.tensors[a].name.cmp(&plan.tensors[b].name)
    });
    for (i, t) in by_name.into_iter().map(|p| &plan.tensors[p]).enumerate() {
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
    check_header_len(json.len() as u64)?;
    let len = json.len() as u32;
    let mut bytes = Vec::with_capacity(PREFIX_BYTES as usize + json.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(json);
    Ok(bytes)
}

/// Where the records of a file to be written go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordLayout {
    /// Per tensor, in the order given: where each of its records starts, in the order of the strategy's fields. Each takes
    /// [`record_header`] and its data.
    pub records: Vec<Vec<u64>>,
    /// Where the checksum stands.
    pub checksum_at: u64,
    /// Length of the file.
    pub size: u64,
}

impl RecordLayout {
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
        let starts = |records: &Vec<PlacedRecord>| records.iter().map(|r| r.header_at).collect();
        let records = places.iter().map(starts).collect();
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

/// A string as Python's `json` writes it: ASCII, the rest escaped, DEL included.
fn push_text(json: &mut String, text: &str) {
    json_text::push_text(json, text, |c| (' '..='~').contains(&c));
}

/// The bytes before an array's data: three texts with their lengths, one dimension, the length of the data.
///
/// `elements` times the width of `dtype` must fit in `u64`; [`RecordLayout`] has checked that.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, strategy: Strategy, shape: &[u64], kept: u64, option: &str) -> HeaderTensor {
        HeaderTensor {
            name: name.into(),
            strategy,
            shape: shape.into(),
            elements: shape.iter().product(),
            kept,
            option: option.into(),
        }
    }

    fn plan(base_name: Option<&str>) -> HeaderPlan {
        HeaderPlan {
            parent_hash: "0".repeat(64),
            strategy: "int4".into(),
            base_name: base_name.map(str::to_owned),
            tensors: vec![
                tensor("s", Strategy::Sparse, &[], 1, "0"),
                tensor("q", Strategy::Quantized, &[5, 2, 3], 0, ""),
                tensor("i", Strategy::Int4, &[7], 2, "0.3"),
            ],
        }
    }

    #[test]
    fn writes_the_references_keys_in_its_order() {
        let zeros = "0".repeat(64);
        let expected = [
            r#"{"parent_hash":""#,
            &zeros,
            r#"","strategy":"int4","tensors":{"#,
            r#""i":{"strategy":"int4","shape":[7],"dtype":"float32","outlier_fraction":0.3,"n_elements":7,"n_outliers":2,"#,
            r#""outlier_idx":{"_ref":"outlier_idx"},"outlier_vals":{"_ref":"outlier_vals"},"scale":{"_ref":"scale"},"#,
            r#""zero_point":{"_ref":"zero_point"},"packed":{"_ref":"packed"}},"#,
            r#""q":{"strategy":"quantized","shape":[5,2,3],"dtype":"float32","n_elements":30,"n_cols":6,"#,
            r#""scales":{"_ref":"scales"},"packed_signs":{"_ref":"packed_signs"}},"#,
            r#""s":{"strategy":"sparse","shape":[],"dtype":"float32","sparsity":0,"#,
            r#""indices":{"_ref":"indices"},"values":{"_ref":"values"}}}}"#,
        ]
        .concat();
        let json = header_json(&plan(None));
        assert_eq!(String::from_utf8(json.clone()).unwrap(), expected);
        let with_base = String::from_utf8(header_json(&plan(Some("org/base \u{1f600}")))).unwrap();
        assert_eq!(
            with_base,
            expected[..expected.len() - 1].to_owned() + r#","base_name":"org/base \ud83d\ude00"}"#
        );

        let file = preamble(&json).unwrap();
        assert_eq!(
            file[..15],
            *[b"wdelta\0\x01\0\0\0".as_slice(), &(json.len() as u32).to_le_bytes()].concat()
        );
    }

    #[test]
    fn escapes_like_pythons_json() {
        let mut json = String::new();
        push_text(
            &mut json,
            "a\"\\/\u{8}\u{c}\n\r\t\0\u{1f}\u{7f}~é\u{2028}\u{ffff}\u{10000}",
        );
        assert_eq!(
            json,
            r#""a\"\\/\b\f\n\r\t\u0000\u001f\u007f~\u00e9\u2028\uffff\ud800\udc00""#
        );
    }

    #[test]
    fn records_follow_each_other_in_the_order_given() {
        let plan = plan(None);
        let [s, q, i] = &plan.tensors[..] else { unreachable!() };
        let layout = RecordLayout::new(100, &[q, s, i]).unwrap();
        let lens = |t: &HeaderTensor, data: &[u64]| {
            let names = t
                .strategy
                .fields()
                .iter()
                .map(|f| 32 + t.name.len() + f.name.len() + f.dtype.name().len());
            names
                .zip(data)
                .map(|(header, data)| header as u64 + data)
                .collect::<Vec<_>>()
        };
        let all = [lens(q, &[10, 4]), lens(s, &[8, 4]), lens(i, &[16, 4, 2, 2, 3])];
        let mut at = 100;
        for (starts, lens) in layout.records.iter().zip(all) {
            for (start, len) in starts.iter().zip(lens) {
                assert_eq!(*start, at);
                at += len;
            }
        }
        assert_eq!((layout.checksum_at, layout.size), (at, at + 32));
    }

    #[test]
    fn positions_past_u64_are_refused() {
        let huge = tensor("h", Strategy::Sparse, &[u64::MAX], u64::MAX, "0");
        assert_eq!(RecordLayout::new(100, &[&huge]).unwrap_err().code, Code::Limit);
        let long = tensor("h", Strategy::Quantized, &[u64::MAX], 0, "");
        assert!(RecordLayout::new(100, &[&long]).is_ok());
        assert_eq!(RecordLayout::new(100, &[&long; 9]).unwrap_err().code, Code::Limit);
    }
}
