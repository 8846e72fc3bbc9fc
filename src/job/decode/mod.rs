//! `decode`: base and deltas to safetensors, in the base's layout.

pub(super) mod files;
pub(super) mod report;
pub mod tasks;

use super::batch::Batch;
use super::chain::{self, ChainCheck, ChainResult};
use super::machine::{Io, Role, SourceEntry, TaskSpec};
use super::open::{delta_sources, groups_of, open_model, OpenDelta};
use super::options::{DecodeOptions, OutputDtype};
use super::plan::DecodePlan;
use super::read_back::compare_written;
use super::report::{found, not_float32, source_changed, to_json};
use super::task::{grouped, Task};
use super::v2::open::any_v2;
use super::values::Origin;
use crate::error::{Code, Error, Result};
use crate::format::model::Model;
use files::{copy_side_files, layout, rebuilt_index, ResultFile};
use report::{extra_tensors, Report};
use tasks::{DecodeItem, Decoded};

/// Runs the job.
pub async fn decode(io: Io, sources: Vec<SourceEntry>, options: DecodeOptions) -> Result<String> {
    if any_v2(&io, &sources, groups_of(&sources, Role::Delta)).await? {
        return Box::pin(super::v2::decode::decode(io, sources, options)).await;
    }
    let opened = open_model(&io, &sources, Role::Base, 0).await?;
    let base = &opened.model;
    let links = open_links(&io, &sources, base).await?;
    let deltas: Vec<&OpenDelta> = links.iter().collect();
    let origins = chain::origins(base, &deltas);
    check_dtypes(&origins, &options)?;

    let mut files = layout(base, &origins, &options)?;
    files.extend(rebuilt_index(&io, &opened, &sources, &files, &options).await?);
    let mut outputs = files::outputs(&files);
    let side_files: &[u32] = if options.side_files { &opened.side_files } else { &[] };
    let copies = copy_side_files(&io, &sources, side_files, &mut outputs)?;
    let items = decode_items(&files, &origins);
    let places = files::places(&files);
    let bases = Vec::from_iter(items.iter().map(|i| (i.origin.name.clone(), i.origin.base.source)));

    let mut check = ChainCheck::new(base, &deltas)?;
    let mut batch = Batch::default();
    let of_checks = batch.add(match options.verify {
        true => check.take_tasks(),
        false => Vec::new(),
    });
    let of_tensors = batch.add(decode_tasks(items)?);
    batch.add(copies);
    let findings = extra_tensors(base.tensors.len() - origins.len());
    let plan = DecodePlan {
        outputs: &outputs,
        findings: &findings,
        tensors: bases.len(),
        elements: origins.iter().map(|o| o.base.elements).sum(),
        read_back: options.read_back,
    };
    let (bytes, reports) = files::carry_out(&io, &plan, files, batch).await?;
    let checked = match options.verify {
        true => Some(check.finish(&io, of_checks.of(&reports)).await?),
        false => None,
    };
    let decoded = all_decoded(of_tensors.of(&reports))?;
    if let Some(checked) = &checked {
        check_unchanged(checked, &bases, &decoded)?;
    }
    if options.read_back {
        compare_written(&io, sources.len(), &places, decoded.iter().map(|d| d.written).collect()).await?;
    }
    to_json(&Report {
        job: "decode",
        bytes,
        dtype: options.dtype,
        files: outputs,
        tensors: bases.len(),
        links: checked.map_or(Vec::new(), |c| c.links),
        findings,
    })
}

/// Opens the deltas, which must fit the base and each other.
async fn open_links(io: &Io, sources: &[SourceEntry], base: &Model) -> Result<Vec<OpenDelta>> {
    let deltas = delta_sources(sources);
    if deltas.is_empty() {
        return Err(Error::new(
            Code::Usage,
            "no delta was given; name one .wdelta file, or those of a chain in order",
        ));
    }
    let opened = chain::open_chain(io, &deltas, Some(base), chain::Care::Checked).await?;
    chain::check_fit_or_damage(io, base, &opened.iter().collect::<Vec<_>>()).await?;
    Ok(opened)
}

/// The tasks that rebuild tensors.
fn decode_tasks(items: Vec<DecodeItem>) -> Result<Vec<TaskSpec>> {
    grouped(
        items,
        "decoding",
        DecodeItem::cost,
        |i| &i.origin.name,
        |items| Ok(Task::Decode { items }),
    )
}

/// What the reports of [`decode_tasks`] say, one entry a tensor.
fn all_decoded(reports: &[Vec<u8>]) -> Result<Vec<Decoded>> {
    let mut decoded = Vec::new();
    for report in reports {
        decoded.extend(found::<Vec<Decoded>>(report)?);
    }
    Ok(decoded)
}

/// What every tensor of the result is made of, and where it goes.
fn decode_items(files: &[ResultFile], origins: &[Origin]) -> Vec<DecodeItem> {
    let mut items = Vec::new();
    for (file, sink) in files.iter().zip(0..) {
        for (t, range) in file.tensors.iter().zip(file.ranges()) {
            let Some(origin) = chain::find_origin(origins, &t.name) else {
                continue;
            };
            items.push(DecodeItem {
                origin: origin.clone(),
                sink,
                offset: range.offset,
                dtype: t.dtype,
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
            return Err(source_changed("base", name).source(*source));
        }
    }
    Ok(())
}

/// Tensors that do not convert to float32 can only be taken over.
fn check_dtypes(origins: &[Origin], options: &DecodeOptions) -> Result<()> {
    for origin in origins.iter() {
        let dtype = origin.base.dtype;
        if !(dtype.to_f32_defined() || origin.is_unchanged() && options.dtype == OutputDtype::Base) {
            return Err(not_float32(&origin.name, dtype));
        }
    }
    Ok(())
}
