//! Survey, emitter and expander against a direct reading of `format::v1` over whole slices, however the tensor is cut.

mod naive;

use super::Strategy;
use super::*;
use crate::kernels::float16::f16_to_f32;
use proptest::prelude::*;
use proptest::strategy::Strategy as Generator;

type Arrays = [Vec<u8>; MAX_FIELDS];

/// Cuts `all` into pieces of the given lengths, over and over.
fn cut<'a>(mut all: &'a [f32], lengths: &[usize]) -> Vec<&'a [f32]> {
    let mut pieces = vec![];
    for &n in lengths.iter().chain([&1]).cycle() {
        if all.is_empty() {
            return pieces;
        }
        let (piece, rest) = all.split_at(n.min(all.len()));
        pieces.push(piece);
        all = rest;
    }
    pieces
}

fn survey(strategy: Strategy, shape: &[u64], kept: u64, delta: &[f32], lengths: &[usize]) -> Surveyed {
    let mut survey = Survey::new(strategy, shape, kept);
    for pass in 1.. {
        cut(delta, lengths).into_iter().for_each(|p| survey.feed(p));
        if !survey.end_pass() {
            assert!(pass <= 4);
            break;
        }
    }
    survey.finish()
}

fn emit(
    strategy: Strategy,
    shape: &[u64],
    kept: u64,
    surveyed: &Surveyed,
    delta: &[f32],
    lengths: &[usize],
) -> Result<(Arrays, Loss)> {
    let mut out = Arrays::default();
    let mut emitter = Emitter::new(strategy, shape, kept, surveyed);
    cut(delta, lengths).into_iter().for_each(|p| emitter.feed(p, &mut out));
    emitter.finish(&mut out)?;
    Ok((out, emitter.loss()))
}

fn expander(strategy: Strategy, n: usize, cols: u64, arrays: &Arrays) -> Result<Expander> {
    let widths = strategy.fields().iter().map(|f| f.dtype.width());
    let mut counts = [0; MAX_FIELDS];
    for (count, (array, width)) in counts.iter_mut().zip(arrays.iter().zip(widths)) {
        *count = (array.len() / width) as u64;
    }
    Expander::new(strategy, n as u64, cols, counts)
}

/// Decodes through windows and outputs of the given lengths, in elements.
fn expand(strategy: Strategy, n: usize, cols: u64, arrays: &Arrays, lengths: &[usize]) -> Result<Vec<f32>> {
    let mut expander = expander(strategy, n, cols, arrays)?;
    let mut out = vec![f32::NAN; n];
    let (mut at, mut done, mut wanted) = ([0; MAX_FIELDS], 0, [false; MAX_FIELDS]);
    let mut lengths = lengths.iter().copied().chain([1]).cycle();
    while done < n {
        let mut windows: [&[u8]; MAX_FIELDS] = [&[]; MAX_FIELDS];
        for (f, field) in strategy.fields().iter().enumerate() {
            let elements = lengths.next().unwrap_or(1).max(usize::from(wanted[f]));
            let end = at[f] + elements * field.dtype.width();
            windows[f] = &arrays[f][at[f]..end.min(arrays[f].len())];
        }
        let end = (done + lengths.next().unwrap_or(1).max(1)).min(n);
        let progress = expander.expand(&windows, &mut out[done..end])?;
        assert_eq!(progress.wants.is_some(), progress.produced < end - done);
        match progress.wants {
            // What has been given once stays given until it is used, so this ends.
            Some(f) => assert!(!std::mem::replace(&mut wanted[f], true) || progress.consumed[f] > 0),
            None => wanted = [false; MAX_FIELDS],
        }
        done += progress.produced;
        at.iter_mut().zip(progress.consumed).for_each(|(at, n)| *at += n);
    }
    if n > 0 {
        (0..MAX_FIELDS).for_each(|f| assert_eq!(at[f], arrays[f].len(), "all of field {f} is used"));
    }
    Ok(out)
}

fn bits(values: &[f32]) -> Vec<u32> {
    values
        .iter()
        .map(|v| if v.is_nan() { u32::MAX } else { v.to_bits() })
        .collect()
}

