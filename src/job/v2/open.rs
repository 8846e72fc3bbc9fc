//! Opens version 2 deltas: one read of the end of the file, one of the index.

use crate::error::{Code, Error, Result};
use crate::format::v2::index::Digest;
use crate::format::v2::placed::{place, Placed};
use crate::format::v2::{Index, PREAMBLE, TRAILER};
use crate::format::{self, Kind};
use crate::job::machine::{Io, Role, SourceEntry};
use crate::job::open::sources_of;
use crate::limits::MAX_HEADER_BYTES;
use crate::offset::ByteRange;
use crate::order::sorted_positions;
use xxhash_rust::xxh3::xxh3_64;

/// Bytes at the start that tell what a file is.
const SNIFF_BYTES: u64 = 16;

/// An opened version 2 delta.
pub struct OpenV2 {
    /// Number of the source.
    pub source: u32,
    /// Length of the file.
    pub size: u64,
    /// What it says.
    pub index: Index,
    /// Where that stands.
    pub index_range: ByteRange,
    /// Where everything lies.
    pub placed: Placed,
}

/// True when one of the deltas is of version 2.
pub async fn any_v2(io: &Io, sources: &[SourceEntry], groups: u32) -> Result<bool> {
    for source in (0..groups).flat_map(|g| sources_of(sources, Role::Delta, g)) {
        let head = io
            .read_vec(source, 0, io.size(source).min(SNIFF_BYTES) as usize)
            .await?;
        if format::sniff(&head) == (Kind::Wdelta { version: 2 }) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Opens the only delta of a job; chains of version 2 are decoded one link at a time.
pub async fn open_only(io: &Io, sources: &[SourceEntry], groups: u32) -> Result<OpenV2> {
    let all: Vec<u32> = (0..groups).flat_map(|g| sources_of(sources, Role::Delta, g)).collect();
    match all[..] {
        [source] => open_v2(io, source).await,
        _ => Err(Error::new(
            Code::Usage,
            "a chain with a version 2 delta is rebuilt one link at a time: decode the first, and give the result as the base of the next",
        )),
    }
}

/// Opens the version 2 file `source`.
pub async fn open_v2(io: &Io, source: u32) -> Result<OpenV2> {
    let size = io.size(source);
    let truncated = |what: &str| {
        let text = format!("the file has {size} bytes and {what}; it was cut off, get it again");
        Error::new(Code::Truncated, text).source(source)
    };
    let smallest = PREAMBLE.len() as u64 + TRAILER;
    if size < smallest {
        return Err(truncated(&format!("a version 2 delta has at least {smallest}")));
    }
    let head = io.read_vec(source, 0, PREAMBLE.len()).await?;
    if head != PREAMBLE {
        let flags = head[PREAMBLE.len() - 1];
        return Err(Error::new(
            Code::UnsupportedVersion,
            format!("the delta needs features {flags:#x}, which this wdelta does not know; update wdelta"),
        )
        .at(11)
        .source(source));
    }
    let trailer = io.read_vec(source, size - TRAILER, 24).await?;
    let mut numbers = trailer.chunks_exact(8).map(|b| {
        let mut n = [0; 8];
        n.copy_from_slice(b);
        u64::from_le_bytes(n)
    });
    let mut next = || numbers.next().unwrap_or(0);
    let (at, len, check) = (next(), next(), next());
    let end = at.checked_add(len).and_then(|n| n.checked_add(TRAILER));
    if end != Some(size) || at < PREAMBLE.len() as u64 {
        return Err(truncated("its end is not where an index is named").at(size - TRAILER));
    }
    if len > MAX_HEADER_BYTES {
        return Err(Error::new(
            Code::Limit,
            format!("the delta's index has {len} bytes, more than the {MAX_HEADER_BYTES} that are read"),
        )
        .source(source));
    }
    let bytes = io.read_vec(source, at, len as usize).await?;
    if xxh3_64(&bytes) != check {
        return Err(Error::new(
            Code::Checksum,
            "the delta's index differs from its checksum; get the file again",
        )
        .at(at)
        .source(source));
    }
    let index = Index::parse(&bytes).map_err(|e| e.source(source))?;
    let placed = place(&index, at).map_err(|e| e.source(source))?;
    Ok(OpenV2 {
        source,
        size,
        index,
        index_range: ByteRange { offset: at, len },
        placed,
    })
}

/// The identity of what a delta needs of its base: one hash of names, dtypes, shapes and digests in the order of names.
pub fn base_identity(index: &Index) -> Digest {
    let bases: Vec<_> = index.tensors.iter().filter_map(|t| t.base.as_ref()).collect();
    let mut hasher = blake3::Hasher::new();
    for i in sorted_positions(bases.len(), &|a, b| bases[a].name.cmp(&bases[b].name)) {
        let b = bases[i];
        for text in [b.name.as_str(), b.dtype.name()] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        hasher.update(&(b.shape.len() as u64).to_le_bytes());
        for dim in &b.shape {
            hasher.update(&dim.to_le_bytes());
        }
        hasher.update(&b.digest);
    }
    super::digest(&hasher)
}
