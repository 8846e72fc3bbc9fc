//! `inspect`: what a delta is and where each byte lies, from header bytes alone.

pub(super) mod report;

use super::machine::{Io, Role, SourceEntry};
use super::open::{open_delta, sources_of, OpenDelta, Placement};
use super::options::NoOptions;
use super::placed::DeltaTensor;
use super::report::{to_json, Finding, Severity};
use super::v2::open::open_v2;
use crate::error::{Code, Error, Result};
use crate::format::v1::header::{ResultDtype, V1Tensor};
use crate::format::v1::CHECKSUM_BYTES;
use crate::strategy::Strategy;
use report::{LayoutReport, OptionsReport, PlaceReport, RecordReport, Report, TensorReport};

/// Runs the job.
pub async fn inspect(io: Io, sources: Vec<SourceEntry>, _: NoOptions) -> Result<String> {
    let &[source] = &sources_of(&sources, Role::Delta, 0)[..] else {
        return Err(Error::new(Code::Usage, "inspect takes one .wdelta file"));
    };
    if let Some(delta) = Box::pin(open_v2(&io, source)).await? {
        return super::v2::inspect::inspect(&delta);
    }
    let delta = open_delta(&io, source, Placement::Sample(&[])).await?;
    to_json(&described(&delta))
}

fn tensor_report((t, placed): (&V1Tensor, &DeltaTensor)) -> TensorReport {
    let mut options = OptionsReport::default();
    match t.strategy {
        Strategy::Int4 => options.outlier_fraction.clone_from(&t.option),
        Strategy::Sparse => options.sparsity.clone_from(&t.option),
        Strategy::Quantized => {}
    }
    let fields = t.strategy.fields().iter().zip(&placed.fields);
    let records = fields.map(|(f, p)| RecordReport {
        field: f.name,
        dtype: f.dtype.name(),
        offset: p.offset,
        length: p.elements * f.dtype.width() as u64,
        elements: p.elements,
    });
    TensorReport {
        name: t.name.clone(),
        dtype: match t.dtype {
            ResultDtype::Float16 => "float16",
            ResultDtype::Float32 => "float32",
            ResultDtype::Float64 => "float64",
        },
        shape: t.shape.clone(),
        elements: t.elements,
        strategy: t.strategy.name(),
        bytes: placed.bytes(),
        lossless: None,
        loss: None,
        options,
        records: records.collect(),
    }
}

fn described(delta: &OpenDelta) -> Report {
    let header = &delta.header;
    let tensors = header.tensors.iter().zip(&delta.tensors).map(tensor_report).collect();
    let place = |range: crate::offset::ByteRange| PlaceReport {
        offset: range.offset,
        length: range.len,
    };
    Report {
        version: 1,
        strategy: header.strategy.clone(),
        bytes: delta.size,
        base_hash: header.parent_hash.clone(),
        base_name: header.base_name.clone(),
        elements: delta.elements(),
        lossless: None,
        loss: None,
        layout: LayoutReport {
            header: place(delta.header_range),
            payload: place(delta.payload()),
            checksum: PlaceReport {
                offset: delta.size - CHECKSUM_BYTES,
                length: CHECKSUM_BYTES,
            },
            sets: Vec::new(),
        },
        tensors,
        findings: findings(delta),
    }
}

/// What the header alone gives away.
fn findings(delta: &OpenDelta) -> Vec<Finding> {
    let mut findings = Vec::new();
    let unchanged = delta.tensors.iter().filter(|t| t.is_empty() && t.elements > 0).count();
    if unchanged > 0 {
        findings.push(Finding::new(
            Severity::Note,
            "unchanged",
            format!("{unchanged} of {} tensors are the base's own", delta.tensors.len()),
        ));
    }
    for (t, placed) in delta.header.tensors.iter().zip(&delta.tensors) {
        let mut note = |severity, code, text: String| {
            findings.push(Finding::new(severity, code, text).tensor(&t.name));
        };
        // Sixteen bits a weight are what the fine-tune itself takes in the usual dtypes.
        if placed.elements >= 1024 && placed.bytes() >= 2 * placed.elements {
            let bits = 8 * placed.bytes() / placed.elements;
            let text = format!("takes {bits} bits a weight, no less than a 16-bit fine-tune itself");
            note(Severity::Warning, "large", text);
        }
        let (own, of_file) = (t.strategy.name(), &delta.header.strategy);
        if own != of_file && !placed.is_empty() {
            note(
                Severity::Note,
                "strategy",
                format!("is stored as {own}, the file as {of_file}"),
            );
        }
        if t.dtype != ResultDtype::Float32 {
            let text = "names a result other than float32, which the reference never writes";
            note(Severity::Note, "dtype", text.into());
        }
    }
    if delta.walked {
        findings.push(Finding::new(
            Severity::Note,
            "order",
            "the records are not where the header lets one expect them; another program wrote this file",
        ));
    }
    findings
}