/// Deltas as they occur: a grid with many ties, ordinary numbers of some scale, and now and then anything at all.
fn deltas(most: usize) -> impl Generator<Value = Vec<f32>> {
    let grid = (-4i8..=4).prop_map(|g| f32::from(g) * 2f32.powi(-10));
    let ordinary = (-1.0f32..1.0, 0u8..3).prop_map(|(v, s)| v * [1.0, 1e-3, 1e-6][usize::from(s)]);
    let special = prop_oneof![
        Just(f32::NAN),
        Just(f32::INFINITY),
        Just(f32::NEG_INFINITY),
        Just(0.0),
        Just(-0.0),
        any::<f32>(),
    ];
    let calm = prop_oneof![grid.clone(), ordinary.clone()];
    let wild = prop_oneof![8 => grid, 8 => ordinary, 1 => special];
    // Short tensors meet the corners of ties, long ones the borders of blocks.
    prop_oneof![
        prop::collection::vec(calm.clone(), 0..24),
        prop::collection::vec(calm, 0..most),
        prop::collection::vec(wild.clone(), 0..24),
        prop::collection::vec(wild, 0..most),
    ]
}

fn any_strategy() -> impl Generator<Value = Strategy> {
    prop::sample::select(Strategy::ALL.to_vec())
}

fn lengths() -> impl Generator<Value = Vec<usize>> {
    prop_oneof![
        prop::collection::vec(0usize..20, 1..8),
        prop::collection::vec(0usize..3000, 1..8),
    ]
}

