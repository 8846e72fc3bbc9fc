//! The size model: estimated lengths, which the encoder chooses by.
//!
//! Nothing here is read from a file, so another estimate gives another file and not a wrong one. Lengths are in 2^-8 bits
//! unless a name says bits or bytes; sums are of integers, or of floats in a fixed order, so that every machine chooses the
//! same.

use super::factors::Factors;
use super::fit::Counts;
use super::model::Window;
use super::scaled::power;
use super::side::Scales;
use crate::kernels::v2::adaptive::Meter;
use crate::kernels::v2::alphabet::raw_bits;
use crate::kernels::v2::cost::CostTable;
use crate::kernels::v2::log2::{log2_q8, FRACTION};
use crate::kernels::v2::tables::{length_under, normalise, Freqs, SYMBOLS};
use std::sync::OnceLock;

/// Bits of a symbol's frequency in a table that tensors share, where tables are joined. Table sets as they are written take
/// 4.9 to 6.3 bits a symbol, all included (nine pairs of `benches/v2_sizes.rs` at effort 2).
const SHARED_FREQUENCY_BITS: u64 = 5;

/// Bits of a shared table beside its frequencies: how far it reaches.
const SHARED_TABLE_BITS: u64 = 4;

/// Bits of a symbol's frequency in a table of a tensor's own, where ways to code one tensor are compared, and a fine-tune's
/// length is foretold. Not [`SHARED_FREQUENCY_BITS`]: these tables have fewer counts and nothing joins them yet. Which ways
/// are taken, and the steps that a ratio gets, depend on the value.
const OWN_FREQUENCY_BITS: u64 = 8;

/// Bytes of a tensor's parameters beside the scales themselves: the length of their stream, and a checksum.
const PARAMS_BYTES: u64 = 9;

/// Lengths of a scale's moves by 0, 1 and 2, in 2^-8 bits. Coded columns of nine pairs take 144, 664 and 1250.
const NEAR_MOVES: [u32; 3] = [300, 600, 1000];

/// Length of a further move, in 2^-8 bits, without its octaves. With them a move by 3 has 1924, where columns take 1410, one by
/// 4 to 7 has 2436, where they take 2230.
const FAR_MOVE: u32 = 900;

/// Length of each octave of a further move, in 2^-8 bits: one bit more to say its size, and one below the leading one.
const FAR_MOVE_OCTAVE: u32 = 2 << FRACTION;

/// Length of symbols under the table that is made for them, with the table.
///
/// `log`: logarithm of its size; `left_out_bits`: what a symbol is charged that the table leaves to the escape.
pub fn joined_length(counts: &[u32; SYMBOLS], log: u32, width: u32, left_out_bits: u32) -> u64 {
    length_joined(counts, &normalise(counts, log, width), log, left_out_bits)
}

/// [`joined_length`] under a table that was made already.
pub fn length_joined(counts: &[u32; SYMBOLS], freqs: &Freqs, log: u32, left_out_bits: u32) -> u64 {
    let mut kept = *counts;
    let mut bits = SHARED_TABLE_BITS;
    for (k, f) in kept.iter_mut().zip(freqs) {
        if *f > 0 {
            bits += SHARED_FREQUENCY_BITS;
        } else {
            bits += *k as u64 * left_out_bits as u64;
            *k = 0;
        }
    }
    length_under(&kept, freqs, log) + (bits << FRACTION)
}

/// Length of counted symbols under their own frequencies, raw bits included, tables not. `width`: raw bits of an escape; 0
/// for symbols that have no raw bits.
pub fn entropy_length(counts: &Counts, width: u32) -> u64 {
    let mut sum = 0;
    for table in counts {
        let mut total = 0;
        for &c in table {
            total += c as u64;
        }
        if total == 0 {
            continue;
        }
        sum += total * log2_q8(total) as u64;
        for (s, &c) in table.iter().enumerate() {
            if c == 0 {
                continue;
            }
            sum -= c as u64 * log2_q8(c as u64) as u64;
            if width > 0 {
                sum += c as u64 * (raw_bits(s as u8 as i8, width) << FRACTION) as u64;
            }
        }
    }
    sum
}

/// [`entropy_length`], with a table for each context.
pub fn length_with_tables(counts: &Counts, width: u32) -> u64 {
    let symbols = counts.iter().flatten().filter(|&&c| c > 0).count() as u64;
    entropy_length(counts, width) + ((symbols * OWN_FREQUENCY_BITS) << FRACTION)
}

