//! Layer, expert and role from a tensor's name, for tables and maps by layer and role.
//!
//! Names are a convention, not a format, so this is a guess that costs nothing when wrong. The rule, over the parts
//! between dots:
//!
//! 1. The first whole number right after a part that says "layer" or "block", or is the `h` of GPT-2 or one of what
//!    networks for images have (`stages`, `features`), is the layer; other numbers, such as those of a `stem`, count
//!    something else. With it goes the part before it when that only says "layers" (`layers`, `layer`, `h`, `block`,
//!    `blocks`), and the `encoder` of BERT's `encoder.layer`.
//! 2. A later number right after a part that says "expert" is the expert. So is the first number, if it stands there.
//! 3. A first part that only wraps the model (`model`, `transformer`, `bert`, …) goes, as does a last part `weight`.
//! 4. What is left is the role. Other numbers stay in it: `layer.1` of a T5 block is a part, not a layer.

/// What a tensor's name says about its place in the model.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Group {
    /// Number of the layer; none for embeddings, head and final norm.
    pub layer: Option<u32>,
    /// Number of the expert of a mixture.
    pub expert: Option<u32>,
    /// What the tensor does there, such as `self_attn.q_proj`; the same for all layers.
    pub role: String,
}

/// First parts that only wrap the model.
const WRAPPERS: [&str; 9] = [
    "model",
    "transformer",
    "bert",
    "roberta",
    "distilbert",
    "electra",
    "gpt_neox",
    "backbone",
    "auto_model",
];

/// Parts that only say that a layer's number follows.
const CONTAINERS: [&str; 5] = ["layers", "layer", "h", "block", "blocks"];

/// Other parts that a layer's number follows.
const LAYERED: [&str; 3] = ["h", "stages", "features"];

/// Guesses layer, expert and role.
///
/// ```
/// let g = wdelta::format::grouping::group("model.layers.3.mlp.experts.17.down_proj.weight");
/// assert_eq!((g.layer, g.expert, &*g.role), (Some(3), Some(17), "mlp.experts.down_proj"));
/// ```
pub fn group(name: &str) -> Group {
    let mut parts: Vec<&str> = name.split('.').collect();
    if parts.len() > 1 && parts.last() == Some(&"weight") {
        parts.pop();
    }
    if parts.len() > 1 && WRAPPERS.contains(&parts[0]) {
        parts.remove(0);
    }
    let (mut layer, mut expert) = (None, None);
    let mut role: Vec<&str> = Vec::with_capacity(parts.len());
    for part in parts {
        let number = part
            .parse::<u32>()
            .ok()
            .filter(|_| part.bytes().all(|b| b.is_ascii_digit()));
        let before = role.last().copied();
        match (number, before) {
            (Some(n), Some(before)) if expert.is_none() && says(before, b"expert") => expert = Some(n),
            (Some(n), Some(before)) if layer.is_none() && is_layer(before) => {
                layer = Some(n);
                if CONTAINERS.contains(&before) {
                    role.pop();
                    if before == "layer" && role == ["encoder"] {
                        role.pop();
                    }
                }
            }
            _ => role.push(part),
        }
    }
    let role = if role.is_empty() {
        name.to_owned()
    } else {
        role.join(".")
    };
    Group { layer, expert, role }
}

fn is_layer(part: &str) -> bool {
    says(part, b"layer") || says(part, b"block") || LAYERED.contains(&part)
}

