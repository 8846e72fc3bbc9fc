//! Where sparse and int4 cut a tensor: the k-th largest magnitude.
//!
//! One pass does where what has passed tells what is to come: values between two bounds around the place where the k-th
//! one probably lies are set aside, and whenever they are too many, the bounds are drawn closer. Only where the k-th one
//! lies outside in the end, a second pass counts all values coarsely, and a third one those of one bucket.

use super::emitter::STEP;
use crate::kernels::stats::{Range, Squares};
use crate::kernels::topk::{self, Between, Extremes, BUCKETS, FINE, NAN_KEY};

/// Which values are kept: those whose magnitude is above a bound, and the first few of those that are equal to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The bound as a magnitude key, see [`topk::key`].
    pub magnitude: u32,
    /// How many values of exactly this magnitude are kept, lowest position first.
    pub ties: u64,
    /// True if there are more of them, so that another writer might have kept others.
    pub tied: bool,
}

impl Cut {
    /// Keeps every value that is not zero.
    pub fn nonzero() -> Self {
        Self {
            magnitude: 0,
            ties: 0,
            tied: false,
        }
    }
}

/// Fewest and most values that are set aside: with one more block, the most take 8 MiB.
const ASIDE: (u64, u64) = (1 << 16, (2 << 20) - STEP as u64);

/// Finds the [`Cut`], and the extremes of what is not kept.
#[derive(Clone, Debug)]
pub(super) struct CutSearch {
    n: u64,
    kept: u64,
    /// How many values may be set aside.
    room: usize,
    /// Values of the first pass so far.
    fed: u64,
    between: Between,
    /// That they hold the k-th value between them was counted.
    sure: bool,
    stage: Stage,
    cut: Option<Cut>,
    hits: [f32; STEP],
}

#[derive(Clone, Debug)]
enum Stage {
    /// First pass: the values between the bounds.
    Aside(Vec<f32>),
    /// Those of one bucket, which are counted: in the first pass when they are many, in the third pass.
    Fine(Vec<u64>),
    /// Second pass: all values by bucket.
    Coarse(Vec<u64>),
    /// Last pass: which signs have the tied values that are not kept? So many are still to be kept.
    Ties(u64),
    Done,
}

impl CutSearch {
    /// A search for the `kept` largest of `n` values; no more than there are.
    pub fn new(n: u64, kept: u64) -> Self {
        Self {
            n,
            kept,
            room: (n / 16).clamp(ASIDE.0, ASIDE.1) as usize,
            fed: 0,
            between: Between::ALL,
            sure: false,
            stage: Stage::Aside(Vec::new()),
            cut: None,
            hits: [0.0; STEP],
        }
    }

    /// Takes the next values, at most [`STEP`].
    pub fn feed(&mut self, block: &[f32]) {
        self.look(block);
        self.fed += block.len() as u64;
        // The share that is kept of what has passed is that of the whole.
        let rank = (self.kept as f64 * (self.fed as f64 / self.n as f64)) as u64 + 1;
        if self.aside() > self.room {
            self.narrow(rank, self.room as u64 / 8);
            if self.aside() > self.room / 2 {
                self.narrow(rank, 0);
            }
        }
    }

    fn aside(&self) -> usize {
        match &self.stage {
            Stage::Aside(values) => values.len(),
            _ => 0,
        }
    }

    fn look(&mut self, block: &[f32]) {
        match &mut self.stage {
            Stage::Aside(values) => {
                let n = self.between.gather(block, &mut self.hits);
                values.extend_from_slice(&self.hits[..n]);
            }
            Stage::Fine(counts) => {
                let n = self.between.gather(block, &mut self.hits);
                topk::count_fine(&self.hits[..n], counts);
            }
            Stage::Coarse(counts) => topk::count_buckets(block, counts),
            Stage::Ties(left) => {
                let border = self.cut.map_or(0, |cut| cut.magnitude);
                for &v in block.iter().filter(|v| topk::key(**v) == border) {
                    if *left > 0 {
                        *left -= 1;
                    } else {
                        self.between.below.add(v);
                    }
                }
            }
            Stage::Done => {}
        }
    }

