//! A set of frequency tables and the window of classes that they stand for.

use super::form::Form;
use crate::error::Result;
use crate::kernels::v2::adaptive::{Bit, Coder, Int};
use crate::kernels::v2::dither::{Lattices, LEVELS};
use crate::kernels::v2::read_row::Contexts;
use crate::kernels::v2::tables::{DecodeTables, Freqs, ESC, SYMBOLS};

/// Which class a weight is in: `clamp(row + column - q * exponent + offset, 0, classes - 1)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Logarithm of the classes per octave, `q`.
    pub log2_q: u32,
    /// The constant, in classes.
    pub offset: i16,
    /// Number of classes, 1 to 64.
    pub classes: u8,
}

impl Window {
    /// The window that scales are fitted in: wide enough for every fine-tune of a type of this width.
    pub fn for_width(bits: u32) -> Self {
        let (log2_q, offset, classes) = match bits {
            8 => (1, 24, 40),
            16 => (1, 24, 56),
            32 => (1, 16, 64),
            _ => (0, 10, 64),
        };
        Self {
            log2_q,
            offset,
            classes,
        }
    }

    /// The class of a weight with this sum of row, column and exponent.
    #[inline(always)]
    pub fn class(self, sum: i32) -> usize {
        (sum + self.offset as i32).clamp(0, self.classes as i32 - 1) as usize
    }
}

/// A window and the frequencies of its contexts.
#[derive(Clone, Debug, PartialEq)]
pub struct TableSet {
    /// The classes of weights that are not dithered.
    pub window: Window,
    /// How many classes, from the first, have tables of their own for predicted weights.
    pub phased: u8,
    /// Logarithm of a table's size.
    pub log: u32,
    /// Whether predictions may have factors with raw bits.
    pub raw_factors: bool,
    /// The words in which its tensors are coded.
    pub form: Form,
    /// The constant of the classes of dithered weights.
    pub dither_offset: i16,
    /// How many of them there are.
    pub dither_classes: u8,
    /// One table per context: the classes, then two for each phased class, then those of factors, then eight for each
    /// dithered class.
    pub freqs: Vec<Freqs>,
}

impl TableSet {
    /// How contexts of weights follow from their classes.
    pub fn contexts(&self) -> Contexts {
        Contexts {
            log2_q: self.window.log2_q,
            offset: self.window.offset,
            classes: self.window.classes,
            phased: self.phased,
        }
    }

    /// Context of a class for weights without a prediction (`variant` 0) or with one (1 and 2).
    pub fn context(&self, variant: usize, class: usize) -> usize {
        if variant == 0 || class >= self.phased as usize {
            class
        } else {
            self.window.classes as usize + 2 * class + variant - 1
        }
    }

    /// Number of contexts before those of dithered weights.
    pub fn undithered(&self) -> usize {
        self.freqs.len().saturating_sub(LEVELS * self.dither_classes as usize)
    }

    /// How contexts of dithered weights follow from their columns and levels.
    pub fn lattices(&self) -> Lattices {
        Lattices {
            first: self.undithered() as u8,
            offset: self.dither_offset,
            classes: self.dither_classes,
        }
    }

    /// Context of a class of factors.
    pub fn factor_context(&self, class: u8) -> usize {
        self.window.classes as usize + 2 * self.phased as usize + class as usize
    }
}

#[derive(Clone, Default)]
struct TableModels {
    last: Int,
    size: [Int; 4],
    top: [[Bit; 4]; 16],
    rest: [Bit; 16],
    escape: Int,
}

