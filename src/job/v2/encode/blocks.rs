//! Which rows make a block, and the blocks one after the other into the file.

use super::arrange::Item;
use super::pack::{Pack, PackSegment, Packed};
use super::ranges::block_words;
use crate::error::Result;
use crate::format::model::Tensor;
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
    fn task(&self, block: &[PlannedSegment]) -> Result<(TaskSpec, u64)> {
        let first = &block[0];
        let item = |s: &PlannedSegment| &self.items[s.item];
        let of_base = |s: &PlannedSegment| item(s).base.filter(|_| s.base.len > 0);
        let parts: Vec<_> = block
            .iter()
            .filter_map(|s| Some((of_base(s)?.name.as_str(), s.base.offset..s.base.end())))
            .collect();
        let (past, numbers) = self.chain.past(self.chain.stages.len(), &parts, false)?;
        let mut numbers = numbers.into_iter();
        let segment = |s: &PlannedSegment| PackSegment {
            fine: item(s).tensor.into(),
            base: of_base(s).and_then(|_| Some((numbers.next()?, s.base))),
            first: s.first,
            words: s.words,
            columns: item(s).geometry.columns,
            params: self.params[s.item].clone(),
            dither: self.records[s.item].dithered.map(|d| d.dither()),
        };
        let pack = Pack {
            set: match first.coded {
                false => Vec::new(),
                true => self.sets[self.records[first.item].set as usize].clone(),
            },
            effort: self.effort,
            segments: block.iter().map(segment).collect(),
            past,
        };
        let bytes = block.iter().map(|s| s.bytes(self.items)).sum::<u64>();
        let cost = bytes + block.iter().map(|s| s.base.len).sum::<u64>();
        let spec = Task::Pack(pack).spec(&item(first).tensor.name, "encoding", cost)?;
        Ok((spec, cost))
    }

    /// Begins the tasks of the next blocks, if there are any; gives what they cover.
    async fn begin<'b>(
        &self,
        io: &Io,
        blocks: &mut slice::Iter<'b, Vec<PlannedSegment>>,
    ) -> Result<Option<(&'b [Vec<PlannedSegment>], Pending)>> {
        let left = blocks.as_slice();
        let mut tasks = Vec::new();
        let mut bytes = 0;
        while bytes < ROUND_BYTES {
            let Some(block) = blocks.next() else { break };
            let (task, cost) = self.task(block)?;
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
    let blocks = plan_blocks(items, records, made.forms);
    let mut written = WrittenBlocks {
        blocks: Vec::with_capacity(blocks.len()),
        bytes: vec![0; items.len()],
        losses: vec![DitherLoss::default(); items.len()],
        digests: Vec::with_capacity(items.len()),
    };
    let mut trees = <[TreeHasher; 3]>::default();
    let mut blocks = blocks.iter();
    let mut round = made.begin(file.io, &mut blocks).await?;
    while let Some((covered, tasks)) = round {
        round = made.begin(file.io, &mut blocks).await?;
        for (segments, report) in covered.iter().zip(file.io.collect(tasks).await?) {
            let mut packed: Packed = from_wire(&report)?;
            let len = packed.block.len() as u64;
            if len > 0 {
                file.append(&mut packed.block).await;
                written.blocks.push(Block {
                    len,
                    rows: segments.iter().map(|s| s.rows).sum(),
                });
            }
            let all = packed.shares.iter().sum::<u64>().max(1);
            let mut rebuilt = packed.rebuilt.into_iter();
            for ((s, share), (of_base, of_fine)) in segments.iter().zip(&packed.shares).zip(packed.read) {
                while written.digests.len() < s.item {
                    written.digests.push(std::mem::take(&mut trees).map(TreeHasher::finish));
                }
                let item = &items[s.item];
                written.bytes[s.item] += len * *share / all;
                trees[0].push(of_base, item.base.map_or(0, |b| b.range.len));
                trees[1].push(of_fine, item.tensor.range.len);
                if records[s.item].dithered.is_some() {
                    if let Some((part, loss)) = rebuilt.next() {
                        trees[2].push(part, item.tensor.range.len);
                        written.losses[s.item].add(&loss);
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

/// The blocks as they fill.
#[derive(Default)]
struct BlockPlan {
    blocks: Vec<Vec<PlannedSegment>>,
    /// The last block, while more may join it.
    open: Option<OpenBlock>,
}

/// What a segment has to have in common with a block to join it, and how full that is.
#[derive(Clone, Copy)]
struct OpenBlock {
    /// Number of the table set.
    set: u64,
    /// Bytes of a word.
    width: u64,
    /// Bytes that it covers.
    bytes: u64,
}

impl BlockPlan {
    /// Adds a segment: to the last block where `joins` says that it may, and that has room; else it begins one.
    fn push(&mut self, segment: PlannedSegment, joins: Option<OpenBlock>) {
        match (&mut self.open, joins, self.blocks.last_mut()) {
            (Some(open), Some(own), Some(block))
                if (open.set, open.width) == (own.set, own.width) && open.bytes + own.bytes <= BLOCK_BYTES =>
            {
                open.bytes += own.bytes;
                block.push(segment);
            }
            _ => {
                self.blocks.push(vec![segment]);
                self.open = joins;
            }
        }
    }

    /// Adds the rows of tensor `item`, first those that are coded and then those that are stored; `coded_width`: bytes that
    /// a word takes while it is coded.
    fn push_rows(&mut self, item: usize, it: &Item<'_>, record: &TensorRecord, coded_width: u64) {
        let Geometry { columns, words, .. } = it.geometry;
        let width = it.geometry.layout.bytes() as u64;
        let (common, base_width) =
            of_base(it, record).map_or((0, 0), |b| (it.geometry.common, width_of_base(b.dtype, record.dtype)));
        for (coded, start, end) in [(true, 0, common), (false, common, words)] {
            let taken = if coded { coded_width.max(width) } else { width };
            let mut at = start;
            while at < end {
                let n = block_words(columns, taken).min(end - at);
                let bytes = n * taken;
                let segment = PlannedSegment {
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
                let set = record.set;
                self.push(segment, small.then_some(OpenBlock { set, width, bytes }));
                at += n;
            }
        }
    }

    /// Adds the bytes of the base that the rows of tensor `item` leave over, which are only hashed.
    fn push_rest(&mut self, item: usize, it: &Item<'_>, record: &TensorRecord) {
        let Some(base) = of_base(it, record) else { return };
        let mut at = it.geometry.common * width_of_base(base.dtype, record.dtype);
        while at < base.range.len {
            let len = (base.range.len - at).min(BLOCK_BYTES);
            let segment = PlannedSegment {
                item,
                first: it.geometry.words,
                words: 0,
                rows: 0,
                coded: false,
                base: ByteRange { offset: at, len },
            };
            self.push(segment, None);
            at += len;
        }
    }
}

/// The tensor that a delta is coded against.
fn of_base<'a>(it: &Item<'a>, record: &TensorRecord) -> Option<&'a Tensor> {
    it.base.filter(|_| record.op == Op::Delta)
}

/// What each block covers: small tensors together, large ones by themselves and in pieces.
fn plan_blocks(items: &[Item<'_>], records: &[TensorRecord], forms: &[Form]) -> Vec<Vec<PlannedSegment>> {
    let mut plan = BlockPlan::default();
    for (item, (it, record)) in items.iter().zip(records).enumerate() {
        if matches!(record.op, Op::Unchanged | Op::Tied { .. }) {
            continue;
        }
        // Nibbles take more memory while they are coded than the words that they are of.
        let coded_width = forms[item].bytes(record.dtype, 1) as u64;
        plan.push_rows(item, it, record, coded_width);
        plan.push_rest(item, it, record);
    }
    plan.blocks
}
