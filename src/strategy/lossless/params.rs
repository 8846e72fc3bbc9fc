//! What blocks need beside their own bytes: a table set, and the scales and factors of a tensor's columns.

use super::check::MAX_CLASSES;
use super::factors::{factor, low, symbol, Factors, FACTOR_CLASSES, MAX_GAIN, MAX_RAW_BITS};
use super::form::FORMS;
use super::model::{code_tables, TableSet, Window};
use super::side::{Scales, MAX_SCALE};
use super::wire::{malformed, put_states, put_varint, seal, take, take_states, take_varint, unseal};
use crate::error::Result;
use crate::kernels::v2::adaptive::{Bit, Coder, Decoder, Encoder, Int};
use crate::kernels::v2::bits::{BitReader, BitWriter};
use crate::kernels::v2::dither::LEVELS;
use crate::kernels::v2::element::Layout;
use crate::kernels::v2::predict::{Columns, MAX_OCTAVE};
use crate::kernels::v2::rans::{self, Words, LANES, LOWER};
use crate::kernels::v2::subspace::MAX_COMPONENTS;
use crate::kernels::v2::tables::{DecodeTables, EncodeTables, ESC, LOGS, SYMBOLS};

/// Largest constant of a window, either way.
const MAX_OFFSET: i16 = 4096;

/// Most classes of dithered weights.
pub(in crate::strategy) const MAX_DITHER_CLASSES: u8 = 24;

/// Most contexts of a set: the extra one has a number of 8 bits, too.
pub(in crate::strategy) const MAX_CONTEXTS: usize = 255;

/// Columns' scales and factors of one tensor.
#[derive(Clone, Debug, Default)]
pub struct Params {
    /// One scale per column.
    pub scales: Vec<i16>,
    /// The prediction, if there is one.
    pub factors: Option<Factors>,
}

impl TableSet {
    fn has_factors(&self) -> bool {
        self.undithered() > self.contexts().count()
    }

    /// The section of a file that holds the set.
    pub fn to_bytes(&self) -> Vec<u8> {
        let Window {
            log2_q,
            offset,
            classes,
        } = self.window;
        let mut out = vec![self.log as u8, log2_q as u8];
        out.extend_from_slice(&offset.to_le_bytes());
        let dithered = self.dither_classes > 0;
        let form = self.form as u8;
        let parts = self.has_factors() as u8 | (dithered as u8) << 1 | (self.raw_factors as u8) << 2 | form << 3;
        out.extend_from_slice(&[classes, self.phased, parts]);
        if dithered {
            out.extend_from_slice(&self.dither_offset.to_le_bytes());
            out.push(self.dither_classes);
        }
        let mut coder = Encoder::default();
        code_tables(&mut coder, self.log, &mut self.freqs.clone());
        out.extend_from_slice(&coder.finish());
        seal(out)
    }

    /// Reads such a section. `CHECKSUM` where its bytes are not its checksum's, `MALFORMED` for tables that no
    /// encoder writes.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut rest = unseal(bytes)?;
        let head = take(&mut rest, 7)?;
        let (dither_offset, dither_classes) = match head[6] & 2 {
            0 => (0, 0),
            _ => {
                let more = take(&mut rest, 3)?;
                (i16::from_le_bytes([more[0], more[1]]), more[2])
            }
        };
        let set = Self {
            dither_offset,
            dither_classes,
            log: head[0] as u32,
            window: Window {
                log2_q: head[1] as u32,
                offset: i16::from_le_bytes([head[2], head[3]]),
                classes: head[4],
            },
            phased: head[5],
            raw_factors: head[6] & 4 != 0,
            form: FORMS[(head[6] >> 3 & 3) as usize],
            freqs: Vec::new(),
        };
        let Window {
            log2_q,
            offset,
            classes,
        } = set.window;
        let sound = LOGS.contains(&set.log)
            && log2_q <= 1
            && (-MAX_OFFSET..=MAX_OFFSET).contains(&offset)
            && (1..=MAX_CLASSES).contains(&classes)
            && set.phased <= classes
            && head[6] < 32
            && head[6] & 5 != 4
            && (-MAX_OFFSET..=MAX_OFFSET).contains(&dither_offset)
            && dither_classes <= MAX_DITHER_CLASSES
            && (head[6] & 2 != 0) == (dither_classes > 0);
        if !sound {
            return Err(malformed("the head of a table set is out of its bounds"));
        }
        let factors = (head[6] & 1) as usize * FACTOR_CLASSES;
        let n = set.contexts().count() + factors + LEVELS * dither_classes as usize;
        if n > MAX_CONTEXTS {
            return Err(malformed("a table set has more tables than there may be"));
        }
        let mut freqs = vec![[0; SYMBOLS]; n];
        let mut coder = Decoder::new(rest);
        if !code_tables(&mut coder, set.log, &mut freqs) || !coder.is_exhausted() {
            return Err(malformed("a table's frequencies do not add up"));
        }
        Ok(Self { freqs, ..set })
    }
}

