//! From the counts of many tensors to shared tables.

use super::estimate::joined_length;
use super::fit::Counts;
use super::form::Form;
use super::model::{TableSet, Window};
use crate::kernels::v2::tables::{normalise, normalise_all, Freqs, SYMBOLS};

/// What a symbol is charged that a table leaves to the escape: nothing, where tables of dithered weights charge what it
/// takes. To charge it here as well would join other classes, and change every file.
const LEFT_OUT_BITS: u32 = 0;

/// Tables for the sum of all counts; neighbouring classes at either end of the window are joined while that is shorter.
///
/// `counts`: [`VARIANTS`](super::fit::VARIANTS) contexts for each class of `window`, in the order of
/// [`TableSet::context`] with all classes phased; `width`: bits of a word; `log`: logarithm of a table's size;
/// `factor_counts`: a context for each class of factors; `raw_factors`: whether factors have raw bits.
pub fn tables(
    window: Window,
    width: u32,
    log: u32,
    counts: &Counts,
    factor_counts: &Counts,
    raw_factors: bool,
) -> TableSet {
    let mut classes = Classes::new(window.classes as usize, width, log, counts);
    classes.choose_phased();
    classes.join_low();
    classes.join_high();
    let mut freqs = classes.freqs();
    freqs.extend(factor_freqs(log, factor_counts, raw_factors));
    TableSet {
        raw_factors,
        form: Form::Own,
        window: Window {
            log2_q: window.log2_q,
            offset: window.offset - classes.first as i16,
            classes: classes.plain.len() as u8,
        },
        phased: classes.phased.len() as u8,
        log,
        dither_offset: 0,
        dither_classes: 0,
        freqs,
    }
}

/// Counts of one context.
type Table = [u32; SYMBOLS];

fn sum(a: &Table, b: &Table) -> Table {
    std::array::from_fn(|s| a[s] + b[s])
}

/// Counts of a class's predicted weights, by what rounding the prediction left over.
struct Phases {
    /// Less than a quarter of a step.
    near: Table,
    /// More.
    far: Table,
}

impl Phases {
    fn both(&self) -> Table {
        sum(&self.near, &self.far)
    }

    fn with(&self, other: &Self) -> Self {
        Self {
            near: sum(&self.near, &other.near),
            far: sum(&self.far, &other.far),
        }
    }
}

/// The classes that get tables.
struct Classes {
    width: u32,
    log: u32,
    /// Which class of the counted window is the first one here.
    first: usize,
    /// Counts of each class: of predicted weights too where these have no contexts of their own.
    plain: Vec<Table>,
    /// Counts of predicted weights, for the classes from the first that have contexts of their own for them.
    phased: Vec<Phases>,
}

impl Classes {
    /// All `n` classes, each phased.
    fn new(n: usize, width: u32, log: u32, counts: &Counts) -> Self {
        let phases = |p: &[Table]| Phases { near: p[0], far: p[1] };
        Self {
            width,
            log,
            first: 0,
            plain: counts[..n].to_vec(),
            phased: counts[n..].chunks_exact(2).map(phases).collect(),
        }
    }

    /// Length of a context with its table, in 2^-8 bits.
    fn length(&self, table: &Table) -> i64 {
        joined_length(table, self.log, self.width, LEFT_OUT_BITS) as i64
    }

    fn phases_length(&self, phases: &Phases) -> i64 {
        self.length(&phases.near) + self.length(&phases.far)
    }

    /// Leaves predicted weights contexts of their own from the first class to the last for which that pays.
    fn choose_phased(&mut self) {
        let (mut n, mut most, mut gain) = (0, 0, 0);
        for (class, (phases, plain)) in self.phased.iter().zip(&self.plain).enumerate() {
            let joined = sum(&phases.both(), plain);
            gain += self.length(&joined) - self.phases_length(phases) - self.length(plain);
            if gain > most {
                (n, most) = (class + 1, gain);
            }
        }
        for (plain, phases) in self.plain.iter_mut().zip(&self.phased).skip(n) {
            *plain = sum(&phases.both(), plain);
        }
        self.phased.truncate(n);
    }

    /// Joins the first class to the second while that is not longer; the last phased class is joined to none.
    fn join_low(&mut self) {
        while let [first, second, ..] = &self.plain[..] {
            let joined = sum(first, second);
            let mut gain = self.length(first) + self.length(second) - self.length(&joined);
            let phases = match &self.phased[..] {
                [] => None,
                [_] => return,
                [first, second, ..] => {
                    let joined = first.with(second);
                    gain += self.phases_length(first) + self.phases_length(second) - self.phases_length(&joined);
                    Some(joined)
                }
            };
            if gain < 0 {
                return;
            }
            self.first += 1;
            self.plain.remove(0);
            self.plain[0] = joined;
            if let Some(joined) = phases {
                self.phased.remove(0);
                self.phased[0] = joined;
            }
        }
    }

    /// Joins the last class to the one before while that is not longer and neither is phased.
    fn join_high(&mut self) {
        while let [.., before, last] = &self.plain[..] {
            let joined = sum(last, before);
            if self.plain.len() <= self.phased.len() + 1
                || self.length(&joined) > self.length(last) + self.length(before)
            {
                return;
            }
            self.plain.pop();
            self.plain.pop();
            self.plain.push(joined);
        }
    }

    /// Frequencies of all contexts, in the order of a [`TableSet`].
    fn freqs(&self) -> Vec<Freqs> {
        let phases = self.phased.iter().flat_map(|p| [&p.near, &p.far]);
        let tables = self.plain.iter().chain(phases);
        tables.map(|c| normalise(c, self.log, self.width)).collect()
    }
}

/// Frequencies of factors by their class; none where there are no factors.
fn factor_freqs(log: u32, counts: &Counts, raw_factors: bool) -> Vec<Freqs> {
    if counts.iter().flatten().all(|&c| c == 0) {
        return Vec::new();
    }
    let freqs = counts.iter().enumerate().map(|(class, c)| {
        if raw_factors || class >= LARGE_CLASS {
            normalise_all(&filled(c), log)
        } else {
            normalise(c, log, FACTOR_BITS)
        }
    });
    freqs.collect()
}

/// Bits of a factor's symbol.
const FACTOR_BITS: u32 = 8;

/// First class of factors so large that one of them counts for much.
const LARGE_CLASS: usize = 11;

/// Counts with every symbol that other rows may have: a quarter further out than those that were seen. A factor whose
/// table does not have its symbol moves to the next one that it has, and its whole row or column is predicted worse.
fn filled(counts: &Table) -> Table {
    let mut filled = *counts;
    let seen = |m: &usize| counts[*m] > 0 || counts[SYMBOLS - m] > 0;
    let reach = (1..128).rev().find(seen).unwrap_or(0);
    for m in 1..=(reach + reach.div_ceil(4)).min(127) {
        for s in [m, SYMBOLS - m] {
            filled[s] = filled[s].max(1);
        }
    }
    filled
}
