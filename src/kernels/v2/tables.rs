//! Frequency tables: from counts to frequencies that sum to a power of two, and from those to what the coder looks up.
//!
//! A context has one table of 256 frequencies, indexed by the code as `u8`. A frequency of 0 means that the table does
//! not have the symbol: it is written as [`ESCAPE`], which then has a frequency of its own.

use super::alphabet::{raw_bits, ESCAPE};
use super::log2::{log2_q8, FRACTION};
use crate::order::sorted_positions;

/// Number of symbols of a table.
pub const SYMBOLS: usize = 256;

/// Smallest and largest logarithm of a table's size.
pub const LOGS: std::ops::RangeInclusive<u32> = 9..=11;

/// Frequencies of one context.
pub type Freqs = [u16; SYMBOLS];

/// Index of the escape.
pub const ESC: usize = ESCAPE as u8 as usize;

/// Scales counts to frequencies that sum to `2^log`; every symbol that was counted has one, and so has the escape.
pub fn normalise_all(counts: &[u32; SYMBOLS], log: u32) -> Freqs {
    let mut counts = *counts;
    counts[ESC] = counts[ESC].max(1);
    let mut freqs = [0; SYMBOLS];
    scale(&counts, log, &mut freqs);
    freqs
}

/// Scales counts to frequencies that sum to `2^log`, leaving rare symbols to the escape where that is shorter.
///
/// `width`: raw bits of an escape. The escape always has a frequency.
pub fn normalise(counts: &[u32; SYMBOLS], log: u32, width: u32) -> Freqs {
    let mut freqs = [0u16; SYMBOLS];
    let mut counts = *counts;
    // Every table can write anything: a block may hold what was not in the sample.
    counts[ESC] = counts[ESC].max(1);
    // Most symbols of most tables do not occur: what is tried works on those that do.
    let symbols: Vec<usize> = (0..SYMBOLS).filter(|&s| counts[s] > 0).collect();
    let counts: Vec<u32> = symbols.iter().map(|&s| counts[s]).collect();
    let escape = symbols.iter().position(|&s| s == ESC).unwrap_or(0);
    let mut scaled = vec![0; counts.len()];
    let total: u64 = counts.iter().map(|&c| c as u64).sum();
    let mut kept = counts.clone();
    let mut pruned = 0u64;
    // A symbol costs at least `log` bits in slots that others would have used; rarer than about half a slot it is
    // cheaper as an escape, and the escape itself must be worth its slot.
    let mut order = sorted_positions(counts.len(), &|a, b| counts[a].cmp(&counts[b]));
    order.retain(|&s| s != escape);
    let mut cost_of = |counts: &[u32], raw: u64| {
        scale(counts, log, &mut scaled);
        length_under(counts, &scaled, log) + (raw << FRACTION)
    };
    let mut best = (cost_of(&kept, 0), 0);
    for (i, &s) in order.iter().enumerate() {
        // Only symbols that get the smallest frequency are worth a try.
        if (counts[s] as u64) << log > total + total / 2 || i + 1 == order.len() {
            break;
        }
        pruned += counts[s] as u64 * width.saturating_sub(raw_bits(symbols[s] as u8 as i8, width)) as u64;
        kept[escape] += counts[s];
        kept[s] = 0;
        let cost = cost_of(&kept, pruned);
        if cost < best.0 {
            best = (cost, i + 1);
        }
    }
    kept = counts.clone();
    for &s in &order[..best.1] {
        kept[escape] += counts[s];
        kept[s] = 0;
    }
    scale(&kept, log, &mut scaled);
    for (&s, &f) in symbols.iter().zip(&scaled) {
        freqs[s] = f;
    }
    freqs
}

/// Length in 2^-8 bits of `counts` symbols under `freqs`; every counted symbol has a frequency. Raw bits not included.
pub fn length_under(counts: &[u32], freqs: &[u16], log: u32) -> u64 {
    let mut sum = 0;
    for (&c, &f) in counts.iter().zip(freqs) {
        if c > 0 {
            sum += c as u64 * ((log << FRACTION) - log2_q8(f as u64)) as u64;
        }
    }
    sum
}

