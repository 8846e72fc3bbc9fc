//! `encode` with strategy `lossless` or `lossy`: base and fine-tune to a version 2 delta.

use super::arrange::{arrange, Item};
use super::blocks::{write_blocks, Appender};
use super::fit::{run_fits, FitItem, Fitted};
use super::search::find_step;
use super::tables::model;
use crate::error::{Code, Error, Result};
use crate::format::v2::index::{Digest, Dithered, Lost};
use crate::format::v2::{BaseRef, Index, Op, TensorRecord, PREAMBLE};
use crate::job::encode::{Report, TensorReport};
use crate::job::machine::{Io, OutputFile, Role, SourceEntry};
use crate::job::open::{groups_of, open_model};
use crate::job::options::{EncodeOptions, Fidelity};
use crate::job::placed::TensorRange;
use crate::job::plan::Plan;
use crate::job::report::{hex, to_json};
use crate::strategy::lossy::{loss::Loss, quality};
use xxhash_rust::xxh3::xxh3_64;

/// Runs the job.
pub async fn encode(io: Io, sources: Vec<SourceEntry>, options: EncodeOptions) -> Result<String> {
    if groups_of(&sources, Role::Delta) > 0 {
        return Err(Error::new(
            Code::Usage,
            "version 2 takes no parent deltas: rebuild the parent and give it as the base",
        ));
    }
    let fidelity = options.fidelity()?;
    let effort = options.effort.unwrap_or(2);
    let base = open_model(&io, &sources, Role::Base, 0).await?.model;
    let opened = open_model(&io, &sources, Role::Finetuned, 0).await?;
    let (items, files) = arrange(&io, &sources, &base, &opened).await?;
    let finetuned_bytes: u64 = opened.model.files.iter().map(|f| io.size(f.source)).sum();
    let base_bytes: u64 = items.iter().filter_map(|i| i.base).map(|b| b.range.len).sum();
    let elements = items.iter().map(|i| i.tensor.elements).sum();
    let guess = finetuned_bytes / 4;
    io.plan(
        Plan {
            job: "encode",
            bytes: guess,
            exact: false,
            outputs: vec![OutputFile {
                path: String::new(),
                size: guess,
            }],
            problems: Vec::new(),
            reads: 2 * (finetuned_bytes + base_bytes),
            writes: guess,
            tensors: items.len(),
            elements,
        }
        .json()?,
    )
    .await;

    let mut fits: Vec<FitItem> = items
        .iter()
        .map(|i| FitItem {
            name: i.tensor.name.clone(),
            fine: i.tensor.into(),
            base: i.base.map(TensorRange::from),
            columns: i.geometry.columns,
            common: i.geometry.common,
            effort,
            low_rank: options.low_rank.unwrap_or(true),
            step: None,
            probe: false,
        })
        .collect();
    let step = match fidelity {
        Fidelity::Lossless => None,
        Fidelity::Quality(quality) => Some(quality::step(quality)),
        Fidelity::Ratio(ratio) => find_step(&io, &items, &fits, finetuned_bytes as f64 / ratio).await?,
    };
    fits.iter_mut().for_each(|f| f.step = step);
    let mut fitted = run_fits(&io, fits).await?;
    let mut records: Vec<TensorRecord> = items.iter().zip(&fitted).zip(0..).map(record).collect();
    let (sets, params) = model(&items, &mut records, &mut fitted);
    // No block is longer than what it covers, but for its head.
    let sections: u64 = sets.iter().chain(&params).map(|s| s.len() as u64).sum();
    let bound = finetuned_bytes + finetuned_bytes / 64 + items.len() as u64 * 512 + (1 << 20) + sections;
    io.create(vec![OutputFile {
        path: String::new(),
        size: bound,
    }])
    .await;
    let mut file = Appender { io: &io, at: 0 };
    file.append(&mut PREAMBLE.to_vec()).await;
    file.append(&mut sets.concat()).await;
    for some in params.chunks(256) {
        file.append(&mut some.concat()).await;
    }
    let written = write_blocks(&mut file, &items, &mut records, &sets, &params, effort).await?;
    let base_name = options.base_name.iter();
    let index = Index {
        metadata: base_name.map(|name| ("base".to_owned(), name.clone())).collect(),
        sets: sets.iter().map(|s| s.len() as u64).collect(),
        files,
        tensors: records,
        blocks: written.blocks,
    };
    let mut tail = index.to_bytes()?;
    for n in [file.at, tail.len() as u64, xxh3_64(&tail)] {
        tail.extend_from_slice(&n.to_le_bytes());
    }
    file.append(&mut tail).await;
    let mut seal = io.digest(0).await?.to_vec();
    io.write(&mut [(0, file.at, &mut seal)]).await;
    let size = file.at + seal.len() as u64;
    io.resize(0, size).await;
    let mut total = Loss::default();
    written.losses.iter().for_each(|l| total.add(l));
    let strategy = match fidelity {
        Fidelity::Lossless => "lossless",
        _ => "lossy",
    };
    let tensors = items
        .iter()
        .zip(&index.tensors)
        .zip(written.bytes.iter().zip(&written.losses))
        .map(|((item, record), (bytes, loss))| TensorReport {
            name: record.name.clone(),
            dtype: record.dtype.name(),
            shape: record.shape.clone(),
            elements: item.tensor.elements,
            strategy: op_name(record),
            requested: strategy,
            reason: None,
            bytes: bytes + record.params,
            unchanged: match record.op {
                Op::Unchanged => item.tensor.elements,
                _ => 0,
            },
            relative_error: loss.relative_error(),
            largest_error: loss.largest,
        })
        .collect();
    to_json(&Report {
        job: "encode",
        version: 2,
        strategy,
        bytes: size,
        finetuned_bytes,
        elements,
        base_hash: hex(&super::open::base_identity(&index)),
        relative_error: total.relative_error(),
        tensors,
        findings: Vec::new(),
    })
}

/// The word for how a tensor is rebuilt.
pub fn op_name(record: &TensorRecord) -> &'static str {
    match record.op {
        Op::Unchanged => "unchanged",
        Op::Delta if record.dithered.is_some() => "dithered",
        Op::Delta => "delta",
        Op::Stored => "stored",
    }
}

fn record(((item, fitted), position): ((&Item<'_>, &Fitted), u64)) -> TensorRecord {
    let t = item.tensor;
    let op = match item.base {
        None => Op::Stored,
        Some(b) if fitted.equal && (b.dtype, &b.shape) == (t.dtype, &t.shape) => Op::Unchanged,
        Some(_) if item.geometry.words == 0 => Op::Stored,
        Some(_) => Op::Delta,
    };
    TensorRecord {
        name: t.name.clone(),
        dtype: t.dtype,
        shape: t.shape.clone(),
        op,
        base: item.base.filter(|_| op != Op::Stored).map(|b| BaseRef {
            name: b.name.clone(),
            dtype: b.dtype,
            shape: b.shape.clone(),
            digest: fitted.base,
        }),
        digest: fitted.digest,
        set: 0,
        params: 0,
        dithered: fitted.step.filter(|_| op == Op::Delta).map(|step| Dithered {
            step,
            seed: seed(fitted.digest, position),
            lost: Lost::default(),
        }),
    }
}

/// Levels depend on what the fine-tune is, so that a chain has other ones for each link, and on where it is, so that the
/// same tensor twice has not.
fn seed(fine: Digest, position: u64) -> u64 {
    u32::from_le_bytes([fine[0], fine[1], fine[2], fine[3]]) as u64 ^ position
}
