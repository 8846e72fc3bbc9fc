//! `encode` with strategy `lossless`: base and fine-tune to a version 2 delta.

use super::chain::Chain;
use super::decode::delta_sources;
use super::fit::{block_words, Fit, FitItem, Fitted};
use super::pack::{Pack, PackSegment};
use super::parents::Parents;
use crate::error::{Code, Error, Result};
use crate::format::model::{Model, ModelFile, Tensor};
use crate::format::safetensors::writer;
use crate::format::v2::placed::Geometry;
use crate::format::v2::{BaseRef, Block, FileRecord, Head, Index, Op, TensorRecord, BLOCK_BYTES, PREAMBLE};
use crate::job::chain::Care;
use crate::job::encode::{Report, TensorReport};
use crate::job::machine::{Io, OutputFile, Role, SourceEntry, TaskSpec};
use crate::job::open::{open_model, OpenModel};
use crate::job::options::EncodeOptions;
use crate::job::plan::Plan;
use crate::job::report::{from_wire, hex, to_json};
use crate::job::task::{Task, BATCH_BYTES};
use crate::kernels::v2::element::Layout;
use crate::kernels::v2::tables::SYMBOLS;
use crate::order::sorted_positions;
use crate::strategy::lossless::fit::{Counts, VARIANTS};
use crate::strategy::lossless::low_rank::FACTOR_CLASSES;
use crate::strategy::lossless::merge;
use crate::strategy::lossless::model::Window;
use crate::strategy::lossless::params::Params;
use xxhash_rust::xxh3::xxh3_64;

/// Bytes of the fine-tune whose blocks are encoded before any of them is written.
const WAVE_BYTES: u64 = 48 << 20;

/// Logarithm of the size of the tables.
const TABLE_LOG: u32 = 11;

/// Most pairs of names that are compared to find renamed tensors.
const MAX_COMPARED: usize = 4_000_000;

/// A tensor of the fine-tune and what it is coded against.
struct Item<'a> {
    tensor: &'a Tensor,
    base: Option<&'a Tensor>,
    geometry: Geometry,
}

/// The file as it grows.
struct Appender<'a> {
    io: &'a Io,
    at: u64,
}

impl Appender<'_> {
    async fn append(&mut self, bytes: &mut Vec<u8>) {
        self.io.hash(&[0], bytes).await;
        self.io.write(&mut [(0, self.at, bytes)]).await;
        self.at += bytes.len() as u64;
    }
}

/// Runs the job.
pub async fn encode(io: Io, sources: Vec<SourceEntry>, options: EncodeOptions) -> Result<String> {
    let effort = options.effort.unwrap_or(2);
    let base = open_model(&io, &sources, Role::Base, 0).await?.model;
    let chain = Chain::open(&io, base, &delta_sources(&sources), Care::Checked).await?;
    let n = chain.stages.len();
    let opened = open_model(&io, &sources, Role::Finetuned, 0).await?;
    let (items, files) = arrange(&io, &sources, chain.last(), &opened).await?;
    let finetuned_bytes: u64 = opened.model.files.iter().map(|f| io.size(f.source)).sum();
    let base_bytes: u64 = items
        .iter()
        .filter_map(|i| i.base)
        .map(|b| chain.cost(n, &b.name))
        .sum();
    let mut parents = Parents::new(&chain)?;
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
            reads: 2 * (finetuned_bytes + base_bytes) + parents.cost(),
            writes: guess,
            tensors: items.len(),
            elements,
        }
        .json()?,
    )
    .await;

    parents.check(&io).await?;
    let tasks = fit_tasks(&chain, &items, effort, options.low_rank.unwrap_or(true))?;
    let mut fitted: Vec<Fitted> = Vec::with_capacity(items.len());
    for report in io.run(tasks).await? {
        fitted.extend(from_wire::<Vec<Fitted>>(&report)?);
    }
    let mut records: Vec<TensorRecord> = items.iter().zip(&fitted).map(record).collect();
    tie(&mut records);
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
    let made = Made {
        chain: &chain,
        items: &items,
        records: &records,
        fitted: &fitted,
        sets: &sets,
        params: &params,
        effort,
    };
    let (blocks, bytes) = write_blocks(&mut file, &made).await?;
    let base_name = options.base_name.iter();
    let index = Index {
        metadata: base_name.map(|name| ("base".to_owned(), name.clone())).collect(),
        sets: sets.iter().map(|s| s.len() as u64).collect(),
        files,
        tensors: records,
        blocks,
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
    let tensors = items
        .iter()
        .zip(&index.tensors)
        .zip(bytes)
        .map(|((item, record), bytes)| TensorReport {
            name: record.name.clone(),
            dtype: record.dtype.name(),
            shape: record.shape.clone(),
            elements: item.tensor.elements,
            strategy: op_name(record.op),
            requested: "lossless",
            reason: None,
            bytes: bytes + record.params,
            unchanged: match record.op {
                Op::Unchanged => item.tensor.elements,
                _ => 0,
            },
            relative_error: 0.0,
            largest_error: 0.0,
        })
        .collect();
    to_json(&Report {
        job: "encode",
        version: 2,
        strategy: "lossless",
        bytes: size,
        finetuned_bytes,
        elements,
        base_hash: hex(&super::open::base_identity(&index)),
        relative_error: 0.0,
        tensors,
        findings: Vec::new(),
    })
}

