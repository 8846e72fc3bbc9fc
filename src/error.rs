//! Errors of the core: a stable code, a sentence that says what to do, and where it happened.

use std::fmt::{self, Write};

/// What went wrong, by who is at fault. The names are stable: users match on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The file does not start like a `.wdelta` file.
    NotWdelta,
    /// A `.wdelta` version, operation or flag that this build does not know.
    UnsupportedVersion,
    /// The file ends before what its header promises.
    Truncated,
    /// Bytes differ from the checksum or digest stored with them.
    Checksum,
    /// The structure breaks the format's rules.
    Malformed,
    /// The base is not the model that the delta was made against.
    WrongBase,
    /// Deltas of a chain do not follow each other.
    BrokenChain,
    /// A tensor is present on one side only.
    MissingTensor,
    /// The same tensor has different shapes.
    ShapeMismatch,
    /// A dtype that this operation cannot handle.
    UnsupportedDtype,
    /// NaN or infinity where it would spread.
    NonFinite,
    /// A bound of `limits.rs` was exceeded.
    Limit,
    /// A URL's server does not answer range requests.
    NoRanges,
    /// A file changed while it was read.
    SourceChanged,
    /// The caller asked for something that does not exist or does not fit together.
    Usage,
    /// Reading or writing failed (set by the host).
    Io,
    /// The caller aborted (set by the host).
    Aborted,
    /// A defect of wdelta itself.
    Internal,
}

/// Every code with its stable name and its meaning, the one table that docs and page are checked against.
pub const CODES: [(Code, &str, &str); 18] = [
    (Code::NotWdelta, "NOT_WDELTA", "the file is not a .wdelta file"),
    (
        Code::UnsupportedVersion,
        "UNSUPPORTED_VERSION",
        "the file needs a newer wdelta",
    ),
    (Code::Truncated, "TRUNCATED", "the file ends too early"),
    (Code::Checksum, "CHECKSUM", "the bytes differ from their checksum"),
    (Code::Malformed, "MALFORMED", "the file breaks the rules of its format"),
    (Code::WrongBase, "WRONG_BASE", "the delta was made against another base"),
    (Code::BrokenChain, "BROKEN_CHAIN", "the deltas do not follow each other"),
    (
        Code::MissingTensor,
        "MISSING_TENSOR",
        "a tensor is present on one side only",
    ),
    (
        Code::ShapeMismatch,
        "SHAPE_MISMATCH",
        "a tensor has another shape on the other side",
    ),
    (
        Code::UnsupportedDtype,
        "UNSUPPORTED_DTYPE",
        "the operation cannot handle this dtype",
    ),
    (
        Code::NonFinite,
        "NON_FINITE",
        "a tensor holds NaN or infinity that would spread",
    ),
    (Code::Limit, "LIMIT", "a safety limit was exceeded"),
    (Code::NoRanges, "NO_RANGES", "the server does not answer range requests"),
    (
        Code::SourceChanged,
        "SOURCE_CHANGED",
        "a file changed while it was read",
    ),
    (Code::Usage, "USAGE", "the call or its options are wrong"),
    (Code::Io, "IO", "reading or writing failed"),
    (Code::Aborted, "ABORTED", "the caller aborted"),
    (Code::Internal, "INTERNAL", "a defect of wdelta"),
];

