//! Finding the column scales and the prediction of a tensor, and counting its symbols by context.
//!
//! Row scales and the rows' factors are found again when a row is encoded; what is kept from here are the columns' part
//! and the counts.

use super::estimate::{costs, entropy_length, side_length};
use super::factors::{symbol, Factors, FACTOR_CLASSES};
use super::model::Window;
use super::rank::low_rank;
pub use super::scaled::{mean_scale, octave_factors, power, row_octave, row_scale};
use super::scaled::{Prediction, Scaled};
use crate::kernels::v2::analyse::differs;
use crate::kernels::v2::element::Layout;
use crate::kernels::v2::read_row::Contexts;
use crate::kernels::v2::subspace::MAX_COMPONENTS;
use crate::kernels::v2::tables::SYMBOLS;
use std::ops::Range;

/// Contexts per class: without a prediction, and for either size of what a prediction's rounding leaves over.
pub const VARIANTS: usize = 3;

/// Counts of symbols by context of the fitting window, every class phased where there is a prediction and none where there
/// is not: see [`Contexts`].
pub type Counts = Vec<[u32; SYMBOLS]>;

/// Rows that are counted at the lowest effort, at least, if there are as many.
const FEW_ROWS: usize = 48;

/// Weights of a tensor that are fitted on, at most.
const MOST_WEIGHTS: u64 = 4 << 20;

/// Rows that are counted to refine scales with, at least, if there are as many.
const COUNT_ROWS: usize = 128;

/// Fewest weights whose counts are worth refining scales for.
const REFINE_FROM: usize = 4096;

/// Of which part of the symbols' length the columns' scales have to be more, for it to be tried without them.
const COLUMNS_SHARE: u64 = 512;

/// What fitting a tensor found.
pub struct SampleFit {
    /// Column scales; all zero when they do not pay.
    pub columns: Vec<i16>,
    /// The prediction, where it pays.
    pub factors: Option<Factors>,
    /// Counts of all symbols of the sample.
    pub counts: Counts,
    /// Counts of factors by their class.
    pub factor_counts: Counts,
    /// The factors of the sample's rows, where there is a prediction.
    pub left: Vec<[i16; MAX_COMPONENTS]>,
    /// The octaves of the sample's rows, where there is a prediction.
    pub octaves: Vec<i32>,
}

/// How much is tried to find scales and predictions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Only some of the rows are counted.
    pub few: bool,
    /// Columns have scales.
    pub columns: bool,
    /// Rounds of refining the scales; with none, a row's scale is the mean of its differences.
    pub rounds: u32,
    /// A low-rank prediction is tried.
    pub low_rank: bool,
}

impl Effort {
    /// The levels of `--effort`: 0 counts on a part and takes means for scales, 1 fits rows and columns, 2 predicts as
    /// well, 3 fits twice.
    pub fn level(level: u32, low_rank: bool) -> Self {
        Self {
            few: level == 0,
            columns: level > 0,
            rounds: [0, 1, 1, 2][level.min(3) as usize],
            low_rank: low_rank && level >= 2,
        }
    }

    /// Of how many rows of a tensor one is fitted on. `columns`: its words per row, `words`: all of them.
    pub fn stride(self, columns: u64, words: u64) -> u64 {
        let most = match (self.low_rank, self.rounds) {
            (true, 2..) => MOST_WEIGHTS,
            (true, _) => MOST_WEIGHTS / 2,
            _ => MOST_WEIGHTS / 4,
        };
        let stride = words.div_ceil(most);
        let rows = words / columns.max(1);
        match self.few {
            // Rows that did not change do not count, and there may be many.
            true => stride.max(rows / (8 * FEW_ROWS as u64)),
            false => stride,
        }
    }
}

/// Rows of a tensor, kept for several passes.
pub struct Sample {
    pub(in crate::strategy) layout: Layout,
    pub(in crate::strategy) window: Window,
    pub(in crate::strategy) columns: usize,
    /// Of how many rows of the tensor one is in it.
    pub(in crate::strategy) stride: u64,
    pub(in crate::strategy) base: Vec<u8>,
    pub(in crate::strategy) fine: Vec<u8>,
}

impl Sample {
    /// An empty sample, which one of `stride` rows of a tensor will be added to.
    pub fn new(layout: Layout, columns: usize, stride: u64) -> Self {
        Self {
            layout,
            window: Window::for_width(layout.bits),
            columns,
            stride,
            base: Vec::new(),
            fine: Vec::new(),
        }
    }

    /// Adds the rows of a piece of the tensor; rows that did not change are left out.
    pub fn add(&mut self, base: &[u8], fine: &[u8]) {
        let size = self.columns * self.layout.bytes();
        self.base.reserve(base.len());
        self.fine.reserve(fine.len());
        // Rows that follow each other are copied at once: a call for each of them takes longer than what it copies.
        let (mut from, mut at) = (0, 0);
        let mut take = |rows: Range<usize>| {
            self.base.extend_from_slice(&base[rows.clone()]);
            self.fine.extend_from_slice(&fine[rows]);
        };
        for (b, f) in base.chunks(size).zip(fine.chunks(size)) {
            let end = at + b.len();
            if !differs(b, f) {
                take(from..at);
                from = end;
            }
            at = end;
        }
        take(from..at);
    }

    /// Some of the rows, where the effort is for no more and there are many.
    pub(in crate::strategy) fn few(&self, effort: Effort) -> Option<Self> {
        let n = self.n_rows();
        (effort.few && n > FEW_ROWS).then(|| self.every(n / FEW_ROWS))
    }