/// Scales counts (not all zero) to frequencies of at least 1 that sum to `2^log`.
pub fn scale(counts: &[u32], log: u32, freqs: &mut [u16]) {
    let total: u64 = counts.iter().map(|&c| c as u64).sum();
    let size = 1u32 << log;
    let mut sum = 0u32;
    for (f, &c) in freqs.iter_mut().zip(counts) {
        *f = if c == 0 {
            0
        } else {
            // Rounded where the geometric mean of both neighbours lies, near enough.
            ((((c as u64) << (log + 1)) / total + 1) >> 1).max(1) as u16
        };
        sum += *f as u32;
    }
    // Give or take single slots where it changes the length least: gain of one more is about c/f.
    while sum != size {
        let up = sum < size;
        let mut best = None;
        for (s, (&c, &f)) in counts.iter().zip(freqs.iter()).enumerate() {
            let (c, f) = (c as u64, f as u64);
            if c == 0 || (!up && f < 2) {
                continue;
            }
            // Compare c / (2f ± 1) as fractions.
            let d = if up { 2 * f + 1 } else { 2 * f - 1 };
            let better = match best {
                None => true,
                Some((_, bc, bd)) => {
                    if up {
                        c * bd > bc * d
                    } else {
                        c * bd < bc * d
                    }
                }
            };
            if better {
                best = Some((s, c, d));
            }
        }
        // There are at most 256 symbols and 512 slots or more, so some frequency can give.
        let Some((s, ..)) = best else { return };
        // Far off, take several at once.
        let step = (sum.abs_diff(size) / 64)
            .max(1)
            .min(if up { u32::MAX } else { freqs[s] as u32 / 8 + 1 });
        let step = step.min(if up { step } else { freqs[s] as u32 - 1 });
        if up {
            freqs[s] += step as u16;
            sum += step;
        } else {
            freqs[s] -= step as u16;
            sum -= step;
        }
    }
}

/// What the decoder looks up: per context and slot, frequency (bits 0-11), rank in the symbol's slots (12-23) and code
/// (24-31). One more context at the end leaves the state alone: its symbol 0 has all slots.
pub struct DecodeTables {
    /// Logarithm of the number of slots.
    pub log: u32,
    /// `(contexts + 1) << log` entries.
    pub slots: Vec<u32>,
}

impl DecodeTables {
    /// Tables of `contexts`; each must sum to `2^log`.
    pub fn new(contexts: &[Freqs], log: u32) -> Self {
        let mut slots = Vec::with_capacity((contexts.len() + 1) << log);
        for freqs in contexts {
            for (s, &f) in freqs.iter().enumerate() {
                slots.extend((0..f as u32).map(|rank| f as u32 | rank << 12 | (s as u32) << 24));
            }
        }
        slots.extend((0..1 << log).map(|rank: u32| 1 << log | rank << 12));
        debug_assert_eq!(slots.len(), (contexts.len() + 1) << log);
        Self { log, slots }
    }

    /// Number of contexts without the extra one, which is also the extra one's number.
    pub fn contexts(&self) -> usize {
        (self.slots.len() >> self.log) - 1
    }

    /// The context of lanes without a weight: the extra one.
    pub fn padding(&self) -> u8 {
        self.contexts() as u8
    }
}

/// What the encoder looks up: per context and code, frequency, first slot, and `floor(2^32 / frequency)`.
pub struct EncodeTables {
    /// Logarithm of the number of slots.
    pub log: u32,
    /// `(contexts + 1) * 256` entries and one that is not used: bits 0-15 frequency, 16-31 first slot, 32-63 reciprocal.
    pub entries: Vec<u64>,
}

