//! `decode`: base and deltas to safetensors, in the base's layout.

use super::chain::{self, ChainCheck, Link};
use super::encode::source_changed;
use super::machine::{Io, OutputFile, Read, Role, SourceEntry};
use super::open::{groups_of, open_model, sources_of, OpenModel};
use super::options::{DecodeOptions, OutputDtype, OutputLayout};
use super::plan::Plan;
use super::report::{to_json, to_wire, Finding, Outcome, Severity};
use super::task::{batch, Task};
use super::v2::open::any_v2;
use super::values::{Origin, Values};
use crate::dtype::Dtype;
use crate::error::{Code, Error, Result};
use crate::format::model::{Model, ModelFile};
use crate::format::safetensors::header::Entry;
use crate::format::safetensors::{index, writer};
use crate::job::wire::wire;
use crate::kernels::convert;
use crate::limits::CHUNK_BYTES;
use crate::offset::{element_count, ByteRange};
use crate::order::{rearranged, sorted_positions};
use serde::Serialize;
use xxhash_rust::xxh3::Xxh3;

/// A tensor to rebuild.
#[derive(Debug, Clone)]
pub struct DecodeItem {
    /// What it is rebuilt from.
    pub origin: Origin,
    /// Number of the sink.
    pub sink: u32,
    /// Where its first byte goes.
    pub offset: u64,
    /// Its dtype there.
    pub dtype: Dtype,
}
wire!(DecodeItem {
    origin,
    sink,
    offset,
    dtype
});

impl DecodeItem {
    /// Bytes that it reads and writes.
    pub fn cost(&self) -> u64 {
        self.origin.cost() + self.dtype.bytes_of(self.origin.base.elements).unwrap_or(0)
    }

    /// True when the base's bytes are the result.
    fn is_copy(&self) -> bool {
        self.origin.is_unchanged() && self.dtype == self.origin.base.dtype
    }
}

/// What rebuilding one tensor reports: fast hashes of what was read and of what was written.
#[derive(Debug)]
pub struct Decoded {
    seen: String,
    written: String,
}
wire!(Decoded { seen, written });

/// Runs the decode task; reports the [`Outcome`] with a list of [`Decoded`].
pub async fn decode_tensors(io: Io, items: Vec<DecodeItem>) -> Result<Vec<u8>> {
    Outcome::report(rebuild(&io, &items).await)
}

async fn rebuild(io: &Io, items: &[DecodeItem]) -> Result<Vec<Decoded>> {
    let mut decoded = Vec::with_capacity(items.len());
    let mut out = Vec::new();
    for item in items {
        decoded.push(if item.is_copy() {
            copy_tensor(io, item, &mut out).await?
        } else {
            rebuild_tensor(io, item, &mut out).await?
        });
    }
    Ok(decoded)
}

async fn copy_tensor(io: &Io, item: &DecodeItem, bytes: &mut Vec<u8>) -> Result<Decoded> {
    let range = item.origin.base.range;
    let mut seen = Xxh3::new();
    let mut done = 0;
    while done < range.len {
        bytes.resize((range.len - done).min(CHUNK_BYTES as u64) as usize, 0);
        io.read(&mut [Read {
            source: item.origin.base.source,
            offset: range.offset + done,
            buf: bytes,
        }])
        .await?;
        seen.update(bytes);
        io.write(&mut [(item.sink, item.offset + done, bytes)]).await;
        done += bytes.len() as u64;
    }
    let seen = format!("{:016x}", seen.digest());
    Ok(Decoded {
        written: seen.clone(),
        seen,
    })
}

async fn rebuild_tensor(io: &Io, item: &DecodeItem, out: &mut Vec<u8>) -> Result<Decoded> {
    let width = item
        .dtype
        .bytes()
        .ok_or_else(|| Error::new(Code::Internal, "a packed dtype cannot be rebuilt"))?;
    let as_base = item.dtype == item.origin.base.dtype;
    let mut values = Values::open(io, &item.origin).await?.watching();
    let mut written = Xxh3::new();
    let mut offset = item.offset;
    while values.next_len() > 0 {
        let n = values.load(io, &mut []).await?;
        out.resize(n * width, 0);
        values
            .blocks(io, &mut |block| {
                let to = &mut out[block.at * width..(block.at + block.values.len()) * width];
                if as_base && item.dtype != Dtype::F32 {
                    convert::keep_or_round(item.dtype, block.values, block.base, block.base_bytes, to);
                } else {
                    convert::from_f32(item.dtype, block.values, to);
                }
                Ok(())
            })
            .await?;
        written.update(out);
        io.write(&mut [(item.sink, offset, out)]).await;
        offset += out.len() as u64;
    }
    Ok(Decoded {
        seen: format!("{:016x}", values.seen()),
        written: format!("{:016x}", written.digest()),
    })
}

