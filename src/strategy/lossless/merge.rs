//! From the counts of many tensors to shared tables.

use super::estimate::length_joined;
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
    let mut classes = Classes::new(window.classes as usize, Kind { width, log }, counts);
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

/// A context with the table that is made for its counts.
struct Context {
    counts: Table,
    freqs: Freqs,
    /// Of the symbols with the table, in 2^-8 bits.
    length: i64,
}

/// Counts of a class's predicted weights, by what rounding the prediction left over: less than a quarter of a step, or more.
type Phases = [Context; 2];

fn phases_length(phases: &Phases) -> i64 {
    phases[0].length + phases[1].length
}

/// What tables are made for.
#[derive(Clone, Copy)]
struct Kind {
    width: u32,
    log: u32,
}

impl Kind {
    fn context(self, counts: Table) -> Context {
        let freqs = normalise(&counts, self.log, self.width);
        let length = length_joined(&counts, &freqs, self.log, LEFT_OUT_BITS) as i64;
        Context { counts, freqs, length }
    }

    fn joined(self, a: &Context, b: &Context) -> Context {
        self.context(sum(&a.counts, &b.counts))
    }
}

/// The classes that get tables.
struct Classes {
    kind: Kind,
    /// Which class of the counted window is the first one here.
    first: usize,
    /// Each class: with predicted weights too where these have no contexts of their own.
    plain: Vec<Context>,
    /// Predicted weights, for the classes from the first that have contexts of their own for them.
    phased: Vec<Phases>,
}

impl Classes {
    /// All `n` classes; predicted weights have contexts of their own from the first class to the last for which that pays.
    fn new(n: usize, kind: Kind, counts: &Counts) -> Self {
        let (plain, phases) = counts.split_at(n);
        let mut plain: Vec<Context> = plain.iter().map(|c| kind.context(*c)).collect();
        let mut phased = Vec::new();
        let (mut used, mut most, mut gain) = (0, 0, 0);
        // Without predicted weights no class would gain.
        let phases = match phases.iter().flatten().any(|&c| c > 0) {
            true => phases,
            false => &[],
        };
        let mut together = Vec::new();
        for (class, (phases, plain)) in phases.chunks_exact(2).zip(&plain).enumerate() {
            let joined = kind.context(sum(&sum(&phases[0], &phases[1]), &plain.counts));
            let apart = [phases[0], phases[1]].map(|c| kind.context(c));
            gain += joined.length - phases_length(&apart) - plain.length;
            if gain > most {
                (used, most) = (class + 1, gain);
            }
            together.push(joined);
            phased.push(apart);
        }
        phased.truncate(used);
        for (plain, joined) in plain.iter_mut().zip(together).skip(used) {
            *plain = joined;
        }
        Self {
            kind,
            first: 0,
            plain,
            phased,
        }
    }

    /// Joins the first class to the second while that is not longer; the last phased class is joined to none.
    fn join_low(&mut self) {
        while let [first, second, ..] = &self.plain[..] {
            let joined = self.kind.joined(first, second);
            let mut gain = first.length + second.length - joined.length;
            let phases = match &self.phased[..] {
                [] => None,
                [_] => return,
                [first, second, ..] => {
                    let joined = [0, 1].map(|p| self.kind.joined(&first[p], &second[p]));
                    gain += phases_length(first) + phases_length(second) - phases_length(&joined);
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
            if self.plain.len() <= self.phased.len() + 1 {
                return;
            }
            let joined = self.kind.joined(last, before);
            if joined.length > last.length + before.length {
                return;
            }
            self.plain.pop();
            self.plain.pop();
            self.plain.push(joined);
        }
    }

    /// Frequencies of all contexts, in the order of a [`TableSet`].
    fn freqs(&self) -> Vec<Freqs> {
        let contexts = self.plain.iter().chain(self.phased.as_flattened());
        contexts.map(|c| c.freqs).collect()
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
