//! Whether a fine-tune is one of its base: version 1 can only say that the values of the same tensors moved.

use crate::error::{shape_text, Code, Error, Result};
use crate::format::model::Model;
use crate::job::report::{list_names, Finding, Severity};

/// Names and shapes must be the same on both sides: version 1 cannot say anything else. Gives a finding for each tensor that
/// has another dtype.
pub(super) fn compare_models(base: &Model, finetuned: &Model, reference: bool) -> Result<Vec<Finding>> {
    check_names(base, finetuned)?;
    let mut findings = Vec::new();
    for t in &finetuned.tensors {
        let Some(b) = base.find(&t.name) else { continue };
        if b.shape != t.shape {
            return Err(Error::new(
                Code::ShapeMismatch,
                format!(
                    "the base has {}, the fine-tune {}; a version 1 delta needs the same shapes (added tokens resize the embedding)",
                    shape_text(&b.shape),
                    shape_text(&t.shape),
                ),
            )
            .about(&t.name));
        }
        if reference && !(b.dtype.to_f32_defined() && t.dtype.to_f32_defined()) {
            return Err(Error::new(
                Code::UnsupportedDtype,
                format!("the reference cannot read {}", t.dtype.name()),
            )
            .about(&t.name));
        }
        if b.dtype != t.dtype {
            findings.push(
                Finding::new(
                    Severity::Note,
                    "dtype-differs",
                    format!(
                        "the fine-tune has {}, the base {}; `decode` gives the base's dtype unless its option `dtype` is float32",
                        t.dtype.name(),
                        b.dtype.name()
                    ),
                )
                .tensor(&t.name),
            );
        }
    }
    Ok(findings)
}

fn check_names(base: &Model, finetuned: &Model) -> Result<()> {
    let (added, removed) = (base.lacks(finetuned), finetuned.lacks(base));
    let Some(first) = added.first().or(removed.first()) else {
        return Ok(());
    };
    let side = |names: &[&str], what: &str| match names.len() {
        0 => String::new(),
        n => format!(" {n} only in the {what}: {}.", list_names(names)),
    };
    Err(Error::new(
        Code::MissingTensor,
        format!(
            "base and fine-tune do not have the same tensors.{}{} A version 1 delta needs the same names on both sides",
            side(&added, "fine-tune"),
            side(&removed, "base"),
        ),
    )
    .tensor(*first))
}

/// The error of a tensor that the deltas before do not have.
pub(super) fn not_in_parents(name: &str) -> Error {
    Error::new(
        Code::MissingTensor,
        "the parent deltas do not have it; a chain keeps the same tensors from link to link",
    )
    .about(name)
}
