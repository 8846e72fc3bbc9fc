//! Byte ranges in files, as `u64`, with checked arithmetic.

use crate::error::{Code, Error, Result};

/// A half-open byte range `[offset, offset + len)` of one source or sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ByteRange {
    /// First byte, counted from the start of the file.
    pub offset: u64,
    /// Number of bytes.
    pub len: u64,
}

impl ByteRange {
    /// A range whose end is known to fit in `u64`; `MALFORMED` when it does not.
    pub fn new(offset: u64, len: u64) -> Result<Self> {
        match offset.checked_add(len) {
            Some(_) => Ok(Self { offset, len }),
            None => Err(Error::new(
                Code::Malformed,
                format!("a range of {len} bytes at offset {offset} runs past any file"),
            )),
        }
    }

    /// One past the last byte.
    pub fn end(&self) -> u64 {
        self.offset + self.len
    }
}

/// The product of `dims`, 1 for a scalar; `None` when it does not fit in `u64`.
///
/// A zero anywhere gives 0, however large the other dimensions are.
pub fn element_count(dims: &[u64]) -> Option<u64> {
    if dims.contains(&0) {
        return Some(0);
    }
    dims.iter().try_fold(1u64, |n, &d| n.checked_mul(d))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_elements() {
        assert_eq!(element_count(&[]), Some(1));
        assert_eq!(element_count(&[3, 4]), Some(12));
        assert_eq!(element_count(&[u64::MAX, 2, 0]), Some(0));
        assert_eq!(element_count(&[u64::MAX, 2]), None);
    }

    #[test]
    fn refuses_a_range_past_u64() {
        assert!(ByteRange::new(u64::MAX, 1).is_err());
        assert_eq!(ByteRange::new(10, 5).unwrap().end(), 15);
    }
}
