//! int4: the largest values apart as float16, all others as 4-bit codes between their minimum and maximum.

use super::emitter::{Selector, STEP};
use super::expander::{check_count, take, Positions};
use super::{Surveyed, MAX_FIELDS};
use crate::dtype::Dtype;
use crate::error::Result;
use crate::kernels::float16::{f16_to_f32, f32_to_f16, rne16};
use crate::kernels::loss::ErrorSum;
use crate::kernels::nibble::{self, PairTable};
use crate::kernels::{affine, convert};

const INDICES: usize = 0;
const VALUES: usize = 1;
const SCALE: usize = 2;
const ZERO_POINT: usize = 3;
const PACKED: usize = 4;

#[derive(Clone, Debug)]
pub(super) struct Expander {
    n: u64,
    at: u64,
    positions: Positions,
    scale: Option<f32>,
    /// Known once scale and zero point have been read.
    table: Option<PairTable>,
    /// The second value of a byte of which only the first has been used.
    half: Option<f32>,
}

impl Expander {
    pub fn new(n: u64, counts: [u64; MAX_FIELDS]) -> Result<Self> {
        check_count("outlier_vals", counts[VALUES], counts[INDICES])?;
        check_count("scale", counts[SCALE], 1)?;
        check_count("zero_point", counts[ZERO_POINT], 1)?;
        let positions = Positions::new("outlier_idx", n, counts[INDICES])?;
        check_count("packed", counts[PACKED], (n - counts[INDICES]).div_ceil(2))?;
        Ok(Self {
            n,
            at: 0,
            positions,
            scale: None,
            table: None,
            half: None,
        })
    }

    pub fn expand(&mut self, windows: &mut [&[u8]; MAX_FIELDS], out: &mut [f32]) -> Result<(usize, Option<usize>)> {
        let asked = (self.n - self.at).min(out.len() as u64) as usize;
        if asked == 0 {
            return Ok((0, None));
        }
        if let Some(wants) = self.read_levels(windows) {
            return Ok((0, Some(wants)));
        }
        let mut done = 0;
        let mut wants = None;
        while done < asked {
            let here = self.at + done as u64;
            let mut outlier = None;
            let mut run = asked - done;
            if self.positions.left() > 0 {
                let Some(index) = windows[INDICES].first_chunk() else {
                    wants = Some(INDICES);
                    break;
                };
                let i = self.positions.check(*index)?;
                if i - here < run as u64 {
                    run = (i - here) as usize;
                    outlier = Some(i);
                }
            }
            let got = self.codes(&mut windows[PACKED], &mut out[done..done + run]);
            done += got;
            if got < run {
                wants = Some(PACKED);
                break;
            }
            if let Some(i) = outlier {
                let Some(value) = take(&mut windows[VALUES]) else {
                    wants = Some(VALUES);
                    break;
                };
                windows[INDICES] = &windows[INDICES][8..];
                self.positions.pass(i);
                out[done] = f16_to_f32(u16::from_le_bytes(value));
                done += 1;
            }
        }
        self.at += done as u64;
        Ok((done, wants))
    }

    /// Reads scale and zero point; returns the field that is missing.
    fn read_levels(&mut self, windows: &mut [&[u8]; MAX_FIELDS]) -> Option<usize> {
        if self.table.is_some() {
            return None;
        }
        let scale = match self.scale {
            Some(scale) => scale,
            None => match take(&mut windows[SCALE]) {
                Some(bytes) => *self.scale.insert(f16_to_f32(u16::from_le_bytes(bytes))),
                None => return Some(SCALE),
            },
        };
        let Some(bytes) = take(&mut windows[ZERO_POINT]) else {
            return Some(ZERO_POINT);
        };
        let zero_point = f16_to_f32(u16::from_le_bytes(bytes));
        self.table = Some(nibble::pair_table(&affine::levels(scale, zero_point)));
        None
    }

    /// Fills `out` from the codes as far as the window goes; returns how far.
    #[inline]
    fn codes(&mut self, window: &mut &[u8], out: &mut [f32]) -> usize {
        let Some(table) = &self.table else { return 0 };
        let mut done = 0;
        if let (Some(first), Some(v)) = (out.first_mut(), self.half) {
            *first = v;
            self.half = None;
            done = 1;
        }
        let whole = ((out.len() - done) / 2).min(window.len());
        let (bytes, rest) = window.split_at(whole);
        *window = rest;
        nibble::expand(bytes, table, &mut out[done..done + 2 * whole]);
        done += 2 * whole;
        if done < out.len() {
            if let Some([byte]) = take(window) {
                let [first, second] = table[usize::from(byte)];
                out[done] = first;
                self.half = Some(second);
                done += 1;
            }
        }
        done
    }
}

/// What the codes of a tensor mean, from the extremes of its values without the outliers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    pub lo: f32,
    /// `hi - lo` in float64.
    pub range: f64,
    /// float16 bits.
    pub scale: u16,
    pub zero_point: u16,
}

impl Scale {
    /// `format::v1` 4.5; extremes of NaN give NaN.
    pub fn new(lo: f32, hi: f32) -> Self {
        let range = f64::from(hi) - f64::from(lo);
        let scale = if range < 1e-8 { 0x3c00 } else { rne16(range / 15.0) };
        Self {
            lo,
            range,
            scale,
            zero_point: f32_to_f16(lo),
        }
    }