/// Runs the copy task.
pub async fn copy_file(io: Io, source: u32, sink: u32) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut done, size) = (0, io.size(source));
    while done < size {
        bytes.resize((size - done).min(CHUNK_BYTES as u64) as usize, 0);
        io.read(&mut [Read {
            source,
            offset: done,
            buf: &mut bytes,
        }])
        .await?;
        io.write(&mut [(sink, done, &mut bytes)]).await;
        done += bytes.len() as u64;
    }
    to_wire(&())
}

/// Runs the read-back task: `IO` when what lies in the output is not what was written.
pub async fn read_back(io: Io, source: u32, items: Vec<(ByteRange, String)>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for (range, written) in items {
        let mut seen = Xxh3::new();
        let mut done = 0;
        while done < range.len {
            bytes.resize((range.len - done).min(CHUNK_BYTES as u64) as usize, 0);
            io.read(&mut [Read {
                source,
                offset: range.offset + done,
                buf: &mut bytes,
            }])
            .await?;
            seen.update(&bytes);
            done += bytes.len() as u64;
        }
        if format!("{:016x}", seen.digest()) != written {
            return Err(Error::new(
                Code::Io,
                "the result reads back differently from what was written; the disk or its driver is at fault, write it elsewhere",
            )
            .at(range.offset));
        }
    }
    to_wire(&())
}

/// What `decode` did.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) job: &'static str,
    pub(super) bytes: u64,
    pub(super) dtype: OutputDtypeName,
    pub(super) files: Vec<OutputFile>,
    pub(super) tensors: usize,
    pub(super) links: Vec<Link>,
    pub(super) findings: Vec<Finding>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum OutputDtypeName {
    Base,
    Float32,
}

/// One `.safetensors` file of the result.
pub(super) struct Shard {
    pub(super) path: String,
    pub(super) head: Head,
    /// Name, dtype and absolute range of each tensor.
    pub(super) tensors: Vec<(String, Dtype, ByteRange)>,
    pub(super) size: u64,
}

/// The bytes before a shard's data.
pub(super) enum Head {
    /// New ones.
    Written(Vec<u8>),
    /// The base's own: this many bytes at the start of this source.
    OfBase { source: u32, len: u64 },
}

