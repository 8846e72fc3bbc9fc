//! BLAKE3 of a tensor whose parts are hashed where they come up: aligned pieces give their chaining values, and what is
//! left over at the edges of a part travels as it is.

use crate::format::v2::index::Digest;
use crate::job::wire::wire;
use blake3::hazmat::{merge_subtrees_non_root, merge_subtrees_root, ChainingValue, HasherExt, Mode};

/// Bytes of a piece: a power of two of BLAKE3's chunks of 1024.
const PIECE: usize = 1 << 14;

/// A part of a tensor, hashed as far as can be.
#[derive(Debug, Default)]
pub struct HashedPart {
    /// Bytes before the first whole piece.
    head: Vec<u8>,
    /// Chaining values of whole pieces.
    pieces: Vec<ChainingValue>,
    /// Bytes after the last whole piece.
    tail: Vec<u8>,
}
wire!(HashedPart { head, pieces, tail });

fn piece(at: u64, bytes: &[u8]) -> ChainingValue {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(at);
    hasher.update(bytes);
    hasher.finalize_non_root()
}

impl HashedPart {
    /// The part of a tensor of `total` bytes that starts at byte `at`.
    pub fn new(at: u64, bytes: &[u8], total: u64) -> Self {
        // A tensor of one piece is no piece of a larger tree.
        if total <= PIECE as u64 {
            return Self {
                head: bytes.to_vec(),
                ..Self::default()
            };
        }
        let before = (at.next_multiple_of(PIECE as u64) - at).min(bytes.len() as u64);
        let (head, rest) = bytes.split_at(before as usize);
        let whole = rest.chunks_exact(PIECE);
        Self {
            head: head.to_vec(),
            tail: whole.remainder().to_vec(),
            pieces: whole
                .zip((at + before..).step_by(PIECE))
                .map(|(bytes, at)| piece(at, bytes))
                .collect(),
        }
    }
}

/// A tensor of which the first parts were hashed.
#[derive(Default)]
pub struct TreeHasher {
    pieces: Vec<ChainingValue>,
    pending: Vec<u8>,
}

impl TreeHasher {
    /// Adds the next part of a tensor of `total` bytes.
    pub fn push(&mut self, part: HashedPart, total: u64) {
        self.pending.extend_from_slice(&part.head);
        if self.pending.len() >= PIECE && total > PIECE as u64 {
            self.close();
        }
        self.pieces.extend(part.pieces);
        self.pending.extend_from_slice(&part.tail);
    }

    fn close(&mut self) {
        let at = (self.pieces.len() * PIECE) as u64;
        self.pieces.push(piece(at, &self.pending));
        self.pending.clear();
    }

    /// The digest of all parts.
    pub fn finish(mut self) -> Digest {
        let hash = if self.pieces.is_empty() {
            blake3::hash(&self.pending)
        } else {
            if !self.pending.is_empty() {
                self.close();
            }
            let (left, right) = halves(&self.pieces);
            merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash)
        };
        let mut digest = [0; 16];
        digest.copy_from_slice(&hash.as_bytes()[..16]);
        digest
    }
}

/// The left side is the largest power of two that leaves something for the right.
fn halves(pieces: &[ChainingValue]) -> (&[ChainingValue], &[ChainingValue]) {
    pieces.split_at(pieces.len().div_ceil(2).next_power_of_two())
}

fn subtree(pieces: &[ChainingValue]) -> ChainingValue {
    match pieces {
        [one] => *one,
        _ => {
            let (left, right) = halves(pieces);
            merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_give_the_digest_of_the_whole() {
        let bytes: Vec<u8> = (0..9 * PIECE as u32).map(|i| (i.wrapping_mul(i) >> 5) as u8).collect();
        for total in [
            0,
            1,
            1000,
            PIECE - 1,
            PIECE,
            PIECE + 1,
            2 * PIECE,
            5 * PIECE + 77,
            8 * PIECE,
            9 * PIECE,
        ] {
            for size in [700, PIECE, PIECE + 3, 3 * PIECE - 1] {
                let mut tree = TreeHasher::default();
                let mut at = 0;
                for part in bytes[..total].chunks(size) {
                    tree.push(HashedPart::new(at, part, total as u64), total as u64);
                    at += part.len() as u64;
                }
                let whole = blake3::hash(&bytes[..total]);
                assert_eq!(tree.finish(), whole.as_bytes()[..16], "{total} in {size}");
            }
        }
    }
}
