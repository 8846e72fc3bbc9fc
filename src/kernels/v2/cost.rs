//! How long a row or column would be under each of eight neighbouring classes, in one look-up per weight.

/// Number of shifts that a scan weighs, from [`FIRST_SHIFT`] upwards.
pub const SHIFTS: usize = 8;

/// The lowest shift of a scan.
pub const FIRST_SHIFT: i32 = -4;

/// The largest length that is told from others: a sum of four has 16 bits.
const LONGEST: u32 = 0x3fff;

/// Lengths in 2^-8 bits, raw bits included, by code and class; classes beyond either end repeat the end.
pub struct CostTable {
    pub(super) classes: usize,
    /// Entries per code. All start positions fit 16 bits.
    pub(super) width: usize,
    pub(super) codes: usize,
    pub(super) costs: Vec<u16>,
}

impl CostTable {
    /// `cost(class, code)` for all of `classes` and the `used` codes; the others cost nothing. With several variants of a
    /// class, a code has the variant in its upper byte.
    pub fn new(classes: usize, used: &[bool], cost: impl Fn(usize, usize) -> u32) -> Self {
        let width = classes + 2 * SHIFTS;
        assert!((1..=64).contains(&classes) && (1..=1 << 16).contains(&(width * used.len())));
        let mut costs = vec![0; width * used.len()];
        for (code, costs) in costs
            .chunks_exact_mut(width)
            .enumerate()
            .filter(|(code, _)| used[*code])
        {
            for (class, c) in costs[SHIFTS..].iter_mut().take(classes).enumerate() {
                *c = cost(class, code).min(LONGEST) as u16;
            }
            let (first, last) = (costs[SHIFTS], costs[SHIFTS + classes - 1]);
            costs[..SHIFTS].fill(first);
            costs[SHIFTS + classes..].fill(last);
        }
        Self {
            classes,
            width,
            codes: used.len(),
            costs,
        }
    }

    /// Lengths of `code` under the classes from `class - 4` to `class + 3`; a code beyond the last is taken as the last.
    #[inline(always)]
    pub fn lengths(&self, class: i16, code: u16) -> &[u16; SHIFTS] {
        let class = class
            .max(-(SHIFTS as i16) / 2)
            .min(self.classes as i16 + SHIFTS as i16 / 2 - 1);
        let code = (code as usize).min(self.codes - 1);
        let start = code * self.width + (class as i32 + FIRST_SHIFT + SHIFTS as i32) as usize;
        match self.costs.get(start..start + SHIFTS) {
            Some(l) => l.try_into().unwrap_or(&[0; SHIFTS]),
            None => &[0; SHIFTS],
        }
    }
}

/// Adds the lengths of a row to `sums`. A weight's class is the sum of `row`, its column's scale and its own part.
#[inline]
pub fn add_row(table: &CostTable, row: i16, classes: &[i16], columns: &[i16], codes: &[u16], sums: &mut [u32; SHIFTS]) {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    super::simd128::cost::add_row(table, row, classes, columns, codes, sums);
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    add_row_scalar(table, row, classes, columns, codes, sums);
}

/// The scalar twin of [`add_row`].
pub fn add_row_scalar(
    table: &CostTable,
    row: i16,
    classes: &[i16],
    columns: &[i16],
    codes: &[u16],
    sums: &mut [u32; SHIFTS],
) {
    for ((&e, &c), &code) in classes.iter().zip(columns).zip(codes) {
        let lengths = table.lengths(e.wrapping_add(c).wrapping_add(row), code);
        for (sum, &l) in sums.iter_mut().zip(lengths) {
            *sum += l as u32;
        }
    }
}

/// Adds the length of every weight of a row to the sums of its column.
#[inline]
pub fn add_columns(
    table: &CostTable,
    row: i16,
    classes: &[i16],
    columns: &[i16],
    codes: &[u16],
    sums: &mut [[u32; SHIFTS]],
) {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    super::simd128::cost::add_columns(table, row, classes, columns, codes, sums);
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    add_columns_scalar(table, row, classes, columns, codes, sums);
}

/// The scalar twin of [`add_columns`].
pub fn add_columns_scalar(
    table: &CostTable,
    row: i16,
    classes: &[i16],
    columns: &[i16],
    codes: &[u16],
    sums: &mut [[u32; SHIFTS]],
) {
    for (((&e, &c), &code), sums) in classes.iter().zip(columns).zip(codes).zip(sums) {
        let lengths = table.lengths(e.wrapping_add(c).wrapping_add(row), code);
        for (sum, &l) in sums.iter_mut().zip(lengths) {
            *sum += l as u32;
        }
    }
}

/// The shift with the smallest `sum + penalty(shift)`; the smaller move where two are equal.
pub fn best_shift(sums: &[u32; SHIFTS], penalty: impl Fn(i32) -> u32) -> i32 {
    (0..SHIFTS as i32)
        .map(|i| i + FIRST_SHIFT)
        .min_by_key(|&s| (sums[(s - FIRST_SHIFT) as usize] as u64 + penalty(s) as u64, s.abs()))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_equals_eight_separate_sums() {
        let cost = |class: usize, code: usize| (class * 131 + code * 17) as u32 % 4000;
        let table = CostTable::new(24, &[true; 256], cost);
        let classes: Vec<i16> = (0..100).map(|i| i * 7 % 60 - 20).collect();
        let codes: Vec<u16> = (0..100u32).map(|i| ((i * i) & 255) as u16).collect();
        let mut sums = [5; SHIFTS];
        add_row(&table, 3, &classes, &[0; 100], &codes, &mut sums);
        for (i, sum) in sums.iter().enumerate() {
            let expected: u32 = classes
                .iter()
                .zip(&codes)
                .map(|(&c, &s)| {
                    cost(
                        (c as i32 + 3 + i as i32 + FIRST_SHIFT).clamp(0, 23) as usize,
                        s as usize,
                    )
                })
                .sum();
            assert_eq!(*sum, expected + 5);
        }
        let mut columns = vec![[0; SHIFTS]; 100];
        add_columns(&table, 3, &classes, &[0; 100], &codes, &mut columns);
        assert_eq!(columns.iter().map(|c| c[0]).sum::<u32>(), sums[0] - 5);
    }

    #[test]
    fn the_best_shift_weighs_the_penalty() {
        let mut sums = [100; SHIFTS];
        assert_eq!(best_shift(&sums, |_| 0), 0);
        sums[7] = 60;
        assert_eq!(best_shift(&sums, |_| 0), 3);
        assert_eq!(best_shift(&sums, |s| 20 * s.unsigned_abs()), 0);
    }
}
