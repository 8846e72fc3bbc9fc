//! `decode`: base and deltas to safetensors, in the base's layout.

pub(super) mod files;
pub(super) mod report;
pub mod tasks;

use super::chain::{self, ChainCheck, ChainResult};
use super::machine::{Io, OutputFile, Role, SourceEntry};
use super::open::{delta_sources, groups_of, open_model, OpenDelta};
use super::options::{DecodeOptions, OutputDtype};
use super::plan::Plan;
use super::read_back::compare_written;
use super::report::{found, source_changed, to_json};
use super::task::{batch, Task};
use super::v2::open::any_v2;
use super::values::Origin;
use crate::error::{Code, Error, Result};
use files::{copy_side_files, layout, rebuilt_index, Head, Shard};
use report::{extra_tensors, Report};
use tasks::{DecodeItem, Decoded};

/// Runs the job.
pub async fn decode(io: Io, sources: Vec<SourceEntry>, options: DecodeOptions) -> Result<String> {
    if any_v2(&io, &sources, groups_of(&sources, Role::Delta)).await? {
        return Box::pin(super::v2::decode::decode(io, sources, options)).await;
    }
    let opened = open_model(&io, &sources, Role::Base, 0).await?;
    let base = &opened.model;
    let delta_sources = delta_sources(&sources);
    if delta_sources.is_empty() {
        return Err(Error::new(
            Code::Usage,
            "no delta was given; name one .wdelta file, or those of a chain in order",
        ));
    }
    let opened_deltas = chain::open_chain(&io, &delta_sources, Some(base), chain::Care::Checked).await?;
    let deltas: Vec<&OpenDelta> = opened_deltas.iter().collect();
    chain::check_fit_or_damage(&io, base, &deltas).await?;
    let origins = chain::origins(base, &deltas);
    check_dtypes(&origins, &options)?;

    let shards = layout(base, &origins, &options)?;
    let index = rebuilt_index(&io, &opened, &sources, &shards, &options).await?;
    let findings = extra_tensors(base.tensors.len() - origins.len());
    let mut outputs = outputs_of(&shards, index.as_ref());
    let side_files: &[u32] = if options.side_files { &opened.side_files } else { &[] };
    let copies = copy_side_files(&io, &sources, side_files, &mut outputs)?;

    let items = decode_items(&shards, &origins);
    let mut check = ChainCheck::new(base, &deltas)?;
    let mut tasks = if options.verify { check.take_tasks() } else { Vec::new() };
    let n_checks = tasks.len();
    let names: Vec<(String, u32)> = items
        .iter()
        .map(|i| (i.origin.name.clone(), i.origin.base.source))
        .collect();
    tasks.extend(batch(
        items,
        "decoding",
        DecodeItem::cost,
        |i| &i.origin.name,
        |items| Task::Decode { items },
    )?);
    let n_codec = tasks.len();
    tasks.extend(copies);
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
        true => Some(check.finish(&io, &reports[..n_checks]).await?),
        false => None,
    };
    let mut decoded: Vec<Decoded> = Vec::with_capacity(names.len());
    for report in &reports[n_checks..n_codec] {
        decoded.extend(found::<Vec<Decoded>>(report)?);
    }
    if let Some(checked) = &checked {
        check_unchanged(checked, &names, &decoded)?;
    }
    if options.read_back {
        let ranges = shards
            .iter()
            .zip(0..)
            .flat_map(|(s, sink)| s.tensors.iter().map(move |(_, _, range)| (sink, *range)));
        let written = ranges.zip(&decoded).map(|((sink, range), d)| (sink, range, d.written));
        compare_written(&io, sources.len(), shards.len(), &Vec::from_iter(written)).await?;
    }
    to_json(&Report {
        job: "decode",
        bytes,
        dtype: options.dtype,
        files: outputs,
        tensors: names.len(),
        links: checked.map_or(Vec::new(), |c| c.links),
        findings,
    })
}

/// The files with tensors, and their index if there is one.
fn outputs_of(shards: &[Shard], index: Option<&(String, Vec<u8>)>) -> Vec<OutputFile> {
    let shard = |s: &Shard| OutputFile {
        path: s.path.clone(),
        size: s.size,
    };
    let index = index.map(|(path, bytes)| OutputFile {
        path: path.clone(),
        size: bytes.len() as u64,
    });
    shards.iter().map(shard).chain(index).collect()
}

/// What every tensor of the result is made of, and where it goes.
fn decode_items(shards: &[Shard], origins: &[Origin]) -> Vec<DecodeItem> {
    let mut items = Vec::new();
    for (sink, shard) in shards.iter().enumerate() {
        for (name, dtype, range) in &shard.tensors {
            let Some(origin) = chain::find_origin(origins, name) else {
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
    items
}

/// The base must have been the same when it was hashed and when tensors were rebuilt from it. `names`: tensors, and the
/// source of the base's.
fn check_unchanged(checked: &ChainResult, names: &[(String, u32)], decoded: &[Decoded]) -> Result<()> {
    for ((name, source), decoded) in names.iter().zip(decoded) {
        if checked.fast_of(name).is_some_and(|hashed| hashed != decoded.seen) {
            return Err(source_changed(name, *source));
        }
    }
    Ok(())
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
