//! Encoding, first passes: what is in a tensor, where to cut it, and whether a strategy would spoil it.

use super::int4::Scale;
use super::quantized::RowCutter;
use super::search::{Cut, CutSearch};
use super::{rows_cols, Strategy};
use crate::decimal::brief;
use crate::kernels::float16::{f16_to_f32, largest_lost};
use crate::kernels::stats::{Range, Squares};
use crate::kernels::topk::Extremes;
use crate::offset::element_count;

/// Most that float16 scales may be off by, as the ratio of the squared error to the squared deltas: by 1 %, as outliers
/// may. A normal float16 is off by 0.05 % at most, so this is about scales that are subnormal there.
const MAX_SCALE_ERROR_SQ: f64 = 1e-4;

/// Most that the one level of a flat tensor may be off by, relative to its values: four times the rounding of a normal
/// float16.
const MAX_LEVEL_ERROR: f64 = 1.0 / 512.0;

/// Most that the step of 4-bit codes may be off by, relative to itself: over the fifteen steps of a range that is 0.3 of one.
const MAX_STEP_ERROR: f64 = 0.02;

/// Most that the zero point may be off by, in steps: as much as rounding to a code.
const MAX_ZERO_POINT_ERROR: f64 = 0.5;

/// The least magnitude that is infinite as float16.
const INFINITE_F16: f32 = 65_520.0;

/// What a survey has found. `sum_sq` leaves out what is not finite.
#[derive(Clone, Debug)]
pub struct Surveyed {
    /// Number of elements.
    pub elements: u64,
    /// Number of deltas that are zero, of either sign.
    pub zeros: u64,
    /// Number of deltas that are NaN or infinite.
    pub non_finite: u64,
    /// Sum of the squared deltas.
    pub sum_sq: f64,
    /// Where sparse and int4 cut; `None` for quantized.
    pub cut: Option<Cut>,
    /// int4: the smallest value that is not an outlier. NaN if one of these is NaN, or if there are none.
    pub lo: f32,
    /// int4: the largest value that is not an outlier. NaN like `lo`.
    pub hi: f32,
    /// Why the strategy would spoil this tensor, as the end of the sentence "it would be spoiled: ...".
    pub spoiled: Option<String>,
}

impl Surveyed {
    /// Number of deltas that are not zero: what is kept with [`Cut::nonzero`].
    pub fn nonzero(&self) -> u64 {
        self.elements - self.zeros
    }
}

/// Looks at a tensor's deltas before they are encoded.
///
/// Feed the whole tensor in order, in pieces of any length, then call [`Survey::end_pass`]; as long as that returns true,
/// feed the whole tensor again. Scratch is fixed: at most 18 MiB.
#[derive(Clone, Debug)]
pub struct Survey {
    strategy: Strategy,
    n: u64,
    kept: u64,
    first: bool,
    squares: Squares,
    /// Sparse and int4.
    range: Range,
    /// int4: magnitude bits of the largest value for which float16 is too coarse.
    lost: u32,
    search: Option<Box<CutSearch>>,
    /// Quantized.
    rows: Option<Box<RowCutter>>,
    errors: RowErrors,
}

#[derive(Clone, Copy, Debug, Default)]
struct RowErrors {
    error_sq: f64,
    infinite: u64,
}

impl Survey {
    /// A survey of a tensor of this shape for `strategy`; `kept` as from `kept_sparse` or `kept_int4`.
    pub fn new(strategy: Strategy, shape: &[u64], kept: u64) -> Self {
        let n = element_count(shape).unwrap_or(u64::MAX);
        let kept = kept.min(n);
        let by_rows = strategy == Strategy::Quantized;
        Self {
            strategy,
            n,
            kept,
            first: true,
            squares: Squares::default(),
            range: Range::default(),
            lost: 0,
            search: (!by_rows).then(|| Box::new(CutSearch::new(n, kept))),
            rows: by_rows.then(|| Box::new(RowCutter::new(rows_cols(shape).1))),
            errors: RowErrors::default(),
        }
    }

    /// Takes the next deltas of the tensor.
    pub fn feed(&mut self, delta: &[f32]) {
        for block in delta.chunks(super::emitter::STEP) {
            self.feed_block(block);
        }
    }

