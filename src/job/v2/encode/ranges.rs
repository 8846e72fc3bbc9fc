//! Where the words of a tensor lie, and how many make a piece or a block.

use crate::format::v2::BLOCK_BYTES;
use crate::job::placed::TensorRange;

/// Position and length of `words` words from word `first` of a tensor whose words have `width` bytes.
pub fn part(tensor: &TensorRange, first: u64, words: u64, width: u64) -> (u64, usize) {
    (tensor.range.offset + first * width, (words * width) as usize)
}

/// Words of the rows that a piece of about `bytes` bytes has.
pub fn piece_words(bytes: u64, columns: u64, width: u64) -> u64 {
    (bytes / (columns * width)).max(1) * columns
}

/// Words that a block has of a tensor that has blocks of its own.
pub fn block_words(columns: u64, width: u64) -> u64 {
    piece_words(BLOCK_BYTES, columns, width)
}
