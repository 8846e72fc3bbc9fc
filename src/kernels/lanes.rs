//! Running float64 sums whose result does not depend on where the stream was cut.
//!
//! Element `i` of a stream is added to lane `i mod 8`; what is not finite counts as zero.

use super::eight::F64x8;

/// Lanes of a running sum.
pub(super) const LANES: usize = 8;

pub(super) type Eight = [f32; LANES];
pub(super) type Sums = F64x8;

/// Calls `f` with every eight elements of streams of equal length, lane by lane.
///
/// `at`: lane of the first element, moved on. Where a piece begins or ends inside an eight, `pad` stands for the missing
/// elements; it must be a value that changes nothing.
#[inline(always)]
pub(super) fn by_eights<const K: usize>(
    at: &mut usize,
    pad: f32,
    streams: [&[f32]; K],
    mut f: impl FnMut([&Eight; K]),
) {
    let n = streams[0].len();
    let head = (LANES - *at) % LANES;
    let head = head.min(n);
    let whole = head + (n - head) / LANES * LANES;
    let mut padded = [[pad; LANES]; K];
    // One call of `f`, so that it is compiled into the loop.
    for (from, to, lane) in [(0, head, *at), (head, whole, 0), (whole, n, 0)] {
        let mut eights: [&[Eight]; K] = [&[]; K];
        if to - from >= LANES {
            for (eights, s) in eights.iter_mut().zip(streams) {
                *eights = s[from..to].as_chunks().0;
            }
        } else if to > from {
            for ((eights, s), padded) in eights.iter_mut().zip(streams).zip(&mut padded) {
                *padded = [pad; LANES];
                padded[lane..lane + to - from].copy_from_slice(&s[from..to]);
                *eights = std::slice::from_ref(padded);
            }
        }
        for i in 0..eights[0].len() {
            let mut now = [&eights[0][i]; K];
            for (eight, eights) in now.iter_mut().zip(eights) {
                *eight = &eights[i];
            }
            f(now);
        }
    }
    *at = (*at + n) % LANES;
}

pub(super) fn total(sums: Sums) -> f64 {
    let lanes = sums.lanes();
    ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]))
}

#[inline(always)]
pub(super) fn is_finite(v: f32) -> bool {
    v.abs() < f32::INFINITY
}

/// Number of NaN and infinities.
pub(super) fn count_wild(values: &[f32]) -> u64 {
    values
        .chunks(1 << 16)
        .map(|c| u64::from(c.iter().map(|&v| u32::from(!is_finite(v))).sum::<u32>()))
        .sum()
}

pub(super) fn count_zeros(values: &[f32]) -> u64 {
    values
        .chunks(1 << 16)
        .map(|c| u64::from(c.iter().map(|&v| u32::from(v == 0.0)).sum::<u32>()))
        .sum()
}

/// Values that `tamed` handles at once.
const TAMED: usize = 64;

/// Hands streams of equal length on in short pieces, in which `tame` has changed the elements that belong together.
///
/// This is the slow way for what is not finite, so that the loops need not know of it.
#[inline(always)]
pub(super) fn tamed<const K: usize>(
    streams: [&[f32]; K],
    tame: impl Fn([f32; K]) -> [f32; K],
    mut f: impl FnMut([&[f32]; K]),
) {
    let n = streams[0].len();
    let mut buffers = [[0.0; TAMED]; K];
    for from in (0..n).step_by(TAMED) {
        let len = (n - from).min(TAMED);
        for i in 0..len {
            let mut now = [0.0; K];
            for (v, s) in now.iter_mut().zip(streams) {
                *v = s[from + i];
            }
            for (buffer, v) in buffers.iter_mut().zip(tame(now)) {
                buffer[i] = v;
            }
        }
        let mut pieces = [&buffers[0][..0]; K];
        for (piece, buffer) in pieces.iter_mut().zip(&buffers) {
            *piece = &buffer[..len];
        }
        f(pieces);
    }
}

/// `v`, or `instead` if it is not finite.
pub(super) fn finite_or(v: f32, instead: f32) -> f32 {
    match is_finite(v) {
        true => v,
        false => instead,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use crate::kernels::loss::{ErrorSum, Spread};
    use crate::kernels::random::Lcg32;
    use crate::kernels::stats::{Likeness, Moments};

    /// Numbers of both signs that look random.
    pub fn sample(n: usize) -> Vec<f32> {
        let mut lcg = Lcg32(3);
        (0..n)
            .map(|_| f32::from_bits((lcg.next() >> 9) | 0x3f80_0000) - 1.6)
            .collect()
    }

    #[test]
    fn sums_do_not_depend_on_the_pieces() {
        let mut values = sample(5000);
        let (whole, other) = (values.clone(), sample(5003)[3..].to_vec());
        values[17] = f32::NAN;
        values[4000] = f32::NEG_INFINITY;
        for a in [&whole, &values] {
            let figures = |piece: usize| {
                let mut m = Moments::default();
                let mut e = ErrorSum::default();
                let mut s = Spread::default();
                let mut l = Likeness::default();
                for (a, b) in a.chunks(piece).zip(other.chunks(piece)) {
                    m.feed(a);
                    e.feed(a, b);
                    s.feed(a);
                    l.feed(a, b);
                }
                let (level_sq, level_max) = s.from_level(0.3);
                let bits = [
                    m.sum(),
                    m.sum_sq(),
                    e.error_sq(),
                    e.largest(),
                    level_sq,
                    level_max,
                    l.dot(),
                    l.apart_sq(),
                ];
                (
                    bits.map(f64::to_bits),
                    m.extremes(),
                    m.zeros(),
                    m.non_finite(),
                    l.equal(),
                    l.non_finite(),
                )
            };
            let want = figures(5000);
            for piece in [1, 3, 8, 13, 1000] {
                assert_eq!(figures(piece), want, "pieces of {piece}");
            }
        }
    }
}
