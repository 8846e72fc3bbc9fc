//! A JSON reader that hands over one value at a time.
//!
//! Nothing exists before its limit was spent: the caller takes each key and value as it comes and can stop at any of
//! them. Numbers keep their spelling. Depth is bounded, texts must be UTF-8, and errors know their byte.
//!
//! The general libraries cost more here than everything else together: with one, the readers of our three headers were a
//! fifth of the wasm module.

use crate::error::{quoted, Code, Error, Result};
use crate::limits::{MAX_JSON_DEPTH, MAX_UNKNOWN_KEYS};
use std::borrow::Cow;

/// Bytes of a wrong value that messages show.
const SHOWN_BYTES: usize = 24;

/// A place in a JSON text that is part of a file.
pub(crate) struct JsonReader<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: u32,
    start: u64,
    what: &'static str,
}

impl<'a> JsonReader<'a> {
    /// The start of `bytes`, which stand at `start` of their file and are called `what` in messages.
    pub(crate) fn new(bytes: &'a [u8], start: u64, what: &'static str) -> Self {
        Self {
            bytes,
            at: 0,
            depth: 0,
            start,
            what,
        }
    }

    /// Reads the whole text with `read`. Errors get the place where the reader stood, if they have none.
    pub(crate) fn whole<T>(mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let result = read(&mut self).and_then(|value| match self.peek() {
            None => Ok(value),
            Some(_) => Err(self.wrong("the end of the text")),
        });
        result.map_err(|mut e| {
            e.offset.get_or_insert(self.start + self.at as u64);
            e
        })
    }

    /// The error that something else stands here than `wanted`.
    #[cold]
    pub(crate) fn wrong(&self, wanted: &str) -> Error {
        let rest = &self.bytes[self.at.min(self.bytes.len())..];
        let end = rest
            .iter()
            .position(|b| b",]} \n\r\t".contains(b))
            .unwrap_or(rest.len());
        let found = match end.min(SHOWN_BYTES) {
            0 if rest.is_empty() => "the end".into(),
            n => format!("`{}`", rest[..n.max(1)].escape_ascii()),
        };
        self.broken(&format!("expected {wanted}, found {found}"))
    }

    /// The error that the object which was just read lacks `key`.
    #[cold]
    pub(crate) fn missing(&self, key: &str) -> Error {
        self.broken(&format!("{key} is missing"))
    }