    fn feed_block(&mut self, block: &[f32]) {
        if self.first {
            let finite = self.squares.feed(block);
            if self.search.is_some() {
                self.range.feed(block, finite);
            }
            if self.strategy == Strategy::Int4 {
                self.lost = self.lost.max(largest_lost(block));
            }
        }
        if let Some(search) = &mut self.search {
            search.feed(block);
        }
        if let Some(rows) = &mut self.rows {
            let errors = &mut self.errors;
            rows.feed(block, |_, row| {
                let Some(row) = row else { return };
                let scale = f64::from(f16_to_f32(row.scale));
                if scale.is_finite() {
                    errors.error_sq += row.cols as f64 * (scale - row.mean) * (scale - row.mean);
                } else {
                    errors.infinite += 1;
                }
            });
        }
    }

    /// Ends a pass over the tensor; true if it is to be fed once more.
    pub fn end_pass(&mut self) -> bool {
        self.first = false;
        let Some(search) = &mut self.search else { return false };
        // Sparse does not need the extremes.
        search.end_pass(&self.squares, &self.range) && !(self.strategy == Strategy::Sparse && search.cut().is_some())
    }

    /// The findings, once [`Survey::end_pass`] has returned false.
    pub fn finish(self) -> Surveyed {
        let search = self.search.as_ref();
        let Extremes { lo, hi } = search.map_or(Extremes::NONE, |s| s.extremes());
        let cut = search.and_then(|s| s.cut());
        // Which of two zeros is the smaller one is left to chance; adding +0 makes them one.
        let (lo, hi) = if lo <= hi {
            (lo + 0.0, hi + 0.0)
        } else {
            (f32::NAN, f32::NAN)
        };
        let spoiled = match self.strategy {
            Strategy::Sparse => None,
            Strategy::Quantized => self.spoiled_rows(),
            Strategy::Int4 => cut.and_then(|cut| self.spoiled_int4(cut, Scale::new(lo, hi), hi)),
        };
        Surveyed {
            elements: self.n,
            zeros: self.squares.zeros(),
            non_finite: self.squares.non_finite(),
            sum_sq: self.squares.sum_sq(),
            cut,
            lo,
            hi,
            spoiled,
        }
    }

    /// What float16 would do to the scales of the rows.
    fn spoiled_rows(&self) -> Option<String> {
        let RowErrors { error_sq, infinite } = self.errors;
        let sum_sq = self.squares.sum_sq();
        if self.n == 0 {
            Some("it is empty, and the reference cannot load an empty tensor of this strategy".into())
        } else if infinite > 0 {
            Some(format!(
                "the mean magnitude of {infinite} of its rows is not finite as float16"
            ))
        } else if error_sq > MAX_SCALE_ERROR_SQ * sum_sq {
            let share = 100.0 * (error_sq / sum_sq).sqrt();
            Some(format!(
                "its rows are too small for float16 scales, which would be off by {} %",
                share.round() as u64
            ))
        } else {
            None
        }
    }

    /// What float16 would do to scale, zero point and outliers.
    fn spoiled_int4(&self, cut: Cut, scale: Scale, hi: f32) -> Option<String> {
        if self.n == self.kept {
            return Some(format!("of its {} elements none is left for the 4-bit codes", self.n));
        }
        let (lo, range) = (f64::from(scale.lo), scale.range);
        if !range.is_finite() {
            return Some("more of its deltas are NaN or infinite than are stored apart".into());
        }
        let zero_point = f64::from(f16_to_f32(scale.zero_point));
        if scale.flat() {
            // One level for all: it must be right for both ends.
            let hi = f64::from(hi);
            let off = (zero_point - lo).abs().max((zero_point - hi).abs());
            if off > lo.abs().max(hi.abs()) * MAX_LEVEL_ERROR {
                return Some(format!("its values around {} have no equal in float16", brief(lo)));
            }
        } else {
            let step = range / 15.0;
            if (f64::from(f16_to_f32(scale.scale)) - step).abs() > MAX_STEP_ERROR * step {
                return Some(format!(
                    "the step of its 4-bit codes, {}, has no equal in float16",
                    brief(step)
                ));
            }
            if (zero_point - lo).abs() > MAX_ZERO_POINT_ERROR * step {
                return Some(format!(
                    "its smallest value, {}, is off as float16 by more than half a step of {}",
                    brief(lo),
                    brief(step)
                ));
            }
        }
        let is_outlier = |bits: u32| bits > cut.magnitude || (bits == cut.magnitude && cut.ties > 0);
        if self.range.largest() >= INFINITE_F16 && is_outlier(self.range.largest().to_bits()) {
            return Some(format!(
                "its largest value, {}, is infinite as float16",
                brief(self.range.largest().into())
            ));
        }
        if self.lost > 0 && is_outlier(self.lost) {
            return Some(format!(
                "its outliers go down to {} and below, where float16 is off by more than 1 %",
                brief(f32::from_bits(self.lost).into())
            ));
        }
        None
    }
}
