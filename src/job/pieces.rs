//! Parts of tensors, handed out in pieces of whole rows.

use super::machine::Io;
use super::options::TensorsOptions;
use super::report::to_json;
use crate::dtype::Dtype;
use crate::error::{Code, Error, Result};
use crate::format::model::Tensor;
use crate::limits::CHUNK_BYTES;
use serde::Serialize;

/// Describes one piece.
#[derive(Serialize)]
struct Piece<'a> {
    name: &'a str,
    dtype: &'static str,
    shape: &'a [u64],
    rows: (u64, u64),
    bytes: usize,
}

/// The elements of a tensor that are wanted, and how many a row has.
pub struct Part {
    /// First element.
    pub first: u64,
    /// One past the last.
    pub end: u64,
    /// Elements per row.
    pub row: u64,
}

/// The part of a tensor that the options name; `USAGE` if there is no such part. None if it is empty, and of a tensor that
/// is empty, whichever rows are named: who wants the first rows of all tensors need not know which have any.
pub fn part_of(tensor: &Tensor, dtype: Dtype, options: &TensorsOptions) -> Result<Option<Part>> {
    if tensor.elements == 0 {
        return Ok(None);
    }
    let rows = tensor.shape.first().copied().unwrap_or(1);
    let row = tensor.elements.checked_div(rows).unwrap_or(0);
    let (from, to) = options.rows.unwrap_or((0, rows));
    let name = &tensor.name;
    if from > to || to > rows {
        let text = format!("it has {rows} rows; rows {from} to {to} are not among them");
        return Err(Error::new(Code::Usage, text).about(name));
    }
    if from == to {
        return Ok(None);
    }
    if !(row * dtype.bits()).is_multiple_of(8) && options.rows.is_some() {
        let text = "its rows do not fill whole bytes; take it whole";
        return Err(Error::new(Code::Usage, text).about(name));
    }
    Ok(Some(Part {
        first: from * row,
        end: to * row,
        row,
    }))
}

/// Collects the bytes of a part and hands them out in whole rows.
pub struct Gather<'a> {
    /// Who takes the pieces.
    pub io: &'a Io,
    /// Whose they are.
    pub tensor: &'a Tensor,
    /// The dtype that they have.
    pub dtype: Dtype,
    /// The elements that are wanted.
    pub part: Part,
    bytes: Vec<u8>,
    /// Bits handed out so far, counted from the start of the tensor.
    sent: u64,
    /// Bytes that are still to come.
    left: u64,
}

impl<'a> Gather<'a> {
    /// Collects the bytes of a part of a tensor, in this dtype.
    pub fn new(io: &'a Io, tensor: &'a Tensor, dtype: Dtype, part: Part) -> Self {
        let mut gather = Self {
            io,
            tensor,
            dtype,
            bytes: Vec::new(),
            sent: part.first * dtype.bits(),
            left: 0,
            part,
        };
        gather.left = gather.offset(gather.part.end) - gather.offset(gather.part.first);
        gather
    }

    /// Where an element starts in a tensor of this dtype.
    pub fn offset(&self, element: u64) -> u64 {
        element * self.dtype.bits() / 8
    }

    /// Takes the next bytes. With the last of them everything is handed out.
    pub async fn push(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
        self.left = self.left.saturating_sub(piece.len() as u64);
        // Of packed elements, as few rows as fill whole bytes.
        let row_bits = self.part.row * self.dtype.bits();
        let row_bytes = (row_bits >> row_bits.trailing_zeros().min(3)) as usize;
        loop {
            let len = self.bytes.len();
            let ready = match len - len % row_bytes {
                // A row above a chunk is handed out in parts; `rows` then names the rows that the part lies in.
                0 if len >= CHUNK_BYTES || self.left == 0 => len,
                whole => whole,
            };
            if ready == 0 {
                return;
            }
            self.send(ready).await;
        }
    }

    async fn send(&mut self, len: usize) {
        let rest = self.bytes.split_off(len);
        let row_bits = self.part.row * self.dtype.bits();
        let from = self.sent;
        self.sent += len as u64 * 8;
        let rows = (from / row_bits, self.sent.div_ceil(row_bits));
        let json = to_json(&Piece {
            name: &self.tensor.name,
            dtype: self.dtype.name(),
            shape: &self.tensor.shape,
            rows,
            bytes: len,
        })
        .unwrap_or_default();
        let mut bytes = std::mem::replace(&mut self.bytes, rest);
        self.io.item(json, Some(&mut bytes)).await;
    }
}