    /// Draws the bounds closer to the value of this rank, but for `spare` values on either side; with none to spare, to its
    /// bucket. Gives back the values that were set aside.
    fn narrow(&mut self, rank: u64, spare: u64) -> Vec<f32> {
        let Stage::Aside(values) = &mut self.stage else {
            return Vec::new();
        };
        // With room from the start: it would grow past it by doubling.
        let room = if spare > 0 { self.room + STEP } else { 0 };
        let values = std::mem::replace(values, Vec::with_capacity(room));
        if spare == 0 {
            self.stage = Stage::Fine(vec![0; FINE]);
        }
        let mut counts = vec![0; 4 * BUCKETS];
        topk::count_buckets(&values, &mut counts);
        let between = &mut self.between;
        let bucket = |rank| bucket_of(&counts, between.above, rank) << 16;
        let (first, last) = (bucket(rank + spare), bucket(rank.saturating_sub(spare)) | 0xffff);
        between.first = between.first.max(first);
        between.last = between.last.min(last);
        self.look_again(&values);
        values
    }

    fn look_again(&mut self, values: &[f32]) {
        for block in values.chunks(STEP) {
            self.look(block);
        }
    }

    /// Ends a pass; true if there has to be one more. `squares` and `range` of all values.
    pub fn end_pass(&mut self, squares: &Squares, range: &Range) -> bool {
        if self.cut.is_some() || self.trivial(squares, range) {
            return false;
        }
        let values = self.narrow(self.kept, 0);
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Fine(counts) => {
                let missing = self.kept.saturating_sub(self.between.above);
                let found = missing > 0 && missing <= counts.iter().sum();
                if !found {
                    // Once it is sure, other values came than before, which whoever writes them will notice.
                    if !self.sure {
                        self.stage = Stage::Coarse(vec![0; 4 * BUCKETS]);
                    }
                    return !self.sure;
                }
                self.end_fine(&counts);
                // The tied ones are among those set aside, unless they were only counted.
                if !values.is_empty() {
                    self.look_again(&values);
                    self.stage = Stage::Done;
                }
            }
            Stage::Coarse(counts) => {
                let first = bucket_of(&counts, 0, self.kept) << 16;
                self.between = Between {
                    first,
                    last: first | 0xffff,
                    ..Between::ALL
                };
                self.sure = true;
                self.stage = Stage::Fine(vec![0; FINE]);
            }
            _ => {}
        }
        !matches!(self.stage, Stage::Done)
    }

    /// Where zeros are kept as well, or nothing at all.
    fn trivial(&mut self, squares: &Squares, range: &Range) -> bool {
        let zeros = squares.zeros();
        let nonzero = self.n.saturating_sub(zeros);
        if self.kept > nonzero {
            // Zeros are kept as well, and nothing else is left.
            let ties = self.kept - nonzero;
            let tied = zeros > ties;
            self.cut = Some(Cut {
                magnitude: 0,
                ties,
                tied,
            });
            self.between.below = Extremes::NONE;
            if tied {
                self.between.below.add(0.0);
            }
        } else if self.kept == 0 {
            self.cut = Some(Cut {
                magnitude: NAN_KEY,
                ties: 0,
                tied: false,
            });
            self.between.below = match range.extremes() {
                Some((lo, hi)) if squares.non_finite() == 0 => Extremes { lo, hi },
                _ => Extremes::NONE,
            };
        }
        self.cut.is_some()
    }

    fn end_fine(&mut self, counts: &[u64]) {
        let Between { first, mut above, .. } = self.between;
        let extremes = &mut self.between.below;
        let value = |low: usize, sign: usize| f32::from_bits((sign as u32) << 31 | first | low as u32);
        let mut lows = (0..FINE / 2)
            .rev()
            .map(|low| (low, counts[2 * low], counts[2 * low + 1]));
        for (low, positive, negative) in lows.by_ref() {
            let count = positive + negative;
            if above + count < self.kept {
                above += count;
                continue;
            }
            let ties = self.kept - above;
            let cut = Cut {
                magnitude: first | low as u32,
                ties,
                tied: count > ties,
            };
            self.cut = Some(cut);
            if !cut.tied {
                break;
            }
            if cut.magnitude == NAN_KEY {
                *extremes = Extremes::NONE; // NaN among the rest
                return;
            }
            for (sign, same, other) in [(0, positive, negative), (1, negative, positive)] {
                if same > ties || (same > 0 && other == 0) {
                    extremes.add(value(low, sign));
                } else if same > 0 {
                    self.stage = Stage::Ties(ties);
                }
            }
            break;
        }
        for (low, positive, negative) in lows {
            if positive > 0 {
                extremes.add(value(low, 0));
            }
            if negative > 0 {
                extremes.add(value(low, 1));
            }
        }
    }

    /// Where to cut: known once there is no further pass, or none but one for the extremes.
    pub fn cut(&self) -> Option<Cut> {
        self.cut
    }

    /// The extremes of what is not kept.
    pub fn extremes(&self) -> Extremes {
        self.between.below
    }
}

