//! Opens models and deltas: reads their headers and finds out where every tensor lies, in a few rounds of reads.

use super::machine::{Io, Read, Role, SourceEntry};
use super::placed::{DeltaTensor, PlacedField};
use crate::error::{Code, Error, Result};
use crate::format::model::{self, Model};
use crate::format::safetensors::header as st_header;
use crate::format::safetensors::index::{check_index_len, parse_index, Index};
use crate::format::v1::header::{check_header_len, parse_header, V1Header, V1Tensor};
use crate::format::v1::placed::{expected_header, predict, Placed, PlacedRecord};
use crate::format::v1::walker::Walker;
use crate::format::v1::{CHECKSUM_BYTES, PREFIX_BYTES};
use crate::format::{self, Kind};
use crate::offset::ByteRange;

/// Bytes that are looked at to tell what a file is.
const SNIFF_BYTES: u64 = 16;

/// Record headers that are compared with the prediction while a file is opened. The tasks check the others when they
/// come to them.
const SAMPLED_RECORDS: usize = 12;

/// Record headers that are read in one step.
const COMPARED_AT_ONCE: usize = 256;

/// The sources of one role and group, by number.
pub fn sources_of(sources: &[SourceEntry], role: Role, group: u32) -> Vec<u32> {
    let of = |s: &SourceEntry| s.role == role && s.group == group;
    sources
        .iter()
        .enumerate()
        .filter(|(_, s)| of(s))
        .map(|(i, _)| i as u32)
        .collect()
}

/// The sources of all deltas, in order.
pub fn delta_sources(sources: &[SourceEntry]) -> Vec<u32> {
    (0..groups_of(sources, Role::Delta))
        .flat_map(|g| sources_of(sources, Role::Delta, g))
        .collect()
}

/// How many groups of a role there are.
pub fn groups_of(sources: &[SourceEntry], role: Role) -> u32 {
    sources
        .iter()
        .filter(|s| s.role == role)
        .map(|s| s.group + 1)
        .max()
        .unwrap_or(0)
}

/// An opened model, with the files beside it that are not part of it.
pub struct OpenModel {
    /// Tensors and files.
    pub model: Model,
    /// Source of the index file, if there is one.
    pub index: Option<u32>,
    /// Config, tokenizer and the like.
    pub side_files: Vec<u32>,
}

/// Opens the model that `role` and `group` name: one safetensors file, a list of shards, or a folder's files.
pub async fn open_model(io: &Io, sources: &[SourceEntry], role: Role, group: u32) -> Result<OpenModel> {
    let word = match role {
        Role::Base => "base",
        Role::Finetuned => "fine-tune",
        _ => "model",
    };
    let own = sources_of(sources, role, group);
    if own.is_empty() {
        return Err(Error::new(
            Code::Usage,
            format!("the {word} is missing: name a .safetensors file or a model folder"),
        ));
    }
    if let [only] = own[..] {
        let file = open_shard(io, sources, only).await?;
        let model = model::assemble(vec![file], None)?;
        return Ok(OpenModel {
            model,
            index: None,
            side_files: Vec::new(),
        });
    }
    let listed: Vec<_> = own
        .iter()
        .map(|&i| (i, sources[i as usize].path.clone(), sources[i as usize].size))
        .collect();
    let choice = model::choose_files(&listed)?;
    let (index, shards) = match (choice.index, choice.shards) {
        (Some(source), _) => {
            let index = read_index(io, source).await?;
            let shards = model::resolve_shards(&index, &listed).map_err(|e| e.source(source))?;
            (Some(index), shards)
        }
        (None, model::Shards::List(shards)) => (None, shards),
        (None, model::Shards::FromIndex) => {
            return Err(Error::new(Code::Internal, "an index was announced but not found"));
        }
    };
    let mut files = Vec::with_capacity(shards.len());
    for shard in shards {
        files.push(open_shard(io, sources, shard).await?);
    }
    Ok(OpenModel {
        model: model::assemble(files, index)?,
        index: choice.index,
        side_files: choice.side_files,
    })
}

async fn read_index(io: &Io, source: u32) -> Result<Index> {
    let size = io.size(source);
    check_index_len(size).map_err(|e| e.source(source))?;
    let json = io.read_vec(source, 0, size as usize).await?;
    parse_index(&json).map_err(|e| e.source(source))
}

