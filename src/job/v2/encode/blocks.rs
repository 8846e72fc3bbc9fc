//! Which rows make a block, and the blocks one after the other into the file.

use super::arrange::Item;
use super::pack::{Pack, PackSegment, Packed};
use super::ranges::block_words;
use crate::error::Result;
use crate::format::v2::index::Digest;
use crate::format::v2::placed::Geometry;
use crate::format::v2::{Block, Op, TensorRecord, BLOCK_BYTES};
use crate::job::machine::{Io, Pending, TaskSpec};
use crate::job::report::from_wire;
use crate::job::task::Task;
use crate::job::v2::chain::Chain;
use crate::job::v2::tree::TreeHasher;
use crate::job::v2::width_of_base;
use crate::offset::ByteRange;
use crate::strategy::lossless::form::Form;
use crate::strategy::lossy::loss::DitherLoss;
use std::slice;

/// Bytes that are read for the blocks of a round of tasks. Two rounds are on their way at once: while the blocks of one are
/// written, those of the next are encoded.
const ROUND_BYTES: u64 = 64 << 20;

/// The delta as it grows, from end to end; all that is appended goes into its hash.
pub struct Appender<'a> {
    /// Takes the bytes, for sink 0.
    pub io: &'a Io,
    /// Bytes appended so far.
    pub at: u64,
}

impl Appender<'_> {
    /// Appends bytes, which are taken.
    pub async fn append(&mut self, bytes: &mut Vec<u8>) {
        self.io.hash(&[0], bytes).await;
        self.io.put(0, self.at, bytes).await;
        self.at += bytes.len() as u64;
    }
}

/// What blocks are made from.
pub struct Made<'a> {
    /// The base, and the links before the new one.
    pub chain: &'a Chain,
    /// The tensors, in the order of the file.
    pub items: &'a [Item<'a>],
    /// What the index says of each so far.
    pub records: &'a [TensorRecord],
    /// In which words each is coded.
    pub forms: &'a [Form],
    /// The table sets as in the file, which records give the numbers of.
    pub sets: &'a [Vec<u8>],
    /// The parameters of each tensor as in the file; empty for one that is no delta.
    pub params: &'a [Vec<u8>],
    /// Level of effort, 0 to 3.
    pub effort: u32,
}

impl Made<'_> {
    /// The task that encodes a block, and the bytes that it reads.
    fn task(&self, cut: &[PlannedSegment]) -> Result<(TaskSpec, u64)> {
        let first = &cut[0];
        let item = |c: &PlannedSegment| &self.items[c.item];
        let of_base = |c: &PlannedSegment| item(c).base.filter(|_| c.base.len > 0);
        let parts: Vec<_> = cut
            .iter()
            .filter_map(|c| Some((of_base(c)?.name.as_str(), c.base.offset..c.base.end())))
            .collect();
        let (past, numbers) = self.chain.past(self.chain.stages.len(), &parts, false)?;
        let mut numbers = numbers.into_iter();
        let segment = |c: &PlannedSegment| PackSegment {
            fine: item(c).tensor.into(),
            base: of_base(c).and_then(|_| Some((numbers.next()?, c.base))),
            first: c.first,
            words: c.words,
            columns: item(c).geometry.columns,
            params: self.params[c.item].clone(),
            dither: self.records[c.item].dithered.map(|d| d.dither()),
        };
        let pack = Pack {
            set: match first.coded {
                false => Vec::new(),
                true => self.sets[self.records[first.item].set as usize].clone(),
            },
            effort: self.effort,
            segments: cut.iter().map(segment).collect(),
            past,
        };
        let bytes = cut.iter().map(|c| c.bytes(self.items)).sum::<u64>();
        let cost = bytes + cut.iter().map(|c| c.base.len).sum::<u64>();
        let spec = Task::Pack(pack).spec(&item(first).tensor.name, "encoding", cost)?;
        Ok((spec, cost))
    }

    /// Begins the tasks of the next blocks, if there are any; gives what they cover.
    async fn begin<'c>(
        &self,
        io: &Io,
        cuts: &mut slice::Iter<'c, Vec<PlannedSegment>>,
    ) -> Result<Option<(&'c [Vec<PlannedSegment>], Pending)>> {
        let left = cuts.as_slice();
        let mut tasks = Vec::new();
        let mut bytes = 0;
        while bytes < ROUND_BYTES {
            let Some(cut) = cuts.next() else { break };
            let (task, cost) = self.task(cut)?;
            bytes += cost;
            tasks.push(task);
        }
        let covered = &left[..tasks.len()];
        match covered {
            [] => Ok(None),
            _ => Ok(Some((covered, io.start(tasks).await))),
        }
    }
}

/// What became of the tensors in the blocks.
pub struct WrittenBlocks {
    /// Length and rows of each block, in the order of the file.
    pub blocks: Vec<Block>,
    /// Bytes that each tensor takes of the blocks.
    pub bytes: Vec<u64>,
    /// What was lost of each tensor.
    pub losses: Vec<DitherLoss>,
    /// Digests of the base, of the fine-tune and of what is rebuilt of it with a loss, of what was read for blocks.
    pub digests: Vec<[Digest; 3]>,
}

