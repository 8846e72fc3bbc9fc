//! `decode` and `verify` of version 2.

use super::inspect;
use super::open::{base_identity, open_only, OpenV2};
use super::rebuild::{Rebuild, RebuildBlock, RebuildSegment, RebuildTensor, Rebuilt};
use crate::error::{Code, Error, Result};
use crate::format::model::Model;
use crate::format::safetensors::{header, writer};
use crate::format::v2::{FileRecord, Head, Op, TensorRecord};
use crate::job::chain::{shape_text, short, Link, Order};
use crate::job::decode::{OutputDtypeName, Report};
use crate::job::hashing;
use crate::job::machine::{Io, OutputFile, Role, SourceEntry, TaskSpec};
use crate::job::open::{groups_of, open_model, sources_of};
use crate::job::options::{DecodeOptions, OutputDtype, OutputLayout};
use crate::job::placed::TensorRange;
use crate::job::plan::Plan;
use crate::job::report::{from_wire, hex, list_names, to_json, Finding, Severity};
use crate::job::task::Task;
use crate::job::verify;
use crate::offset::{element_count, ByteRange};
use crate::order::sorted_positions;

/// Bytes that a task handles at least, if there are as many.
const TASK_BYTES: u64 = 8 << 20;

/// Where a tensor's bytes are in the result.
#[derive(Clone, Copy)]
struct Place {
    sink: u32,
    offset: u64,
}

/// Runs `decode`.
pub async fn decode(io: Io, sources: Vec<SourceEntry>, options: DecodeOptions) -> Result<String> {
    let delta = open_only(&io, &sources, groups_of(&sources, Role::Delta)).await?;
    let opened = open_model(&io, &sources, Role::Base, 0).await?;
    let files = &delta.index.files;
    let several = files.iter().filter(|f| f.tensors > 0).count() > 1;
    if options.dtype == OutputDtype::Float32 || (options.layout == OutputLayout::Single && several) {
        return Err(Error::new(
            Code::Usage,
            "a lossless delta rebuilds the fine-tune's own files; leave dtype and layout out",
        ));
    }
    let bases = matched(&delta, &opened.model)?;
    let mut outputs = Vec::new();
    let mut heads = Vec::new();
    let mut places = Vec::with_capacity(bases.len());
    let mut tensors = &delta.index.tensors[..];
    for (file, sink) in files.iter().zip(0..) {
        let (own, rest) = tensors.split_at(file.tensors as usize);
        tensors = rest;
        let head = head_of(file, own).map_err(|e| e.source(delta.source))?;
        let mut at = head.len() as u64;
        for t in own {
            places.push(Some(Place { sink, offset: at }));
            at = ByteRange::new(at, bytes_of(t))?.end();
        }
        outputs.push(OutputFile {
            path: file.path.clone(),
            size: at,
        });
        heads.push(head);
    }
    let mut tasks = rebuild_tasks(&delta, &bases, &places, false)?;
    let n_rebuild = tasks.len();
    let side_files: &[u32] = if options.side_files { &opened.side_files } else { &[] };
    for &source in side_files {
        let (path, size) = (sources[source as usize].path.clone(), io.size(source));
        if outputs.iter().all(|o| o.path != path) {
            let sink = outputs.len() as u32;
            tasks.push(Task::Copy { source, sink }.spec(&path, "copying", 2 * size)?);
            outputs.push(OutputFile { path, size });
        }
    }
    if options.verify {
        tasks.push(hashing::file_task("delta", delta.source, delta.size - 32)?);
    }
    let bytes: u64 = outputs.iter().map(|o| o.size).sum();
    let work: u64 = tasks.iter().map(|t| t.cost).sum();
    io.plan(
        Plan {
            job: "decode",
            bytes,
            exact: true,
            outputs: outputs.clone(),
            problems: Vec::new(),
            reads: work.saturating_sub(bytes) + if options.read_back { bytes } else { 0 },
            writes: bytes,
            tensors: bases.len(),
            elements: elements(&delta),
        }
        .json()?,
    )
    .await;
    io.create(outputs.clone()).await;
    for (mut head, sink) in heads.into_iter().zip(0..) {
        io.write(&mut [(sink, 0, &mut head)]).await;
    }
    let reports = io.run(tasks).await?;
    let hashed = reports.last().filter(|_| options.verify);
    let rebuilt = judge(&io, &delta, &reports[..n_rebuild], hashed).await?;
    if options.read_back {
        let mut by_sink = vec![Vec::new(); files.len()];
        for ((place, t), rebuilt) in places.iter().flatten().zip(&delta.index.tensors).zip(&rebuilt) {
            let range = ByteRange::new(place.offset, bytes_of(t))?;
            by_sink[place.sink as usize].push((range, format!("{:016x}", rebuilt.written)));
        }
        let mut tasks = Vec::new();
        for (items, source) in by_sink.into_iter().zip(sources.len() as u32..) {
            let cost = items.iter().map(|(r, _)| r.len).sum();
            tasks.push(Task::ReadBack { source, items }.spec("result", "checking", cost)?);
        }
        io.run(tasks).await?;
    }
    to_json(&Report {
        job: "decode",
        bytes,
        dtype: OutputDtypeName::Base,
        files: outputs,
        tensors: bases.len(),
        links: vec![Link {
            index: 0,
            expected: hex(&base_identity(&delta.index)),
            order: Order::Sorted,
            verified: true,
        }],
        findings: extra_tensors(&delta, &opened.model),
    })
}