/// The base, if there is one.
pub async fn open_base(io: &Io, sources: &[SourceEntry]) -> Result<Option<Model>> {
    if sources_of(sources, Role::Base, 0).is_empty() {
        return Ok(None);
    }
    Ok(Some(open_model(io, sources, Role::Base, 0).await?.model))
}

/// The first bytes of a source, from which [`format::sniff`] tells what it is.
pub async fn head(io: &Io, source: u32) -> Result<Vec<u8>> {
    io.read_vec(source, 0, io.size(source).min(SNIFF_BYTES) as usize).await
}

async fn open_shard(io: &Io, sources: &[SourceEntry], source: u32) -> Result<model::ShardHeader> {
    let path = &sources[source as usize].path;
    let size = io.size(source);
    let head = head(io, source).await?;
    match format::sniff(&head) {
        Kind::Safetensors => {}
        other => return Err(format::not_a_model(other, path).source(source)),
    }
    let mut first = [0; 8];
    first.copy_from_slice(&head[..8]);
    let len = st_header::header_len(first, size).map_err(|e| e.source(source))?;
    let json = io.read_vec(source, 8, len as usize).await?;
    let header = st_header::parse_header(&json, size - 8 - len).map_err(|e| e.source(source))?;
    Ok(model::ShardHeader {
        source,
        path: path.clone(),
        header,
        data_offset: 8 + len,
    })
}

/// An opened version 1 delta.
pub struct OpenDelta {
    /// Number of the source.
    pub source: u32,
    /// Length of the file.
    pub size: u64,
    /// Its header.
    pub header: V1Header,
    /// Where the header's JSON lies.
    pub header_range: ByteRange,
    /// Placement of each tensor, in header order.
    pub tensors: Vec<DeltaTensor>,
    /// Names in the order of their records: the order of a path-based parent hash.
    pub record_order: Vec<String>,
    /// True when every record was visited instead of predicted.
    pub walked: bool,
}

impl OpenDelta {
    /// Number of its source, and that file's length.
    pub fn file(&self) -> (u32, u64) {
        (self.source, self.size)
    }

    /// The placement of a tensor.
    pub fn tensor(&self, name: &str) -> Option<&DeltaTensor> {
        self.header.find(name).map(|i| &self.tensors[i])
    }

    /// Number of elements over all tensors.
    pub fn elements(&self) -> u64 {
        self.tensors.iter().map(|t| t.elements).sum()
    }

    /// The records between header and checksum.
    pub fn payload(&self) -> ByteRange {
        ByteRange {
            offset: self.header_range.end(),
            len: self.size - CHECKSUM_BYTES - self.header_range.end(),
        }
    }
}

