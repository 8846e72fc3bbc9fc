//! Cuts a [`Past`] out of a chain: for a task, the tensors and blocks that what it reads depends on, link by link.

use super::chain::{Chain, Link};
use super::coded::{CodedBlock, CodedModel, CodedSegment, CodedTensor};
use super::files::bytes_of;
use super::open::OpenV2;
use super::past::{AddedTensor, BaseTensor, Level, Past};
use super::reader::lost;
use super::width_of_base;
use crate::dtype::Dtype;
use crate::error::{Code, Error, Result};
use crate::format::v2::index::Digest;
use crate::format::v2::placed::{PlacedBlock, Segment};
use crate::format::v2::Op;
use crate::job::changes::MovedTensor;
use crate::job::open::OpenDelta;
use crate::job::placed::TensorRange;
use crate::job::report::no_tensor;
use crate::offset::ByteRange;
use crate::order::{rearranged, sorted_positions};
use std::ops::Range;

/// Most bytes of tensors that a run has, unless it is of one: twice what a reader keeps decoded, so that what of a block
/// is decoded again is at most half.
const RUN_BYTES: u64 = 8 << 20;

/// Bytes of a tensor that are wanted.
struct Want {
    tensor: usize,
    bytes: Range<u64>,
    /// The digest that the link after names, if it is to be compared.
    expected: Option<Digest>,
}

/// What a task must know of one model.
struct LevelCut {
    level: Level,
    /// Its tensors in that, as the whole model has them numbered, in order.
    numbers: Vec<usize>,
    /// What it takes from the model before.
    next: Vec<Want>,
}

impl Chain {
    /// What a task must know to read whole tensors of the model after `n` links, and their numbers in it. With `check`,
    /// so that it can also compare the digests that no index vouches for.
    pub fn past_of(&self, n: usize, names: &[&str], check: bool) -> Result<(Past, Vec<u32>)> {
        let wants: Vec<(&str, Range<u64>)> = names.iter().map(|&name| (name, 0..u64::MAX)).collect();
        self.past(n, &wants, check)
    }

    /// As [`Chain::past_of`], of only these bytes of tensors.
    pub fn past(&self, n: usize, parts: &[(&str, Range<u64>)], check: bool) -> Result<(Past, Vec<u32>)> {
        let mut wants = Vec::with_capacity(parts.len());
        for (name, bytes) in parts {
            let tensor = self.number(n, name).ok_or_else(|| no_tensor(name))?;
            wants.push(Want {
                tensor: self.origin(n, tensor),
                bytes: bytes.start..bytes.end.min(self.form(n, tensor).1),
                expected: None,
            });
        }
        let asked: Vec<usize> = wants.iter().map(|w| w.tensor).collect();
        let mut levels: Vec<Level> = Vec::with_capacity(n + 1);
        let mut local = Vec::new();
        for level in (0..=n).rev() {
            let own = merged(wants);
            let cut = match self.link(level) {
                None => self.base_level(&own),
                Some(Link::V1(delta)) => self.added(level, delta, &own)?,
                Some(Link::V2(delta)) => self.coded(level, delta, &own, check)?,
            };
            // So far the level above has the numbers of the whole model.
            let find = |t: usize| cut.numbers.binary_search(&t).map(|i| i as u32).map_err(|_| lost());
            match levels.last_mut() {
                None => local = asked.iter().map(|&t| find(t)).collect::<Result<_>>()?,
                Some(Level::V1(tensors)) => {
                    for t in tensors {
                        t.before = find(t.before as usize)?;
                    }
                }
                Some(Level::V2(coded)) => {
                    for t in &mut coded.tensors {
                        t.base = t.base.and_then(|b| find(b as usize).ok());
                    }
                }
                Some(Level::Base(_)) => {}
            }
            levels.push(cut.level);
            wants = cut.next;
        }
        levels.reverse();
        Ok((Past { levels }, local))
    }

    fn base_level(&self, own: &[Want]) -> LevelCut {
        let tensors = own.iter().map(|w| BaseTensor {
            place: TensorRange::from(&self.base.tensors[w.tensor]),
            expected: w.expected,
        });
        LevelCut {
            level: Level::Base(tensors.collect()),
            numbers: tensors_of(own),
            next: Vec::new(),
        }
    }

