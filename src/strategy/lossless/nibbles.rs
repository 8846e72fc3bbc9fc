//! Whether a tensor of integers is coded by nibbles: for quantised weights, of which one integer holds several, a change of
//! one of them is a large difference of the integer and a small one of a nibble.

use super::estimate::{entropy_length, length_with_tables, side_length};
use super::fit::{fit, Effort, Sample, SampleFit};
use super::form::Form;
use crate::dtype::Dtype;

/// Nibbles that are fitted on, about.
const MOST_NIBBLES: usize = 1 << 21;

/// What nibbles must save of the length, at least: the estimate is one, and they take longer.
const WORTH: (u64, u64) = (15, 16);

/// A tensor fitted by its nibbles.
pub struct ByNibbles {
    /// Scales and counts.
    pub fit: SampleFit,
    /// Of how many rows of the sample one was counted.
    pub stride: usize,
}

/// Fits nibbles as well, where a tensor has integers; gives what was found if they are shorter. `rows`, `own`: the tensor's
/// own words, and what was found for them.
pub fn by_nibbles(dtype: Dtype, rows: &Sample, own: &SampleFit, effort: Effort) -> Option<ByNibbles> {
    let form = Form::Nibbles;
    if !form.changes(dtype) {
        return None;
    }
    let (per_word, width) = (form.per_word(dtype), rows.layout.bits);
    let stride = (rows.len() * per_word / MOST_NIBBLES).clamp(1, rows.n_rows());
    let some = rows.every(stride);
    let mut nibbles = Sample::new(form.layout(dtype), form.columns(dtype, rows.columns), some.stride);
    let (mut base, mut fine) = (Vec::new(), Vec::new());
    nibbles.add(
        form.code(dtype, dtype, &some.base, &mut base),
        form.code(dtype, dtype, &some.fine, &mut fine),
    );
    // Rows of a part of a tensor are few and wide: scales fitted to them say nothing of the others.
    let columns = effort.columns && nibbles.stride == 1;
    let fit = fit(&nibbles, Effort { columns, ..effort });
    // Parts of rows that did not change are left out.
    let length_of_nibbles = length(&fit, nibbles.layout.bits, nibbles.len() * stride);
    let shorter = length_of_nibbles * WORTH.1 < length(own, width, rows.len()) * WORTH.0;
    shorter.then_some(ByNibbles { fit, stride })
}

/// Length of so many words, of which some were counted, with tables and column scales, in 2^-8 bits.
fn length(fit: &SampleFit, width: u32, words: usize) -> u64 {
    let counted: u64 = fit.counts.iter().flatten().map(|&c| c as u64).sum();
    let counts = entropy_length(&fit.counts, width);
    let tables = length_with_tables(&fit.counts, width) - counts;
    counts / counted.max(1) * words as u64
        + counts % counted.max(1) * words as u64 / counted.max(1)
        + tables
        + side_length(&fit.columns, false)
}
