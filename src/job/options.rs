//! Options of the jobs, as the host hands them over. Unknown ones are refused: a misspelt option must not pass.

use super::machine::{Role, SourceEntry};
use crate::decimal;
use crate::error::{quoted, Code, Error, Result};
use crate::format::json::Value;
use crate::format::v1::writer::{option_text, py_float};
use crate::limits::MAX_NAME_BYTES;
use crate::strategy::Strategy;
use serde::Serialize;

/// Options as given, of which each job takes its own. What is left over was misspelt.
///
/// Read by hand: derived readers for every job's options would be a tenth of the wasm module.
pub struct Given(Vec<(String, Value)>);

impl Given {
    /// Options from a JSON object.
    pub fn parse(json: &str) -> Result<Self> {
        match Value::parse(json) {
            Ok(Value::Object(entries)) => Ok(Self(entries)),
            // JavaScript's texts may hold half of a surrogate pair.
            _ => Err(Error::new(
                Code::Usage,
                "options are a JSON object of valid Unicode, without lone surrogates",
            )),
        }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|(key, _)| key == name)?;
        Some(self.0.swap_remove(at).1).filter(|v| *v != Value::Null)
    }

    fn flag(&mut self, name: &str, default: bool) -> Result<bool> {
        match self.take(name) {
            None => Ok(default),
            Some(Value::Flag(b)) => Ok(b),
            Some(other) => Err(wrong(name, "true or false", &other)),
        }
    }

    fn text(&mut self, name: &str) -> Result<Option<String>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(name, "a text", &other)),
        }
    }

    /// What the word that was given stands for; it must be one of these.
    fn word<T: Copy, const N: usize>(&mut self, name: &str, words: [(&str, T); N]) -> Result<Option<T>> {
        let found = self.one_of(name, &words.map(|(word, _)| word))?;
        Ok(found.map(|at| words[at].1))
    }

    /// Which of these words was given. Apart from [`Given::word`], so that it is compiled once.
    fn one_of(&mut self, name: &str, words: &[&str]) -> Result<Option<usize>> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        match words.iter().position(|w| *w == text) {
            None => Err(wrong(name, &format!("one of {}", words.join(", ")), &Value::Text(text))),
            found => Ok(found),
        }
    }

    fn number(&mut self, name: &str) -> Result<Option<NumberText>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(NumberText::Text(text))),
            Some(Value::Number(spelled)) => Ok(decimal::parse(&spelled).map(NumberText::Number)),
            Some(other) => Err(wrong(name, "a number", &other)),
        }
    }

    /// A whole number in `from..=to`; `USAGE` for another one.
    fn small(&mut self, name: &str, from: u32, to: u32) -> Result<Option<u32>> {
        let Some(given) = self.take(name) else {
            return Ok(None);
        };
        let value = number_of(&given);
        match (from..=to).find(|&n| f64::from(n) == value) {
            None => Err(wrong(name, &format!("a whole number from {from} to {to}"), &given)),
            found => Ok(found),
        }
    }

    fn names(&mut self, name: &str) -> Result<Option<Vec<String>>> {
        let refuse = |given: &Value| wrong(name, "a list of tensor names", given);
        match self.take(name) {
            None => Ok(None),
            Some(Value::List(names)) => {
                let text = |v: &Value| v.text().map(str::to_owned).ok_or_else(|| refuse(v));
                names.iter().map(text).collect::<Result<_>>().map(Some)
            }
            Some(other) => Err(refuse(&other)),
        }
    }

    /// `USAGE` when something was given that no one has taken.
    fn done(&self) -> Result<()> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(Error::new(
                Code::Usage,
                format!("there is no option {} here", quoted(name)),
            )),
        }
    }
}

/// The number that was given, be it as text; NaN for what is none.
fn number_of(given: &Value) -> f64 {
    match given {
        Value::Text(text) | Value::Number(text) => decimal::parse(text).unwrap_or(f64::NAN),
        _ => f64::NAN,
    }
}

/// The error of an option that takes something else than what was given.
#[cold]
fn wrong(name: &str, wanted: &str, given: &Value) -> Error {
    let given = match given {
        Value::Text(text) => quoted(text).to_string(),
        Value::Number(spelled) => spelled.clone(),
        Value::Flag(flag) => flag.to_string(),
        Value::List(items) => format!("a list of {}", items.len()),
        Value::Object(_) | Value::Null => "an object".into(),
    };
    Error::new(Code::Usage, format!("option {name} must be {wanted}; got {given}"))
}

/// The opened sources from a JSON list of `{ role, group, path, size }`.
pub fn sources(json: &str) -> Result<Vec<SourceEntry>> {
    let refuse = || Error::new(Code::Internal, "the host described its sources wrongly");
    let Ok(Value::List(list)) = Value::parse(json) else {
        return Err(refuse());
    };
    let entry = |v: &Value| {
        let roles = [Role::Base, Role::Finetuned, Role::Delta, Role::A, Role::B];
        let role = v.get("role").text()?;
        Some(SourceEntry {
            role: *roles.iter().find(|r| r.name() == role)?,
            group: u32::try_from(v.get("group").whole()?).ok()?,
            path: v.get("path").text()?.to_owned(),
            size: v.get("size").whole()?,
        })
    };
    list.iter().map(|v| entry(v).ok_or_else(refuse)).collect()
}

