//! Where everything lies: what follows from an index and the position at which it stands.

use super::{malformed, Index, Op, TensorRecord, PREAMBLE};
use crate::dtype::Dtype;
use crate::error::Result;
use crate::kernels::v2::element::Layout;
use crate::limits::{MAX_BLOCK_BYTES, MAX_SECTION_BYTES};
use crate::offset::{element_count, ByteRange};
use crate::order::sorted_positions;
use crate::strategy::lossless::rows;
use std::ops::Range;

/// Shortest one: something and its checksum.
const MIN_SECTION_BYTES: u64 = 9;

/// A tensor as words in rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// How words are read.
    pub layout: Layout,
    /// Words per row; the last row of a part may be shorter.
    pub columns: u64,
    /// All words.
    pub words: u64,
    /// Words, from the first, that are coded against the base.
    pub common: u64,
}

impl Geometry {
    /// The geometry of a tensor and the part of it that a base of this dtype and shape has; none when its size
    /// overflows or does not fill whole bytes.
    pub fn new(dtype: Dtype, shape: &[u64], base: Option<(Dtype, &[u64])>) -> Option<Self> {
        let layout = Layout::of(dtype);
        let bytes = dtype.bytes_of(element_count(shape)?)?;
        let words = bytes / layout.bytes() as u64;
        let columns = match (dtype.bytes(), layout.parts) {
            (None, _) => rows::columns(&[words]),
            (_, 1) => rows::columns(shape),
            (_, parts) => rows::columns(&[shape, &[parts]].concat()),
        };
        let common = base.map_or(0, |(of, base)| common_words(dtype, shape, of, base, words));
        Some(Self {
            layout,
            columns,
            words,
            common,
        })
    }

    /// Rows of the coded part and of the stored part.
    pub fn rows(&self) -> (u64, u64) {
        (
            self.common.div_ceil(self.columns),
            (self.words - self.common).div_ceil(self.columns),
        )
    }

    /// The words of `rows` rows from row `first`, of the stored part or of the coded one.
    fn words_of(&self, stored: bool, first: u64, rows: u64) -> (u64, u64) {
        let (start, end) = match stored {
            true => (self.common, self.words),
            false => (0, self.common),
        };
        let at = (start + first * self.columns).min(end);
        (at, (rows * self.columns).min(end - at))
    }
}

/// Words at the start that both sides have: all where they have equally many elements, whole rows of the first
/// dimension where only that differs, none otherwise.
fn common_words(dtype: Dtype, shape: &[u64], of: Dtype, base: &[u64], words: u64) -> u64 {
    let Some((n, m)) = element_count(shape).zip(element_count(base)) else {
        return 0;
    };
    if of != dtype && !(of.to_f32_defined() && dtype.to_f32_defined()) {
        return 0;
    }
    if n == m {
        return words;
    }
    match (shape, base) {
        ([a, tail @ ..], [b, of_base @ ..]) if tail == of_base && dtype.bytes().is_some() => {
            words.min((words / a.max(&1)).saturating_mul(*b))
        }
        _ => 0,
    }
}

/// Rows of one tensor in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Number of the tensor in the index.
    pub tensor: usize,
    /// First word of the tensor that is in it.
    pub first: u64,
    /// How many words.
    pub words: u64,
    /// True in the part that has no base.
    pub stored: bool,
}

/// A block and what it covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedBlock {
    /// Where it lies in the file.
    pub range: ByteRange,
    /// What it covers, in order.
    pub segments: Vec<Segment>,
}

/// Where everything lies in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// The table sets.
    pub sets: Vec<ByteRange>,
    /// The parameters of each tensor; empty ranges for those without.
    pub params: Vec<ByteRange>,
    /// The blocks in the order of the file.
    pub blocks: Vec<PlacedBlock>,
    /// Each tensor of the index as rows.
    pub geometry: Vec<Geometry>,
    /// The numbers of the blocks that hold rows of each tensor.
    pub spans: Vec<Range<usize>>,
}

