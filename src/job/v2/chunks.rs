//! Goes through a tensor of a [`Past`](super::past::Past), one bounded read after another.

use super::reader::Reader;
use crate::error::Result;
use crate::job::machine::Io;
use crate::limits::CHUNK_BYTES;
use std::ops::Range;

/// What is still to be read of a tensor.
pub struct TensorChunks {
    level: usize,
    tensor: u32,
    left: Range<u64>,
    most: u64,
}

impl TensorChunks {
    /// All bytes of a tensor of model `level`.
    pub fn whole(reader: &Reader, level: usize, tensor: u32) -> Self {
        let (_, len) = reader.shape_of(level, tensor);
        Self::part(level, tensor, 0..len)
    }

    /// These bytes of it.
    pub fn part(level: usize, tensor: u32, bytes: Range<u64>) -> Self {
        Self {
            level,
            tensor,
            left: bytes,
            most: CHUNK_BYTES as u64,
        }
    }

    /// The same in chunks of at most this many bytes.
    pub fn of_at_most(self, bytes: u64) -> Self {
        Self { most: bytes, ..self }
    }

    /// What comes next, after its position in the tensor; none at the end. Fails as [`Reader::read`] does.
    pub async fn next(&mut self, io: &Io, reader: &mut Reader) -> Result<Option<(u64, Vec<u8>)>> {
        let at = self.left.start;
        let n = (self.left.end - at).min(self.most);
        if n == 0 {
            return Ok(None);
        }
        let bytes = reader.read(io, self.level, self.tensor, at, n as usize).await?;
        self.left.start += n;
        Ok(Some((at, bytes)))
    }
}
