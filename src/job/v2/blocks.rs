//! Which rows make a block, and the blocks one after the other into the file.

use super::arrange::Item;
use super::pack::{Pack, PackSegment, Packed};
use super::tree::Tree;
use crate::error::Result;
use crate::format::v2::index::Lost;
use crate::format::v2::placed::Geometry;
use crate::format::v2::{Block, Op, TensorRecord, BLOCK_BYTES};
use crate::job::machine::Io;
use crate::job::placed::TensorRange;
use crate::job::report::from_wire;
use crate::job::task::Task;
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

/// What became of the tensors in the blocks.
pub struct Written {
    /// The blocks.
    pub blocks: Vec<Block>,
    /// Bytes that each tensor takes of them.
    pub bytes: Vec<u64>,
    /// What was lost of each.
    pub losses: Vec<Loss>,
}

/// Encodes and appends all blocks. Records of dithered tensors get the digest of what is rebuilt.
pub async fn write_blocks(
    file: &mut Appender<'_>,
    items: &[Item<'_>],
    records: &mut [TensorRecord],
    sets: &[Vec<u8>],
    params: &[Vec<u8>],
    effort: u32,
) -> Result<Written> {
    let cuts = cut(items, records);
    let mut written = Written {
        blocks: Vec::with_capacity(cuts.len()),
        bytes: vec![0; items.len()],
        losses: vec![Loss::default(); items.len()],
    };
    let mut trees: Vec<Tree> = Vec::new();
    trees.resize_with(items.len(), Tree::default);
    let mut cuts = cuts.iter().peekable();
    while cuts.peek().is_some() {
        let mut tasks = Vec::new();
        let mut wave = Vec::new();
        let mut covered = 0;
        while let Some(cut) = cuts.next_if(|_| covered < WAVE_BYTES) {
            let first = &cut[0];
            let segment = |c: &Cut| PackSegment {
                fine: items[c.item].tensor.into(),
                base: items[c.item].base.filter(|_| !c.stored).map(TensorRange::from),
                first: c.first,
                words: c.words,
                columns: items[c.item].geometry.columns,
                params: params[c.item].clone(),
                dither: records[c.item].dithered.map(|d| d.dither()),
            };
            let pack = Pack {
                set: match first.stored {
                    true => Vec::new(),
                    false => sets[records[first.item].set as usize].clone(),
                },
                effort,
                segments: cut.iter().map(segment).collect(),
            };
            let cost = cut.iter().map(|c| c.bytes(items)).sum::<u64>();
            covered += cost;
            tasks.push(Task::Pack(pack).spec(&items[first.item].tensor.name, "encoding", 2 * cost)?);
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
    for ((record, tree), loss) in records.iter_mut().zip(trees).zip(&written.losses) {
        if let Some(d) = &mut record.dithered {
            record.digest = tree.finish();
            d.lost = Lost::new([loss.product, loss.errors.sqrt(), loss.changes.sqrt(), loss.largest]);
        }
    }
    Ok(written)
}

/// Rows of one tensor in a block.
struct Cut {
    item: usize,
    first: u64,
    words: u64,
    rows: u64,
    stored: bool,
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
        if record.op == Op::Unchanged {
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
        let step = (BLOCK_BYTES / (columns * width)).max(1) * columns;
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
                };
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