/// The bucket of the value of this rank, the largest being of rank 1, if `above` values are larger than all that are counted.
fn bucket_of(counts: &[u64], mut above: u64, rank: u64) -> u32 {
    let buckets = counts.as_chunks::<4>().0;
    let found = buckets.iter().rposition(|four| {
        above += four.iter().sum::<u64>();
        above >= rank
    });
    found.unwrap_or(0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The search, with room for so many values, and how many passes it took.
    fn search(values: &[f32], kept: u64, room: usize) -> (Cut, Extremes, u32) {
        let (mut squares, mut range) = (Squares::default(), Range::default());
        let finite = squares.feed(values);
        range.feed(values, finite);
        let mut search = CutSearch::new(values.len() as u64, kept);
        search.room = room;
        for passes in 1.. {
            values.chunks(STEP).for_each(|block| search.feed(block));
            if !search.end_pass(&squares, &range) {
                return (search.cut().unwrap(), search.extremes(), passes);
            }
        }
        unreachable!()
    }

    /// The same by sorting.
    fn sorted(values: &[f32], kept: u64) -> (Cut, Extremes) {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(topk::key(values[i])));
        let (most, rest) = order.split_at(kept as usize);
        let magnitude = topk::key(values[most[most.len() - 1]]);
        let at_border = |some: &[usize]| some.iter().filter(|&&i| topk::key(values[i]) == magnitude).count();
        let cut = Cut {
            magnitude,
            ties: at_border(most) as u64,
            tied: at_border(rest) > 0,
        };
        let mut extremes = Extremes::NONE;
        rest.iter().for_each(|&i| extremes.add(values[i]));
        (cut, extremes)
    }

    /// Numbers between -1 and 1, by their place.
    fn noise(i: u32) -> f32 {
        (i.wrapping_mul(2_654_435_769) >> 8) as f32 / 8_388_608.0 - 1.0
    }

    #[test]
    fn one_pass_does_where_a_part_tells_of_the_whole() {
        let smooth: Vec<f32> = (0..50_000).map(noise).collect();
        let grid: Vec<f32> = smooth.iter().map(|v| (v * 8.0).round()).collect();
        let positive: Vec<f32> = smooth.iter().map(|v| v.abs() + 0.5).collect();
        let same = vec![-3.0; 50_000];
        for values in [smooth, grid, positive, same] {
            for kept in [1, 500, 5_000, 25_000, 40_000] {
                let want = sorted(&values, kept);
                for room in [3_000, 100_000] {
                    let (cut, extremes, passes) = search(&values, kept, room);
                    assert_eq!((cut, extremes), want, "{kept} {room}");
                    // What was only counted is looked at again for the signs of its ties.
                    assert!(
                        passes == 1 || (passes == 2 && room == 3_000 && cut.tied),
                        "{kept} {room}: {passes}"
                    );
                }
            }
        }
    }

    #[test]
    fn more_passes_find_what_the_first_one_lost() {
        let rising: Vec<f32> = (0..50_000).map(|i| noise(i) * (1 + i) as f32).collect();
        let falling: Vec<f32> = rising.iter().rev().copied().collect();
        let late: Vec<f32> = (0..50_000)
            .map(|i| if i < 40_000 { 1.0 } else { noise(i) * 1e3 })
            .collect();
        for values in [rising, falling, late] {
            for kept in [10, 500, 5_000, 30_000, 49_000] {
                let (cut, extremes, passes) = search(&values, kept, 2_500);
                assert_eq!((cut, extremes), sorted(&values, kept), "{kept}");
                assert!(passes <= 4);
                assert!(kept != 5_000 || passes >= 3, "{passes}");
            }
        }
    }

    #[test]
    fn values_that_change_between_the_passes_do_not_hold_it_up() {
        let rising: Vec<f32> = (0..50_000).map(|i| noise(i) * (1 + i) as f32).collect();
        let squares = Squares::default();
        let mut search = CutSearch::new(50_000, 5_000);
        search.room = 2_500;
        let mut passes = 0;
        loop {
            passes += 1;
            let now = rising
                .iter()
                .map(|v| v * 10f32.powi(passes * passes))
                .collect::<Vec<_>>();
            now.chunks(STEP).for_each(|block| search.feed(block));
            if !search.end_pass(&squares, &Range::default()) {
                break;
            }
        }
        assert_eq!((passes, search.cut()), (3, None));
    }
}
