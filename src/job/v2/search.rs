//! The step that gives a size.

use super::arrange::Item;
use super::chain::Chain;
use super::fit::{Coding, Fitted, Look, Purpose, Sparse};
use super::looks::look_at;
use super::tables::{narrowed, sum};
use super::weigh::weigh;
use crate::error::{Code, Error, Result};
use crate::job::machine::Io;
use crate::kernels::v2::dither::LEVELS;
use crate::kernels::v2::element::Layout;
use crate::order::sorted_positions;
use crate::strategy::lossless::factors::FACTOR_CLASSES;
use crate::strategy::lossless::fit::VARIANTS;
use crate::strategy::lossless::model::Window;
use crate::strategy::lossy::fit::{length, side_length, DITHER_CLASSES};
use crate::strategy::lossy::quality;

/// Bytes of the index, digests and parameters of a tensor, about.
const TENSOR_BYTES: f64 = 60.0;

/// How often what predictions save is measured, at most.
const MOST_CORRECTIONS: u32 = 2;

/// By which part of a size another one may miss it.
const CLOSE: f64 = 0.05;

/// Bits of a row's flag and scale, about.
const ROW_BITS: f64 = 1.5;

/// Finds the step with which the file has about `bytes` bytes: the finest that keeps within, with the tensors weighed. None
/// when it keeps within without any loss; `USAGE` when no step does.
pub async fn find_step(io: &Io, chain: &Chain, items: &mut [Item<'_>], look: Look, bytes: f64) -> Result<Option<u8>> {
    let purpose = Purpose::Estimate;
    let exact = look_at(io, chain, items, Look { purpose, ..look }).await?;
    if size(items, &exact) <= bytes {
        return Ok(None);
    }
    weigh(items, &exact);
    let items = &*items;
    let size_at = async |step, purpose| {
        let look = Look {
            step: Some(step),
            purpose,
            ..look
        };
        Result::Ok(size(items, &look_at(io, chain, items, look).await?))
    };
    let (finest, coarsest) = (quality::step(99), quality::step(1));
    let least = size_at(coarsest, purpose).await?;
    if least > bytes {
        let text = format!(
            "the ratio is out of reach: with the coarsest steps the file would still have about {} kB, mostly of what has \
             nothing like it in the base; ask for less, or give a quality",
            least as u64 / 1000
        );
        return Err(Error::new(Code::Usage, text));
    }
    let predicts = look.low_rank && look.effort >= 2;
    let mut probed = bytes;
    let mut round = 0;
    loop {
        let (mut fine, mut coarse) = (finest, coarsest);
        while fine < coarse {
            let middle = fine + (coarse - fine) / 2;
            if size_at(middle, purpose).await? <= probed {
                coarse = middle;
            } else {
                fine = middle + 1;
            }
        }
        if !predicts || round == MOST_CORRECTIONS {
            return Ok(Some(coarse));
        }
        round += 1;
        // Predictions are too dear to be found for each step: what they save is measured at one that is near.
        let saved = size_at(coarse, purpose).await? / size_at(coarse, Purpose::Code).await?.max(1.0);
        if (bytes * saved - probed).abs() < probed * CLOSE {
            return Ok(Some(coarse));
        }
        probed = bytes * saved;
    }
}

/// The bytes of a file of tensors that were fitted like this, about.
fn size(items: &[Item<'_>], fitted: &[Fitted]) -> f64 {
    // The same again is tied to what came before.
    let like = |i: usize, j: usize| {
        let shaped = |i: usize| (items[i].tensor.dtype, &items[i].tensor.shape);
        (fitted[i].mark, shaped(i)) == (fitted[j].mark, shaped(j))
    };
    let order = sorted_positions(items.len(), &|i, j| fitted[i].mark.cmp(&fitted[j].mark));
    let mut own = vec![true; items.len()];
    for pair in order.windows(2) {
        own[pair[1]] = !like(pair[0], pair[1]);
    }
    let mut bits = 0.0;
    for width in [8, 16, 32, 64] {
        let of_width = || {
            let all = fitted.iter().zip(&own);
            all.filter(move |(f, &own)| own && Layout::of(f.coded).bits == width)
                .map(|(f, _)| f.best())
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
    for ((item, f), own) in items.iter().zip(fitted).zip(own) {
        let g = &item.geometry;
        bits += TENSOR_BYTES * 8.0;
        if !own {
            continue;
        }
        bits += (g.words - g.common) as f64 * g.layout.bits as f64 * f.alone.min(1.0);
        if !f.equal {
            bits += g.rows().0 as f64 * ROW_BITS;
            let coding = f.best();
            bits += side_length(&coding.columns, coding.factors.is_some()) as f64 / 256.0;
        }
    }
    bits / 8.0
}
