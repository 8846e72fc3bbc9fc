//! Reads the bytes of tensors of a [`Past`], wherever they come from.
//!
//! Bytes of the base are read; those after a link are decoded from the blocks that cover them, for which the model before
//! is read likewise. Every link keeps the blocks that it decoded last, up to 4 MiB, and no more.

use super::chunks::TensorChunks;
use super::coded::{damaged, parse_params, BlockDecoder, CodedModel, CodedSegment};
use super::past::{Level, Past};
use super::{digest, width_of_base};
use crate::dtype::Dtype;
use crate::error::{Code, Error, Result};
use crate::job::buffers;
use crate::job::delta_stream::{add_link, DeltaStream};
use crate::job::machine::{Io, Read};
use crate::kernels::convert;
use crate::kernels::v2::element::Layout;
use crate::limits::BLOCK_ELEMENTS;
use crate::offset::ByteRange;
use crate::strategy::lossless::form::Form;
use crate::strategy::lossless::model::DecodeSet;
use crate::strategy::lossless::params::Params;
use crate::strategy::lossless::stored;
use std::future::Future;
use std::pin::Pin;

/// Bytes of decoded blocks that each link keeps; one block is kept in any case.
const KEPT_BYTES: usize = 4 << 20;

/// Bytes of a tensor, on their way.
type Reading<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>>> + 'a>>;

/// Reads tensors of a [`Past`].
pub struct Reader {
    levels: Vec<Level>,
    states: Vec<State>,
}

/// What is kept of a model between reads.
#[derive(Default)]
struct State {
    /// The version 1 delta that was read last.
    stream: Option<Streamed>,
    /// The table set that was used last, and where it lies.
    set: Option<(ByteRange, DecodeSet)>,
    /// For each tensor its parameters, from the first block that needs them to the last.
    params: Vec<Option<Params>>,
    /// For each tensor the rank of its prediction, from the first block that needs one; 0 where there is none.
    ranks: Vec<usize>,
    /// For each tensor, where its segments are, in the order of its words.
    places: Vec<Vec<SegmentPlace>>,
    /// The words of each segment of the decoded blocks that are kept, by block; of others nothing.
    kept: Vec<Vec<Vec<u8>>>,
    /// The blocks that are kept, each with its bytes, the latest last.
    order: Vec<(u32, usize)>,
    /// Bytes of all of these.
    kept_bytes: usize,
}

/// A version 1 delta of which some was read.
struct Streamed {
    tensor: u32,
    /// The element that comes next.
    next: u64,
    stream: DeltaStream,
}

/// Where a segment is among all blocks.
#[derive(Clone, Copy)]
struct SegmentPlace {
    block: u32,
    /// Its number in the block.
    number: u32,
}

impl State {
    fn new(level: &Level) -> Self {
        match level {
            Level::Base(_) | Level::V1(_) => Self::default(),
            Level::V2(coded) => {
                let mut places = vec![Vec::new(); coded.tensors.len()];
                for (b, block) in coded.blocks.iter().zip(0..) {
                    for (s, number) in b.segments.iter().zip(0..) {
                        places[s.tensor as usize].push(SegmentPlace { block, number });
                    }
                }
                Self {
                    params: coded.tensors.iter().map(|_| None).collect(),
                    ranks: vec![0; coded.tensors.len()],
                    places,
                    kept: coded.blocks.iter().map(|_| Vec::new()).collect(),
                    ..Self::default()
                }
            }
        }
    }

    /// Keeps a decoded block, for which others may have to go.
    fn keep(&mut self, block: u32, segments: Vec<Vec<u8>>) {
        let bytes = segments.iter().map(Vec::len).sum();
        self.kept_bytes += bytes;
        while self.kept_bytes > KEPT_BYTES && !self.order.is_empty() {
            let (first, bytes) = self.order.remove(0);
            self.kept_bytes -= bytes;
            let gone = std::mem::take(&mut self.kept[first as usize]);
            gone.into_iter().for_each(buffers::give);
        }
        self.order.push((block, bytes));
        self.kept[block as usize] = segments;
    }
}

impl Reader {
    /// A reader that has read nothing.
    pub fn new(past: Past) -> Self {
        Self {
            states: past.levels.iter().map(State::new).collect(),
            levels: past.levels,
        }
    }

    /// Number of the last model; the base is 0.
    pub fn top(&self) -> usize {
        self.levels.len() - 1
    }

    /// The models, the base first.
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// Dtype and length in bytes of a tensor of a model.
    pub fn shape_of(&self, level: usize, tensor: u32) -> (Dtype, u64) {
        let t = tensor as usize;
        match &self.levels[level] {
            Level::Base(tensors) => (tensors[t].place.dtype, tensors[t].place.range.len),
            Level::V1(tensors) => (tensors[t].dtype, tensors[t].bytes),
            Level::V2(coded) => (coded.tensors[t].dtype, coded.tensors[t].bytes),
        }
    }

