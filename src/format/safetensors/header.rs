//! The header of a safetensors file, with `u64` offsets and every rule of the format checked.

use super::LENGTH_BYTES;
use crate::dtype::Dtype;
use crate::error::{quoted, shape_text, Code, Error, Result};
use crate::format::damaged_entry;
use crate::format::json::{inside, once, twice, JsonReader, UnknownKeys};
use crate::limits::{check_len, MAX_HEADER_BYTES, MAX_NAME_BYTES, MAX_RANK, MAX_TENSORS};
use crate::offset::{element_count, ByteRange};
use crate::order::sorted_positions;

const METADATA_KEY: &str = "__metadata__";

/// One tensor of a safetensors file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its dtype.
    pub dtype: Dtype,
    /// Its dimensions, none for a scalar. The product fits in `u64`.
    pub shape: Vec<u64>,
    /// Its bytes, counted from the start of the data section, so from the end of the header. Not aligned to anything.
    pub range: ByteRange,
}

/// A parsed header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The texts under `__metadata__`, in file order.
    pub metadata: Vec<(String, String)>,
    /// The tensors in the order in which the header names them; that need not be the order of their bytes.
    pub tensors: Vec<Entry>,
}

/// Length of the JSON header from the first 8 bytes of a file of `file_len` bytes.
///
/// `TRUNCATED` when the file is shorter than that, `LIMIT` above `MAX_HEADER_BYTES`, `MALFORMED` below the two bytes
/// that the emptiest header takes.
pub fn header_len(first8: [u8; 8], file_len: u64) -> Result<u64> {
    let len = u64::from_le_bytes(first8);
    let room = file_len.saturating_sub(LENGTH_BYTES);
    let error = if len < 2 {
        let text = format!("the safetensors header claims {len} bytes, and not even an empty one has fewer than 2");
        Error::new(
            Code::Malformed,
            format!("{text}; this is not a safetensors file, or it is damaged"),
        )
    } else if len > room {
        let text = format!("the safetensors header claims {len} bytes, but only {room} follow");
        Error::new(
            Code::Truncated,
            format!("{text}; the file was cut off or is damaged, get it again"),
        )
    } else if len > MAX_HEADER_BYTES {
        let text = format!("the safetensors header claims {len} bytes, more than the {MAX_HEADER_BYTES} that are read");
        Error::new(Code::Limit, format!("{text}; split the model into several files"))
    } else {
        return Ok(len);
    };
    Err(error.at(0))
}

/// Parses the JSON of a header that `data_len` bytes of tensor data follow.
///
/// Accepts what the `safetensors` crate accepts, but for names that come twice, and for more than `limits.rs` allows:
/// every tensor's range has the length that dtype and shape ask for, ranges neither overlap nor leave holes, and
/// together they are the data section. Offsets in errors count from the start of the file.
pub fn parse_header(json: &[u8], data_len: u64) -> Result<Header> {
    check_len("the safetensors header", json.len() as u64, MAX_HEADER_BYTES)?;
    let header = JsonReader::new(json, LENGTH_BYTES, "the safetensors header").whole(read_header)?;
    check_names(&header.tensors)?;
    check_layout(&header.tensors, data_len)?;
    Ok(header)
}

fn check_names(tensors: &[Entry]) -> Result<()> {
    let order = sorted_positions(tensors.len(), &|a, b| tensors[a].name.cmp(&tensors[b].name));
    let names: Vec<_> = order.into_iter().map(|i| tensors[i].name.as_str()).collect();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => {
            Err(Error::new(
                Code::Malformed,
                format!(
                "the safetensors header names the tensor {} twice, and programs differ in which one they take; have \
                 the file written again", quoted(&pair[0])),
            )
            .tensor(pair[0]))
        }
    }
}

/// Ranges in order of offset, each starting where the one before it ends, the last ending where the data does.
fn check_layout(tensors: &[Entry], data_len: u64) -> Result<()> {
    let start = |i: usize| (tensors[i].range.offset, tensors[i].range.len);
    let order = sorted_positions(tensors.len(), &|a, b| start(a).cmp(&start(b)));
    let (mut end, mut before) = (0, None);
    for t in order.into_iter().map(|i| &tensors[i]) {
        let start = t.range.offset;
        if start > end {
            let text = format!(
                "bytes {end} to {start} of the tensor data belong to no tensor; {} comes after them",
                quoted(&t.name)
            );
            return Err(Error::new(Code::Malformed, format!("{text}; have the file written again")).tensor(&t.name));
        }
        if start < end {
            let other = before.unwrap_or("");
            let text = format!(
                "the tensor {} starts at byte {start} of the tensor data, inside {other}",
                quoted(&t.name),
                other = quoted(other)
            );
            return Err(Error::new(Code::Malformed, format!("{text}; have the file written again")).tensor(&t.name));
        }
        end = t.range.end();
        before = Some(&t.name);
        if end > data_len {
            let text = format!(
                "the tensor {} ends at byte {end} of the tensor data, but the file has {data_len}",
                quoted(&t.name)
            );
            return Err(Error::new(Code::Truncated, format!("{text}; it was cut off, get it again")).tensor(&t.name));
        }
    }
    if end < data_len {
        return Err(Error::new(
            Code::Malformed,
            format!(
                "the tensors end at byte {end} of the tensor data, but the file goes on to {data_len}; bytes after the \
                 last tensor are not allowed, get the file again"
            ),
        ));
    }
    Ok(())
}

