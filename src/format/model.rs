//! A model as one list of tensors, over one safetensors file or many.

use super::folder::adapter_error;
use super::safetensors::header::{Entry, Header};
use super::safetensors::index::Index;
use super::safetensors::LENGTH_BYTES;
use super::v1::parent_hash::shard_groups;
use crate::dtype::Dtype;
use crate::error::{quoted, Code, Error, Result};
use crate::limits::MAX_TENSORS;
use crate::offset::{element_count, ByteRange};
use crate::order::{rearranged, sorted_positions};

pub use super::folder::{choose_files, resolve_shards, FolderChoice, Shards};

/// A safetensors file whose header was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardHeader {
    /// Number of the source.
    pub source: u32,
    /// Its path, for messages and for the names of outputs.
    pub path: String,
    /// What the header says.
    pub header: Header,
    /// Where the data section starts in the file.
    pub data_offset: u64,
}

/// One file of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFile {
    /// Number of the source.
    pub source: u32,
    /// Its path.
    pub path: String,
    /// Where the JSON of the header lies.
    pub header_range: ByteRange,
    /// Where the data section starts.
    pub data_offset: u64,
    /// Metadata and tensors in file order, with ranges in the data section.
    pub header: Header,
}

/// One tensor of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Its dtype.
    pub dtype: Dtype,
    /// Its dimensions, none for a scalar.
    pub shape: Vec<u64>,
    /// Product of the dimensions.
    pub elements: u64,
    /// Which of [`Model::files`] holds it.
    pub file: usize,
    /// Number of that file's source.
    pub source: u32,
    /// Its bytes in that file.
    pub range: ByteRange,
}

/// A model: all tensors of all its files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// The files in the order in which they were given.
    pub files: Vec<ModelFile>,
    /// The tensors, sorted by the bytes of their names.
    pub tensors: Vec<Tensor>,
    /// The shard index, if there is one.
    pub index: Option<Index>,
}

impl Model {
    /// The tensor of that name.
    pub fn find(&self, name: &str) -> Option<&Tensor> {
        let i = self.tensors.binary_search_by(|t| t.name.as_str().cmp(name)).ok()?;
        Some(&self.tensors[i])
    }

    /// The names of another model's tensors that this one lacks, sorted.
    pub fn lacks<'a>(&self, other: &'a Self) -> Vec<&'a str> {
        let names = other.tensors.iter().map(|t| t.name.as_str());
        names.filter(|name| self.find(name).is_none()).collect()
    }

    /// Which of [`Model::files`] holds the tensor; the number of files for a name that it does not have.
    pub fn shard_of(&self, name: &str) -> usize {
        self.find(name).map_or(self.files.len(), |t| t.file)
    }

    /// `names`, which are sorted, grouped by the file that holds them, groups in order of first use: the order in which
    /// the reference's path loader walks them (`format::v1` 6).
    pub fn shard_order<N: AsRef<str> + Clone>(&self, names: &[N]) -> Vec<N> {
        shard_groups(names, |name| self.shard_of(name))
    }

    /// All names in that order.
    pub fn shard_groups(&self) -> Vec<String> {
        let names: Vec<_> = self.tensors.iter().map(|t| t.name.clone()).collect();
        self.shard_order(&names)
    }

    /// Number of elements over all tensors.
    pub fn elements(&self) -> u64 {
        self.tensors.iter().map(|t| t.elements).sum()
    }

    /// Bytes of all tensors.
    pub fn data_bytes(&self) -> u64 {
        self.tensors.iter().map(|t| t.range.len).sum()
    }
}

