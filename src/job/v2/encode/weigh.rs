//! Before a lossy encode: by how much each tensor's steps are to be finer than what was asked for.

use super::arrange::Item;
use super::fitted::Fitted;
use crate::dtype::Dtype;
use crate::order::{rearranged, sorted_positions};
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
    let quantised = quantised(items);
    for (item, finer) in items.iter_mut().zip(finer) {
        let is_scale = parent(&item.tensor.name).is_some_and(|p| quantised.binary_search(&p).is_ok());
        item.finer = (!is_scale).then_some(finer);
    }
}

/// The modules and the names of matrices of integers or FP8, sorted. What floats lie beside or below them are their scales,
/// which many weights are multiplied with: an error there is one of all of these.
fn quantised<'a>(items: &[Item<'a>]) -> Vec<&'a str> {
    let mut names = Vec::new();
    for item in items {
        let t = item.tensor;
        let codes = matches!(
            t.dtype,
            Dtype::U8 | Dtype::I8 | Dtype::I16 | Dtype::U16 | Dtype::I32 | Dtype::U32
        );
        let small = t.dtype.bits() <= 8 && t.dtype != Dtype::BOOL;
        if (codes || small) && t.shape.iter().filter(|&&d| d > 1).count() >= 2 {
            names.push(&*t.name);
            names.extend(parent(&t.name));
        }
    }
    let order = sorted_positions(names.len(), &|a, b| names[a].cmp(names[b]));
    rearranged(names, &order)
}

/// The part of a name before its last dot.
fn parent(name: &str) -> Option<&str> {
    name.rsplit_once('.').map(|(parent, _)| parent)
}
