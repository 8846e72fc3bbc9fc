//! `encode` with strategy `lossless` or `lossy`: base and fine-tune to a version 2 delta.

pub mod arrange;
pub mod blocks;
pub mod fit;
pub mod fitted;
pub mod looks;
pub mod pack;
pub mod parents;
pub mod ranges;
pub mod search;
pub mod sides;
pub mod tables;
pub mod ties;
pub mod weigh;

use super::chain::Chain;
use super::files::file_digest;
use crate::error::{Code, Error, Result};
use crate::format::model::Tensor;
use crate::format::v2::index::{check_paths, Digest, Lost};
use crate::format::v2::{BaseRef, FileRecord, Index, Op, TensorRecord, PREAMBLE};
use crate::job::chain::Care;
use crate::job::encode::report::{Report, TensorReport};
use crate::job::encode::taken;
use crate::job::machine::{Io, OutputFile, Role, SourceEntry};
use crate::job::open::{delta_sources, open_model};
use crate::job::options::{EncodeOptions, Fidelity};
use crate::job::plan::Plan;
use crate::job::report::{hex, to_json, Finding, Severity};
use crate::offset::element_count;
use crate::strategy::lossless::form::Form;
use crate::strategy::lossless::wire::checksum;
use crate::strategy::lossy::{loss::DitherLoss, quality};
use arrange::{arrange, Item};
use blocks::{write_blocks, Appender, Made, WrittenBlocks};
use fitted::{Fitted, Look, Purpose};
use looks::Looker;
use parents::Parents;
use search::fit_to_size;
use tables::{model, Sections};
use ties::{check, tell_apart, tie};
use weigh::weigh;

/// How many times smaller than the fine-tune the file is taken to become before anything but headers was read: a guess, as
/// the plan says.
const GUESSED_RATIO: u64 = 4;

/// From this quality down files become about half as large every ten steps (benches/RESULTS.md, "Lossy deltas").
const HALVING_QUALITY: u32 = 70;

/// No block is longer than what it covers, but for its head, which takes less than this part of a block of usual length.
const HEADS_PART: u64 = 64;

/// Bytes that a tensor takes at most besides, about: its record in the index, and heads of blocks that are shorter.
const TENSOR_BYTES: u64 = 512;

/// Bytes of the rest of the index, about: files, with what those that are unusual start with, and texts.
const REST_BYTES: u64 = 1 << 20;

/// A file misses its ratio when it is larger by more than this part. Estimates, by which it
/// is searched for, are usually closer.
const MISSED_PART: u64 = 5;

/// Errors relative to the changes from which on a user is told: there, models that were measured got worse faster than
/// their deltas became small (benches/RESULTS.md, quality 30 and below).
const COARSE: f64 = 3.5;

/// Runs the job.
pub async fn encode(io: Io, sources: Vec<SourceEntry>, options: EncodeOptions) -> Result<String> {
    let fidelity = options.fidelity()?;
    let base = open_model(&io, &sources, Role::Base, 0).await?.model;
    let chain = Chain::open(&io, base, &delta_sources(&sources), Care::Checked).await?;
    let opened = open_model(&io, &sources, Role::Finetuned, 0).await?;
    let (mut items, files, fronts) = arrange(&io, &sources, chain.last(), &opened).await?;
    let aim = Aim {
        fidelity,
        finetuned_bytes: opened.model.files.iter().map(|f| io.size(f.source)).sum(),
    };
    let mut index = begun_index(files, options.base_name)?;
    let parents = Parents::new(&chain)?;
    let mut findings = taken::notes(&sources, &chain.base, &opened.model);
    findings.extend(strangers(&items));
    let mut plan = plan(&chain, &items, aim, parents.cost());
    plan.problems.clone_from(&findings);
    plan.announce(&io).await?;
    parents.check(&io).await?;

    let look = Look {
        effort: options.effort.unwrap_or(2),
        low_rank: options.low_rank.unwrap_or(true),
        step: None,
        purpose: Purpose::Code,
    };
    let looker = Looker {
        io: &io,
        chain: &chain,
        look,
    };
    let fitted = fit(looker, &mut items, aim).await?;
    let mut records: Vec<TensorRecord> = items.iter().zip(&fitted).map(record).collect();
    tell_apart(looker, &items, &fitted, &mut records).await?;
    tie(&mut records);
    let Sections { sets, params } = model(&items, &mut records, &fitted);

    let forms: Vec<Form> = fitted.iter().map(|f| f.form).collect();
    let mut file = begin(&io, &items, aim.finetuned_bytes, &sets, &params).await;
    let made = Made {
        chain: &chain,
        items: &items,
        records: &records,
        forms: &forms,
        sets: &sets,
        params: &params,
        effort: look.effort,
    };
    let mut written = write_blocks(&mut file, &made).await?;
    let losses = complete(&mut records, &written)?;
    index.digests = file_digests(&index.files, &fronts, &records);
    index.sets = sets.iter().map(|s| s.len() as u64).collect();
    index.tensors = records;
    index.blocks = std::mem::take(&mut written.blocks);
    let bytes = finish(&io, file, &index).await?;
    to_json(&report(&index, &written, &losses, aim, bytes, findings))
}

