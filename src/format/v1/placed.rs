//! Where each array lies: worked out when a file is written, predicted when one is read.

use super::header::{V1Header, V1Tensor};
use super::{record, CHECKSUM_BYTES, PREFIX_BYTES};
use crate::error::{Code, Error, Result};
use crate::limits::MAX_HEADER_BYTES;
use crate::offset::ByteRange;
use crate::strategy::{array_elements, Strategy, MAX_FIELDS};

/// Where one array lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacedRecord {
    /// Where its record header starts.
    pub header_at: u64,
    /// Its data; the record header ends where it starts.
    pub data: ByteRange,
    /// Number of elements.
    pub elements: u64,
}

/// Where the arrays of a whole file lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Per tensor, in header order: its arrays in the order of the strategy's fields.
    pub tensors: Vec<Vec<PlacedRecord>>,
    /// Positions of the header's tensors in the order in which the records come.
    pub order: Vec<usize>,
}

/// The places in a file to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Per tensor, in the order given: its arrays in the order of the strategy's fields.
    pub tensors: Vec<Vec<PlacedRecord>>,
    /// Where the checksum stands.
    pub checksum_at: u64,
    /// Length of the file.
    pub file_len: u64,
}

impl Layout {
    /// Places for a header of `header_len` bytes and these tensors, in record order: name, strategy, elements of each
    /// array ([`array_elements`]).
    ///
    /// `LIMIT` when the header is longer than readers take, or a position does not fit in `u64`.
    pub fn new<'a>(
        header_len: u64,
        tensors: impl IntoIterator<Item = (&'a str, Strategy, [u64; MAX_FIELDS])>,
    ) -> Result<Self> {
        if header_len > MAX_HEADER_BYTES {
            return Err(Error::new(
                Code::Limit,
                format!("the header would have {header_len} bytes, more than the {MAX_HEADER_BYTES} that are read"),
            ));
        }
        let mut at = PREFIX_BYTES + header_len;
        let mut places = Vec::new();
        for (name, strategy, elements) in tensors {
            let mut records = Vec::with_capacity(strategy.fields().len());
            for (field, elements) in strategy.fields().iter().zip(elements) {
                let header_len = record::header_len(name, field.name, field.dtype);
                let place = elements.checked_mul(field.dtype.width() as u64).and_then(|len| {
                    let offset = at.checked_add(header_len)?;
                    offset.checked_add(len)?;
                    Some(ByteRange { offset, len })
                });
                let data = place.ok_or_else(|| too_long(name))?;
                records.push(PlacedRecord {
                    header_at: at,
                    data,
                    elements,
                });
                at = data.end();
            }
            places.push(records);
        }
        let file_len = at.checked_add(CHECKSUM_BYTES).ok_or_else(|| too_long("checksum"))?;
        Ok(Self {
            tensors: places,
            checksum_at: at,
            file_len,
        })
    }
}

fn too_long(what: &str) -> Error {
    Error::new(Code::Limit, format!("{what:?} would lie past the end of any file"))
}

/// How many values a tensor keeps, as far as the header says: exactly for `int4`, by the writer's rule for `sparse`
/// (FORMAT-V1 4.1), nothing for a sparsity of 1, which only we write and only for tensors that did not change.
/// `None` when the option is not there.
fn predicted_kept(t: &V1Tensor) -> Option<u64> {
    match t.strategy {
        Strategy::Quantized => Some(0),
        Strategy::Int4 => t.kept,
        Strategy::Sparse => {
            let sparsity: f64 = t.option.as_deref()?.parse().ok()?;
            if sparsity >= 1.0 {
                return Some(0);
            }
            // The conversion rounds towards zero and keeps to the range of u64.
            let kept = (t.elements as f64 * (1.0 - sparsity)) as u64;
            Some(kept.max(1).min(t.elements))
        }
    }
}

/// The places that the header promises if the records come in `order`, positions of its tensors; `None` when the file
/// has another length, so that its records must be walked.
///
/// All orders give the same length: compare some record headers with [`expected_header`] before relying on it.
pub fn predict(header: &V1Header, header_end: u64, file_len: u64, order: &[usize]) -> Option<Placed> {
    let mut tensors = Vec::with_capacity(order.len());
    for &i in order {
        let t = header.tensors.get(i)?;
        let elements = array_elements(t.strategy, &t.shape, predicted_kept(t)?);
        tensors.push((t.name.as_str(), t.strategy, elements));
    }
    let layout = Layout::new(header_end.checked_sub(PREFIX_BYTES)?, tensors).ok()?;
    if layout.file_len != file_len {
        return None;
    }
    let mut placed = vec![Vec::new(); header.tensors.len()];
    for (&i, records) in order.iter().zip(layout.tensors) {
        placed[i] = records;
    }
    let complete = header
        .tensors
        .iter()
        .zip(&placed)
        .all(|(t, p)| p.len() == t.strategy.fields().len());
    complete.then(|| Placed {
        tensors: placed,
        order: order.to_vec(),
    })
}

/// The bytes that stand at `record.header_at` if the array `field` (its position) of `tensor` was written as the
/// reference writes it.
pub fn expected_header(tensor: &V1Tensor, field: usize, record: &PlacedRecord) -> Vec<u8> {
    let f = &tensor.strategy.fields()[field];
    super::writer::record_header(&tensor.name, f.name, f.dtype, record.elements)
}