/// Shapes of a vector of `n` values: one or two dimensions.
fn shape_of(n: usize, cols: usize) -> Vec<u64> {
    match cols {
        0 => vec![n as u64],
        c => vec![(n / c) as u64, c as u64],
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 500, ..ProptestConfig::default() })]

    #[test]
    fn encodes_and_decodes_as_the_format_says_however_it_is_cut(
        strategy in any_strategy(),
        mut delta in deltas(6000),
        cols in prop_oneof![2 => Just(0usize), 2 => 1usize..20, 1 => 100usize..3000],
        share in 0.0f64..1.0,
        a in lengths(),
        b in lengths(),
    ) {
        delta.truncate(delta.len() - delta.len() % cols.max(1));
        let n = delta.len();
        let shape = shape_of(n, cols);
        let kept = kept_int4(n as u64, share * share).unwrap();
        let found = survey(strategy, &shape, kept, &delta, &a);
        // As texts, in which NaN equals NaN.
        let again = survey(strategy, &shape, kept, &delta, &b);
        prop_assert_eq!(format!("{found:?}"), format!("{again:?}"));

        let (arrays, loss) = emit(strategy, &shape, kept, &found, &delta, &b).unwrap();
        let want = naive::encode(strategy, &shape, kept.min(n as u64) as usize, &delta);
        prop_assert_eq!(&arrays, &want);
        let counts = array_elements(strategy, &shape, kept);
        for (f, field) in strategy.fields().iter().enumerate() {
            if n > 0 {
                prop_assert_eq!(arrays[f].len() as u64, counts[f] * field.dtype.width() as u64);
            }
        }

        let decoded = expand(strategy, n, rows_cols(&shape).1, &arrays, &a).unwrap();
        prop_assert_eq!(bits(&decoded), bits(&naive::decode(strategy, n, rows_cols(&shape).1 as usize, &arrays)));

        let error = |(v, d): (&f32, &f32)| match (f64::from(*d) - f64::from(*v)).abs() {
            _ if v == d || (v.is_nan() && d.is_nan()) || (strategy == Strategy::Quantized && !v.is_finite()) => 0.0,
            e if v.is_finite() && d.is_finite() => e,
            _ => f64::INFINITY,
        };
        let errors: Vec<f64> = delta.iter().zip(&decoded).map(error).collect();
        let largest = errors.iter().copied().fold(0.0, f64::max);
        let error_sq: f64 = errors.iter().map(|e| e * e).sum();
        prop_assert_eq!(loss.largest, largest);
        prop_assert!(loss.error_sq == error_sq || (loss.error_sq - error_sq).abs() <= 1e-9 * (error_sq + loss.delta_sq));
    }

    #[test]
    fn what_is_not_spoiled_comes_back_close(delta in deltas(2000), scale in -12i32..6, share in 0.0f64..0.1) {
        let delta: Vec<f32> = delta.iter().map(|v| v * 10f32.powi(scale)).collect();
        let shape = [delta.len() as u64];
        let kept = kept_int4(shape[0], share).unwrap();
        let found = survey(Strategy::Int4, &shape, kept, &delta, &[2000]);
        if found.spoiled.is_none() {
            let (_, loss) = emit(Strategy::Int4, &shape, kept, &found, &delta, &[2000]).unwrap();
            let step = (f64::from(found.hi) - f64::from(found.lo)) / 15.0;
            // Half a step of rounding, half a step of zero point, fifteen steps off by 2 %; one level off by 1/512;
            // outliers by 1 %.
            let bound = (1.31 * step).max(f64::from(found.lo.abs().max(found.hi.abs())) / 256.0);
            let largest = delta.iter().filter(|v| v.is_finite()).fold(0f32, |most, v| most.max(v.abs()));
            prop_assert!(loss.largest <= bound.max(0.0101 * f64::from(largest)), "{loss:?} {found:?}");
        }
        let found = survey(Strategy::Quantized, &shape, 0, &delta, &[2000]);
        if found.spoiled.is_none() {
            let (_, loss) = emit(Strategy::Quantized, &shape, 0, &found, &delta, &[2000]).unwrap();
            // With the exact mean the error would not exceed the delta.
            prop_assert!(loss.error_sq <= 1.001 * loss.delta_sq, "{loss:?} {found:?}");
        }
    }

    #[test]
    fn every_nonzero_delta_can_be_kept(delta in deltas(3000), strategy in any_strategy(), a in lengths()) {
        let shape = [delta.len() as u64];
        let mut found = survey(strategy, &shape, 1, &delta, &[500]);
        found.cut = Some(Cut::nonzero());
        let (arrays, loss) = emit(Strategy::Sparse, &shape, found.nonzero(), &found, &delta, &a).unwrap();
        let decoded = expand(Strategy::Sparse, delta.len(), 0, &arrays, &a).unwrap();
        let same = |(v, d): (&f32, &f32)| v.to_bits() == d.to_bits() || *v == 0.0 && d.to_bits() == 0;
        prop_assert!(delta.iter().zip(&decoded).all(same));
        prop_assert_eq!((loss.error_sq, loss.largest), (0.0, 0.0));
    }

    #[test]
    fn hostile_arrays_are_refused_or_decoded_but_never_panic(
        strategy in any_strategy(),
        n in 0usize..300,
        cols in 0u64..40,
        counts in prop::array::uniform5(0u64..300),
        fitting in any::<bool>(),
        indices in prop::collection::vec(prop_oneof![0i64..300, -5i64..5, any::<i64>()], 0..40),
        sorted in any::<bool>(),
        noise in prop::collection::vec(any::<u8>(), 0..2000),
        room in 1usize..400,
    ) {
        let mut indices = indices;
        if sorted {
            indices.sort_unstable();
            indices.dedup();
        }
        let k = indices.len() as u64;
        let counts = match strategy {
            _ if !fitting => counts,
            Strategy::Quantized => array_elements(strategy, &[n as u64 / cols.max(1), cols], 0),
            _ => array_elements(strategy, &[n as u64], k),
        };
        let n = if strategy == Strategy::Quantized && fitting { n / cols.max(1) as usize * cols as usize } else { n };
        let indices: Vec<u8> = indices.iter().flat_map(|i| i.to_le_bytes()).collect();
        if let Ok(mut expander) = Expander::new(strategy, n as u64, cols, counts) {
            let mut out = vec![0.0; room];
            let mut total = 0;
            for round in 0..50 {
                let first: &[u8] = if strategy == Strategy::Quantized { &noise } else { &indices };
                let windows = std::array::from_fn(|f| if f == 0 { first } else { &noise[round.min(noise.len())..] });
                match expander.expand(&windows, &mut out) {
                    Ok(progress) => total += progress.produced,
                    Err(e) => {
                        prop_assert_eq!(e.code, Code::Malformed);
                        break;
                    }
                }
            }
            prop_assert!(total <= n);
        }
    }
}

