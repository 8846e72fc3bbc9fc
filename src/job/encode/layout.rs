//! Where everything goes in a version 1 file: its header, and the places of its records.

use crate::error::Result;
use crate::format::model::Model;
use crate::format::v1::parent_hash;
use crate::format::v1::writer::{self, HeaderPlan, HeaderTensor, RecordLayout};
use crate::job::encode::choose::Chosen;
use crate::job::options::EncodeOptions;
use crate::strategy::Strategy;

/// The names of all tensors, sorted.
pub(super) fn names(model: &Model) -> Vec<String> {
    model.tensors.iter().map(|t| t.name.clone()).collect()
}

/// The order of the records: sorted, or, as the reference's path-based writer has it, by shards of both sides.
pub(super) fn record_order(base: &Model, finetuned: &Model, by_shards: bool) -> Vec<String> {
    let sorted = names(finetuned);
    if !by_shards {
        return sorted;
    }
    let shard = |model: &Model, name: &str| model.find(name).map_or(0, |t| t.file);
    parent_hash::record_order_for_paths(&sorted, |n| shard(base, n), |n| shard(finetuned, n))
}

/// The finished header, and where every record goes.
pub(super) struct FileLayout {
    pub(super) head: Vec<u8>,
    /// Per item: where its records start.
    pub(super) records: Vec<Vec<u64>>,
    pub(super) size: u64,
}

pub(super) fn layout(
    chosen: Chosen<'_>,
    record_order: &[String],
    options: &EncodeOptions,
    parent_hash: &str,
) -> Result<FileLayout> {
    let default_option = |strategy| match strategy {
        Strategy::Int4 => "0.01",
        Strategy::Sparse => "0.9",
        Strategy::Quantized => "",
    };
    let wanted = chosen.wanted;
    let tensors = chosen
        .pairs()
        .map(|(item, choice)| HeaderTensor {
            name: item.origin.name.clone(),
            strategy: choice.strategy,
            shape: item.shape.clone(),
            elements: item.finetuned.elements,
            kept: choice.kept,
            option: match (&choice.option, &wanted.option) {
                (Some(text), _) => text.clone(),
                (None, Some((text, _))) => text.clone(),
                (None, None) => default_option(choice.strategy).to_owned(),
            },
        })
        .collect();
    let plan = HeaderPlan {
        parent_hash: parent_hash.to_owned(),
        strategy: wanted.strategy.name().to_owned(),
        base_name: options.base_name.clone(),
        tensors,
    };
    let head = writer::preamble(&writer::header_json(&plan))?;
    // Items, and so the plan's tensors, are sorted by name.
    let at = |name: &String| plan.tensors.binary_search_by(|t| t.name.cmp(name)).ok();
    let order: Vec<usize> = record_order.iter().filter_map(at).collect();
    let ordered: Vec<&HeaderTensor> = order.iter().map(|&i| &plan.tensors[i]).collect();
    let placed = RecordLayout::new(head.len() as u64, &ordered)?;
    let mut records = vec![Vec::new(); chosen.items.len()];
    for (i, starts) in order.into_iter().zip(placed.records) {
        records[i] = starts;
    }
    Ok(FileLayout {
        head,
        records,
        size: placed.size,
    })
}
