//! The raw bits: little-endian, the lowest bit of a value first.

/// Appends values of up to 64 bits to a byte vector.
#[derive(Default)]
pub struct BitWriter {
    bytes: Vec<u8>,
    pending: u64,
    n: u32,
}

impl BitWriter {
    /// Appends the low `n` bits of `value`; the other bits of `value` are zero.
    #[inline(always)]
    pub fn put(&mut self, value: u64, n: u32) {
        if n > 32 {
            self.put_short(value & 0xffff_ffff, 32);
            return self.put_short(value >> 32, n - 32);
        }
        self.put_short(value, n);
    }

    /// [`put`](Self::put) for up to 32 bits.
    #[inline(always)]
    pub fn put_short(&mut self, value: u64, n: u32) {
        self.pending |= value << self.n;
        self.n += n;
        if self.n >= 32 {
            self.bytes.extend_from_slice(&(self.pending as u32).to_le_bytes());
            self.pending >>= 32;
            self.n -= 32;
        }
    }

    /// Number of bits so far.
    pub fn len(&self) -> u64 {
        self.bytes.len() as u64 * 8 + self.n as u64
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes; unused bits of the last one are zero.
    pub fn finish(mut self) -> Vec<u8> {
        let len = self.n.div_ceil(8) as usize;
        self.bytes.extend_from_slice(&self.pending.to_le_bytes()[..len]);
        self.bytes
    }
}

/// Reads the bits of a byte sequence in order; past the end it reads zeros and goes on counting.
#[derive(Default)]
pub struct BitReader {
    /// Followed by at least eight zeros.
    pub(super) bytes: Vec<u8>,
    pub(super) len: usize,
    pub(super) at: u64,
}

impl BitReader {
    /// A reader at the first bit.
    pub fn new(bytes: &[u8]) -> Self {
        let mut padded = Vec::with_capacity(bytes.len() + 8);
        padded.extend_from_slice(bytes);
        padded.resize(bytes.len() + 8, 0);
        Self {
            bytes: padded,
            len: bytes.len(),
            at: 0,
        }
    }

    /// The next `n <= 64` bits, the first one lowest.
    pub fn get(&mut self, n: u32) -> u64 {
        if n > 56 {
            let low = self.get_short(32);
            return low | self.get_short(n - 32) << 32;
        }
        self.get_short(n)
    }

    /// The next `n <= 56` bits, the first one lowest.
    #[inline(always)]
    pub fn get_short(&mut self, n: u32) -> u64 {
        let byte = ((self.at >> 3) as usize).min(self.len);
        let w = &self.bytes[byte..byte + 8];
        let word = u64::from_le_bytes([w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]]);
        let word = word >> (self.at & 7);
        self.at += n as u64;
        word & ((1 << n) - 1)
    }

    /// True when exactly all bytes were used and the spare bits of the last one are zero.
    pub fn is_exhausted(&self) -> bool {
        let spare = (self.at & 7) as u32;
        self.at.div_ceil(8) == self.len as u64 && (spare == 0 || self.bytes[self.len - 1] >> spare == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_every_width_come_back() {
        let mut w = BitWriter::default();
        let value = |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for i in 0..500u64 {
            let n = (i % 65) as u32;
            w.put(if n == 0 { 0 } else { value(i) >> (64 - n) }, n);
        }
        let bytes = w.finish();
        let mut r = BitReader::new(&bytes);
        for i in 0..500u64 {
            let n = (i % 65) as u32;
            assert_eq!(r.get(n), if n == 0 { 0 } else { value(i) >> (64 - n) });
        }
        assert!(r.is_exhausted());
        assert_eq!(r.get(40), 0);
        assert!(!r.is_exhausted());
    }

    #[test]
    fn spare_bits_must_be_zero() {
        let mut r = BitReader::new(&[0x0f]);
        r.get(3);
        assert!(!r.is_exhausted());
        r.get(1);
        assert!(r.is_exhausted());
    }
}