/// Probabilities of symbols under a two-sided geometric distribution whose mean magnitude is `2^((class - offset) / q)`.
fn prior(window: Window, class: usize) -> [f64; SYMBOLS] {
    let mu = power(class as i32 - window.offset as i32, window.log2_q) as f64;
    let theta = ((1.0 + mu * mu).sqrt() - 1.0) / mu;
    let zero = (1.0 - theta) / (1.0 + theta);
    let mut p = [0.0; SYMBOLS];
    p[0] = zero;
    let mut t = zero;
    let mut m = 1;
    let mut tail = (1.0 - zero) / 2.0;
    while m <= 32 {
        t *= theta;
        p[m] = t;
        p[SYMBOLS - m] = t;
        tail -= t;
        m += 1;
    }
    // Buckets: the mass of v = 32.. in halves of octaves, theta^n by repeated multiplication.
    let mut rest = tail.max(1e-12);
    let mut m = 33;
    let mut width = 16u64;
    while m <= 126 {
        for _ in 0..2 {
            let mut tn = 1.0f64;
            let mut b = theta;
            let mut n = width;
            while n > 0 {
                if n & 1 == 1 {
                    tn *= b;
                }
                b *= b;
                n >>= 1;
            }
            let mass = rest * (1.0 - tn);
            p[m] = mass;
            p[SYMBOLS - m] = mass;
            rest *= tn;
            m += 1;
        }
        width *= 2;
    }
    p
}

/// [`prior`] of every class, found once for each width of elements.
fn priors(window: Window, width: u32) -> &'static [[f64; SYMBOLS]] {
    static PRIORS: [OnceLock<Vec<[f64; SYMBOLS]>>; 4] = [const { OnceLock::new() }; 4];
    let which = (width.trailing_zeros() as usize).saturating_sub(3).min(3);
    PRIORS[which].get_or_init(|| (0..window.classes as usize).map(|class| prior(window, class)).collect())
}

/// How many symbols of each context the prior counts as much as: few beside the thousands of most contexts, so that it
/// matters where there are hardly any.
const PRIOR_SYMBOLS: f64 = 64.0;

/// Lengths of codes by class, from counts that are smoothed by a prior. Codes that were not counted cost nothing.
pub fn costs(window: Window, width: u32, counts: &Counts) -> CostTable {
    let classes = window.classes as usize;
    let context = |variant: usize, class: usize| match variant {
        0 => class,
        variant => classes + 2 * class + variant - 1,
    };
    let variants = counts.len() / classes;
    let mut used = vec![false; variants * SYMBOLS];
    for variant in 0..variants {
        for class in 0..classes {
            for (used, &c) in used[variant * SYMBOLS..]
                .iter_mut()
                .zip(&counts[context(variant, class)])
            {
                *used |= c > 0;
            }
        }
    }
    let priors = priors(window, width);
    let totals: Vec<f64> = counts
        .iter()
        .map(|c| PRIOR_SYMBOLS + c.iter().map(|&c| c as u64).sum::<u64>() as f64)
        .collect();
    CostTable::new(classes, &used, |class, code| {
        let (context, s) = (context(code >> 8, class), code & 255);
        let p = (counts[context][s] as f64 + PRIOR_SYMBOLS * priors[class][s]) / totals[context];
        let scaled = (p * (1u64 << 32) as f64) as u64;
        (32 << FRACTION) - log2_q8(scaled.max(1 << 12)).min(32 << FRACTION)
            + (raw_bits(s as u8 as i8, width) << FRACTION)
    })
}

/// Approximate length of a scale's move against the one before it, in 2^-8 bits.
pub fn move_length(step: i32) -> u32 {
    let n = step.unsigned_abs();
    match NEAR_MOVES.get(n as usize) {
        Some(&length) => length,
        None => FAR_MOVE + FAR_MOVE_OCTAVE * (32 - n.leading_zeros()),
    }
}

/// Length of counted factors and their raw bits, in 2^-8 bits.
pub fn factors_length(counts: &Counts, factors: Option<&Factors>) -> u64 {
    let n: u64 = counts.iter().flatten().map(|&c| c as u64).sum();
    length_with_tables(counts, 0) + ((n * factors.map_or(0, |f| f.raw_bits as u64)) << FRACTION)
}

/// Length of the columns' scales, in 2^-8 bits.
pub fn side_length(columns: &[i16], factors: bool) -> u64 {
    if !factors && columns.iter().all(|&c| c == 0) {
        return 0;
    }
    let (mut meter, mut scales) = (Meter::default(), Scales::default());
    for &c in columns {
        scales.scale(&mut meter, c as i32);
    }
    meter.q8 + (PARAMS_BYTES << (FRACTION + 3))
}
