//! From the counts of many tensors to shared tables.

use super::estimate::joined_length;
use super::fit::Counts;
use super::model::{code_tables, TableSet, Window};
use crate::kernels::v2::adaptive::Meter;
use crate::kernels::v2::log2::FRACTION;
use crate::kernels::v2::tables::{normalise, normalise_all, Freqs, SYMBOLS};

/// What a symbol is charged that a table leaves to the escape: nothing, where tables of dithered weights charge what it
/// takes. To charge it here as well would join other classes, and change every file.
const LEFT_OUT_BITS: u32 = 0;

/// Tables for the sum of all counts; neighbouring classes at either end of the window are joined while that is shorter.
///
/// `raw_factors`: whether factors have raw bits.
pub fn tables(
    window: Window,
    width: u32,
    log: u32,
    counts: &Counts,
    factor_counts: &Counts,
    raw_factors: bool,
) -> TableSet {
    let cost = |c: &[u32; SYMBOLS]| joined_length(c, log, width, LEFT_OUT_BITS);
    let classes = window.classes as usize;
    let add = |a: &[u32; SYMBOLS], b: &[u32; SYMBOLS]| -> [u32; SYMBOLS] { std::array::from_fn(|s| a[s] + b[s]) };
    // Predicted weights have contexts of their own from the first class to the last for which that pays.
    let mut plain: Counts = counts[..classes].to_vec();
    let mut apart: Vec<_> = counts[classes..].chunks_exact(2).map(|p| (p[0], p[1])).collect();
    let (mut phased, mut most, mut gain) = (0, 0i64, 0i64);
    for (class, (a, b)) in apart.iter().enumerate() {
        let joined = add(&add(a, b), &plain[class]);
        gain += cost(&joined) as i64 - cost(a) as i64 - cost(b) as i64 - cost(&plain[class]) as i64;
        if gain > most {
            (phased, most) = (class + 1, gain);
        }
    }
    for (plain, (a, b)) in plain.iter_mut().zip(&apart).skip(phased) {
        *plain = add(&add(a, b), plain);
    }
    apart.truncate(phased);
    let (mut lo, mut hi) = (0, classes - 1);
    while lo < hi {
        let joined = add(&plain[lo], &plain[lo + 1]);
        let mut gain = cost(&plain[lo]) as i64 + cost(&plain[lo + 1]) as i64 - cost(&joined) as i64;
        let mut joined_apart = None;
        if lo < phased {
            if lo + 1 >= phased {
                break;
            }
            let (a, b) = (&apart[lo], &apart[lo + 1]);
            let both = (add(&a.0, &b.0), add(&a.1, &b.1));
            gain += cost(&a.0) as i64 + cost(&a.1) as i64 + cost(&b.0) as i64 + cost(&b.1) as i64;
            gain -= cost(&both.0) as i64 + cost(&both.1) as i64;
            joined_apart = Some(both);
        }
        if gain < 0 {
            break;
        }
        plain[lo + 1] = joined;
        if let Some(both) = joined_apart {
            apart[lo + 1] = both;
        }
        lo += 1;
    }
    while lo < hi && hi > phased {
        let joined = add(&plain[hi], &plain[hi - 1]);
        if cost(&joined) > cost(&plain[hi]) + cost(&plain[hi - 1]) {
            break;
        }
        plain[hi - 1] = joined;
        hi -= 1;
    }
    let mut freqs: Vec<Freqs> = plain[lo..=hi].iter().map(|c| normalise(c, log, width)).collect();
    for (a, b) in apart.iter().skip(lo) {
        freqs.push(normalise(a, log, width));
        freqs.push(normalise(b, log, width));
    }
    if factor_counts.iter().flatten().any(|&c| c > 0) {
        freqs.extend(factor_counts.iter().enumerate().map(|(class, c)| {
            if raw_factors || class >= LARGE_CLASS {
                normalise_all(&filled(c), log)
            } else {
                normalise(c, log, 8)
            }
        }));
    }
    TableSet {
        raw_factors,
        narrow: None,
        window: Window {
            log2_q: window.log2_q,
            offset: window.offset - lo as i16,
            classes: (hi - lo + 1) as u8,
        },
        phased: phased.saturating_sub(lo) as u8,
        log,
        dither_offset: 0,
        dither_classes: 0,
        freqs,
    }
}

/// First class of factors so large that one of them counts for much.
const LARGE_CLASS: usize = 11;

/// Counts with every symbol that other rows may have: a quarter further out than those that were seen. A factor whose
/// table does not have its symbol moves to the next one that it has, and its whole row or column is predicted worse.
fn filled(counts: &[u32; SYMBOLS]) -> [u32; SYMBOLS] {
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

/// Length of a set's tables in bytes.
pub fn table_bytes(set: &TableSet) -> u64 {
    let mut meter = Meter::default();
    code_tables(&mut meter, set.log, &mut set.freqs.clone());
    (meter.q8 >> (FRACTION + 3)) + 1
}
