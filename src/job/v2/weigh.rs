//! Before a lossy encode: by how much each tensor's steps are to be finer than what was asked for.

use super::arrange::Item;
use super::fitted::Fitted;
use crate::strategy::lossy::importance::{finer, Known};

/// Sets [`Item::finer`] by how far each tensor moved.
pub fn weigh(items: &mut [Item<'_>], fitted: &[Fitted]) {
    let pairs = items.iter().zip(fitted);
    let known = pairs.map(|(item, f)| Known {
        name: &item.tensor.name,
        shape: &item.tensor.shape,
        weights: item.tensor.elements,
        change: f.change,
    });
    let known: Vec<_> = known.collect();
    let finer = finer(&known);
    for (item, finer) in items.iter_mut().zip(finer) {
        item.finer = finer;
    }
}
