//! `encode --ratio`: the finest step of dither with which a lossy file keeps within a size, found by estimates.

use super::arrange::Item;
use super::fitted::{Fitted, Purpose, Sparse, TensorCoding};
use super::looks::Looker;
use super::tables::{narrowed, sum};
use super::weigh::weigh;
use crate::error::{Code, Error, Result};
use crate::kernels::v2::dither::{can_dither, LEVELS};
use crate::order::sorted_positions;
use crate::strategy::lossless::estimate::{length_with_tables, side_length};
use crate::strategy::lossless::factors::FACTOR_CLASSES;
use crate::strategy::lossless::fit::VARIANTS;
use crate::strategy::lossless::model::Window;
use crate::strategy::lossy::fit::DITHER_CLASSES;
use crate::strategy::lossy::quality;

/// Bytes of the index, digests and parameters of a tensor, about.
const TENSOR_BYTES: f64 = 60.0;

/// How often what predictions save is measured, at most.
const MOST_CORRECTIONS: u32 = 2;

/// By which part of a size another one may miss it.
const CLOSE: f64 = 0.05;

/// Bits of a row's flag and scale, about.
const ROW_BITS: f64 = 1.5;

/// Fits tensors for a file of about `bytes` bytes: with the finest step that keeps within, and weighed; without any loss where
/// that keeps within. `USAGE` when no step does.
pub async fn fit_to_size(looker: Looker<'_>, items: &mut [Item<'_>], bytes: f64) -> Result<Vec<Fitted>> {
    let estimating = looker.with_purpose(Purpose::Estimate);
    let mut estimated = estimating.look_at(items).await?;
    let most = size(items, &estimated);
    if most <= bytes {
        return looker.look_at(items).await;
    }
    weigh(items, &estimated);
    let items = &*items;
    let (finest, coarsest) = (quality::step(99), quality::step(1));
    look_again(estimating.with_step(coarsest), items, &mut estimated).await?;
    let least = size(items, &estimated);
    if least > bytes {
        return Err(out_of_reach(least));
    }
    // By step: what a round of the search asks, the next one may ask again.
    let mut sizes = vec![None; coarsest as usize + 1];
    let predicts = looker.look.low_rank && looker.look.effort >= 2;
    let mut probed = bytes;
    let mut corrections = 0;
    let mut found: Vec<Fitted> = Vec::new();
    let mut found_with = None;
    loop {
        let mut search = StepSearch::new((finest, most), (coarsest, least), probed);
        while let Some(step) = search.next() {
            let size = match sizes[step as usize] {
                Some(size) => size,
                None => {
                    look_again(estimating.with_step(step), items, &mut estimated).await?;
                    *sizes[step as usize].insert(size(items, &estimated))
                }
            };
            search.put(step, size);
        }
        let step = search.coarse;
        if found_with.replace(step) == Some(step) {
            return Ok(found);
        }
        look_again(looker.with_step(step), items, &mut found).await?;
        // With predictions, which estimates lack, nothing may have to be lost.
        if predicts && size_of(items, &found, |f| &f.exact) <= bytes {
            found.iter_mut().for_each(|f| f.lossy = None);
            return Ok(found);
        }
        // Predictions are too dear to be found for each step: what they save is measured at one that is near.
        let wanted = bytes * search.size / size(items, &found).max(1.0);
        if !predicts || corrections == MOST_CORRECTIONS || (wanted - probed).abs() < probed * CLOSE {
            return Ok(found);
        }
        corrections += 1;
        probed = wanted;
    }
}

/// The error of a size that even the coarsest steps, which take about `least` bytes, do not keep within.
fn out_of_reach(least: f64) -> Error {
    let text = format!(
        "the ratio is out of reach: with the coarsest steps the file would still have about {} kB, mostly of what is \
         kept exactly (integers, FP8, what has nothing like it in the base); ask for less, or give a quality",
        least as u64 / 1000
    );
    Error::new(Code::Usage, text)
}

