//! The JSON header of version 1: parent hash, and what each tensor's arrays need to be decoded.

use super::PREFIX_BYTES;
use crate::error::{quoted, shape_text, Code, Error, Result};
use crate::format::damaged_entry;
use crate::format::json::{inside, once, JsonReader, UnknownKeys};
use crate::format::safetensors::header::check_name;
use crate::limits::{check_len, MAX_HEADER_BYTES, MAX_OPTION_BYTES, MAX_RANK, MAX_TENSORS};
use crate::offset::element_count;
use crate::order::sorted_positions;
use crate::strategy::Strategy;

/// The dtype in which the reference returns a tensor. It writes `float32` only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResultDtype {
    /// IEEE binary16.
    Float16,
    /// IEEE binary32.
    Float32,
    /// IEEE binary64.
    Float64,
}

impl ResultDtype {
    /// numpy's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Float16 => "float16",
            Self::Float32 => "float32",
            Self::Float64 => "float64",
        }
    }

    /// The dtype of that name; `UNSUPPORTED_DTYPE` for any other, which the reference never writes.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "float16" => Ok(Self::Float16),
            "float32" => Ok(Self::Float32),
            "float64" => Ok(Self::Float64),
            _ => Err(Error::new(
                Code::UnsupportedDtype,
                format!(
                    "its dtype is {name}; float32, which deltatensors writes, float16 and float64 are read",
                    name = quoted(name)
                ),
            )),
        }
    }
}

/// One tensor of the header, checked: shape, counts and strategy fit each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct V1Tensor {
    /// Its name.
    pub name: String,
    /// How its delta is stored.
    pub strategy: Strategy,
    /// Its dimensions, none for a scalar.
    pub shape: Vec<u64>,
    /// The dtype that the reference would return it in.
    pub dtype: ResultDtype,
    /// Product of the dimensions; `n_elements` where the header has it.
    pub elements: u64,
    /// `n_outliers` of `int4`. How many values `sparse` keeps is not in the header.
    pub kept: Option<u64>,
    /// `n_cols` of `quantized`: values per scale.
    pub cols: Option<u64>,
    /// `sparsity` of `sparse`, `outlier_fraction` of `int4`, as spelled.
    pub option: Option<String>,
}

/// Values that share one scale of `quantized`: the product of all dimensions but the first, all of them if there is
/// only one; `None` when it does not fit in `u64`.
pub fn quantized_cols(shape: &[u64]) -> Option<u64> {
    element_count(if shape.len() > 1 { &shape[1..] } else { shape })
}

fn too_large(shape: &[u64]) -> Error {
    Error::new(
        Code::Malformed,
        format!("shape {} has more elements than fit in 64 bits", shape_text(shape)),
    )
}

/// A header that was parsed and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct V1Header {
    /// SHA-256 of the base, 64 lower-case hex digits.
    pub parent_hash: String,
    /// The strategy that the file was made with; each tensor has its own, which counts.
    pub strategy: String,
    /// Where the base is to be had, if the writer said so. An addition of ours, which the reference ignores.
    pub base_name: Option<String>,
    /// The tensors in header order.
    pub tensors: Vec<V1Tensor>,
    /// Positions in `tensors`, sorted by name.
    by_name: Vec<u32>,
}

impl V1Header {
    /// Position in `tensors` of the tensor of that name.
    pub fn find(&self, name: &str) -> Option<usize> {
        let by_name = |&i: &u32| self.tensors[i as usize].name.as_str().cmp(name);
        let at = self.by_name.binary_search_by(by_name).ok()?;
        Some(self.by_name[at] as usize)
    }

    /// The names, sorted by their bytes.
    pub fn sorted_names(&self) -> Vec<String> {
        self.by_name
            .iter()
            .map(|&i| self.tensors[i as usize].name.clone())
            .collect()
    }
}

/// Parses the JSON of a header.
///
/// Any spelling of JSON is taken: key order, white space, raw UTF-8, unknown keys. `MALFORMED` with the tensor's name
/// when a key is missing, comes twice or contradicts the shape. Offsets in errors count from the start of the file.
pub fn parse_header(json: &[u8]) -> Result<V1Header> {
    check_header_len(json.len() as u64)?;
    let mut header = JsonReader::new(json, PREFIX_BYTES, "the header of the .wdelta file").whole(read_header)?;
    let tensors = &header.tensors;
    let by_name: Vec<u32> = sorted_positions(tensors.len(), &|a, b| tensors[a].name.cmp(&tensors[b].name))
        .into_iter()
        .map(|i| i as u32)
        .collect();
    if let Some(pair) = by_name
        .windows(2)
        .find(|p| tensors[p[0] as usize].name == tensors[p[1] as usize].name)
    {
        let name = &tensors[pair[0] as usize].name;
        return Err(crate::format::json::twice(name).tensor(name));
    }
    header.by_name = by_name;
    Ok(header)
}

/// `LIMIT` for a header of more bytes than are read.
pub(crate) fn check_header_len(len: u64) -> Result<()> {
    check_len("the header", len, MAX_HEADER_BYTES)
}