/// The tasks that look at every tensor.
fn fit_tasks(chain: &Chain, items: &[Item<'_>], effort: u32, low_rank: bool) -> Result<Vec<TaskSpec>> {
    let n = chain.stages.len();
    let cost = |i: &&Item<'_>| i.tensor.range.len + i.base.map_or(0, |b| chain.cost(n, &b.name));
    let name = |i: &&Item<'_>| i.tensor.name.clone();
    let mut specs = Vec::new();
    for group in grouped(items, &cost) {
        let names: Vec<&str> = group.iter().filter_map(|i| i.base).map(|b| b.name.as_str()).collect();
        let (past, numbers) = chain.past_of(n, &names, false)?;
        let mut numbers = numbers.into_iter();
        let item = |i: &&Item<'_>| FitItem {
            name: name(i),
            fine: i.tensor.into(),
            base: i.base.and_then(|_| numbers.next()),
            columns: i.geometry.columns,
            common: i.geometry.common,
            effort,
            low_rank,
        };
        let fit = Fit {
            items: group.iter().map(item).collect(),
            past,
        };
        specs.push(Task::Fit(fit).spec(&group[0].tensor.name, "reading", group.iter().map(cost).sum())?);
    }
    Ok(specs)
}

/// Items in runs of at least a few megabytes.
fn grouped<'a, 'b>(items: &'a [Item<'b>], cost: &dyn Fn(&&'a Item<'b>) -> u64) -> Vec<Vec<&'a Item<'b>>> {
    let mut groups = Vec::new();
    let mut group = Vec::new();
    let mut sum = 0;
    for item in items {
        sum += cost(&item);
        group.push(item);
        if sum >= BATCH_BYTES {
            groups.push(std::mem::take(&mut group));
            sum = 0;
        }
    }
    if !group.is_empty() {
        groups.push(group);
    }
    groups
}

/// Makes tensors that are the same as earlier ones refer to those: tied weights are in the file once.
fn tie(records: &mut [TensorRecord]) {
    let key = |i: usize| (records[i].digest, records[i].dtype as u8, &records[i].shape);
    let order = sorted_positions(records.len(), &|a, b| key(a).cmp(&key(b)));
    let mut first = None;
    for i in order {
        // Equal ones are in sequence: the first of them comes first.
        let original = first.filter(|&f: &usize| {
            let (a, b) = (&records[f], &records[i]);
            (a.digest, a.dtype, &a.shape) == (b.digest, b.dtype, &b.shape)
        });
        match original {
            Some(f) if records[i].op != Op::Unchanged => {
                let t = &mut records[i];
                (t.op, t.base, t.back) = (Op::Tied, None, (i - f) as u64);
            }
            Some(_) => {}
            None => first = Some(i),
        }
    }
}

