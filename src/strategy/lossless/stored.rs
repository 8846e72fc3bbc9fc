//! A block without a base: the bytes themselves, or each byte of the words under a table of its own.

use super::model::code_tables;
use super::wire::{malformed, put_states, put_varint, seal, take, take_byte, take_states, take_varint, unseal};
use crate::error::Result;
use crate::kernels::v2::adaptive::{Decoder, Encoder};
use crate::kernels::v2::rans::{self, Words, LANES, LOWER};
use crate::kernels::v2::tables::{scale, DecodeTables, EncodeTables, Freqs, SYMBOLS};

/// First byte of a block of plain bytes.
pub const RAW: u8 = 1;

/// First byte of a block of bytes under tables.
pub const PLANES: u8 = 2;

/// Logarithm of the size of these tables.
const LOG: u32 = 11;

/// Encodes words of `width` bytes: 1, 2, 4 or 8.
pub fn encode(bytes: &[u8], width: usize) -> Vec<u8> {
    if let Some(planes) = encode_planes(bytes, width).filter(|p| p.len() < bytes.len() + 9) {
        return planes;
    }
    let mut out = vec![RAW];
    out.extend_from_slice(bytes);
    seal(out)
}

fn encode_planes(bytes: &[u8], width: usize) -> Option<Vec<u8>> {
    if bytes.is_empty() {
        return None;
    }
    let mut counts = vec![[0u32; SYMBOLS]; width];
    for word in bytes.chunks(width) {
        for (c, &b) in counts.iter_mut().zip(word) {
            c[b as usize] += 1;
        }
    }
    let mut freqs: Vec<Freqs> = vec![[0; SYMBOLS]; width];
    for (f, c) in freqs.iter_mut().zip(&counts) {
        scale(c, LOG, f);
    }
    let mut coder = Encoder::default();
    code_tables(&mut coder, LOG, &mut freqs.clone());
    let side = coder.finish();
    let mut index: Vec<u16> = Vec::with_capacity(bytes.len() + LANES);
    for word in bytes.chunks(width) {
        index.extend(word.iter().zip(0u16..).map(|(&b, c)| c << 8 | b as u16));
    }
    let tables = EncodeTables::new(&freqs, LOG);
    index.resize(index.len().div_ceil(LANES) * LANES, tables.padding());
    let (states, words) = rans::encode(&index, &tables);
    let mut out = vec![PLANES];
    put_varint(&mut out, side.len() as u64);
    out.extend_from_slice(&side);
    put_states(&mut out, states);
    out.extend_from_slice(&words);
    Some(seal(out))
}

/// Decodes such a block; `out` has the length that it is to have.
pub fn decode(bytes: &[u8], width: usize, out: &mut [u8]) -> Result<()> {
    let mut rest = unseal(bytes)?;
    match take_byte(&mut rest)? {
        RAW if rest.len() == out.len() => {
            out.copy_from_slice(rest);
            Ok(())
        }
        PLANES => decode_planes(rest, width, out),
        _ => Err(malformed("a stored block is of no known kind or of another length")),
    }
}

fn decode_planes(mut rest: &[u8], width: usize, out: &mut [u8]) -> Result<()> {
    let n = take_varint(&mut rest)?;
    let mut coder = Decoder::new(take(&mut rest, n)?);
    let mut freqs: Vec<Freqs> = vec![[0; SYMBOLS]; width];
    let sound = code_tables(&mut coder, LOG, &mut freqs) && coder.is_exhausted();
    let mut states = take_states(&mut rest)?;
    let even = rest.len().is_multiple_of(2);
    let mut words = Words::new(rest);
    let tables = DecodeTables::new(&freqs, LOG);
    let mut contexts = [0u8; 16 * LANES];
    for (c, i) in contexts.iter_mut().zip(0..) {
        *c = (i % width) as u8;
    }
    let mut codes = [0i8; 16 * LANES];
    for piece in out.chunks_mut(contexts.len()) {
        contexts[piece.len()..].fill(tables.padding());
        let n = piece.len().div_ceil(LANES) * LANES;
        rans::decode_row(&mut states, &mut words, &tables, &contexts[..n], &mut codes[..n]);
        for (b, &c) in piece.iter_mut().zip(&codes) {
            *b = c as u8;
        }
    }
    match sound && even && states == [LOWER; LANES] && words.is_exhausted() {
        true => Ok(()),
        false => Err(malformed("a stored block's streams do not end where they should")),
    }
}

/// True for a block that needs no base.
pub fn is_stored(block: &[u8]) -> bool {
    matches!(block.first(), Some(&(RAW | PLANES)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_at_any_width() {
        for width in [1, 2, 4, 8] {
            for n in [0, 8, 16, 24, 8000, 4096] {
                let bytes: Vec<u8> = (0..n as u32)
                    .map(|i| ((i * i) >> 7) as u8 & (15 | (i % 2 * 240) as u8))
                    .collect();
                let block = encode(&bytes, width);
                assert!(block.len() <= bytes.len() + 9);
                let mut out = vec![1; n];
                decode(&block, width, &mut out).unwrap();
                assert_eq!(out, bytes);
            }
        }
        assert_eq!(encode(&[7; 8000], 4)[0], PLANES);
        assert!(encode(&[7; 8000], 4).len() < 120);
    }

    #[test]
    fn damage_is_an_error() {
        let bytes: Vec<u8> = (0..3000u32).map(|i| (i % 7) as u8).collect();
        let block = encode(&bytes, 2);
        let mut out = vec![0; bytes.len()];
        let mut found = 0;
        for i in 0..block.len() - 8 {
            let mut bad = block.clone();
            bad[i] ^= 0x10;
            assert!(decode(&bad, 2, &mut out).is_err(), "byte {i}");
            // With a checksum that fits, what the lanes' last states let pass is left to the tensor's digest.
            bad.truncate(block.len() - 8);
            found += decode(&seal(bad), 2, &mut out).is_err() as usize;
            assert!(decode(&seal(block[..i].to_vec()), 2, &mut out).is_err());
        }
        assert!(found > 20, "{found}");
    }
}
