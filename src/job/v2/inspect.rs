//! `inspect` of version 2.

use super::open::{base_identity, OpenV2};
use crate::error::Result;
use crate::format::v1::CHECKSUM_BYTES;
use crate::format::v2::index::Dithered;
use crate::format::v2::{Index, Op, PREAMBLE, TRAILER};
use crate::job::inspect::report::{
    LayoutReport, LossReport, OptionsReport, PlaceReport, RecordReport, Report, TensorReport,
};
use crate::job::report::{hex, to_json, Finding, Severity};
use crate::offset::{element_count, ByteRange};
use crate::strategy::lossy::loss::DitherLoss;

/// What `inspect` says of a delta.
pub fn inspect(delta: &OpenV2) -> Result<String> {
    let (index, placed) = (&delta.index, &delta.placed);
    let tensors = tensor_reports(delta);
    let findings = match index.tensors.iter().filter(|t| t.op == Op::Unchanged).count() {
        0 => Vec::new(),
        n => vec![Finding::new(
            Severity::Note,
            "unchanged",
            format!("{n} of {} tensors are the base's own", index.tensors.len()),
        )],
    };
    let lossless = is_lossless(index);
    let place = |offset, length| PlaceReport { offset, length };
    let start = PREAMBLE.len() as u64;
    let base_name = index.metadata.iter().find(|(key, _)| key == "base");
    to_json(&Report {
        version: 2,
        strategy: if lossless { "lossless" } else { "lossy" }.into(),
        bytes: delta.size,
        base_hash: hex(&base_identity(index)),
        base_name: base_name.map(|(_, name)| name.clone()),
        elements: tensors.iter().fold(0, |n, t| n.saturating_add(t.elements)),
        lossless: Some(lossless),
        loss: total(index),
        layout: LayoutReport {
            header: place(
                delta.index_range.offset,
                delta.index_range.len + TRAILER - CHECKSUM_BYTES,
            ),
            payload: place(start, delta.index_range.offset - start),
            checksum: place(delta.size - CHECKSUM_BYTES, CHECKSUM_BYTES),
            sets: placed.sets.iter().map(|r| place(r.offset, r.len)).collect(),
        },
        tensors,
        findings,
    })
}

/// What is said of each tensor: its records are its parameters and its rows in blocks.
fn tensor_reports(delta: &OpenV2) -> Vec<TensorReport> {
    let (index, placed) = (&delta.index, &delta.placed);
    // What is lost of a tensor is lost of those that are tied to it.
    let dithered = |i: usize| {
        let t = &index.tensors[i];
        match t.op {
            Op::Tied { back } => index.tensors[i - back as usize].dithered,
            _ => t.dithered,
        }
    };
    let mut tensors: Vec<TensorReport> = index
        .tensors
        .iter()
        .enumerate()
        .map(|(i, t)| TensorReport {
            name: t.name.clone(),
            dtype: t.dtype.name(),
            shape: t.shape.clone(),
            elements: element_count(&t.shape).unwrap_or(0),
            strategy: t.op_name(),
            bytes: t.params,
            lossless: Some(dithered(i).is_none()),
            loss: dithered(i).map(loss),
            options: OptionsReport::default(),
            records: Vec::new(),
        })
        .collect();
    let record = |field, range: ByteRange, elements| RecordReport {
        field,
        dtype: "uint8",
        offset: range.offset,
        length: range.len,
        elements,
    };
    for (tensor, params) in tensors.iter_mut().zip(&placed.params) {
        if params.len > 0 {
            tensor.records.push(record("params", *params, params.len));
        }
    }
    for (tensor, share) in tensors.iter_mut().zip(placed.shares()) {
        tensor.bytes += share;
    }
    for block in &placed.blocks {
        for s in &block.segments {
            tensors[s.tensor].records.push(record("block", block.range, s.words));
        }
    }
    tensors
}

/// True when everything that is rebuilt is the fine-tune's.
pub(in crate::job) fn is_lossless(index: &Index) -> bool {
    index.tensors.iter().all(|t| t.dithered.is_none())
}

/// What a dithered tensor says was lost of it.
fn loss(d: Dithered) -> LossReport {
    let [product, error, change, largest_error] = d.lost.values();
    LossReport {
        step: Some(d.dither().relative_step()),
        relative_error: d.lost.relative_error(),
        largest_error,
        error,
        change,
        product,
    }
}

/// The same of all dithered tensors together.
pub(in crate::job) fn total(index: &Index) -> Option<LossReport> {
    let mut total = DitherLoss::default();
    let lost: Vec<_> = index.tensors.iter().filter_map(|t| t.dithered).collect();
    for d in &lost {
        let [product, error, change, largest] = d.lost.values();
        total.add(&DitherLoss {
            product,
            errors: error * error,
            changes: change * change,
            largest,
        });
    }
    (!lost.is_empty()).then(|| LossReport {
        step: None,
        relative_error: total.relative_error(),
        largest_error: total.largest,
        error: total.errors.sqrt(),
        change: total.changes.sqrt(),
        product: total.product,
    })
}