/// The word for an operation.
pub fn op_name(op: Op) -> &'static str {
    match op {
        Op::Unchanged => "unchanged",
        Op::Delta => "delta",
        Op::Stored => "stored",
        Op::Tied => "tied",
    }
}

/// All tensors in the order of the files and of their bytes, each with its base, and the files.
async fn arrange<'a>(
    io: &Io,
    sources: &[SourceEntry],
    base: &'a Model,
    opened: &'a OpenModel,
) -> Result<(Vec<Item<'a>>, Vec<FileRecord>)> {
    let fine = &opened.model;
    let renamed = renamed(base, fine);
    let mut items = Vec::with_capacity(fine.tensors.len());
    let mut files = Vec::with_capacity(fine.files.len() + 1);
    for file in &fine.files {
        let entries = &file.header.tensors;
        let start = |i: usize| (entries[i].range.offset, entries[i].range.len);
        let order = sorted_positions(entries.len(), &|a, b| start(a).cmp(&start(b)));
        for &i in &order {
            let tensor = fine
                .find(&entries[i].name)
                .ok_or_else(|| Error::new(Code::Internal, "a tensor was lost"))?;
            let other = || {
                let at = renamed.binary_search_by(|(n, _)| (*n).cmp(&tensor.name)).ok()?;
                Some(renamed[at].1)
            };
            let base = base.find(&tensor.name).or_else(other);
            let of = base.map(|b| (b.dtype, &b.shape[..]));
            let geometry = Geometry::new(tensor.dtype, &tensor.shape, of)
                .ok_or_else(|| Error::new(Code::Limit, "the tensor is too large").tensor(&tensor.name))?;
            items.push(Item {
                tensor,
                base: base.filter(|_| geometry.common > 0 || geometry.words == 0),
                geometry,
            });
        }
        files.push(FileRecord {
            path: file.path.clone(),
            head: head_of(io, file, &order).await?,
            tensors: order.len() as u64,
        });
    }
    if let Some(source) = opened.index {
        files.push(FileRecord {
            path: sources[source as usize].path.clone(),
            head: Head::Verbatim(io.read_vec(source, 0, io.size(source) as usize).await?),
            tensors: 0,
        });
    }
    Ok((items, files))
}

/// Tensors of the fine-tune whose name the base lacks, with the one of the same dtype and shape that the fine-tune lacks
/// whose name ends most alike; sorted by name.
fn renamed<'a>(base: &'a Model, fine: &'a Model) -> Vec<(&'a str, &'a Tensor)> {
    let added: Vec<_> = fine.tensors.iter().filter(|t| base.find(&t.name).is_none()).collect();
    let mut removed: Vec<_> = base.tensors.iter().filter(|t| fine.find(&t.name).is_none()).collect();
    if added.len().saturating_mul(removed.len()) > MAX_COMPARED {
        return Vec::new();
    }
    let alike = |a: &str, b: &str| a.bytes().rev().zip(b.bytes().rev()).take_while(|(a, b)| a == b).count();
    let mut pairs = Vec::new();
    for t in added {
        let mut best: Option<(usize, usize)> = None;
        for (i, b) in removed.iter().enumerate() {
            let n = alike(&t.name, &b.name);
            if (b.dtype, &b.shape) == (t.dtype, &t.shape) && best.is_none_or(|(most, _)| n > most) {
                best = Some((n, i));
            }
        }
        if let Some((_, i)) = best {
            pairs.push((t.name.as_str(), removed.remove(i)));
        }
    }
    pairs
}

