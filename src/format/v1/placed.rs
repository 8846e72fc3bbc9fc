//! Where each array lies: worked out when a file is written, predicted when one is read.

use super::header::{V1Header, V1Tensor};
use super::{record, CHECKSUM_BYTES};
use crate::decimal;
use crate::offset::ByteRange;
use crate::strategy::{array_elements, kept_sparse, Strategy, MAX_FIELDS};

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
    /// Names in the order in which the records come.
    pub order: Vec<String>,
}

/// Puts the records of tensors one after another from `at` on, and says where they end; `None` when that does not fit
/// in `u64`. A tensor: name, strategy, elements of each array.
pub(super) fn place(
    mut at: u64,
    tensors: &[(&str, Strategy, [u64; MAX_FIELDS])],
) -> Option<(Vec<Vec<PlacedRecord>>, u64)> {
    let mut places = Vec::with_capacity(tensors.len());
    for (name, strategy, elements) in tensors {
        let mut records = Vec::with_capacity(strategy.fields().len());
        for (field, &elements) in strategy.fields().iter().zip(elements) {
            let offset = at.checked_add(record::header_len(name, field.name, field.dtype))?;
            let len = elements.checked_mul(field.dtype.width() as u64)?;
            let data = ByteRange { offset, len };
            records.push(PlacedRecord {
                header_at: at,
                data,
                elements,
            });
            at = offset.checked_add(len)?;
        }
        places.push(records);
    }
    Some((places, at))
}

/// How many values a tensor keeps, as far as the header says: exactly for `int4`, by the writer's rule for `sparse`
/// (`format::v1` 4.1), nothing for a sparsity of 1, which only we write and only for tensors that did not change.
/// `None` when the option is not there.
fn predicted_kept(t: &V1Tensor) -> Option<u64> {
    match t.strategy {
        Strategy::Quantized => Some(0),
        Strategy::Int4 => t.kept,
        Strategy::Sparse => {
            let sparsity = decimal::parse(t.option.as_deref()?)?;
            if sparsity >= 1.0 {
                return Some(0);
            }
            Some(kept_sparse(t.elements, sparsity))
        }
    }
}

/// The places that the header promises if the records come in `order`, the names of all its tensors; `None` when the
/// file has another length, so that its records must be walked.
///
/// All orders give the same length: compare some record headers with [`expected_header`] before relying on one.
pub fn predict<N: AsRef<str>>(header: &V1Header, header_end: u64, file_len: u64, order: &[N]) -> Option<Placed> {
    if order.len() != header.tensors.len() {
        return None;
    }
    let positions: Vec<_> = order
        .iter()
        .map(|name| header.find(name.as_ref()))
        .collect::<Option<_>>()?;
    let mut tensors = Vec::with_capacity(order.len());
    for &i in &positions {
        let t = &header.tensors[i];
        let elements = array_elements(t.strategy, &t.shape, predicted_kept(t)?);
        tensors.push((t.name.as_str(), t.strategy, elements));
    }
    let (places, end) = place(header_end, &tensors)?;
    if end.checked_add(CHECKSUM_BYTES) != Some(file_len) {
        return None;
    }
    let mut placed = vec![Vec::new(); header.tensors.len()];
    for (i, records) in positions.into_iter().zip(places) {
        placed[i] = records;
    }
    // An order that has a name twice lacks another one.
    let complete = placed.iter().all(|records| !records.is_empty());
    let order = order.iter().map(|name| name.as_ref().to_owned()).collect();
    complete.then_some(Placed { tensors: placed, order })
}

/// The bytes that stand at `record.header_at` if the array `field` (its position) of `tensor` was written as the
/// reference writes it.
pub fn expected_header(tensor: &V1Tensor, field: usize, record: &PlacedRecord) -> Vec<u8> {
    let f = &tensor.strategy.fields()[field];
    super::writer::record_header(&tensor.name, f.name, f.dtype, record.elements)
}