impl Placed {
    /// Bytes of blocks that each tensor takes: of a block that it has with others a share, by the number of words.
    pub fn shares(&self) -> Vec<u64> {
        let mut shares = vec![0; self.spans.len()];
        for block in &self.blocks {
            let words: u64 = block.segments.iter().map(|s| s.words).sum();
            for s in &block.segments {
                shares[s.tensor] += block.range.len * s.words / words.max(1);
            }
        }
        shares
    }

    /// The blocks with words of tensor `tensor` that lie in these bytes of it.
    pub fn blocks_of(&self, tensor: usize, bytes: &Range<u64>) -> impl Iterator<Item = usize> + '_ {
        let width = self.geometry[tensor].layout.bytes() as u64;
        let (from, to) = (bytes.start / width, bytes.end.div_ceil(width));
        self.spans[tensor].clone().filter(move |&b| {
            let mut own = self.blocks[b].segments.iter().filter(|s| s.tensor == tensor);
            from < to && own.any(|s| s.first < to && from < s.first + s.words)
        })
    }
}

/// The geometry of a record, of which nothing was checked before.
fn geometry(t: &TensorRecord) -> Result<Geometry> {
    let base = t.base.as_ref().map(|b| (b.dtype, &b.shape[..]));
    let sound = base.is_none_or(|(d, s)| element_count(s).and_then(|n| d.bytes_of(n)).is_some());
    Geometry::new(t.dtype, &t.shape, base)
        .filter(|_| sound)
        .ok_or_else(|| malformed("a tensor's shape makes no size").tensor(&t.name))
}

/// Places what an index at position `end` lists; it must fill the file up to there exactly.
pub fn place(index: &Index, end: u64) -> Result<Placed> {
    let name = |i: usize| index.tensors[i].name.as_str();
    let order = sorted_positions(index.tensors.len(), &|a, b| name(a).cmp(name(b)));
    if let Some(pair) = order.windows(2).find(|p| name(p[0]) == name(p[1])) {
        return Err(malformed("it names a tensor twice").tensor(name(pair[0])));
    }
    let listed = index.files.iter().try_fold(0u64, |n, f| n.checked_add(f.tensors));
    if listed != Some(index.tensors.len() as u64) {
        return Err(malformed("its files do not hold the tensors that it lists"));
    }
    let mut at = PREAMBLE.len() as u64;
    let mut next = |len: u64, needed: bool| -> Result<ByteRange> {
        let range = ByteRange::new(at, len)?;
        at = range.end();
        match at <= end && (MIN_SECTION_BYTES..=MAX_SECTION_BYTES).contains(&len) || len == 0 && !needed {
            true => Ok(range),
            false => Err(malformed("its parts do not fit the file")),
        }
    };
    let mut placed = Placed::default();
    for &len in &index.sets {
        placed.sets.push(next(len, true)?);
    }
    for t in &index.tensors {
        if t.op == Op::Delta && t.set >= index.sets.len() as u64 {
            return Err(malformed("a tensor's table set is not there").tensor(&t.name));
        }
        placed.geometry.push(geometry(t)?);
        placed.params.push(next(t.params, false)?);
    }
    let mut walk = Walk {
        index,
        geometry: &placed.geometry,
        tensor: 0,
        row: 0,
        stored: false,
    };
    for block in &index.blocks {
        let segments = walk.take(block.rows)?;
        placed.blocks.push(PlacedBlock {
            range: next(block.len, true)?,
            segments,
        });
    }
    walk.skip();
    if walk.tensor < index.tensors.len() {
        return Err(malformed("its blocks do not cover the tensor").tensor(name(walk.tensor)));
    }
    placed.spans = spans(&placed.blocks, index.tensors.len());
    match at == end {
        true => Ok(placed),
        false => Err(malformed("its parts do not fill the file")),
    }
}

