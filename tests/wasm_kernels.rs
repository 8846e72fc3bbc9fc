//! One battery for the kernels, natively and in wasm: every form of a kernel against a plain one, bit for bit.
//!
//! In wasm the hand-written simd128 twins run beside the portable forms, and what the compiler vectorises is other code
//! than natively. `cargo test --test wasm_kernels`, and the same with `--target wasm32-unknown-unknown` and
//! `wasm-bindgen-test-runner`.

#[path = "common/random.rs"]
mod random;

use random::Lcg;
use wdelta::dtype::Dtype;
use wdelta::kernels::loss::Spread;
use wdelta::kernels::stats::Moments;
use wdelta::kernels::topk::{self, Between, BUCKETS, FINE};
use wdelta::kernels::{affine, apply, convert, float16, nibble, pairwise, signbits};
use wdelta::strategy::{kept_int4, Emitter, Expander, Loss, Strategy, Survey, Surveyed, MAX_FIELDS};

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;
#[cfg(target_arch = "wasm32")]
use wdelta::kernels::simd128 as by_hand;

/// Natively there are no twins: the portable forms stand in.
#[cfg(not(target_arch = "wasm32"))]
mod by_hand {
    pub use wdelta::kernels::convert::scalar as convert;
    pub use wdelta::kernels::eight::scalar as eight;
    pub use wdelta::kernels::signbits::scalar as signbits;
    pub use wdelta::kernels::topk::scalar as topk;
}

/// Values that meet every branch: zeros, subnormals, infinities, NaN of all kinds, ties of both roundings, any bits.
fn values(n: usize) -> Vec<f32> {
    let mut rng = Lcg(1);
    let special = [
        0,
        0x8000_0000,
        1,
        0x8000_0001,
        0x007f_ffff,
        0x7f80_0000,
        0xff80_0000,
        0x7f80_0001,
        0xffc0_0000,
        0x7fff_ffff,
        0x7f7f_ffff,
        0x477f_f000, // 65520, the tie between the largest float16 and infinity
        0x477f_efff,
        0x3300_0000, // 2^-25, the tie between zero and the smallest float16
        0x3300_0001,
        0x387f_e000, // largest subnormal float16 and the numbers around it
        0x387f_f000,
        0x3880_0000,
    ];
    (0..n)
        .map(|i| match rng.next() {
            r if i % 7 == 0 => f32::from_bits(special[r as usize % special.len()]),
            r if i % 7 == 1 => f32::from_bits(r & 0xffff_0000 | 0x8000), // tie of bfloat16
            r if i % 7 == 2 => f32::from_bits(0x3000_0000 + (r & 0x17ff_e000) + 0x1000), // tie of float16
            r if i % 7 == 3 => ((r & 7) as f32 - 4.0) * 0.25,
            r => f32::from_bits(r),
        })
        .collect()
}

