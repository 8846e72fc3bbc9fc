//! One sort for everything that is sorted by something borrowed.
//!
//! The standard library's sorts are compiled anew for every type and comparison, a few kilobytes each in the wasm module;
//! nothing here is sorted often enough to want that.

use std::cmp::Ordering;

/// The positions `0..n` in the order that `compare` gives; equal ones stay in sequence.
pub fn sorted_positions(n: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<usize> {
    let mut positions: Vec<usize> = (0..n).collect();
    positions.sort_by(|&a, &b| compare(a, b));
    positions
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
}
