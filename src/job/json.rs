//! Reports as JSON: a serde serializer that pushes onto a `String` and knows no more than reports need.
//!
//! A general one is several times its size in the wasm module.

use crate::decimal;
use crate::format::json_text::{is_plain, push_text};
use serde::ser::{self, Impossible, Serialize};
use std::fmt::{self, Display, Write};

/// A report holds what JSON cannot say or what no report needs. Reports are our own types, so this is a defect.
///
/// It says no more: a result is then one byte, and every `?` in the derived code a few instructions.
#[derive(Debug)]
pub struct Unsupported;

impl Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a report holds a value of an unexpected kind")
    }
}

impl std::error::Error for Unsupported {}

impl ser::Error for Unsupported {
    fn custom<T: Display>(_: T) -> Self {
        Self
    }
}

type Written = Result<(), Unsupported>;

/// `value` as JSON. Numbers that are not finite become `null`.
pub fn write<T: Serialize + ?Sized>(value: &T) -> Result<String, Unsupported> {
    let mut json = Json { text: String::new() };
    value.serialize(&mut json)?;
    Ok(json.text)
}

struct Json {
    text: String,
}

impl Json {
    fn string(&mut self, text: &str) {
        push_text(&mut self.text, text, is_plain);
    }

    #[inline(never)]
    fn whole(&mut self, n: u64) -> Written {
        let _ = write!(self.text, "{n}");
        Ok(())
    }
}

/// An object or list that is being written.
struct Open<'a> {
    json: &'a mut Json,
    close: char,
    first: bool,
}

impl<'a> Open<'a> {
    fn new(json: &'a mut Json, open: char, close: char) -> Self {
        json.text.push(open);
        Self {
            json,
            close,
            first: true,
        }
    }

    /// What stands before a value. Apart from [`Self::item`], so that it exists once and not for every type of value.
    #[inline(never)]
    fn begin(&mut self, key: Option<&str>) {
        if !std::mem::take(&mut self.first) {
            self.json.text.push(',');
        }
        if let Some(key) = key {
            self.json.string(key);
            self.json.text.push(':');
        }
    }

    fn item<T: Serialize + ?Sized>(&mut self, key: Option<&str>, value: &T) -> Written {
        self.begin(key);
        value.serialize(&mut *self.json)
    }

    fn close(self) -> Written {
        self.json.text.push(self.close);
        Ok(())
    }
}

impl ser::SerializeSeq for Open<'_> {
    type Ok = ();
    type Error = Unsupported;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Written {
        self.item(None, value)
    }
    fn end(self) -> Written {
        self.close()
    }
}

impl ser::SerializeTuple for Open<'_> {
    type Ok = ();
    type Error = Unsupported;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Written {
        self.item(None, value)
    }
    fn end(self) -> Written {
        self.close()
    }
}

impl ser::SerializeStruct for Open<'_> {
    type Ok = ();
    type Error = Unsupported;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Written {
        self.item(Some(key), value)
    }
    fn end(self) -> Written {
        self.close()
    }
}

impl<'a> ser::Serializer for &'a mut Json {
    type Ok = ();
    type Error = Unsupported;
    type SerializeSeq = Open<'a>;
    type SerializeTuple = Open<'a>;
    type SerializeStruct = Open<'a>;
    type SerializeTupleStruct = Impossible<(), Unsupported>;
    type SerializeTupleVariant = Impossible<(), Unsupported>;
    type SerializeMap = Impossible<(), Unsupported>;
    type SerializeStructVariant = Impossible<(), Unsupported>;

    fn serialize_bool(self, v: bool) -> Written {
        self.text.push_str(if v { "true" } else { "false" });
        Ok(())
    }
    fn serialize_i8(self, v: i8) -> Written {
        self.serialize_i64(v.into())
    }
    fn serialize_i16(self, v: i16) -> Written {
        self.serialize_i64(v.into())
    }
    fn serialize_i32(self, v: i32) -> Written {
        self.serialize_i64(v.into())
    }
    fn serialize_i64(self, v: i64) -> Written {
        if v < 0 {
            self.text.push('-');
        }
        self.whole(v.unsigned_abs())
    }
    fn serialize_u8(self, v: u8) -> Written {
        self.whole(v.into())
    }
    fn serialize_u16(self, v: u16) -> Written {
        self.whole(v.into())
    }
    fn serialize_u32(self, v: u32) -> Written {
        self.whole(v.into())
    }
    fn serialize_u64(self, v: u64) -> Written {
        self.whole(v)
    }
    fn serialize_f32(self, v: f32) -> Written {
        self.serialize_f64(v.into())
    }
    fn serialize_f64(self, v: f64) -> Written {
        match v.is_finite() {
            true => self.text.push_str(&decimal::shortest(v)),
            false => self.text.push_str("null"),
        }
        Ok(())
    }
    fn serialize_char(self, v: char) -> Written {
        self.string(v.encode_utf8(&mut [0; 4]));
        Ok(())
    }
    fn serialize_str(self, v: &str) -> Written {
        self.string(v);
        Ok(())
    }
    fn serialize_bytes(self, _: &[u8]) -> Written {
        Err(Unsupported)
    }
    fn serialize_none(self) -> Written {
        self.text.push_str("null");
        Ok(())
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Written {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Written {
        self.serialize_none()
    }
    fn serialize_unit_struct(self, _: &'static str) -> Written {
        self.serialize_none()
    }
    fn serialize_unit_variant(self, _: &'static str, _: u32, name: &'static str) -> Written {
        self.string(name);
        Ok(())
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Written {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        value: &T,
    ) -> Written {
        let mut open = Open::new(self, '{', '}');
        open.item(Some(name), value)?;
        open.close()
    }
    fn serialize_seq(self, _: Option<usize>) -> Result<Open<'a>, Unsupported> {
        Ok(Open::new(self, '[', ']'))
    }
    fn serialize_tuple(self, _: usize) -> Result<Open<'a>, Unsupported> {
        Ok(Open::new(self, '[', ']'))
    }
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Open<'a>, Unsupported> {
        Ok(Open::new(self, '{', '}'))
    }
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, Unsupported> {
        Err(Unsupported)
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Unsupported> {
        Err(Unsupported)
    }
    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Unsupported> {
        Err(Unsupported)
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Unsupported> {
        Err(Unsupported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Serialize;

    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Sample {
        some_text: &'static str,
        numbers: Vec<f64>,
        none: Option<u8>,
        pair: (u64, i8),
        flag: bool,
    }

    #[test]
    fn writes_what_serde_json_reads() {
        let sample = Sample {
            some_text: "a\"b\\c\n\u{7f}é😀\u{0}",
            numbers: vec![0.0, -1.5e-9, 1e300, 0.1, f64::NAN, f64::INFINITY],
            none: None,
            pair: (u64::MAX, -7),
            flag: true,
        };
        let json = write(&sample).unwrap();
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read, serde_json::to_value(&sample).unwrap());
    }
}
