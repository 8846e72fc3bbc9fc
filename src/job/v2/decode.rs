//! `decode` of chains whose last link is of version 2.

use super::chain::{Chain, Link};
use super::checks::{Checks, Place, RebuildTasks};
use super::files::{bytes_of, files};
use super::result::{extra_tensors, links};
use crate::error::{Code, Error, Result};
use crate::job::batch::Batch;
use crate::job::chain::Care;
use crate::job::decode::files::copy_side_files;
use crate::job::decode::report::Report;
use crate::job::machine::{Io, OutputFile, Role, SourceEntry};
use crate::job::open::{delta_sources, open_model};
use crate::job::options::{DecodeOptions, OutputDtype, OutputLayout};
use crate::job::plan::Plan;
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
    let several = files.iter().filter(|(f, ..)| f.tensors > 0).count() > 1;
    if options.dtype == OutputDtype::Float32 || (options.layout == OutputLayout::Single && several) {
        return Err(Error::new(
            Code::Usage,
            "a version 2 delta rebuilds the fine-tune's own files; leave dtype and layout out",
        ));
    }
    let mut outputs = Vec::new();
    let mut heads = Vec::new();
    let mut places = Vec::with_capacity(delta.index.tensors.len());
    for ((file, head, own), sink) in files.into_iter().zip(0..) {
        let mut at = head.len() as u64;
        for t in &delta.index.tensors[own] {
            places.push(Some(Place { sink, offset: at }));
            at = ByteRange::new(at, bytes_of(t))?.end();
        }
        outputs.push(OutputFile {
            path: file.path.clone(),
            size: at,
        });
        heads.push(head);
    }
    let n_files = heads.len();
    let mut batch = Batch::default();
    let mut rebuild = RebuildTasks::new(&chain, n, &places, options.read_back)?;
    let of_rebuild = batch.add(rebuild.take());
    batch.add(copy_side_files(&io, &sources, side_files, &mut outputs)?);
    let mut checks = Checks::default();
    let of_checks = checks.add_to(&mut batch, &chain, options.verify)?;
    let elements = delta.elements();
    let findings = extra_tensors(&chain);
    let plan = Plan::decoding(
        &outputs,
        batch.cost(),
        options.read_back,
        places.len(),
        elements,
        &findings,
    );
    let bytes = plan.begin(&io).await?;
    for (mut head, sink) in heads.into_iter().zip(0..) {
        io.write(&mut [(sink, 0, &mut head)]).await;
    }
    let reports = io.run(batch.tasks()).await?;
    let orders = checks.judge(&io, &chain, of_checks.of(&reports)).await;
    let rebuilt = rebuild
        .judge(&io, of_rebuild.of(&reports), orders.as_ref().err())
        .await?;
    let orders = orders?;
    if options.read_back {
        let mut written = Vec::with_capacity(rebuilt.len());
        for ((place, t), rebuilt) in places.iter().flatten().zip(&delta.index.tensors).zip(&rebuilt) {
            let range = ByteRange::new(place.offset, bytes_of(t))?;
            written.push((place.sink, range, rebuilt.written));
        }
        compare_written(&io, sources.len(), n_files, &written).await?;
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
