//! A base and links of either version, opened: what tensors there are after each link, and what they are made of.
//!
//! After a version 1 link tensors are float32; after a version 2 link they have the dtypes that it names. Whether a
//! version 2 link follows another one shows in their indexes, before any tensor is read.

use super::open::{is_v2, open_v2, OpenV2};
use super::past::{AddedTensor, BaseTensor, Coded, Level, Past};
use super::rebuild::{RebuildBlock, RebuildSegment, RebuildTensor};
use crate::dtype::Dtype;
use crate::error::{Code, Error, Result};
use crate::format::model::{assemble, Model, ShardHeader};
use crate::format::safetensors::header::{self, Entry, Header};
use crate::format::safetensors::writer;
use crate::format::v2::index::Digest;
use crate::format::v2::{FileRecord, Head, Op, TensorRecord};
use crate::job::chain::{self, shape_text, Care};
use crate::job::changes::Moved;
use crate::job::machine::Io;
use crate::job::open::OpenDelta;
use crate::job::placed::TensorRange;
use crate::job::report::list_names;
use crate::kernels::v2::element::Layout;
use crate::offset::{element_count, ByteRange};
use crate::order::{rearranged, sorted_positions};
use std::ops::Range;
use std::rc::Rc;

/// A delta.
pub enum Link {
    /// Of version 1.
    V1(OpenDelta),
    /// Of version 2.
    V2(OpenV2),
}

impl Link {
    /// Number of its source.
    pub fn source(&self) -> u32 {
        match self {
            Link::V1(delta) => delta.source,
            Link::V2(delta) => delta.source,
        }
    }

    /// Length of its file.
    pub fn size(&self) -> u64 {
        match self {
            Link::V1(delta) => delta.size,
            Link::V2(delta) => delta.size,
        }
    }
}

/// The model after a link.
pub struct Stage {
    /// The link.
    pub link: Rc<Link>,
    /// The model. Its places are those in the files that `decode` would write, which need not exist.
    pub model: Model,
    /// For each tensor, numbered as the link has them, the number of the one before that it is made of.
    before: Vec<Option<usize>>,
    /// Bytes that are read to rebuild each tensor.
    costs: Vec<u64>,
}

/// A base and the links after it.
pub struct Chain {
    /// The base.
    pub base: Model,
    /// One entry a link.
    pub stages: Vec<Stage>,
}

/// Bytes of a tensor that are wanted.
struct Want {
    tensor: usize,
    bytes: Range<u64>,
    /// The digest that the link after names, if it is to be compared.
    expected: Option<Digest>,
}

/// Opens the delta `source` as the next link after `model`.
pub async fn open_link(io: &Io, source: u32, model: Option<&Model>, care: Care) -> Result<Rc<Link>> {
    if is_v2(io, source).await? {
        return Ok(Rc::new(Link::V2(open_v2(io, source).await?)));
    }
    let mut opened = chain::open_chain(io, &[source], model, care).await?;
    Ok(Rc::new(Link::V1(opened.swap_remove(0))))
}

impl Chain {
    /// Opens deltas in order after `base` and sees that each fits the model before it.
    pub async fn open(io: &Io, base: Model, deltas: &[u32], care: Care) -> Result<Self> {
        let mut chain = Self {
            base,
            stages: Vec::with_capacity(deltas.len()),
        };
        for &source in deltas {
            let link = open_link(io, source, Some(chain.last()), care).await?;
            chain.push(link)?;
        }
        Ok(chain)
    }

    /// The model after the first `n` links.
    pub fn model(&self, n: usize) -> &Model {
        match n.checked_sub(1) {
            None => &self.base,
            Some(i) => &self.stages[i].model,
        }
    }

    /// The model after all links.
    pub fn last(&self) -> &Model {
        self.model(self.stages.len())
    }

    /// How many links come before the version 1 links at the end: what those rebuild is written as this model is.
    pub fn rooted(&self) -> usize {
        let last = self.stages.iter().rposition(|s| matches!(*s.link, Link::V2(_)));
        last.map_or(0, |i| i + 1)
    }