fn lengths() -> impl Iterator<Item = usize> {
    (0..70).chain([255, 1000, 2049])
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Bit patterns with all NaN made one: the arithmetic of an engine may give any.
fn numbers(values: &[f32]) -> Vec<u32> {
    values
        .iter()
        .map(|v| if v.is_nan() { u32::MAX } else { v.to_bits() })
        .collect()
}

type Keep = fn(&[f32], &[f32], &[u8], &mut [u8]);
type Round = fn(&[f32], &mut [u8]);

fn forms_of_keep() -> [(Dtype, Keep); 6] {
    [
        (Dtype::BF16, convert::scalar::keep_bf16),
        (Dtype::F16, convert::scalar::keep_f16),
        (Dtype::BF16, by_hand::convert::keep_bf16),
        (Dtype::F16, by_hand::convert::keep_f16),
        (Dtype::BF16, |r, b, base, out| {
            convert::keep_or_round(Dtype::BF16, r, b, base, out)
        }),
        (Dtype::F16, |r, b, base, out| {
            convert::keep_or_round(Dtype::F16, r, b, base, out)
        }),
    ]
}

fn forms_of_round() -> [(Dtype, Round); 4] {
    [
        (Dtype::BF16, convert::scalar::round_bf16),
        (Dtype::BF16, by_hand::convert::round_bf16),
        (Dtype::BF16, |src, out| convert::from_f32(Dtype::BF16, src, out)),
        (Dtype::F16, |src, out| convert::from_f32(Dtype::F16, src, out)),
    ]
}

fn rounded(dtype: Dtype, v: f32) -> u16 {
    let half = match dtype {
        Dtype::F16 => half::f16::from_f32(v).to_bits(),
        _ => half::bf16::from_f32(v).to_bits(),
    };
    match dtype {
        // Only that it is NaN is promised; ours drops the payload.
        Dtype::F16 if v.is_nan() => 0x7e00 | half & 0x8000,
        _ => half,
    }
}

#[test]
fn rounding_to_16_bits() {
    let all = values(2100);
    for (dtype, round) in forms_of_round() {
        for n in lengths() {
            let src = &all[n % 5..][..n];
            let mut out = vec![0xaa; 2 * n];
            round(src, &mut out);
            let want: Vec<u8> = src.iter().flat_map(|v| rounded(dtype, *v).to_le_bytes()).collect();
            assert_eq!(out, want, "{dtype:?} {n}");
        }
    }
}

#[test]
fn keeping_or_rounding() {
    let all = values(2100);
    for (dtype, keep) in forms_of_keep() {
        for n in lengths() {
            let result = &all[n % 3..][..n];
            let mut base: Vec<u8> = result.iter().flat_map(|v| rounded(dtype, *v).to_le_bytes()).collect();
            // Half of the elements change; some of those that do not are -0 or an odd NaN.
            for pair in base.chunks_exact_mut(2).step_by(2) {
                pair[0] ^= 0x40;
            }
            for (pair, odd) in base
                .chunks_exact_mut(2)
                .skip(3)
                .step_by(11)
                .zip([[0x01, 0x7f], [0x00, 0x80]].iter().cycle())
            {
                pair.copy_from_slice(odd);
            }
            let mut base_f32 = vec![0.0; n];
            convert::to_f32(dtype, &base, &mut base_f32);
            let mut out = vec![0xaa; 2 * n];
            keep(result, &base_f32, &base, &mut out);
            for (i, got) in out.chunks_exact(2).enumerate() {
                let (r, b) = (result[i], base_f32[i]);
                let want = if r == b || (r.is_nan() && b.is_nan()) {
                    [base[2 * i], base[2 * i + 1]]
                } else {
                    rounded(dtype, r).to_le_bytes()
                };
                assert_eq!(got, want, "{dtype:?} {n} {i}");
            }
        }
    }
}

#[test]
fn widening_and_subtracting() {
    let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    let mut wide = vec![0.0; 1 << 16];
    convert::to_f32(Dtype::F16, &all, &mut wide);
    let want: Vec<f32> = (0..=u16::MAX).map(|h| half::f16::from_bits(h).to_f32()).collect();
    assert_eq!(numbers(&wide), numbers(&want));
    convert::to_f32(Dtype::BF16, &all, &mut wide);
    let want: Vec<f32> = (0..=u16::MAX).map(|h| half::bf16::from_bits(h).to_f32()).collect();
    assert_eq!(numbers(&wide), numbers(&want));

    let mut rng = Lcg(5);
    for dtype in [Dtype::F16, Dtype::BF16, Dtype::F32, Dtype::F64] {
        for n in lengths() {
            let width = dtype.bytes().unwrap();
            let mut random = || (0..n * width).map(|_| rng.next() as u8).collect::<Vec<u8>>();
            let (a, b) = (random(), random());
            let (mut x, mut y, mut out) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
            convert::to_f32(dtype, &a, &mut x);
            convert::to_f32(dtype, &b, &mut y);
            apply::delta(dtype, &a, dtype, &b, &mut out);
            let want: Vec<f32> = x.iter().zip(&y).map(|(x, y)| x - y).collect();
            assert_eq!(numbers(&out), numbers(&want), "{dtype:?} {n}");
        }
    }
}

type Select = fn(&[f32], u32, &mut [u32]) -> usize;
type Gather = fn(&mut Between, &[f32], &mut [f32]) -> usize;

#[test]
fn selecting_by_magnitude() {
    let all = values(2100);
    let forms: [Select; 3] = [topk::scalar::select, by_hand::topk::select, topk::select];
    for select in forms {
        for n in lengths() {
            let values = &all[n % 5..][..n];
            for floor in [
                0,
                1,
                topk::key(0.25),
                topk::key(1e20),
                topk::key(f32::INFINITY),
                topk::NAN_KEY,
                topk::NAN_KEY + 1,
            ] {
                let mut hits = vec![u32::MAX; n];
                let found = select(values, floor, &mut hits);
                let want: Vec<u32> = (0..n as u32)
                    .filter(|&i| topk::key(values[i as usize]) >= floor)
                    .collect();
                assert_eq!(hits[..found], want, "{n} {floor:x}");
            }
        }
    }
}

#[test]
fn gathering_between_two_bounds() {
    let all = values(2100);
    let forms: [Gather; 3] = [topk::scalar::gather, by_hand::topk::gather, Between::gather];
    let bounds = [
        0,
        1,
        topk::key(0.25),
        topk::key(65_520.0),
        topk::key(f32::INFINITY),
        topk::NAN_KEY,
        0x7fff_ffff,
    ];
    for gather in forms {
        for n in lengths() {
            let values = &all[n % 5..][..n];
            for (first, last) in bounds.iter().flat_map(|&a| bounds.map(|b| (a, b))) {
                let mut between = Between {
                    first,
                    last,
                    above: 3,
                    ..Between::ALL
                };
                let mut want = between;
                let mut hits = vec![0.0; n];
                let found = gather(&mut between, values, &mut hits);
                let mut inside = Vec::new();
                for &v in values {
                    let key = topk::key(v);
                    if key < first {
                        want.below.add(v);
                    }
                    want.above += u64::from(key > last);
                    if (first..=last).contains(&key) {
                        inside.push(v.to_bits());
                    }
                }
                let hits: Vec<u32> = hits[..found].iter().map(|v| v.to_bits()).collect();
                assert_eq!(hits, inside, "{n} {first:x} {last:x}");
                assert_eq!(between, want, "{n} {first:x} {last:x}"); // as numbers: the sign of a zero is free
            }
        }
    }
}

#[test]
fn counting_one_bucket() {
    let values: Vec<f32> = values(2100)
        .into_iter()
        .filter(|&v| topk::key(v) >> 16 == topk::key(0.25) >> 16)
        .collect();
    assert!(values.len() > 10);
    let mut counts = vec![0; FINE];
    topk::count_fine(&values, &mut counts);
    for v in &values {
        counts[2 * (topk::key(*v) & 0xffff) as usize + usize::from(v.is_sign_negative())] -= 1;
    }
    assert!(counts.iter().all(|&c| c == 0));
}

#[test]
fn counting_buckets() {
    let values = values(2100);
    let mut counts = vec![0; 4 * BUCKETS];
    topk::count_buckets(&values, &mut counts);
    for v in &values {
        let at = (topk::key(*v) >> 16) as usize * 4;
        let counter = counts[at..at + 4].iter_mut().find(|c| **c > 0);
        *counter.expect("one count for each value") -= 1;
    }
    assert!(counts.iter().all(|&c| c == 0));
}

#[test]
fn codes_and_signs() {
    let all = values(2100);
    for n in lengths() {
        let v = &all[n % 5..][..n];
        for (lo, range) in [
            (-1.0f32, 2.0f32),
            (0.0, 1e-7),
            (-3e38, f32::INFINITY),
            (f32::NAN, f32::NAN),
        ] {
            let mut codes = vec![0xaa; n];
            affine::quantize(v, lo, range, &mut codes);
            let want: Vec<u8> = v
                .iter()
                .map(|v| ((v - lo) / range * 15.0).round_ties_even().clamp(0.0, 15.0) as u8)
                .collect();
            assert_eq!(codes, want, "{n} {lo} {range}");
        }
        let packed: Vec<u8> = v.iter().map(|v| v.to_bits() as u8).collect();
        let levels = affine::levels(0.013, -0.1);
        let mut out = vec![0.0; 2 * n];
        nibble::expand(&packed, &nibble::pair_table(&levels), &mut out);
        let pair = |b: &u8| [levels[usize::from(b >> 4)], levels[usize::from(b & 15)]];
        assert_eq!(
            bits(&out),
            bits(&packed.iter().flat_map(pair).collect::<Vec<_>>()),
            "{n}"
        );
        let codes: Vec<u8> = packed.iter().flat_map(|b| [b >> 4, b & 15]).collect();
        let mut again = vec![0; n];
        nibble::pack(&codes, &mut again);
        assert_eq!(again, packed, "{n}");

        let mut out = vec![0.0; 8 * n];
        let sign = |i: usize| {
            if packed[i / 8] >> (7 - i % 8) & 1 == 1 {
                0.25
            } else {
                -0.25
            }
        };
        let want: Vec<f32> = (0..8 * n).map(sign).collect();
        for expand in [signbits::expand, signbits::scalar::expand, by_hand::signbits::expand] {
            out.fill(0.0);
            expand(&packed, 0.25, &mut out);
            assert_eq!(out, want, "{n}");
        }
        let mut again = vec![0; n];
        signbits::pack(&out, &mut again);
        assert_eq!(again, packed, "{n}");
        let bit = |i: usize| if v[i] < 0.0 { 0 } else { 0x80 >> (i % 8) };
        let want: Vec<u8> = (0..n / 8).map(|b| (8 * b..8 * b + 8).map(bit).sum()).collect();
        for pack in [signbits::pack, signbits::scalar::pack, by_hand::signbits::pack] {
            let mut signs = vec![0; n / 8];
            pack(&v[..n / 8 * 8], &mut signs);
            assert_eq!(signs, want, "{n}");
        }
    }
}

/// Bits of every lane, all NaN made one, after each operation on eight numbers of either kind.
macro_rules! lanes_after {
    ($of:path, $a:expr, $b:expr) => {{
        use $of::{F32x8, F64x8};
        let (a, b) = (F32x8::of($a), F32x8::of($b));
        let (x, y) = (a.widen() * F64x8::splat(0.3), F64x8::of($b));
        let of_32 = [a, a.abs(), a.min(b), a.max(b), a + b, F32x8::splat(-0.5)];
        let of_64 = [
            x,
            x.abs(),
            x.max(y),
            x + y,
            x - y,
            x * y,
            F64x8::from(y.lanes()),
            F64x8::default(),
        ];
        let bits = |v: f64| if v.is_nan() { u64::MAX } else { v.to_bits() };
        let of_32 = of_32.map(|v| v.lanes().map(|v| bits(v.into())));
        (of_32, of_64.map(|v| v.lanes().map(bits)))
    }};
}

#[test]
fn eight_numbers_at_a_time() {
    let all = values(4096);
    for (a, b) in all.chunks_exact(8).zip(all[1..].chunks_exact(8)) {
        let (a, b) = (a.try_into().unwrap(), b.try_into().unwrap());
        let portable = lanes_after!(wdelta::kernels::eight::scalar, a, b);
        assert_eq!(lanes_after!(by_hand::eight, a, b), portable, "{a:?} {b:?}");
    }
}

/// However a stream is cut, its sums are the same bits.
#[test]
fn sums_of_pieces() {
    let wild = values(2100);
    let tame: Vec<f32> = wild.iter().map(|v| if v.is_finite() { *v } else { -0.0 }).collect();
    for n in lengths() {
        for all in [&tame, &wild] {
            let v = &all[n % 5..][..n];
            let sums = |piece: usize| {
                let (mut m, mut s) = (Moments::default(), Spread::default());
                for v in v.chunks(piece) {
                    m.feed(v);
                    s.feed(v);
                }
                let (error_sq, largest) = s.from_level(0.125);
                let sums = [m.sum(), m.sum_sq(), error_sq, largest].map(f64::to_bits);
                (sums, m.extremes(), m.zeros(), m.non_finite(), m.n())
            };
            assert_eq!(sums(n.max(1)), sums(3), "{n}");
            assert_eq!(sums(64), sums(3), "{n}");
        }
    }
}

#[test]
fn lost_in_float16() {
    let all: Vec<f32> = values(2100).into_iter().filter(|v| v.is_finite()).collect();
    for n in lengths().filter(|n| *n < 1000) {
        let v = &all[n % 5..][..n];
        let lost = |v: &&f32| (((v.abs() + 0.5) - 0.5) - v.abs()).abs() > 0.01 * v.abs();
        let want = v.iter().filter(lost).map(|v| v.abs().to_bits()).max().unwrap_or(0);
        assert_eq!(float16::largest_lost(v), want, "{n}");
    }
}

/// FNV-1a.
fn digest(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
    })
}