/// Options that a job can be given.
pub trait Options: Sized {
    /// Takes its own from what was given.
    fn take(given: &mut Given) -> Result<Self>;

    /// Reads options from JSON; `USAGE` names what is wrong.
    fn parse(json: &str) -> Result<Self> {
        let mut given = Given::parse(json)?;
        let options = Self::take(&mut given)?;
        given.done()?;
        Ok(options)
    }
}

/// A number given as text (spelling kept) or as a number (written in Python's form).
#[derive(Clone, Debug, PartialEq)]
pub enum NumberText {
    /// As spelled on a command line.
    Text(String),
    /// As given in JavaScript.
    Number(f64),
}

impl NumberText {
    /// The header's spelling and the value, which must be in `0 <= value < 1`.
    pub fn resolve(&self, option: &str) -> Result<(String, f64)> {
        let refuse = |what: &str| {
            Error::new(
                Code::Usage,
                format!("{option} must be a number from 0 up to, but not including, 1; got {what}"),
            )
        };
        let (text, value) = match self {
            NumberText::Text(text) => option_text(text).map_err(|_| refuse(&quoted(text).to_string()))?,
            NumberText::Number(n) => (py_float(*n), *n),
        };
        if !(0.0..1.0).contains(&value) {
            return Err(refuse(&text));
        }
        Ok((text, value))
    }
}

/// Which order the parent hash is written in where both cannot be satisfied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HashOrder {
    /// What the reference's in-memory loader expects: sorted names.
    Memory,
    /// What its path loader expects: base shard groups.
    #[default]
    Paths,
}

/// Options of `encode`.
#[derive(Clone, Debug)]
pub struct EncodeOptions {
    /// How deltas are stored; `lossless` by default, `int4` in reference mode.
    pub strategy: Asked,
    /// How much `lossless` and `lossy` try, 0 to 3.
    pub effort: Option<u32>,
    /// Whether `lossless` and `lossy` try a low-rank prediction; given only when it was asked for.
    pub low_rank: Option<bool>,
    /// How good `lossy` is, 1 to 100; 100 loses nothing.
    pub quality: Option<u32>,
    /// How many times smaller than the fine-tune's files `lossy` is to be, instead of a quality; finite, at least 1.
    pub ratio: Option<f64>,
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

/// How much version 2 may lose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fidelity {
    /// Nothing.
    Lossless,
    /// As much as a quality from 1 to 99 says.
    Quality(u32),
    /// As much as it takes to be so many times smaller than the fine-tune's files.
    Ratio(f64),
}

/// The strategies that `encode` can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Version 2, which loses nothing.
    Lossless,
    /// Version 2, with a loss where that pays.
    Lossy,
    /// Version 1.
    V1(Strategy),
}

impl Asked {
    /// Its word among the options.
    pub fn name(self) -> &'static str {
        match self {
            Asked::Lossless => "lossless",
            Asked::Lossy => "lossy",
            Asked::V1(strategy) => strategy.name(),
        }
    }
}

/// Every strategy with its word, in the order in which an error lists them.
const STRATEGIES: [(&str, Asked); 5] = [
    ("lossless", Asked::Lossless),
    ("lossy", Asked::Lossy),
    ("int4", Asked::V1(Strategy::Int4)),
    ("sparse", Asked::V1(Strategy::Sparse)),
    ("quantized", Asked::V1(Strategy::Quantized)),
];

/// The quality when none is given.
const DEFAULT_QUALITY: u32 = 50;

impl EncodeOptions {
    /// What the strategies of version 2 may lose.
    pub fn fidelity(&self) -> Result<Fidelity> {
        let lossy = self.strategy == Asked::Lossy;
        match (self.quality, self.ratio) {
            (None, None) if !lossy => Ok(Fidelity::Lossless),
            _ if !lossy => Err(Error::new(
                Code::Usage,
                format!(
                    "quality and ratio are options of lossy, but the strategy is {}",
                    self.strategy.name()
                ),
            )),
            (Some(_), Some(_)) => Err(Error::new(Code::Usage, "give a quality or a ratio, not both")),
            (Some(100), None) => Ok(Fidelity::Lossless),
            (None, Some(ratio)) => Ok(Fidelity::Ratio(ratio)),
            (quality, None) => Ok(Fidelity::Quality(quality.unwrap_or(DEFAULT_QUALITY))),
        }
    }
}

