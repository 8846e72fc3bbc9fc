//! `decode` of chains with a version 2 delta whose last link is of version 1: in the files that the last version 2 link
//! before it rebuilds, rounded to their dtypes, or in float32.

use super::chain::{Chain, Link};
use super::checks::{blame_base, Checks};
use super::files::{bytes_of, files};
use super::result::{extra_tensors, links};
use super::round::{Round, RoundOutput};
use crate::dtype::Dtype;
use crate::error::{Code, Error, Result};
use crate::format::safetensors::index;
use crate::job::batch::Batch;
use crate::job::decode::files::{copy_side_files, written_shard, Head, Shard};
use crate::job::decode::report::Report;
use crate::job::machine::{Io, OutputFile, SourceEntry, TaskSpec};
use crate::job::options::{DecodeOptions, OutputDtype, OutputLayout};
use crate::job::plan::Plan;
use crate::job::read_back::compare_written;
use crate::job::report::{from_wire, to_json};
use crate::job::task::{Task, GROUP_BYTES};
use crate::offset::ByteRange;

/// Path and bytes of a file that is not a shard.
type SideFile = (String, Vec<u8>);

/// The files of the result, with the bytes before their tensors, and the other files.
fn layout(chain: &Chain, options: &DecodeOptions) -> Result<(Vec<Shard>, Vec<SideFile>)> {
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
        return Ok((vec![shard], Vec::new()));
    }
    let (mut shards, mut others) = (Vec::new(), Vec::new());
    let mut same = true;
    for (file, head, own) in files(delta)? {
        if own.is_empty() {
            others.push((file.path.clone(), head));
            continue;
        }
        let (of_root, entries) = (&root.files[shards.len()], kept(shards.len()));
        if entries.len() < own.len() || options.dtype != OutputDtype::Base {
            same = false;
            shards.push(written_shard(
                &file.path,
                &of_root.header.metadata,
                &entries,
                options.dtype,
            )?);
            continue;
        }
        let mut at = head.len() as u64;
        let mut tensors = Vec::with_capacity(own.len());
        for t in &delta.index.tensors[own] {
            let range = ByteRange::new(at, bytes_of(t))?;
            at = range.end();
            tensors.push((t.name.clone(), t.dtype, range));
        }
        shards.push(Shard {
            path: file.path.clone(),
            head: Head::Written(head),
            tensors,
            size: at,
        });
    }
    if !same {
        // An index of the shards says what is no longer so.
        let tensors = || shards.iter().flat_map(|s| s.tensors.iter().map(move |t| (s, t)));
        let map: Vec<_> = tensors()
            .map(|(s, (name, ..))| (name.clone(), s.path.clone()))
            .collect();
        let total = tensors().map(|(_, (.., range))| range.len).sum();
        for (_, bytes) in &mut others {
            if let Ok(parsed) = index::parse_index(bytes) {
                *bytes = index::rewrite_index(&parsed, &map, total);
            }
        }
    }
    Ok((shards, others))
}

/// The tasks that write the tensors of these shards.
fn round_tasks(chain: &Chain, shards: &[Shard]) -> Result<Vec<TaskSpec>> {
    let n = chain.stages.len();
    let mut tasks = Vec::new();
    for (sink, shard) in (0..).zip(shards) {
        let (mut first, mut cost) = (0, 0);
        for (i, (name, _, range)) in shard.tensors.iter().enumerate() {
            cost += chain.cost(n, name) + range.len;
            if cost < GROUP_BYTES && i + 1 < shard.tensors.len() {
                continue;
            }
            let own = &shard.tensors[first..=i];
            let names: Vec<&str> = own.iter().map(|(name, ..)| name.as_str()).collect();
            let (past, numbers) = chain.past_of(n, &names, false)?;
            let output = |((name, dtype, range), tensor): (&(String, Dtype, ByteRange), u32)| RoundOutput {
                name: name.clone(),
                tensor,
                sink,
                offset: range.offset,
                dtype: *dtype,
            };
            let round = Round {
                past,
                outputs: own.iter().zip(numbers).map(output).collect(),
            };
            tasks.push(Task::Round(round).spec(names[0], "decoding", cost)?);
            (first, cost) = (i + 1, 0);
        }
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
    let (shards, others) = layout(chain, &options)?;
    let mut outputs: Vec<OutputFile> = Vec::new();
    for (path, size) in shards
        .iter()
        .map(|s| (&s.path, s.size))
        .chain(others.iter().map(|(path, bytes)| (path, bytes.len() as u64)))
    {
        outputs.push(OutputFile {
            path: path.clone(),
            size,
        });
    }
    let mut batch = Batch::default();
    let of_round = batch.add(round_tasks(chain, &shards)?);
    batch.add(copy_side_files(&io, sources, side_files, &mut outputs)?);
    let mut checks = Checks::default();
    let of_checks = checks.add_to(&mut batch, chain, options.verify)?;
    let sinks = shards.iter().zip(0..);
    let ranges = sinks.flat_map(|(s, sink)| s.tensors.iter().map(move |(.., range)| (sink, *range)));
    let places: Vec<(u32, ByteRange)> = ranges.collect();
    let elements = chain.last().elements();
    let findings = extra_tensors(chain);
    let plan = Plan::decoding(
        &outputs,
        batch.cost(),
        options.read_back,
        places.len(),
        elements,
        &findings,
    );
    let bytes = plan.begin(&io).await?;
    let heads = shards.into_iter().map(|s| match s.head {
        Head::Written(head) => head,
        Head::OfBase { .. } => Vec::new(),
    });
    for (mut head, sink) in heads.chain(others.into_iter().map(|(_, bytes)| bytes)).zip(0..) {
        io.write(&mut [(sink, 0, &mut head)]).await;
    }
    let reports = io.run(batch.tasks()).await?;
    let orders = checks.judge(&io, chain, of_checks.of(&reports)).await?;
    let mut written = Vec::with_capacity(places.len());
    for report in of_round.of(&reports) {
        match from_wire::<Result<Vec<u64>>>(report)? {
            Ok(hashes) => written.extend(hashes),
            Err(e) => return Err(blame_base(&io, chain, e).await?),
        }
    }
    if options.read_back {
        let written = places
            .iter()
            .zip(written)
            .map(|(&(sink, range), hash)| (sink, range, hash));
        compare_written(&io, sources.len(), outputs.len(), &Vec::from_iter(written)).await?;
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
