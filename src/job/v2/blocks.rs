//! Which rows make a block, and the blocks one after the other into the file.

use super::arrange::Item;
use super::chain::Chain;
use super::fit::{block_words, Fitted};
use super::pack::{Pack, PackSegment, Packed};
use super::tree::Tree;
use crate::error::Result;
use crate::format::v2::index::Digest;
use crate::format::v2::placed::Geometry;
use crate::format::v2::{Block, Op, TensorRecord, BLOCK_BYTES};
use crate::job::machine::{Io, TaskSpec};
use crate::job::report::from_wire;
use crate::job::task::Task;
use crate::kernels::v2::element::Layout;
use crate::strategy::lossy::loss::Loss;

/// Bytes of the fine-tune whose blocks are encoded before any of them is written.
const WAVE_BYTES: u64 = 48 << 20;

/// The file as it grows.
pub struct Appender<'a> {
    /// Where to.
    pub io: &'a Io,
    /// Bytes so far.
    pub at: u64,
}

impl Appender<'_> {
    /// Appends bytes, which are taken.
    pub async fn append(&mut self, bytes: &mut Vec<u8>) {
        self.io.hash(&[0], bytes).await;
        self.io.write(&mut [(0, self.at, bytes)]).await;
        self.at += bytes.len() as u64;
    }
}

/// What blocks are made from.
#[allow(missing_docs)] // each is what it says
pub struct Made<'a> {
    pub chain: &'a Chain,
    pub items: &'a [Item<'a>],
    pub records: &'a [TensorRecord],
    pub fitted: &'a [Fitted],
    pub sets: &'a [Vec<u8>],
    pub params: &'a [Vec<u8>],
    pub effort: u32,
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
            dither: self.records[c.item].dithered.map(|d| d.dither()),
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

/// What became of the tensors in the blocks.
pub struct Written {
    /// The blocks.
    pub blocks: Vec<Block>,
    /// Bytes that each tensor takes of them.
    pub bytes: Vec<u64>,
    /// What was lost of each.
    pub losses: Vec<Loss>,
    /// The digest of what is rebuilt, of dithered ones.
    pub digests: Vec<Option<Digest>>,
}

/// Encodes and appends all blocks.
pub async fn write_blocks(file: &mut Appender<'_>, made: &Made<'_>) -> Result<Written> {
    let (items, records) = (made.items, made.records);
    let cuts = cut(items, records);
    let mut written = Written {
        blocks: Vec::with_capacity(cuts.len()),
        bytes: vec![0; items.len()],
        losses: vec![Loss::default(); items.len()],
        digests: Vec::new(),
    };
    let mut trees: Vec<Tree> = Vec::new();
    trees.resize_with(items.len(), Tree::default);
    let mut cuts = cuts.iter().peekable();
    while cuts.peek().is_some() {
        let mut tasks = Vec::new();
        let mut wave = Vec::new();
        let mut covered = 0;
        while let Some(cut) = cuts.next_if(|_| covered < WAVE_BYTES) {
            let (task, bytes) = made.task(cut)?;
            covered += bytes;
            tasks.push(task);
            wave.push(cut);
        }
        for (cut, report) in wave.into_iter().zip(file.io.run(tasks).await?) {
            let mut packed: Packed = from_wire(&report)?;
            let len = packed.block.len() as u64;
            file.append(&mut packed.block).await;
            written.blocks.push(Block {
                len,
                rows: cut.iter().map(|c| c.rows).sum(),
            });
            let all = packed.shares.iter().sum::<u64>().max(1);
            for (c, share) in cut.iter().zip(&packed.shares) {
                written.bytes[c.item] += (len as u128 * *share as u128 / all as u128) as u64;
            }
            let dithered = cut.iter().filter(|c| records[c.item].dithered.is_some());
            for (c, (part, loss)) in dithered.zip(packed.rebuilt) {
                trees[c.item].push(part, items[c.item].tensor.range.len);
                written.losses[c.item].add(&loss);
            }
        }
    }
    let digest = |(tree, r): (Tree, &TensorRecord)| r.dithered.map(|_| tree.finish());
    written.digests = trees.into_iter().zip(records).map(digest).collect();
    Ok(written)
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
