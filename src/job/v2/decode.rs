//! `decode` of chains whose last link is of version 2.

use super::chain::{Chain, Link};
use super::checks::{Checks, OutputPlace, RebuildTasks};
use super::files::files;
use super::result::{extra_tensors, links};
use crate::error::{Code, Error, Result};
use crate::job::batch::Batch;
use crate::job::chain::Care;
use crate::job::decode::files::{carry_out, copy_side_files, outputs, places};
use crate::job::decode::report::Report;
use crate::job::machine::{Io, Role, SourceEntry};
use crate::job::open::{delta_sources, open_model};
use crate::job::options::{DecodeOptions, OutputDtype, OutputLayout};
use crate::job::plan::DecodePlan;
use crate::job::read_back::compare_written;
use crate::job::report::to_json;
use crate::offset::ByteRange;

/// Runs `decode`.
pub async fn decode(io: Io, sources: Vec<SourceEntry>, options: DecodeOptions) -> Result<String> {
    let opened = open_model(&io, &sources, Role::Base, 0).await?;
    let deltas = delta_sources(&sources);
    let chain = Chain::open(&io, opened.model, &deltas, Care::Checked).await?;
    let n = chain.stages.len();
    let side_files: &[u32] = if options.side_files { &opened.side_files } else { &[] };
    let Some(Link::V2(delta)) = chain.last_link() else {
        return super::rounded::decode(io, &sources, options, &chain, side_files).await;
    };
    let files = files(delta)?;
    let several = files.iter().filter(|f| !f.tensors.is_empty()).count() > 1;
    if options.dtype == OutputDtype::Float32 || (options.layout == OutputLayout::Single && several) {
        return Err(Error::new(
            Code::Usage,
            "a version 2 delta rebuilds the fine-tune's own files; leave dtype and layout out",
        ));
    }
    let (mut outputs, places) = (outputs(&files), places(&files));
    let mut batch = Batch::default();
    let place = |&(sink, range): &(u32, ByteRange)| {
        let offset = range.offset;
        Some(OutputPlace { sink, offset })
    };
    let to_write: Vec<_> = places.iter().map(place).collect();
    let mut rebuild = RebuildTasks::new(&chain, n, &to_write, options.read_back)?;
    let of_rebuild = batch.add(rebuild.take());
    batch.add(copy_side_files(&io, &sources, side_files, &mut outputs)?);
    let mut checks = Checks::default();
    let of_checks = checks.add_to(&mut batch, &chain, options.verify)?;
    let findings = extra_tensors(&chain);
    let plan = DecodePlan {
        outputs: &outputs,
        findings: &findings,
        tensors: places.len(),
        elements: delta.elements(),
        read_back: options.read_back,
    };
    let (bytes, reports) = carry_out(&io, &plan, files, batch).await?;
    let orders = checks.judge(&io, &chain, of_checks.of(&reports)).await;
    let rebuilt = rebuild
        .judge(&io, of_rebuild.of(&reports), orders.as_ref().err())
        .await?;
    let orders = orders?;
    if options.read_back {
        compare_written(&io, sources.len(), &places, rebuilt.iter().map(|r| r.written).collect()).await?;
    }
    to_json(&Report {
        job: "decode",
        bytes,
        dtype: OutputDtype::Base,
        files: outputs,
        tensors: places.len(),
        links: links(&chain, &orders, options.verify),
        findings,
    })
}
