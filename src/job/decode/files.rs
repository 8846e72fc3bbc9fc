//! The files of a result: which tensors go where, headers and index.

use crate::dtype::Dtype;
use crate::error::{Code, Error, Result};
use crate::format::model::{Model, ModelFile};
use crate::format::safetensors::header::Entry;
use crate::format::safetensors::index::{self, Index};
use crate::format::safetensors::writer;
use crate::job::batch::Batch;
use crate::job::chain;
use crate::job::machine::{Io, OutputFile, SourceEntry, TaskSpec};
use crate::job::open::OpenModel;
use crate::job::options::{DecodeOptions, OutputDtype, OutputLayout};
use crate::job::plan::{DecodePlan, Plan};
use crate::job::task::Task;
use crate::job::values::Origin;
use crate::offset::{element_count, ByteRange};
use crate::order::{rearranged, sorted_positions};

/// A file of the result: what it starts with, and the tensors after that.
pub(in crate::job) struct ResultFile {
    pub(in crate::job) path: String,
    pub(in crate::job) head: FileHead,
    /// In the order of their bytes, with ranges counted from the end of the head; none in a file that is not safetensors.
    pub(in crate::job) tensors: Vec<Entry>,
    pub(in crate::job) size: u64,
}

/// The bytes of a file before its tensors.
pub(in crate::job) enum FileHead {
    /// New ones.
    Written(Vec<u8>),
    /// The base's own: this many bytes at the start of this source.
    OfBase { source: u32, len: u64 },
}

impl ResultFile {
    /// A file of these bytes and tensors, which follow one another; `LIMIT` when it would be larger than any file.
    pub(in crate::job) fn written(path: String, head: Vec<u8>, tensors: Vec<Entry>) -> Result<Self> {
        let data = tensors.last().map_or(0, |t| t.range.end());
        let size = data.checked_add(head.len() as u64).ok_or_else(too_large)?;
        Ok(Self {
            path,
            head: FileHead::Written(head),
            tensors,
            size,
        })
    }

    /// Where the head ends.
    pub(in crate::job) fn data_offset(&self) -> u64 {
        match &self.head {
            FileHead::Written(bytes) => bytes.len() as u64,
            FileHead::OfBase { len, .. } => *len,
        }
    }

    /// Where its tensors lie in it.
    pub(in crate::job) fn ranges(&self) -> impl Iterator<Item = ByteRange> + '_ {
        let start = self.data_offset();
        self.tensors.iter().map(move |t| ByteRange {
            offset: start + t.range.offset,
            len: t.range.len,
        })
    }
}

fn too_large() -> Error {
    Error::new(Code::Limit, "the result would be larger than any file")
}

/// The files as outputs, to be created.
pub(in crate::job) fn outputs(files: &[ResultFile]) -> Vec<OutputFile> {
    let output = |f: &ResultFile| OutputFile {
        path: f.path.clone(),
        size: f.size,
    };
    files.iter().map(output).collect()
}

/// The sink and the range of every tensor, in the order of the files.
pub(in crate::job) fn places(files: &[ResultFile]) -> Vec<(u32, ByteRange)> {
    let sinks = files.iter().zip(0..);
    sinks
        .flat_map(|(f, sink)| f.ranges().map(move |range| (sink, range)))
        .collect()
}

/// Tells the host what will be done, has the outputs created, writes what the files start with, which are the first of the
/// outputs, and runs the tasks; gives the bytes of all outputs and the tasks' reports.
pub(in crate::job) async fn carry_out(
    io: &Io,
    plan: &DecodePlan<'_>,
    files: Vec<ResultFile>,
    batch: Batch,
) -> Result<(u64, Vec<Vec<u8>>)> {
    let bytes = Plan::decoding(plan, batch.cost()).begin(io).await?;
    for (file, sink) in files.into_iter().zip(0..) {
        let mut head = match file.head {
            FileHead::Written(head) => head,
            FileHead::OfBase { source, len } => io.read_vec(source, 0, len as usize).await?,
        };
        io.put(sink, 0, &mut head).await;
    }
    let reports = io.run(batch.tasks()).await?;
    Ok((bytes, reports))
}

/// The files of the result: the base's, without what the delta does not have, in the dtype asked for. Where nothing is
/// left out and the dtypes stay, the header is the base's own, byte for byte.
pub(super) fn layout(base: &Model, origins: &[Origin], options: &DecodeOptions) -> Result<Vec<ResultFile>> {
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
            Ok(ResultFile {
                path: file.path.clone(),
                head: FileHead::OfBase {
                    source: file.source,
                    len: file.data_offset,
                },
                size: file.data_offset + entries.iter().map(|e| e.range.len).sum::<u64>(),
                tensors: entries.into_iter().cloned().collect(),
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
) -> Result<ResultFile> {
    let mut at = 0u64;
    let mut tensors = Vec::with_capacity(entries.len());
    for entry in entries {
        let dtype = match dtype {
            OutputDtype::Base => entry.dtype,
            OutputDtype::Float32 => Dtype::F32,
        };
        let len = element_count(&entry.shape)
            .and_then(|n| dtype.bytes_of(n))
            .ok_or_else(too_large)?;
        let range = ByteRange::new(at, len)?;
        at = range.end();
        tensors.push(Entry {
            name: entry.name.clone(),
            dtype,
            shape: entry.shape.clone(),
            range,
        });
    }
    let head = writer::header_bytes(metadata, &tensors);
    ResultFile::written(path.to_owned(), head, tensors)
}

/// The index file of the result: the base's own bytes where they still hold, a new one otherwise.
pub(super) async fn rebuilt_index(
    io: &Io,
    opened: &OpenModel,
    sources: &[SourceEntry],
    shards: &[ResultFile],
    options: &DecodeOptions,
) -> Result<Option<ResultFile>> {
    let of_base = opened.model.index.as_ref().zip(opened.index);
    let Some((index, source)) = of_base.filter(|_| options.layout == OutputLayout::Auto) else {
        return Ok(None);
    };
    let path = sources[source as usize].path.clone();
    let bytes = match shards.iter().all(|s| matches!(s.head, FileHead::OfBase { .. })) {
        true => io.read_vec(source, 0, io.size(source) as usize).await?,
        false => index_of(index, shards),
    };
    ResultFile::written(path, bytes, Vec::new()).map(Some)
}

/// An index of these shards, with whatever else another one says.
pub(in crate::job) fn index_of(index: &Index, shards: &[ResultFile]) -> Vec<u8> {
    let tensors = || shards.iter().flat_map(|s| s.tensors.iter().map(move |t| (s, t)));
    let map: Vec<_> = tensors().map(|(s, t)| (t.name.clone(), s.path.clone())).collect();
    let total = tensors().map(|(_, t)| t.range.len).sum();
    index::rewrite_index(index, &map, total)
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
