//! From what fitting found in all tensors to the sections of a file that blocks need.

use super::arrange::Item;
use super::fitted::{Fitted, Sparse, TensorCoding};
use crate::format::v2::index::{Dithered, Lost};
use crate::format::v2::{Op, TensorRecord};
use crate::kernels::v2::alphabet::raw_bits;
use crate::kernels::v2::dither::LEVELS;
use crate::kernels::v2::log2::{log2_q8, FRACTION};
use crate::kernels::v2::tables::{ESC, SYMBOLS};
use crate::strategy::lossless::factors::FACTOR_CLASSES;
use crate::strategy::lossless::fit::{Counts, VARIANTS};
use crate::strategy::lossless::form::Form;
use crate::strategy::lossless::merge;
use crate::strategy::lossless::model::{TableSet, Window};
use crate::strategy::lossless::params::Params;
use crate::strategy::lossy::fit::{DITHER_CLASSES, DITHER_OFFSET};
use crate::strategy::lossy::merge::add_tables;

/// Widths of coded words and the forms that have them: each has a table set of its own.
const KINDS: [(u32, Form); 7] = [
    (8, Form::Own),
    (16, Form::Own),
    (16, Form::Bf16),
    (16, Form::F16),
    (16, Form::Nibbles),
    (32, Form::Own),
    (64, Form::Own),
];

/// Logarithm of the size of the tables.
const TABLE_LOG: u32 = 11;

/// Bytes of a dithered tensor's step, seed and loss in the index.
const RECORD_BYTES: u64 = 14;

/// Bytes that a loss has to be worth at least.
const WORTH_BYTES: u64 = 256;

/// Table sets and the parameters of every tensor, as in the file.
pub struct Sections {
    /// The table sets, one for each width of coded words that has deltas.
    pub sets: Vec<Vec<u8>>,
    /// Parameters of each tensor; empty for one that is no delta.
    pub params: Vec<Vec<u8>>,
}

/// The sections of tensors of one width.
struct WidthSections {
    set: Vec<u8>,
    params: Vec<Vec<u8>>,
    /// About how long it all is, in bits: with the symbols, of which the counts are.
    bits: u64,
}

