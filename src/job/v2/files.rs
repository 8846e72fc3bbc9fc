//! The files that a version 2 delta rebuilds, as its index describes them.

use super::digest;
use super::open::OpenV2;
use crate::error::{Code, Error, Result};
use crate::format::model::{assemble, Model, ShardHeader};
use crate::format::safetensors::header::{self, Entry, Header};
use crate::format::safetensors::writer;
use crate::format::v2::index::Digest;
use crate::format::v2::{FileRecord, Head, TensorRecord};
use crate::offset::{element_count, ByteRange};
use crate::order::sorted_positions;
use std::ops::Range;

/// Bytes of a tensor that has a geometry: they fit 64 bits.
pub fn bytes_of(t: &TensorRecord) -> u64 {
    element_count(&t.shape).and_then(|n| t.dtype.bytes_of(n)).unwrap_or(0)
}

/// A file of a delta's result, the bytes before its tensors, and the tensors.
pub type PlacedFile<'a> = (&'a FileRecord, Vec<u8>, Range<usize>);

/// The files of a delta's result. What is before their tensors is held against their digests, if there are any.
pub fn files(delta: &OpenV2) -> Result<Vec<PlacedFile<'_>>> {
    let mut at = 0;
    let index = &delta.index;
    let mut files = Vec::with_capacity(index.files.len());
    for (i, file) in index.files.iter().enumerate() {
        let own = at..at + file.tensors as usize;
        at = own.end;
        let tensors = &index.tensors[own.clone()];
        let head = head_of(file, tensors).map_err(|e| e.source(delta.source))?;
        let found = file_digest(&file.path, &digest(blake3::Hasher::new().update(&head)), tensors);
        if index.digests.get(i).is_some_and(|d| *d != found) {
            let text = format!(
                "{}: its header does not come out as the fine-tune's; get the delta again, or a newer wdelta",
                file.path
            );
            return Err(Error::new(Code::Checksum, text).source(delta.source));
        }
        files.push((file, head, own));
    }
    Ok(files)
}

/// The digest of a file: of its path, the digest of the bytes before its tensors, and its tensors' digests.
pub fn file_digest(path: &str, head: &Digest, tensors: &[TensorRecord]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(path.len() as u64).to_le_bytes());
    hasher.update(path.as_bytes());
    hasher.update(head);
    for t in tensors {
        hasher.update(&t.digest);
    }
    digest(&hasher)
}

/// The model that a delta rebuilds.
pub fn result_model(delta: &OpenV2) -> Result<Model> {
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
