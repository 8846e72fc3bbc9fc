//! numpy's summation tree over the magnitudes of one contiguous row, in float32, fed in pieces.
//!
//! `format::v1` 4.4: `tree(n)` is a plain sum below 8 values; eight running sums up to 128 values; above that
//! `tree(first h) + tree(rest)` with `h = n / 2` lowered to a multiple of 8. The row may be far longer than any piece, so
//! the path from the root to the current leaf is kept on a stack instead of recursing.

use super::eight::F32x8;

/// Most values of a leaf.
const LEAF: usize = 128;

/// Levels of the tree for the longest possible row: 2^64 values halve 57 times before they are a leaf.
const DEPTH: usize = 64;

/// A node above the current leaf.
#[derive(Clone, Copy, Debug, Default)]
struct Node {
    /// Number of values in its right half.
    right: u64,
    /// Sum of its left half, once that is complete.
    left: Option<f32>,
}

/// The sum of `|x|` over a row of known length, in numpy's order.
#[derive(Clone, Debug)]
pub struct MagnitudeSum {
    path: [Node; DEPTH],
    depth: usize,
    /// Length of the current leaf, and how much of it waits in `buffer`.
    leaf: usize,
    filled: usize,
    buffer: [f32; LEAF],
    total: Option<f32>,
}

impl MagnitudeSum {
    /// A sum over `n` values.
    pub fn new(n: u64) -> Self {
        let mut sum = Self {
            path: [Node::default(); DEPTH],
            depth: 0,
            leaf: 0,
            filled: 0,
            buffer: [0.0; LEAF],
            total: None,
        };
        sum.restart(n);
        sum
    }

    /// Begins another row, of `n` values.
    pub fn restart(&mut self, n: u64) {
        self.depth = 0;
        self.total = (n == 0).then_some(0.0);
        self.descend(n);
    }

    /// Takes the next values of the row; those beyond its end are ignored.
    pub fn feed(&mut self, mut values: &[f32]) {
        while !values.is_empty() && self.total.is_none() {
            let missing = self.leaf - self.filled;
            if self.filled == 0 && values.len() >= missing {
                let (leaf, rest) = values.split_at(missing);
                values = rest;
                self.complete(leaf_sum(leaf));
                continue;
            }
            let (part, rest) = values.split_at(missing.min(values.len()));
            values = rest;
            self.buffer[self.filled..self.filled + part.len()].copy_from_slice(part);
            self.filled += part.len();
            if self.filled == self.leaf {
                let sum = leaf_sum(&self.buffer[..self.leaf]);
                self.complete(sum);
            }
        }
    }

    /// The sum, once all values of the row have been fed.
    pub fn total(&self) -> Option<f32> {
        self.total
    }

    /// Walks down the left edge of a subtree of `n` values to its first leaf.
    fn descend(&mut self, mut n: u64) {
        while n > LEAF as u64 {
            let left = (n / 2) & !7;
            self.path[self.depth] = Node {
                right: n - left,
                left: None,
            };
            self.depth += 1;
            n = left;
        }
        self.leaf = n as usize;
        self.filled = 0;
    }

    /// Hands the sum of a finished leaf up until a right half is still missing.
    fn complete(&mut self, mut sum: f32) {
        while self.depth > 0 {
            let node = &mut self.path[self.depth - 1];
            match node.left {
                None => {
                    node.left = Some(sum);
                    let right = node.right;
                    return self.descend(right);
                }
                Some(left) => {
                    sum += left;
                    self.depth -= 1;
                }
            }
        }
        self.total = Some(sum);
    }
}

/// The sum of `|x|` of at most 128 values.
fn leaf_sum(values: &[f32]) -> f32 {
    if values.len() < 8 {
        return values.iter().fold(0.0, |sum, v| sum + v.abs());
    }
    let eights = values.chunks_exact(8);
    let rest = eights.remainder();
    // Starting from +0 instead of the first eight changes nothing: magnitudes are never -0.
    let mut sums = F32x8::splat(0.0);
    for eight in eights.filter_map(|eight| eight.try_into().ok()) {
        sums = sums + F32x8::of(eight).abs();
    }
    let r = sums.lanes();
    let sum = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
    rest.iter().fold(sum, |sum, v| sum + v.abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::random::Lcg32;

    /// The definition, word for word.
    fn tree(a: &[f32]) -> f32 {
        let n = a.len();
        if n < 8 {
            return a.iter().fold(0.0, |s, v| s + v.abs());
        }
        if n <= 128 {
            let mut r: Vec<f32> = a[..8].iter().map(|v| v.abs()).collect();
            let full = n - n % 8;
            for i in (8..full).step_by(8) {
                for j in 0..8 {
                    r[j] += a[i + j].abs();
                }
            }
            let mut s = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
            for v in &a[full..] {
                s += v.abs();
            }
            return s;
        }
        let h = n / 2 - (n / 2) % 8;
        tree(&a[..h]) + tree(&a[h..])
    }

    #[test]
    fn streams_the_tree_for_every_short_length_and_some_long_ones() {
        let mut lcg = Lcg32(1);
        let values: Vec<f32> = (0..70_001)
            .map(|_| f32::from_bits(lcg.next() >> 9 | 0x3f00_0000) - 0.7)
            .collect();
        for n in (0..600).chain([1000, 1023, 1024, 1025, 4095, 8193, 65_536, 70_001]) {
            let want = tree(&values[..n]);
            for piece in [1, 7, 64, 129, 5000, n.max(1)] {
                let mut sum = MagnitudeSum::new(n as u64);
                values[..n].chunks(piece).for_each(|p| sum.feed(p));
                assert_eq!(sum.total().map(f32::to_bits), Some(want.to_bits()), "{n} by {piece}");
            }
        }
    }

    #[test]
    fn a_restarted_sum_is_like_a_new_one() {
        let mut sum = MagnitudeSum::new(1000);
        sum.feed(&[1.0; 500]);
        sum.restart(300);
        sum.feed(&[-2.0; 299]);
        assert_eq!(sum.total(), None);
        sum.feed(&[-2.0; 9]);
        assert_eq!(sum.total(), Some(600.0));
        sum.restart(0);
        assert_eq!(sum.total(), Some(0.0));
    }

    #[test]
    fn the_longest_row_fits_the_stack() {
        let mut sum = MagnitudeSum::new(u64::MAX);
        sum.feed(&[1.0; 1000]);
        assert_eq!(sum.total(), None);
    }
}