/// Makes the sections. Records get their numbers, and are dithered where they can be and that is shorter in all.
pub fn model(items: &[Item<'_>], records: &mut [TensorRecord], fitted: &[Fitted]) -> Sections {
    let mut sections = Sections {
        sets: Vec::new(),
        params: vec![Vec::new(); items.len()],
    };
    for (width, form) in KINDS {
        let is_own = |i: usize| fitted[i].form == form && form.layout(records[i].dtype).bits == width;
        let of_width: Vec<usize> = (0..items.len())
            .filter(|&i| records[i].op == Op::Delta && is_own(i))
            .collect();
        if of_width.is_empty() {
            continue;
        }
        let exact: Vec<&TensorCoding> = of_width.iter().map(|&i| &fitted[i].exact).collect();
        let best: Vec<&TensorCoding> = of_width.iter().map(|&i| fitted[i].best()).collect();
        let mut chosen = (of_one_width(width, form, &exact), exact);
        if best.iter().any(|c| c.step.is_some()) {
            let lossy = of_one_width(width, form, &best);
            // Without a loss no block is longer than its bytes.
            let bytes: u64 = of_width.iter().map(|&i| items[i].geometry.common * width as u64).sum();
            // Both are estimates, and what hardly gains is not worth a loss.
            if lossy.bits + lossy.bits / 16 + 8 * WORTH_BYTES < chosen.0.bits.min(bytes) {
                chosen = (lossy, best);
            }
        }
        let (model, codings) = chosen;
        for ((&i, coding), params) in of_width.iter().zip(codings).zip(model.params) {
            let record = &mut records[i];
            record.set = sections.sets.len() as u64;
            record.params = params.len() as u64;
            record.dithered = coding.step.map(|step| Dithered {
                step,
                seed: seed(fitted[i].seed, i as u64),
                lost: Lost::default(),
            });
            sections.params[i] = params;
        }
        sections.sets.push(model.set);
    }
    sections
}

/// Levels depend on what the fine-tune is, so that a chain has other ones for each link, and on where it is, so that the
/// same tensor twice has not.
fn seed(fine: u64, position: u64) -> u64 {
    fine as u32 as u64 ^ position
}

/// The symbols of tensors of one width, each counted with the constants of a window that fits all.
struct Totals {
    window: Window,
    exact: Vec<[u64; SYMBOLS]>,
    factors: Vec<[u64; SYMBOLS]>,
    dithered: Vec<[u64; SYMBOLS]>,
}

impl Totals {
    fn of(codings: &[&TensorCoding], width: u32) -> Self {
        let window = Window::for_width(width);
        let all = |n: usize, of: fn(&TensorCoding) -> &Sparse| sum(n, codings.iter().map(|c| of(c)));
        Self {
            window,
            exact: all(VARIANTS * window.classes as usize, |c| &c.counts),
            factors: all(FACTOR_CLASSES, |c| &c.factor_counts),
            dithered: all(LEVELS * DITHER_CLASSES, |c| &c.dither_counts),
        }
    }

    /// The tables for these symbols. `raw_factors`: whether factors have raw bits.
    fn tables(&self, width: u32, raw_factors: bool) -> TableSet {
        let (exact, factors) = (narrowed(&self.exact), narrowed(&self.factors));
        let mut set = merge::tables(self.window, width, TABLE_LOG, &exact, &factors, raw_factors);
        add_tables(&mut set, width, &narrowed(&self.dithered));
        set
    }

    /// Bits that the symbols take with these tables, raw bits included but for those of factors.
    fn bits(&self, set: &TableSet, width: u32) -> u64 {
        let mut bits = 0;
        let classes = self.window.classes as usize;
        for (context, table) in self.exact.iter().enumerate() {
            let (variant, class) = match context.checked_sub(classes) {
                None => (0, context),
                Some(apart) => (1 + apart % 2, apart / 2),
            };
            let class = moved(class, self.window.offset, set.window.offset, set.window.classes);
            bits += length(set, set.context(variant, class), table, width);
        }
        let counted = |(_, table): &(usize, &[u64; SYMBOLS])| table.iter().any(|&c| c > 0);
        for (class, table) in self.factors.iter().enumerate().filter(counted) {
            bits += length(set, set.factor_context(class as u8), table, 0);
        }
        for (context, table) in self.dithered.iter().enumerate().filter(counted) {
            let (class, level) = (context / LEVELS, context % LEVELS);
            let class = moved(class, DITHER_OFFSET, set.dither_offset, set.dither_classes);
            bits += length(set, set.undithered() + LEVELS * class + level, table, width);
        }
        bits
    }
}

/// Bits of the factors of rows, besides their symbols; those of columns are in the parameters.
fn raw_factor_bits(coding: &TensorCoding) -> u64 {
    let Some(f) = &coding.factors else { return 0 };
    let all: u64 = coding.factor_counts.iter().map(|&(.., n)| n as u64).sum();
    all.saturating_sub(f.right.len() as u64) * f.raw_bits as u64
}

fn of_one_width(width: u32, form: Form, codings: &[&TensorCoding]) -> WidthSections {
    let totals = Totals::of(codings, width);
    let mut factors = codings.iter().filter_map(|c| c.factors.as_ref());
    let mut set = totals.tables(width, factors.any(|f| f.raw_bits > 0));
    set.form = form;
    let params: Vec<Vec<u8>> = codings
        .iter()
        .map(|c| Params::new(&set, c.columns.clone(), c.factors.clone()).to_bytes(&set))
        .collect();
    let symbols = totals.bits(&set, width) + codings.iter().map(|c| raw_factor_bits(c)).sum::<u64>();
    let set = set.to_bytes();
    let records = codings.iter().filter(|c| c.step.is_some()).count() as u64 * RECORD_BYTES;
    let sections = params.iter().map(|p| p.len() as u64).sum::<u64>() + set.len() as u64;
    let bits = symbols + 8 * (sections + records);
    WidthSections { set, params, bits }
}

/// A class that was counted with one constant, with another one and in a window of so many classes.
fn moved(class: usize, from: i16, to: i16, classes: u8) -> usize {
    (class as i32 + to as i32 - from as i32).clamp(0, (classes as i32 - 1).max(0)) as usize
}

/// Bits of counted symbols in a context, raw bits included. `width`: 0 for symbols that have none.
fn length(set: &TableSet, context: usize, counts: &[u64; SYMBOLS], width: u32) -> u64 {
    let freqs = &set.freqs[context];
    let mut q8 = 0;
    for (s, &c) in counts.iter().enumerate().filter(|(_, &c)| c > 0) {
        let (f, raw) = match freqs[s] {
            0 => (freqs[ESC], width),
            f if width == 0 => (f, 0),
            f => (f, raw_bits(s as u8 as i8, width)),
        };
        q8 += c * (((set.log + raw) << FRACTION) - log2_q8(f.max(1) as u64)) as u64;
    }
    q8 >> FRACTION
}

/// The sum of counts in `n` contexts.
pub fn sum<'a>(n: usize, of: impl Iterator<Item = &'a Sparse>) -> Vec<[u64; SYMBOLS]> {
    let mut sums = vec![[0u64; SYMBOLS]; n];
    for &(context, symbol, count) in of.flatten() {
        sums[context as usize][symbol as usize] += count as u64;
    }
    sums
}

/// Sums so small that all of them together fit 31 bits; what was there stays there.
pub fn narrowed(sums: &[[u64; SYMBOLS]]) -> Counts {
    let total: u64 = sums.iter().flatten().sum();
    let shift = (64 - total.leading_zeros()).saturating_sub(31);
    sums.iter()
        .map(|table| table.map(|c| ((c >> shift) as u32).max((c > 0) as u32)))
        .collect()
}
