//! From the counts of many tensors to the tables of dithered weights, which all of them share.

use super::fit::{DITHER_CLASSES, DITHER_OFFSET};
use crate::kernels::v2::dither::LEVELS;
use crate::kernels::v2::tables::{normalise, SYMBOLS};
use crate::strategy::lossless::estimate::joined_length;
use crate::strategy::lossless::fit::Counts;
use crate::strategy::lossless::model::TableSet;
use crate::strategy::lossless::params::{MAX_CONTEXTS, MAX_DITHER_CLASSES};

/// The tables of one class.
type Class = [[u32; SYMBOLS]; LEVELS];

/// Length of a class with its tables, in 2^-8 bits. A symbol that a table leaves out takes an escape, the rarest symbol,
/// and its word.
fn class_length(class: &Class, log: u32, width: u32) -> u64 {
    class.iter().map(|c| joined_length(c, log, width, width + log)).sum()
}

fn sum(a: &Class, b: &Class) -> Class {
    std::array::from_fn(|l| std::array::from_fn(|s| a[l][s] + b[l][s]))
}

/// Adds tables for these counts of dithered weights to a set: neighbouring classes at either end are joined while that is
/// shorter, and until there are no more than there may be.
pub fn add_tables(set: &mut TableSet, width: u32, counts: &Counts) {
    let mut classes: Vec<Class> = counts
        .chunks_exact(LEVELS)
        .map(|class| std::array::from_fn(|l| class[l]))
        .collect();
    let used = |c: &Class| c.iter().flatten().any(|&n| n > 0);
    let Some(last) = classes.iter().rposition(used) else {
        return;
    };
    let first = classes.iter().position(used).unwrap_or(0);
    classes.truncate(last + 1);
    classes.drain(..first);
    let most = ((MAX_CONTEXTS - set.freqs.len()) / LEVELS).min(MAX_DITHER_CLASSES as usize);
    let mut costs: Vec<u64> = classes.iter().map(|c| class_length(c, set.log, width)).collect();
    let mut offset = DITHER_OFFSET - first as i16;
    while classes.len() > 1 {
        let n = classes.len();
        let low = sum(&classes[0], &classes[1]);
        let high = sum(&classes[n - 1], &classes[n - 2]);
        let (low_cost, high_cost) = (class_length(&low, set.log, width), class_length(&high, set.log, width));
        let low_loss = low_cost as i64 - (costs[0] + costs[1]) as i64;
        let high_loss = high_cost as i64 - (costs[n - 1] + costs[n - 2]) as i64;
        if low_loss.min(high_loss) > 0 && n <= most {
            break;
        }
        if low_loss <= high_loss {
            (classes[1], costs[1]) = (low, low_cost);
            classes.remove(0);
            costs.remove(0);
            offset -= 1;
        } else {
            (classes[n - 2], costs[n - 2]) = (high, high_cost);
            classes.pop();
            costs.pop();
        }
    }
    set.dither_offset = offset;
    set.dither_classes = classes.len() as u8;
    let tables = classes.iter().flatten().map(|c| normalise(c, set.log, width));
    set.freqs.extend(tables);
}

const _: () = assert!(DITHER_CLASSES > DITHER_OFFSET as usize);
