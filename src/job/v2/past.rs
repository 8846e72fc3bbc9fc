//! What a task must know of the models that come before: where the base's tensors lie, and what each link makes of them.
//!
//! A [`Past`] is a part of a chain cut out for a task: of each model only the tensors, and of each delta only the blocks,
//! that what the task reads depends on. It says where bytes are; [`super::reader::Reader`] reads them.

use super::coded::CodedModel;
use crate::dtype::Dtype;
use crate::format::v2::index::Digest;
use crate::job::placed::{DeltaTensor, TensorRange};
use crate::job::wire::{wire, wire_enum};

/// Models, each made of the one before; the first one lies in files.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// The models, the base first, each made of the one before.
    pub levels: Vec<Level>,
}
wire!(Past { levels });

/// The tensors of one model.
#[derive(Clone, Debug)]
pub enum Level {
    /// The base: its tensors lie in files.
    Base(Vec<BaseTensor>),
    /// After a version 1 link.
    V1(Vec<AddedTensor>),
    /// After a version 2 link.
    V2(CodedModel),
}
wire_enum!(Level {
    0: Base { 0: tensors },
    1: V1 { 0: tensors },
    2: V2 { 0: coded }
});

impl Level {
    /// How many tensors it has.
    pub fn count(&self) -> usize {
        match self {
            Self::Base(tensors) => tensors.len(),
            Self::V1(tensors) => tensors.len(),
            Self::V2(coded) => coded.tensors.len(),
        }
    }
}

/// A tensor that lies in a file.
#[derive(Clone, Debug)]
pub struct BaseTensor {
    /// Source and range, dtype and number of elements.
    pub place: TensorRange,
    /// The digest that the next link names, where the task is to compare it.
    pub expected: Option<Digest>,
}
wire!(BaseTensor { place, expected });

/// A tensor after a version 1 link: float32, the one before plus the link's delta.
#[derive(Clone, Debug)]
pub struct AddedTensor {
    /// Its name.
    pub name: String,
    /// Number of the tensor in the model before.
    pub before: u32,
    /// Its delta; none for a tensor that has no float32 values and stays what it was.
    pub delta: Option<DeltaTensor>,
    /// Its dtype.
    pub dtype: Dtype,
    /// Its length in bytes.
    pub bytes: u64,
    /// As [`BaseTensor::expected`].
    pub expected: Option<Digest>,
}
wire!(AddedTensor {
    name,
    before,
    delta,
    dtype,
    bytes,
    expected
});

impl Past {
    /// A past that is a base with these tensors alone.
    pub fn files(tensors: impl IntoIterator<Item = TensorRange>) -> Self {
        let base = |place| BaseTensor { place, expected: None };
        Self {
            levels: vec![Level::Base(tensors.into_iter().map(base).collect())],
        }
    }
}
