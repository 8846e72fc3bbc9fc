//! Which tensors are dithered with finer steps than the others.
//!
//! A step in units of how far a row moved gives every weight the same error relative to its own change. What that error
//! does to the model's predictions differs: an error relative to the weights of a matrix is an error of that size relative
//! to what the matrix gives, however many weights it has. So a weight counts by `(change / weights)^2 / n`, with the sums
//! of magnitudes of a tensor's changes and weights and their number `n`, and a row that is looked up, not summed over,
//! counts some sixty times that. How well this foretells the KL divergence that each tensor alone causes was measured on
//! models of two kinds (benches/RESULTS.md). At low rates a dithered weight takes bits as the reciprocal of its step, so
//! the best steps are as the cube root of what weights count.

use crate::kernels::v2::analyse::{differ, magnitude};
use crate::kernels::v2::log2::{log2_q8, steps, FRACTION};
use crate::strategy::lossless::fit::Sample;

/// Logarithm of the steps' numbers per octave.
const LOG2_Q: u32 = 3;

/// How many times as much the rows of a table count that are looked up: 60, in steps.
const LOOKED_UP: i64 = 47;

/// Most steps by which a tensor is finer: three octaves.
const MOST: i64 = 24;

/// Weights of a tensor beyond which they make no difference, so that sums stay small.
const MOST_WEIGHTS: u64 = 1 << 40;

/// What is known of a tensor.
pub struct Known<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its shape.
    pub shape: &'a [u64],
    /// How many weights it has, all of them, not those of the sample.
    pub weights: u64,
    /// [`relative_change`] of its sample.
    pub change: f64,
}

/// How far the rows of a sample moved, relative to the weights that they have now; 0 if they did not or are 0.
pub fn relative_change(sample: &Sample) -> f64 {
    let Sample { layout, columns, .. } = *sample;
    let size = columns * layout.bytes();
    let zero = vec![0; size];
    let mut values = vec![0.0; columns];
    let (mut changes, mut weights) = (0f64, 0f64);
    for (base, fine) in sample.base.chunks(size).zip(sample.fine.chunks(size)) {
        let values = &mut values[..fine.len() / layout.bytes()];
        differ(layout, base, fine, values);
        changes += magnitude(values) as f64;
        differ(layout, &zero[..fine.len()], fine, values);
        weights += magnitude(values) as f64;
    }
    match changes / weights {
        ratio if ratio.is_finite() => ratio,
        _ => 0.0,
    }
}

/// By how many steps each tensor is finer than what is asked for. Those that count for less than the mean are as asked
/// for, as are vectors, which are small, and what did not change.
pub fn finer(tensors: &[Known<'_>]) -> Vec<u8> {
    let (mut sum, mut weights) = (0i64, 1);
    for (count, n) in tensors.iter().filter_map(of_a_weight) {
        sum = sum.saturating_add(count * n);
        weights += n;
    }
    let mean = sum / weights;
    let finer = |t| of_a_weight(t).map_or(0, |(count, _)| ((count - mean) / 3).clamp(0, MOST) as u8);
    tensors.iter().map(finer).collect()
}

/// What a weight of a tensor counts, as a logarithm in steps, and how many there are.
fn of_a_weight(tensor: &Known<'_>) -> Option<(i64, i64)> {
    let n = tensor.weights.min(MOST_WEIGHTS);
    let change = steps(tensor.change as f32, LOG2_Q);
    if tensor.shape.iter().filter(|&&d| d > 1).count() < 2 || change == i32::MIN {
        return None;
    }
    let looked_up = if is_table(tensor.name.as_bytes()) { LOOKED_UP } else { 0 };
    Some((
        2 * change as i64 - (log2_q8(n) >> (FRACTION - LOG2_Q)) as i64 + looked_up,
        n as i64,
    ))
}

/// Whether a tensor is called as tables are whose rows are looked up: embeddings of tokens, of positions, of types.
fn is_table(name: &[u8]) -> bool {
    let name = name.strip_suffix(b".weight").unwrap_or(name);
    let module = name.rsplit(|c| b"./".contains(c)).next().unwrap_or(name);
    let has = |part: &[u8]| module.windows(part.len()).any(|w| w == part);
    // An embedder is a linear map.
    [&b"wte"[..], b"wpe", b"shared", b"emb"].contains(&module) || (has(b"embed") && !has(b"embedder"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_known_by_their_names() {
        for name in [
            "model.embed_tokens.weight",
            "transformer.wpe.weight",
            "bert.embeddings.word_embeddings.weight",
            "shared.weight",
            "pos_embed",
            "params/token_embedder/embedding",
        ] {
            assert!(is_table(name.as_bytes()), "{name}");
        }
        for name in [
            "patch_embed.proj.weight",
            "x_embedder.weight",
            "time_embedding.linear_1.weight",
            "lm_head.weight",
        ] {
            assert!(!is_table(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn small_tensors_that_moved_far_are_finer() {
        let known = |name, shape: &'static [u64], change| Known {
            name,
            shape,
            weights: shape.iter().product(),
            change,
        };
        let of = |tensors: &[Known<'_>]| finer(tensors);
        let matrix = |change| known("mlp.weight", &[1024, 1024], change);
        assert_eq!(of(&[matrix(0.01), matrix(0.01)]), [0, 0]);
        // Twice as far: 4 times; a 16th of the weights: 16 times. With the mean where most weights are.
        let value = known("v_proj.weight", &[64, 1024], 0.02);
        let got = of(&[matrix(0.01), matrix(0.01), value]);
        assert_eq!((got[0], got[1]), (0, 0));
        assert!((14..=16).contains(&got[2]), "{got:?}");
        // Vectors, what did not move, and the least that counts.
        let others = [
            known("norm.weight", &[1024], 0.1),
            known("a.weight", &[64, 64], 0.0),
            known("q.weight", &[4096, 1024], 0.001),
        ];
        let got = of(&[vec![matrix(0.01)], others.into()]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>());
        assert_eq!(got[1..], [0, 0, 0]);
        let positions = known("wpe.weight", &[2, 1024], 0.1);
        assert_eq!(of(&[matrix(0.01), positions])[1], MOST as u8);
        assert!(of(&[]).is_empty());
    }
}