    fn broken(&self, text: &str) -> Error {
        let offset = self.start + self.at as u64;
        Error::new(
            Code::Malformed,
            format!(
                "{} is not as it must be at byte {offset}: {text}; the file is damaged or was not made by a correct \
                 program, get it again",
                self.what
            ),
        )
        .at(offset)
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    /// Passes over `byte` if it comes next.
    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn literal(&mut self, word: &str) -> bool {
        let found = self.bytes[self.at..].starts_with(word.as_bytes());
        self.at += if found { word.len() } else { 0 };
        found
    }

    /// Passes over `null` if it comes next.
    pub(crate) fn null(&mut self) -> bool {
        self.peek() == Some(b'n') && self.literal("null")
    }

    fn enter(&mut self, open: u8, wanted: &str) -> Result<()> {
        if !self.take(open) {
            return Err(self.wrong(wanted));
        }
        self.depth += 1;
        match self.depth > MAX_JSON_DEPTH {
            true => Err(self.wrong("less depth")),
            false => Ok(()),
        }
    }

    /// Reads an object: `each` gets every key, with the reader before its value. `wanted` says in messages what it is.
    pub(crate) fn object(
        &mut self,
        wanted: &str,
        each: &mut dyn FnMut(&mut Self, Cow<'a, str>) -> Result<()>,
    ) -> Result<()> {
        self.enter(b'{', wanted)?;
        if !self.take(b'}') {
            loop {
                let key = self.text("a key")?;
                if !self.take(b':') {
                    return Err(self.wrong("a colon"));
                }
                each(self, key)?;
                if self.take(b'}') {
                    break;
                }
                if !self.take(b',') {
                    return Err(self.wrong("a comma or the end of the object"));
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Reads a list: `each` gets the reader before every item.
    pub(crate) fn list(&mut self, wanted: &str, each: &mut dyn FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.enter(b'[', wanted)?;
        if !self.take(b']') {
            loop {
                each(self)?;
                if self.take(b']') {
                    break;
                }
                if !self.take(b',') {
                    return Err(self.wrong("a comma or the end of the list"));
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Reads a text, borrowed where it has no escapes.
    pub(crate) fn text(&mut self, wanted: &str) -> Result<Cow<'a, str>> {
        if !self.take(b'"') {
            return Err(self.wrong(wanted));
        }
        let start = self.at;
        let mut owned: Option<String> = None;
        let mut piece = start;
        loop {
            match self.bytes.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    let text = owned.get_or_insert_with(String::new);
                    text.push_str(utf8(&self.bytes[piece..self.at]).ok_or_else(|| self.wrong("UTF-8"))?);
                    self.at += 1;
                    let c = self.escape().ok_or_else(|| self.wrong("an escape of JSON"))?;
                    if let Some(text) = &mut owned {
                        text.push(c);
                    }
                    piece = self.at;
                }
                Some(0..=0x1f) | None => return Err(self.wrong("the end of a text")),
                Some(_) => self.at += 1,
            }
        }
        let Some(last) = utf8(&self.bytes[piece..self.at]) else {
            return Err(self.wrong("UTF-8"));
        };
        self.at += 1;
        Ok(match owned {
            None => Cow::Borrowed(last),
            Some(text) => Cow::Owned(text + last),
        })
    }

    /// The character of the escape whose backslash was passed.
    fn escape(&mut self) -> Option<char> {
        let letter = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(match letter {
            b'"' | b'\\' | b'/' => char::from(letter),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex()?;
                if !(0xd800..0xe000).contains(&first) {
                    return char::from_u32(first);
                }
                let second = if self.literal("\\u") { self.hex()? } else { 0 };
                if first >= 0xdc00 || !(0xdc00..0xe000).contains(&second) {
                    return None;
                }
                return char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00));
            }
            _ => return None,
        })
    }

    fn hex(&mut self) -> Option<u32> {
        let mut value = 0;
        for _ in 0..4 {
            value = 16 * value + char::from(*self.bytes.get(self.at)?).to_digit(16)?;
            self.at += 1;
        }
        Some(value)
    }

    /// Reads a whole number from 0 to 2^64 - 1, without sign, point or exponent.
    pub(crate) fn number(&mut self) -> Result<u64> {
        const WANTED: &str = "a whole number from 0 to 2^64 - 1";
        self.peek();
        let before = self.at;
        let spelled = self.spelled_number().ok_or_else(|| self.wrong(WANTED))?;
        let number = match spelled.bytes().all(|b| b.is_ascii_digit()) {
            true => spelled.parse().ok(),
            false => None,
        };
        number.ok_or_else(|| {
            self.at = before;
            self.wrong(WANTED)
        })
    }

    /// Passes over a number and gives its spelling; `None` where none stands.
    fn spelled_number(&mut self) -> Option<&'a str> {
        let start = self.at;
        self.literal("-");
        if !self.literal("0") && self.digits() == 0 {
            return None;
        }
        if self.literal(".") && self.digits() == 0 {
            return None;
        }
        if self.literal("e") || self.literal("E") {
            let _ = self.literal("+") || self.literal("-");
            if self.digits() == 0 {
                return None;
            }
        }
        utf8(&self.bytes[start..self.at])
    }

    fn digits(&mut self) -> usize {
        let n = self.bytes[self.at..].iter().take_while(|b| b.is_ascii_digit()).count();
        self.at += n;
        n
    }

    /// Reads a list of at most `max` whole numbers, which is called `what` in messages.
    pub(crate) fn numbers(&mut self, what: &str, max: usize) -> Result<Vec<u64>> {
        let mut numbers = Vec::new();
        self.list(what, &mut |reader| {
            if numbers.len() == max {
                return Err(Error::new(Code::Limit, format!("{what} with more than {max} numbers")));
            }
            numbers.push(reader.number()?);
            Ok(())
        })?;
        Ok(numbers)
    }

    /// Passes over any value and gives its spelling.
    pub(crate) fn skip(&mut self) -> Result<&'a str> {
        const WANTED: &str = "a value";
        let first = self.peek();
        let start = self.at;
        match first {
            Some(b'{') => self.object(WANTED, &mut |reader, _| reader.skip().map(drop))?,
            Some(b'[') => self.list(WANTED, &mut |reader| reader.skip().map(drop))?,
            Some(b'"') => drop(self.text(WANTED)?),
            Some(b'-' | b'0'..=b'9') if self.spelled_number().is_some() => {}
            _ if self.literal("null") || self.literal("true") || self.literal("false") => {}
            _ => return Err(self.wrong(WANTED)),
        }
        Ok(utf8(&self.bytes[start..self.at]).unwrap_or_default())
    }
}

fn utf8(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// Any JSON value, for texts that are small and our own.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Flag(bool),
    /// A number, as spelled.
    Number(String),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Value>),
    /// An object, its keys in the order of the text.
    Object(Vec<(String, Value)>),
}

impl Value {
    /// Parses a whole text.
    pub(crate) fn parse(json: &str) -> Result<Self> {
        JsonReader::new(json.as_bytes(), 0, "the text").whole(Self::read)
    }