#[derive(Default)]
struct Models {
    flags: [Bit; 2],
    scales: Scales,
    rank: Int,
    shift: Int,
    gain: Int,
    class: Int,
    octave: Int,
    raw_bits: Int,
}

/// Codes everything but the factors themselves. A decoder starts with scales of the right number and no factors.
/// `raw_factors`: whether the set's factors have raw bits.
fn code(coder: &mut dyn Coder, params: &mut Params, raw_factors: bool) {
    let mut models = Models::default();
    let scaled = params.scales.iter().any(|&s| s != 0);
    if coder.bit(&mut models.flags[0], scaled) {
        for s in &mut params.scales {
            *s = models.scales.scale(coder, *s as i32) as i16;
        }
    }
    if !coder.bit(&mut models.flags[1], params.factors.is_some()) {
        return;
    }
    let columns = params.scales.len();
    let factors = params.factors.get_or_insert_with(|| Factors {
        rank: 0,
        raw_bits: 0,
        shift: 0,
        gains: Vec::new(),
        left_classes: Vec::new(),
        right_classes: Vec::new(),
        octaves: vec![0; columns],
        columns: Columns::default(),
        right: Vec::new(),
    });
    let rank = models
        .rank
        .code(coder, factors.rank as i32)
        .clamp(1, MAX_COMPONENTS as i32) as usize;
    factors.rank = rank;
    factors.shift = models.shift.code(coder, factors.shift).clamp(-MAX_SCALE, MAX_SCALE);
    if raw_factors {
        factors.raw_bits = models
            .raw_bits
            .code(coder, factors.raw_bits as i32)
            .clamp(0, MAX_RAW_BITS as i32) as u32;
    }
    factors.gains.resize(rank, 0);
    factors.left_classes.resize(rank, 0);
    factors.right_classes.resize(rank, 0);
    for gain in &mut factors.gains {
        *gain = models.gain.code(coder, *gain as i32).clamp(0, MAX_GAIN) as i16;
    }
    for class in factors.left_classes.iter_mut().chain(&mut factors.right_classes) {
        let last = FACTOR_CLASSES as i32 - 1;
        *class = models.class.code(coder, *class as i32).clamp(0, last) as u8;
    }
    let mut before = 0;
    for o in &mut factors.octaves {
        before = (before + models.octave.code(coder, *o as i32 - before)).clamp(-MAX_OCTAVE, MAX_OCTAVE);
        *o = before as i16;
    }
}

impl Params {
    /// Takes what fitting found; factors that the set's tables cannot say move to the nearest that they can.
    pub fn new(set: &TableSet, scales: Vec<i16>, factors: Option<Factors>) -> Self {
        let mut params = Self { scales, factors };
        if let Some(f) = &mut params.factors {
            for o in &mut f.octaves {
                *o = (*o).clamp(-MAX_OCTAVE as i16, MAX_OCTAVE as i16);
            }
            for right in f.right.chunks_exact_mut(f.rank) {
                for (b, &class) in right.iter_mut().zip(&f.right_classes) {
                    *b = nearest(&set.freqs[set.factor_context(class)], *b as f32, f.raw_bits);
                }
            }
            f.columns = Columns::new(f.rank, &f.right, &f.octaves);
        }
        params
    }

