//! Encoding, first passes: what is in a tensor, where to cut it, and whether a strategy would spoil it.

use super::int4::Scale;
use super::quantized::Rows;
use super::{rows_cols, Strategy};
use crate::decimal::brief;
use crate::kernels::float16::{f16_to_f32, largest_lost};
use crate::kernels::stats::{Range, Squares};
use crate::kernels::topk::{self, Extremes, BUCKETS, FINE, NAN_KEY};
use crate::offset::element_count;

/// Which values are kept: those whose magnitude is above a bound, and the first few of those that are equal to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The bound as a magnitude key, see [`topk::key`].
    pub magnitude: u32,
    /// How many values of exactly this magnitude are kept, lowest position first.
    pub ties: u64,
    /// True if there are more of them, so that another writer might have kept others.
    pub tied: bool,
}

impl Cut {
    /// Keeps every value that is not zero.
    pub fn nonzero() -> Self {
        Self {
            magnitude: 0,
            ties: 0,
            tied: false,
        }
    }
}

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
/// feed the whole tensor again. Scratch is fixed: at most 1.75 MiB.
#[derive(Clone, Debug)]
pub struct Survey {
    strategy: Strategy,
    n: u64,
    kept: u64,
    squares: Squares,
    /// Sparse and int4.
    range: Range,
    /// int4: magnitude bits of the largest value for which float16 is too coarse.
    lost: u32,
    stage: Stage,
    cut: Option<Cut>,
    extremes: Extremes,
    rows: RowErrors,
}

