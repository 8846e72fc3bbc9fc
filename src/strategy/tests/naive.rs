//! Sections 4 and 5 of `format::v1` word for word over whole slices, with the lowest index first in ties.

use super::Arrays;
use crate::kernels::float16::{f16_to_f32, f32_to_f16, rne16};
use crate::strategy::{rows_cols, Strategy};

pub(super) fn kept(delta: &[f32], k: usize) -> Vec<usize> {
    let rank = |v: f32| if v.is_nan() { f32::NAN } else { v.abs() };
    let mut order: Vec<usize> = (0..delta.len()).collect();
    // total_cmp puts positive NaN above infinity; the sort is stable.
    order.sort_by(|&a, &b| rank(delta[b]).abs().total_cmp(&rank(delta[a]).abs()));
    order.truncate(k);
    order.sort_unstable();
    order
}

fn tree(a: &[f32]) -> f32 {
    let n = a.len();
    if n < 8 {
        return a.iter().fold(0.0, |s, v| s + v);
    }
    if n <= 128 {
        let full = n - n % 8;
        let mut r: [f32; 8] = a[..8].try_into().unwrap();
        for i in 8..full {
            r[i % 8] += a[i];
        }
        let s = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
        return a[full..].iter().fold(s, |s, v| s + v);
    }
    let h = n / 2 - n / 2 % 8;
    tree(&a[..h]) + tree(&a[h..])
}

pub(super) fn encode(strategy: Strategy, shape: &[u64], k: usize, delta: &[f32]) -> Arrays {
    let mut out = Arrays::default();
    let kept = kept(delta, k);
    match strategy {
        Strategy::Sparse => {
            for i in kept {
                out[0].extend((i as i64).to_le_bytes());
                out[1].extend(delta[i].to_le_bytes());
            }
        }
        Strategy::Quantized => {
            let (rows, cols) = rows_cols(shape);
            for _ in 0..if cols == 0 { rows } else { 0 } {
                out[0].extend(f32_to_f16(f32::NAN).to_le_bytes());
            }
            for row in delta.chunks((cols as usize).max(1)) {
                let magnitudes: Vec<f32> = row.iter().map(|v| v.abs()).collect();
                let mean = (f64::from(tree(&magnitudes)) / row.len() as f64) as f32;
                out[0].extend(f32_to_f16(mean).to_le_bytes());
            }
            for eight in delta.chunks(8) {
                let bit = |(j, v): (usize, &f32)| if *v < 0.0 { 0 } else { 0x80 >> j };
                out[1].push(eight.iter().enumerate().map(bit).sum());
            }
        }
        Strategy::Int4 => {
            let rest: Vec<f32> = (0..delta.len())
                .filter(|i| !kept.contains(i))
                .map(|i| delta[i])
                .collect();
            for i in kept {
                out[0].extend((i as i64).to_le_bytes());
                out[1].extend(f32_to_f16(delta[i]).to_le_bytes());
            }
            let wild = rest.is_empty() || rest.iter().any(|v| v.is_nan());
            let fold = |f: fn(f32, f32) -> f32| rest.iter().copied().reduce(f).filter(|_| !wild).unwrap_or(f32::NAN);
            let (lo, hi) = (fold(f32::min) + 0.0, fold(f32::max));
            let range = f64::from(hi) - f64::from(lo);
            let flat = range < 1e-8;
            out[2].extend(if flat { 0x3c00 } else { rne16(range / 15.0) }.to_le_bytes());
            out[3].extend(f32_to_f16(lo).to_le_bytes());
            let code = |v: f32| match (v - lo) / range as f32 * 15.0 {
                c if flat || c.is_nan() => 0,
                c => c.round_ties_even().clamp(0.0, 15.0) as u8,
            };
            out[4].extend(
                rest.chunks(2)
                    .map(|p| code(p[0]) << 4 | p.get(1).map_or(0, |v| code(*v))),
            );
        }
    }
    out
}

pub(super) fn decode(strategy: Strategy, n: usize, cols: usize, arrays: &Arrays) -> Vec<f32> {
    let f16 = |bytes: &[u8], i: usize| f16_to_f32(u16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]]));
    let index = |c: &[u8]| i64::from_le_bytes(c.try_into().unwrap()) as usize;
    let mut out = vec![0.0; n];
    match strategy {
        Strategy::Sparse => {
            for (i, v) in arrays[0].chunks(8).zip(arrays[1].chunks(4)) {
                out[index(i)] = f32::from_le_bytes(v.try_into().unwrap());
            }
        }
        Strategy::Quantized => {
            for (i, v) in out.iter_mut().enumerate() {
                let scale = f16(&arrays[0], i / cols);
                *v = if arrays[1][i / 8] >> (7 - i % 8) & 1 == 1 {
                    scale
                } else {
                    -scale
                };
            }
        }
        Strategy::Int4 => {
            let outliers: Vec<usize> = arrays[0].chunks(8).map(index).collect();
            let (gain, zero) = (f16(&arrays[2], 0) * 15.0, f16(&arrays[3], 0));
            for (j, i) in without(n, &outliers).into_iter().enumerate() {
                let q = if j % 2 == 0 {
                    arrays[4][j / 2] >> 4
                } else {
                    arrays[4][j / 2] & 15
                };
                out[i] = f32::from(q) / 15.0 * gain + zero;
            }
            for (j, i) in outliers.into_iter().enumerate() {
                out[i] = f16(&arrays[1], j);
            }
        }
    }
    out
}

/// The numbers below `n` that are not in `some`.
fn without(n: usize, some: &[usize]) -> Vec<usize> {
    let mut left = vec![true; n];
    some.iter().for_each(|&i| left[i] = false);
    (0..n).filter(|&i| left[i]).collect()
}
