//! From what fitting found in all tensors to the sections of a file that blocks need.

use super::arrange::Item;
use super::fit::{Fitted, Sparse};
use crate::format::v2::{Op, TensorRecord};
use crate::kernels::v2::dither::LEVELS;
use crate::kernels::v2::tables::SYMBOLS;
use crate::strategy::lossless::fit::{Counts, VARIANTS};
use crate::strategy::lossless::low_rank::FACTOR_CLASSES;
use crate::strategy::lossless::merge;
use crate::strategy::lossless::model::Window;
use crate::strategy::lossless::params::Params;
use crate::strategy::lossy::{self, fit::DITHER_CLASSES};

/// Logarithm of the size of the tables.
const TABLE_LOG: u32 = 11;

/// The table sets, one for each width of words that has deltas, and the parameters of every tensor, as in the file.
pub fn model(items: &[Item<'_>], records: &mut [TensorRecord], fitted: &mut [Fitted]) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let mut sets = Vec::new();
    let mut params = vec![Vec::new(); items.len()];
    for width in [8, 16, 32, 64] {
        let of_width: Vec<usize> = (0..items.len())
            .filter(|&i| records[i].op == Op::Delta && items[i].geometry.layout.bits == width)
            .collect();
        if of_width.is_empty() {
            continue;
        }
        let window = Window::for_width(width);
        let add = |n: usize, of: fn(&Fitted) -> &Sparse| sum(n, of_width.iter().map(|&i| of(&fitted[i])));
        let counts = add(VARIANTS * window.classes as usize, |f| &f.counts);
        let factor_counts = add(FACTOR_CLASSES, |f| &f.factor_counts);
        let mut set = merge::tables(window, width, TABLE_LOG, &counts, &factor_counts);
        let dithered = add(LEVELS * DITHER_CLASSES, |f| &f.dither_counts);
        lossy::merge::add_tables(&mut set, width, &dithered);
        for &i in &of_width {
            let scales = std::mem::take(&mut fitted[i].columns);
            params[i] = Params::new(&set, scales, fitted[i].factors.take()).to_bytes(&set);
            records[i].set = sets.len() as u64;
            records[i].params = params[i].len() as u64;
        }
        sets.push(set.to_bytes());
    }
    (sets, params)
}

/// The sum of counts in `n` contexts.
pub fn sum<'a>(n: usize, of: impl Iterator<Item = &'a Sparse>) -> Counts {
    let mut sums = vec![[0u64; SYMBOLS]; n];
    for &(context, symbol, count) in of.flatten() {
        sums[context as usize][symbol as usize] += count as u64;
    }
    narrowed(&sums)
}

/// Sums so small that all of them together fit 31 bits; what was there stays there.
fn narrowed(sums: &[[u64; SYMBOLS]]) -> Counts {
    let total: u64 = sums.iter().flatten().sum();
    let shift = (64 - total.leading_zeros()).saturating_sub(31);
    sums.iter()
        .map(|table| table.map(|c| ((c >> shift) as u32).max((c > 0) as u32)))
        .collect()
}