#[derive(Clone, Debug)]
enum Stage {
    /// First pass of sparse and int4: in which bucket is the k-th largest?
    Coarse {
        counts: Vec<u32>,
        totals: Vec<u64>,
        undrained: u32,
    },
    /// Second pass: where in the bucket? `above`: values in higher buckets.
    Fine {
        bucket: u32,
        above: u64,
        counts: Vec<u64>,
    },
    /// Third pass of int4, seldom needed: which signs have the tied values that are not kept?
    Ties {
        left: u64,
    },
    /// The only pass of quantized.
    Rows(Box<Rows>),
    Done,
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
        let stage = match strategy {
            Strategy::Quantized => Stage::Rows(Box::new(Rows::new(rows_cols(shape).1))),
            _ => Stage::Coarse {
                counts: vec![0; 4 * BUCKETS],
                totals: vec![0; BUCKETS],
                undrained: 0,
            },
        };
        Self {
            strategy,
            n,
            kept: kept.min(n),
            squares: Squares::default(),
            range: Range::default(),
            lost: 0,
            stage,
            cut: None,
            extremes: Extremes::NONE,
            rows: RowErrors::default(),
        }
    }

    /// Takes the next deltas of the tensor.
    pub fn feed(&mut self, delta: &[f32]) {
        for block in delta.chunks(super::emitter::STEP) {
            self.feed_block(block);
        }
    }

    fn feed_block(&mut self, block: &[f32]) {
        match &mut self.stage {
            Stage::Coarse {
                counts,
                totals,
                undrained,
            } => {
                let finite = self.squares.feed(block);
                self.range.feed(block, finite);
                if self.strategy == Strategy::Int4 {
                    self.lost = self.lost.max(largest_lost(block));
                }
                if undrained.checked_add(block.len() as u32).is_none() {
                    drain(counts, totals);
                    *undrained = 0;
                }
                *undrained += block.len() as u32;
                topk::count_buckets(block, counts);
            }
            Stage::Fine { bucket, counts, .. } => topk::scan_bucket(block, *bucket, counts, &mut self.extremes),
            Stage::Ties { left } => {
                let border = self.cut.map_or(0, |cut| cut.magnitude);
                for &v in block.iter().filter(|v| topk::key(**v) == border) {
                    if *left > 0 {
                        *left -= 1;
                    } else {
                        self.extremes.add(v);
                    }
                }
            }
            Stage::Rows(rows) => {
                self.squares.feed(block);
                let errors = &mut self.rows;
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
            Stage::Done => {}
        }
    }

    /// Ends a pass over the tensor; true if it is to be fed once more.
    pub fn end_pass(&mut self) -> bool {
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Coarse {
                mut counts, mut totals, ..
            } => {
                drain(&mut counts, &mut totals);
                self.end_coarse(&totals);
            }
            Stage::Fine { bucket, above, counts } => self.end_fine(bucket, above, &counts),
            Stage::Ties { .. } | Stage::Rows(_) | Stage::Done => {}
        }
        !matches!(self.stage, Stage::Done)
    }

    fn end_coarse(&mut self, totals: &[u64]) {
        let zeros = self.squares.zeros();
        let nonzero = self.n.saturating_sub(zeros);
        if self.kept > nonzero {
            // Zeros are kept as well, and nothing else is left.
            let ties = self.kept - nonzero;
            let tied = zeros > ties;
            self.cut = Some(Cut {
                magnitude: 0,
                ties,
                tied,
            });
            if tied {
                self.extremes.add(0.0);
            }
            return;
        }
        if self.kept == 0 {
            self.cut = Some(Cut {
                magnitude: NAN_KEY,
                ties: 0,
                tied: false,
            });
            self.extremes = match self.range.extremes() {
                Some((lo, hi)) if self.squares.non_finite() == 0 => Extremes { lo, hi },
                _ => Extremes::NONE,
            };
            return;
        }
        let mut above = 0;
        for (bucket, &count) in totals.iter().enumerate().rev() {
            if above + count >= self.kept {
                self.stage = Stage::Fine {
                    bucket: bucket as u32,
                    above,
                    counts: vec![0; FINE],
                };
                return;
            }
            above += count;
        }
    }

    fn end_fine(&mut self, bucket: u32, mut above: u64, counts: &[u64]) {
        let value = |low: usize, sign: usize| f32::from_bits((sign as u32) << 31 | bucket << 16 | low as u32);
        let mut lows = (0..FINE / 2)
            .rev()
            .map(|low| (low, counts[2 * low], counts[2 * low + 1]));
        for (low, positive, negative) in lows.by_ref() {
            let count = positive + negative;
            if above + count < self.kept {
                above += count;
                continue;
            }
            let ties = self.kept - above;
            let cut = Cut {
                magnitude: bucket << 16 | low as u32,
                ties,
                tied: count > ties,
            };
            self.cut = Some(cut);
            if !cut.tied {
                break;
            }
            if cut.magnitude == NAN_KEY {
                self.extremes = Extremes::NONE; // NaN among the rest
                return;
            }
            for (sign, same, other) in [(0, positive, negative), (1, negative, positive)] {
                if same > ties || (same > 0 && other == 0) {
                    self.extremes.add(value(low, sign));
                } else if same > 0 {
                    self.stage = Stage::Ties { left: ties };
                }
            }
            break;
        }
        for (low, positive, negative) in lows {
            if positive > 0 {
                self.extremes.add(value(low, 0));
            }
            if negative > 0 {
                self.extremes.add(value(low, 1));
            }
        }
        if self.strategy == Strategy::Sparse {
            self.stage = Stage::Done;
        }
    }

    /// The findings, once [`Survey::end_pass`] has returned false.
    pub fn finish(self) -> Surveyed {
        let Extremes { lo, hi } = self.extremes;
        // Which of two zeros is the smaller one is left to chance; adding +0 makes them one.
        let (lo, hi) = if lo <= hi {
            (lo + 0.0, hi + 0.0)
        } else {
            (f32::NAN, f32::NAN)
        };
        let spoiled = match self.strategy {
            Strategy::Sparse => None,
            Strategy::Quantized => self.spoiled_rows(),
            Strategy::Int4 => self.spoiled_int4(Scale::new(lo, hi), hi),
        };
        Surveyed {
            elements: self.n,
            zeros: self.squares.zeros(),
            non_finite: self.squares.non_finite(),
            sum_sq: self.squares.sum_sq(),
            cut: self.cut,
            lo,
            hi,
            spoiled,
        }
    }

    /// What float16 would do to the scales of the rows.
    fn spoiled_rows(&self) -> Option<String> {
        let RowErrors { error_sq, infinite } = self.rows;
        let sum_sq = self.squares.sum_sq();
        if self.n == 0 {
            Some("it is empty, and the reference cannot load an empty tensor of this strategy".into())
        } else if infinite > 0 {
            Some(format!(
                "the mean magnitude of {infinite} of its rows is not finite as float16"
            ))
        } else if error_sq > 1e-4 * sum_sq {
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
    fn spoiled_int4(&self, scale: Scale, hi: f32) -> Option<String> {
        let cut = self.cut?;
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
            if off > lo.abs().max(hi.abs()) / 512.0 {
                return Some(format!("its values around {} have no equal in float16", brief(lo)));
            }
        } else {
            let step = range / 15.0;
            if (f64::from(f16_to_f32(scale.scale)) - step).abs() > 0.02 * step {
                return Some(format!(
                    "the step of its 4-bit codes, {}, has no equal in float16",
                    brief(step)
                ));
            }
            if (zero_point - lo).abs() > 0.5 * step {
                return Some(format!(
                    "its smallest value, {}, is off as float16 by more than half a step of {}",
                    brief(lo),
                    brief(step)
                ));
            }
        }
        let is_outlier = |bits: u32| bits > cut.magnitude || (bits == cut.magnitude && cut.ties > 0);
        if self.range.largest() >= 65_520.0 && is_outlier(self.range.largest().to_bits()) {
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

fn drain(counts: &mut [u32], totals: &mut [u64]) {
    for (total, four) in totals.iter_mut().zip(counts.chunks_exact_mut(4)) {
        *total += four.iter().map(|&c| u64::from(c)).sum::<u64>();
        four.fill(0);
    }
}