/// Runs the job.
pub async fn decode(io: Io, sources: Vec<SourceEntry>, options: DecodeOptions) -> Result<String> {
    if any_v2(&io, &sources, groups_of(&sources, Role::Delta)).await? {
        return Box::pin(super::v2::decode::decode(io, sources, options)).await;
    }
    let opened = open_model(&io, &sources, Role::Base, 0).await?;
    let base = &opened.model;
    let delta_sources: Vec<u32> = (0..groups_of(&sources, Role::Delta))
        .flat_map(|g| sources_of(&sources, Role::Delta, g))
        .collect();
    if delta_sources.is_empty() {
        return Err(Error::new(
            Code::Usage,
            "no delta was given; name one .wdelta file, or those of a chain in order",
        ));
    }
    let deltas = chain::open_chain(&io, &delta_sources, Some(base), chain::Care::Checked).await?;
    chain::check_fit_or_damage(&io, base, &deltas).await?;
    let origins = chain::origins(base, &deltas);
    check_dtypes(&origins, &options)?;

    let shards = layout(base, &origins, &options)?;
    let index = rebuilt_index(&io, &opened, &sources, &shards, &options).await?;
    let mut findings = Vec::new();
    let extra = base
        .tensors
        .iter()
        .filter(|t| chain::find_origin(&origins, &t.name).is_none())
        .count();
    if extra > 0 {
        findings.push(Finding::new(
            Severity::Note,
            "extra-tensors",
            format!("{extra} tensors of the base are not in the delta and are left out of the result"),
        ));
    }
    let mut outputs: Vec<OutputFile> = shards
        .iter()
        .map(|s| OutputFile {
            path: s.path.clone(),
            size: s.size,
        })
        .collect();
    if let Some((path, bytes)) = &index {
        outputs.push(OutputFile {
            path: path.clone(),
            size: bytes.len() as u64,
        });
    }
    let side_files: &[u32] = if options.side_files { &opened.side_files } else { &[] };
    let first_side_file = outputs.len() as u32;
    for &s in side_files {
        outputs.push(OutputFile {
            path: sources[s as usize].path.clone(),
            size: io.size(s),
        });
    }

    let mut items = Vec::new();
    for (sink, shard) in shards.iter().enumerate() {
        for (name, dtype, range) in &shard.tensors {
            let Some(origin) = chain::find_origin(&origins, name) else {
                continue;
            };
            items.push(DecodeItem {
                origin: origin.clone(),
                sink: sink as u32,
                offset: range.offset,
                dtype: *dtype,
            });
        }
    }
    let mut check = ChainCheck::new(base, &deltas)?;
    let mut tasks = if options.verify { check.take_tasks() } else { Vec::new() };
    let n_checks = tasks.len();
    let names: Vec<(String, u32)> = items
        .iter()
        .map(|i| (i.origin.name.clone(), i.origin.base.source))
        .collect();
    let written_ranges: Vec<(u32, ByteRange)> = shards
        .iter()
        .enumerate()
        .flat_map(|(sink, s)| s.tensors.iter().map(move |(_, _, range)| (sink as u32, *range)))
        .collect();
    tasks.extend(batch(
        items,
        "decoding",
        DecodeItem::cost,
        |i| &i.origin.name,
        |items| Task::Decode { items },
    )?);
    let n_codec = tasks.len();
    for (i, &source) in side_files.iter().enumerate() {
        let task = Task::Copy {
            source,
            sink: first_side_file + i as u32,
        };
        tasks.push(task.spec(&sources[source as usize].path, "copying", 2 * io.size(source))?);
    }
    let elements = origins.iter().map(|o| o.base.elements).sum();
    let plan = Plan {
        problems: findings.clone(),
        ..Plan::writing("decode", &outputs, &tasks, options.read_back, names.len(), elements)
    };
    let bytes = plan.bytes;
    io.plan(plan.json()?).await;

    io.create(outputs.clone()).await;
    for (sink, shard) in shards.iter().enumerate() {
        let mut head = match &shard.head {
            Head::Written(head) => head.clone(),
            Head::OfBase { source, len } => io.read_vec(*source, 0, *len as usize).await?,
        };
        io.write(&mut [(sink as u32, 0, &mut head)]).await;
    }
    if let Some((_, bytes)) = index {
        io.write(&mut [(shards.len() as u32, 0, &mut bytes.clone())]).await;
    }
    let reports = io.run(tasks).await?;
    let checked = match options.verify {
        true => {
            let checksums = chain::read_checksums(&io, &deltas).await?;
            Some(check.finish(&reports[..n_checks], &deltas, &checksums)?)
        }
        false => None,
    };
    let mut decoded: Vec<Decoded> = Vec::with_capacity(names.len());
    for report in &reports[n_checks..n_codec] {
        decoded.extend(Outcome::<Vec<Decoded>>::read(report)?);
    }
    if let Some(checked) = &checked {
        for ((name, source), decoded) in names.iter().zip(&decoded) {
            if checked.fast_of(name).is_some_and(|hashed| *hashed != decoded.seen) {
                return Err(source_changed(name, *source));
            }
        }
    }
    if options.read_back {
        let mut by_sink: Vec<Vec<(ByteRange, String)>> = shards.iter().map(|_| Vec::new()).collect();
        for ((sink, range), decoded) in written_ranges.iter().zip(&decoded) {
            by_sink[*sink as usize].push((*range, decoded.written.clone()));
        }
        compare_written(&io, sources.len(), by_sink).await?;
    }
    to_json(&Report {
        job: "decode",
        bytes,
        dtype: match options.dtype {
            OutputDtype::Base => OutputDtypeName::Base,
            OutputDtype::Float32 => OutputDtypeName::Float32,
        },
        files: outputs,
        tensors: names.len(),
        links: checked.map_or(Vec::new(), |c| c.links),
        findings,
    })
}

/// Has the results read back. `by_sink`: for each output ranges and their fast hashes; outputs follow `sources` files.
pub async fn compare_written(io: &Io, sources: usize, by_sink: Vec<Vec<(ByteRange, String)>>) -> Result<()> {
    let mut tasks = Vec::new();
    for (items, source) in by_sink.into_iter().zip(sources as u32..) {
        let cost = items.iter().map(|(range, _)| range.len).sum();
        if cost > 0 {
            tasks.push(Task::ReadBack { source, items }.spec("result", "checking", cost)?);
        }
    }
    io.run(tasks).await.map(drop)
}

/// Tensors that do not convert to float32 can only be taken over.
fn check_dtypes(origins: &[Origin], options: &DecodeOptions) -> Result<()> {
    for origin in origins.iter() {
        let dtype = origin.base.dtype;
        if !(dtype.to_f32_defined() || origin.is_unchanged() && options.dtype == OutputDtype::Base) {
            return Err(Error::new(
                Code::UnsupportedDtype,
                format!(
                    "tensor `{}`: {} cannot be turned into float32; it can only be taken over unchanged, in the base's own dtype",
                    origin.name,
                    dtype.name()
                ),
            )
            .tensor(&origin.name));
        }
    }
    Ok(())
}

/// The files of the result: the base's, without what the delta does not have, in the dtype asked for. Where nothing is
/// left out and the dtypes stay, the header is the base's own, byte for byte.
fn layout(base: &Model, origins: &[Origin], options: &DecodeOptions) -> Result<Vec<Shard>> {
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
pub(super) fn written_shard(
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
async fn rebuilt_index(
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