fn read_header(json: &mut JsonReader<'_>) -> Result<Header> {
    let mut metadata = None;
    let mut tensors = Vec::new();
    json.object("an object with one entry per tensor", &mut |json, name| {
        if name == METADATA_KEY {
            return once(&mut metadata, METADATA_KEY, read_metadata(json)?);
        }
        check_name(&name)?;
        if tensors.len() == MAX_TENSORS {
            let text = format!("the header names more than {MAX_TENSORS} tensors; split the model");
            return Err(Error::new(Code::Limit, text));
        }
        tensors.push(inside(&name, read_entry(json, &name))?);
        Ok(())
    })?;
    Ok(Header {
        metadata: metadata.unwrap_or_default(),
        tensors,
    })
}

/// Refuses a name above `MAX_NAME_BYTES`.
pub(in crate::format) fn check_name(name: &str) -> Result<()> {
    if name.len() <= MAX_NAME_BYTES {
        return Ok(());
    }
    Err(Error::new(
        Code::Limit,
        format!(
            "a name of {} bytes, more than the {MAX_NAME_BYTES} that are allowed: {}",
            name.len(),
            quoted(name)
        ),
    ))
}

/// The object under `__metadata__`: texts only. `null` stands for none, as in the crate.
fn read_metadata(json: &mut JsonReader<'_>) -> Result<Vec<(String, String)>> {
    let mut texts: Vec<(String, String)> = Vec::new();
    if json.null() {
        return Ok(texts);
    }
    json.object("an object of texts under __metadata__", &mut |json, key| {
        if texts.len() == MAX_TENSORS {
            let text = format!("the header has more than {MAX_TENSORS} texts under __metadata__");
            return Err(Error::new(Code::Limit, text));
        }
        let text = json.text("a text")?;
        texts.push((key.into_owned(), text.into_owned()));
        Ok(())
    })?;
    let order = sorted_positions(texts.len(), &|a, b| texts[a].0.cmp(&texts[b].0));
    match order.windows(2).find(|pair| texts[pair[0]].0 == texts[pair[1]].0) {
        None => Ok(texts),
        Some(pair) => Err(twice(&texts[pair[0]].0)),
    }
}

fn read_entry(json: &mut JsonReader<'_>, name: &str) -> Result<Entry> {
    let (mut dtype, mut shape, mut offsets) = (None, None, None);
    let mut unknown = UnknownKeys::default();
    json.object(
        "an object with dtype, shape and data_offsets",
        &mut |json, key| match &*key {
            "dtype" => once(&mut dtype, &key, Dtype::parse(&json.text("a dtype")?)?),
            "shape" => once(&mut shape, &key, json.numbers("shape", MAX_RANK)?),
            "data_offsets" => once(&mut offsets, &key, json.numbers("data_offsets", 2)?),
            _ => {
                json.skip()?;
                unknown.note(&key)
            }
        },
    )?;
    let missing = |key: &str| json.missing(key);
    entry(
        name,
        dtype.ok_or_else(|| missing("dtype"))?,
        shape.ok_or_else(|| missing("shape"))?,
        &offsets.ok_or_else(|| missing("data_offsets"))?,
    )
}

/// An entry whose range is as long as dtype and shape say.
fn entry(name: &str, dtype: Dtype, shape: Vec<u64>, offsets: &[u64]) -> Result<Entry> {
    let malformed = |text: String| damaged_entry(name, &text);
    let &[start, end] = offsets else {
        return Err(malformed(format!(
            "data_offsets has {} numbers instead of start and end",
            offsets.len()
        )));
    };
    let Some(len) = end.checked_sub(start) else {
        return Err(malformed(format!(
            "its bytes start at {start} and end before, at {end}"
        )));
    };
    let Some(elements) = element_count(&shape) else {
        return Err(malformed(format!(
            "shape {} has more elements than fit in 64 bits",
            shape_text(&shape)
        )));
    };
    match dtype.bytes_of(elements) {
        Some(bytes) if bytes == len => Ok(Entry {
            name: name.to_owned(),
            dtype,
            shape,
            range: ByteRange { offset: start, len },
        }),
        Some(bytes) => Err(malformed(format!(
            "{} with shape {} takes {bytes} bytes, but its offsets span {len}",
            dtype.name(),
            shape_text(&shape)
        ))),
        None => Err(malformed(format!(
            "{elements} elements of {} do not fill whole bytes",
            dtype.name()
        ))),
    }
}
