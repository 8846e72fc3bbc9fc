//! Finds the arrays of a file by visiting every record header and skipping the data between.

use super::header::V1Header;
use super::placed::{Placed, PlacedRecord};
use super::record::{parse_record, Record, MAX_RECORD_HEADER};
use super::CHECKSUM_BYTES;
use crate::error::{quoted, Code, Error, Result};
use crate::limits::{MAX_RECORDS, MAX_TENSORS};
use crate::offset::ByteRange;
use crate::strategy::{array_elements, Strategy, MAX_FIELDS};

/// Bytes that are asked for at once: several records of small tensors, one of a large one.
const WINDOW: u64 = 4096;

const _: () = assert!(MAX_RECORDS == 2 * (MAX_TENSORS * MAX_FIELDS) as u64);

/// A walk over the records of one file.
///
/// ```text
/// while let Some(range) = walker.wants() { walker.feed(&bytes of range)?; }
/// let placed = walker.finish()?;
/// ```
pub struct Walker<'a> {
    header: &'a V1Header,
    /// Next byte to look at.
    at: u64,
    /// Where the checksum starts.
    end: u64,
    /// How much is asked for.
    window: u64,
    visited: u64,
    found: Vec<[Option<PlacedRecord>; MAX_FIELDS]>,
    order: Vec<String>,
}

impl<'a> Walker<'a> {
    /// A walk from `header_end` to the checksum of a file of `file_len` bytes.
    pub fn new(header: &'a V1Header, header_end: u64, file_len: u64) -> Self {
        Self {
            header,
            at: header_end,
            end: file_len.saturating_sub(CHECKSUM_BYTES).max(header_end),
            window: WINDOW,
            visited: 0,
            found: vec![[None; MAX_FIELDS]; header.tensors.len()],
            order: Vec::new(),
        }
    }

    /// The bytes to read next; `None` when all records were visited.
    pub fn wants(&self) -> Option<ByteRange> {
        let left = self.end - self.at;
        (left > 0).then(|| ByteRange {
            offset: self.at,
            len: left.min(self.window),
        })
    }

    /// Takes the bytes of the range that [`Walker::wants`] gave; more, up to the checksum, do no harm.
    ///
    /// `TRUNCATED` when a record runs into the checksum, `MALFORMED` when one is damaged, both with the place.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(wanted) = self.wants() else { return Ok(()) };
        if (bytes.len() as u64) < wanted.len {
            let text = format!("{} bytes came where {} were asked for", bytes.len(), wanted.len);
            return Err(Error::new(Code::Internal, text).at(self.at));
        }
        let known = (self.end - self.at).min(bytes.len() as u64);
        let bytes = &bytes[..known as usize];
        let start = self.at;
        let window_end = start + known;
        while self.at < window_end {
            let at = self.at;
            let window = &bytes[(at - start) as usize..];
            match parse_record(window).map_err(|e| e.at(at))? {
                Some((record, used)) => self.visit(record, used as u64)?,
                None if window_end == self.end || window.len() as u64 >= MAX_RECORD_HEADER => return Err(cut(at)),
                None => {
                    // The rest of this record header, however long its texts are.
                    self.window = if at == start { self.window * 2 } else { WINDOW };
                    return Ok(());
                }
            }
        }
        self.window = WINDOW;
        Ok(())
    }

    fn visit(&mut self, record: Record, used: u64) -> Result<()> {
        let header_at = self.at;
        // Cannot overflow: the header lies inside the file.
        let data_at = header_at + used;
        if record.data_len > self.end - data_at {
            return Err(cut(header_at).tensor(record.name));
        }
        self.visited += 1;
        if self.visited > MAX_RECORDS {
            let text = format!("the file has more than {MAX_RECORDS} array records");
            return Err(Error::new(Code::Limit, text).at(header_at));
        }
        let data = ByteRange {
            offset: data_at,
            len: record.data_len,
        };
        self.at = data.end();
        let Some(tensor) = self.header.find(&record.name) else {
            return Ok(());
        };
        let fields = self.header.tensors[tensor].strategy.fields();
        let Some(field) = fields.iter().position(|f| f.name == record.field) else {
            return Ok(());
        };
        let elements = record.elements_as(fields[field].dtype).map_err(|e| e.at(header_at))?;
        if self.found[tensor].iter().all(Option::is_none) {
            self.order.push(record.name);
        }
        // A repeated array: the last one wins, as in the reference.
        self.found[tensor][field] = Some(PlacedRecord {
            header_at,
            data,
            elements,
        });
        Ok(())
    }

    /// What was found. `MALFORMED` with tensor and field when an array is missing or has another length than its
    /// tensor needs.
    pub fn finish(self) -> Result<Placed> {
        if self.at < self.end {
            return Err(Error::new(Code::Internal, "a walk over records ended early").at(self.at));
        }
        let mut tensors = Vec::with_capacity(self.found.len());
        for (t, found) in self.header.tensors.iter().zip(&self.found) {
            let fields = t.strategy.fields();
            let mut records = Vec::with_capacity(fields.len());
            for (field, record) in fields.iter().zip(found) {
                let missing = || {
                    let text = format!(
                        "array {} of tensor {} is missing from the file; it was not written completely, get it again",
                        field.name,
                        quoted(&t.name)
                    );
                    Error::new(Code::Malformed, text).tensor(&t.name)
                };
                records.push(record.ok_or_else(missing)?);
            }
            // sparse says how many values it keeps by its arrays only.
            let kept = match t.strategy {
                Strategy::Sparse => records[0].elements,
                _ => t.kept.unwrap_or(0),
            };
            let expected = array_elements(t.strategy, &t.shape, kept);
            for ((field, record), expected) in fields.iter().zip(&records).zip(expected) {
                if record.elements != expected {
                    let text = format!(
                        "array {} of tensor {} has {} elements where {expected} are needed; the file is damaged, get it \
                         again", field.name, quoted(&t.name), record.elements);
                    return Err(Error::new(Code::Malformed, text).tensor(&t.name).at(record.header_at));
                }
            }
            tensors.push(records);
        }
        Ok(Placed {
            tensors,
            order: self.order,
        })
    }
}

fn cut(at: u64) -> Error {
    Error::new(
        Code::Truncated,
        format!("the array record at byte {at} runs past the end of the file; it was cut off, get it again"),
    )
    .at(at)
}