    /// Rank of the prediction of a tensor of the last model, some of which was read; 0 if it has none.
    pub fn rank(&self, tensor: u32) -> usize {
        let ranks = &self.states[self.top()].ranks;
        ranks.get(tensor as usize).map_or(0, |&rank| rank)
    }

    /// `len` bytes from `at` of a tensor of model `level`. The caller has bounded `len`.
    pub fn read<'a>(&'a mut self, io: &'a Io, level: usize, tensor: u32, at: u64, len: usize) -> Reading<'a> {
        Box::pin(async move {
            match &self.levels[level] {
                Level::Base(tensors) => {
                    let place = &tensors[tensor as usize].place;
                    io.read_vec(place.source, place.range.offset + at, len).await
                }
                Level::V1(_) => self.add(io, level, tensor, at, len).await,
                Level::V2(_) => self.copy(io, level, tensor, at, len).await,
            }
        })
    }

    /// As [`Reader::read`] of the last model, together with one other read: in the same step, if the model lies in files.
    pub async fn read_with(
        &mut self,
        io: &Io,
        tensor: u32,
        at: u64,
        len: usize,
        other: &mut Read<'_>,
    ) -> Result<Vec<u8>> {
        let level = self.top();
        let Level::Base(tensors) = &self.levels[level] else {
            let other = Read {
                source: other.source,
                offset: other.offset,
                buf: other.buf,
            };
            io.read(&mut [other]).await?;
            return self.read(io, level, tensor, at, len).await;
        };
        let place = &tensors[tensor as usize].place;
        let mut bytes = buffers::take(len);
        let own = Read {
            source: place.source,
            offset: place.range.offset + at,
            buf: &mut bytes,
        };
        let other = Read {
            source: other.source,
            offset: other.offset,
            buf: other.buf,
        };
        io.read(&mut [own, other]).await?;
        Ok(bytes)
    }

    /// False when a tensor has another digest than the next link names, for which it is read to its end.
    pub async fn is_expected(&mut self, io: &Io, level: usize, tensor: u32) -> Result<bool> {
        let expected = match &self.levels[level] {
            Level::Base(tensors) => tensors[tensor as usize].expected,
            Level::V1(tensors) => tensors[tensor as usize].expected,
            Level::V2(_) => None,
        };
        let Some(expected) = expected else { return Ok(true) };
        let mut hasher = blake3::Hasher::new();
        let mut chunks = TensorChunks::whole(self, level, tensor);
        while let Some((_, bytes)) = chunks.next(io, self).await? {
            hasher.update(&bytes);
            buffers::give(bytes);
        }
        Ok(digest(&hasher) == expected)
    }

    /// Float32 values of a tensor after version 1 links, from element `first` on, in the dtype that the tensor had before
    /// the first of these; elements that they leave alone keep the bytes that they had there.
    pub async fn rooted(&mut self, io: &Io, tensor: u32, first: u64, values: &[u8]) -> Result<Vec<u8>> {
        let (mut level, mut of) = (self.top(), tensor);
        while let Level::V1(tensors) = &self.levels[level] {
            of = tensors[of as usize].before;
            level -= 1;
        }
        let (dtype, _) = self.shape_of(level, of);
        let width = dtype.bytes().ok_or_else(lost)?;
        let n = values.len() / 4;
        let old = self.read(io, level, of, first * width as u64, n * width).await?;
        let (mut new, mut was) = (vec![0f32; n], vec![0f32; n]);
        convert::to_f32(Dtype::F32, values, &mut new);
        convert::to_f32(dtype, &old, &mut was);
        let mut out = vec![0; old.len()];
        match dtype {
            Dtype::F32 => out.copy_from_slice(values),
            _ => convert::keep_or_round(dtype, &new, &was, &old, &mut out),
        }
        Ok(out)
    }