/// The index, as far as it is known before the work; what it cannot hold is refused.
fn begun_index(files: Vec<FileRecord>, base_name: Option<String>) -> Result<Index> {
    check_paths(&files).map_err(|e| Error::new(Code::Usage, format!("the fine-tune's files: {e}; rename it")))?;
    let index = Index {
        metadata: Vec::from_iter(base_name.map(|name| ("base".to_owned(), name))),
        files,
        ..Index::default()
    };
    index.to_bytes()?;
    Ok(index)
}

/// What is asked for.
#[derive(Clone, Copy)]
struct Aim {
    /// How much may be lost.
    fidelity: Fidelity,
    /// Bytes of all files of the fine-tune.
    finetuned_bytes: u64,
}

impl Aim {
    /// Bytes that the delta may have, if a ratio is asked for.
    fn bytes(self) -> Option<f64> {
        match self.fidelity {
            Fidelity::Ratio(ratio) => Some(self.finetuned_bytes as f64 / ratio),
            _ => None,
        }
    }
}

/// What the job reports of a file of `bytes` bytes. `losses`: of all tensors, those that are tied as well; `findings`:
/// what was noticed before it was written.
fn report(
    index: &Index,
    written: &WrittenBlocks,
    losses: &[DitherLoss],
    aim: Aim,
    bytes: u64,
    mut findings: Vec<Finding>,
) -> Report {
    let relative_error = total(&written.losses).relative_error();
    let strategy = match aim.fidelity {
        Fidelity::Lossless => "lossless",
        _ => "lossy",
    };
    let found = index.tensors.iter().zip(written.bytes.iter().zip(losses));
    let tensors: Vec<TensorReport> = found
        .map(|(record, (&bytes, loss))| reported(record, strategy, bytes, loss))
        .collect();
    findings.extend(missed(aim, bytes));
    findings.extend(coarse(relative_error));
    Report {
        job: "encode",
        version: 2,
        strategy,
        bytes,
        finetuned_bytes: aim.finetuned_bytes,
        elements: tensors.iter().map(|t| t.elements).sum(),
        base_hash: hex(&super::open::base_identity(index)),
        relative_error,
        tensors,
        findings,
    }
}

/// The digest of each file. `fronts`: of what they have before their tensors.
fn file_digests(files: &[FileRecord], fronts: &[Digest], records: &[TensorRecord]) -> Vec<Digest> {
    let mut rest = records;
    let mut of_file = |(file, front): (&FileRecord, &Digest)| {
        let (own, others) = rest.split_at(file.tensors as usize);
        rest = others;
        file_digest(&file.path, front, own)
    };
    files.iter().zip(fronts).map(&mut of_file).collect()
}

/// What is reported of a tensor that takes `bytes` bytes of the blocks and has lost so much.
fn reported(record: &TensorRecord, requested: &'static str, bytes: u64, loss: &DitherLoss) -> TensorReport {
    let elements = element_count(&record.shape).unwrap_or(0);
    TensorReport {
        name: record.name.clone(),
        dtype: record.dtype.name(),
        shape: record.shape.clone(),
        elements,
        strategy: record.op_name(),
        requested,
        reason: None,
        bytes: bytes + record.params,
        unchanged: match record.op {
            Op::Unchanged => elements,
            _ => 0,
        },
        relative_error: loss.relative_error(),
        largest_error: loss.largest,
    }
}