#[test]
fn counts_as_the_reference_counts() {
    assert_eq!(kept_sparse(1000, 0.9), 99);
    assert_eq!(kept_sparse(1000, 0.0), 1000);
    assert_eq!(kept_sparse(0, 0.9), 1);
    assert_eq!(kept_int4(100, 0.29).unwrap(), 28);
    assert_eq!(kept_int4(100, 0.0).unwrap(), 1);
    for wrong in [-0.1, 1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(kept_int4(100, wrong).unwrap_err().code, Code::Usage);
    }
    assert_eq!(array_elements(Strategy::Sparse, &[0, 5], 1), [0; 5]);
    assert_eq!(array_elements(Strategy::Int4, &[3, 3], 2), [2, 2, 1, 1, 4]);
    assert_eq!(array_elements(Strategy::Quantized, &[3, 3], 0), [3, 2, 0, 0, 0]);
    assert_eq!(rows_cols(&[]), (1, 1));
    assert_eq!(rows_cols(&[7]), (1, 7));
    assert_eq!(rows_cols(&[2, 3, 4]), (2, 12));
    assert_eq!(rows_cols(&[5, 0]), (5, 0));
    assert_eq!(rows_cols(&[0, u64::MAX, 2]), (0, u64::MAX));
}

#[test]
fn names_round_trip() {
    for strategy in Strategy::ALL {
        assert_eq!(Strategy::parse(strategy.name()).unwrap(), strategy);
        assert!(strategy.fields().len() <= MAX_FIELDS);
    }
    assert_eq!(Strategy::parse("INT4").unwrap_err().code, Code::Usage);
}

/// Why int4 would spoil `delta` with one outlier.
fn spoiled(delta: &[f32]) -> Option<String> {
    survey(Strategy::Int4, &[delta.len() as u64], 1, delta, &[3]).spoiled
}

#[test]
fn int4_reports_what_float16_would_spoil() {
    let ramp = |lo: f32, hi: f32| -> Vec<f32> { (0..100).map(|i| lo + (hi - lo) * i as f32 / 99.0).collect() };
    let has = |delta: &[f32], text: &str| {
        let found = spoiled(delta).unwrap_or_default();
        assert!(found.contains(text), "{found:?} lacks {text:?}");
    };
    assert_eq!(spoiled(&ramp(-1e-3, 1e-3)), None);
    assert_eq!(spoiled(&[0.0; 50]), None);
    assert_eq!(spoiled(&[0.25; 50]), None);
    has(&ramp(0.0, 4e-7), "step");
    has(&ramp(0.0, 1e6), "step");
    has(&ramp(1.0003, 1.0004), "smallest value");
    has(&[1e-8; 50], "no equal in float16");
    has(&[70_000.0; 50], "no equal in float16");
    has(&[1.0], "none is left");
    has(&[], "none is left");
    let mut wild = ramp(-1.0, 1.0);
    wild[3] = f32::NAN;
    assert_eq!(spoiled(&wild), None);
    wild[5] = f32::NAN;
    has(&wild, "NaN or infinite");
    wild[5] = f32::INFINITY;
    has(&wild, "NaN or infinite");
    let mut far = ramp(-1.0, 1.0);
    far[3] = -65_520.0;
    has(&far, "infinite as float16");
    let mut quiet = vec![0.0; 50];
    quiet[7] = 1e-7;
    has(&quiet, "outliers");
}

#[test]
fn quantized_reports_what_float16_would_spoil() {
    let spoiled = |shape: &[u64], delta: &[f32]| survey(Strategy::Quantized, shape, 0, delta, &[7]).spoiled;
    assert_eq!(spoiled(&[4, 25], &[1e-3; 100]), None);
    assert_eq!(spoiled(&[4, 25], &[0.0; 100]), None);
    assert!(spoiled(&[0], &[]).is_some_and(|s| s.contains("empty")));
    assert!(spoiled(&[4, 25], &[1e-8; 100]).is_some_and(|s| s.contains("too small")));
    assert!(spoiled(&[4, 25], &[7e4; 100]).is_some_and(|s| s.contains("4 of its rows")));
    let mut one = [1e-3; 100];
    one[30] = f32::NAN;
    assert!(spoiled(&[4, 25], &one).is_some_and(|s| s.contains("1 of its rows")));
    // One lost row among loud ones does not matter.
    let mut faint = [1e-1; 100];
    faint[..25].fill(1e-8);
    assert_eq!(spoiled(&[4, 25], &faint), None);
}

#[test]
fn a_tensor_that_changes_between_the_passes_is_noticed() {
    let delta: Vec<f32> = (0..500).map(|i| i as f32).collect();
    for strategy in Strategy::ALL {
        let found = survey(strategy, &[500], 50, &delta, &[100]);
        let changed = |delta: &[f32]| emit(strategy, &[500], 50, &found, delta, &[100]).err().map(|e| e.code);
        assert_eq!(changed(&delta), None);
        assert_eq!(changed(&delta[1..]), Some(Code::SourceChanged));
        if strategy != Strategy::Quantized {
            assert_eq!(changed(&[1000.0; 500]), Some(Code::SourceChanged));
        }
    }
}