/// Runs `verify`.
pub async fn verify(io: Io, sources: Vec<SourceEntry>) -> Result<String> {
    let delta = open_only(&io, &sources, groups_of(&sources, Role::Delta)).await?;
    let with_base = !sources_of(&sources, Role::Base, 0).is_empty();
    let (bases, findings) = match with_base {
        true => {
            let model = open_model(&io, &sources, Role::Base, 0).await?.model;
            (matched(&delta, &model)?, extra_tensors(&delta, &model))
        }
        false => (vec![None; delta.index.tensors.len()], Vec::new()),
    };
    let mut tensors = &delta.index.tensors[..];
    for file in &delta.index.files {
        let (own, rest) = tensors.split_at(file.tensors as usize);
        tensors = rest;
        head_of(file, own).map_err(|e| e.source(delta.source))?;
    }
    let mut tasks = rebuild_tasks(&delta, &bases, &vec![None; bases.len()], !with_base)?;
    let n_rebuild = tasks.len();
    tasks.push(hashing::file_task("delta", delta.source, delta.size - 32)?);
    io.plan(
        Plan {
            job: "verify",
            bytes: 0,
            exact: true,
            outputs: Vec::new(),
            problems: Vec::new(),
            reads: tasks.iter().map(|t| t.cost).sum(),
            writes: 0,
            tensors: bases.len(),
            elements: elements(&delta),
        }
        .json()?,
    )
    .await;
    let reports = io.run(tasks).await?;
    judge(&io, &delta, &reports[..n_rebuild], reports.last()).await?;
    to_json(&verify::Report {
        ok: true,
        version: 2,
        deltas: vec![verify::DeltaReport {
            index: 0,
            bytes: delta.size,
            checksum: "ok",
            tensors: bases.len(),
            base_hash: hex(&base_identity(&delta.index)),
            base: if with_base { "verified" } else { "not checked" },
            lossless: Some(delta.index.tensors.iter().all(|t| t.dithered.is_none())),
            loss: inspect::total(&delta.index),
        }],
        findings,
    })
}

fn elements(delta: &OpenV2) -> u64 {
    delta.placed.geometry.iter().fold(0, |n, g| n.saturating_add(g.words))
}

/// Bytes of a tensor that has a geometry: they fit 64 bits.
fn bytes_of(t: &TensorRecord) -> u64 {
    element_count(&t.shape).and_then(|n| t.dtype.bytes_of(n)).unwrap_or(0)
}

fn extra_tensors(delta: &OpenV2, base: &Model) -> Vec<Finding> {
    let used = delta.index.tensors.iter().filter(|t| t.base.is_some()).count();
    match base.tensors.len().saturating_sub(used) {
        0 => Vec::new(),
        n => vec![Finding::new(
            Severity::Note,
            "extra-tensors",
            format!("{n} tensors of the base are not needed by the delta"),
        )],
    }
}

