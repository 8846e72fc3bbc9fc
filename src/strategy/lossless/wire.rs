//! The bytes that blocks and the sections beside them have in common: lengths, states, and a checksum at the end.

use crate::error::{Code, Error, Result};
use crate::kernels::v2::rans::LANES;
use xxhash_rust::xxh3::xxh3_64;

/// Appends a number, seven bits a byte, the lowest first.
#[inline(never)]
pub fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 128 {
        out.push(n as u8 | 128);
        n >>= 7;
    }
    out.push(n as u8);
}

/// The error of bytes whose checksum holds but whose content does not.
pub fn malformed(what: &str) -> Error {
    Error::new(
        Code::Malformed,
        format!("the delta is damaged: {what}; get the file again from where it came from"),
    )
}

/// Takes `n` bytes from the front.
pub fn take<'a>(bytes: &mut &'a [u8], n: usize) -> Result<&'a [u8]> {
    if n > bytes.len() {
        return Err(malformed("a block is shorter than its parts"));
    }
    let (head, tail) = bytes.split_at(n);
    *bytes = tail;
    Ok(head)
}

/// Takes one byte from the front.
pub fn take_byte(bytes: &mut &[u8]) -> Result<u8> {
    Ok(take(bytes, 1)?[0])
}

/// Takes a length from the front.
pub fn take_varint(bytes: &mut &[u8]) -> Result<usize> {
    let mut n = 0u64;
    for shift in (0..35).step_by(7) {
        let b = take_byte(bytes)?;
        n |= ((b & 127) as u64) << shift;
        if b < 128 {
            return usize::try_from(n).map_err(|_| malformed("a length is too large"));
        }
    }
    Err(malformed("a length is too large"))
}

/// Appends the coder's states.
pub fn put_states(out: &mut Vec<u8>, states: [u32; LANES]) {
    for s in states {
        out.extend_from_slice(&s.to_le_bytes());
    }
}

/// Takes the coder's states from the front.
pub fn take_states(bytes: &mut &[u8]) -> Result<[u32; LANES]> {
    let mut states = [0; LANES];
    for (s, b) in states.iter_mut().zip(take(bytes, 4 * LANES)?.chunks_exact(4)) {
        *s = u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    }
    Ok(states)
}

/// The checksum of blocks, sections and the index: XXH3, 64 bits.
#[inline(never)]
pub fn checksum(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

/// Appends the checksum of everything so far.
pub fn seal(mut out: Vec<u8>) -> Vec<u8> {
    out.extend_from_slice(&checksum(&out).to_le_bytes());
    out
}

/// What comes before a checksum that holds.
pub fn unseal(bytes: &[u8]) -> Result<&[u8]> {
    let Some(body) = bytes.len().checked_sub(8) else {
        return Err(malformed("a block is too short for its checksum"));
    };
    if checksum(&bytes[..body]).to_le_bytes() != bytes[body..] {
        return Err(Error::new(
            Code::Checksum,
            "the delta is damaged: a block's bytes differ from its checksum; get the file again from where it came from",
        ));
    }
    Ok(&bytes[..body])
}