impl Options for EncodeOptions {
    fn take(given: &mut Given) -> Result<Self> {
        let reference = given.flag("reference", false)?;
        // What the reference would take; else the one that loses nothing.
        let default = match reference {
            true => Asked::V1(Strategy::Int4),
            false => Asked::Lossless,
        };
        Ok(Self {
            strategy: given.word("strategy", STRATEGIES)?.unwrap_or(default),
            effort: given.small("effort", 0, 3)?,
            low_rank: given.word("lowRank", [("auto", true), ("off", false)])?,
            quality: given.small("quality", 1, 100)?,
            ratio: ratio(given)?,
            outlier_fraction: given.number("outlierFraction")?,
            sparsity: given.number("sparsity")?,
            reference,
            base_name: base_name(given)?,
            hash_order: given
                .word(
                    "hashOrder",
                    [("paths", HashOrder::Paths), ("memory", HashOrder::Memory)],
                )?
                .unwrap_or_default(),
        })
    }
}

fn ratio(given: &mut Given) -> Result<Option<f64>> {
    let Some(given) = given.take("ratio") else {
        return Ok(None);
    };
    let ratio = number_of(&given);
    if ratio >= 1.0 && ratio.is_finite() {
        return Ok(Some(ratio));
    }
    let wanted = "a number from 1 on: how many times smaller the delta is to be";
    Err(wrong("ratio", wanted, &given))
}

/// The option `baseName`; `LIMIT` for one that readers would refuse.
fn base_name(given: &mut Given) -> Result<Option<String>> {
    let name = given.text("baseName")?;
    match name.as_ref().map(String::len) {
        Some(n) if n > MAX_NAME_BYTES => Err(Error::new(
            Code::Limit,
            format!(
                "baseName has {n} bytes, more than the {MAX_NAME_BYTES} that a delta may hold; give an address instead"
            ),
        )),
        _ => Ok(name),
    }
}

/// What `decode` and `tensors` give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputDtype {
    /// Each tensor in the base's own dtype.
    #[default]
    Base,
    /// Everything in float32, as the reference gives it.
    Float32,
}

/// One file or as many as the base has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutputLayout {
    /// Sharded as the base is.
    #[default]
    Auto,
    /// One file.
    Single,
}

/// Options of `decode`.
#[derive(Clone, Debug)]
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

impl Options for DecodeOptions {
    fn take(given: &mut Given) -> Result<Self> {
        Ok(Self {
            dtype: given
                .word(
                    "dtype",
                    [("base", OutputDtype::Base), ("float32", OutputDtype::Float32)],
                )?
                .unwrap_or_default(),
            verify: given.flag("verify", true)?,
            side_files: given.flag("sideFiles", false)?,
            layout: given
                .word(
                    "layout",
                    [("auto", OutputLayout::Auto), ("single", OutputLayout::Single)],
                )?
                .unwrap_or_default(),
            read_back: given.flag("readBack", false)?,
        })
    }
}

/// How `tensors` and `hash` see a tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum As {
    /// In its own dtype.
    #[default]
    Stored,
    /// In float32.
    Float32,
}

/// Options of `tensors`.
#[derive(Clone, Debug, Default)]
pub struct TensorsOptions {
    /// Only these, in this order; all in sorted order when absent.
    pub names: Option<Vec<String>>,
    /// Only these rows (first dimension), half open; none of a tensor that is empty.
    pub rows: Option<(u64, u64)>,
    /// Dtype of the pieces.
    pub form: As,
}

impl Options for TensorsOptions {
    fn take(given: &mut Given) -> Result<Self> {
        let refuse = |given: &Value| {
            wrong(
                "rows",
                "a list of two row numbers, the first and one past the last",
                given,
            )
        };
        let row = |given: &Value| given.whole().ok_or_else(|| refuse(given));
        let rows = match given.take("rows") {
            None => None,
            Some(Value::List(rows)) if rows.len() == 2 => Some((row(&rows[0])?, row(&rows[1])?)),
            Some(other) => return Err(refuse(&other)),
        };
        Ok(Self {
            names: given.names("names")?,
            rows,
            form: form(given)?,
        })
    }
}

/// Most bars of a histogram: more than a screen has columns.
pub const MAX_BINS: u32 = 4096;

/// Options of `stats`.
#[derive(Clone, Debug)]
pub struct StatsOptions {
    /// Only these; all in sorted order when absent.
    pub names: Option<Vec<String>>,
    /// Bars of the histogram, from 1 to [`MAX_BINS`].
    pub bins: u32,
}

impl Options for StatsOptions {
    fn take(given: &mut Given) -> Result<Self> {
        Ok(Self {
            names: given.names("names")?,
            bins: given.small("bins", 1, MAX_BINS)?.unwrap_or(64),
        })
    }
}

/// Options of `hash`.
#[derive(Clone, Debug, Default)]
pub struct HashOptions {
    /// Which bytes are hashed.
    pub form: As,
}

impl Options for HashOptions {
    fn take(given: &mut Given) -> Result<Self> {
        Ok(Self { form: form(given)? })
    }
}

fn form(given: &mut Given) -> Result<As> {
    let form = given.word("as", [("stored", As::Stored), ("float32", As::Float32)])?;
    Ok(form.unwrap_or_default())
}

/// Options of jobs that have none.
#[derive(Clone, Debug, Default)]
pub struct NoOptions {}

impl Options for NoOptions {
    fn take(_: &mut Given) -> Result<Self> {
        Ok(Self {})
    }
}
