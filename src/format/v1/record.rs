//! One array record: the texts and numbers before an array's data.
//!
//! `u32 n`, name; `u32 n`, field; `u32 n`, numpy dtype; `u32 ndim`; `ndim` × `u64` dimension; `u64` data length; data.
//! All little-endian, texts in UTF-8, nothing aligned.

use crate::error::{quoted, shape_text, Code, Error, Result};
use crate::limits::{MAX_NAME_BYTES, MAX_RANK};
use crate::offset::element_count;
use crate::strategy::ArrayDtype;

/// Bytes of a record with one dimension beside its three texts and its data.
const FIXED_BYTES: u64 = 32;

/// Most bytes that come before an array's data, with every text and the rank at its limit.
pub const MAX_RECORD_HEADER: u64 = 3 * (4 + MAX_NAME_BYTES as u64) + 4 + 8 * MAX_RANK as u64 + 8;

/// Bytes before the data of a record that we write.
pub fn header_len(name: &str, field: &str, dtype: ArrayDtype) -> u64 {
    FIXED_BYTES + (name.len() + field.len() + dtype.name().len()) as u64
}

/// A parsed record header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Name of the tensor.
    pub name: String,
    /// Which of its arrays.
    pub field: String,
    /// The dtype as numpy spells it.
    pub dtype: String,
    /// Dimensions of the array, as written always one.
    pub dims: Vec<u64>,
    /// Length of the data in bytes. For a dtype that we know it is width times dimensions.
    pub data_len: u64,
}

/// Parses the record header at the start of `window`: it and its length, or `None` when `window` ends inside it.
///
/// `MALFORMED` for a text that is not UTF-8 or longer than `MAX_NAME_BYTES`, a rank above `MAX_RANK`, or a data length
/// that contradicts dtype and dimensions.
pub fn parse_record(window: &[u8]) -> Result<Option<(Record, usize)>> {
    let mut rest = window;
    let mut texts = [const { String::new() }; 3];
    for (text, what) in texts.iter_mut().zip(["tensor name", "field name", "dtype"]) {
        let Some(len) = take_u32(&mut rest) else {
            return Ok(None);
        };
        // Refused at once, so that a false length is not waited for.
        if len as usize > MAX_NAME_BYTES {
            return Err(damaged(format!(
                "its {what} claims {len} bytes, and none has more than {MAX_NAME_BYTES}"
            )));
        }
        let Some((bytes, after)) = rest.split_at_checked(len as usize) else {
            return Ok(None);
        };
        let valid = std::str::from_utf8(bytes).map_err(|_| damaged(format!("its {what} is not UTF-8")))?;
        valid.clone_into(text);
        rest = after;
    }
    let Some(rank) = take_u32(&mut rest) else {
        return Ok(None);
    };
    if rank as usize > MAX_RANK {
        return Err(damaged(format!(
            "it claims {rank} dimensions, and none has more than {MAX_RANK}"
        )));
    }
    let mut dims = Vec::with_capacity(rank as usize);
    for _ in 0..rank {
        let Some(dim) = take_u64(&mut rest) else {
            return Ok(None);
        };
        dims.push(dim);
    }
    let Some(data_len) = take_u64(&mut rest) else {
        return Ok(None);
    };
    let [name, field, dtype] = texts;
    let record = Record {
        name,
        field,
        dtype,
        dims,
        data_len,
    };
    record.check_length()?;
    Ok(Some((record, window.len() - rest.len())))
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*first))
}

fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*first))
}

fn damaged(text: String) -> Error {
    Error::new(
        Code::Malformed,
        format!("an array record is damaged: {text}; get the file again"),
    )
}

impl Record {
    /// Number of elements; `None` when it does not fit in `u64`.
    pub fn elements(&self) -> Option<u64> {
        element_count(&self.dims)
    }