fn read_header(json: &mut JsonReader<'_>) -> Result<V1Header> {
    let (mut hash, mut strategy, mut tensors, mut base_name) = (None, None, None, None);
    let mut unknown = UnknownKeys::default();
    json.object(
        "an object with parent_hash, strategy and tensors",
        &mut |json, key| match &*key {
            "parent_hash" => once(&mut hash, &key, check_hash(&json.text("a hash")?)?),
            "strategy" => once(&mut strategy, &key, read_name(json)?),
            "base_name" => once(&mut base_name, &key, read_name(json)?),
            "tensors" => once(&mut tensors, &key, read_tensors(json)?),
            _ => {
                json.skip()?;
                unknown.note(&key)
            }
        },
    )?;
    let missing = |key: &str| json.missing(key);
    Ok(V1Header {
        parent_hash: hash.ok_or_else(|| missing("parent_hash"))?,
        strategy: strategy.ok_or_else(|| missing("strategy"))?,
        base_name,
        tensors: tensors.ok_or_else(|| missing("tensors"))?,
        by_name: Vec::new(),
    })
}

fn read_name(json: &mut JsonReader<'_>) -> Result<String> {
    let text = json.text("a text")?;
    check_name(&text)?;
    Ok(text.into_owned())
}

fn check_hash(text: &str) -> Result<String> {
    if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(Error::new(
        Code::Malformed,
        format!(
            "parent_hash must be 64 hex digits, but is {shown}; the file is damaged, get it again",
            shown = quoted(text)
        ),
    ))
}

fn read_tensors(json: &mut JsonReader<'_>) -> Result<Vec<V1Tensor>> {
    let mut tensors = Vec::new();
    json.object("an object with one entry per tensor", &mut |json, name| {
        check_name(&name)?;
        if tensors.len() == MAX_TENSORS {
            let text = format!("the header names more than {MAX_TENSORS} tensors");
            return Err(Error::new(Code::Limit, text));
        }
        tensors.push(inside(&name, read_entry(json, &name))?);
        Ok(())
    })?;
    Ok(tensors)
}

/// What one entry says, before it is held against itself.
#[derive(Default)]
struct Raw {
    strategy: Option<Strategy>,
    shape: Option<Vec<u64>>,
    dtype: Option<ResultDtype>,
    n_elements: Option<u64>,
    n_outliers: Option<u64>,
    n_cols: Option<u64>,
    sparsity: Option<Option<String>>,
    outlier_fraction: Option<Option<String>>,
}

fn read_entry(json: &mut JsonReader<'_>, name: &str) -> Result<V1Tensor> {
    let mut raw = Raw::default();
    let mut unknown = UnknownKeys::default();
    json.object(
        "an object with strategy, shape and dtype",
        &mut |json, key| match &*key {
            "strategy" => once(&mut raw.strategy, &key, strategy(&json.text("a strategy")?)?),
            "dtype" => once(&mut raw.dtype, &key, ResultDtype::parse(&json.text("a dtype")?)?),
            "shape" => once(&mut raw.shape, &key, json.numbers("shape", MAX_RANK)?),
            "n_elements" => once(&mut raw.n_elements, &key, json.number()?),
            "n_outliers" => once(&mut raw.n_outliers, &key, json.number()?),
            "n_cols" => once(&mut raw.n_cols, &key, json.number()?),
            "sparsity" | "outlier_fraction" => {
                let text = json.skip()?;
                let slot = match &*key {
                    "sparsity" => &mut raw.sparsity,
                    _ => &mut raw.outlier_fraction,
                };
                once(slot, &key, is_number(text).then(|| text.to_owned()))
            }
            _ => {
                json.skip()?;
                unknown.note(&key)
            }
        },
    )?;
    raw.check(name)
}

fn strategy(name: &str) -> Result<Strategy> {
    Strategy::parse(name).map_err(|_| {
        Error::new(
            Code::Malformed,
            format!("its strategy is {shown}; version 1 has int4, sparse and quantized, so update wdelta or get the file again", shown = quoted(name)),
        )
    })
}

fn is_number(json: &str) -> bool {
    json.len() <= MAX_OPTION_BYTES && json.starts_with(|c: char| c == '-' || c.is_ascii_digit())
}

impl Raw {
    fn check(self, name: &str) -> Result<V1Tensor> {
        let malformed = |text: String| damaged_entry(name, &text);
        let missing = |key: &str| malformed(format!("its header entry has no {key}"));
        let strategy = self.strategy.ok_or_else(|| missing("strategy"))?;
        let dtype = self.dtype.ok_or_else(|| missing("dtype"))?;
        let shape = self.shape.ok_or_else(|| missing("shape"))?;
        let elements = element_count(&shape).ok_or_else(|| too_large(&shape).tensor(name))?;
        let (mut kept, mut cols) = (None, None);
        if strategy != Strategy::Sparse {
            let claimed = self.n_elements.ok_or_else(|| missing("n_elements"))?;
            if claimed != elements {
                return Err(malformed(format!(
                    "n_elements is {claimed}, but shape {} has {elements} elements",
                    shape_text(&shape)
                )));
            }
        }
        if strategy == Strategy::Int4 {
            let claimed = self.n_outliers.ok_or_else(|| missing("n_outliers"))?;
            if claimed > elements {
                return Err(malformed(format!(
                    "n_outliers is {claimed}, but there are only {elements} elements"
                )));
            }
            kept = Some(claimed);
        }
        if strategy == Strategy::Quantized {
            let claimed = self.n_cols.ok_or_else(|| missing("n_cols"))?;
            if Some(claimed) != quantized_cols(&shape) {
                return Err(malformed(format!(
                    "n_cols is {claimed}, which does not fit shape {}",
                    shape_text(&shape)
                )));
            }
            cols = Some(claimed);
        }
        let option = match strategy {
            Strategy::Int4 => self.outlier_fraction,
            Strategy::Sparse => self.sparsity,
            Strategy::Quantized => None,
        };
        Ok(V1Tensor {
            name: name.to_owned(),
            strategy,
            shape,
            dtype,
            elements,
            kept,
            cols,
            option: option.flatten(),
        })
    }
}