    /// Adds a link; an error when it does not fit what is there.
    pub fn push(&mut self, link: Rc<Link>) -> Result<()> {
        let number = self.stages.len() + 1;
        let (model, before) = match &*link {
            Link::V1(delta) => self.after_v1(delta)?,
            Link::V2(delta) => (result_model(delta)?, self.matched(delta)?),
        };
        let own = |t: usize| match &*link {
            Link::V1(delta) => delta.tensor(&model.tensors[t].name).map_or(0, |d| d.bytes()),
            Link::V2(delta) => {
                let span = delta.placed.spans[delta.origin(t)].clone();
                span.map(|b| delta.placed.blocks[b].range.len).sum()
            }
        };
        let costs = before.iter().enumerate().map(|(t, b)| {
            let before = b.map_or(0, |b| self.cost_of(number - 1, b));
            before.saturating_add(own(t))
        });
        let costs = costs.collect();
        self.stages.push(Stage {
            link,
            model,
            before,
            costs,
        });
        Ok(())
    }

    fn cost_of(&self, n: usize, tensor: usize) -> u64 {
        match n.checked_sub(1) {
            None => self.base.tensors[tensor].range.len,
            Some(i) => self.stages[i].costs[tensor],
        }
    }

    /// Bytes that are read to rebuild a tensor of the model after `n` links.
    pub fn cost(&self, n: usize, name: &str) -> u64 {
        self.number(n, name).map_or(0, |t| self.cost_of(n, t))
    }

    /// The number under which the model after `n` links has a tensor: that of the index of a version 2 link, else its
    /// place among the sorted names.
    fn number(&self, n: usize, name: &str) -> Option<usize> {
        match n.checked_sub(1).map(|i| &*self.stages[i].link) {
            Some(Link::V2(delta)) => delta.find(name),
            _ => {
                let tensors = &self.model(n).tensors;
                tensors.binary_search_by(|t| t.name.as_str().cmp(name)).ok()
            }
        }
    }

    /// The base's tensor of every record of `delta` that has one, as the next link.
    fn matched(&self, delta: &OpenV2) -> Result<Vec<Option<usize>>> {
        let (n, model) = (self.stages.len(), self.last());
        let before = match self.stages.last().map(|s| &*s.link) {
            Some(Link::V2(before)) => Some(before),
            _ => None,
        };
        let (mut missing, mut other) = (Vec::new(), Vec::new());
        let mut bases = Vec::with_capacity(delta.index.tensors.len());
        for t in &delta.index.tensors {
            let Some(wanted) = &t.base else {
                bases.push(None);
                continue;
            };
            let name = wanted.name.as_str();
            let number = self.number(n, name);
            bases.push(number.map(|t| self.origin(n, t)));
            let Some((number, found)) = number.zip(model.find(name)) else {
                missing.push(name);
                continue;
            };
            if (found.dtype, &found.shape) != (wanted.dtype, &wanted.shape) {
                let code = if n == 0 { Code::WrongBase } else { Code::BrokenChain };
                return Err(Error::new(
                    code,
                    format!(
                        "tensor `{name}`: {} was made against {} of {}, {} has {} of {}",
                        this_link(n),
                        shape_text(&wanted.shape),
                        wanted.dtype.name(),
                        the_model(n),
                        shape_text(&found.shape),
                        found.dtype.name(),
                    ),
                )
                .tensor(name)
                .source(delta.source));
            }
            if before.is_some_and(|b| b.index.tensors[number].digest != wanted.digest) {
                other.push(name);
            }
        }
        let report = |code, names: &[&str], what: &str| {
            let text = format!(
                "{} {what} {} of {} tensors that {} was made against: {}; {}",
                the_model(n),
                names.len(),
                bases.len(),
                this_link(n),
                list_names(names.iter().copied()),
                match n {
                    0 => "give the base that the delta names",
                    _ => "check the order of the deltas, and whether one is missing in between",
                }
            );
            Error::new(code, text).tensor(names[0]).source(delta.source)
        };
        match (missing.is_empty(), other.is_empty()) {
            (false, _) if n == 0 => Err(report(Code::MissingTensor, &missing, "lacks")),
            (false, _) => Err(report(Code::BrokenChain, &missing, "lacks")),
            (true, false) => Err(report(Code::BrokenChain, &other, "has other values in")),
            (true, true) => Ok(bases),
        }
    }