/// Whole tensors, coded and decoded, must give the same bytes on every machine.
/// What a survey and an emitter report with the largest magnitude, floats as their bits.
fn report(s: &Surveyed, l: Loss, largest: f32) -> String {
    let cut = s.cut.map_or("null".into(), |c| {
        format!(r#"{{"magnitude":{},"ties":{},"tied":{}}}"#, c.magnitude, c.ties, c.tied)
    });
    let (elements, zeros, non_finite) = (s.elements, s.zeros, s.non_finite);
    let (sum_sq, largest, lo, hi) = (s.sum_sq.to_bits(), largest.to_bits(), s.lo.to_bits(), s.hi.to_bits());
    let spoiled = serde_json::to_string(&s.spoiled).unwrap();
    let (error_sq, delta_sq, worst) = (l.error_sq.to_bits(), l.delta_sq.to_bits(), l.largest.to_bits());
    format!(
        r#"[{{"elements":{elements},"zeros":{zeros},"non_finite":{non_finite},"sum_sq":{sum_sq},"largest":{largest},"cut":{cut},"lo":{lo},"hi":{hi},"spoiled":{spoiled}}},{{"error_sq":{error_sq},"delta_sq":{delta_sq},"largest":{worst}}}]"#
    )
}

#[test]
fn the_same_bytes_everywhere() {
    let mut rng = Lcg(9);
    // A grid with ties between both signs, as in bfloat16 models, under a slow drift.
    let delta: Vec<f32> = (0..50_000)
        .map(|i| {
            ((rng.next() >> 20) as f32 - 2048.0) * (rng.next() >> 24) as f32 * 5.960_464_5e-8 + (i % 1000) as f32 * 1e-9
        })
        .collect();
    let mut sum = pairwise::MagnitudeSum::new(50_000);
    sum.feed(&delta);
    assert_eq!(sum.total().map(f32::to_bits), Some(SUM));
    let mut moments = Moments::default();
    moments.feed(&delta);
    for (strategy, want) in Strategy::ALL.into_iter().zip(DIGESTS) {
        let shape = [50, 1000];
        let kept = kept_int4(50_000, 0.02).unwrap();
        let mut survey = Survey::new(strategy, &shape, kept);
        survey.feed(&delta);
        while survey.end_pass() {
            survey.feed(&delta);
        }
        let surveyed = survey.finish();
        let mut out: [Vec<u8>; MAX_FIELDS] = Default::default();
        let mut emitter = Emitter::new(strategy, &shape, kept, &surveyed);
        emitter.feed(&delta, &mut out);
        emitter.finish(&mut out).unwrap();
        let mut counts = [0; MAX_FIELDS];
        for (f, field) in strategy.fields().iter().enumerate() {
            counts[f] = (out[f].len() / field.dtype.width()) as u64;
        }
        let mut decoded = vec![0.0; 50_000];
        let windows = std::array::from_fn(|f| &out[f][..]);
        let progress = Expander::new(strategy, 50_000, 1000, counts)
            .unwrap()
            .expand(&windows, &mut decoded)
            .unwrap();
        assert_eq!((progress.produced, progress.wants), (50_000, None));
        let report = report(&surveyed, emitter.loss(), moments.largest());
        let got = [
            digest(out.concat()),
            digest(decoded.iter().flat_map(|v| v.to_le_bytes())),
            digest(report.into_bytes()),
        ];
        assert_eq!(got, want, "{}: {got:#x?}", strategy.name());
    }
}

/// Made once on x86-64.
const SUM: u32 = 1_136_857_836;
const DIGESTS: [[u64; 3]; 3] = [
    [0x7dac_2b8a_ea3b_5f78, 0x6c2c_ac0b_3356_eb77, 0xfa4d_aa73_ade8_23c7],
    [0x5941_05d8_4da4_6aac, 0x44d2_0b22_c8f7_38d1, 0x2cf7_d43b_facd_ec16],
    [0xbe39_90dc_821d_9e54, 0xa142_e598_3523_8445, 0x7f64_a877_5b32_49f3],
];