/// Codes the frequencies of `freqs.len()` contexts, each of which sums to `2^log`.
///
/// Symbols go outwards in pairs (1, -1, 2, -2, …); a frequency's bit length is coded against that of its neighbour. The
/// frequency of 0 is what is left. A decoder ignores the content of `freqs` and overwrites it; false when frequencies
/// sum to more than there are slots, which no encoder writes.
pub fn code_tables(coder: &mut dyn Coder, log: u32, freqs: &mut [Freqs]) -> bool {
    let mut models = TableModels::default();
    let mut last_before = 0;
    let mut sound = true;
    for table in freqs.iter_mut() {
        let given = *table;
        let reach = (1..=127)
            .rev()
            .find(|&m| given[m] > 0 || given[SYMBOLS - m] > 0)
            .unwrap_or(0) as i32;
        let last = (last_before + models.last.code(coder, reach - last_before)).clamp(0, 127);
        last_before = last;
        *table = [0; SYMBOLS];
        let mut left = 1i32 << log;
        let mut near = [0i32; 2];
        for m in 1..=last as usize {
            for (side, s) in [m, SYMBOLS - m].into_iter().enumerate() {
                let guess = if m == 1 && side == 0 {
                    log as i32 / 2
                } else if side == 0 {
                    (near[0] + near[1]) >> 1
                } else {
                    near[0]
                };
                let model = 2 * side + (m > 32) as usize;
                let (size, f) = code_frequency(coder, &mut models, model, guess, given[s]);
                near[side] = size;
                table[s] = f;
                left -= f as i32;
            }
        }
        let size = (16 - given[ESC].leading_zeros()) as i32;
        let size = models.escape.code(coder, size).clamp(0, 12);
        let f = code_mantissa(coder, &mut models, size, given[ESC]);
        table[ESC] = f;
        left -= f as i32;
        if left < 0 {
            sound = false;
            *table = [0; SYMBOLS];
            left = 1 << log;
        }
        table[0] = left as u16;
    }
    sound
}

fn code_frequency(coder: &mut dyn Coder, models: &mut TableModels, model: usize, guess: i32, f: u16) -> (i32, u16) {
    let size = (16 - f.leading_zeros()) as i32;
    let size = (guess + models.size[model].code(coder, size - guess)).clamp(0, 12);
    (size, code_mantissa(coder, models, size, f))
}

fn code_mantissa(coder: &mut dyn Coder, models: &mut TableModels, size: i32, f: u16) -> u16 {
    if size == 0 {
        return 0;
    }
    let size = size as usize;
    let mut m = 1u16;
    for place in (0..size - 1).rev() {
        let depth = size - 2 - place;
        let model = match depth {
            0 | 1 => &mut models.top[size][(m & ((1 << depth) - 1)) as usize + depth],
            _ => &mut models.rest[depth.min(15)],
        };
        m = m << 1 | coder.bit(model, f >> place & 1 == 1) as u16;
    }
    m
}

/// A table set, ready to decode with.
pub struct DecodeSet {
    /// As it was read.
    pub tables: TableSet,
    /// As look-up tables.
    pub decode: DecodeTables,
}

impl DecodeSet {
    /// Reads a section with a table set. Fails as [`TableSet::parse`] does.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let tables = TableSet::parse(bytes)?;
        let decode = DecodeTables::new(&tables.freqs, tables.log);
        Ok(Self { tables, decode })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::v2::adaptive::{Decoder, Encoder};
    use crate::kernels::v2::tables::normalise;

    #[test]
    fn tables_come_back() {
        let mut tables: Vec<Freqs> = (0..30u32)
            .map(|t| {
                let counts = std::array::from_fn(|s| {
                    let m = (s as u8 as i8).unsigned_abs() as u32;
                    (1_000_000u32 >> (m * 8 / (t + 1)).min(31)) * (m < 60) as u32
                });
                normalise(&counts, 11, 16)
            })
            .collect();
        tables.push([0; SYMBOLS]);
        tables[30][5] = 1024;
        tables[30][ESC] = 1024;
        let mut e = Encoder::default();
        assert!(code_tables(&mut e, 11, &mut tables.clone()));
        let bytes = e.finish();
        let mut back = vec![[7; SYMBOLS]; tables.len()];
        let mut d = Decoder::new(&bytes);
        assert!(code_tables(&mut d, 11, &mut back));
        assert!(back == tables);
        assert!(d.is_exhausted());
    }

    #[test]
    fn any_bytes_give_full_tables() {
        for seed in 0..50u32 {
            let bytes: Vec<u8> = (0..400u32)
                .map(|i| (i.wrapping_mul(seed * 77 + 13) >> 3) as u8)
                .collect();
            let mut tables = vec![[0; SYMBOLS]; 24];
            code_tables(&mut Decoder::new(&bytes), 11, &mut tables);
            for t in tables {
                assert_eq!(t.iter().map(|&f| f as u32).sum::<u32>(), 2048);
            }
        }
    }
}