/// How records are found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Placement<'a> {
    /// Predicted from the header and a few of them checked, the others when they are reached; walked where that fails.
    /// The names are candidate orders.
    Sample(&'a [Vec<String>]),
    /// Predicted from the header and all of them checked; walked where that fails.
    Predict(&'a [Vec<String>]),
    /// Every record header read.
    Walk,
}

/// Where the JSON of a version 1 delta's header lies. `head`: the first bytes of a file of `size` bytes.
fn header_range(head: &[u8], size: u64) -> Result<ByteRange> {
    const LEAST: u64 = PREFIX_BYTES + CHECKSUM_BYTES;
    match format::sniff(head) {
        Kind::Wdelta { version: 1 } => {}
        other => return Err(format::not_a_delta(other, head)),
    }
    if size < LEAST {
        return Err(Error::new(
            Code::Truncated,
            format!("the file has {size} bytes, a version 1 delta has at least {LEAST}; it was cut off, get it again"),
        ));
    }
    let len = u64::from(u32::from_le_bytes([head[11], head[12], head[13], head[14]]));
    let fits = match len > size - LEAST {
        true => Err(Error::new(
            Code::Truncated,
            format!("the header claims {len} bytes, but the file has {size}; it was cut off, get it again"),
        )),
        false => check_header_len(len),
    };
    fits.map_err(|e| e.at(PREFIX_BYTES - 4))?;
    ByteRange::new(PREFIX_BYTES, len)
}

/// Opens the `.wdelta` file `source`.
pub async fn open_delta(io: &Io, source: u32, placement: Placement<'_>) -> Result<OpenDelta> {
    let at_source = |e: Error| e.source(source);
    let size = io.size(source);
    let head = head(io, source).await?;
    let header_range = header_range(&head, size).map_err(at_source)?;
    let json = io
        .read_vec(source, header_range.offset, header_range.len as usize)
        .await?;
    let header = parse_header(&json).map_err(at_source)?;
    let mut delta = OpenDelta {
        source,
        size,
        header,
        header_range,
        tensors: Vec::new(),
        record_order: Vec::new(),
        walked: false,
    };
    let predicted = match placement {
        Placement::Sample(orders) => predicted(io, &delta, orders, SAMPLED_RECORDS).await?,
        Placement::Predict(orders) => predicted(io, &delta, orders, usize::MAX).await?,
        Placement::Walk => None,
    };
    delta.walked = predicted.is_none();
    let placed = match predicted {
        Some(placed) => placed,
        None => walk(io, &delta).await?,
    };
    let sampled = !delta.walked && matches!(placement, Placement::Sample(_));
    delta.record_order = placed.order;
    let tensors = delta.header.tensors.iter().zip(&placed.tensors);
    delta.tensors = tensors
        .map(|(t, records)| placed_tensor(source, t, records, sampled))
        .collect();
    Ok(delta)
}

/// Where a tensor's records lie. `sampled`: their headers are still to be checked.
fn placed_tensor(source: u32, t: &V1Tensor, records: &[PlacedRecord], sampled: bool) -> DeltaTensor {
    let field = |r: &PlacedRecord| PlacedField {
        offset: r.data.offset,
        elements: r.elements,
        unchecked: sampled.then_some(r.header_at),
    };
    DeltaTensor {
        source,
        strategy: t.strategy,
        elements: t.elements,
        cols: t.cols.unwrap_or(0),
        dtype: t.dtype,
        fields: records.iter().map(field).collect(),
    }
}

/// The first predicted order whose sampled record headers are what stands in the file.
async fn predicted(io: &Io, delta: &OpenDelta, orders: &[Vec<String>], most: usize) -> Result<Option<Placed>> {
    let sorted = delta.header.sorted_names();
    for order in std::iter::once(&sorted).chain(orders) {
        let Some(placed) = predict(&delta.header, delta.header_range.end(), delta.size, order) else {
            continue;
        };
        if compare(io, delta, &placed, most).await? {
            return Ok(Some(placed));
        }
    }
    Ok(None)
}

/// Compares at most about `most` record headers, spread over the file, with what was predicted; many in one step.
async fn compare(io: &Io, delta: &OpenDelta, placed: &Placed, most: usize) -> Result<bool> {
    let n: usize = placed.tensors.iter().map(Vec::len).sum();
    let stride = n.div_ceil(most).max(1);
    let mut expected = Vec::new();
    let mut number = 0;
    for (tensor, records) in delta.header.tensors.iter().zip(&placed.tensors) {
        for (field, record) in records.iter().enumerate() {
            number += 1;
            // The last record lies where the sizes of all others put it.
            if number % stride == 0 || number == n {
                expected.push((record.header_at, expected_header(tensor, field, record)));
            }
        }
    }
    for batch in expected.chunks(COMPARED_AT_ONCE) {
        let mut found: Vec<Vec<u8>> = batch.iter().map(|(_, bytes)| vec![0; bytes.len()]).collect();
        let mut reads: Vec<_> = batch
            .iter()
            .zip(&mut found)
            .map(|((offset, _), buf)| Read {
                source: delta.source,
                offset: *offset,
                buf,
            })
            .collect();
        io.read(&mut reads).await?;
        if batch.iter().zip(&found).any(|((_, expected), found)| expected != found) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Visits every record.
async fn walk(io: &Io, delta: &OpenDelta) -> Result<Placed> {
    let at_source = |e: Error| e.source(delta.source);
    let mut walker = Walker::new(&delta.header, delta.header_range.end(), delta.size);
    let mut window = Vec::new();
    while let Some(range) = walker.wants() {
        window.resize(range.len as usize, 0);
        io.fill(delta.source, range.offset, &mut window).await?;
        walker.feed(&window).map_err(at_source)?;
    }
    walker.finish().map_err(at_source)
}