#[test]
fn long_tensors_are_encoded_as_the_format_says() {
    let n = 200_000;
    let noise = |i: usize| ((i as u32).wrapping_mul(2_654_435_769) >> 8) as f32 / 8_388_608.0 - 1.0;
    let smooth: Vec<f32> = (0..n).map(noise).collect();
    let grid = smooth.iter().map(|v| (v * 6.0).trunc() / 64.0).collect();
    let falling = (0..n).map(|i| noise(i) * (n - i) as f32 / n as f32).collect();
    for delta in [smooth, grid, falling] {
        for (strategy, kept) in [
            (Strategy::Sparse, 20_000),
            (Strategy::Int4, 2_000),
            (Strategy::Int4, 40_000),
        ] {
            let shape = [n as u64];
            let found = survey(strategy, &shape, kept, &delta, &[8192]);
            let (arrays, _) = emit(strategy, &shape, kept, &found, &delta, &[5000]).unwrap();
            assert_eq!(
                arrays,
                naive::encode(strategy, &shape, kept as usize, &delta),
                "{strategy:?} {kept}"
            );
        }
    }
}

#[test]
fn wrong_counts_and_indices_are_malformed() {
    let refused = |strategy, n, cols, counts| Expander::new(strategy, n, cols, counts).unwrap_err().code;
    assert_eq!(refused(Strategy::Sparse, 10, 0, [2, 3, 0, 0, 0]), Code::Malformed);
    assert_eq!(refused(Strategy::Sparse, 10, 0, [11, 11, 0, 0, 0]), Code::Malformed);
    assert_eq!(refused(Strategy::Int4, 10, 0, [11, 11, 1, 1, 0]), Code::Malformed);
    assert_eq!(refused(Strategy::Int4, 10, 0, [1, 1, 1, 1, 4]), Code::Malformed);
    assert_eq!(refused(Strategy::Int4, 10, 0, [1, 1, 0, 1, 5]), Code::Malformed);
    assert_eq!(refused(Strategy::Quantized, 10, 3, [3, 2, 0, 0, 0]), Code::Malformed);
    assert_eq!(refused(Strategy::Quantized, 10, 0, [1, 2, 0, 0, 0]), Code::Malformed);
    assert_eq!(refused(Strategy::Quantized, 10, 5, [3, 2, 0, 0, 0]), Code::Malformed);
    assert_eq!(refused(Strategy::Quantized, 10, 5, [2, 3, 0, 0, 0]), Code::Malformed);
    assert!(Expander::new(Strategy::Quantized, 0, 0, [5, 0, 0, 0, 0]).is_ok());

    let message = |indices: &[i64]| {
        let arrays: Arrays = [
            indices.iter().flat_map(|i| i.to_le_bytes()).collect(),
            vec![0; 4 * indices.len()],
            vec![],
            vec![],
            vec![],
        ];
        expand(Strategy::Sparse, 10, 0, &arrays, &[100])
            .unwrap_err()
            .message
            .clone()
    };
    assert!(message(&[3, 3]).contains("3 follows 3"));
    assert!(message(&[3, 2]).contains("2 follows 3"));
    assert!(message(&[-1, 2]).contains("holds -1, outside"));
    assert!(message(&[3, 10]).contains("holds 10, outside"));
    assert!(message(&[9, 10]).contains("1 more to come"));
}

#[test]
fn rows_without_columns_have_a_scale_of_nan() {
    let found = survey(Strategy::Quantized, &[5, 0], 0, &[], &[1]);
    let (arrays, _) = emit(Strategy::Quantized, &[5, 0], 0, &found, &[], &[1]).unwrap();
    assert_eq!((arrays[0].len(), arrays[1].len()), (10, 0));
    assert!(arrays[0]
        .chunks(2)
        .all(|b| f16_to_f32(u16::from_le_bytes([b[0], b[1]])).is_nan()));
    let found = survey(Strategy::Quantized, &[1 << 40, 0], 0, &[], &[1]);
    let refused = emit(Strategy::Quantized, &[1 << 40, 0], 0, &found, &[], &[1]).unwrap_err();
    assert_eq!(refused.code, Code::Limit);
}
