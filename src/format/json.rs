//! What the header parsers share: errors that keep their code through serde, and texts as they are spelled.
//!
//! The parsers are serde visitors over the header's bytes, so that no value exists before its limit was spent and no
//! key can come twice unseen. `serde_json` bounds the depth (128 levels) and checks UTF-8.

use crate::error::{Code, Error, Result};
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;

/// A JSON text inside a file.
pub(super) struct Json<'de> {
    bytes: &'de [u8],
    start: u64,
    what: &'static str,
    failure: RefCell<Option<Error>>,
    tensor: RefCell<Option<String>>,
}

impl<'de> Json<'de> {
    /// The text `bytes`, which stands at `start` of its file and is called `what` in messages.
    pub(super) fn new(bytes: &'de [u8], start: u64, what: &'static str) -> Self {
        Self {
            bytes,
            start,
            what,
            failure: RefCell::new(None),
            tensor: RefCell::new(None),
        }
    }

    /// Parses the whole text. `MALFORMED` with the place where it breaks the rules, or what [`Json::fail`] was given.
    pub(super) fn parse<S: DeserializeSeed<'de>>(&self, seed: S) -> Result<S::Value> {
        let mut deserializer = serde_json::Deserializer::from_slice(self.bytes);
        seed.deserialize(&mut deserializer)
            .and_then(|value| deserializer.end().map(|()| value))
            .map_err(|e| self.error(&e))
    }

    /// Makes [`Json::parse`] return `error`; gives what a visitor has to return.
    pub(super) fn fail<E: de::Error>(&self, error: Error) -> E {
        let message = E::custom(&error.message);
        self.failure.replace(Some(error));
        message
    }

    /// Hands `result` on; of an error it notes that it happened inside this tensor's entry.
    pub(super) fn inside<T, E>(&self, tensor: &str, result: std::result::Result<T, E>) -> std::result::Result<T, E> {
        if result.is_err() {
            self.tensor.borrow_mut().get_or_insert_with(|| tensor.to_owned());
        }
        result
    }

    fn error(&self, e: &serde_json::Error) -> Error {
        let offset = self.start + self.offset_of(e);
        let tensor = self.tensor.take();
        if let Some(mut failure) = self.failure.take() {
            failure.offset.get_or_insert(offset);
            failure.tensor = failure.tensor.take().or(tensor);
            return failure;
        }
        let text = e.to_string();
        let text = text.rsplit_once(" at line ").map_or(&*text, |(text, _)| text);
        let place = tensor
            .as_ref()
            .map(|t| format!(", in the entry of tensor {t:?}"))
            .unwrap_or_default();
        let mut error = Error::new(
            Code::Malformed,
            format!(
                "{} is not as it must be at byte {offset}{place}: {text}; the file is damaged or was not made by a \
                 correct program, get it again",
                self.what
            ),
        )
        .at(offset);
        error.tensor = tensor;
        error
    }

    /// Where serde_json stopped. It counts lines from 1 and bytes within the line.
    fn offset_of(&self, e: &serde_json::Error) -> u64 {
        let line = e.line().saturating_sub(1);
        let line_start = if line == 0 {
            0
        } else {
            let mut ends = self.bytes.iter().enumerate().filter(|(_, b)| **b == b'\n');
            ends.nth(line - 1).map_or(self.bytes.len(), |(i, _)| i + 1)
        };
        (line_start + e.column().saturating_sub(1)).min(self.bytes.len()) as u64
    }

    /// The value after `key` as it is spelled, where `key` is a slice of this text.
    ///
    /// Numbers are kept this way: what serde_json gives is one f64, and not always the nearest one. `None` for a key
    /// that was unescaped into a text of its own; nobody writes such keys.
    pub(super) fn spelled_after(&self, key: &Cow<'de, str>) -> Option<&'de str> {
        let Cow::Borrowed(key) = key else { return None };
        let key_at = (key.as_ptr() as usize).checked_sub(self.bytes.as_ptr() as usize)?;
        let rest = self.bytes.get(key_at + key.len()..)?.strip_prefix(b"\"")?;
        let rest = rest.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<IgnoredAny>();
        values.next()?.ok()?;
        std::str::from_utf8(&rest[..values.byte_offset()]).ok()
    }
}

