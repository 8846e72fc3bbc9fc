//! 16-lane rANS: states of 32 bits, words of 16 bits, one stream of words for all lanes.
//!
//! Symbol `i` of a row belongs to lane `i % 16`; a row is padded to whole groups of 16 with symbols of the extra
//! context, which take no bits. States lie in `[2^16, 2^32)`. The decoder takes words in lane order wherever a state
//! falls below 2^16; the encoder goes through everything backwards. It starts, so the decoder ends, with all states at
//! 2^16.

use super::tables::{DecodeTables, EncodeTables};

/// Number of lanes.
pub const LANES: usize = 16;

/// Lower end of the interval that states live in: where an encoder starts and a decoder must end.
pub const LOWER: u32 = 1 << 16;

/// Bytes of zeros after the words, so that a group can be read without looking at the end.
pub const SPARE: usize = 2 * LANES + 16;

/// A stream of words and the position in it.
#[derive(Default)]
pub struct Words {
    pub(super) bytes: Vec<u8>,
    pub(super) len: usize,
    pub(super) at: usize,
}

impl Words {
    /// A reader at the first of the words in `bytes`; an odd byte at the end is ignored.
    pub fn new(bytes: &[u8]) -> Self {
        let len = bytes.len() & !1;
        let mut padded = Vec::with_capacity(len + SPARE);
        padded.extend_from_slice(&bytes[..len]);
        padded.resize(len + SPARE, 0);
        Self {
            bytes: padded,
            len,
            at: 0,
        }
    }

    #[inline(always)]
    fn next(&mut self) -> u32 {
        let w = u16::from_le_bytes([self.bytes[self.at], self.bytes[self.at + 1]]) as u32;
        self.at += 2;
        w
    }

    /// After a group: a position far beyond the end stays there, where it cannot be mistaken for the end.
    #[inline(always)]
    pub(super) fn bound(&mut self) {
        self.at = self.at.min(self.len + 2);
    }

    /// True when all words were used and none that was not there.
    pub fn is_exhausted(&self) -> bool {
        self.at == self.len
    }
}

/// Decodes one row: `contexts` and `codes` have the same length, a multiple of 16.
///
/// Contexts beyond the last are taken as the extra one.
pub fn decode_row(
    states: &mut [u32; LANES],
    words: &mut Words,
    tables: &DecodeTables,
    contexts: &[u8],
    codes: &mut [i8],
) {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    super::simd128::rans::decode_row(states, words, tables, contexts, codes);
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    decode_row_scalar(states, words, tables, contexts, codes);
}

/// The scalar twin of [`decode_row`].
pub fn decode_row_scalar(
    states: &mut [u32; LANES],
    words: &mut Words,
    tables: &DecodeTables,
    contexts: &[u8],
    codes: &mut [i8],
) {
    let log = tables.log;
    let mask = (1u32 << log) - 1;
    let last = tables.contexts();
    for (contexts, codes) in contexts.chunks_exact(LANES).zip(codes.chunks_exact_mut(LANES)) {
        for lane in 0..LANES {
            let x = states[lane];
            let context = (contexts[lane] as usize).min(last);
            let e = tables.slots[context << log | (x & mask) as usize];
            codes[lane] = (e >> 24) as i8;
            let y = (e & 0xfff) * (x >> log) + (e >> 12 & 0xfff);
            states[lane] = if y < LOWER { y << 16 | words.next() } else { y };
        }
        words.bound();
    }
}

/// Encodes everything at once, backwards: `index` holds `256 * context + code` per symbol, rows padded to groups of 16.
///
/// Every symbol has a frequency. Returns the first states and the words.
pub fn encode(index: &[u16], tables: &EncodeTables) -> ([u32; LANES], Vec<u8>) {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    return super::simd128::rans::encode(index, tables);
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    encode_scalar(index, tables)
}

/// Bytes to begin with for the words of `n` symbols: few, as most fine-tunes take two bits or less for a weight.
pub(super) fn first_room(n: usize) -> usize {
    n / 4 + 64
}

/// Doubles the room in front of the words; by how much they have moved up.
#[cold]
pub(super) fn grow(words: &mut Vec<u8>) -> usize {
    let more = words.len();
    let mut larger = vec![0; more];
    larger.append(words);
    *words = larger;
    more
}

/// The scalar twin of [`encode`].
pub fn encode_scalar(index: &[u16], tables: &EncodeTables) -> ([u32; LANES], Vec<u8>) {
    let log = tables.log;
    let mut states = [LOWER; LANES];
    let mut words = vec![0u8; first_room(index.len())];
    let mut at = words.len();
    for group in index.chunks_exact(LANES).rev() {
        if at < 40 {
            at += grow(&mut words);
        }
        for lane in (0..LANES).rev() {
            let e = tables.entries[group[lane] as usize];
            let (f, first, reciprocal) = (e as u32 & 0xffff, (e >> 16) as u32 & 0xffff, e >> 32);
            let mut x = states[lane];
            if x >> (32 - log) >= f {
                at -= 2;
                words[at..at + 2].copy_from_slice(&(x as u16).to_le_bytes());
                x >>= 16;
            }
            // Exact or one too small.
            let mut q = ((x as u64 * reciprocal) >> 32) as u32;
            let mut r = x - q * f;
            if r >= f {
                q += 1;
                r -= f;
            }
            states[lane] = (q << log) + first + r;
        }
    }
    words.drain(..at);
    (states, words)
}

#[cfg(test)]
mod tests {
    use super::super::tables::{normalise, SYMBOLS};
    use super::*;
    use crate::kernels::random::Lcg32;

    /// Rows of pseudo-random symbols of two contexts, with a padded last group.
    fn case(len: usize, spread: u32) -> (Vec<u8>, Vec<i8>) {
        let mut lcg = Lcg32(12345);
        let mut symbols = (Vec::new(), Vec::new());
        for i in 0..len.div_ceil(LANES) * LANES {
            let x = lcg.next();
            let context = (x >> 30 & 1) as u8;
            symbols.0.push(if i < len { context } else { 2 });
            let code = (((x >> 8 & 0xffff).pow(2) >> 16) * spread) >> 16;
            symbols.1.push(if i < len { code as i8 - context as i8 } else { 0 });
        }
        symbols
    }

    #[test]
    fn rows_come_back_and_states_end_where_they_started() {
        for log in 9..=11 {
            for (len, spread) in [(1, 1), (16, 1), (400, 9), (5000, 40), (3333, 100)] {
                let (contexts, codes) = case(len, spread);
                let mut counts = [[0; SYMBOLS]; 2];
                for (&c, &s) in contexts.iter().zip(&codes) {
                    if c < 2 {
                        counts[c as usize][s as u8 as usize] += 1000;
                    }
                }
                let freqs = counts.map(|c| normalise(&c, log, 60));
                let index: Vec<u16> = contexts
                    .iter()
                    .zip(&codes)
                    .map(|(&c, &s)| (c as u16) << 8 | s as u8 as u16)
                    .collect();
                if index
                    .iter()
                    .any(|&i| i >> 8 < 2 && freqs[(i >> 8) as usize][(i & 255) as usize] == 0)
                {
                    continue;
                }
                let (mut states, words) = encode(&index, &EncodeTables::new(&freqs, log));
                let mut out = vec![0; codes.len()];
                let mut reader = Words::new(&words);
                decode_row(
                    &mut states,
                    &mut reader,
                    &DecodeTables::new(&freqs, log),
                    &contexts,
                    &mut out,
                );
                assert_eq!(out, codes);
                assert_eq!(states, [LOWER; LANES]);
                assert!(reader.is_exhausted());
            }
        }
    }
}
