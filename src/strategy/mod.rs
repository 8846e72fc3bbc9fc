//! One tensor's delta to and from payload bytes, chunk by chunk, with fixed scratch.
//!
//! Encoding: a [`Survey`] sees the whole tensor once or several times and says where to cut and what would go wrong; an
//! [`Emitter`] sees it once more and appends the bytes of each array. Decoding: an [`Expander`] turns windows of the
//! arrays into float32 deltas. All three take pieces of any length, and their result does not depend on the pieces.
//!
//! The arrays of a strategy are its [`Field`]s, in the order of `format::v1` 3; everything that speaks about several arrays
//! at once is an array of [`MAX_FIELDS`] entries in that order, unused ones empty or 0.

#![forbid(unsafe_code)]

mod emitter;
mod expander;
mod int4;
pub mod lossless;
pub mod lossy;
mod quantized;
mod search;
mod sparse;
mod survey;
#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;

pub use emitter::{Emitter, Loss};
pub use expander::{Expander, Progress};
pub use search::Cut;
pub use survey::{Survey, Surveyed};

use crate::error::{quoted, Code, Error, Result};
use crate::offset::element_count;

/// Most arrays that a strategy has.
pub const MAX_FIELDS: usize = 5;

/// How a tensor's delta is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// The largest values apart as float16, all others as 4-bit codes between their minimum and maximum.
    Int4,
    /// The largest values as float32 with their positions; all others are zero.
    Sparse,
    /// One sign per value and one float16 scale per row.
    Quantized,
}

/// Dtype of an array in a `.wdelta` file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArrayDtype {
    /// 64-bit signed integers.
    I64,
    /// float32.
    F32,
    /// float16.
    F16,
    /// Bytes.
    U8,
}

impl ArrayDtype {
    /// Bytes per element.
    pub fn width(self) -> usize {
        match self {
            Self::I64 => 8,
            Self::F32 => 4,
            Self::F16 => 2,
            Self::U8 => 1,
        }
    }

    /// numpy's name, as it stands in a record.
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
    /// Name in the record and in the header.
    pub name: &'static str,
    /// Type of its elements.
    pub dtype: ArrayDtype,
}

const fn field(name: &'static str, dtype: ArrayDtype) -> Field {
    Field { name, dtype }
}

const SPARSE: [Field; 2] = [field("indices", ArrayDtype::I64), field("values", ArrayDtype::F32)];
const QUANTIZED: [Field; 2] = [field("scales", ArrayDtype::F16), field("packed_signs", ArrayDtype::U8)];
const INT4: [Field; 5] = [
    field("outlier_idx", ArrayDtype::I64),
    field("outlier_vals", ArrayDtype::F16),
    field("scale", ArrayDtype::F16),
    field("zero_point", ArrayDtype::F16),
    field("packed", ArrayDtype::U8),
];

impl Strategy {
    /// Every strategy of version 1.
    pub const ALL: [Self; 3] = [Self::Int4, Self::Sparse, Self::Quantized];

    /// The name in headers and options.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int4 => "int4",
            Self::Sparse => "sparse",
            Self::Quantized => "quantized",
        }
    }

    /// The strategy called `name`; `USAGE` for any other text.
    pub fn parse(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|s| s.name() == name).ok_or_else(|| {
            Error::new(
                Code::Usage,
                format!(
                    "there is no strategy {name}; use int4, sparse or quantized",
                    name = quoted(name)
                ),
            )
        })
    }

    /// The arrays that a tensor of this strategy has, in the order in which they are written.
    pub fn fields(self) -> &'static [Field] {
        match self {
            Self::Int4 => &INT4,
            Self::Sparse => &SPARSE,
            Self::Quantized => &QUANTIZED,
        }
    }
}

/// How many of `n` values sparse keeps: `max(1, trunc(n * (1 - sparsity)))`, both in float64, as the reference does.
///
/// 1000 values at 0.9 keep 99, because 1 - 0.9 lies below 0.1. An empty tensor gives 1 as well, though its arrays are
/// empty. The caller checks `0 <= sparsity < 1`.
pub fn kept_sparse(n: u64, sparsity: f64) -> u64 {
    truncate(n as f64 * (1.0 - sparsity))
}

/// How many of `n` values int4 stores apart: `max(1, trunc(n * fraction))` in float64, as the reference does.
///
/// `USAGE` unless `0 <= fraction < 1`. May be `n` or more for `n` up to 1: such a tensor cannot be stored as int4, which
/// the [`Survey`] reports.
pub fn kept_int4(n: u64, fraction: f64) -> Result<u64> {
    if (0.0..1.0).contains(&fraction) {
        return Ok(truncate(n as f64 * fraction));
    }
    Err(Error::new(
        Code::Usage,
        format!(
            "the outlier fraction must be at least 0 and below 1, not {}; 0.01 is usual",
            crate::decimal::brief(fraction)
        ),
    ))
}

fn truncate(x: f64) -> u64 {
    (x as u64).max(1) // `as` truncates and saturates
}

/// Rows and columns of a tensor under quantized: the first dimension against all others; one row below two dimensions.
pub fn rows_cols(shape: &[u64]) -> (u64, u64) {
    match shape {
        [rows, rest @ ..] if !rest.is_empty() => (*rows, element_count(rest).unwrap_or(u64::MAX)),
        _ => (1, element_count(shape).unwrap_or(u64::MAX)),
    }
}

/// Number of elements in each array of a tensor; `kept` as from [`kept_sparse`] or [`kept_int4`], unused by quantized.
///
/// The product of `shape` must fit in `u64`. No more than all values can be kept, so an empty tensor has empty arrays.
pub fn array_elements(strategy: Strategy, shape: &[u64], kept: u64) -> [u64; MAX_FIELDS] {
    let n = element_count(shape).unwrap_or(u64::MAX);
    let kept = kept.min(n);
    match strategy {
        Strategy::Sparse => [kept, kept, 0, 0, 0],
        Strategy::Quantized => [rows_cols(shape).0, n.div_ceil(8), 0, 0, 0],
        Strategy::Int4 => [kept, kept, 1, 1, (n - kept).div_ceil(2)],
    }
}