    /// Bytes after a version 1 link.
    async fn add(&mut self, io: &Io, level: usize, tensor: u32, at: u64, len: usize) -> Result<Vec<u8>> {
        let Level::V1(tensors) = &self.levels[level] else {
            return Err(lost());
        };
        let t = &tensors[tensor as usize];
        let before = t.before;
        let Some(delta) = t.delta.clone() else {
            return self.read(io, level - 1, before, at, len).await;
        };
        let name = t.name.clone();
        let (dtype, _) = self.shape_of(level - 1, before);
        let width = dtype.bytes().ok_or_else(lost)?;
        let (first, n) = (at / 4, len / 4);
        let old = self
            .read(io, level - 1, before, first * width as u64, n * width)
            .await?;
        let mut values = vec![0f32; n];
        convert::to_f32(dtype, &old, &mut values);
        let last = self.states[level].stream.take();
        let (mut next, mut stream) = match last {
            Some(last) if last.tensor == tensor && last.next <= first => (last.next, last.stream),
            _ => (0, DeltaStream::open(io, &name, &delta).await?),
        };
        let mut step = vec![0f32; BLOCK_ELEMENTS];
        // A version 1 delta decodes from its start on.
        while next < first {
            let n = (first - next).min(BLOCK_ELEMENTS as u64) as usize;
            stream.expand(io, &mut step[..n]).await?;
            next += n as u64;
        }
        stream.prefetch(io, n).await?;
        for values in values.chunks_mut(BLOCK_ELEMENTS) {
            let step = &mut step[..values.len()];
            stream.expand(io, step).await?;
            add_link(delta.dtype, values, step);
        }
        self.states[level].stream = Some(Streamed {
            tensor,
            next: first + n as u64,
            stream,
        });
        let mut bytes = vec![0; 4 * n];
        convert::from_f32(Dtype::F32, &values, &mut bytes);
        Ok(bytes)
    }

    /// Bytes after a version 2 link.
    async fn copy(&mut self, io: &Io, level: usize, tensor: u32, at: u64, len: usize) -> Result<Vec<u8>> {
        let t = &self.coded(level)?.tensors[tensor as usize];
        let width = Layout::of(t.dtype).bytes() as u64;
        if let (true, Some(base)) = (t.unchanged, t.base) {
            return self.read(io, level - 1, base, at, len).await;
        }
        let mut out = Vec::with_capacity(len);
        while out.len() < len {
            let next = at + out.len() as u64;
            let blocks = &self.coded(level)?.blocks;
            let places = &self.states[level].places[tensor as usize];
            let segment = |p: &SegmentPlace| &blocks[p.block as usize].segments[p.number as usize];
            let found = places.partition_point(|p| (segment(p).first + segment(p).words) * width <= next);
            let place = *places.get(found).ok_or_else(lost)?;
            let start = segment(&place).first * width;
            let block = place.block as usize;
            if self.states[level].kept[block].is_empty() {
                let segments = self.block(io, level, block).await?;
                self.states[level].keep(place.block, segments);
            }
            let words = &self.states[level].kept[block][place.number as usize];
            let from = next.checked_sub(start).ok_or_else(lost)? as usize;
            let n = (words.len() - from).min(len - out.len());
            out.extend_from_slice(&words[from..from + n]);
        }
        Ok(out)
    }

    fn coded(&self, level: usize) -> Result<&CodedModel> {
        match &self.levels[level] {
            Level::V2(coded) => Ok(coded),
            _ => Err(lost()),
        }
    }

    /// What block `number` of a version 2 link covers, one buffer for each segment; decoded anew.
    pub async fn block(&mut self, io: &Io, level: usize, number: usize) -> Result<Vec<Vec<u8>>> {
        let b = self.coded(level)?.blocks[number].clone();
        let (bytes, mut from) = self.gather(io, level, &b.segments, b.range).await?;
        // Some kinds of blocks do without the base.
        let based = !stored::is_stored(&bytes);
        for (from, s) in from.iter_mut().zip(&b.segments).filter(|_| based) {
            let t = &self.coded(level)?.tensors[s.tensor as usize];
            let (Some(base), false) = (t.base, s.stored) else {
                continue;
            };
            let to = t.dtype;
            let (dtype, _) = self.shape_of(level - 1, base);
            if !matches!(self.levels[level - 1], Level::Base(_)) {
                let (at, len) = span(dtype, to, s);
                *from = self.read(io, level - 1, base, at, len).await?;
            }
            let set = self.states[level].set.as_ref();
            let form = set.map_or(Form::Own, |(_, set)| set.tables.form);
            buffers::give(form.code_in_place(dtype, to, from));
        }
        let coded = self.coded(level)?;
        let width = |s: &CodedSegment| Layout::of(coded.tensors[s.tensor as usize].dtype).bytes();
        let mut out: Vec<Vec<u8>> = b
            .segments
            .iter()
            .map(|s| buffers::take(s.words as usize * width(s)))
            .collect();
        let state = &self.states[level];
        let decoder = BlockDecoder {
            tensors: &coded.tensors,
            set: state.set.as_ref().map(|(_, set)| set),
            params: &state.params,
        };
        decoder
            .decode(&b, &bytes, &from, &mut out)
            .map_err(|e| damaged(e, coded.source, b.range))?;
        from.into_iter().chain([bytes]).for_each(buffers::give);
        // What no later block needs goes: of many small tensors the parameters may take more than the tensors.
        let State { places, params, .. } = &mut self.states[level];
        for s in &b.segments {
            let tensor = s.tensor as usize;
            if places[tensor].last().is_some_and(|last| last.block as usize == number) {
                params[tensor] = None;
            }
        }
        Ok(out)
    }