/// For each of `n` tensors, from its first block to behind its last.
fn spans(blocks: &[PlacedBlock], n: usize) -> Vec<Range<usize>> {
    let mut spans = vec![0..0; n];
    for (i, block) in blocks.iter().enumerate() {
        for s in &block.segments {
            let span = &mut spans[s.tensor];
            span.start = if span.start == span.end { i } else { span.start };
            span.end = i + 1;
        }
    }
    spans
}

/// The rows of all tensors, one after the other.
struct Walk<'a> {
    index: &'a Index,
    geometry: &'a [Geometry],
    tensor: usize,
    row: u64,
    stored: bool,
}

impl Walk<'_> {
    fn left(&self) -> u64 {
        let (coded, stored) = self.geometry[self.tensor].rows();
        match self.index.tensors[self.tensor].op {
            Op::Unchanged | Op::Tied { .. } => 0,
            _ if self.stored => stored - self.row,
            _ => coded - self.row,
        }
    }

    /// Goes on to the next row that there is.
    fn skip(&mut self) {
        while self.tensor < self.geometry.len() && self.left() == 0 {
            self.row = 0;
            self.tensor += self.stored as usize;
            self.stored = !self.stored;
        }
    }

    fn take(&mut self, mut rows: u64) -> Result<Vec<Segment>> {
        let mut segments: Vec<Segment> = Vec::new();
        let mut bytes = 0u64;
        while rows > 0 || segments.is_empty() {
            self.skip();
            if self.tensor == self.geometry.len() || rows == 0 {
                return Err(malformed("its blocks cover more rows than there are, or none"));
            }
            let (tensor, geometry) = (&self.index.tensors[self.tensor], &self.geometry[self.tensor]);
            let n = rows.min(self.left());
            // One row more than there may be in a block is too many, whatever its width: no overflow.
            let (first, words) = geometry.words_of(self.stored, self.row, n.min(MAX_BLOCK_BYTES + 1));
            bytes += words * geometry.layout.bytes() as u64;
            let together = segments.first().is_none_or(|s| {
                !s.stored
                    && !self.stored
                    && self.index.tensors[s.tensor].set == tensor.set
                    && self.geometry[s.tensor].layout.bits == geometry.layout.bits
            });
            if bytes > MAX_BLOCK_BYTES || !together {
                return Err(malformed("a block covers what no block may cover").tensor(&tensor.name));
            }
            segments.push(Segment {
                tensor: self.tensor,
                first,
                words,
                stored: self.stored,
            });
            self.row += n;
            rows -= n;
        }
        Ok(segments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::v2::{BaseRef, Block, FileRecord};

    fn index() -> Index {
        let tensor = |name: &str, shape: &[u64], op, base: Option<&[u64]>| TensorRecord {
            name: name.into(),
            dtype: Dtype::BF16,
            shape: shape.to_vec(),
            op,
            base: base.map(|s| BaseRef {
                name: name.into(),
                dtype: Dtype::BF16,
                shape: s.to_vec(),
                digest: [if op == Op::Unchanged { 3 } else { 5 }; 16],
            }),
            digest: [3; 16],
            set: 0,
            params: if op == Op::Delta { 30 } else { 0 },
            dithered: None,
        };
        Index {
            metadata: vec![("base".into(), "somewhere".into())],
            sets: vec![100],
            files: vec![FileRecord {
                path: "a/model.safetensors".into(),
                tensors: 6,
                ..FileRecord::default()
            }],
            tensors: vec![
                tensor("a", &[100, 64], Op::Delta, Some(&[90, 64])),
                tensor("b", &[64], Op::Unchanged, Some(&[64])),
                tensor("c", &[10, 128], Op::Delta, Some(&[10, 128])),
                tensor("d", &[70], Op::Delta, Some(&[70])),
                tensor("e", &[7, 100], Op::Stored, None),
                tensor("f", &[70], Op::Tied { back: 2 }, None),
            ],
            blocks: [(50, 90), (20, 10), (40, 11), (15, 7)]
                .map(|(len, rows)| Block { len, rows })
                .to_vec(),
            digests: vec![[7; 16]],
        }
    }

    const END: u64 = 12 + 100 + 90 + 125;

    #[test]
    fn an_index_comes_back_and_is_placed() {
        let index = index();
        let bytes = index.to_bytes().unwrap();
        assert_eq!(Index::parse(&bytes).unwrap(), index);
        let placed = place(&index, END).unwrap();
        let covered: Vec<Vec<_>> = placed
            .blocks
            .iter()
            .map(|b| {
                let each = b.segments.iter();
                each.map(|s| (s.tensor, s.first, s.words, s.stored)).collect()
            })
            .collect();
        assert_eq!(
            covered,
            [
                vec![(0, 0, 5760, false)],
                vec![(0, 5760, 640, true)],
                vec![(2, 0, 1280, false), (3, 0, 70, false)],
                vec![(4, 0, 700, true)],
            ]
        );
        assert_eq!(placed.spans, [0..2, 0..0, 2..3, 2..3, 3..4, 0..0]);
        let blocks = |t: usize, bytes: Range<u64>| placed.blocks_of(t, &bytes).collect::<Vec<_>>();
        assert_eq!(blocks(0, 0..2), [0]);
        assert_eq!(blocks(0, 11_519..11_521), [0, 1]);
        assert_eq!(blocks(0, 11_520..11_522), [1]);
        assert!(blocks(1, 0..128).is_empty() && blocks(2, 4..4).is_empty());
        assert!(place(&index, END + 1).is_err());
        assert!(place(&index, END - 1).is_err());
    }

    #[test]
    fn a_tensor_is_tied_to_one_like_it_that_came_before() {
        for (back, sound) in [
            (0, false),
            (1, false),
            (2, true),
            (3, false),
            (6, false),
            (u64::MAX, false),
        ] {
            let mut index = index();
            index.tensors[5].op = Op::Tied { back };
            assert_eq!(Index::parse(&index.to_bytes().unwrap()).is_ok(), sound, "{back}");
        }
        let mut index = index();
        index.tensors[3].op = Op::Tied { back: 0 };
        index.tensors[3].base = None;
        assert!(Index::parse(&index.to_bytes().unwrap()).is_err());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let refuse = |f: &dyn Fn(&mut Index)| {
            let mut index = index();
            f(&mut index);
            assert!(place(&index, END).is_err());
        };
        refuse(&|i| i.tensors[1].name = "a".into());
        refuse(&|i| i.files[0].tensors = 5);
        refuse(&|i| i.files[0].tensors = u64::MAX);
        refuse(&|i| i.sets[0] = u64::MAX);
        refuse(&|i| (i.sets[0], i.blocks[0].len) = (0, 150));
        refuse(&|i| (i.blocks[1].len, i.blocks[0].len) = (8, 62));
        refuse(&|i| (i.tensors[0].params, i.blocks[0].len) = (8, 72));
        refuse(&|i| i.tensors[0].set = 1);
        refuse(&|i| i.blocks[0].rows = 91);
        refuse(&|i| i.blocks[0].rows = 0);
        refuse(&|i| i.blocks[3].rows = u64::MAX);
        refuse(&|i| {
            i.blocks.pop();
        });
        refuse(&|i| i.tensors[4].shape = vec![u64::MAX, 3]);
        refuse(&|i| i.tensors[2].shape = vec![1 << 40, 128]);
    }

    #[test]
    fn every_prefix_and_change_of_an_index_is_refused_or_read() {
        let bytes = index().to_bytes().unwrap();
        // An index without digests of files ends before the only one.
        let without = bytes.len() - index().digests.concat().len();
        let mut misplaced = 0;
        for n in 0..bytes.len() {
            assert_eq!(Index::parse(&bytes[..n]).is_ok(), n == without);
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[n] ^= 1 << bit;
                if let Ok(index) = Index::parse(&bad) {
                    misplaced += place(&index, END).is_err() as usize;
                }
            }
        }
        // Changes of lengths and rows; the others make other names, shapes and operations.
        assert!(misplaced > 25, "{misplaced}");
    }
}
