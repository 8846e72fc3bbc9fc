//! Numbers and texts of the index under adaptive binary models: names of tensors repeat each other.

use crate::kernels::v2::adaptive::{Bit, Coder};

/// A probability that adapts fast at first: after `n` bits it moves by `2 / (2 n + 3)` of the way.
#[derive(Clone, Copy)]
struct Counter {
    p: u16,
    n: u8,
}

/// Most bits that a counter counts.
const SETTLED: u8 = 30;

impl Counter {
    const NEW: Self = Self { p: 1 << 15, n: 0 };

    fn p(self) -> u32 {
        (self.p as u32).clamp(32, 65536 - 32)
    }

    fn update(&mut self, bit: bool) {
        let target = if bit { 65535 } else { 0 };
        let step = (target - self.p as i32) * 2 / (2 * self.n as i32 + 3);
        self.p = (self.p as i32 + step) as u16;
        self.n = (self.n + 1).min(SETTLED);
    }
}

/// Lengths of the contexts in bytes, longest first.
const ORDERS: [usize; 4] = [6, 4, 2, 1];

/// Logarithm of the number of counters of each order.
const SLOTS: u32 = 16;

/// A model of bytes: each bit, the highest first, under the longest context that was seen before.
pub struct Text {
    counters: Vec<Counter>,
}

impl Default for Text {
    fn default() -> Self {
        Self {
            counters: vec![Counter::NEW; ORDERS.len() << SLOTS],
        }
    }
}

impl Text {
    /// Codes one byte after the eight bytes in `history`, the last one lowest; returns it.
    fn byte(&mut self, coder: &mut dyn Coder, history: u64, byte: u8) -> u8 {
        let mut partial = 1u32;
        for place in (0..8).rev() {
            let slots: [usize; ORDERS.len()] = std::array::from_fn(|o| {
                let context = history & (u64::MAX >> (64 - 8 * ORDERS[o]));
                let key = (context << 8 | partial as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                o << SLOTS | (key >> (64 - SLOTS)) as usize
            });
            let seen = slots.iter().find(|&&s| self.counters[s].n > 0);
            let p = self.counters[*seen.unwrap_or(&slots[ORDERS.len() - 1])].p();
            let bit = coder.code(p, byte >> place & 1 == 1);
            for s in slots {
                self.counters[s].update(bit);
            }
            partial = partial << 1 | bit as u32;
        }
        partial as u8
    }

    /// Codes `bytes`, of which a decoder knows the number: it gives `n` and gets them in `bytes`. False when the input
    /// ran out.
    pub fn code(&mut self, coder: &mut dyn Coder, n: u64, bytes: &mut Vec<u8>) -> bool {
        let mut history = 0u64;
        for i in 0..n as usize {
            let b = self.byte(coder, history, bytes.get(i).copied().unwrap_or(0));
            if i >= bytes.len() {
                bytes.push(b);
            }
            if coder.ran_out() {
                return false;
            }
            history = history << 8 | b as u64;
        }
        true
    }
}

/// A model of numbers of 64 bits: their bit length as seven bits, the two bits below the leading one, the rest plain.
#[derive(Clone)]
pub struct Number {
    length: [Counter; 128],
    top: [[Counter; 4]; 65],
}

impl Default for Number {
    fn default() -> Self {
        Self {
            length: [Counter::NEW; 128],
            top: [[Counter::NEW; 4]; 65],
        }
    }
}

impl Number {
    /// Codes `value`, which a decoder ignores and returns. A length above 64, which no encoder writes, reads as 64.
    pub fn code(&mut self, coder: &mut dyn Coder, value: u64) -> u64 {
        let length = 64 - value.leading_zeros();
        let mut partial = 1usize;
        for place in (0..7).rev() {
            let counter = &mut self.length[partial];
            let bit = coder.code(counter.p(), length >> place & 1 == 1);
            counter.update(bit);
            partial = partial << 1 | bit as usize;
        }
        let length = (partial - 128).min(64);
        if length == 0 {
            return 0;
        }
        let mut m = 1u64;
        for place in (0..length - 1).rev() {
            let one = value >> place & 1 == 1;
            let depth = length - 2 - place;
            let bit = if depth < 2 {
                let counter = &mut self.top[length][(m & ((1 << depth) - 1)) as usize + depth];
                let bit = coder.code(counter.p(), one);
                counter.update(bit);
                bit
            } else {
                coder.code(1 << 15, one)
            };
            m = m << 1 | bit as u64;
        }
        m
    }
}

/// An adaptive model of a flag: one probability after each value of the one before it.
#[derive(Clone, Default)]
pub struct Flag([Bit; 2], bool);

impl Flag {
    /// Codes `flag` given the one before it.
    pub fn code(&mut self, coder: &mut dyn Coder, flag: bool) -> bool {
        self.1 = coder.bit(&mut self.0[self.1 as usize], flag);
        self.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::v2::adaptive::{Decoder, Encoder};

    #[test]
    fn texts_and_numbers_come_back_and_names_are_short() {
        let parts = [
            "self_attn.q_proj",
            "self_attn.k_proj",
            "mlp.down_proj",
            "input_layernorm",
        ];
        let names: Vec<Vec<u8>> = (0..300)
            .map(|i| format!("model.layers.{}.{}.weight", i / 4, parts[i % 4]).into_bytes())
            .collect();
        let numbers = [0, 1, 2, 3, 255, 1 << 20, u64::MAX, 12345, u64::MAX - 1];
        let mut e = Encoder::default();
        let (mut text, mut number) = (Text::default(), Number::default());
        for name in &names {
            assert!(text.code(&mut e, name.len() as u64, &mut name.clone()));
        }
        for n in numbers {
            assert_eq!(number.code(&mut e, n), n);
        }
        let bytes = e.finish();
        assert!(bytes.len() < 4 * names.len(), "{}", bytes.len());
        let mut d = Decoder::new(&bytes);
        let (mut text, mut number) = (Text::default(), Number::default());
        for name in &names {
            let mut back = Vec::new();
            assert!(text.code(&mut d, name.len() as u64, &mut back));
            assert_eq!(back, *name);
        }
        for n in numbers {
            assert_eq!(number.code(&mut d, 0), n);
        }
        assert!(d.is_exhausted());
    }

    #[test]
    fn a_text_longer_than_its_bytes_ends() {
        let mut back = Vec::new();
        assert!(!Text::default().code(&mut Decoder::new(&[0x5a; 20]), u64::MAX, &mut back));
        assert!(back.len() < 1 << 20);
    }
}
