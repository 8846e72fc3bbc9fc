//! quantized: the sign of every value, and for each row the mean magnitude as float16.

use super::expander::{check_count, take};
use super::{rows_cols, MAX_FIELDS};
use crate::error::{Code, Error, Result};
use crate::kernels::float16::{f16_to_f32, f32_to_f16};
use crate::kernels::loss::Spread;
use crate::kernels::pairwise::MagnitudeSum;
use crate::kernels::signbits;
use crate::limits::MAX_EMPTY_ROWS;

const SCALES: usize = 0;
const SIGNS: usize = 1;

#[derive(Clone, Debug)]
pub(super) struct Expander {
    /// Elements not produced yet; how many of them belong to the current row.
    left: u64,
    left_in_row: u64,
    n_cols: u64,
    scale: f32,
    /// The bits of the current byte that are still to come, at the top; how many.
    bits: u8,
    n_bits: u32,
}

impl Expander {
    pub fn new(n: u64, n_cols: u64, counts: [u64; MAX_FIELDS]) -> Result<Self> {
        check_count("packed_signs", counts[SIGNS], n.div_ceil(8))?;
        if n > 0 {
            if n_cols == 0 || !n.is_multiple_of(n_cols) {
                return Err(Error::new(
                    Code::Malformed,
                    format!("{n} elements do not divide into rows of {n_cols}; the header is damaged"),
                ));
            }
            check_count("scales", counts[SCALES], n / n_cols)?;
        }
        Ok(Self {
            left: n,
            left_in_row: 0,
            n_cols,
            scale: 0.0,
            bits: 0,
            n_bits: 0,
        })
    }

    pub fn expand(&mut self, windows: &mut [&[u8]; MAX_FIELDS], out: &mut [f32]) -> (usize, Option<usize>) {
        let asked = self.left.min(out.len() as u64) as usize;
        let mut done = 0;
        while done < asked {
            if self.left_in_row == 0 {
                let Some(scale) = take(&mut windows[SCALES]) else {
                    return (done, Some(SCALES));
                };
                self.scale = f16_to_f32(u16::from_le_bytes(scale));
                self.left_in_row = self.n_cols;
            }
            let run = self.left_in_row.min((asked - done) as u64) as usize;
            let got = self.signs(&mut windows[SIGNS], &mut out[done..done + run]);
            done += got;
            self.left_in_row -= got as u64;
            self.left -= got as u64;
            if got < run {
                return (done, Some(SIGNS));
            }
        }
        (done, None)
    }

    /// Fills `out` from the bit stream as far as the window goes; returns how far.
    fn signs(&mut self, window: &mut &[u8], out: &mut [f32]) -> usize {
        let mut done = self.rest_of_byte(out);
        let whole = ((out.len() - done) / 8).min(window.len());
        let (bytes, rest) = window.split_at(whole);
        *window = rest;
        signbits::expand(bytes, self.scale, &mut out[done..done + 8 * whole]);
        done += 8 * whole;
        if done < out.len() {
            if let Some([byte]) = take(window) {
                (self.bits, self.n_bits) = (byte, 8);
                done += self.rest_of_byte(&mut out[done..]);
            }
        }
        done
    }

    fn rest_of_byte(&mut self, out: &mut [f32]) -> usize {
        let n = out.len().min(self.n_bits as usize);
        for v in &mut out[..n] {
            *v = if self.bits & 0x80 == 0 { -self.scale } else { self.scale };
            self.bits <<= 1;
        }
        self.n_bits -= n as u32;
        n
    }
}

/// A complete row.
pub(super) struct Row {
    /// Mean magnitude, from numpy's float32 sum.
    pub mean: f64,
    /// The same as float16, by way of float32 (`format::v1` 4.4: two roundings).
    pub scale: u16,
    pub cols: u64,
}

fn row_scale(mean: f64) -> u16 {
    f32_to_f16(mean as f32)
}

/// Cuts a tensor into rows, however it arrives.
#[derive(Clone, Debug)]
pub(super) struct RowCutter {
    cols: u64,
    left_in_row: u64,
    sum: MagnitudeSum,
}

impl RowCutter {
    pub fn new(cols: u64) -> Self {
        Self {
            cols,
            left_in_row: cols,
            sum: MagnitudeSum::new(cols),
        }
    }

