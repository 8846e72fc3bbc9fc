//! sparse: sorted positions and their float32 values; everything else is zero.

use super::emitter::{Selector, STEP};
use super::expander::{check_count, Positions};
use super::{Surveyed, MAX_FIELDS};
use crate::error::Result;
use crate::kernels::loss::ErrorSum;

const INDICES: usize = 0;
const VALUES: usize = 1;

#[derive(Clone, Debug)]
pub(super) struct Expander {
    n: u64,
    at: u64,
    positions: Positions,
}

impl Expander {
    pub fn new(n: u64, counts: [u64; MAX_FIELDS]) -> Result<Self> {
        check_count("values", counts[VALUES], counts[INDICES])?;
        let positions = Positions::new("indices", n, counts[INDICES])?;
        Ok(Self { n, at: 0, positions })
    }

    pub fn expand(&mut self, windows: &mut [&[u8]; MAX_FIELDS], out: &mut [f32]) -> Result<(usize, Option<usize>)> {
        let start = self.at;
        let asked = (self.n - start).min(out.len() as u64) as usize;
        let out = &mut out[..asked];
        out.fill(0.0);
        let end = start + asked as u64;
        let mut done = end;
        let mut wants = None;
        while self.positions.left() > 0 && asked > 0 {
            let (Some(index), Some(value)) = (windows[INDICES].first_chunk(), windows[VALUES].first_chunk()) else {
                // Everything before the position that is not known yet is complete.
                done = self.positions.low().clamp(start, end);
                wants = Some(if windows[INDICES].len() < 8 { INDICES } else { VALUES }).filter(|_| done < end);
                break;
            };
            let i = self.positions.check(*index)?;
            if i >= end {
                break;
            }
            out[(i - start) as usize] = f32::from_le_bytes(*value);
            self.positions.pass(i);
            windows[INDICES] = &windows[INDICES][8..];
            windows[VALUES] = &windows[VALUES][4..];
        }
        self.at = done;
        Ok(((done - start) as usize, wants))
    }
}

#[derive(Clone, Debug)]
pub(super) struct Emitter {
    selector: Selector,
    errors: ErrorSum,
    decoded: [f32; STEP],
}

impl Emitter {
    pub fn new(kept: u64, surveyed: &Surveyed) -> Self {
        Self {
            selector: Selector::new(kept, surveyed.cut),
            errors: ErrorSum::default(),
            decoded: [0.0; STEP],
        }
    }

    pub fn feed(&mut self, delta: &[f32], out: &mut [Vec<u8>; MAX_FIELDS]) {
        for block in delta.chunks(STEP) {
            let decoded = &mut self.decoded[..block.len()];
            decoded.fill(0.0);
            let (first, hits) = self.selector.hits(block);
            let [indices, values, ..] = out;
            let places = (grow(indices, 8 * hits.len()), grow(values, 4 * hits.len()));
            let places = places.0.as_chunks_mut().0.iter_mut().zip(places.1.as_chunks_mut().0);
            for (&i, (index, value)) in hits.iter().zip(places) {
                let v = block[i as usize];
                decoded[i as usize] = v;
                *index = (first + u64::from(i)).to_le_bytes();
                *value = v.to_le_bytes();
            }
            self.errors.feed(block, decoded);
        }
    }

    pub fn complete(&self) -> bool {
        self.selector.complete()
    }

    /// Sum of the squared errors, and the largest error.
    pub fn error(&self) -> (f64, f64) {
        (self.errors.error_sq(), self.errors.largest())
    }
}

/// Makes room at the end of `out`.
fn grow(out: &mut Vec<u8>, by: usize) -> &mut [u8] {
    let start = out.len();
    out.resize(start + by, 0);
    &mut out[start..]
}
