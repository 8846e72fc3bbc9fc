//! A tensor as rows, and a row as differences and exponents.

use crate::kernels::v2::element::{Layout, Word};

/// Widest row, in elements.
pub const MAX_COLUMNS: u64 = 1 << 16;

/// Row width for tensors without a natural one.
const FLAT: u64 = 1024;

/// Elements per row for a shape: the trailing dimensions until they make at least 64 elements; 1024 for vectors and
/// for anything wider than [`MAX_COLUMNS`]. The last row may be shorter. At least 1.
pub fn columns(shape: &[u64]) -> u64 {
    let n = shape.iter().fold(1u64, |a, &b| a.saturating_mul(b));
    let mut columns = 1u64;
    for &d in shape.iter().rev() {
        if columns >= 64 {
            break;
        }
        columns = columns.saturating_mul(d);
    }
    if columns > MAX_COLUMNS || (columns >= n && columns > FLAT) {
        columns = FLAT;
    }
    columns.max(1)
}

/// Differences and exponents of one row.
#[derive(Default)]
pub struct Row {
    /// `-q * exponent` of the base.
    pub classes: Vec<i16>,
    /// Distance in representable steps.
    pub steps: Vec<i64>,
}

impl Row {
    /// Takes elements `at .. at + len` of `base` and `fine` apart. True when any of them differ.
    pub fn load(&mut self, layout: Layout, log2_q: u32, base: &[u8], fine: &[u8], at: usize, len: usize) -> bool {
        self.classes.resize(len, 0);
        self.steps.resize(len, 0);
        match layout.bits {
            8 => self.fill::<u8>(layout, log2_q, base, fine, at),
            16 => self.fill::<u16>(layout, log2_q, base, fine, at),
            32 => self.fill::<u32>(layout, log2_q, base, fine, at),
            _ => self.fill::<u64>(layout, log2_q, base, fine, at),
        }
    }

    fn fill<W: Word>(&mut self, layout: Layout, log2_q: u32, base: &[u8], fine: &[u8], at: usize) -> bool {
        let mut any = 0;
        for (i, (class, step)) in self.classes.iter_mut().zip(&mut self.steps).enumerate() {
            let (b, f) = (W::get(base, at + i), W::get(fine, at + i));
            any |= b ^ f;
            *class = -((layout.exponent(b) << log2_q) as i16);
            *step = layout.wrap(layout.key(f).wrapping_sub(layout.key(b)));
        }
        any != 0
    }
}

#[cfg(test)]
mod tests {
    use super::columns;

    #[test]
    fn rows_follow_the_shape() {
        assert_eq!(columns(&[4096, 2048]), 2048);
        assert_eq!(columns(&[384]), 384);
        assert_eq!(columns(&[151_936]), 1024);
        assert_eq!(columns(&[8, 4096, 1024]), 1024);
        assert_eq!(columns(&[512, 256, 3, 3]), 2304);
        assert_eq!(columns(&[100, 4]), 400);
        assert_eq!(columns(&[100_000, 4]), 1024);
        assert_eq!(columns(&[2, 1 << 20]), 1024);
        assert_eq!(columns(&[]), 1);
        assert_eq!(columns(&[0, 5]), 1);
        assert_eq!(columns(&[5, 0]), 1);
    }
}