/// Encodes and appends all blocks.
pub async fn write_blocks(file: &mut Appender<'_>, made: &Made<'_>) -> Result<WrittenBlocks> {
    let (items, records) = (made.items, made.records);
    let cuts = cut(items, records, made.forms);
    let mut written = WrittenBlocks {
        blocks: Vec::with_capacity(cuts.len()),
        bytes: vec![0; items.len()],
        losses: vec![DitherLoss::default(); items.len()],
        digests: Vec::with_capacity(items.len()),
    };
    let mut trees = <[TreeHasher; 3]>::default();
    let mut cuts = cuts.iter();
    let mut round = made.begin(file.io, &mut cuts).await?;
    while let Some((covered, tasks)) = round {
        round = made.begin(file.io, &mut cuts).await?;
        for (cut, report) in covered.iter().zip(file.io.collect(tasks).await?) {
            let mut packed: Packed = from_wire(&report)?;
            let len = packed.block.len() as u64;
            if len > 0 {
                file.append(&mut packed.block).await;
                written.blocks.push(Block {
                    len,
                    rows: cut.iter().map(|c| c.rows).sum(),
                });
            }
            let all = packed.shares.iter().sum::<u64>().max(1);
            let mut rebuilt = packed.rebuilt.into_iter();
            for ((c, share), (of_base, of_fine)) in cut.iter().zip(&packed.shares).zip(packed.read) {
                while written.digests.len() < c.item {
                    written.digests.push(std::mem::take(&mut trees).map(TreeHasher::finish));
                }
                let item = &items[c.item];
                written.bytes[c.item] += len * *share / all;
                trees[0].push(of_base, item.base.map_or(0, |b| b.range.len));
                trees[1].push(of_fine, item.tensor.range.len);
                if records[c.item].dithered.is_some() {
                    if let Some((part, loss)) = rebuilt.next() {
                        trees[2].push(part, item.tensor.range.len);
                        written.losses[c.item].add(&loss);
                    }
                }
            }
        }
    }
    while written.digests.len() < items.len() {
        written.digests.push(std::mem::take(&mut trees).map(TreeHasher::finish));
    }
    Ok(written)
}

/// Rows of one tensor in a block, or bytes of the base that no block covers.
struct PlannedSegment {
    item: usize,
    first: u64,
    words: u64,
    rows: u64,
    /// Whether they are coded against the base.
    coded: bool,
    /// The bytes of the base's tensor.
    base: ByteRange,
}

impl PlannedSegment {
    fn bytes(&self, items: &[Item<'_>]) -> u64 {
        self.words * items[self.item].geometry.layout.bytes() as u64
    }
}

/// What each block covers: small tensors together, large ones by themselves and in pieces.
fn cut(items: &[Item<'_>], records: &[TensorRecord], forms: &[Form]) -> Vec<Vec<PlannedSegment>> {
    let mut blocks: Vec<Vec<PlannedSegment>> = Vec::new();
    // The set, the width of words and the bytes of the last block while more may join it.
    let mut open: Option<(u64, u64, u64)> = None;
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
        let base = it.base.filter(|_| record.op == Op::Delta);
        let common = if base.is_none() { 0 } else { common };
        let width = layout.bytes() as u64;
        let base_width = base.map_or(0, |b| width_of_base(b.dtype, record.dtype));
        // Nibbles take more memory while they are coded than the words that they are of.
        let coded_width = forms[item].bytes(record.dtype, 1) as u64;
        for (coded, start, end) in [(true, 0, common), (false, common, words)] {
            let mut at = start;
            while at < end {
                let taken = if coded { coded_width.max(width) } else { width };
                let n = block_words(columns, taken).min(end - at);
                let bytes = n * taken;
                let cut = PlannedSegment {
                    item,
                    first: at,
                    words: n,
                    rows: n.div_ceil(columns),
                    coded,
                    base: ByteRange {
                        offset: at * base_width,
                        len: if coded { n * base_width } else { 0 },
                    },
                };
                // Above half a block few others would fit beside it.
                let small = coded && n == end - start && bytes <= BLOCK_BYTES / 2;
                match (&mut open, blocks.last_mut()) {
                    (Some((set, of, sum)), Some(block))
                        if small && (*set, *of) == (record.set, width) && *sum + bytes <= BLOCK_BYTES =>
                    {
                        *sum += bytes;
                        block.push(cut);
                    }
                    _ => {
                        blocks.push(vec![cut]);
                        open = small.then_some((record.set, width, bytes));
                    }
                }
                at += n;
            }
        }
        let mut at = common * base_width;
        while let Some(left) = base.and_then(|b| b.range.len.checked_sub(at)).filter(|&n| n > 0) {
            let len = left.min(BLOCK_BYTES);
            blocks.push(vec![PlannedSegment {
                item,
                first: words,
                words: 0,
                rows: 0,
                coded: false,
                base: ByteRange { offset: at, len },
            }]);
            open = None;
            at += len;
        }
    }
    blocks
}