    /// Takes the next deltas. Calls `f` with each part that belongs to one row, and with the row if that completes it.
    pub fn feed(&mut self, mut delta: &[f32], mut f: impl FnMut(&[f32], Option<Row>)) {
        while !delta.is_empty() && self.cols > 0 {
            let (part, rest) = delta.split_at(self.left_in_row.min(delta.len() as u64) as usize);
            delta = rest;
            self.sum.feed(part);
            self.left_in_row -= part.len() as u64;
            let row = self.sum.total().map(|sum| {
                let mean = f64::from(sum) / self.cols as f64;
                Row {
                    mean,
                    scale: row_scale(mean),
                    cols: self.cols,
                }
            });
            if row.is_some() {
                self.left_in_row = self.cols;
                self.sum.restart(self.cols);
            }
            f(part, row);
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Emitter {
    rows: RowCutter,
    /// Of the current row.
    spread: Spread,
    /// Rows that have no column.
    empty_rows: u64,
    /// Bits waiting for a full byte, and how many.
    bits: u8,
    n_bits: usize,
    error_sq: f64,
    largest: f64,
}

impl Emitter {
    pub fn new(shape: &[u64]) -> Self {
        let (rows, cols) = rows_cols(shape);
        Self {
            rows: RowCutter::new(cols),
            spread: Spread::default(),
            empty_rows: if cols == 0 { rows } else { 0 },
            bits: 0,
            n_bits: 0,
            error_sq: 0.0,
            largest: 0.0,
        }
    }

    pub fn feed(&mut self, delta: &[f32], out: &mut [Vec<u8>; MAX_FIELDS]) {
        let Self {
            rows,
            spread,
            error_sq: total,
            largest: far,
            ..
        } = self;
        rows.feed(delta, |part, row| {
            spread.feed(part);
            if let Some(row) = row {
                out[SCALES].extend_from_slice(&row.scale.to_le_bytes());
                let (error_sq, largest) = spread.from_level(f64::from(f16_to_f32(row.scale)));
                *total += error_sq;
                *far = far.max(largest);
                *spread = Spread::default();
            }
        });
        self.signs(delta, &mut out[SIGNS]);
    }

    fn signs(&mut self, delta: &[f32], out: &mut Vec<u8>) {
        let head = if self.n_bits == 0 {
            0
        } else {
            (8 - self.n_bits).min(delta.len())
        };
        let (head, rest) = delta.split_at(head);
        self.gather(head, out);
        let (eights, tail) = rest.split_at(rest.len() & !7);
        let start = out.len();
        out.resize(start + eights.len() / 8, 0);
        signbits::pack(eights, &mut out[start..]);
        self.gather(tail, out);
    }

    fn gather(&mut self, values: &[f32], out: &mut Vec<u8>) {
        for &v in values {
            self.bits |= if v < 0.0 { 0 } else { 0x80 >> self.n_bits };
            self.n_bits += 1;
            if self.n_bits == 8 {
                out.push(self.bits);
                (self.bits, self.n_bits) = (0, 0);
            }
        }
    }

    pub fn finish(&mut self, out: &mut [Vec<u8>; MAX_FIELDS]) -> Result<()> {
        if self.n_bits > 0 {
            out[SIGNS].push(self.bits);
            self.n_bits = 0;
        }
        if self.empty_rows > MAX_EMPTY_ROWS {
            return Err(Error::new(
                Code::Limit,
                format!(
                    "{} rows without columns are more than {MAX_EMPTY_ROWS}",
                    self.empty_rows
                ),
            ));
        }
        // The mean of nothing is NaN, as the reference has it.
        for _ in 0..self.empty_rows {
            out[SCALES].extend_from_slice(&row_scale(f64::NAN).to_le_bytes());
        }
        Ok(())
    }

    /// Sum of the squared errors, and the largest error, over all complete rows.
    pub fn error(&self) -> (f64, f64) {
        (self.error_sq, self.largest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::float16::rne16;

    #[test]
    fn the_scale_is_rounded_twice() {
        // The mean lies 2e-8 above the tie 1 + 2^-11: float32 rounds it to the tie, float16 then to even.
        let mean = 24_587.0 / 24_575.0;
        assert_eq!(row_scale(mean), 0x3c00);
        assert_eq!(rne16(mean), 0x3c01);
    }
}
