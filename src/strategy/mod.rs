//! One tensor's delta to and from payload bytes, chunk by chunk, with fixed scratch.

use crate::error::{Code, Error, Result};
use crate::offset::element_count;
use serde::{Deserialize, Serialize};

/// Most arrays that a strategy has.
pub const MAX_FIELDS: usize = 5;

/// How one tensor's delta is stored in version 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// Four bits per value beside exact outliers.
    Int4,
    /// The largest values with their positions.
    Sparse,
    /// One bit per value and one scale per row.
    Quantized,
}

/// The dtype of an array of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ArrayDtype {
    /// Signed, 8 bytes.
    I64,
    /// Floating point, 4 bytes.
    F32,
    /// Floating point, 2 bytes.
    F16,
    /// Unsigned, 1 byte.
    U8,
}

impl ArrayDtype {
    /// Bytes of one element.
    pub fn width(self) -> usize {
        match self {
            Self::I64 => 8,
            Self::F32 => 4,
            Self::F16 => 2,
            Self::U8 => 1,
        }
    }

    /// numpy's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::I64 => "int64",
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::U8 => "uint8",
        }
    }
}

/// One array of a strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name in the records.
    pub name: &'static str,
    /// Its dtype.
    pub dtype: ArrayDtype,
}

const fn field(name: &'static str, dtype: ArrayDtype) -> Field {
    Field { name, dtype }
}

impl Strategy {
    /// The spelling in headers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int4 => "int4",
            Self::Sparse => "sparse",
            Self::Quantized => "quantized",
        }
    }

    /// The strategy spelled `name`.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "int4" => Ok(Self::Int4),
            "sparse" => Ok(Self::Sparse),
            "quantized" => Ok(Self::Quantized),
            _ => Err(Error::new(Code::Malformed, format!("unknown strategy {name:?}"))),
        }
    }

    /// Its arrays in record order.
    pub fn fields(self) -> &'static [Field] {
        use ArrayDtype::{F16, F32, I64, U8};
        match self {
            Self::Sparse => const { &[field("indices", I64), field("values", F32)] },
            Self::Quantized => const { &[field("scales", F16), field("packed_signs", U8)] },
            Self::Int4 => {
                const {
                    &[
                        field("outlier_idx", I64),
                        field("outlier_vals", F16),
                        field("scale", F16),
                        field("zero_point", F16),
                        field("packed", U8),
                    ]
                }
            }
        }
    }
}

/// Elements of each array of a tensor; 0 for arrays that the strategy does not have.
pub fn array_elements(strategy: Strategy, shape: &[u64], kept: u64) -> [u64; MAX_FIELDS] {
    let n = element_count(shape).unwrap_or(u64::MAX);
    match strategy {
        Strategy::Sparse => [kept, kept, 0, 0, 0],
        Strategy::Quantized => [if shape.len() > 1 { shape[0] } else { 1 }, n.div_ceil(8), 0, 0, 0],
        Strategy::Int4 => [kept, kept, 1, 1, n.saturating_sub(kept).div_ceil(2)],
    }
}
