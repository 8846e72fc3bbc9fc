//! Streams the delta of one tensor of a pair: fine-tune minus what the deltas before it rebuild.

use crate::error::{Code, Error, Result};
use crate::job::machine::{Io, Read};
use crate::job::placed::TensorRange;
use crate::job::v2::reader::Reader;
use crate::job::values::{Origin, Values};
use crate::kernels::{apply, convert};
use crate::limits::BLOCK_ELEMENTS;

/// A piece of a delta and what it came from.
pub struct PairBlock<'a> {
    /// Fine-tune minus prior, in float32.
    pub delta: &'a [f32],
    /// The base's bytes.
    pub base_bytes: &'a [u8],
    /// The fine-tune's bytes.
    pub finetuned_bytes: &'a [u8],
}

/// Streams the delta between an [`Origin`] and a tensor of the fine-tune.
pub struct Pair<'a> {
    base: TensorRange,
    prior: Values<'a>,
    chained: bool,
    finetuned: TensorRange,
    width: usize,
    position: u64,
    bytes: Vec<u8>,
    block: Vec<f32>,
    delta: Vec<f32>,
    keep_equal: bool,
    finite: bool,
}

impl<'a> Pair<'a> {
    /// A stream from the first element; both dtypes must convert to float32.
    ///
    /// With `keep_equal`, a weight that has the same bits on both sides has delta 0 even where it is NaN or infinite,
    /// so that an unchanged mask of `-inf` stays what it is. The reference subtracts and gets NaN. `reader` knows the origin's
    /// past, if it has one.
    pub async fn open(
        io: &Io,
        origin: &Origin,
        finetuned: &TensorRange,
        keep_equal: bool,
        reader: &'a mut Reader,
    ) -> Result<Self> {
        let width = finetuned
            .dtype
            .bytes()
            .filter(|_| finetuned.dtype.to_f32_defined())
            .ok_or_else(|| {
                Error::new(
                    Code::UnsupportedDtype,
                    format!("a version 1 delta cannot hold {}", finetuned.dtype.name()),
                )
                .about(&origin.name)
            })?;
        Ok(Self {
            base: origin.base.clone(),
            prior: Values::open(io, origin, Some(reader)).await?,
            chained: !origin.is_unchanged(),
            finetuned: finetuned.clone(),
            width,
            position: 0,
            bytes: Vec::new(),
            block: vec![0.0; BLOCK_ELEMENTS],
            delta: vec![0.0; BLOCK_ELEMENTS],
            keep_equal,
            finite: true,
        })
    }

    /// Keeps a fast hash of the base's bytes as they pass, see [`Pair::seen`].
    #[must_use]
    pub fn watching(mut self) -> Self {
        self.prior = self.prior.watching();
        self
    }

    /// Loads the next chunk and calls `f` with its deltas, block by block; false at the end.
    pub async fn next(&mut self, io: &Io, f: &mut dyn FnMut(PairBlock<'_>) -> Result<()>) -> Result<bool> {
        let n = self.prior.next_len();
        if n == 0 {
            return Ok(false);
        }
        self.bytes.resize(n * self.width, 0);
        let offset = self.finetuned.range.offset + self.position * self.width as u64;
        let read = Read {
            source: self.finetuned.source,
            offset,
            buf: &mut self.bytes,
        };
        self.prior.load(io, &mut [read]).await?;
        self.position += n as u64;
        if self.chained {
            self.chained_blocks(io, f).await?;
        } else {
            self.plain_blocks(f)?;
        }
        Ok(true)
    }

    /// No links before: one pass over both byte streams.
    fn plain_blocks(&mut self, f: &mut dyn FnMut(PairBlock<'_>) -> Result<()>) -> Result<()> {
        let base_width = self.base.dtype.bytes().unwrap_or(1);
        let blocks = self
            .prior
            .base_bytes()
            .chunks(BLOCK_ELEMENTS * base_width)
            .zip(self.bytes.chunks(BLOCK_ELEMENTS * self.width));
        for (base_bytes, finetuned_bytes) in blocks {
            let delta = &mut self.delta[..finetuned_bytes.len() / self.width];
            apply::delta(
                self.finetuned.dtype,
                finetuned_bytes,
                self.base.dtype,
                base_bytes,
                delta,
            );
            if self.keep_equal && !all_finite(delta) {
                self.finite = false;
                let own = &mut self.block[..delta.len()];
                let mut prior = vec![0.0; delta.len()];
                convert::to_f32(self.finetuned.dtype, finetuned_bytes, own);
                convert::to_f32(self.base.dtype, base_bytes, &mut prior);
                zero_where_equal(delta, own, &prior);
            }
            f(PairBlock {
                delta,
                base_bytes,
                finetuned_bytes,
            })?;
        }
        Ok(())
    }

    async fn chained_blocks(&mut self, io: &Io, f: &mut dyn FnMut(PairBlock<'_>) -> Result<()>) -> Result<()> {
        let Self {
            prior,
            finetuned,
            width,
            bytes,
            block,
            delta,
            keep_equal,
            finite,
            ..
        } = self;
        prior
            .blocks(io, &mut |b| {
                let finetuned_bytes = &bytes[b.at * *width..(b.at + b.values.len()) * *width];
                let own = &mut block[..b.values.len()];
                convert::to_f32(finetuned.dtype, finetuned_bytes, own);
                let delta = &mut delta[..b.values.len()];
                for ((d, own), prior) in delta.iter_mut().zip(own.iter()).zip(b.values) {
                    *d = own - prior;
                }
                if *keep_equal && !all_finite(delta) {
                    *finite = false;
                    zero_where_equal(delta, own, b.values);
                }
                f(PairBlock {
                    delta,
                    base_bytes: b.base_bytes,
                    finetuned_bytes,
                })
            })
            .await
    }

    /// Whether all differences so far were finite before `keep_equal` changed some: if so, it does not change any.
    pub fn finite(&self) -> bool {
        self.finite
    }

    /// A fast hash of the base's bytes that have passed, see [`Values::seen`].
    pub fn seen(&self) -> u64 {
        self.prior.seen()
    }
}

/// A maximum over the bits, which vectorises; stopping at the first hit would not.
fn all_finite(delta: &[f32]) -> bool {
    delta.iter().fold(0, |most, d| most.max(d.to_bits() & 0x7fff_ffff)) < 0x7f80_0000
}

fn zero_where_equal(delta: &mut [f32], a: &[f32], b: &[f32]) {
    for ((d, a), b) in delta.iter_mut().zip(a).zip(b) {
        if a.to_bits() == b.to_bits() {
            *d = 0.0;
        }
    }
}
