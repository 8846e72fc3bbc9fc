//! Encoding, last pass: a tensor's deltas to the bytes of its arrays, with the loss measured on the way.

use super::{int4, quantized, sparse, Cut, Strategy, Surveyed, MAX_FIELDS};
use crate::error::{Code, Error, Result};
use crate::kernels::topk;

/// Elements handled at once: 8 KiB of float32, so that deltas, codes and decoded values share a first-level cache.
pub(super) const STEP: usize = 2048;

/// How far the decoded delta lies from the delta, over all elements whose delta is finite.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Loss {
    /// Sum of the squared errors; infinite if a finite delta is decoded to something that is not.
    pub error_sq: f64,
    /// Sum of the squared deltas.
    pub delta_sq: f64,
    /// Largest error of one element.
    pub largest: f64,
}

/// Encodes one tensor.
///
/// Memory is fixed, apart from what is appended to the caller's buffers. The bytes do not depend on how the tensor is
/// cut into pieces.
#[derive(Clone, Debug)]
pub struct Emitter {
    n: u64,
    fed: u64,
    delta_sq: f64,
    inner: Inner,
}

#[derive(Clone, Debug)]
enum Inner {
    Sparse(Box<sparse::Emitter>),
    Quantized(Box<quantized::Emitter>),
    Int4(Box<int4::Emitter>),
}

impl Emitter {
    /// An encoder for a tensor that has been surveyed.
    ///
    /// `kept`: as given to the survey; with [`Cut::nonzero`] in `surveyed` the number of non-zero deltas. Sparse can be
    /// written after the survey of any strategy if the cut is set; int4 and quantized need their own.
    pub fn new(strategy: Strategy, shape: &[u64], kept: u64, surveyed: &Surveyed) -> Self {
        let kept = kept.min(surveyed.elements);
        let inner = match strategy {
            Strategy::Sparse => Inner::Sparse(Box::new(sparse::Emitter::new(kept, surveyed))),
            Strategy::Quantized => Inner::Quantized(Box::new(quantized::Emitter::new(shape))),
            Strategy::Int4 => Inner::Int4(Box::new(int4::Emitter::new(kept, surveyed))),
        };
        Self {
            n: surveyed.elements,
            fed: 0,
            delta_sq: surveyed.sum_sq,
            inner,
        }
    }

    /// Takes the next deltas and appends bytes to the arrays, `out[f]` for field `f` of [`Strategy::fields`].
    pub fn feed(&mut self, delta: &[f32], out: &mut [Vec<u8>; MAX_FIELDS]) {
        self.fed += delta.len() as u64;
        match &mut self.inner {
            Inner::Sparse(e) => e.feed(delta, out),
            Inner::Quantized(e) => e.feed(delta, out),
            Inner::Int4(e) => e.feed(delta, out),
        }
    }

    /// Appends what is left after the last delta.
    ///
    /// `SOURCE_CHANGED` if the deltas were not those of the survey, so that the arrays have the wrong length.
    pub fn finish(&mut self, out: &mut [Vec<u8>; MAX_FIELDS]) -> Result<()> {
        let as_surveyed = match &mut self.inner {
            Inner::Sparse(e) => e.complete(),
            Inner::Quantized(e) => {
                e.finish(out)?;
                true
            }
            Inner::Int4(e) => e.finish(out),
        };
        if as_surveyed && self.fed == self.n {
            return Ok(());
        }
        Err(Error::new(
            Code::SourceChanged,
            "the tensor's values changed while it was encoded; run it again once nothing writes to the models",
        ))
    }

    /// The loss, once the tensor is complete. `delta_sq` is the survey's.
    pub fn loss(&self) -> Loss {
        let (error_sq, largest) = match &self.inner {
            Inner::Sparse(e) => e.error(),
            Inner::Quantized(e) => e.error(),
            Inner::Int4(e) => e.error(),
        };
        Loss {
            error_sq,
            delta_sq: self.delta_sq,
            largest,
        }
    }
}

/// Finds the values that are kept, by a [`Cut`], in the order of the tensor.
#[derive(Clone, Debug)]
pub(super) struct Selector {
    cut: Cut,
    /// Position of the next block in the tensor.
    at: u64,
    /// Values kept so far, and how many it should be in the end.
    found: u64,
    kept: u64,
    hits: [u32; STEP],
}

impl Selector {
    pub fn new(kept: u64, cut: Option<Cut>) -> Self {
        Self {
            cut: cut.unwrap_or(Cut::nonzero()),
            at: 0,
            found: 0,
            kept,
            hits: [0; STEP],
        }
    }

    /// Places in `block`, of at most [`STEP`] values, of those that are kept; and the position of the block.
    pub fn hits(&mut self, block: &[f32]) -> (u64, &[u32]) {
        let Cut { magnitude, ties, .. } = self.cut;
        let tied = if ties == 0 {
            0
        } else {
            topk::count_key(block, magnitude) as u64
        };
        let n = if tied <= ties {
            self.cut.ties -= tied;
            topk::select(block, magnitude + u32::from(ties == 0), &mut self.hits)
        } else {
            // The border runs through this block: of the tied values the first ones are kept.
            self.cut.ties = 0;
            let mut left = ties;
            let all = topk::select(block, magnitude, &mut self.hits);
            let mut n = 0;
            for j in 0..all {
                let i = self.hits[j];
                let border = topk::key(block[i as usize]) == magnitude;
                if !border || left > 0 {
                    left -= u64::from(border);
                    self.hits[n] = i;
                    n += 1;
                }
            }
            n
        };
        let first = self.at;
        self.at += block.len() as u64;
        self.found += n as u64;
        (first, &self.hits[..n])
    }

    /// True if as many values were kept as should be.
    pub fn complete(&self) -> bool {
        self.found == self.kept
    }
}