impl EncodeTables {
    /// Tables of `contexts`; each must sum to `2^log`. The extra context of [`DecodeTables`] is there as well.
    pub fn new(contexts: &[Freqs], log: u32) -> Self {
        let mut entries = vec![0; (contexts.len() + 1) * SYMBOLS + 1];
        let mut padding = [0; SYMBOLS];
        padding[0] = 1 << log;
        for (freqs, entries) in contexts.iter().chain([&padding]).zip(entries.chunks_exact_mut(SYMBOLS)) {
            let mut first = 0u64;
            for (&f, entry) in freqs.iter().zip(entries) {
                let reciprocal = match f {
                    0 => continue,
                    1 => u32::MAX as u64,
                    f => (1u64 << 32) / f as u64,
                };
                *entry = f as u64 | first << 16 | reciprocal << 32;
                first += f as u64;
            }
        }
        Self { log, entries }
    }

    /// Number of contexts without the extra one, which is also the extra one's number.
    pub fn contexts(&self) -> usize {
        self.entries.len() / SYMBOLS - 1
    }

    /// The symbol of lanes without a weight: of the extra context, which has only one.
    pub fn padding(&self) -> u16 {
        (self.contexts() as u16) << 8
    }

    /// The frequency of `256 * context + code`.
    #[inline(always)]
    pub fn frequency(&self, symbol: u16) -> u16 {
        self.entries.get(symbol as usize).map_or(0, |&e| e as u16)
    }

    /// True when a table has `256 * context + code`.
    #[inline(always)]
    pub fn has(&self, symbol: u16) -> bool {
        self.frequency(symbol) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::random::Lcg32;

    fn counts(seed: u32) -> [u32; SYMBOLS] {
        let mut c = [0; SYMBOLS];
        let mut lcg = Lcg32(seed | 1);
        for (s, c) in c.iter_mut().enumerate() {
            let x = lcg.next();
            let m = (s as u8 as i8).unsigned_abs() as u32;
            if m <= 52 {
                *c = (x >> 8) >> (m / 2 + seed % 9).min(31);
            }
        }
        c
    }

    #[test]
    fn frequencies_sum_to_the_table_and_cover_all_symbols() {
        for seed in 0..60 {
            for log in LOGS {
                let c = counts(seed);
                let f = normalise(&c, log, 16);
                assert_eq!(f.iter().map(|&f| f as u32).sum::<u32>(), 1 << log);
                for s in 0..SYMBOLS {
                    if c[s] > 0 && f[s] == 0 {
                        assert!(f[ESC] > 0, "{s} is pruned but there is no escape");
                    }
                    assert!(c[s] > 0 || f[s] == 0 || s == ESC);
                    assert!(f[ESC] > 0);
                }
            }
        }
    }

    #[test]
    fn extremes() {
        let f = normalise(&[0; SYMBOLS], 11, 16);
        assert_eq!(f[ESC], 2048);
        let f = normalise(&[u32::MAX; SYMBOLS], 9, 16);
        assert!(f.iter().all(|&f| f == 2));
        let mut c = [0; SYMBOLS];
        c[7] = 1;
        assert_eq!(normalise(&c, 11, 16)[ESC], 1024);
        c[7] = 100_000;
        assert_eq!(normalise(&c, 11, 16)[7], 2047);
        let mut c = [1; SYMBOLS];
        c[0] = u32::MAX;
        let f = normalise(&c, 9, 16);
        assert!(f[ESC] >= 1 && f[0] > 500);
    }

    #[test]
    fn every_slot_is_filled() {
        let f = normalise(&counts(3), 10, 16);
        let t = DecodeTables::new(&[f, f], 10);
        assert_eq!(t.contexts(), 2);
        assert_eq!(t.slots.len(), 3 << 10);
        for (i, &e) in t.slots.iter().enumerate() {
            assert!((e >> 12 & 0xfff) < (e & 0xfff), "slot {i}");
        }
        assert_eq!(EncodeTables::new(&[f, f], 10).entries.len(), 3 * SYMBOLS + 1);
    }
}
