//! `decode` of chains with a version 2 delta whose last link is of version 1: in the files that the last version 2 link
//! before it rebuilds, rounded to their dtypes, or in float32.

use super::chain::{Chain, Link};
use super::checks::{blame_base, Checks};
use super::files::files;
use super::result::{extra_tensors, links};
use super::round::{Round, RoundOutput};
use crate::error::{Code, Error, Result};
use crate::format::safetensors::header::Entry;
use crate::format::safetensors::index::parse_index;
use crate::job::batch::Batch;
use crate::job::decode::files::{
    carry_out, copy_side_files, index_of, outputs, places, written_shard, FileHead, ResultFile,
};
use crate::job::decode::report::Report;
use crate::job::machine::{Io, SourceEntry, TaskSpec};
use crate::job::options::{DecodeOptions, OutputDtype, OutputLayout};
use crate::job::plan::DecodePlan;
use crate::job::read_back::compare_written;
use crate::job::report::{from_wire, to_json};
use crate::job::task::{grouped, Task};

/// The files of the result, the shards before the others.
fn layout(chain: &Chain, options: &DecodeOptions) -> Result<Vec<ResultFile>> {
    let Some(Link::V2(delta)) = chain.link(chain.rooted()) else {
        return Err(Error::new(Code::Internal, "no link has files"));
    };
    let (root, last) = (chain.model(chain.rooted()), chain.last());
    let kept = |i: usize| {
        let entries = root.files[i].header.tensors.iter();
        entries.filter(|e| last.find(&e.name).is_some()).collect::<Vec<_>>()
    };
    if options.layout == OutputLayout::Single && root.files.len() > 1 {
        let entries: Vec<_> = (0..root.files.len()).flat_map(kept).collect();
        let metadata = &root.files[0].header.metadata;
        let shard = written_shard("model.safetensors", metadata, &entries, options.dtype)?;
        return Ok(vec![shard]);
    }
    let (mut shards, mut others) = (Vec::new(), Vec::new());
    let mut same = true;
    for file in files(delta)? {
        if file.tensors.is_empty() {
            others.push(file);
            continue;
        }
        let (of_root, entries) = (&root.files[shards.len()], kept(shards.len()));
        if entries.len() < file.tensors.len() || options.dtype != OutputDtype::Base {
            same = false;
            let metadata = &of_root.header.metadata;
            shards.push(written_shard(&file.path, metadata, &entries, options.dtype)?);
        } else {
            shards.push(file);
        }
    }
    // An index of the shards may say what is no longer so.
    for other in others.iter_mut().filter(|_| !same) {
        let FileHead::Written(bytes) = &other.head else {
            continue;
        };
        if let Ok(index) = parse_index(bytes) {
            *other = ResultFile::written(other.path.clone(), index_of(&index, &shards), Vec::new())?;
        }
    }
    shards.append(&mut others);
    Ok(shards)
}

/// The tasks that write the tensors of these files.
fn round_tasks(chain: &Chain, files: &[ResultFile]) -> Result<Vec<TaskSpec>> {
    let n = chain.stages.len();
    let mut tasks = Vec::new();
    let cost = |t: &&Entry| chain.cost(n, &t.name) + t.range.len;
    for (sink, file) in (0..).zip(files) {
        let task = |own: Vec<&Entry>| {
            let names: Vec<&str> = own.iter().map(|t| t.name.as_str()).collect();
            let (past, numbers) = chain.past_of(n, &names, false)?;
            let output = |(t, tensor): (&&Entry, u32)| RoundOutput {
                name: t.name.clone(),
                tensor,
                sink,
                offset: file.data_offset() + t.range.offset,
                dtype: t.dtype,
            };
            let outputs = own.iter().zip(numbers).map(output).collect();
            Ok(Task::Round(Round { past, outputs }))
        };
        tasks.extend(grouped(
            file.tensors.iter().collect(),
            "decoding",
            cost,
            |t| &t.name,
            task,
        )?);
    }
    Ok(tasks)
}

/// Runs `decode`.
pub async fn decode(
    io: Io,
    sources: &[SourceEntry],
    options: DecodeOptions,
    chain: &Chain,
    side_files: &[u32],
) -> Result<String> {
    let files = layout(chain, &options)?;
    let (mut outputs, places) = (outputs(&files), places(&files));
    let mut batch = Batch::default();
    let of_round = batch.add(round_tasks(chain, &files)?);
    batch.add(copy_side_files(&io, sources, side_files, &mut outputs)?);
    let mut checks = Checks::default();
    let of_checks = checks.add_to(&mut batch, chain, options.verify)?;
    let findings = extra_tensors(chain);
    let plan = DecodePlan {
        outputs: &outputs,
        findings: &findings,
        tensors: places.len(),
        elements: chain.last().elements(),
        read_back: options.read_back,
    };
    let (bytes, reports) = carry_out(&io, &plan, files, batch).await?;
    let orders = checks.judge(&io, chain, of_checks.of(&reports)).await?;
    let mut written = Vec::with_capacity(places.len());
    for report in of_round.of(&reports) {
        match from_wire::<Result<Vec<u64>>>(report)? {
            Ok(hashes) => written.extend(hashes),
            Err(e) => return Err(blame_base(&io, chain, e).await?),
        }
    }
    if options.read_back {
        compare_written(&io, sources.len(), &places, written).await?;
    }
    to_json(&Report {
        job: "decode",
        bytes,
        dtype: options.dtype,
        files: outputs,
        tensors: places.len(),
        links: links(chain, &orders, options.verify),
        findings,
    })
}