    /// Every `stride`-th row.
    pub(in crate::strategy) fn every(&self, stride: usize) -> Self {
        let mut some = Self::new(self.layout, self.columns, self.stride * stride as u64);
        let size = self.columns * self.layout.bytes();
        for (b, f) in self.base.chunks(size).zip(self.fine.chunks(size)).step_by(stride) {
            some.base.extend_from_slice(b);
            some.fine.extend_from_slice(f);
        }
        some
    }

    /// True when there is no row in it.
    pub fn is_empty(&self) -> bool {
        self.base.is_empty()
    }

    pub(in crate::strategy) fn len(&self) -> usize {
        self.base.len() / self.layout.bytes()
    }

    pub(in crate::strategy) fn rows(&self) -> impl Iterator<Item = Range<usize>> {
        let (n, columns) = (self.len(), self.columns);
        (0..n).step_by(columns).map(move |at| at..(at + columns).min(n))
    }

    pub(in crate::strategy) fn n_rows(&self) -> usize {
        self.len().div_ceil(self.columns)
    }

    /// The contexts that are counted.
    pub(in crate::strategy) fn contexts(&self) -> Contexts {
        Contexts {
            log2_q: self.window.log2_q,
            offset: self.window.offset,
            classes: self.window.classes,
            phased: self.window.classes,
        }
    }
}

/// Fits a sample: a pass for the scales, more for a prediction where the effort has one, one to count.
pub fn fit(sample: &Sample, effort: Effort) -> SampleFit {
    if let Some(few) = sample.few(effort) {
        return fit(&few, Effort { few: false, ..effort });
    }
    let with_columns = effort.columns && sample.n_rows() >= 8;
    let with_factors = effort.low_rank && matches!(sample.layout.bits, 16 | 32) && sample.layout.is_float();
    let mut scaled = Scaled::new(sample);
    if with_factors {
        scaled.load_deltas();
    } else {
        scaled.load(None);
    }
    scaled.take_means(with_columns as u32);
    let (mut factors, mut left, mut octaves) = (None, Vec::new(), Vec::new());
    let mut factor_counts = vec![[0; SYMBOLS]; FACTOR_CLASSES];
    if with_factors {
        if let Some(found) = low_rank(&mut scaled) {
            scaled.load(Some(Prediction {
                factors: &found.factors,
                left: &found.left,
                octaves: &found.octaves,
            }));
            scaled.take_means(1);
            count_factors(&found.factors, &found.left, &mut factor_counts);
            (factors, left, octaves) = (Some(found.factors), found.left, found.octaves);
        } else {
            scaled.load(None);
        }
    }
    let mut counts = refined(&mut scaled, effort, with_columns);
    if with_columns {
        // Of few changes in a column its scale says more about chance than about others to come.
        let width = sample.layout.bits;
        let length = |counts| entropy_length(counts, width) * sample.stride;
        let (side, with) = (side_length(&scaled.columns, false), length(&counts));
        if side > with / COLUMNS_SHARE {
            let columns = std::mem::take(&mut scaled.columns);
            scaled.columns = vec![0; columns.len()];
            scaled.take_means(0);
            let without = refined(&mut scaled, effort, false);
            match length(&without) < with + side {
                true => counts = without,
                false => scaled.columns = columns,
            }
        }
    }
    SampleFit {
        columns: scaled.columns,
        factors,
        counts,
        factor_counts,
        left,
        octaves,
    }
}

/// Refines scales that are means, and counts all symbols.
fn refined(scaled: &mut Scaled<'_>, effort: Effort, with_columns: bool) -> Counts {
    let Sample { window, layout, .. } = *scaled.sample;
    let rounds = if scaled.sample.len() < REFINE_FROM {
        0
    } else {
        effort.rounds
    };
    for _ in 0..rounds {
        // Lengths need no more counts than there are in a part of a large sample.
        let counts = scaled.count((scaled.rows.len() / COUNT_ROWS).max(1));
        scaled.refine(&costs(window, layout.bits, &counts), with_columns);
    }
    scaled.count(1)
}

/// Counts a prediction's factors by their class.
pub(in crate::strategy) fn count_factors(factors: &Factors, left: &[[i16; MAX_COMPONENTS]], counts: &mut Counts) {
    for left in left {
        for (&class, &a) in factors.left_classes.iter().zip(left) {
            counts[class as usize][symbol(a, factors.raw_bits) as u8 as usize] += 1;
        }
    }
    for right in factors.right.chunks_exact(factors.rank) {
        for (&class, &b) in factors.right_classes.iter().zip(right) {
            counts[class as usize][symbol(b, factors.raw_bits) as u8 as usize] += 1;
        }
    }
}

/// From counts of a sample's factors to those of its tensor, of which one of `stride` rows is in the sample: the rows'
/// factors count `stride` times, the columns' are all there.
pub fn of_all_rows(counts: &mut Counts, factors: &Factors, stride: u32) {
    for c in counts.as_flattened_mut() {
        *c = c.saturating_mul(stride);
    }
    for right in factors.right.chunks_exact(factors.rank) {
        for (&class, &b) in factors.right_classes.iter().zip(right) {
            let c = &mut counts[class as usize][symbol(b, factors.raw_bits) as u8 as usize];
            *c = c.saturating_sub(stride - 1);
        }
    }
}