/// A string, borrowed where it has no escapes.
pub(super) struct Text;

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Cow<'de, str>;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> std::result::Result<Self::Value, D::Error> {
        d.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Cow<'de, str>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }
    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> std::result::Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }
    fn visit_str<E: de::Error>(self, text: &str) -> std::result::Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// A whole number from 0 on.
pub(super) struct Whole(pub(super) u64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        d.deserialize_u64(WholeVisitor)
    }
}

struct WholeVisitor;

impl Visitor<'_> for WholeVisitor {
    type Value = Whole;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number from 0 to 2^64 - 1")
    }
    fn visit_u64<E>(self, n: u64) -> std::result::Result<Whole, E> {
        Ok(Whole(n))
    }
}

/// A list of at most `max` whole numbers from 0 on.
pub(super) struct Numbers<'a, 'de> {
    pub(super) json: &'a Json<'de>,
    pub(super) max: usize,
    /// What the list is, for messages.
    pub(super) what: &'static str,
}

impl<'de> DeserializeSeed<'de> for Numbers<'_, 'de> {
    type Value = Vec<u64>;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> std::result::Result<Self::Value, D::Error> {
        d.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Numbers<'_, 'de> {
    type Value = Vec<u64>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: a list of whole numbers from 0 on", self.what)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Self::Value, A::Error> {
        let mut numbers = Vec::new();
        while let Some(Whole(n)) = seq.next_element()? {
            if numbers.len() == self.max {
                return Err(self.json.fail(Error::new(
                    Code::Limit,
                    format!("{} with more than {} numbers", self.what, self.max),
                )));
            }
            numbers.push(n);
        }
        Ok(numbers)
    }
}

/// Any value, looked at and dropped. Unlike serde's `IgnoredAny` it keeps to serde_json's bound on depth.
pub(super) struct Skip;

impl<'de> Deserialize<'de> for Skip {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        d.deserialize_any(Skip)
    }
}

impl<'de> Visitor<'de> for Skip {
    type Value = Self;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }
    fn visit_bool<E>(self, _: bool) -> std::result::Result<Self, E> {
        Ok(self)
    }
    fn visit_i64<E>(self, _: i64) -> std::result::Result<Self, E> {
        Ok(self)
    }
    fn visit_u64<E>(self, _: u64) -> std::result::Result<Self, E> {
        Ok(self)
    }
    fn visit_f64<E>(self, _: f64) -> std::result::Result<Self, E> {
        Ok(self)
    }
    fn visit_str<E>(self, _: &str) -> std::result::Result<Self, E> {
        Ok(self)
    }
    fn visit_unit<E>(self) -> std::result::Result<Self, E> {
        Ok(self)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Self, A::Error> {
        while seq.next_element::<Skip>()?.is_some() {}
        Ok(self)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self, A::Error> {
        while map.next_entry::<Skip, Skip>()?.is_some() {}
        Ok(self)
    }
}

/// Most keys of one object that we do not know. Real files have none.
const MAX_UNKNOWN_KEYS: usize = 64;

/// The keys of one object that we do not know, so that even they cannot come twice.
#[derive(Default)]
pub(super) struct UnknownKeys(Vec<String>);

impl UnknownKeys {
    /// Takes note of a key; an error when it was there before or when there are too many.
    pub(super) fn note(&mut self, key: &str) -> Result<()> {
        if self.0.iter().any(|k| k == key) {
            return Err(twice(key));
        }
        if self.0.len() == MAX_UNKNOWN_KEYS {
            return Err(Error::new(
                Code::Limit,
                format!("one object has more than {MAX_UNKNOWN_KEYS} keys that wdelta does not know"),
            ));
        }
        self.0.push(key.to_owned());
        Ok(())
    }
}

/// The error for a key that one object has twice.
pub(super) fn twice(key: &str) -> Error {
    Error::new(
        Code::Malformed,
        format!("the key {key:?} comes twice, and programs differ in which one they take; have the file written again"),
    )
}

/// Puts `value` into `slot`; an error when it is taken.
pub(super) fn once<T>(slot: &mut Option<T>, key: &str, value: T) -> Result<()> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(twice(key)),
    }
}
