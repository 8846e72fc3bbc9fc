//! Opens version 2 deltas: one read of the end of the file, one of the index.

use crate::dtype::Dtype;
use crate::error::{Code, Error, Result};
use crate::format::v2::index::Digest;
use crate::format::v2::placed::{place, Placed};
use crate::format::v2::{Index, Op, PREAMBLE, TRAILER};
use crate::format::{self, Kind};
use crate::job::machine::{Io, Role, SourceEntry};
use crate::job::open::{head, sources_of};
use crate::limits::{check_len, MAX_HEADER_BYTES};
use crate::offset::ByteRange;
use crate::order::sorted_positions;
use crate::strategy::lossless::wire::checksum;

/// An opened version 2 delta.
pub struct OpenV2 {
    /// Number of the source.
    pub source: u32,
    /// Length of the file.
    pub size: u64,
    /// Its index: files, tensors and blocks of the result.
    pub index: Index,
    /// Where the index stands in the file.
    pub index_range: ByteRange,
    /// Where table sets, parameters and blocks lie in the file, and which rows each block covers.
    pub placed: Placed,
    /// The numbers of the tensors in the order of their names.
    by_name: Vec<usize>,
}

impl OpenV2 {
    /// Number of words of all tensors.
    pub fn elements(&self) -> u64 {
        self.placed.geometry.iter().fold(0, |n, g| n.saturating_add(g.words))
    }

    /// The number of a tensor of the result.
    pub fn find(&self, name: &str) -> Option<usize> {
        let tensors = &self.index.tensors;
        let at = self.by_name.binary_search_by(|&t| tensors[t].name.as_str().cmp(name));
        Some(self.by_name[at.ok()?])
    }

    /// The tensor that tensor `number` is tied to, or itself.
    pub fn origin(&self, number: usize) -> usize {
        match self.index.tensors[number].op {
            // Looked at when the index was read.
            Op::Tied { back } => number - back as usize,
            _ => number,
        }
    }
}

/// True when `source` is a delta of version 2.
pub async fn is_v2(io: &Io, source: u32) -> Result<bool> {
    Ok(starts_v2(&head(io, source).await?))
}

fn starts_v2(head: &[u8]) -> bool {
    format::sniff(head) == Kind::Wdelta { version: 2 }
}

/// True when one of the deltas is of version 2.
pub async fn any_v2(io: &Io, sources: &[SourceEntry], groups: u32) -> Result<bool> {
    for source in (0..groups).flat_map(|g| sources_of(sources, Role::Delta, g)) {
        if is_v2(io, source).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What the end of a file says of its index.
struct Trailer {
    index: ByteRange,
    checksum: u64,
}

/// Refuses a file of `size` bytes that starts like a delta of version 2 and is none that can be read.
fn check_head(head: &[u8], size: u64) -> Result<()> {
    let smallest = PREAMBLE.len() as u64 + TRAILER;
    if size < smallest {
        return Err(truncated(size, &format!("a version 2 delta has at least {smallest}")));
    }
    if !head.starts_with(&PREAMBLE) {
        let flags = head[PREAMBLE.len() - 1];
        let text = format!("the delta needs features {flags:#x}, which this wdelta does not know; update wdelta");
        return Err(Error::new(Code::UnsupportedVersion, text).at(PREAMBLE.len() as u64 - 1));
    }
    Ok(())
}

/// Reads the numbers at the end of a file of `size` bytes: where its index lies and its checksum.
fn parse_trailer(bytes: &[u8], size: u64) -> Result<Trailer> {
    let mut numbers = bytes.as_chunks().0.iter().map(|&b| u64::from_le_bytes(b));
    let mut next = || numbers.next().unwrap_or(0);
    let (offset, len, checksum) = (next(), next(), next());
    let end = offset.checked_add(len).and_then(|n| n.checked_add(TRAILER));
    if end != Some(size) || offset < PREAMBLE.len() as u64 {
        return Err(truncated(size, "its end is not where an index is named").at(size - TRAILER));
    }
    check_len("the delta's index", len, MAX_HEADER_BYTES)?;
    let index = ByteRange { offset, len };
    Ok(Trailer { index, checksum })
}

fn truncated(size: u64, what: &str) -> Error {
    let text = format!("the file has {size} bytes and {what}; it was cut off, get it again");
    Error::new(Code::Truncated, text)
}

/// Reads an index of which a trailer says this, and places what it lists.
fn parse_index(bytes: &[u8], trailer: &Trailer) -> Result<(Index, Placed)> {
    let at = trailer.index.offset;
    if checksum(bytes) != trailer.checksum {
        let text = "the delta's index differs from its checksum; get the file again";
        return Err(Error::new(Code::Checksum, text).at(at));
    }
    let index = Index::parse(bytes)?;
    let placed = place(&index, at)?;
    Ok((index, placed))
}

/// Opens the file `source` if it is a delta of version 2.
pub async fn open_v2(io: &Io, source: u32) -> Result<Option<OpenV2>> {
    let head = head(io, source).await?;
    if !starts_v2(&head) {
        return Ok(None);
    }
    let at_source = |e: Error| e.source(source);
    let size = io.size(source);
    check_head(&head, size).map_err(at_source)?;
    let bytes = io.read_vec(source, size - TRAILER, 24).await?;
    let trailer = parse_trailer(&bytes, size).map_err(at_source)?;
    let ByteRange { offset, len } = trailer.index;
    let bytes = io.read_vec(source, offset, len as usize).await?;
    let (index, placed) = parse_index(&bytes, &trailer).map_err(at_source)?;
    let name = |t: usize| index.tensors[t].name.as_str();
    let by_name = sorted_positions(index.tensors.len(), &|a, b| name(a).cmp(name(b)));
    Ok(Some(OpenV2 {
        source,
        size,
        index,
        index_range: trailer.index,
        placed,
        by_name,
    }))
}

/// The identity of what a delta needs of its base: one hash of names, dtypes, shapes and digests in the order of names.
pub fn base_identity(index: &Index) -> Digest {
    let bases = index.tensors.iter().filter_map(|t| t.base.as_ref());
    identity(
        bases
            .map(|b| (b.name.as_str(), b.dtype, &b.shape[..], &b.digest))
            .collect(),
    )
}

fn identity(tensors: Vec<(&str, Dtype, &[u64], &Digest)>) -> Digest {
    let mut hasher = blake3::Hasher::new();
    let mut before = None;
    for i in sorted_positions(tensors.len(), &|a, b| tensors[a].0.cmp(tensors[b].0)) {
        // Several tensors may refer to one of the base.
        if before.replace(tensors[i]) == Some(tensors[i]) {
            continue;
        }
        let (name, dtype, shape, of_bytes) = tensors[i];
        for text in [name, dtype.name()] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        hasher.update(&(shape.len() as u64).to_le_bytes());
        for dim in shape {
            hasher.update(&dim.to_le_bytes());
        }
        hasher.update(of_bytes);
    }
    super::digest(&hasher)
}
