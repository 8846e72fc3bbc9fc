//! Before a lossy encode: by how much each tensor's steps are to be finer than what was asked for.

use super::arrange::Item;
use super::fitted::Fitted;
use crate::dtype::Dtype;
use crate::job::encode::names::says;
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
        item.finer = (!is_scale(&quantised, &item.tensor.name)).then_some(finer);
    }
}

/// The names of matrices of integers or FP8 and the modules that they are in, sorted.
fn quantised<'a>(items: &[Item<'a>]) -> Vec<&'a str> {
    let mut names = Vec::new();
    for item in items {
        let t = item.tensor;
        let codes = match t.dtype {
            Dtype::BOOL => false,
            Dtype::I16 | Dtype::U16 | Dtype::I32 | Dtype::U32 => true,
            other => other.bits() <= 8,
        };
        if codes && t.shape.iter().filter(|&&d| d > 1).count() >= 2 {
            names.extend([t.name.as_str(), module(&t.name).unwrap_or("")]);
        }
    }
    let order = sorted_positions(names.len(), &|a, b| names[a].cmp(names[b]));
    rearranged(names, &order)
}

/// Whether floats of this name are scales of quantised matrices: those that lie beside or below one. Many weights are
/// multiplied with a scale: an error there is one of all of these.
///
/// All tensors whose names have no separator lie beside one another, so there a name has to say it: with the matrix's own
/// name before an underscore, or with the word.
fn is_scale(quantised: &[&str], name: &str) -> bool {
    let is_quantised = |name: &str| quantised.binary_search(&name).is_ok();
    match module(name) {
        Some(module) => is_quantised(module),
        None => {
            let mut starts = name.match_indices('_').filter_map(|(end, _)| name.get(..end));
            starts.any(is_quantised) || (is_quantised("") && says(name, b"scale"))
        }
    }
}

/// The part of a name before its last separator.
fn module(name: &str) -> Option<&str> {
    let end = name.bytes().rposition(|b| matches!(b, b'.' | b'/'))?;
    name.get(..end)
}

#[cfg(test)]
mod tests {
    use super::is_scale;

    /// As [`super::quantised`] gives them, of matrices of these names.
    fn of_matrices(names: &[&'static str]) -> Vec<&'static str> {
        let mut all = names.to_vec();
        all.extend(names.iter().map(|name| super::module(name).unwrap_or("")));
        all.sort_unstable();
        all
    }

    #[test]
    fn what_lies_beside_or_below_a_quantised_matrix_is_its_scale() {
        let quantised = of_matrices(&["model.mlp.weight", "params/dense/kernel"]);
        for name in [
            "model.mlp.weight_scale",
            "model.mlp.weight.absmax",
            "params/dense/scale",
        ] {
            assert!(is_scale(&quantised, name), "{name}");
        }
        for name in ["model.norm.weight", "params/norm/scale", "scale", "weight_scale"] {
            assert!(!is_scale(&quantised, name), "{name}");
        }
    }

    #[test]
    fn names_without_modules_have_to_say_so() {
        let quantised = of_matrices(&["weight", "w_in"]);
        for name in [
            "weight_scale",
            "weight_zero_point",
            "w_in_absmax",
            "scales",
            "weight.scale",
        ] {
            assert!(is_scale(&quantised, name), "{name}");
        }
        for name in ["embedding", "weights", "w_out", "norm"] {
            assert!(!is_scale(&quantised, name), "{name}");
        }
    }
}
