//! Notes on what of the given files was taken, where that may not be what was meant.

use super::names::says;
use crate::format::model::Model;
use crate::job::machine::{Role, SourceEntry};
use crate::job::open::sources_of;
use crate::job::report::{list_names, Finding, Severity};

/// The notes on base and fine-tune.
pub fn notes(sources: &[SourceEntry], base: &Model, finetuned: &Model) -> Vec<Finding> {
    let notes = [
        unlisted("base", base),
        unlisted("fine-tune", finetuned),
        left_out(sources, finetuned),
    ];
    notes.into_iter().flatten().collect()
}

/// A note where files of a model are neither listed by an index nor numbered as shards are: they may be several models.
fn unlisted(word: &str, model: &Model) -> Option<Finding> {
    let paths: Vec<&str> = model.files.iter().map(|f| f.path.as_str()).collect();
    let certain = paths.len() < 2 || model.index.is_some() || paths.iter().all(|path| says(path, b"-of-"));
    let text = || {
        format!(
            "no index lists the files of the {word}, which are taken as one model: {}; if they are several, name one file",
            list_names(&paths)
        )
    };
    (!certain).then(|| Finding::new(Severity::Note, "unlisted", text()))
}

/// A note where files with weights lie beside the fine-tune's own, which no delta holds.
fn left_out(sources: &[SourceEntry], finetuned: &Model) -> Option<Finding> {
    let of_model = |source: u32| finetuned.files.iter().any(|f| f.source == source);
    let own = sources_of(sources, Role::Finetuned, 0).into_iter();
    let beside = own.filter(|&s| !of_model(s)).map(|s| sources[s as usize].path.as_str());
    let weights: Vec<_> = beside.filter(|path| path.ends_with(".safetensors")).collect();
    let text = || format!("not part of the model, and not in the delta: {}", list_names(&weights));
    (!weights.is_empty()).then(|| Finding::new(Severity::Note, "left-out", text()))
}
