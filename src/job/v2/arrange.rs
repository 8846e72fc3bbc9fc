//! Which tensor of the base each one of the fine-tune is coded against, and what the files start with.

use crate::error::{Code, Error, Result};
use crate::format::model::{Model, ModelFile, Tensor};
use crate::format::safetensors::writer;
use crate::format::v2::placed::Geometry;
use crate::format::v2::{FileRecord, Head};
use crate::job::machine::{Io, SourceEntry};
use crate::job::open::OpenModel;
use crate::order::sorted_positions;

/// Most pairs of names that are compared to find renamed tensors.
const MAX_COMPARED: usize = 4_000_000;

/// A tensor of the fine-tune and what it is coded against.
pub struct Item<'a> {
    /// The tensor.
    pub tensor: &'a Tensor,
    /// What it is coded against.
    pub base: Option<&'a Tensor>,
    /// Both as rows.
    pub geometry: Geometry,
}

/// All tensors in the order of the files and of their bytes, each with its base, and the files.
pub async fn arrange<'a>(
    io: &Io,
    sources: &[SourceEntry],
    base: &'a Model,
    opened: &'a OpenModel,
) -> Result<(Vec<Item<'a>>, Vec<FileRecord>)> {
    let fine = &opened.model;
    let renamed = renamed(base, fine);
    let mut items = Vec::with_capacity(fine.tensors.len());
    let mut files = Vec::with_capacity(fine.files.len() + 1);
    for file in &fine.files {
        let entries = &file.header.tensors;
        let start = |i: usize| (entries[i].range.offset, entries[i].range.len);
        let order = sorted_positions(entries.len(), &|a, b| start(a).cmp(&start(b)));
        for &i in &order {
            let tensor = fine
                .find(&entries[i].name)
                .ok_or_else(|| Error::new(Code::Internal, "a tensor was lost"))?;
            let other = || {
                let at = renamed.binary_search_by(|(n, _)| (*n).cmp(&tensor.name)).ok()?;
                Some(renamed[at].1)
            };
            let base = base.find(&tensor.name).or_else(other);
            let of = base.map(|b| (b.dtype, &b.shape[..]));
            let geometry = Geometry::new(tensor.dtype, &tensor.shape, of)
                .ok_or_else(|| Error::new(Code::Limit, "the tensor is too large").tensor(&tensor.name))?;
            items.push(Item {
                tensor,
                base: base.filter(|_| geometry.common > 0 || geometry.words == 0),
                geometry,
            });
        }
        files.push(FileRecord {
            path: file.path.clone(),
            head: head_of(io, file, &order).await?,
            tensors: order.len() as u64,
        });
    }
    if let Some(source) = opened.index {
        files.push(FileRecord {
            path: sources[source as usize].path.clone(),
            head: Head::Verbatim(io.read_vec(source, 0, io.size(source) as usize).await?),
            tensors: 0,
        });
    }
    Ok((items, files))
}

/// Tensors of the fine-tune whose name the base lacks, with the one of the same dtype and shape that the fine-tune lacks
/// whose name ends most alike; sorted by name.
fn renamed<'a>(base: &'a Model, fine: &'a Model) -> Vec<(&'a str, &'a Tensor)> {
    let added: Vec<_> = fine.tensors.iter().filter(|t| base.find(&t.name).is_none()).collect();
    let mut removed: Vec<_> = base.tensors.iter().filter(|t| fine.find(&t.name).is_none()).collect();
    if added.len().saturating_mul(removed.len()) > MAX_COMPARED {
        return Vec::new();
    }
    let alike = |a: &str, b: &str| a.bytes().rev().zip(b.bytes().rev()).take_while(|(a, b)| a == b).count();
    let mut pairs = Vec::new();
    for t in added {
        let mut best: Option<(usize, usize)> = None;
        for (i, b) in removed.iter().enumerate() {
            let n = alike(&t.name, &b.name);
            if (b.dtype, &b.shape) == (t.dtype, &t.shape) && best.is_none_or(|(most, _)| n > most) {
                best = Some((n, i));
            }
        }
        if let Some((_, i)) = best {
            pairs.push((t.name.as_str(), removed.remove(i)));
        }
    }
    pairs
}

/// What a file starts with: nothing but its metadata if the rest follows from its tensors.
async fn head_of(io: &Io, file: &ModelFile, order: &[usize]) -> Result<Head> {
    let entries = &file.header.tensors;
    let place = |&i: &usize| {
        let e = &entries[i];
        (e.name.as_str(), e.dtype, e.shape.clone(), e.range)
    };
    let placed: Vec<_> = order.iter().map(place).collect();
    let head = io.read_vec(file.source, 0, file.data_offset as usize).await?;
    match writer::header_bytes(&file.header.metadata, &placed) == head {
        true => Ok(Head::Written(file.header.metadata.clone())),
        false => Ok(Head::Verbatim(head)),
    }
}
