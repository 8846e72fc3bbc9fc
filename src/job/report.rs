//! Shapes that several reports share. Field names are camelCase on the wire.

use super::json;
use super::wire::{Wire, WireReader};
use crate::dtype::Dtype;
use crate::error::{quoted, Code, Error, Result};
use serde::Serialize;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file cannot be used as it is.
    Error,
    /// Something was lost or looks wrong.
    Warning,
    /// Worth knowing.
    Note,
}

/// Something noticed that does not stop the job.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// A stable word for it.
    pub code: &'static str,
    /// The sentence.
    pub message: String,
    /// The tensor concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensor: Option<String>,
}

impl Finding {
    /// A finding about the whole file.
    pub fn new(severity: Severity, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity,
            code,
            message: message.into(),
            tensor: None,
        }
    }

    /// Adds the tensor's name.
    #[must_use]
    pub fn tensor(mut self, name: impl Into<String>) -> Self {
        self.tensor = Some(name.into());
        self
    }
}

/// Serializes a report as JSON. Values that are not finite become `null`.
pub fn to_json<T: Serialize>(report: &T) -> Result<String> {
    json::write(report).map_err(|e| Error::new(Code::Internal, format!("a report could not be written: {e}")))
}

/// What travels between a job and its tasks. Always `Ok`: it is how a task ends.
pub fn to_wire<T: Wire>(message: &T) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    message.put(&mut bytes);
    Ok(bytes)
}

/// Reads what [`to_wire`] wrote.
pub fn from_wire<T: Wire>(bytes: &[u8]) -> Result<T> {
    let mut reader = WireReader::new(bytes);
    let message = T::get(&mut reader);
    match reader.is_done() {
        true => Ok(message),
        false => Err(not_passed()),
    }
}

fn not_passed() -> Error {
    Error::new(Code::Internal, "a message between job and task could not be read")
}

/// The report of a task that reads a delta, which [`found`] reads. Damage is handed to the job instead of ending it at once,
/// so that the job can say first that a checksum is wrong: that is the cause, and the rest its consequence.
pub fn to_found<T: Wire>(result: Result<T>) -> Result<Vec<u8>> {
    match result {
        Err(e) if !matches!(e.code, Code::Malformed | Code::Truncated | Code::Limit) => Err(e),
        found_or_damaged => to_wire(&found_or_damaged),
    }
}

/// What the task found, or its damage as the error.
pub fn found<T: Wire>(report: &[u8]) -> Result<T> {
    from_wire::<Result<T>>(report)?
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, b| {
            let _ = write!(text, "{b:02x}");
            text
        })
}

/// Up to five names for a sentence, and how many more there are.
pub fn list_names(names: &[&str]) -> String {
    let shown: Vec<_> = names.iter().take(5).map(|n| quoted(n).to_string()).collect();
    match names.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The error of a name that the caller gave.
pub fn no_tensor(name: &str) -> Error {
    let text = format!("there is no tensor {}; `inspect` lists the names", quoted(name));
    Error::new(Code::MissingTensor, text).tensor(name)
}

/// The error of a tensor whose dtype has no float32 values, and which is to be changed or converted.
pub fn not_float32(name: &str, dtype: Dtype) -> Error {
    let text = "cannot be turned into float32; it can only be taken over unchanged, in the base's own dtype";
    Error::new(Code::UnsupportedDtype, format!("{} {text}", dtype.name())).about(name)
}

/// The error of a tensor of a model, called `model`, that is not what it was a moment ago.
pub fn source_changed(model: &str, name: &str) -> Error {
    Error::new(
        Code::SourceChanged,
        format!("the {model} changed while it was read; close whatever writes to it and run again"),
    )
    .about(name)
}
