//! Goes through part of a source, one bounded read after another.

use super::machine::Io;
use crate::error::Result;
use crate::limits::CHUNK_BYTES;
use crate::offset::ByteRange;

/// What is still to be read of a range.
pub struct Chunks {
    source: u32,
    offset: u64,
    left: u64,
    most: usize,
}

impl Chunks {
    /// A range of a source, in chunks.
    pub fn new(source: u32, range: ByteRange) -> Self {
        Self {
            source,
            offset: range.offset,
            left: range.len,
            most: CHUNK_BYTES,
        }
    }

    /// The same in pieces of at most this many bytes.
    pub fn of_at_most(self, bytes: usize) -> Self {
        Self { most: bytes, ..self }
    }

    /// Fills `buf` with what comes next; false, and nothing done, at the end.
    pub async fn next(&mut self, io: &Io, buf: &mut Vec<u8>) -> Result<bool> {
        if self.left == 0 {
            return Ok(false);
        }
        buf.resize(self.left.min(self.most as u64) as usize, 0);
        io.fill(self.source, self.offset, buf).await?;
        self.offset += buf.len() as u64;
        self.left -= buf.len() as u64;
        Ok(true)
    }
}
