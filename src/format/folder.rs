//! Which files of a folder are the model, and what to say when none is.

use super::safetensors::index::Index;
use crate::error::{Code, Error, Result};
use crate::order::{rearranged, sorted_positions};

/// The shards of a model, by source number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shards {
    /// The index says which; see [`resolve_shards`].
    FromIndex,
    /// These, in file name order.
    List(Vec<u32>),
}

/// What the files of a folder are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderChoice {
    /// Source of the `*.safetensors.index.json` that is to be obeyed.
    pub index: Option<u32>,
    /// The shards.
    pub shards: Shards,
    /// Config, tokenizer and the like, which a rebuilt model needs to load; sorted by path.
    pub side_files: Vec<u32>,
}

const WEIGHTS: &str = ".safetensors";
const INDEX: &str = ".safetensors.index.json";
const USUAL_INDEX: &str = "model.safetensors.index.json";

/// Ends of the names of files that belong to a model without being weights.
const SIDE_ENDS: [&str; 8] = [".json", ".jinja", ".model", ".txt", ".py", ".tiktoken", ".bpe", ".yaml"];

/// Files with such an end that describe other weights or the training.
const NOT_SIDE: [&str; 3] = ["adapter_config.json", "trainer_state.json", "all_results.json"];

/// Weights in formats that are not read.
const OTHER_WEIGHTS: [&str; 8] = [".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".msgpack", ".onnx"];

/// Chooses among the files of a folder, each `(source, path with '/', size)`.
///
/// Obeys the one `*.safetensors.index.json` at the top level (`model.safetensors.index.json` before others); without
/// one, takes every `*.safetensors` at the top level in file name order. Hidden files never count. A single file is
/// taken whatever its name. `USAGE` with advice when there is nothing to take: an adapter alone, only weights in another
/// format, weights only in folders below.
pub fn choose_files(files: &[(u32, String, u64)]) -> Result<FolderChoice> {
    let alone = files.len() == 1;
    let files: Vec<_> = files.iter().filter(|(_, path, _)| alone || !is_hidden(path)).collect();
    let order = sorted_positions(files.len(), &|a, b| files[a].1.cmp(&files[b].1));
    let files = rearranged(files, &order);
    let top = |end: &'static str| {
        let of_model = move |path: &str| !path.contains('/') && path.ends_with(end) && !is_adapter_file(path);
        files.iter().filter(|f| of_model(&f.1)).collect::<Vec<_>>()
    };
    let indexes = top(INDEX);
    let index = match indexes.iter().find(|(_, path, _)| path == USUAL_INDEX) {
        Some(usual) => Some(usual.0),
        None if indexes.len() > 1 => {
            return Err(Error::new(
                Code::Usage,
                format!(
                    "the folder has several shard indexes, {} and {}; keep the one of the model that is meant",
                    indexes[0].1, indexes[1].1
                ),
            ));
        }
        None => indexes.first().map(|i| i.0),
    };
    let shards: Vec<_> = top(WEIGHTS).iter().map(|f| f.0).collect();
    let shards = match (index, &files[..]) {
        (Some(_), _) => Shards::FromIndex,
        (None, [only]) if alone && !is_adapter_file(&only.1) => Shards::List(vec![only.0]),
        (None, _) if shards.is_empty() => return Err(nothing_to_take(&files)),
        (None, _) => Shards::List(shards),
    };
    let side_files = files.iter().filter(|f| is_side_file(&f.1)).map(|f| f.0).collect();
    Ok(FolderChoice {
        index,
        shards,
        side_files,
    })
}

/// The shards that an index names, in file name order, by source number. The files lie beside the index, at the top
/// level. `MISSING_TENSOR` with the name of a shard that is not there.
pub fn resolve_shards(index: &Index, files: &[(u32, String, u64)]) -> Result<Vec<u32>> {
    let names = index.files();
    if names.is_empty() {
        return Err(Error::new(
            Code::Malformed,
            "the shard index lists no tensors; get it again",
        ));
    }
    let order = sorted_positions(files.len(), &|a, b| files[a].1.cmp(&files[b].1));
    let sources: Vec<_> = order.into_iter().map(|i| (files[i].1.as_str(), files[i].0)).collect();
    let find = |name: &&str| {
        sources
            .binary_search_by(|(path, _)| path.cmp(name))
            .ok()
            .map(|i| sources[i].1)
    };
    let missing: Vec<_> = names.iter().filter(|name| find(name).is_none()).collect();
    if let Some(first) = missing.first() {
        let tensors = index.weight_map.iter().filter(|(_, file)| file == **first);
        return Err(Error::new(
            Code::MissingTensor,
            format!(
                "{} of {} shards are missing, first {first} with {} tensors; give the whole folder, or download what is \
                 missing",
                missing.len(),
                names.len(),
                tensors.count()
            ),
        ));
    }
    Ok(names.iter().filter_map(find).collect())
}

/// True for the names that PEFT gives to the files of an adapter.
pub fn is_adapter_file(path: &str) -> bool {
    let name = file_name(path);
    name.starts_with("adapter_model.") || name == "adapter_config.json"
}

/// The error for a LoRA adapter in place of a model.
pub fn adapter_error(path: &str) -> Error {
    Error::new(
        Code::Usage,
        format!(
            "{path} is a LoRA adapter, not a whole model; merge the adapter into its base first (peft: \
             model.merge_and_unload(), then save_pretrained), and give the merged model"
        ),
    )
}

fn nothing_to_take(files: &[&(u32, String, u64)]) -> Error {
    if let Some(adapter) = files.iter().find(|f| is_adapter_file(&f.1)) {
        return adapter_error(&adapter.1);
    }
    let mut text = String::from("there is no .safetensors file here");
    if let Some(other) = files
        .iter()
        .find(|f| OTHER_WEIGHTS.iter().any(|end| f.1.ends_with(end)))
    {
        text = format!(
            "{text}, only {}; use the .safetensors files of the same model, or load it with transformers and save it with \
             save_pretrained(folder, safe_serialization=True)",
            other.1
        );
        if other.1.ends_with(".gguf") {
            text = format!(
                "there is no .safetensors file here, only {}; GGUF weights are requantized, use the safetensors model that \
                 they were made from",
                other.1
            );
        }
    } else if let Some((folder, _)) = files
        .iter()
        .filter(|f| f.1.ends_with(WEIGHTS))
        .find_map(|f| f.1.rsplit_once('/'))
    {
        text = format!("{text}, but there is one in {folder}; give that folder");
    } else {
        text = format!("{text}; give a .safetensors file or a model folder");
    }
    Error::new(Code::Usage, text)
}

fn is_side_file(path: &str) -> bool {
    let name = file_name(path);
    (SIDE_ENDS.iter().any(|end| name.ends_with(end)) || name == "LICENSE" || name == "NOTICE")
        && !name.ends_with(".index.json")
        && !NOT_SIDE.contains(&name)
}

fn is_hidden(path: &str) -> bool {
    path.split('/').any(|part| part.starts_with('.'))
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