    /// The section of a file that holds the parameters; empty when there is nothing to say.
    pub fn to_bytes(&self, set: &TableSet) -> Vec<u8> {
        if self.factors.is_none() && self.scales.iter().all(|&s| s == 0) {
            return Vec::new();
        }
        let mut coder = Encoder::default();
        code(&mut coder, &mut self.clone(), set.raw_factors);
        let side = coder.finish();
        let mut out = Vec::new();
        put_varint(&mut out, side.len() as u64);
        out.extend_from_slice(&side);
        if let Some(f) = &self.factors {
            let mut index: Vec<u16> = Vec::with_capacity(f.right.len() + LANES);
            let mut raw = BitWriter::default();
            for right in f.right.chunks_exact(f.rank) {
                for (&b, &class) in right.iter().zip(&f.right_classes) {
                    index.push((set.factor_context(class) as u16) << 8 | symbol(b, f.raw_bits) as u8 as u16);
                    raw.put(low(b, f.raw_bits), f.raw_bits);
                }
            }
            out.extend_from_slice(&raw.finish());
            let tables = EncodeTables::new(&set.freqs, set.log);
            index.resize(index.len().div_ceil(LANES) * LANES, tables.padding());
            let (states, words) = rans::encode(&index, &tables);
            put_states(&mut out, states);
            out.extend_from_slice(&words);
        }
        seal(out)
    }

    /// Reads such a section for a tensor of `columns` columns. `CHECKSUM` as for a set, `MALFORMED` for a
    /// prediction that it cannot have and for streams that do not end where they should.
    pub fn parse(set: &TableSet, tables: &DecodeTables, layout: Layout, columns: usize, bytes: &[u8]) -> Result<Self> {
        let mut params = Self {
            scales: vec![0; columns],
            factors: None,
        };
        if bytes.is_empty() {
            return Ok(params);
        }
        let mut rest = unseal(bytes)?;
        let n = take_varint(&mut rest)?;
        let mut coder = Decoder::new(take(&mut rest, n)?);
        code(&mut coder, &mut params, set.raw_factors);
        let ends_badly = || malformed("the scales and factors of a tensor do not end where they should");
        if !coder.is_exhausted() {
            return Err(ends_badly());
        }
        if let Some(f) = &mut params.factors {
            if !set.has_factors() || !layout.is_float() || !matches!(layout.bits, 16 | 32) {
                return Err(malformed(
                    "a tensor has a prediction that its type or its tables cannot have",
                ));
            }
            let n = columns * f.rank;
            let mut raw = BitReader::new(take(&mut rest, (n * f.raw_bits as usize).div_ceil(8))?);
            let mut states = take_states(&mut rest)?;
            let mut contexts: Vec<u8> = Vec::with_capacity(n + LANES);
            for _ in 0..columns {
                contexts.extend(f.right_classes.iter().map(|&class| set.factor_context(class) as u8));
            }
            contexts.resize(n.div_ceil(LANES) * LANES, tables.padding());
            let mut symbols = vec![0; contexts.len()];
            let even = rest.len() % 2 == 0;
            let mut words = Words::new(rest);
            rans::decode_row(&mut states, &mut words, tables, &contexts, &mut symbols);
            f.right = symbols[..n]
                .iter()
                .map(|&s| factor(s, raw.get(f.raw_bits), f.raw_bits))
                .collect();
            if states != [LOWER; LANES] || !words.is_exhausted() || !raw.is_exhausted() || !even {
                return Err(ends_badly());
            }
            f.columns = Columns::new(f.rank, &f.right, &f.octaves);
        } else if !rest.is_empty() {
            return Err(ends_badly());
        }
        Ok(params)
    }
}

/// The factor nearest to `x` of the nearest symbol that its table has.
pub(super) fn nearest(freqs: &[u16; SYMBOLS], x: f32, raw_bits: u32) -> i16 {
    let most = factor(127, (1 << raw_bits) - 1, raw_bits) as i32;
    let want = (x.round_ties_even() as i32).clamp(-most, most) as i16;
    let wanted = symbol(want, raw_bits) as i32;
    for d in 0..=254 {
        for c in [wanted - d, wanted + d] {
            if (-127..=127).contains(&c) && freqs[c as i8 as u8 as usize] > 0 {
                let (first, last) = (
                    factor(c as i8, 0, raw_bits),
                    factor(c as i8, (1 << raw_bits) - 1, raw_bits),
                );
                return want.clamp(first, last);
            }
        }
    }
    // A table of the escape alone; it stands for itself.
    factor(ESC as u8 as i8, 0, raw_bits)
}
