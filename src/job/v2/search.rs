//! The step that gives a size.

use super::arrange::Item;
use super::chain::Chain;
use super::encode::fit_tasks;
use super::fit::{Coding, Fitted, Look, Sparse};
use super::tables::{narrowed, sum};
use crate::error::Result;
use crate::job::machine::Io;
use crate::job::report::from_wire;
use crate::kernels::v2::dither::LEVELS;
use crate::strategy::lossless::factors::FACTOR_CLASSES;
use crate::strategy::lossless::fit::VARIANTS;
use crate::strategy::lossless::model::Window;
use crate::strategy::lossy::fit::{length, side_length, DITHER_CLASSES};
use crate::strategy::lossy::quality;

/// Bytes of the index, digests and parameters of a tensor, about.
const TENSOR_BYTES: f64 = 60.0;

/// Bits of a row's flag and scale, about.
const ROW_BITS: f64 = 1.5;

/// Finds the step with which the file has about `bytes` bytes: the finest that keeps within, or the coarsest there is.
/// None when it keeps within without any loss.
pub async fn find_step(io: &Io, chain: &Chain, items: &[Item<'_>], look: Look, bytes: f64) -> Result<Option<u8>> {
    let (mut fine, mut coarse) = (quality::step(99), quality::step(1));
    if size(io, chain, items, look).await? <= bytes {
        return Ok(None);
    }
    while fine < coarse {
        let middle = fine + (coarse - fine) / 2;
        if size(
            io,
            chain,
            items,
            Look {
                step: Some(middle),
                ..look
            },
        )
        .await?
            <= bytes
        {
            coarse = middle;
        } else {
            fine = middle + 1;
        }
    }
    Ok(Some(coarse))
}

/// The size of a file with this step, about, from a part of the rows of large tensors.
async fn size(io: &Io, chain: &Chain, items: &[Item<'_>], look: Look) -> Result<f64> {
    let mut fitted: Vec<Fitted> = Vec::with_capacity(items.len());
    for report in io.run(fit_tasks(chain, items, Look { probe: true, ..look })?).await? {
        fitted.extend(from_wire::<Vec<Fitted>>(&report)?);
    }
    let mut bits = 0.0;
    for width in [8, 16, 32, 64] {
        let of_width = || {
            let pairs = items.iter().zip(&fitted);
            pairs
                .filter(move |(i, _)| i.geometry.layout.bits == width)
                .map(|(_, f)| f.best())
        };
        let classes = Window::for_width(width).classes as usize;
        let all = |n: usize, of: fn(&Coding) -> &Sparse, bits: u32| -> u64 {
            let counts = narrowed(&sum(n, of_width().map(of)));
            length(&counts, bits)
        };
        let q8 = all(VARIANTS * classes, |f| &f.counts, width)
            + all(FACTOR_CLASSES, |f| &f.factor_counts, 8)
            + all(LEVELS * DITHER_CLASSES, |f| &f.dither_counts, width);
        bits += q8 as f64 / 256.0;
    }
    for (item, f) in items.iter().zip(&fitted) {
        let g = &item.geometry;
        bits += TENSOR_BYTES * 8.0;
        bits += (g.words - g.common) as f64 * g.layout.bits as f64;
        if !f.equal {
            bits += g.rows().0 as f64 * ROW_BITS;
            let coding = f.best();
            bits += side_length(&coding.columns, coding.factors.is_some()) as f64 / 256.0;
        }
    }
    Ok(bits / 8.0)
}
