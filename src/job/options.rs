//! Options of the jobs, as the host hands them over. Unknown ones are refused: a misspelt option must not pass.

use crate::error::{Code, Error, Result};
use crate::format::v1::writer::option_text;
use serde::de::DeserializeOwned;
use serde::Deserialize;

/// A number given as text (spelling kept) or as a number (written in Python's form).
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum NumberText {
    /// As spelled on a command line.
    Text(String),
    /// As given in JavaScript.
    Number(f64),
}

impl NumberText {
    /// The header's spelling and the value, which must be in `0 <= value < 1`.
    pub fn resolve(&self, option: &str) -> Result<(String, f64)> {
        let wrong = |what: &str| {
            Error::new(
                Code::Usage,
                format!("{option} must be a number from 0 up to, but not including, 1; got {what}"),
            )
        };
        let (text, value) = match self {
            NumberText::Text(text) => option_text(text).map_err(|_| wrong(&format!("{text:?}")))?,
            NumberText::Number(n) if n.is_finite() => (crate::format::v1::writer::py_float(*n), *n),
            NumberText::Number(n) => return Err(wrong(&n.to_string())),
        };
        if !(0.0..1.0).contains(&value) {
            return Err(wrong(&text));
        }
        Ok((text, value))
    }
}

/// Which order the parent hash is written in where both cannot be satisfied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HashOrder {
    /// What the reference's in-memory loader expects: sorted names.
    Memory,
    /// What its path loader expects: base shard groups.
    #[default]
    Paths,
}

/// Options of `encode`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct EncodeOptions {
    /// `int4`, `sparse` or `quantized`.
    pub strategy: String,
    /// Share of elements that `int4` keeps as outliers; the reference's default is 0.01.
    pub outlier_fraction: Option<NumberText>,
    /// Share of elements that `sparse` drops; the reference's default is 0.9.
    pub sparsity: Option<NumberText>,
    /// Write what the reference writes, byte for byte.
    pub reference: bool,
    /// Where the base is to be had; shown when another one is given.
    pub base_name: Option<String>,
    /// Order of the parent hash.
    pub hash_order: HashOrder,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        Self {
            strategy: "int4".into(),
            outlier_fraction: None,
            sparsity: None,
            reference: false,
            base_name: None,
            hash_order: HashOrder::default(),
        }
    }
}

/// What `decode` and `tensors` give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputDtype {
    /// Each tensor in the base's own dtype.
    #[default]
    Base,
    /// Everything in float32, as the reference gives it.
    Float32,
}

/// One file or as many as the base has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputLayout {
    /// Sharded as the base is.
    #[default]
    Auto,
    /// One file.
    Single,
}

/// Options of `decode`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DecodeOptions {
    /// Dtype of the result.
    pub dtype: OutputDtype,
    /// Check the base, every link and every checksum. Off only for rescue work.
    pub verify: bool,
    /// Bring config, tokenizer and the like from the base's folder.
    pub side_files: bool,
    /// Shards of the result.
    pub layout: OutputLayout,
    /// Read the result back and compare it with what was written.
    pub read_back: bool,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self {
            dtype: OutputDtype::Base,
            verify: true,
            side_files: false,
            layout: OutputLayout::Auto,
            read_back: false,
        }
    }
}

/// How `tensors` and `hash` see a tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum As {
    /// In its own dtype.
    #[default]
    Stored,
    /// In float32.
    Float32,
}

/// Options of `tensors`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TensorsOptions {
    /// Only these, in this order; all in sorted order when absent.
    pub names: Option<Vec<String>>,
    /// Only these rows (first dimension), half open.
    pub rows: Option<(u64, u64)>,
    /// Dtype of the pieces.
    #[serde(rename = "as")]
    pub form: As,
}

/// Options of `stats`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StatsOptions {
    /// Only these; all in sorted order when absent.
    pub names: Option<Vec<String>>,
    /// Bars of the histogram.
    pub bins: u32,
}

impl Default for StatsOptions {
    fn default() -> Self {
        Self { names: None, bins: 64 }
    }
}

/// Options of `hash`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HashOptions {
    /// Which bytes are hashed.
    #[serde(rename = "as")]
    pub form: As,
}

/// Options of jobs that have none.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NoOptions {}

/// Reads options from JSON; `USAGE` names what is wrong.
pub fn parse<T: DeserializeOwned>(json: &str) -> Result<T> {
    serde_json::from_str(json).map_err(|e| {
        let text = e.to_string();
        let text = text.split(" at line ").next().unwrap_or_default();
        Error::new(Code::Usage, format!("options: {text}"))
    })
}
