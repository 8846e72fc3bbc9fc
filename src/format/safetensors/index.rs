//! `model.safetensors.index.json`: which shard holds which tensor.

use super::header::check_name;
use super::writer::push_text;
use crate::error::{quoted, Code, Error, Result};
use crate::format::json::{inside, once, twice, JsonReader, UnknownKeys};
use crate::limits::{check_len, MAX_FILE_NAME_BYTES, MAX_INDEX_BYTES, MAX_INDEX_METADATA, MAX_TENSORS};
use crate::order::sorted_positions;

/// A parsed index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// The entries under `metadata`, in file order: key, and value as JSON text, spelled as in the file. An entry whose
    /// key has escapes is left out.
    pub metadata: Vec<(String, String)>,
    /// Tensor and file name, in file order.
    pub weight_map: Vec<(String, String)>,
}

impl Index {
    /// The distinct file names, sorted by their bytes.
    pub fn files(&self) -> Vec<&str> {
        let map = &self.weight_map;
        let order = sorted_positions(map.len(), &|a, b| map[a].1.cmp(&map[b].1));
        let mut files: Vec<_> = order.into_iter().map(|i| map[i].1.as_str()).collect();
        files.dedup();
        files
    }

    /// The index as JSON, two spaces per level, as the Hugging Face libraries write it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut json = String::from("{\n");
        if !self.metadata.is_empty() {
            push_object(&mut json, "metadata", &self.metadata, |json, value| {
                json.push_str(value)
            });
            json.push_str(",\n");
        }
        push_object(&mut json, "weight_map", &self.weight_map, push_text);
        json.push_str("\n}\n");
        json.into_bytes()
    }
}

/// The bytes of an index like `index`, but for the tensors and files of `weight_map`, which take `total_size` bytes. The
/// other entries under `metadata` stay.
pub fn rewrite_index(index: &Index, weight_map: &[(String, String)], total_size: u64) -> Vec<u8> {
    let mut metadata = index.metadata.clone();
    let text = total_size.to_string();
    match metadata.iter_mut().find(|(key, _)| key == "total_size") {
        Some((_, value)) => *value = text,
        None => metadata.insert(0, ("total_size".into(), text)),
    }
    let weight_map = weight_map.to_vec();
    Index { metadata, weight_map }.to_bytes()
}

fn push_object(json: &mut String, key: &str, entries: &[(String, String)], push: fn(&mut String, &str)) {
    json.push_str("  ");
    push_text(json, key);
    json.push_str(": {");
    for (i, (key, value)) in entries.iter().enumerate() {
        json.push_str(if i > 0 { ",\n    " } else { "\n    " });
        push_text(json, key);
        json.push_str(": ");
        push(json, value);
    }
    json.push_str(if entries.is_empty() { "}" } else { "\n  }" });
}

/// Parses an index. Files must be plain names, so that a shard lies beside its index and nowhere else; a tensor must
/// not be listed twice. Keys beside `metadata` and `weight_map` are ignored.
pub fn parse_index(json: &[u8]) -> Result<Index> {
    check_index_len(json.len() as u64)?;
    let index = JsonReader::new(json, 0, "the shard index").whole(read_index)?;
    let map = &index.weight_map;
    let order = sorted_positions(map.len(), &|a, b| map[a].0.cmp(&map[b].0));
    if let Some(pair) = order.windows(2).find(|pair| map[pair[0]].0 == map[pair[1]].0) {
        let name = &map[pair[0]].0;
        return Err(twice(name).tensor(name));
    }
    Ok(index)
}

/// `LIMIT` for an index of more bytes than are read.
pub(crate) fn check_index_len(len: u64) -> Result<()> {
    check_len("the index file", len, MAX_INDEX_BYTES)
}

fn check_file_name(file: &str) -> Result<()> {
    let plain = !file.is_empty()
        && file.len() <= MAX_FILE_NAME_BYTES
        && file != "."
        && file != ".."
        && !file.contains(['/', '\\', ':'])
        && !file.contains(char::is_control);
    if plain {
        return Ok(());
    }
    Err(Error::new(
        Code::Malformed,
        format!(
            "the shard index names the file {shown}; only plain names of files in the same folder are allowed, correct \
             the index or get it again", shown = quoted(file)),
    ))
}

fn read_index(json: &mut JsonReader<'_>) -> Result<Index> {
    let (mut metadata, mut weight_map) = (None, None);
    let mut unknown = UnknownKeys::default();
    json.object("an object with weight_map", &mut |json, key| match &*key {
        "metadata" => once(&mut metadata, &key, read_metadata(json)?),
        "weight_map" => once(&mut weight_map, &key, read_weight_map(json)?),
        _ => {
            json.skip()?;
            unknown.note(&key)
        }
    })?;
    Ok(Index {
        metadata: metadata.unwrap_or_default(),
        weight_map: weight_map.ok_or_else(|| json.missing("weight_map"))?,
    })
}

fn read_weight_map(json: &mut JsonReader<'_>) -> Result<Vec<(String, String)>> {
    let mut entries = Vec::new();
    json.object("an object from tensor to file name", &mut |json, name| {
        check_name(&name)?;
        if entries.len() == MAX_TENSORS {
            let text = format!("the index lists more than {MAX_TENSORS} tensors");
            return Err(Error::new(Code::Limit, text));
        }
        let file = inside(&name, json.text("a file name"))?;
        check_file_name(&file).map_err(|e| e.tensor(&*name))?;
        entries.push((name.into_owned(), file.into_owned()));
        Ok(())
    })?;
    Ok(entries)
}

/// The object under `metadata`, its values as spelled; `null` stands for none.
fn read_metadata(json: &mut JsonReader<'_>) -> Result<Vec<(String, String)>> {
    let mut entries: Vec<(String, String)> = Vec::new();
    if json.null() {
        return Ok(entries);
    }
    json.object("an object under metadata", &mut |json, key| {
        if entries.iter().any(|(k, _)| *k == key) {
            return Err(twice(&key));
        }
        if entries.len() == MAX_INDEX_METADATA {
            let text = format!("the index has more than {MAX_INDEX_METADATA} entries under metadata");
            return Err(Error::new(Code::Limit, text));
        }
        entries.push((key.into_owned(), json.skip()?.to_owned()));
        Ok(())
    })?;
    Ok(entries)
}