/// What a file starts with: nothing but its metadata if the rest follows from its tensors.
async fn head_of(io: &Io, file: &ModelFile, order: &[usize]) -> Result<Head> {
    let entries = &file.header.tensors;
    let place = |&i: &usize| {
        let e = &entries[i];
        (e.name.as_str(), e.dtype, e.shape.clone(), e.range)
    };
    let placed: Vec<_> = order.iter().map(place).collect();
    let head = io.read_vec(file.source, 0, file.data_offset as usize).await?;
    match writer::header_bytes(&file.header.metadata, &placed) == head {
        true => Ok(Head::Written(file.header.metadata.clone())),
        false => Ok(Head::Verbatim(head)),
    }
}

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
            digest: fitted.base,
        }),
        digest: fitted.digest,
        set: 0,
        params: 0,
        back: 0,
    }
}

/// The table sets, one for each width of words that has deltas, and the parameters of every tensor, as in the file.
fn model(items: &[Item<'_>], records: &mut [TensorRecord], fitted: &mut [Fitted]) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let mut sets = Vec::new();
    let mut params = vec![Vec::new(); items.len()];
    for width in [8, 16, 32, 64] {
        let of_width: Vec<usize> = (0..items.len())
            .filter(|&i| records[i].op == Op::Delta && items[i].geometry.layout.bits == width)
            .collect();
        if of_width.is_empty() {
            continue;
        }
        let window = Window::for_width(width);
        let add = |n: usize, of: fn(&Fitted) -> &Vec<(u16, u8, u32)>| {
            let mut sums = vec![[0u64; SYMBOLS]; n];
            for &(context, symbol, count) in of_width.iter().flat_map(|&i| of(&fitted[i])) {
                sums[context as usize][symbol as usize] += count as u64;
            }
            narrowed(&sums)
        };
        let counts = add(VARIANTS * window.classes as usize, |f| &f.counts);
        let factor_counts = add(FACTOR_CLASSES, |f| &f.factor_counts);
        let set = merge::tables(window, width, TABLE_LOG, &counts, &factor_counts);
        for &i in &of_width {
            let scales = std::mem::take(&mut fitted[i].columns);
            params[i] = Params::new(&set, scales, fitted[i].factors.take()).to_bytes(&set);
            records[i].set = sets.len() as u64;
            records[i].params = params[i].len() as u64;
        }
        sets.push(set.to_bytes());
    }
    (sets, params)
}

/// Sums so small that all of them together fit 31 bits; what was there stays there.
fn narrowed(sums: &[[u64; SYMBOLS]]) -> Counts {
    let total: u64 = sums.iter().flatten().sum();
    let shift = (64 - total.leading_zeros()).saturating_sub(31);
    sums.iter()
        .map(|table| table.map(|c| ((c >> shift) as u32).max((c > 0) as u32)))
        .collect()
}

/// What blocks are made from.
struct Made<'a> {
    chain: &'a Chain,
    items: &'a [Item<'a>],
    records: &'a [TensorRecord],
    fitted: &'a [Fitted],
    sets: &'a [Vec<u8>],
    params: &'a [Vec<u8>],
    effort: u32,
}

impl Made<'_> {
    /// The task that encodes a block, and the bytes of the fine-tune in it.
    fn task(&self, cut: &[Cut]) -> Result<(TaskSpec, u64)> {
        let first = &cut[0];
        let item = |c: &Cut| &self.items[c.item];
        let with_base = || {
            cut.iter()
                .filter(|c| !c.stored)
                .filter_map(|c| Some((c, item(c).base?)))
        };
        let parts: Vec<_> = with_base()
            .map(|(c, base)| {
                let to = item(c).tensor.dtype;
                let width = match base.dtype == to {
                    true => Layout::of(to).bytes(),
                    false => base.dtype.bytes().unwrap_or(1),
                } as u64;
                (base.name.as_str(), c.first * width..(c.first + c.words) * width)
            })
            .collect();
        let (past, numbers) = self.chain.past(self.chain.stages.len(), &parts, false)?;
        let mut numbers = numbers.into_iter();
        let segment = |c: &Cut| PackSegment {
            name: item(c).tensor.name.clone(),
            fine: item(c).tensor.into(),
            base: item(c).base.filter(|_| !c.stored).and_then(|_| numbers.next()),
            first: c.first,
            words: c.words,
            columns: item(c).geometry.columns,
            params: self.params[c.item].clone(),
            seen: self.fitted[c.item].seen.get(c.number).copied().unwrap_or_default(),
        };
        let pack = Pack {
            set: match first.stored {
                true => Vec::new(),
                false => self.sets[self.records[first.item].set as usize].clone(),
            },
            effort: self.effort,
            segments: cut.iter().map(segment).collect(),
            past,
        };
        let bytes = cut.iter().map(|c| c.bytes(self.items)).sum::<u64>();
        let spec = Task::Pack(pack).spec(&item(first).tensor.name, "encoding", 2 * bytes)?;
        Ok((spec, bytes))
    }
}