/// Puts the files of a model together.
///
/// Refused: a name in two files, a file that holds what the index puts elsewhere, a tensor of the index that its file
/// lacks (`MISSING_TENSOR`), the tensors of a LoRA adapter (`USAGE`), more than `MAX_TENSORS` in all.
pub fn assemble(shards: Vec<ShardHeader>, index: Option<Index>) -> Result<Model> {
    let count: usize = shards.iter().map(|s| s.header.tensors.len()).sum();
    if count > MAX_TENSORS {
        return Err(Error::new(
            Code::Limit,
            format!("the model has {count} tensors, more than the {MAX_TENSORS} that are handled"),
        ));
    }
    let mut tensors = Vec::with_capacity(count);
    let mut files = Vec::with_capacity(shards.len());
    for (file, shard) in shards.into_iter().enumerate() {
        for entry in &shard.header.tensors {
            tensors.push(tensor(entry, file, &shard)?);
        }
        files.push(ModelFile {
            source: shard.source,
            path: shard.path,
            header_range: ByteRange {
                offset: LENGTH_BYTES,
                len: shard.data_offset.saturating_sub(LENGTH_BYTES),
            },
            data_offset: shard.data_offset,
            header: shard.header,
        });
    }
    let order = sorted_positions(tensors.len(), &|a, b| tensors[a].name.cmp(&tensors[b].name));
    let tensors = rearranged(tensors, &order);
    if let Some(pair) = tensors.windows(2).find(|pair| pair[0].name == pair[1].name) {
        let (a, b) = (&files[pair[0].file].path, &files[pair[1].file].path);
        return Err(Error::new(
            Code::Malformed,
            format!(
                "the tensor {} is in {a} and in {b}; a model has each tensor once, so remove the file that does not \
                 belong to it",
                quoted(&pair[0].name)
            ),
        )
        .tensor(&pair[0].name));
    }
    if let Some(t) = tensors.iter().find(|t| is_adapter_tensor(&t.name)) {
        return Err(adapter_error(&files[t.file].path).tensor(&t.name));
    }
    let model = Model { files, tensors, index };
    model.check_index()?;
    Ok(model)
}

fn tensor(entry: &Entry, file: usize, shard: &ShardHeader) -> Result<Tensor> {
    let past = || {
        Error::new(
            Code::Malformed,
            format!("the tensor {} lies past any file", quoted(&entry.name)),
        )
        .tensor(&entry.name)
    };
    let offset = shard.data_offset.checked_add(entry.range.offset).ok_or_else(past)?;
    Ok(Tensor {
        name: entry.name.clone(),
        dtype: entry.dtype,
        shape: entry.shape.clone(),
        elements: element_count(&entry.shape).ok_or_else(past)?,
        file,
        source: shard.source,
        range: ByteRange::new(offset, entry.range.len)?,
    })
}

/// LoRA factors, as PEFT and as the older trainers name them.
fn is_adapter_tensor(name: &str) -> bool {
    const PARTS: [&str; 6] = [
        "lora_A",
        "lora_B",
        "lora_embedding_A",
        "lora_embedding_B",
        "lora_down",
        "lora_up",
    ];
    name.split('.').any(|part| PARTS.contains(&part))
}

impl Model {
    fn check_index(&self) -> Result<()> {
        let Some(index) = &self.index else { return Ok(()) };
        let map = &index.weight_map;
        let order = sorted_positions(map.len(), &|a, b| map[a].0.cmp(&map[b].0));
        let listed = |name: &str| {
            let found = order.binary_search_by(|&p| map[p].0.as_str().cmp(name)).ok()?;
            Some(&map[order[found]].1)
        };
        for (name, file) in map {
            if self.find(name).is_none() {
                return Err(Error::new(
                    Code::MissingTensor,
                    format!(
                        "the shard index puts the tensor {name} into {file}, but no shard has it; index and shards are \
                         not of the same model, or a download is incomplete", name = quoted(name)),
                )
                .tensor(name));
            }
        }
        for t in &self.tensors {
            let path = &self.files[t.file].path;
            let name = path.rsplit('/').next().unwrap_or(path);
            let elsewhere = match listed(&t.name) {
                Some(file) if *file == name => continue,
                Some(file) => format!("but the shard index puts it into {file}"),
                None => "but the shard index does not list it".to_owned(),
            };
            return Err(Error::new(
                Code::Malformed,
                format!(
                    "{name} holds the tensor {}, {elsewhere}; index and shards are not of the same model, get both again", quoted(&t.name)),
            )
            .tensor(&t.name)
            .source(t.source));
        }
        Ok(())
    }
}