    /// The model after a version 1 link.
    fn after_v1(&self, delta: &OpenDelta) -> Result<(Model, Vec<Option<usize>>)> {
        let (n, before) = (self.stages.len(), self.last());
        chain::check_fit(before, std::slice::from_ref(delta)).map_err(|mut e| {
            if n > 0 {
                e.code = Code::BrokenChain;
                e.message = format!("{} does not follow link {n}: {}", this_link(n), e.message);
            }
            e
        })?;
        let mut model = before.clone();
        model.tensors.retain(|t| delta.tensor(&t.name).is_some());
        let mut numbers = Vec::with_capacity(model.tensors.len());
        for t in &mut model.tensors {
            numbers.push(self.number(n, &t.name).map(|b| self.origin(n, b)));
            if t.dtype.to_f32_defined() {
                t.dtype = Dtype::F32;
                t.range.len = t.elements.saturating_mul(4);
            } else if delta.tensor(&t.name).is_some_and(|d| !d.is_empty()) {
                return Err(Error::new(
                    Code::UnsupportedDtype,
                    format!("tensor `{}`: {} cannot be turned into float32", t.name, t.dtype.name()),
                )
                .tensor(&t.name)
                .source(delta.source));
            }
        }
        Ok((model, numbers))
    }

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
            let tensor = self.number(n, name).ok_or_else(|| {
                let text = format!("there is no tensor `{name}`; `inspect` lists the names");
                Error::new(Code::MissingTensor, text).tensor(*name)
            })?;
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
            let mut numbers: Vec<usize> = own.iter().map(|w| w.tensor).collect();
            let (made, next) = match level.checked_sub(1).map(|i| &self.stages[i]) {
                None => (self.base_level(&own), Vec::new()),
                Some(stage) => match &*stage.link {
                    Link::V1(delta) => self.added(level, stage, delta, &own),
                    Link::V2(delta) => {
                        let blocks = blocks_of(delta, &own);
                        for &b in &blocks {
                            numbers.extend(delta.placed.blocks[b].segments.iter().map(|s| s.tensor));
                        }
                        numbers.sort_unstable();
                        numbers.dedup();
                        self.coded(level, stage, delta, &own, &numbers, &blocks, check)
                    }
                },
            };
            // So far the level above has the numbers of the whole model.
            let find = |t: usize| numbers.binary_search(&t).ok().map(|i| i as u32);
            match levels.last_mut() {
                None => local = asked.iter().map(|&t| find(t).unwrap_or(0)).collect(),
                Some(Level::V1(tensors)) => {
                    for t in tensors {
                        t.before = find(t.before as usize).unwrap_or(0);
                    }
                }
                Some(Level::V2(coded)) => {
                    for t in &mut coded.tensors {
                        t.base = t.base.and_then(|b| find(b as usize));
                    }
                }
                Some(Level::Base(_)) => {}
            }
            levels.push(made);
            wants = next;
        }
        levels.reverse();
        Ok((Past { levels }, local))
    }

    fn base_level(&self, own: &[Want]) -> Level {
        let tensors = own.iter().map(|w| BaseTensor {
            place: TensorRange::from(&self.base.tensors[w.tensor]),
            expected: w.expected,
        });
        Level::Base(tensors.collect())
    }

    fn added(&self, level: usize, stage: &Stage, delta: &OpenDelta, own: &[Want]) -> (Level, Vec<Want>) {
        let (mut tensors, mut next) = (Vec::with_capacity(own.len()), Vec::with_capacity(own.len()));
        for w in own {
            let t = &stage.model.tensors[w.tensor];
            let before = stage.before[w.tensor].unwrap_or(0);
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
        (Level::V1(tensors), next)
    }

    /// `own`: what is wanted; `numbers`: all tensors of the level; `blocks`: the blocks that it takes.
    #[allow(clippy::too_many_arguments)] // each is a part of the level
    fn coded(
        &self,
        level: usize,
        stage: &Stage,
        delta: &OpenV2,
        own: &[Want],
        numbers: &[usize],
        blocks: &[usize],
        check: bool,
    ) -> (Level, Vec<Want>) {
        let (index, placed) = (&delta.index, &delta.placed);
        let mut next = Vec::new();
        for w in own {
            let record = &index.tensors[w.tensor];
            let whole = w.bytes == (0..bytes_of(record));
            if let (Some(base), Some(before)) = (&record.base, stage.before[w.tensor]) {
                let of_line = check && whole && (level == 1 || matches!(*self.stages[level - 2].link, Link::V1(_)));
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
            for s in placed.blocks[b].segments.iter().filter(|s| !s.stored) {
                let Some(before) = stage.before[s.tensor] else { continue };
                let (dtype, _) = self.form(level - 1, before);
                let to = index.tensors[s.tensor].dtype;
                let width = match dtype == to {
                    true => Layout::of(to).bytes(),
                    false => dtype.bytes().unwrap_or(1),
                } as u64;
                next.push(Want {
                    tensor: before,
                    bytes: s.first * width..(s.first + s.words) * width,
                    expected: None,
                });
            }
        }
        let tensors = numbers.iter().map(|&t| rebuilt(delta, t, stage.before[t]));
        let segment = |s: &crate::format::v2::placed::Segment| RebuildSegment {
            tensor: numbers.binary_search(&s.tensor).unwrap_or(0) as u32,
            first: s.first,
            words: s.words,
            stored: s.stored,
        };
        let blocks = blocks.iter().map(|&b| RebuildBlock {
            range: placed.blocks[b].range,
            segments: placed.blocks[b].segments.iter().map(segment).collect(),
        });
        let coded = Coded {
            source: delta.source,
            sets: placed.sets.clone(),
            tensors: tensors.collect(),
            blocks: blocks.collect(),
        };
        (Level::V2(coded), next)
    }

    /// A tensor of the model after the last link, which is of version 2, and what that moved it from.
    pub fn moved(&self, name: &str) -> Result<Moved> {
        let n = self.stages.len();
        let (mut past, numbers) = self.past_of(n, &[name], false)?;
        let mut moved = Moved {
            past: Past::default(),
            tensor: numbers[0],
            base: None,
            words: 0,
            common: 0,
            cost: 0,
        };
        let number = self.number(n, name).map(|t| self.origin(n, t));
        let Some((Link::V2(delta), number)) = self.stages.last().map(|s| &*s.link).zip(number) else {
            return Err(Error::new(Code::Internal, "the last link is not of version 2"));
        };
        let geometry = &delta.placed.geometry[number];
        if let Some(Level::V2(coded)) = past.levels.last() {
            moved.base = coded.tensors[numbers[0] as usize].base;
        }
        moved.words = geometry.words;
        moved.common = geometry.common;
        moved.cost = 2 * self.cost_of(n, number);
        std::mem::swap(&mut moved.past, &mut past);
        Ok(moved)
    }

    /// The tensor whose bytes one has, if it is another's copy.
    fn origin(&self, n: usize, tensor: usize) -> usize {
        match n.checked_sub(1).map(|i| &*self.stages[i].link) {
            Some(Link::V2(delta)) => delta.origin(tensor),
            _ => tensor,
        }
    }

    /// Dtype and length of a tensor.
    fn form(&self, n: usize, tensor: usize) -> (Dtype, u64) {
        match n.checked_sub(1).map(|i| &*self.stages[i].link) {
            Some(Link::V2(delta)) => {
                let t = &delta.index.tensors[tensor];
                (t.dtype, bytes_of(t))
            }
            _ => {
                let t = &self.model(n).tensors[tensor];
                (t.dtype, t.range.len)
            }
        }
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

/// A tensor of a version 2 delta, for a task.
fn rebuilt(delta: &OpenV2, number: usize, before: Option<usize>) -> RebuildTensor {
    let t = &delta.index.tensors[number];
    RebuildTensor {
        name: t.name.clone(),
        dtype: t.dtype,
        bytes: bytes_of(t),
        columns: delta.placed.geometry[number].columns,
        set: t.set as u32,
        params: delta.placed.params[number],
        base: before.map(|b| b as u32),
        digest: t.digest,
        unchanged: t.op == Op::Unchanged,
        dither: t.dithered.map(|d| d.dither()),
    }
}

/// All of a version 2 delta, for a task that looks at it without a base.
pub fn examined(delta: &OpenV2) -> Coded {
    let whole = |s: &crate::format::v2::placed::Segment| RebuildSegment {
        tensor: s.tensor as u32,
        first: s.first,
        words: s.words,
        stored: s.stored,
    };
    let blocks = delta.placed.blocks.iter().map(|b| RebuildBlock {
        range: b.range,
        segments: b.segments.iter().map(whole).collect(),
    });
    let is_delta = |t: usize| (delta.index.tensors[t].op == Op::Delta).then_some(0);
    Coded {
        source: delta.source,
        sets: delta.placed.sets.clone(),
        tensors: (0..delta.index.tensors.len())
            .map(|t| rebuilt(delta, t, is_delta(t)))
            .collect(),
        blocks: blocks.collect(),
    }
}

/// Bytes of a tensor that has a geometry: they fit 64 bits.
pub fn bytes_of(t: &TensorRecord) -> u64 {
    element_count(&t.shape).and_then(|n| t.dtype.bytes_of(n)).unwrap_or(0)
}

/// How sentences call the delta that comes after `n` links.
fn this_link(n: usize) -> String {
    match n {
        0 => "the delta".into(),
        n => format!("link {}", n + 1),
    }
}

/// How sentences call the model that `n` links rebuild.
fn the_model(n: usize) -> String {
    match n {
        0 => "the base".into(),
        n => format!("the model that link {n} rebuilds"),
    }
}

/// The files of a delta's result, each with the bytes before its tensors and those.
pub fn files(delta: &OpenV2) -> Result<Vec<(&FileRecord, Vec<u8>, Range<usize>)>> {
    let mut at = 0;
    let mut files = Vec::with_capacity(delta.index.files.len());
    for file in &delta.index.files {
        let own = at..at + file.tensors as usize;
        at = own.end;
        let head = head_of(file, &delta.index.tensors[own.clone()]).map_err(|e| e.source(delta.source))?;
        files.push((file, head, own));
    }
    Ok(files)
}

/// The model that a delta rebuilds.
fn result_model(delta: &OpenV2) -> Result<Model> {
    let mut shards = Vec::new();
    for (file, head, own) in files(delta)?.into_iter().filter(|(.., own)| !own.is_empty()) {
        let mut at = 0;
        let mut tensors = Vec::with_capacity(own.len());
        for t in &delta.index.tensors[own] {
            let range = ByteRange::new(at, bytes_of(t))?;
            at = range.end();
            tensors.push(Entry {
                name: t.name.clone(),
                dtype: t.dtype,
                shape: t.shape.clone(),
                range,
            });
        }
        let metadata = match &file.head {
            Head::Written(metadata) => metadata.clone(),
            // It was read as such before.
            Head::Verbatim(bytes) => {
                header::parse_header(bytes.get(8..).unwrap_or_default(), at).map_or(Vec::new(), |h| h.metadata)
            }
        };
        shards.push(ShardHeader {
            source: delta.source,
            path: file.path.clone(),
            header: Header { metadata, tensors },
            data_offset: head.len() as u64,
        });
    }
    assemble(shards, None)
}

/// The bytes before a file's tensors, which must say where those lie.
fn head_of(file: &FileRecord, tensors: &[TensorRecord]) -> Result<Vec<u8>> {
    let mut at = 0u64;
    let mut placed = Vec::with_capacity(tensors.len());
    for t in tensors {
        let range = ByteRange::new(at, bytes_of(t))?;
        at = range.end();
        placed.push((t.name.as_str(), t.dtype, t.shape.clone(), range));
    }
    let bytes = match &file.head {
        Head::Written(metadata) => return Ok(writer::header_bytes(metadata, &placed)),
        Head::Verbatim(bytes) if tensors.is_empty() => return Ok(bytes.clone()),
        Head::Verbatim(bytes) => bytes,
    };
    let differs = || {
        let text = format!("{}: its stored header and the delta's index do not agree", file.path);
        Error::new(Code::Malformed, format!("{text}; get the delta again"))
    };
    let (length, json) = bytes.split_first_chunk().ok_or_else(differs)?;
    let parsed = header::parse_header(json, at).map_err(|_| differs())?;
    let start = |i: usize| (parsed.tensors[i].range.offset, parsed.tensors[i].range.len);
    let order = sorted_positions(parsed.tensors.len(), &|a, b| start(a).cmp(&start(b)));
    let same = |(i, (name, dtype, shape, range)): (usize, &(&str, _, Vec<u64>, ByteRange))| {
        let e = &parsed.tensors[i];
        e.name == *name && e.dtype == *dtype && e.shape == *shape && e.range == *range
    };
    let agree = u64::from_le_bytes(*length) == json.len() as u64
        && order.len() == placed.len()
        && order.into_iter().zip(&placed).all(same);
    match agree {
        true => Ok(bytes.clone()),
        false => Err(differs()),
    }
}
