//! Layer, expert and role from a tensor's name, for tables and maps by layer and role.
//!
//! Names are a convention, not a format, so this is a guess that costs nothing when wrong. The rule, over the parts
//! between dots:
//!
//! 1. The first part that is a whole number and has a part before it is the layer; with it goes the part before it
//!    when that only says "layers" (`layers`, `layer`, `h`, `block`, `blocks`), and the `encoder` of BERT's
//!    `encoder.layer`.
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
            (Some(n), Some(before)) if expert.is_none() && before.contains("expert") => expert = Some(n),
            (Some(n), Some(before)) if layer.is_none() => {
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