/// Looks at tensors with another step. Where they were looked at before for the same purpose, those that no step changes are
/// left as they were found: quantised weights are fitted twice, as they are and by nibbles.
async fn look_again(looker: Looker<'_>, items: &[Item<'_>], fitted: &mut Vec<Fitted>) -> Result<()> {
    if fitted.is_empty() {
        *fitted = looker.look_at(items).await?;
        return Ok(());
    }
    let changes = |i: &Item<'_>| i.base.is_some() && i.finer.is_some() && can_dither(i.geometry.layout);
    let again: Vec<Item<'_>> = items.iter().filter(|item| changes(item)).copied().collect();
    let places = fitted.iter_mut().zip(items).filter(|(_, item)| changes(item));
    for ((place, _), found) in places.zip(looker.look_at(&again).await?) {
        *place = found;
    }
    Ok(())
}

/// The search for the finest step with at most a size, where sizes fall about as a power of the step's number: by false position,
/// where the end that stays counts half each time, so that it does not stay long.
struct StepSearch {
    /// The finest step that is left.
    fine: u8,
    /// The finest step that keeps within.
    coarse: u8,
    /// Bytes of the file at `coarse`, about.
    size: f64,
    /// Bytes that the file may have.
    wanted: f64,
    /// Logarithm of the size before `fine` over the wanted one, halved each time that this end stays.
    over: f64,
    /// Logarithm of the wanted size over that at `coarse`, halved likewise.
    under: f64,
}

impl StepSearch {
    /// Between two steps with their sizes, the first too large, the second not.
    fn new((fine, most): (u8, f64), (coarse, least): (u8, f64), wanted: f64) -> Self {
        Self {
            fine,
            coarse,
            size: least,
            wanted,
            over: (most / wanted).ln(),
            under: (wanted / least).ln(),
        }
    }

    /// The step whose size is to be put; none when it is found.
    fn next(&self) -> Option<u8> {
        let left = self.coarse - self.fine;
        let part = self.over / (self.over + self.under);
        (left > 0).then(|| self.fine + ((left as f64 * part) as u8).min(left - 1))
    }

    fn put(&mut self, step: u8, size: f64) {
        if size <= self.wanted {
            (self.coarse, self.size) = (step, size);
            self.under = (self.wanted / size).ln();
            self.over /= 2.0;
        } else {
            self.fine = step + 1;
            self.over = (size / self.wanted).ln();
            self.under /= 2.0;
        }
    }
}

/// The bytes of a file of tensors that were fitted like this, about.
fn size(items: &[Item<'_>], fitted: &[Fitted]) -> f64 {
    size_of(items, fitted, Fitted::best)
}

/// The same, of tensors that are coded so.
fn size_of(items: &[Item<'_>], fitted: &[Fitted], coding: fn(&Fitted) -> &TensorCoding) -> f64 {
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
            let all = fitted.iter().zip(items).zip(&own);
            all.filter(move |((f, i), &own)| own && f.form.layout(i.tensor.dtype).bits == width)
                .map(|((f, _), _)| coding(f))
        };
        let classes = Window::for_width(width).classes as usize;
        let all = |n: usize, of: fn(&TensorCoding) -> &Sparse, bits: u32| -> u64 {
            let counts = narrowed(&sum(n, of_width().map(of)));
            length_with_tables(&counts, bits)
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
            let coding = coding(f);
            bits += side_length(&coding.columns, coding.factors.is_some()) as f64 / 256.0;
        }
    }
    bits / 8.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_finest_step_within_a_size_is_found_in_few_looks() {
        let (finest, coarsest) = (10, 130);
        for bend in [0.2, 1.0, 3.0] {
            let size = |step: u8| 1e6 * (-((step - finest) as f64 / 30.0).powf(bend)).exp();
            let mut looks = 0;
            let mut wanted = size(coarsest);
            while wanted < 2e6 {
                let mut search = StepSearch::new((finest, 2e6), (coarsest, size(coarsest)), wanted);
                while let Some(step) = search.next() {
                    search.put(step, size(step));
                    looks += 1;
                }
                let found = search.coarse;
                assert_eq!(search.size, size(found));
                assert!(search.size <= wanted, "{bend}, {wanted}: {found}");
                assert!(found == finest || size(found - 1) > wanted, "{bend}, {wanted}: {found}");
                wanted *= 1.3;
            }
            let searches = (2e6 / size(coarsest)).log(1.3).ceil();
            assert!(
                looks as f64 / searches < 7.0,
                "{bend}: {looks} looks for {searches} sizes"
            );
        }
    }
}