/// Whether a word is part of a name. By bytes: the standard library's search for a text is three kilobytes of code that
/// nothing else needs.
pub(crate) fn says(part: &str, word: &[u8]) -> bool {
    part.as_bytes().windows(word.len()).any(|w| w == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, layer: Option<u32>, expert: Option<u32>, role: &str) {
        let role = role.to_owned();
        assert_eq!(group(name), Group { layer, expert, role }, "{name}");
    }

    #[test]
    fn llama_and_qwen() {
        check("model.embed_tokens.weight", None, None, "embed_tokens");
        check(
            "model.layers.12.self_attn.q_proj.weight",
            Some(12),
            None,
            "self_attn.q_proj",
        );
        check(
            "model.layers.0.self_attn.q_proj.bias",
            Some(0),
            None,
            "self_attn.q_proj.bias",
        );
        check("model.layers.31.mlp.down_proj.weight", Some(31), None, "mlp.down_proj");
        check(
            "model.layers.3.input_layernorm.weight",
            Some(3),
            None,
            "input_layernorm",
        );
        check("model.norm.weight", None, None, "norm");
        check("lm_head.weight", None, None, "lm_head");
    }

    #[test]
    fn gpt2_with_and_without_its_wrapper() {
        check("transformer.wte.weight", None, None, "wte");
        check("transformer.h.7.attn.c_attn.weight", Some(7), None, "attn.c_attn");
        check("h.7.mlp.c_proj.bias", Some(7), None, "mlp.c_proj.bias");
        check("h.0.ln_1.weight", Some(0), None, "ln_1");
        check("ln_f.weight", None, None, "ln_f");
    }

    #[test]
    fn bert() {
        check(
            "bert.embeddings.word_embeddings.weight",
            None,
            None,
            "embeddings.word_embeddings",
        );
        check(
            "bert.encoder.layer.3.attention.self.query.weight",
            Some(3),
            None,
            "attention.self.query",
        );
        check(
            "encoder.layer.11.output.LayerNorm.bias",
            Some(11),
            None,
            "output.LayerNorm.bias",
        );
        check("bert.pooler.dense.weight", None, None, "pooler.dense");
    }

    #[test]
    fn mixtures_of_experts() {
        let mixtral = "model.layers.4.block_sparse_moe.experts.6.w1.weight";
        check(mixtral, Some(4), Some(6), "block_sparse_moe.experts.w1");
        check(
            "model.layers.4.block_sparse_moe.gate.weight",
            Some(4),
            None,
            "block_sparse_moe.gate",
        );
        check(
            "model.layers.9.mlp.experts.127.up_proj.weight",
            Some(9),
            Some(127),
            "mlp.experts.up_proj",
        );
        check(
            "model.layers.9.mlp.shared_experts.up_proj.weight",
            Some(9),
            None,
            "mlp.shared_experts.up_proj",
        );
        check("experts.3.w2.weight", None, Some(3), "experts.w2");
    }

    #[test]
    fn models_of_several_stacks_keep_them_apart() {
        let t5 = "encoder.block.2.layer.1.DenseReluDense.wi.weight";
        check(t5, Some(2), None, "encoder.layer.1.DenseReluDense.wi");
        check("model.decoder.layers.5.fc1.weight", Some(5), None, "decoder.fc1");
        check("visual.blocks.2.attn.qkv.weight", Some(2), None, "visual.attn.qkv");
    }

    #[test]
    fn networks_for_images() {
        let vit = "blocks.layers.3.self_attn.in_proj_weight";
        check(vit, Some(3), None, "blocks.self_attn.in_proj_weight");
        check("stem.3.weight", None, None, "stem.3");
        check("stem.1.running_mean", None, None, "stem.1.running_mean");
        check("layer2.0.conv1.weight", Some(0), None, "layer2.conv1");
        check(
            "stages.1.blocks.2.dwconv.weight",
            Some(1),
            None,
            "stages.blocks.2.dwconv",
        );
        check("features.28.bias", Some(28), None, "features.bias");
        check(
            "visual.transformer.resblocks.7.ln_1.bias",
            Some(7),
            None,
            "visual.transformer.resblocks.ln_1.bias",
        );
    }

    #[test]
    fn names_of_no_convention() {
        check("net.2.weight", None, None, "net.2");
        check("", None, None, "");
        check("weight", None, None, "weight");
        check("model", None, None, "model");
        check("layers.0", Some(0), None, "layers.0");
        check("0.weight", None, None, "0");
        check("a.99999999999.b", None, None, "a.99999999999.b");
        check("a.+1.b", None, None, "a.+1.b");
        check("..weight", None, None, ".");
    }
}
