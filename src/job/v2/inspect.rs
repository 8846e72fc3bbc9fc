//! `inspect` of version 2.

use super::encode::op_name;
use super::open::{base_identity, open_v2};
use crate::error::Result;
use crate::format::grouping::group;
use crate::format::v2::{Op, PREAMBLE, TRAILER};
use crate::job::inspect::{LayoutReport, OptionsReport, Place, RecordReport, Report, TensorReport};
use crate::job::machine::Io;
use crate::job::report::{hex, to_json, Finding, Severity};
use crate::offset::{element_count, ByteRange};

/// Runs `inspect` on the version 2 file `source`.
pub async fn inspect(io: Io, source: u32) -> Result<String> {
    let delta = open_v2(&io, source).await?;
    let (index, placed) = (&delta.index, &delta.placed);
    let mut tensors: Vec<TensorReport> = index
        .tensors
        .iter()
        .map(|t| TensorReport {
            name: t.name.clone(),
            dtype: t.dtype.name(),
            shape: t.shape.clone(),
            elements: element_count(&t.shape).unwrap_or(0),
            strategy: op_name(t),
            bytes: t.params,
            options: OptionsReport::default(),
            group: group(&t.name),
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
    for block in &placed.blocks {
        let words: u64 = block.segments.iter().map(|s| s.words).sum();
        for s in &block.segments {
            let tensor = &mut tensors[s.tensor];
            // Its share of a block that it has with others.
            tensor.bytes += (block.range.len as u128 * s.words as u128 / words.max(1) as u128) as u64;
            tensor.records.push(record("block", block.range, s.words));
        }
    }
    let findings = match index.tensors.iter().filter(|t| t.op == Op::Unchanged).count() {
        0 => Vec::new(),
        n => vec![Finding::new(
            Severity::Note,
            "unchanged",
            format!("{n} of {} tensors are the base's own", index.tensors.len()),
        )],
    };
    let place = |offset, length| Place { offset, length };
    let start = PREAMBLE.len() as u64;
    let base_name = index.metadata.iter().find(|(key, _)| key == "base");
    to_json(&Report {
        version: 2,
        strategy: "lossless".into(),
        bytes: delta.size,
        base_hash: hex(&base_identity(index)),
        base_name: base_name.map(|(_, name)| name.clone()),
        elements: tensors.iter().fold(0, |n, t| n.saturating_add(t.elements)),
        layout: LayoutReport {
            header: place(delta.index_range.offset, delta.index_range.len + TRAILER - 32),
            payload: place(start, delta.index_range.offset - start),
            checksum: place(delta.size - 32, 32),
        },
        tensors,
        findings,
    })
}