    /// Reads a block and what it needs, in one step where the model before lies in files. Gives the block's bytes, and for
    /// each segment the base's, if it has some and they lie in files.
    async fn gather(
        &mut self,
        io: &Io,
        level: usize,
        segments: &[CodedSegment],
        range: ByteRange,
    ) -> Result<(Vec<u8>, Vec<Vec<u8>>)> {
        let source = self.coded(level)?.source;
        let needs = self.needs(level, segments)?;
        let mut wanted = vec![(source, range)];
        wanted.extend_from_slice(&needs.of_base);
        wanted.extend(needs.set.map(|range| (source, range)));
        wanted.extend(needs.params.iter().map(|&(_, range)| (source, range)));
        let mut bytes = read_all(io, &wanted).await?.into_iter();
        let block = bytes.next().unwrap_or_default();
        let of_base: Vec<Vec<u8>> = bytes.by_ref().take(needs.of_base.len()).collect();
        if let Some(range) = needs.set {
            let parsed = DecodeSet::parse(&bytes.next().unwrap_or_default()).map_err(|e| damaged(e, source, range))?;
            self.states[level].set = Some((range, parsed));
        }
        for ((t, _), bytes) in needs.params.into_iter().zip(bytes) {
            let (_, set) = self.states[level].set.as_ref().ok_or_else(lost)?;
            let params = parse_params(&self.coded(level)?.tensors[t], set, source, &bytes)?;
            self.states[level].ranks[t] = params.factors.as_ref().map_or(0, |f| f.rank);
            self.states[level].params[t] = Some(params);
        }
        // Either all bases lie in files or none.
        let coded = self.coded(level)?;
        let mut of_base = of_base.into_iter();
        let words = segments.iter().map(|s| {
            let based = !s.stored && coded.tensors[s.tensor as usize].base.is_some();
            based.then(|| of_base.next()).flatten().unwrap_or_default()
        });
        Ok((block, words.collect()))
    }

    /// What decoding these segments of one block needs and nothing keeps.
    fn needs(&self, level: usize, segments: &[CodedSegment]) -> Result<Needs> {
        let (coded, state) = (self.coded(level)?, &self.states[level]);
        let mut needs = Needs::default();
        for s in segments.iter().filter(|s| !s.stored) {
            let number = s.tensor as usize;
            let t = &coded.tensors[number];
            if let (Some(base), Level::Base(tensors)) = (t.base, &self.levels[level - 1]) {
                let place = &tensors[base as usize].place;
                let (at, len) = span(place.dtype, t.dtype, s);
                let range = ByteRange::new(place.range.offset + at, len as u64)?;
                needs.of_base.push((place.source, range));
            }
            if state.set.as_ref().is_none_or(|(of, _)| *of != t.set) {
                needs.set = needs.set.or(Some(t.set));
            }
            if state.params[number].is_none() {
                needs.params.push((number, t.params));
            }
        }
        Ok(needs)
    }
}

/// What a block is decoded with, as far as it has to be read.
#[derive(Default)]
struct Needs {
    /// For each segment with a base that lies in files: source and range of the base's words.
    of_base: Vec<(u32, ByteRange)>,
    /// Where the table set lies.
    set: Option<ByteRange>,
    /// Numbers of tensors, and where their parameters lie.
    params: Vec<(usize, ByteRange)>,
}

/// Reads ranges of sources in one step, each into a buffer of its own.
async fn read_all(io: &Io, wanted: &[(u32, ByteRange)]) -> Result<Vec<Vec<u8>>> {
    let mut bytes: Vec<Vec<u8>> = wanted
        .iter()
        .map(|(_, range)| buffers::take(range.len as usize))
        .collect();
    let mut reads: Vec<Read<'_>> = wanted
        .iter()
        .zip(&mut bytes)
        .map(|(&(source, range), buf)| Read {
            source,
            offset: range.offset,
            buf,
        })
        .collect();
    io.read(&mut reads).await?;
    Ok(bytes)
}

/// First byte and number of bytes of a segment in its base, whose dtype is `from`.
fn span(from: Dtype, to: Dtype, s: &CodedSegment) -> (u64, usize) {
    let width = width_of_base(from, to);
    (s.first * width, (s.words * width) as usize)
}

/// The error of a past that lacks what it should have.
pub(super) fn lost() -> Error {
    Error::new(Code::Internal, "a task was not told all that it needs")
}