    fn added(&self, level: usize, delta: &OpenDelta, own: &[Want]) -> Result<LevelCut> {
        let stage = &self.stages[level - 1];
        let (mut tensors, mut next) = (Vec::with_capacity(own.len()), Vec::with_capacity(own.len()));
        for w in own {
            let t = &stage.model.tensors[w.tensor];
            let before = stage.before[w.tensor].ok_or_else(lost)?;
            let (dtype, len) = self.form(level - 1, before);
            // Bytes of float32 to bytes of the dtype before.
            let scaled = |at: u64| match dtype.bytes().filter(|_| t.dtype == Dtype::F32) {
                Some(width) => at / 4 * width as u64,
                None => at,
            };
            next.push(Want {
                tensor: before,
                bytes: scaled(w.bytes.start)..scaled(w.bytes.end).min(len),
                expected: None,
            });
            tensors.push(AddedTensor {
                name: t.name.clone(),
                before: before as u32,
                delta: delta.tensor(&t.name).filter(|_| t.dtype == Dtype::F32).cloned(),
                dtype: t.dtype,
                bytes: t.range.len,
                expected: w.expected,
            });
        }
        Ok(LevelCut {
            level: Level::V1(tensors),
            numbers: tensors_of(own),
            next,
        })
    }

    fn coded(&self, level: usize, delta: &OpenV2, own: &[Want], check: bool) -> Result<LevelCut> {
        let (stage, placed) = (&self.stages[level - 1], &delta.placed);
        let blocks = blocks_of(delta, own);
        let mut numbers = tensors_of(own);
        // Others have a part in these blocks.
        for &b in &blocks {
            numbers.extend(placed.blocks[b].segments.iter().map(|s| s.tensor));
        }
        let order = sorted_positions(numbers.len(), &|a, b| numbers[a].cmp(&numbers[b]));
        numbers = rearranged(numbers, &order);
        numbers.dedup();
        let next = self.before_coded(level, delta, own, &blocks, check);
        let tensors = numbers.iter().map(|&t| rebuilt(delta, t, stage.before[t]));
        let find = |t: usize| numbers.binary_search(&t).map_err(|_| lost());
        let blocks = blocks.iter().map(|&b| renumbered(&placed.blocks[b], &find));
        let coded = CodedModel {
            source: delta.source,
            tensors: tensors.collect(),
            blocks: blocks.collect::<Result<_>>()?,
        };
        Ok(LevelCut {
            level: Level::V2(coded),
            numbers,
            next,
        })
    }

    /// What the model before has to give for tensors of a version 2 link, and for these blocks, which they lie in.
    fn before_coded(&self, level: usize, delta: &OpenV2, own: &[Want], blocks: &[usize], check: bool) -> Vec<Want> {
        let (stage, index) = (&self.stages[level - 1], &delta.index);
        let mut next = Vec::new();
        for w in own {
            let record = &index.tensors[w.tensor];
            let whole = w.bytes == (0..bytes_of(record));
            if let (Some(base), Some(before)) = (&record.base, stage.before[w.tensor]) {
                let of_line = check && whole && !matches!(self.link(level - 1), Some(Link::V2(_)));
                if record.op == Op::Unchanged || check && whole {
                    let all = 0..self.form(level - 1, before).1;
                    next.push(Want {
                        tensor: before,
                        bytes: if whole { all } else { w.bytes.clone() },
                        expected: of_line.then_some(base.digest),
                    });
                }
            }
        }
        for &b in blocks {
            for s in delta.placed.blocks[b].segments.iter().filter(|s| !s.stored) {
                let Some(before) = stage.before[s.tensor] else { continue };
                let (dtype, _) = self.form(level - 1, before);
                let to = index.tensors[s.tensor].dtype;
                let width = width_of_base(dtype, to);
                // Another base of one tensor spoils all that are in the block.
                let base = index.tensors[s.tensor].base.as_ref().filter(|_| check && level == 1);
                next.push(Want {
                    tensor: before,
                    bytes: s.first * width..(s.first + s.words) * width,
                    expected: base.map(|b| b.digest),
                });
            }
        }
        next
    }

