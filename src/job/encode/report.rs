//! What `encode` reports, of either version, and how version 1's is put together.

use super::wanted::Wanted;
use crate::job::encode::choose::{Choice, Chosen};
use crate::job::encode::emit::Emitted;
use crate::job::encode::survey::SurveyItem;
use crate::job::report::{Finding, Severity};
use crate::strategy::{array_elements, Loss};
use serde::Serialize;

/// What `encode` did.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::job) struct Report {
    pub(in crate::job) job: &'static str,
    pub(in crate::job) version: u32,
    pub(in crate::job) strategy: &'static str,
    pub(in crate::job) bytes: u64,
    pub(in crate::job) finetuned_bytes: u64,
    pub(in crate::job) elements: u64,
    pub(in crate::job) base_hash: String,
    pub(in crate::job) relative_error: f64,
    pub(in crate::job) tensors: Vec<TensorReport>,
    pub(in crate::job) findings: Vec<Finding>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::job) struct TensorReport {
    pub(in crate::job) name: String,
    pub(in crate::job) dtype: &'static str,
    pub(in crate::job) shape: Vec<u64>,
    pub(in crate::job) elements: u64,
    pub(in crate::job) strategy: &'static str,
    pub(in crate::job) requested: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::job) reason: Option<String>,
    pub(in crate::job) bytes: u64,
    pub(in crate::job) unchanged: u64,
    pub(in crate::job) relative_error: f64,
    pub(in crate::job) largest_error: f64,
}

/// Puts the report together. `sizes`: bytes of the delta and of the fine-tune's files.
pub(super) fn report(
    chosen: Chosen<'_>,
    emitted: &[Emitted],
    (bytes, finetuned_bytes): (u64, u64),
    base_hash: String,
    mut findings: Vec<Finding>,
) -> Report {
    let (mut error_sq, mut delta_sq) = (0.0, 0.0);
    let mut tensors = Vec::with_capacity(emitted.len());
    for ((item, choice), Emitted { loss, .. }) in chosen.pairs().zip(emitted) {
        // Counters, which are exact, move further than any weight.
        if item.finetuned.dtype.is_float() {
            error_sq += loss.error_sq;
            delta_sq += loss.delta_sq;
        }
        findings.extend(changed_strategy(item, choice, chosen.wanted, loss));
        tensors.push(tensor_report(item, choice, chosen.wanted, loss));
    }
    if bytes > finetuned_bytes {
        let text = "the delta is larger than the fine-tune; use the strategy lossless";
        findings.push(Finding::new(Severity::Warning, "larger", text));
    }
    Report {
        job: "encode",
        version: 1,
        strategy: chosen.wanted.strategy.name(),
        bytes,
        finetuned_bytes,
        elements: tensors.iter().map(|t| t.elements).sum(),
        base_hash,
        relative_error: relative(error_sq, delta_sq),
        tensors,
        findings,
    }
}

/// Norm of the error over norm of the delta, from their squares; 0 where nothing changed.
fn relative(error_sq: f64, delta_sq: f64) -> f64 {
    if delta_sq > 0.0 {
        (error_sq / delta_sq).sqrt()
    } else {
        0.0
    }
}

/// A warning where a tensor got another strategy than the one asked for, and something was lost.
fn changed_strategy(item: &SurveyItem, choice: &Choice, wanted: &Wanted, loss: &Loss) -> Option<Finding> {
    let lossy = loss.error_sq > 0.0 && choice.strategy != wanted.strategy;
    let reason = choice.reason.as_ref().filter(|_| lossy)?;
    let text = format!(
        "{reason}; stored as sparse, with a relative error of {} %",
        (100.0 * relative(loss.error_sq, loss.delta_sq)).round() as u64
    );
    Some(Finding::new(Severity::Warning, "strategy-changed", text).tensor(&item.origin.name))
}

fn tensor_report(item: &SurveyItem, choice: &Choice, wanted: &Wanted, loss: &Loss) -> TensorReport {
    let counts = array_elements(choice.strategy, &item.shape, choice.kept);
    let arrays = choice.strategy.fields().iter().zip(counts);
    TensorReport {
        name: item.origin.name.clone(),
        dtype: item.finetuned.dtype.name(),
        shape: item.shape.clone(),
        elements: item.finetuned.elements,
        strategy: choice.strategy.name(),
        requested: wanted.strategy.name(),
        reason: choice.reason.clone(),
        bytes: arrays.map(|(f, n)| f.dtype.width() as u64 * n).sum(),
        unchanged: choice.unchanged,
        relative_error: relative(loss.error_sq, loss.delta_sq),
        largest_error: loss.largest,
    }
}