    /// True if all codes are 0.
    pub fn flat(&self) -> bool {
        self.range < 1e-8
    }

    pub fn levels(&self) -> [f32; 16] {
        affine::levels(f16_to_f32(self.scale), f16_to_f32(self.zero_point))
    }
}

#[derive(Clone, Debug)]
pub(super) struct Emitter {
    selector: Selector,
    scale: Scale,
    table: PairTable,
    /// Values of this block that are not outliers; one may wait from the last block for its partner.
    rest: [f32; STEP + 1],
    n_rest: usize,
    outliers: [f32; STEP],
    codes: [u8; STEP + 2],
    decoded: [f32; STEP + 2],
    rest_errors: ErrorSum,
    outlier_errors: ErrorSum,
}

impl Emitter {
    pub fn new(kept: u64, surveyed: &Surveyed) -> Self {
        let scale = Scale::new(surveyed.lo, surveyed.hi);
        Self {
            selector: Selector::new(kept, surveyed.cut),
            scale,
            table: nibble::pair_table(&scale.levels()),
            rest: [0.0; STEP + 1],
            n_rest: 0,
            outliers: [0.0; STEP],
            codes: [0; STEP + 2],
            decoded: [0.0; STEP + 2],
            rest_errors: ErrorSum::default(),
            outlier_errors: ErrorSum::default(),
        }
    }

    pub fn feed(&mut self, delta: &[f32], out: &mut [Vec<u8>; MAX_FIELDS]) {
        for block in delta.chunks(STEP) {
            let (first, hits) = self.selector.hits(block);
            let mut from = 0;
            for (&i, outlier) in hits.iter().zip(&mut self.outliers) {
                let to = i as usize;
                self.n_rest += copy(&block[from..to], &mut self.rest[self.n_rest..]);
                from = to + 1;
                *outlier = block[to];
                out[INDICES].extend_from_slice(&(first + u64::from(i)).to_le_bytes());
            }
            self.n_rest += copy(&block[from..], &mut self.rest[self.n_rest..]);
            let n = hits.len();
            self.store_outliers(n, &mut out[VALUES]);
            let even = self.n_rest & !1;
            self.store_codes(even, &mut out[PACKED]);
            self.rest[0] = self.rest[self.n_rest - self.n_rest % 2];
            self.n_rest -= even;
        }
    }

    /// Appends the first `n` outliers as float16.
    fn store_outliers(&mut self, n: usize, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + 2 * n, 0);
        let (outliers, decoded) = (&self.outliers[..n], &mut self.decoded[..n]);
        convert::from_f32(Dtype::F16, outliers, &mut out[start..]);
        convert::to_f32(Dtype::F16, &out[start..], decoded);
        self.outlier_errors.feed(outliers, decoded);
    }

    /// Appends the codes of the first `n` values of `rest`; a code that has no partner gets 0.
    fn store_codes(&mut self, n: usize, out: &mut Vec<u8>) {
        let padded = n.next_multiple_of(2);
        let codes = &mut self.codes[..padded];
        codes.fill(0);
        if !self.scale.flat() {
            affine::quantize(&self.rest[..n], self.scale.lo, self.scale.range as f32, &mut codes[..n]);
        }
        let start = out.len();
        out.resize(start + padded / 2, 0);
        nibble::pack(codes, &mut out[start..]);
        nibble::expand(&out[start..], &self.table, &mut self.decoded[..padded]);
        self.rest_errors.feed(&self.rest[..n], &self.decoded[..n]);
    }

    /// Appends what is left; true if the tensor was as surveyed.
    pub fn finish(&mut self, out: &mut [Vec<u8>; MAX_FIELDS]) -> bool {
        let n = std::mem::take(&mut self.n_rest);
        self.store_codes(n, &mut out[PACKED]);
        out[SCALE].extend_from_slice(&self.scale.scale.to_le_bytes());
        out[ZERO_POINT].extend_from_slice(&self.scale.zero_point.to_le_bytes());
        self.selector.complete()
    }

    /// Sum of the squared errors, and the largest error.
    pub fn error(&self) -> (f64, f64) {
        let (rest, outliers) = (&self.rest_errors, &self.outlier_errors);
        (
            rest.error_sq() + outliers.error_sq(),
            rest.largest().max(outliers.largest()),
        )
    }
}

/// Copies a run to the front of `to`; returns its length.
fn copy(run: &[f32], to: &mut [f32]) -> usize {
    to[..run.len()].copy_from_slice(run);
    run.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_is_rounded_once() {
        // A fifteenth of the range lies 2^-30 / 15 above the tie 1 + 2^-11; float32 would round it down to the tie.
        let scale = Scale::new(-(2f32.powi(-30)), 15.0 * (1.0 + 2f32.powi(-11)));
        assert_eq!(scale.scale, 0x3c01);
        assert_eq!(scale.zero_point, 0x8000);
    }

    #[test]
    fn a_range_below_1e_8_is_one_level() {
        let flat = Scale::new(0.5, 0.5);
        assert!(flat.flat());
        assert_eq!((flat.scale, flat.zero_point), (0x3c00, 0x3800));
        assert!(Scale::new(0.0, 9.9e-9).flat());
        assert!(!Scale::new(0.0, 1.01e-8).flat());
        assert!(!Scale::new(f32::NAN, f32::NAN).flat());
    }
}