fn elements(items: &[Item<'_>]) -> u64 {
    items.iter().map(|i| i.tensor.elements).sum()
}

/// The plan; how large the file becomes is a guess.
fn plan(chain: &Chain, items: &[Item<'_>], aim: Aim, parents: u64) -> Plan {
    let finetuned_bytes = aim.finetuned_bytes;
    let of_base = |b: &Tensor| chain.cost(chain.stages.len(), &b.name);
    let base_bytes: u64 = items.iter().filter_map(|i| i.base).map(of_base).sum();
    let guess = match aim.fidelity {
        Fidelity::Ratio(ratio) => (finetuned_bytes as f64 / ratio) as u64,
        Fidelity::Lossless => finetuned_bytes / GUESSED_RATIO,
        Fidelity::Quality(quality) => {
            finetuned_bytes / (GUESSED_RATIO << (HALVING_QUALITY.saturating_sub(quality) / 10))
        }
    };
    Plan {
        job: "encode",
        bytes: guess,
        exact: false,
        outputs: vec![OutputFile {
            path: String::new(),
            size: guess,
        }],
        problems: Vec::new(),
        reads: 2 * (finetuned_bytes + base_bytes) + parents,
        writes: guess,
        tensors: items.len(),
        elements: elements(items),
    }
}

/// What is found of every tensor, with the loss that is asked for.
async fn fit(looker: Looker<'_>, items: &mut [Item<'_>], aim: Aim) -> Result<Vec<Fitted>> {
    match (aim.fidelity, aim.bytes()) {
        (_, Some(bytes)) => fit_to_size(looker, items, bytes).await,
        (Fidelity::Quality(quality), _) => {
            let moved = looker.with_purpose(Purpose::Weigh).look_at(items).await?;
            weigh(items, &moved);
            looker.with_step(quality::step(quality)).look_at(items).await
        }
        _ => looker.look_at(items).await,
    }
}

/// Creates the file, with all that stands before its blocks.
async fn begin<'a>(
    io: &'a Io,
    items: &[Item<'_>],
    finetuned_bytes: u64,
    sets: &[Vec<u8>],
    params: &[Vec<u8>],
) -> Appender<'a> {
    let sections: u64 = sets.iter().chain(params).map(|s| s.len() as u64).sum();
    let heads = finetuned_bytes / HEADS_PART + items.len() as u64 * TENSOR_BYTES;
    let bound = finetuned_bytes + heads + sections + REST_BYTES;
    io.create(vec![OutputFile {
        path: String::new(),
        size: bound,
    }])
    .await;
    let mut file = Appender { io, at: 0 };
    file.append(&mut PREAMBLE.to_vec()).await;
    file.append(&mut sets.concat()).await;
    for some in params.chunks(256) {
        file.append(&mut some.concat()).await;
    }
    file
}

/// A warning where the file is much larger than what was asked for.
fn missed(aim: Aim, size: u64) -> Option<Finding> {
    let wanted = aim.bytes()? as u64;
    if size <= wanted + wanted / MISSED_PART {
        return None;
    }
    let text = format!("the file has {size} bytes, where the ratio asks for {wanted}; give a higher one, or a quality");
    Some(Finding::new(Severity::Warning, "ratio-missed", text))
}

/// A warning where most tensors have nothing to be coded against.
fn strangers(items: &[Item<'_>]) -> Option<Finding> {
    let (n, known) = (items.len(), items.iter().filter(|i| i.base.is_some()).count());
    if 2 * known >= n {
        return None;
    }
    let text = format!("{known} of {n} tensors have a match in the base; is it the right one?");
    Some(Finding::new(Severity::Warning, "strangers", text))
}

/// A warning where so much is lost that the result may be worse than its size.
fn coarse(relative_error: f64) -> Option<Finding> {
    if relative_error < COARSE {
        return None;
    }
    let text = "errors are several times as large as the changes: try what is rebuilt, or give a higher quality";
    Some(Finding::new(Severity::Warning, "coarse", text))
}

/// Enters into the records what writing the blocks found; gives what each tensor lost.
fn complete(records: &mut [TensorRecord], written: &WrittenBlocks) -> Result<Vec<DitherLoss>> {
    let last = records.iter_mut().zip(&written.digests).zip(&written.losses);
    for ((record, &[base, fine, rebuilt]), loss) in last.filter(|((r, _), _)| matches!(r.op, Op::Delta | Op::Stored)) {
        record.digest = fine;
        if let Some(b) = &mut record.base {
            b.digest = base;
        }
        if let Some(d) = &mut record.dithered {
            record.digest = rebuilt;
            d.lost = Lost::new([loss.product, loss.errors.sqrt(), loss.changes.sqrt(), loss.largest]);
        }
    }
    // What becomes of a tensor becomes of those that are tied to it.
    let mut losses = written.losses.clone();
    for i in 0..records.len() {
        if let Op::Tied { back } = records[i].op {
            let of = i - back as usize;
            if records[of].op != Op::Unchanged {
                check(&records[i], written.digests[of][1])?;
            }
            records[i].digest = records[of].digest;
            losses[i] = losses[of];
        }
    }
    Ok(losses)
}

/// What all tensors lost, those that are tied to another not counted.
fn total(losses: &[DitherLoss]) -> DitherLoss {
    let mut total = DitherLoss::default();
    losses.iter().for_each(|l| total.add(l));
    total
}

/// Appends the index, where it lies and the checksum of the file; gives the file's length.
async fn finish(io: &Io, mut file: Appender<'_>, index: &Index) -> Result<u64> {
    let mut tail = index.to_bytes()?;
    for n in [file.at, tail.len() as u64, checksum(&tail)] {
        tail.extend_from_slice(&n.to_le_bytes());
    }
    file.append(&mut tail).await;
    let mut seal = io.digest(0).await?.to_vec();
    io.put(0, file.at, &mut seal).await;
    let size = file.at + seal.len() as u64;
    io.resize(0, size).await;
    Ok(size)
}

/// The record of a tensor, before its tables are known and its blocks written.
fn record((item, fitted): (&Item<'_>, &Fitted)) -> TensorRecord {
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
            digest: fitted.whole.unwrap_or(fitted.mark),
        }),
        digest: fitted.mark,
        set: 0,
        params: 0,
        dithered: None,
    }
}
