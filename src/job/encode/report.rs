//! What `encode` reports, of either version, and how version 1's is put together.

use super::wanted::Wanted;
use crate::job::encode::choose::Choice;
use crate::job::encode::emit::Emitted;
use crate::job::encode::survey::SurveyItem;
use crate::job::report::{Finding, Severity};
use crate::strategy::array_elements;
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

pub(super) fn report(
    items: &[SurveyItem],
    choices: &[Choice],
    emitted: &[Emitted],
    wanted: &Wanted,
    (bytes, finetuned_bytes): (u64, u64),
    base_hash: String,
    mut findings: Vec<Finding>,
) -> Report {
    let relative = |error_sq: f64, delta_sq: f64| {
        if delta_sq > 0.0 {
            (error_sq / delta_sq).sqrt()
        } else {
            0.0
        }
    };
    let (mut error_sq, mut delta_sq) = (0.0, 0.0);
    let mut tensors = Vec::with_capacity(items.len());
    for ((item, choice), emitted) in items.iter().zip(choices).zip(emitted) {
        let loss = &emitted.loss;
        // Counters, which are exact, move further than any weight.
        if item.finetuned.dtype.is_float() {
            error_sq += loss.error_sq;
            delta_sq += loss.delta_sq;
        }
        let counts = array_elements(choice.strategy, &item.shape, choice.kept);
        let payload = choice
            .strategy
            .fields()
            .iter()
            .zip(counts)
            .map(|(f, n)| f.dtype.width() as u64 * n)
            .sum();
        let lossy = loss.error_sq > 0.0 && choice.strategy != wanted.strategy;
        if let (Some(reason), true) = (&choice.reason, lossy) {
            findings.push(
                Finding::new(
                    Severity::Warning,
                    "strategy-changed",
                    format!(
                        "{reason}; stored as sparse, with a relative error of {} %",
                        (100.0 * relative(loss.error_sq, loss.delta_sq)).round() as u64
                    ),
                )
                .tensor(&item.origin.name),
            );
        }
        tensors.push(TensorReport {
            name: item.origin.name.clone(),
            dtype: item.finetuned.dtype.name(),
            shape: item.shape.clone(),
            elements: item.finetuned.elements,
            strategy: choice.strategy.name(),
            requested: wanted.strategy.name(),
            reason: choice.reason.clone(),
            bytes: payload,
            unchanged: choice.unchanged,
            relative_error: relative(loss.error_sq, loss.delta_sq),
            largest_error: loss.largest,
        });
    }
    if bytes > finetuned_bytes {
        let text = "the delta is larger than the fine-tune; use the strategy lossless";
        findings.push(Finding::new(Severity::Warning, "larger", text));
    }
    Report {
        job: "encode",
        version: 1,
        strategy: wanted.strategy.name(),
        bytes,
        finetuned_bytes,
        elements: items.iter().map(|i| i.finetuned.elements).sum(),
        base_hash,
        relative_error: relative(error_sq, delta_sq),
        tensors,
        findings,
    }
}