    fn check_length(&self) -> Result<()> {
        let Some(dtype) = NumpyDtype::parse(&self.dtype) else {
            return Ok(());
        };
        let bytes = self.elements().and_then(|n| n.checked_mul(dtype.width));
        if bytes == Some(self.data_len) {
            return Ok(());
        }
        let text = format!(
            "array {} of tensor {} has dtype {} and shape {}, but claims {} bytes",
            self.field,
            quoted(&self.name),
            self.dtype,
            shape_text(&self.dims),
            self.data_len
        );
        Err(damaged(text).tensor(&self.name))
    }

    /// The number of elements, if this array can be read as `expected`.
    ///
    /// Any numpy spelling of the same little-endian dtype will do. `UNSUPPORTED_DTYPE` for another kind, width or byte
    /// order: the reference never writes those.
    pub fn elements_as(&self, expected: ArrayDtype) -> Result<u64> {
        let found = NumpyDtype::parse(&self.dtype);
        let wanted = NumpyDtype::parse(expected.name());
        match self.elements() {
            Some(n) if found.is_some() && found == wanted => Ok(n),
            _ => Err(Error::new(
                Code::UnsupportedDtype,
                format!(
                    "array {} of tensor {} is stored as {}, but only little-endian {} is read; write the file again with \
                     deltatensors or wdelta", self.field, quoted(&self.name), quoted(&self.dtype), expected.name()),
            )
            .tensor(&self.name)),
        }
    }
}

/// What a numpy dtype text says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NumpyDtype {
    /// numpy's letter: `b`ool, `i`nteger, `u`nsigned, `f`loat, `c`omplex.
    kind: char,
    /// Bytes of an element.
    width: u64,
    big_endian: bool,
}

