//! The files of a result: which tensors go where, headers and index.

use crate::dtype::Dtype;
use crate::error::{Code, Error, Result};
use crate::format::model::{Model, ModelFile};
use crate::format::safetensors::header::Entry;
use crate::format::safetensors::{index, writer};
use crate::job::chain;
use crate::job::machine::{Io, OutputFile, SourceEntry, TaskSpec};
use crate::job::open::OpenModel;
use crate::job::options::{DecodeOptions, OutputDtype, OutputLayout};
use crate::job::task::Task;
use crate::job::values::Origin;
use crate::offset::{element_count, ByteRange};
use crate::order::{rearranged, sorted_positions};

/// One `.safetensors` file of the result.
pub(in crate::job) struct Shard {
    pub(in crate::job) path: String,
    pub(in crate::job) head: Head,
    /// Name, dtype and absolute range of each tensor.
    pub(in crate::job) tensors: Vec<(String, Dtype, ByteRange)>,
    pub(in crate::job) size: u64,
}

/// The bytes before a shard's data.
pub(in crate::job) enum Head {
    /// New ones.
    Written(Vec<u8>),
    /// The base's own: this many bytes at the start of this source.
    OfBase { source: u32, len: u64 },
}

/// The files of the result: the base's, without what the delta does not have, in the dtype asked for. Where nothing is
/// left out and the dtypes stay, the header is the base's own, byte for byte.
pub(super) fn layout(base: &Model, origins: &[Origin], options: &DecodeOptions) -> Result<Vec<Shard>> {
    if options.layout == OutputLayout::Single && base.files.len() > 1 {
        let entries: Vec<_> = base.files.iter().flat_map(|f| kept_entries(f, origins)).collect();
        let metadata = base.files.first().map_or(&[][..], |f| &f.header.metadata);
        return Ok(vec![written_shard(
            "model.safetensors",
            metadata,
            &entries,
            options.dtype,
        )?]);
    }
    base.files
        .iter()
        .map(|file| {
            let entries = kept_entries(file, origins);
            if entries.len() < file.header.tensors.len() || options.dtype != OutputDtype::Base {
                return written_shard(&file.path, &file.header.metadata, &entries, options.dtype);
            }
            let place = |e: &&Entry| {
                Ok((
                    e.name.clone(),
                    e.dtype,
                    ByteRange::new(file.data_offset + e.range.offset, e.range.len)?,
                ))
            };
            Ok(Shard {
                path: file.path.clone(),
                head: Head::OfBase {
                    source: file.source,
                    len: file.data_offset,
                },
                tensors: entries.iter().map(place).collect::<Result<_>>()?,
                size: file.data_offset + entries.iter().map(|e| e.range.len).sum::<u64>(),
            })
        })
        .collect()
}

/// The tensors of a base file that are in the result, in the order of their data.
fn kept_entries<'a>(file: &'a ModelFile, origins: &[Origin]) -> Vec<&'a Entry> {
    let entries: Vec<_> = file
        .header
        .tensors
        .iter()
        .filter(|e| chain::find_origin(origins, &e.name).is_some())
        .collect();
    let order = sorted_positions(entries.len(), &|a, b| {
        entries[a].range.offset.cmp(&entries[b].range.offset)
    });
    rearranged(entries, &order)
}

/// A shard with a header of its own.
pub(in crate::job) fn written_shard(
    path: &str,
    metadata: &[(String, String)],
    entries: &[&Entry],
    dtype: OutputDtype,
) -> Result<Shard> {
    let too_large = || Error::new(Code::Limit, "the result would be larger than any file");
    let mut at = 0u64;
    let mut placed = Vec::with_capacity(entries.len());
    for entry in entries {
        let dtype = match dtype {
            OutputDtype::Base => entry.dtype,
            OutputDtype::Float32 => Dtype::F32,
        };
        let len = element_count(&entry.shape)
            .and_then(|n| dtype.bytes_of(n))
            .ok_or_else(too_large)?;
        placed.push((
            entry.name.as_str(),
            dtype,
            entry.shape.clone(),
            ByteRange::new(at, len)?,
        ));
        at = at.checked_add(len).ok_or_else(too_large)?;
    }
    let head = writer::header_bytes(metadata, &placed);
    let data = head.len() as u64;
    let size = data.checked_add(at).ok_or_else(too_large)?;
    let tensors = placed
        .into_iter()
        .map(|(name, dtype, _, range)| {
            (
                name.to_owned(),
                dtype,
                ByteRange {
                    offset: data + range.offset,
                    len: range.len,
                },
            )
        })
        .collect();
    Ok(Shard {
        path: path.to_owned(),
        head: Head::Written(head),
        tensors,
        size,
    })
}

/// The index file of the result: the base's own bytes where they still hold, a new one otherwise.
pub(super) async fn rebuilt_index(
    io: &Io,
    opened: &OpenModel,
    sources: &[SourceEntry],
    shards: &[Shard],
    options: &DecodeOptions,
) -> Result<Option<(String, Vec<u8>)>> {
    let of_base = opened.model.index.as_ref().zip(opened.index);
    let Some((index, source)) = of_base.filter(|_| options.layout == OutputLayout::Auto) else {
        return Ok(None);
    };
    let path = sources[source as usize].path.clone();
    if shards.iter().all(|s| matches!(s.head, Head::OfBase { .. })) {
        let len = io.size(source) as usize;
        return Ok(Some((path, io.read_vec(source, 0, len).await?)));
    }
    let map: Vec<(String, String)> = shards
        .iter()
        .flat_map(|s| s.tensors.iter().map(|(name, ..)| (name.clone(), s.path.clone())))
        .collect();
    let total = shards
        .iter()
        .flat_map(|s| &s.tensors)
        .map(|(_, _, range)| range.len)
        .sum();
    Ok(Some((path, index::rewrite_index(index, &map, total))))
}

/// Adds files of the base's folder to the outputs, but for those that the result has itself; gives the tasks that copy them.
pub(in crate::job) fn copy_side_files(
    io: &Io,
    sources: &[SourceEntry],
    side_files: &[u32],
    outputs: &mut Vec<OutputFile>,
) -> Result<Vec<TaskSpec>> {
    let mut tasks = Vec::new();
    for &source in side_files {
        let (path, size) = (sources[source as usize].path.clone(), io.size(source));
        if outputs.iter().all(|o| o.path != path) {
            let sink = outputs.len() as u32;
            tasks.push(Task::Copy { source, sink }.spec(&path, "copying", 2 * size)?);
            outputs.push(OutputFile { path, size });
        }
    }
    Ok(tasks)
}