    /// Tensors of the model after the last link, which is of version 2, each with what that moved it from.
    pub fn moved(&self, names: &[&str]) -> Result<(Past, Vec<MovedTensor>)> {
        let n = self.stages.len();
        let (past, numbers) = self.past_of(n, names, true)?;
        let (Some(Link::V2(delta)), Some(Level::V2(coded))) = (self.last_link(), past.levels.last()) else {
            return Err(Error::new(Code::Internal, "the last link is not of version 2"));
        };
        let moved = names.iter().zip(numbers).map(|(name, tensor)| {
            let number = self.number(n, name).map(|t| self.origin(n, t)).ok_or_else(lost)?;
            let geometry = &delta.placed.geometry[number];
            Ok(MovedTensor {
                tensor,
                base: coded.tensors[tensor as usize].base,
                words: geometry.words,
                common: geometry.common,
                cost: 2 * self.cost_of(n, number),
            })
        });
        let moved = moved.collect::<Result<_>>()?;
        Ok((past, moved))
    }

    /// Cuts tensors, in the order in which they are read, into runs that one reader serves: those that are small share
    /// blocks, which it decodes once for all of a run, and a run's [`Past`] stays small.
    pub fn runs<'a, T>(&self, tensors: &'a [T], bytes: &dyn Fn(&T) -> u64) -> Vec<&'a [T]> {
        let (mut runs, mut rest) = (Vec::new(), tensors);
        while !rest.is_empty() {
            let mut sum = 0u64;
            let fits = rest.iter().take_while(|t| {
                sum = sum.saturating_add(bytes(t));
                sum <= RUN_BYTES
            });
            let (run, after) = rest.split_at(fits.count().max(1));
            runs.push(run);
            rest = after;
        }
        runs
    }
}

/// The wants in the order of their tensors, one for each.
fn merged(wants: Vec<Want>) -> Vec<Want> {
    let order = sorted_positions(wants.len(), &|a, b| wants[a].tensor.cmp(&wants[b].tensor));
    let mut all: Vec<Want> = Vec::with_capacity(wants.len());
    for w in rearranged(wants, &order) {
        match all.last_mut().filter(|last| last.tensor == w.tensor) {
            Some(last) => {
                last.bytes = last.bytes.start.min(w.bytes.start)..last.bytes.end.max(w.bytes.end);
                last.expected = last.expected.or(w.expected);
            }
            None => all.push(w),
        }
    }
    all
}

fn tensors_of(wants: &[Want]) -> Vec<usize> {
    wants.iter().map(|w| w.tensor).collect()
}

/// The blocks that hold what is wanted, in order.
fn blocks_of(delta: &OpenV2, own: &[Want]) -> Vec<usize> {
    let mut blocks: Vec<usize> = Vec::new();
    for w in own {
        for b in delta.placed.blocks_of(w.tensor, &w.bytes) {
            if blocks.last().is_none_or(|&last| last < b) {
                blocks.push(b);
            }
        }
    }
    blocks
}

/// A block of a version 2 delta, for a task that numbers tensors by itself.
fn renumbered(b: &PlacedBlock, number: &dyn Fn(usize) -> Result<usize>) -> Result<CodedBlock> {
    let segment = |s: &Segment| {
        Ok(CodedSegment {
            tensor: number(s.tensor)? as u32,
            first: s.first,
            words: s.words,
            stored: s.stored,
        })
    };
    Ok(CodedBlock {
        range: b.range,
        segments: b.segments.iter().map(segment).collect::<Result<_>>()?,
    })
}

/// A tensor of a version 2 delta, for a task.
fn rebuilt(delta: &OpenV2, number: usize, before: Option<usize>) -> CodedTensor {
    const NONE: ByteRange = ByteRange { offset: 0, len: 0 };
    let t = &delta.index.tensors[number];
    let set = delta.placed.sets.get(t.set as usize).filter(|_| t.op == Op::Delta);
    CodedTensor {
        name: t.name.clone(),
        dtype: t.dtype,
        bytes: bytes_of(t),
        columns: delta.placed.geometry[number].columns,
        set: set.copied().unwrap_or(NONE),
        params: delta.placed.params[number],
        base: before.map(|b| b as u32),
        digest: t.digest,
        unchanged: t.op == Op::Unchanged,
        dither: t.dithered.map(|d| d.dither()),
    }
}

/// All of a version 2 delta, for a task that looks at it without a base.
pub fn examined(delta: &OpenV2) -> Result<CodedModel> {
    let blocks = delta.placed.blocks.iter().map(|b| renumbered(b, &Ok));
    Ok(CodedModel {
        source: delta.source,
        tensors: (0..delta.index.tensors.len())
            .map(|t| rebuilt(delta, t, None))
            .collect(),
        blocks: blocks.collect::<Result<_>>()?,
    })
}