impl NumpyDtype {
    /// Names such as `float32` and array-protocol texts such as `<f4`, `f4`, `|u1`; `None` for what we do not know.
    fn parse(text: &str) -> Option<Self> {
        const NAMES: [(&str, &str); 14] = [
            ("bool", "b1"),
            ("int8", "i1"),
            ("int16", "i2"),
            ("int32", "i4"),
            ("int64", "i8"),
            ("uint8", "u1"),
            ("uint16", "u2"),
            ("uint32", "u4"),
            ("uint64", "u8"),
            ("float16", "f2"),
            ("float32", "f4"),
            ("float64", "f8"),
            ("complex64", "c8"),
            ("complex128", "c16"),
        ];
        if let Some((_, short)) = NAMES.iter().find(|(name, _)| *name == text) {
            return Self::parse(short);
        }
        let short = text.strip_prefix(['<', '>', '=', '|']).unwrap_or(text);
        let (kind, width) = short.split_at_checked(1)?;
        let (_, letters) = NAMES.iter().find(|(_, s)| *s == short)?;
        debug_assert_eq!(short, *letters);
        let width = width.parse().ok()?;
        Some(Self {
            kind: kind.chars().next()?,
            width,
            // The byte order of single bytes means nothing.
            big_endian: text.starts_with('>') && width > 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::v1::writer::record_header;

    fn record(dtype: &str, dims: &[u64], data_len: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        for text in ["w", "scale", dtype] {
            bytes.extend((text.len() as u32).to_le_bytes());
            bytes.extend(text.as_bytes());
        }
        bytes.extend((dims.len() as u32).to_le_bytes());
        for number in dims.iter().chain([&data_len]) {
            bytes.extend(number.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn reads_what_the_writer_writes() {
        let bytes = record_header("blk.ü", "indices", ArrayDtype::I64, 5);
        assert_eq!(bytes.len() as u64, header_len("blk.ü", "indices", ArrayDtype::I64));
        let (record, used) = parse_record(&[&bytes[..], b"data"].concat()).unwrap().unwrap();
        assert_eq!(used, bytes.len());
        let dims = vec![5];
        let (name, field, dtype) = ("blk.ü".into(), "indices".into(), "int64".into());
        assert_eq!(
            record,
            Record {
                name,
                field,
                dtype,
                dims,
                data_len: 40
            }
        );
        for cut in 0..bytes.len() {
            assert_eq!(parse_record(&bytes[..cut]).unwrap(), None, "cut at {cut}");
        }
    }

    #[test]
    fn takes_every_spelling_of_the_same_dtype() {
        let same = [
            (ArrayDtype::F16, &["float16", "f2", "<f2", "=f2"][..]),
            (ArrayDtype::F32, &["float32", "f4", "<f4", "=f4"]),
            (ArrayDtype::I64, &["int64", "i8", "<i8", "=i8"]),
            (ArrayDtype::U8, &["uint8", "u1", "|u1", "<u1", ">u1", "=u1"]),
        ];
        for (dtype, spellings) in same {
            for spelled in spellings {
                let bytes = record(spelled, &[2, 3], 6 * dtype.width() as u64);
                let (record, _) = parse_record(&bytes).unwrap().unwrap();
                assert_eq!(record.elements_as(dtype).unwrap(), 6, "{spelled}");
            }
        }
    }

    #[test]
    fn refuses_other_dtypes_by_name() {
        for (spelled, width) in [
            (">f4", 4),
            ("float64", 8),
            ("<i4", 4),
            (">i8", 8),
            ("bool", 1),
            ("i1", 1),
        ] {
            let (record, _) = parse_record(&record(spelled, &[3], 3 * width)).unwrap().unwrap();
            for dtype in [ArrayDtype::F16, ArrayDtype::F32, ArrayDtype::I64, ArrayDtype::U8] {
                let error = record.elements_as(dtype).unwrap_err();
                assert_eq!(error.code, Code::UnsupportedDtype);
                assert!(
                    error.message.contains(spelled) && error.message.contains(dtype.name()),
                    "{error}"
                );
                assert_eq!(error.tensor.as_deref(), Some("w"));
            }
        }
        // Of a dtype that we do not know, the length cannot be checked; the array cannot be used either.
        for spelled in ["", "<", "f", "f3", "datetime64[ns]", "ü", "<U10", "f4 "] {
            let (record, _) = parse_record(&record(spelled, &[3], 7)).unwrap().unwrap();
            assert!(record.elements_as(ArrayDtype::F32).is_err(), "{spelled}");
        }
    }

    #[test]
    fn the_length_must_follow_from_dtype_and_dimensions() {
        for (dims, len) in [(&[3][..], 12), (&[], 4), (&[0, u64::MAX], 0), (&[1, 3, 1], 12)] {
            assert!(
                parse_record(&record("float32", dims, len)).unwrap().is_some(),
                "{dims:?}"
            );
        }
        for (dims, len) in [
            (&[3][..], 11),
            (&[3], 13),
            (&[], 0),
            (&[1 << 62], 0),
            (&[u64::MAX, 2], 8),
        ] {
            let error = parse_record(&record("float32", dims, len)).unwrap_err();
            assert_eq!(error.code, Code::Malformed, "{dims:?}");
        }
    }

    #[test]
    fn absurd_lengths_are_refused_before_anything_is_waited_for() {
        for at in [0, 5, 14] {
            let mut bytes = record("float32", &[1], 4);
            bytes[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
            let error = parse_record(&bytes[..at + 4]).unwrap_err();
            assert!(error.message.contains("4294967295"), "{error}");
        }
        let mut bytes = record("float32", &[1], 4);
        bytes[25..29].copy_from_slice(&65u32.to_le_bytes());
        assert!(parse_record(&bytes).unwrap_err().message.contains("65 dimensions"));
        bytes[25..29].copy_from_slice(&64u32.to_le_bytes());
        assert_eq!(parse_record(&bytes).unwrap(), None);
        let mut bytes = record("float32", &[1], 4);
        bytes[4] = 0xff;
        assert!(parse_record(&bytes).unwrap_err().message.contains("not UTF-8"));
    }
}