/// The base's tensor of every record that has one.
fn matched(delta: &OpenV2, base: &Model) -> Result<Vec<Option<TensorRange>>> {
    let mut missing = Vec::new();
    let mut bases = Vec::with_capacity(delta.index.tensors.len());
    for t in &delta.index.tensors {
        let Some(wanted) = &t.base else {
            bases.push(None);
            continue;
        };
        let found = base.find(&wanted.name);
        match found {
            None => missing.push(wanted.name.as_str()),
            Some(b) if (b.dtype, &b.shape) != (wanted.dtype, &wanted.shape) => {
                return Err(Error::new(
                    Code::WrongBase,
                    format!(
                        "tensor `{}`: the delta was made against a base with {} of {}, this one has {} of {}",
                        wanted.name,
                        shape_text(&wanted.shape),
                        wanted.dtype.name(),
                        shape_text(&b.shape),
                        b.dtype.name(),
                    ),
                )
                .tensor(&wanted.name)
                .source(b.source));
            }
            Some(_) => {}
        }
        bases.push(found.map(TensorRange::from));
    }
    match missing.first() {
        None => Ok(bases),
        Some(first) => Err(Error::new(
            Code::MissingTensor,
            format!(
                "the base lacks tensors that the delta was made against: {}; give the base that the delta names",
                list_names(missing.iter().copied())
            ),
        )
        .tensor(*first)),
    }
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

/// Tasks over runs of tensors that no block crosses.
fn rebuild_tasks(
    delta: &OpenV2,
    bases: &[Option<TensorRange>],
    places: &[Option<Place>],
    check_only: bool,
) -> Result<Vec<TaskSpec>> {
    let (index, placed) = (&delta.index, &delta.placed);
    let mut specs = Vec::new();
    let mut blocks = placed.blocks.iter().peekable();
    let empty = || Rebuild {
        delta: delta.source,
        check_only,
        ..Rebuild::default()
    };
    let mut work = empty();
    let (mut first, mut cost, mut set) = (0usize, 0u64, None);
    for (i, t) in index.tensors.iter().enumerate() {
        let geometry = &placed.geometry[i];
        let own_set = (t.op == Op::Delta).then_some(t.set);
        let last = work.blocks.last().and_then(|b| b.segments.last());
        let joined = last.is_some_and(|s| first + s.tensor as usize >= i);
        let other_set = own_set.is_some() && set.is_some() && own_set != set;
        if !joined && !work.tensors.is_empty() && (cost >= TASK_BYTES || other_set) {
            specs.push(spec(std::mem::replace(&mut work, empty()), cost)?);
            (first, cost, set) = (i, 0, None);
        }
        set = set.or(own_set);
        work.set = set.map(|s| placed.sets[s as usize]);
        work.tensors.push(RebuildTensor {
            name: t.name.clone(),
            dtype: t.dtype,
            columns: geometry.columns,
            params: placed.params[i],
            base: bases[i].clone(),
            base_digest: t.base.as_ref().map_or([0; 16], |b| b.digest),
            digest: t.digest,
            unchanged: t.op == Op::Unchanged,
            dither: t.dithered.map(|d| d.dither()),
            sink: places[i].map(|p| p.sink),
            offset: places[i].map_or(0, |p| p.offset),
        });
        let written = geometry.words * geometry.layout.bytes() as u64;
        cost += bases[i].as_ref().map_or(0, |b| b.range.len) + places[i].map_or(0, |_| written);
        while let Some(b) = blocks.next_if(|b| b.segments.first().is_some_and(|s| s.tensor <= i)) {
            cost += b.range.len;
            let segments = b.segments.iter().map(|s| RebuildSegment {
                tensor: (s.tensor - first) as u32,
                first: s.first,
                words: s.words,
                stored: s.stored,
            });
            work.blocks.push(RebuildBlock {
                range: b.range,
                segments: segments.collect(),
            });
        }
    }
    if !work.tensors.is_empty() {
        specs.push(spec(work, cost)?);
    }
    Ok(specs)
}

fn spec(work: Rebuild, cost: u64) -> Result<TaskSpec> {
    let label = work.tensors.first().map_or(String::new(), |t| t.name.clone());
    let phase = if work.check_only { "checking" } else { "decoding" };
    Task::Rebuild(work).spec(&label, phase, cost)
}

/// What the tasks found, or the error that says best what is wrong: a base that differs, then damage of a tensor, then
/// the file's checksum.
async fn judge(io: &Io, delta: &OpenV2, reports: &[String], hashed: Option<&String>) -> Result<Vec<Rebuilt>> {
    let mut rebuilt: Vec<Rebuilt> = Vec::with_capacity(delta.index.tensors.len());
    for report in reports {
        rebuilt.extend(from_wire::<Vec<Rebuilt>>(report)?);
    }
    let mut damage = None;
    if let Some(report) = hashed {
        let found: String = from_wire(report)?;
        if hex(&io.read_vec(delta.source, delta.size - 32, 32).await?) != found {
            damage = Some(format!(
                "the file is damaged: its bytes give {}, not its checksum; get the delta again",
                short(&found)
            ));
        }
    }
    let faults = || rebuilt.iter().filter_map(|r| r.fault.as_ref());
    let differing = faults().filter(|e| e.code == Code::WrongBase);
    let wrong: Vec<&str> = differing.filter_map(|e| e.tensor.as_deref()).collect();
    if let (Some(first), None) = (wrong.first(), &damage) {
        return Err(Error::new(
            Code::WrongBase,
            format!(
                "this is not the base that the delta was made against: {} of {} tensors differ: {}",
                wrong.len(),
                delta.index.tensors.len(),
                list_names(wrong.iter().copied())
            ),
        )
        .tensor(*first)
        .source(delta.source));
    }
    if let Some(fault) = faults().next() {
        return Err(fault.clone());
    }
    match damage {
        None => Ok(rebuilt),
        Some(text) => Err(Error::new(Code::Checksum, text)
            .at(delta.size - 32)
            .source(delta.source)),
    }
}
