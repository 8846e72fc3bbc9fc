//! The files that a version 2 delta rebuilds, as its index describes them.

use super::digest;
use super::open::OpenV2;
use crate::error::{quoted, Code, Error, Result};
use crate::format::model::{assemble, Model, ShardHeader};
use crate::format::safetensors::header::{self, Entry, Header};
use crate::format::safetensors::writer;
use crate::format::v2::index::Digest;
use crate::format::v2::{FileRecord, Head, TensorRecord};
use crate::job::decode::files::ResultFile;
use crate::offset::{element_count, ByteRange};
use crate::order::sorted_positions;

/// Bytes of a tensor that has a geometry: they fit 64 bits.
pub fn bytes_of(t: &TensorRecord) -> u64 {
    element_count(&t.shape).and_then(|n| t.dtype.bytes_of(n)).unwrap_or(0)
}

/// The files of a delta's result, in the order of its index. What is before their tensors is held against their digests, if
/// there are any.
pub(in crate::job) fn files(delta: &OpenV2) -> Result<Vec<ResultFile>> {
    let mut at = 0;
    let index = &delta.index;
    let mut files = Vec::with_capacity(index.files.len());
    for (i, file) in index.files.iter().enumerate() {
        let own = &index.tensors[at..at + file.tensors as usize];
        at += own.len();
        let tensors = entries(own)?;
        let head = head_of(file, &tensors).map_err(|e| e.source(delta.source))?;
        let found = file_digest(&file.path, &digest(blake3::Hasher::new().update(&head)), own);
        if index.digests.get(i).is_some_and(|d| *d != found) {
            let text = format!(
                "{}: its header does not come out as the fine-tune's; get the delta again, or a newer wdelta",
                quoted(&file.path)
            );
            return Err(Error::new(Code::Checksum, text).source(delta.source));
        }
        files.push(ResultFile::written(file.path.clone(), head, tensors)?);
    }
    Ok(files)
}

/// Tensors of a file, one after the other.
fn entries(tensors: &[TensorRecord]) -> Result<Vec<Entry>> {
    let mut at = 0;
    let mut entries = Vec::with_capacity(tensors.len());
    for t in tensors {
        let range = ByteRange::new(at, bytes_of(t))?;
        at = range.end();
        entries.push(Entry {
            name: t.name.clone(),
            dtype: t.dtype,
            shape: t.shape.clone(),
            range,
        });
    }
    Ok(entries)
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
    for (file, record) in files(delta)?.into_iter().zip(&delta.index.files) {
        if file.tensors.is_empty() {
            continue;
        }
        let data_len = file.size - file.data_offset();
        let metadata = match &record.head {
            Head::Written(metadata) => metadata.clone(),
            // It was read as such before.
            Head::Verbatim(bytes) => {
                header::parse_header(bytes.get(8..).unwrap_or_default(), data_len).map_or(Vec::new(), |h| h.metadata)
            }
        };
        shards.push(ShardHeader {
            source: delta.source,
            data_offset: file.data_offset(),
            path: file.path,
            header: Header {
                metadata,
                tensors: file.tensors,
            },
        });
    }
    assemble(shards, None)
}

/// The bytes before a file's tensors, which must say where those lie.
fn head_of(file: &FileRecord, tensors: &[Entry]) -> Result<Vec<u8>> {
    let bytes = match &file.head {
        Head::Written(metadata) => return Ok(writer::header_bytes(metadata, tensors)),
        Head::Verbatim(bytes) if tensors.is_empty() => return Ok(bytes.clone()),
        Head::Verbatim(bytes) => bytes,
    };
    let differs = || {
        let text = format!(
            "{}: its stored header and the delta's index do not agree; get the delta again",
            quoted(&file.path)
        );
        Error::new(Code::Malformed, text)
    };
    let (length, json) = bytes.split_first_chunk().ok_or_else(differs)?;
    let data_len = tensors.last().map_or(0, |t| t.range.end());
    let parsed = header::parse_header(json, data_len).map_err(|_| differs())?;
    let start = |i: usize| (parsed.tensors[i].range.offset, parsed.tensors[i].range.len);
    let order = sorted_positions(parsed.tensors.len(), &|a, b| start(a).cmp(&start(b)));
    let agree = u64::from_le_bytes(*length) == json.len() as u64
        && order.len() == tensors.len()
        && order.into_iter().zip(tensors).all(|(i, t)| parsed.tensors[i] == *t);
    match agree {
        true => Ok(bytes.clone()),
        false => Err(differs()),
    }
}
