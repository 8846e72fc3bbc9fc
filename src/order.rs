//! One sort for everything that is sorted by something borrowed.
//!
//! The standard library's sorts are compiled anew for every type and comparison, five kilobytes each in the wasm module;
//! nothing here is sorted often enough to want that.

use std::cmp::Ordering;

/// The positions `0..n` in the order that `compare` gives; equal ones stay in sequence.
pub fn sorted_positions(n: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<usize> {
    let mut positions: Vec<usize> = (0..n).collect();
    let mut merged = Vec::with_capacity(n);
    let mut width = 1;
    while width < n {
        for run in positions.chunks(2 * width) {
            let (left, right) = run.split_at(width.min(run.len()));
            merge(left, right, compare, &mut merged);
        }
        std::mem::swap(&mut positions, &mut merged);
        merged.clear();
        width *= 2;
    }
    positions
}

/// Appends two sorted runs as one; of equal items those of `left` come first.
fn merge(mut left: &[usize], mut right: &[usize], compare: &dyn Fn(usize, usize) -> Ordering, merged: &mut Vec<usize>) {
    // What is sorted already, as most lists are, takes one comparison.
    let crossed = matches!((left.last(), right.first()), (Some(&l), Some(&r)) if compare(l, r).is_gt());
    if crossed {
        while let (Some((&l, more_left)), Some((&r, more_right))) = (left.split_first(), right.split_first()) {
            if compare(l, r).is_le() {
                merged.push(l);
                left = more_left;
            } else {
                merged.push(r);
                right = more_right;
            }
        }
    }
    merged.extend_from_slice(left);
    merged.extend_from_slice(right);
}

/// The items of a list in the order of `positions`, each of which must occur once.
pub fn rearranged<T>(items: Vec<T>, positions: &[usize]) -> Vec<T> {
    let mut slots: Vec<Option<T>> = items.into_iter().map(Some).collect();
    positions.iter().filter_map(|&p| slots.get_mut(p)?.take()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_stably() {
        let words = ["b", "a", "bb", "c", "aa"];
        let order = sorted_positions(words.len(), &|a, b| words[a].len().cmp(&words[b].len()));
        assert_eq!(order, [0, 1, 3, 2, 4]);
        assert_eq!(rearranged(words.to_vec(), &order), ["b", "a", "c", "bb", "aa"]);
    }

    #[test]
    fn sorts_as_the_standard_library_does() {
        for n in (0..70).chain([1000]) {
            for many in [1, 3, 1 << 16] {
                let keys: Vec<usize> = (0..n).map(|i| i * 40_503 % 65_536 % many).collect();
                let mut wanted: Vec<usize> = (0..n).collect();
                wanted.sort_by_key(|&i| keys[i]);
                assert_eq!(sorted_positions(n, &|a, b| keys[a].cmp(&keys[b])), wanted, "{n} {many}");
            }
        }
    }
}