/// Encodes and appends all blocks; gives them and the bytes that each tensor takes of them.
async fn write_blocks(file: &mut Appender<'_>, made: &Made<'_>) -> Result<(Vec<Block>, Vec<u64>)> {
    let cuts = cut(made.items, made.records);
    let mut blocks = Vec::with_capacity(cuts.len());
    let mut bytes = vec![0u64; made.items.len()];
    let mut cuts = cuts.iter().peekable();
    while cuts.peek().is_some() {
        let mut tasks = Vec::new();
        let mut wave = Vec::new();
        let mut covered = 0;
        while let Some(cut) = cuts.next_if(|_| covered < WAVE_BYTES) {
            let (task, cost) = made.task(cut)?;
            covered += cost;
            tasks.push(task);
            wave.push((cut, cost));
        }
        for ((cut, cost), mut block) in wave.into_iter().zip(file.io.run(tasks).await?) {
            file.append(&mut block).await;
            let len = block.len() as u64;
            blocks.push(Block {
                len,
                rows: cut.iter().map(|c| c.rows).sum(),
            });
            for c in cut {
                bytes[c.item] += len * c.bytes(made.items) / cost;
            }
        }
    }
    Ok((blocks, bytes))
}

/// Rows of one tensor in a block.
struct Cut {
    item: usize,
    first: u64,
    words: u64,
    rows: u64,
    stored: bool,
    /// Which of the pieces of the tensor that were hashed when it was fitted.
    number: usize,
}

impl Cut {
    fn bytes(&self, items: &[Item<'_>]) -> u64 {
        self.words * items[self.item].geometry.layout.bytes() as u64
    }
}

/// What each block covers: small tensors together, large ones by themselves and in pieces.
fn cut(items: &[Item<'_>], records: &[TensorRecord]) -> Vec<Vec<Cut>> {
    let mut blocks: Vec<Vec<Cut>> = Vec::new();
    // The set and the bytes of the last block while more may join it.
    let mut open: Option<(u64, u64)> = None;
    for (item, (it, record)) in items.iter().zip(records).enumerate() {
        if matches!(record.op, Op::Unchanged | Op::Tied) {
            continue;
        }
        let Geometry {
            layout,
            columns,
            words,
            common,
        } = it.geometry;
        let common = if record.op == Op::Stored { 0 } else { common };
        let width = layout.bytes() as u64;
        let step = block_words(columns, width);
        let mut number = 0;
        for (stored, start, end) in [(false, 0, common), (true, common, words)] {
            let mut at = start;
            while at < end {
                let n = step.min(end - at);
                let bytes = n * width;
                let cut = Cut {
                    item,
                    first: at,
                    words: n,
                    rows: n.div_ceil(columns),
                    stored,
                    number,
                };
                number += 1;
                let small = !stored && n == end - start && bytes <= BLOCK_BYTES / 2;
                match (&mut open, blocks.last_mut()) {
                    (Some((set, sum)), Some(block)) if small && *set == record.set && *sum + bytes <= BLOCK_BYTES => {
                        *sum += bytes;
                        block.push(cut);
                    }
                    _ => {
                        blocks.push(vec![cut]);
                        open = small.then_some((record.set, bytes));
                    }
                }
                at += n;
            }
        }
    }
    blocks
}