    fn read(reader: &mut JsonReader<'_>) -> Result<Self> {
        Ok(match reader.peek() {
            Some(b'"') => Value::Text(reader.text("a text")?.into_owned()),
            Some(b'[') => {
                let mut items = Vec::new();
                reader.list("a list", &mut |r| {
                    items.push(Self::read(r)?);
                    Ok(())
                })?;
                Value::List(items)
            }
            Some(b'{') => {
                let mut entries = Vec::new();
                reader.object("an object", &mut |r, key| {
                    entries.push((key.into_owned(), Self::read(r)?));
                    Ok(())
                })?;
                Value::Object(entries)
            }
            _ => match reader.skip()? {
                "null" => Value::Null,
                "true" => Value::Flag(true),
                "false" => Value::Flag(false),
                number => Value::Number(number.to_owned()),
            },
        })
    }

    /// The entry of an object under `key`; `Null` when there is none.
    pub(crate) fn get(&self, key: &str) -> &Value {
        match self {
            Value::Object(entries) => entries.iter().find(|(k, _)| k == key).map_or(&Value::Null, |(_, v)| v),
            _ => &Value::Null,
        }
    }

    /// The text, if it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number from 0 on, if it is one.
    pub(crate) fn whole(&self) -> Option<u64> {
        match self {
            Value::Number(spelled) => spelled.parse().ok(),
            _ => None,
        }
    }
}

/// The keys of one object that we do not know, so that even they cannot come twice.
#[derive(Default)]
pub(crate) struct UnknownKeys(Vec<String>);

impl UnknownKeys {
    /// Takes note of a key; an error when it was there before or when there are too many.
    pub(crate) fn note(&mut self, key: &str) -> Result<()> {
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
#[cold]
pub(crate) fn twice(key: &str) -> Error {
    Error::new(
        Code::Malformed,
        format!(
            "the key {key} comes twice, and programs differ in which one they take; have the file written again",
            key = quoted(key)
        ),
    )
}

/// Puts `value` into `slot`; an error when it is taken.
pub(crate) fn once<T>(slot: &mut Option<T>, key: &str, value: T) -> Result<()> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(twice(key)),
    }
}

/// Says in an error that names no tensor that it happened in this one's entry.
pub(crate) fn inside<T>(tensor: &str, result: Result<T>) -> Result<T> {
    result.map_err(|mut e| {
        if e.tensor.is_none() {
            e.message
                .push_str(&format!(" (in the entry of tensor {tensor})", tensor = quoted(tensor)));
            e.tensor = Some(tensor.to_owned());
        }
        e
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn accepts(json: &[u8]) -> bool {
        JsonReader::new(json, 0, "the text")
            .whole(|r| r.skip().map(drop))
            .is_ok()
    }

    #[test]
    fn accepts_what_json_is() {
        for (json, ok) in [
            ("{}", true),
            (" [ 1 , -0.5e+3, \"a\\u00e9\\ud83d\\ude00\" ] ", true),
            ("01", false),
            ("1.", false),
            ("1e310", true),
            ("1e310{", false),
            ("-", false),
            ("1e", false),
            ("[1,]", false),
            ("{\"a\":1,}", false),
            ("{\"a\" 1}", false),
            ("\"\\ud800\"", false),
            ("\"\\udc00\\ud800\"", false),
            ("\"\u{1}\"", false),
            ("\"\\x\"", false),
            ("nul", false),
            ("true false", false),
            ("", false),
        ] {
            assert_eq!(accepts(json.as_bytes()), ok, "{json}");
        }
        assert!(!accepts(b"\"\xff\""));
        let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(accepts(deep(127).as_bytes()));
        assert!(!accepts(deep(128).as_bytes()));
    }

    proptest! {
        /// The same verdict as serde_json on texts near JSON. Nothing is made of the values: numbers that no f64 holds are
        /// numbers, for we keep the spelling.
        #[test]
        fn agrees_with_serde_json(json in r#"[\[\]{},:"\\a-f0-9.eE+ -]{0,12}"#) {
            let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&json);
            prop_assert_eq!(accepts(json.as_bytes()), theirs.is_ok(), "{}", json);
        }

        #[test]
        fn texts_come_back(text in "\\PC*") {
            let json = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(Value::parse(&json).unwrap(), Value::Text(text));
        }
    }
}
