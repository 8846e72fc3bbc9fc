//! Decoding: windows of a tensor's arrays to float32 deltas, bit for bit as the reference decodes them.

use super::{int4, quantized, sparse, Strategy, MAX_FIELDS};
use crate::error::{Code, Error, Result};

/// What one call of [`Expander::expand`] has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes used up from the front of each window, always whole elements. The next window of that array begins here.
    pub consumed: [usize; MAX_FIELDS],
    /// Elements written to the front of `out`; what follows them in `out` is undefined.
    pub produced: usize,
    /// The field whose window ran dry, if that is why `produced` is less than asked for. Otherwise `out` is full, or the
    /// tensor is complete.
    pub wants: Option<usize>,
}

/// Decodes one tensor.
///
/// Memory is fixed. Indices are checked before use: ascending, each once, below `n`. When all `n` elements have been
/// produced, every array of a tensor with at least one element has been used up.
#[derive(Clone, Debug)]
pub struct Expander {
    inner: Inner,
}

#[derive(Clone, Debug)]
enum Inner {
    Sparse(sparse::Expander),
    Quantized(quantized::Expander),
    Int4(Box<int4::Expander>),
}

impl Expander {
    /// A decoder for a tensor of `n` elements whose arrays hold `counts` elements.
    ///
    /// `n_cols`: elements per row, used by quantized only. `MALFORMED` if the counts do not fit `n`.
    pub fn new(strategy: Strategy, n: u64, n_cols: u64, counts: [u64; MAX_FIELDS]) -> Result<Self> {
        let inner = match strategy {
            Strategy::Sparse => Inner::Sparse(sparse::Expander::new(n, counts)?),
            Strategy::Quantized => Inner::Quantized(quantized::Expander::new(n, n_cols, counts)?),
            Strategy::Int4 => Inner::Int4(Box::new(int4::Expander::new(n, counts)?)),
        };
        Ok(Self { inner })
    }

    /// Writes the next decoded deltas to `out`, as many as the windows and `out` allow.
    ///
    /// `fields`: for each array the bytes that follow those consumed so far, whole elements; a window may be empty and
    /// of any length. `MALFORMED` for an index out of order or out of range; the decoder is of no use after that.
    pub fn expand(&mut self, fields: &[&[u8]; MAX_FIELDS], out: &mut [f32]) -> Result<Progress> {
        let mut windows = *fields;
        let (produced, wants) = match &mut self.inner {
            Inner::Sparse(e) => e.expand(&mut windows, out)?,
            Inner::Quantized(e) => e.expand(&mut windows, out),
            Inner::Int4(e) => e.expand(&mut windows, out)?,
        };
        Ok(Progress {
            consumed: std::array::from_fn(|f| fields[f].len() - windows[f].len()),
            produced,
            wants,
        })
    }
}

/// Takes the first `W` bytes off a window; `None` if it holds fewer.
pub(super) fn take<const W: usize>(window: &mut &[u8]) -> Option<[u8; W]> {
    let (first, rest) = window.split_first_chunk::<W>()?;
    *window = rest;
    Some(*first)
}

/// `MALFORMED` unless the array `field` has as many elements as expected.
pub(super) fn check_count(field: &str, found: u64, expected: u64) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::new(
        Code::Malformed,
        format!("the array {field} has {found} elements where {expected} belong; the file is damaged or was not made by a wdelta writer"),
    ))
}

/// The sorted positions of the values that are stored apart: checks each before use.
#[derive(Clone, Debug)]
pub(super) struct Positions {
    field: &'static str,
    n: u64,
    /// Positions not used yet.
    left: u64,
    /// The smallest position that the next one may have.
    low: u64,
}

impl Positions {
    /// `count` positions below `n`; `MALFORMED` if they do not fit.
    pub fn new(field: &'static str, n: u64, count: u64) -> Result<Self> {
        if count > n {
            let message = format!("the array {field} has {count} elements for a tensor of {n}; the file is damaged");
            return Err(Error::new(Code::Malformed, message));
        }
        Ok(Self {
            field,
            n,
            left: count,
            low: 0,
        })
    }

    /// One past the last position used: everything before it is known.
    pub fn low(&self) -> u64 {
        self.low
    }

    pub fn left(&self) -> u64 {
        self.left
    }

    /// Checks the next position, of which there must be one left, without moving on.
    #[inline]
    pub fn check(&self, bytes: [u8; 8]) -> Result<u64> {
        // A negative number is far above any n. Each position leaves room for those that follow it, so that all of
        // them have been met when the tensor ends.
        let i = u64::from_le_bytes(bytes);
        if i >= self.low && i <= self.n - self.left {
            return Ok(i);
        }
        Err(self.refuse(i))
    }

    /// Moves past position `i`.
    #[inline]
    pub fn pass(&mut self, i: u64) {
        self.left -= 1;
        self.low = i + 1;
    }

    #[cold]
    fn refuse(&self, i: u64) -> Error {
        let found = i as i64;
        let message = if i < self.low {
            format!("{} must ascend, but {found} follows {}", self.field, self.low - 1)
        } else if i >= self.n {
            format!("{} holds {found}, outside the tensor's {} elements", self.field, self.n)
        } else {
            format!(
                "{} holds {found} with {} more to come, which do not fit below {}",
                self.field,
                self.left - 1,
                self.n
            )
        };
        Error::new(
            Code::Malformed,
            message + "; the file is damaged or was not made by a wdelta writer",
        )
    }
}
