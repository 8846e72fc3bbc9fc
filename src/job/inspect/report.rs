//! What `inspect` reports, of either version.

use crate::job::report::Finding;
use serde::Serialize;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::job) struct Report {
    pub(in crate::job) version: u32,
    pub(in crate::job) strategy: String,
    pub(in crate::job) bytes: u64,
    pub(in crate::job) base_hash: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::job) base_name: Option<String>,
    pub(in crate::job) elements: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::job) lossless: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::job) loss: Option<LossReport>,
    pub(in crate::job) layout: LayoutReport,
    pub(in crate::job) tensors: Vec<TensorReport>,
    pub(in crate::job) findings: Vec<Finding>,
}

#[derive(Serialize)]
pub(in crate::job) struct LayoutReport {
    pub(in crate::job) header: PlaceReport,
    pub(in crate::job) payload: PlaceReport,
    pub(in crate::job) checksum: PlaceReport,
    /// The table sets of version 2.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::job) sets: Vec<PlaceReport>,
}

#[derive(Serialize)]
pub(in crate::job) struct PlaceReport {
    pub(in crate::job) offset: u64,
    pub(in crate::job) length: u64,
}

#[derive(Serialize)]
pub(in crate::job) struct TensorReport {
    pub(in crate::job) name: String,
    pub(in crate::job) dtype: &'static str,
    pub(in crate::job) shape: Vec<u64>,
    pub(in crate::job) elements: u64,
    pub(in crate::job) strategy: &'static str,
    pub(in crate::job) bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::job) lossless: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::job) loss: Option<LossReport>,
    pub(in crate::job) options: OptionsReport,
    pub(in crate::job) records: Vec<RecordReport>,
}

/// What a lossy delta of version 2 says was lost.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::job) struct LossReport {
    /// Steps in units of the rows' mean changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::job) step: Option<f64>,
    /// Norm of the error over norm of the change.
    pub(in crate::job) relative_error: f64,
    /// Largest magnitude of an error.
    pub(in crate::job) largest_error: f64,
    /// Norm of the error.
    pub(in crate::job) error: f64,
    /// Norm of the change.
    pub(in crate::job) change: f64,
    /// Sum of the products of error and change.
    pub(in crate::job) product: f64,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub(in crate::job) struct OptionsReport {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::job) outlier_fraction: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::job) sparsity: Option<String>,
}

#[derive(Serialize)]
pub(in crate::job) struct RecordReport {
    pub(in crate::job) field: &'static str,
    pub(in crate::job) dtype: &'static str,
    pub(in crate::job) offset: u64,
    pub(in crate::job) length: u64,
    pub(in crate::job) elements: u64,
}
