//! Which tensor of the base each one of the fine-tune is coded against, and what the files start with.

use crate::error::{Code, Error, Result};
use crate::format::model::{Model, ModelFile, Tensor};
use crate::format::safetensors::writer;
use crate::format::v2::index::Digest;
use crate::format::v2::placed::Geometry;
use crate::format::v2::{FileRecord, Head};
use crate::job::machine::{Io, SourceEntry};
use crate::job::open::OpenModel;
use crate::job::v2::digest;
use crate::limits::MAX_NAME_BYTES;
use crate::order::{rearranged, sorted_positions};
use std::cmp::Ordering;

/// Most pairs of names that are all compared to find renamed tensors.
const MAX_COMPARED: usize = 4_000_000;

/// A tensor of the fine-tune and what it is coded against.
#[derive(Clone, Copy)]
pub struct Item<'a> {
    /// The fine-tune's tensor.
    pub tensor: &'a Tensor,
    /// The tensor of the base, or of the last link before, that it is coded against; none where it is stored.
    pub base: Option<&'a Tensor>,
    /// How many words and columns it has, and how many of the words the base has too.
    pub geometry: Geometry,
    /// By how many steps it is dithered more finely than what was asked for; none where it is kept exactly.
    pub finer: Option<u8>,
}

/// All tensors in the order of the files and of their bytes, each with its base, the files, and the digest of what each of
/// these has before its tensors.
pub async fn arrange<'a>(
    io: &Io,
    sources: &[SourceEntry],
    base: &'a Model,
    opened: &'a OpenModel,
) -> Result<(Vec<Item<'a>>, Vec<FileRecord>, Vec<Digest>)> {
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
                finer: Some(0),
            });
        }
        let before = io.read_vec(file.source, 0, file.data_offset as usize).await?;
        files.push(described(file.path.clone(), before, Some((file, &order))));
    }
    if let Some(source) = opened.index {
        let all = io.read_vec(source, 0, io.size(source) as usize).await?;
        files.push(described(sources[source as usize].path.clone(), all, None));
    }
    let (files, fronts) = files.into_iter().unzip();
    Ok((items, files, fronts))
}

/// Tensors of the fine-tune whose name the base lacks, with the one of the same dtype and shape that the fine-tune lacks
/// whose name ends most alike; sorted by name. Of very many only neighbours are compared.
fn renamed<'a>(base: &'a Model, fine: &'a Model) -> Vec<(&'a str, &'a Tensor)> {
    let added: Vec<_> = fine.tensors.iter().filter(|t| base.find(&t.name).is_none()).collect();
    let mut removed: Vec<_> = base.tensors.iter().filter(|t| fine.find(&t.name).is_none()).collect();
    let many = added.len().saturating_mul(removed.len()) > MAX_COMPARED;
    if many {
        let order = sorted_positions(removed.len(), &|a, b| from_the_end(removed[a], removed[b]));
        removed = rearranged(removed, &order);
    }
    let alike = |a: &str, b: &str| a.bytes().rev().zip(b.bytes().rev()).take_while(|(a, b)| a == b).count();
    let mut taken = vec![false; removed.len()];
    let mut pairs = Vec::new();
    for t in added {
        let mut near = 0..removed.len();
        if many {
            let at = removed.partition_point(|b| from_the_end(b, t).is_lt());
            near = at.saturating_sub(1)..near.end.min(at + 1);
        }
        let mut best: Option<(usize, usize)> = None;
        for i in near.filter(|&i| !taken[i]) {
            let b = removed[i];
            let n = alike(&t.name, &b.name);
            if (b.dtype, &b.shape) == (t.dtype, &t.shape) && best.is_none_or(|(most, _)| n > most) {
                best = Some((n, i));
            }
        }
        if let Some((_, i)) = best {
            taken[i] = true;
            pairs.push((t.name.as_str(), removed[i]));
        }
    }
    pairs
}

/// The order of tensors by their names read from the end: those whose names end most alike are next to each other.
fn from_the_end(a: &Tensor, b: &Tensor) -> Ordering {
    a.name.bytes().rev().cmp(b.name.bytes().rev())
}

/// A file with these bytes before its tensors, of which nothing but the metadata is kept if the rest follows from those.
fn described(path: String, before: Vec<u8>, tensors: Option<(&ModelFile, &[usize])>) -> (FileRecord, Digest) {
    let of_front = digest(blake3::Hasher::new().update(&before));
    let mut file = FileRecord {
        path,
        head: Head::Verbatim(before),
        tensors: 0,
    };
    if let Some((model, order)) = tensors {
        let in_order: Vec<_> = order.iter().map(|&i| model.header.tensors[i].clone()).collect();
        let written = writer::header_bytes(&model.header.metadata, &in_order);
        // A long text goes with the bytes of the file, which may be longer.
        let short = |(key, value): &(String, String)| key.len().max(value.len()) <= MAX_NAME_BYTES;
        let metadata = &model.header.metadata;
        if metadata.iter().all(short) && matches!(&file.head, Head::Verbatim(before) if *before == written) {
            file.head = Head::Written(model.header.metadata.clone());
        }
        file.tensors = order.len() as u64;
    }
    (file, of_front)
}
