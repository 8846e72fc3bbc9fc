//! Where the bytes of a tensor lie: in a model, and in a delta. Plain data, so that it can travel in a task.

use crate::dtype::Dtype;
use crate::format::model::Tensor;
use crate::format::v1::header::ResultDtype;
use crate::job::wire::wire;
use crate::offset::ByteRange;
use crate::strategy::{Strategy, MAX_FIELDS};

/// A tensor of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorRange {
    /// Number of the source.
    pub source: u32,
    /// Where its bytes lie in that file.
    pub range: ByteRange,
    /// Its dtype.
    pub dtype: Dtype,
    /// Number of elements.
    pub elements: u64,
}
wire!(TensorRange {
    source,
    range,
    dtype,
    elements
});

impl From<&Tensor> for TensorRange {
    fn from(t: &Tensor) -> Self {
        Self {
            source: t.source,
            range: t.range,
            dtype: t.dtype,
            elements: t.elements,
        }
    }
}

/// One array of a delta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacedField {
    /// Position of its data in the file.
    pub offset: u64,
    /// Number of elements.
    pub elements: u64,
    /// Position of the record header before it, when that was predicted and is still to be checked.
    pub unchecked: Option<u64>,
}
wire!(PlacedField {
    offset,
    elements,
    unchecked
});

/// A tensor of a version 1 delta.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeltaTensor {
    /// Number of the source.
    pub source: u32,
    /// How it is stored.
    pub strategy: Strategy,
    /// Number of elements of the tensor.
    pub elements: u64,
    /// Elements per row, for `quantized`; 0 otherwise.
    pub cols: u64,
    /// The dtype that its header names.
    pub dtype: ResultDtype,
    /// Its arrays, in the order of the strategy's fields.
    pub fields: Vec<PlacedField>,
}
wire!(DeltaTensor {
    source,
    strategy,
    elements,
    cols,
    dtype,
    fields
});

impl DeltaTensor {
    /// Number of elements of each array.
    pub fn counts(&self) -> [u64; MAX_FIELDS] {
        let mut counts = [0; MAX_FIELDS];
        for (count, field) in counts.iter_mut().zip(&self.fields) {
            *count = field.elements;
        }
        counts
    }

    /// Bytes of its arrays.
    pub fn bytes(&self) -> u64 {
        let widths = self.strategy.fields().iter().map(|f| f.dtype.width() as u64);
        self.fields.iter().zip(widths).map(|(f, w)| f.elements * w).sum()
    }

    /// True for a `sparse` tensor without entries: nothing changed.
    pub fn is_empty(&self) -> bool {
        self.strategy == Strategy::Sparse && self.fields.iter().all(|f| f.elements == 0)
    }
}
