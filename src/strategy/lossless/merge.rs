//! From the counts of many tensors to shared tables.

use super::fit::Counts;
use super::model::{code_tables, TableSet, Window};
use crate::kernels::v2::adaptive::Meter;
use crate::kernels::v2::log2::FRACTION;
use crate::kernels::v2::tables::{length, normalise, Freqs, SYMBOLS};

/// Tables for the sum of all counts; neighbouring classes at either end of the window are joined while that is shorter.
pub fn tables(window: Window, width: u32, log: u32, counts: &Counts) -> TableSet {
    let cost = |c: &[u32; SYMBOLS]| {
        let f = normalise(c, log, width);
        let symbols = f.iter().filter(|&&f| f > 0).count() as u64;
        let mut kept = *c;
        for (k, f) in kept.iter_mut().zip(&f) {
            if *f == 0 {
                *k = 0;
            }
        }
        length(&kept, &f, log) + (symbols * 5 + 4 << FRACTION)
    };
    let (mut lo, mut hi) = (0, counts.len() - 1);
    let mut merged = counts.clone();
    let join = |merged: &mut Counts, from: usize, to: usize| {
        let mut sum = merged[to];
        for (s, f) in sum.iter_mut().zip(&merged[from]) {
            *s += f;
        }
        if cost(&sum) <= cost(&merged[from]) + cost(&merged[to]) {
            merged[to] = sum;
            return true;
        }
        false
    };
    while lo < hi && join(&mut merged, lo, lo + 1) {
        lo += 1;
    }
    while lo < hi && join(&mut merged, hi, hi - 1) {
        hi -= 1;
    }
    let freqs: Vec<Freqs> = merged[lo..=hi].iter().map(|c| normalise(c, log, width)).collect();
    TableSet {
        window: Window {
            log2_q: window.log2_q,
            offset: window.offset - lo as i16,
            classes: (hi - lo + 1) as u8,
        },
        log,
        freqs,
    }
}

/// Length of a set's tables in bytes.
pub fn table_bytes(set: &TableSet) -> u64 {
    let mut meter = Meter::default();
    code_tables(&mut meter, set.log, &mut set.freqs.clone());
    (meter.q8 >> (FRACTION + 3)) + 1
}