impl Code {
    /// The stable name, such as `WRONG_BASE`.
    pub fn as_str(self) -> &'static str {
        CODES
            .iter()
            .find(|(c, ..)| *c == self)
            .map_or("INTERNAL", |(_, name, _)| name)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an [`Error`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    /// The stable code.
    pub code: Code,
    /// What was expected, what was found, where, and what to do.
    pub message: String,
    /// Name of the tensor concerned.
    pub tensor: Option<String>,
    /// Byte position in the source.
    pub offset: Option<u64>,
    /// Number of the source that the offset belongs to; the host knows its name.
    pub source_id: Option<u32>,
}

/// An error of the core. `Display` gives the sentence; the fields of [`Detail`] say where.
///
/// Boxed: a result is then one word, and every `?` in the wasm module a few instructions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.message)]
pub struct Error(Box<Detail>);

impl std::ops::Deref for Error {
    type Target = Detail;
    fn deref(&self) -> &Detail {
        &self.0
    }
}

impl std::ops::DerefMut for Error {
    fn deref_mut(&mut self) -> &mut Detail {
        &mut self.0
    }
}

impl Error {
    /// An error with code and sentence only.
    #[cold]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self(Box::new(Detail {
            code,
            message: message.into(),
            tensor: None,
            offset: None,
            source_id: None,
        }))
    }

    /// Adds the tensor's name.
    #[must_use]
    #[cold]
    pub fn tensor(mut self, name: impl Into<String>) -> Self {
        self.0.tensor = Some(name.into());
        self
    }

    /// Says at the start of the sentence which tensor it is about, and adds the tensor's name.
    #[must_use]
    #[cold]
    pub fn about(mut self, name: &str) -> Self {
        self.0.message = format!("tensor {}: {}", quoted(name), self.0.message);
        self.tensor(name)
    }

    /// Adds the byte position.
    #[must_use]
    #[cold]
    pub fn at(mut self, offset: u64) -> Self {
        self.0.offset = Some(offset);
        self
    }

    /// Adds the source's number, unless an inner layer has set one.
    #[must_use]
    #[cold]
    pub fn source(mut self, id: u32) -> Self {
        self.0.source_id.get_or_insert(id);
        self
    }
}

/// A shape for a sentence, as people write it: `32000×4096`, `a scalar`.
pub fn shape_text(shape: &[u64]) -> String {
    if shape.is_empty() {
        return "a scalar".into();
    }
    shape.iter().map(u64::to_string).collect::<Vec<_>>().join("×")
}

/// Most characters of a name that a sentence shows; of a longer one it shows the first and the last of them.
const SHOWN_CHARS: usize = 200;

/// A name from a file or a caller for a sentence: in quotes, with what would not be seen escaped, and with `…` for the
/// middle of one of more than 200 characters.
///
/// It differs from the standard library's `Debug` in that it asks no table of Unicode for what can be printed; that is
/// a hundredth of the module.
///
/// ```
/// use wdelta::error::quoted;
/// assert_eq!(quoted("a\"\n\u{202e}é").to_string(), "\"a\\\"\\n\\u{202e}é\"");
/// ```
pub fn quoted<T: AsRef<str> + ?Sized>(text: &T) -> Quoted<'_> {
    Quoted(text.as_ref())
}

/// See [`quoted`].
pub struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        let left_out = SHOWN_CHARS / 2..self.0.chars().count().saturating_sub(SHOWN_CHARS / 2);
        for (at, c) in self.0.chars().enumerate() {
            if left_out.contains(&at) {
                if at == left_out.start {
                    f.write_char('…')?;
                }
                continue;
            }
            match c {
                '"' | '\\' => {
                    f.write_char('\\')?;
                    f.write_char(c)?;
                }
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                '\0' => f.write_str("\\0")?,
                _ if is_unseen(c) => write!(f, "\\u{{{:x}}}", c as u32)?,
                _ => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

/// Control characters, separators and marks without a width, directions of text, private use, noncharacters at the end.
fn is_unseen(c: char) -> bool {
    matches!(c,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{a0}' | '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{2000}'..='\u{200f}'
        | '\u{2028}'..='\u{202f}' | '\u{205f}'..='\u{206f}' | '\u{3000}' | '\u{e000}'..='\u{f8ff}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{10ffff}')
}

/// A result with the core's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_one_name() {
        let mut names: Vec<_> = CODES.iter().map(|(_, name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CODES.len());
        for (code, name, _) in CODES {
            assert_eq!(code.as_str(), name);
        }
    }
}
