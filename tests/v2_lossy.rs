//! Lossy deltas through the jobs: what is lost is what was asked for, and said; everything else is exact.
#![cfg(not(target_arch = "wasm32"))]

mod common;

use common::pairs::{decode, encode_with, one, pt_safetensors, variety, Files};
use common::random::{normal, random_bytes};
use common::tables::{flat_set, sealed};
use common::Memory;
use serde_json::Value;
use std::path::Path;
use wdelta::dtype::Dtype;
use wdelta::error::Code;
use wdelta::format::v2::index::{Dithered, Lost};
use wdelta::format::v2::{BaseRef, Index, Op, TensorRecord};
use wdelta::job::machine::Role;
use wdelta::kernels::convert;
use wdelta::kernels::v2::dither::Dither;
use wdelta::kernels::v2::element::Layout;
use wdelta::kernels::v2::tables::DecodeTables;
use wdelta::strategy::lossless::block::{self, Target};
use wdelta::strategy::lossless::model::{TableSet, Window};

fn data(name: &str) -> Files {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/stories260k-full");
    one(std::fs::read(folder.join(name)).unwrap())
}

fn lossy(quality: u32) -> String {
    format!(r#"{{"strategy":"lossy","quality":{quality},"effort":1}}"#)
}

fn values(dtype: &str, bytes: &[u8]) -> Vec<f32> {
    let dtype = Dtype::parse(dtype).unwrap();
    let mut out = vec![0.0; bytes.len() / dtype.bytes().unwrap()];
    convert::to_f32(dtype, bytes, &mut out);
    out
}

fn bytes(dtype: &str, values: &[f32]) -> Vec<u8> {
    let dtype = Dtype::parse(dtype).unwrap();
    let mut out = vec![0; values.len() * dtype.bytes().unwrap()];
    convert::from_f32(dtype, values, &mut out);
    out
}

/// The bytes of a tensor in a file of one shard.
fn tensor<'a>(file: &'a Files, name: &str) -> &'a [u8] {
    let file = &file[0].1;
    let n = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&file[8..8 + n]).unwrap();
    let at = |i: usize| header[name]["data_offsets"][i].as_u64().unwrap() as usize;
    &file[8 + n + at(0)..8 + n + at(1)]
}

/// A base and its fine-tune: `rows` of `columns`, changed by noise of this scale.
fn made(dtype: &str, rows: usize, columns: usize, change: f32) -> (Vec<u8>, Vec<u8>) {
    let base = bytes(dtype, &normal(rows * columns, 0.05, 3));
    let moved: Vec<f32> = values(dtype, &base)
        .iter()
        .zip(normal(rows * columns, change, 7))
        .map(|(b, d)| b + d)
        .collect();
    (base, bytes(dtype, &moved))
}

fn of<'a>(report: &'a Value, name: &str) -> &'a Value {
    let tensors = report["tensors"].as_array().unwrap();
    tensors.iter().find(|t| t["name"] == name).unwrap()
}

#[test]
fn what_is_lost_of_huge_weights_is_a_number() {
    let [base, moved] = [1, 2].map(|seed| normal(8192, 5e18, seed));
    let fine: Vec<f32> = base.iter().zip(&moved).map(|(b, d)| b + d).collect();
    let [base, fine] = [base, fine].map(|v| one(pt_safetensors(&[("w", "F32", &[64, 128], &bytes("F32", &v))])));
    let (delta, _) = encode_with(&base, &fine, &lossy(40), false);
    let report = Memory::new()
        .with(Role::Delta, 0, "d.wdelta", delta)
        .run("inspect", "{}");
    let report = report.unwrap();
    for loss in [&report["loss"], &of(&report, "w")["loss"]] {
        assert!(loss["product"].is_number(), "{loss}");
    }
}

#[test]
fn quality_100_writes_what_lossless_writes() {
    let (base, fine) = variety();
    let (delta, _) = encode_with(&base, &fine, r#"{"strategy":"lossless"}"#, false);
    let options = r#"{"strategy":"lossy","quality":100}"#;
    assert!(encode_with(&base, &fine, options, false).0 == delta);
}

#[test]
fn sizes_fall_with_quality_and_errors_rise() {
    let (base, fine) = (data("base.safetensors"), data("ft-sft.safetensors"));
    let mut before = encode_with(&base, &fine, r#"{"strategy":"lossless","effort":1}"#, false)
        .0
        .len();
    let mut error = 0.0;
    for quality in (1..=99).rev().step_by(7) {
        let (delta, report) = encode_with(&base, &fine, &lossy(quality), false);
        assert!(
            delta.len() <= before,
            "quality {quality}: {} after {before}",
            delta.len()
        );
        before = delta.len();
        let now = report["relativeError"].as_f64().unwrap();
        assert!(
            now > error || (now, error) == (0.0, 0.0),
            "quality {quality}: {now} after {error}"
        );
        error = now;
    }
    assert!(error > 1.0);
}

#[test]
fn a_ratio_is_kept_within_a_tenth() {
    let (base, fine) = (data("base.safetensors"), data("ft-sft.safetensors"));
    for (ratio, effort) in [(4.5, 2), (8.0, 1), (16.0, 2), (16.0, 0), (20.0, 2)] {
        let options = format!(r#"{{"strategy":"lossy","ratio":{ratio},"effort":{effort}}}"#);
        let (delta, report) = encode_with(&base, &fine, &options, false);
        let got = fine[0].1.len() as f64 / delta.len() as f64;
        assert!(
            got > ratio * 0.9 && got < ratio * 1.15,
            "{ratio}, effort {effort}: {got}"
        );
        assert_eq!(report["findings"], serde_json::json!([]));
    }
    // What lossless reaches costs nothing.
    let options = r#"{"strategy":"lossy","ratio":2}"#;
    let (delta, report) = encode_with(&base, &fine, options, false);
    assert_eq!(report["relativeError"], 0.0);
    assert!(decode(&base, &delta, "{}", false).unwrap() == fine);
}

/// An adapter that predictions find again: with them the file keeps within the ratio as it is, without any loss.
#[test]
fn a_ratio_that_predictions_reach_costs_nothing() {
    let n = 512;
    let (u, v, w) = (normal(n, 1.0, 21), normal(n, 0.05, 22), normal(n * n, 0.1, 23));
    let merged: Vec<f32> = (0..n * n).map(|i| w[i] + u[i / n] * v[i % n]).collect();
    let model = |values: &[f32]| {
        let bytes = bytes("BF16", values);
        one(pt_safetensors(&[("w", "BF16", &[n as u64, n as u64], &bytes)]))
    };
    let (base, fine) = (model(&w), model(&merged));
    let (exact, _) = encode_with(&base, &fine, "{}", false);
    let reached = fine[0].1.len() as f64 / exact.len() as f64;
    assert!(reached > 6.0, "{reached}");
    let options = format!(r#"{{"strategy":"lossy","ratio":{}}}"#, reached - 2.0);
    let (delta, report) = encode_with(&base, &fine, &options, false);
    assert_eq!(report["relativeError"], 0.0);
    assert!(decode(&base, &delta, "{}", false).unwrap() == fine);
}

/// Scales of quantised weights are multiplied with many of them: whatever is asked for, they are exact.
#[test]
fn scales_of_quantised_weights_are_exact() {
    let moved = |n: usize, seed: u64| {
        let scales = normal(n, 0.01, seed);
        let other: Vec<f32> = scales
            .iter()
            .zip(normal(n, 1e-3, seed + 1))
            .map(|(s, d)| s + d)
            .collect();
        (bytes("F32", &scales), bytes("F32", &other))
    };
    let (codes, other) = (random_bytes(64 * 1024, 3), random_bytes(64 * 1024, 4));
    let (scale, blocks, absmax, table) = (moved(64, 11), moved(64 * 8, 13), moved(1024, 15), moved(64 * 1024, 17));
    let model = |fine: bool| {
        let pick = |pair: &(Vec<u8>, Vec<u8>)| if fine { pair.1.clone() } else { pair.0.clone() };
        let codes = if fine { &other } else { &codes };
        let (scale, blocks, absmax, table) = (pick(&scale), pick(&blocks), pick(&absmax), pick(&table));
        one(pt_safetensors(&[
            ("a.weight", "F8_E4M3", &[64, 1024], codes),
            ("a.weight_scale", "F32", &[64, 1], &scale),
            ("b.qweight", "I32", &[16, 1024], codes),
            ("b.scales", "F32", &[64, 8], &blocks),
            ("c.weight", "U8", &[64, 1024], codes),
            ("c.weight.absmax", "F32", &[1024], &absmax),
            ("head.weight", "F32", &[64, 1024], &table),
        ]))
    };
    let (base, fine) = (model(false), model(true));
    for options in [
        r#"{"strategy":"lossy","quality":20}"#,
        r#"{"strategy":"lossy","ratio":1.4}"#,
    ] {
        let (delta, report) = encode_with(&base, &fine, options, false);
        let rebuilt = decode(&base, &delta, "{}", false).unwrap();
        for name in [
            "a.weight",
            "a.weight_scale",
            "b.qweight",
            "b.scales",
            "c.weight",
            "c.weight.absmax",
        ] {
            assert!(tensor(&rebuilt, name) == tensor(&fine, name), "{options} {name}");
        }
        assert!(
            of(&report, "head.weight")["relativeError"].as_f64().unwrap() > 0.0,
            "{options}"
        );
    }
}

#[test]
fn what_counts_for_more_has_finer_steps() {
    let model = |by: f32| {
        let moved = |n: usize, seed: u64, change: f32| -> Vec<u8> {
            let (of, moves) = (normal(n, 0.1, seed), normal(n, change * by, seed + 1));
            bytes("BF16", &of.iter().zip(moves).map(|(w, d)| w + d).collect::<Vec<_>>())
        };
        one(pt_safetensors(&[
            ("mlp.weight", "BF16", &[512, 256], &moved(512 * 256, 1, 0.01)),
            ("v_proj.weight", "BF16", &[64, 256], &moved(64 * 256, 3, 0.02)),
            ("wpe.weight", "BF16", &[64, 256], &moved(64 * 256, 5, 0.01)),
        ]))
    };
    let (base, fine) = (model(0.0), model(1.0));
    for options in [&lossy(45), r#"{"strategy":"lossy","ratio":12,"effort":1}"#] {
        let delta = encode_with(&base, &fine, options, false).0;
        let mut host = Memory::new().with(Role::Delta, 0, "delta.wdelta", delta);
        let report = host.run("inspect", "{}").unwrap();
        let step = |name| of(&report, name)["loss"]["step"].as_f64().unwrap();
        let (matrix, value, positions) = (step("mlp.weight"), step("v_proj.weight"), step("wpe.weight"));
        // An eighth of the weights and twice the change: 32 times, 5 octaves. An eighth of them and a table: 480 times. The mean
        // is 1.4 octaves above the matrix, and a third of what is beyond it counts: 2.3 and 5.6 times.
        assert!((2.0..2.6).contains(&(matrix / value)), "{matrix} and {value}");
        assert!((5.0..6.3).contains(&(matrix / positions)), "{matrix} and {positions}");
    }
}

#[test]
fn no_tensor_is_larger_than_without_loss() {
    let mut cases = Vec::new();
    for dtype in ["BF16", "F16", "F32"] {
        for change in [1e-6, 1e-4, 1e-2, 10.0] {
            for (rows, columns) in [(1, 64), (40, 64), (30, 379)] {
                let (base, fine) = made(dtype, rows, columns, change);
                cases.push((dtype, rows, columns, base, fine));
            }
        }
    }
    // A few changes of one step, and many of the same size.
    for every in [1, 50] {
        let (base, _) = made("BF16", 100, 100, 0.0);
        let mut fine = base.clone();
        fine.iter_mut().step_by(2 * every).for_each(|b| *b ^= 1);
        cases.push(("BF16", 100, 100, base, fine));
    }
    for (dtype, rows, columns, base, fine) in cases {
        let shape = [rows as u64, columns as u64];
        let file = |data: &[u8]| one(pt_safetensors(&[("w", dtype, &shape, data)]));
        let (base, fine) = (file(&base), file(&fine));
        let exact = encode_with(&base, &fine, r#"{"strategy":"lossless"}"#, false).0;
        for quality in [1, 30, 50, 75, 99] {
            let options = format!(r#"{{"strategy":"lossy","quality":{quality}}}"#);
            let (delta, _) = encode_with(&base, &fine, &options, false);
            assert!(
                delta.len() <= exact.len(),
                "{dtype} {shape:?} quality {quality}: {} over {}",
                delta.len(),
                exact.len()
            );
            decode(&base, &delta, "{}", false).unwrap();
        }
    }
}

#[test]
fn the_error_is_what_is_said_and_knows_nothing_of_the_change() {
    for dtype in ["BF16", "F16", "F32"] {
        let (base, fine) = made(dtype, 200, 300, 4e-3);
        let file = |data: &[u8]| one(pt_safetensors(&[("w", dtype, &[200, 300], data)]));
        let (base, fine) = (file(&base), file(&fine));
        for quality in [30, 50, 60] {
            let (delta, report) = encode_with(&base, &fine, &lossy(quality), false);
            assert_eq!(of(&report, "w")["strategy"], "dithered");
            let back = decode(&base, &delta, "{}", false).unwrap();
            let [b, f, r] = [&base, &fine, &back].map(|file| values(dtype, tensor(file, "w")));
            let (mut product, mut errors, mut changes, mut mean, mut largest) = (0f64, 0f64, 0f64, 0f64, 0f64);
            for i in 0..b.len() {
                let (d, e) = ((f[i] - b[i]) as f64, r[i] as f64 - f[i] as f64);
                product += d * e;
                errors += e * e;
                changes += d * d;
                mean += e;
                largest = largest.max(e.abs());
            }
            let n = b.len() as f64;
            let rms = (errors / n).sqrt();
            // Five standard deviations of what chance gives.
            assert!(
                (mean / n).abs() < 5.0 * rms / n.sqrt(),
                "{dtype} {quality}: mean {}",
                mean / n
            );
            let correlation = product / (errors * changes).sqrt();
            assert!(correlation.abs() < 5.0 / n.sqrt(), "{dtype} {quality}: {correlation}");
            let said = of(&report, "w");
            let near =
                |a: f64, b: f64, part: f64| assert!((a - b).abs() <= part * b.abs(), "{dtype} {quality}: {a} {b}");
            near(said["relativeError"].as_f64().unwrap(), (errors / changes).sqrt(), 1e-3);
            near(said["largestError"].as_f64().unwrap(), largest, 1e-6);
            let mut host = Memory::new().with(Role::Delta, 0, "d.wdelta", delta);
            let inspected = host.run("inspect", "{}").unwrap();
            assert_eq!(
                (&inspected["strategy"], &inspected["lossless"]),
                (&"lossy".into(), &false.into())
            );
            let loss = &of(&inspected, "w")["loss"];
            near(loss["error"].as_f64().unwrap(), errors.sqrt(), 0.01);
            near(loss["change"].as_f64().unwrap(), changes.sqrt(), 0.01);
            near(loss["largestError"].as_f64().unwrap(), largest, 0.01);
            let step = 2f64.powf((62 - quality as i32) as f64 / 8.0);
            near(loss["step"].as_f64().unwrap(), step, 1e-6);
            // A uniform error within half a step of about the mean change, apart from rounding of both.
            let mean_change = b.iter().zip(&f).map(|(b, f)| (f - b).abs() as f64).sum::<f64>() / n;
            near(rms, step * mean_change / 12f64.sqrt(), 0.3);
            assert_eq!(host.run("verify", "{}").unwrap()["deltas"][0]["lossless"], false);
        }
    }
}

#[test]
fn what_has_no_step_is_exact() {
    let (base, mut fine) = made("BF16", 64, 100, 4e-3);
    // Rows that do not change, numbers that are none.
    fine[200 * 10..200 * 20].copy_from_slice(&base[200 * 10..200 * 20]);
    let mut odd_base = base.clone();
    for (at, bits) in [(4_001, 0x7f80u16), (4_303, 0xff80), (4_505, 0x7fc1), (4_099, 0x7f7f)] {
        fine[2 * at - 2..2 * at].copy_from_slice(&bits.to_le_bytes());
        odd_base[2 * at - 8..2 * at - 6].copy_from_slice(&bits.to_le_bytes());
    }
    let whole: Vec<u8> = normal(64 * 64, 100.0, 5).iter().map(|v| *v as u8).collect();
    let nudged: Vec<u8> = whole.iter().map(|b| b.wrapping_add(b & 1)).collect();
    let file = |w: &[u8], b: &[u8]| {
        one(pt_safetensors(&[
            ("w", "BF16", &[64, 100], w),
            ("ids", "I32", &[16, 64], b),
            ("f8", "F8_E4M3", &[64, 64], b),
            ("flags", "U8", &[64, 64], b),
            ("double", "F64", &[8, 64], b),
        ]))
    };
    let (base, fine) = (file(&odd_base, &whole), file(&fine, &nudged));
    let (delta, report) = encode_with(&base, &fine, &lossy(40), false);
    assert_eq!(of(&report, "w")["strategy"], "dithered");
    let back = decode(&base, &delta, "{}", false).unwrap();
    for name in ["ids", "f8", "flags", "double"] {
        assert!(tensor(&back, name) == tensor(&fine, name), "{name}");
        assert_eq!(of(&report, name)["largestError"], 0.0, "{name}");
    }
    let (w, f, b) = (tensor(&back, "w"), tensor(&fine, "w"), tensor(&base, "w"));
    assert!(w[200 * 10..200 * 20] == f[200 * 10..200 * 20]);
    let mut lossy_ones = 0;
    for i in 0..64 * 100 {
        let word = |x: &[u8]| u16::from_le_bytes([x[2 * i], x[2 * i + 1]]);
        let special = |x: u16| x & 0x7f80 == 0x7f80;
        if special(word(f)) || special(word(b)) {
            assert_eq!(word(w), word(f), "weight {i}");
        } else {
            assert!(!special(word(w)), "weight {i}");
            lossy_ones += (word(w) != word(f)) as u32;
        }
    }
    assert!(lossy_ones > 1000, "{lossy_ones}");
}

/// What was pruned stays so, at the price of knowing which weights those are: about a bit for each weight where it is half
/// of them. The sign of a zero is that of the weight that was there, as a product with a mask leaves it.
#[test]
fn pruned_weights_are_cheap_and_stay_zero() {
    for (dtype, change) in [("BF16", 1e-3), ("F16", 2e-4), ("F32", 2e-4)] {
        let (base, fine) = made(dtype, 96, 160, change);
        let mut masked = values(dtype, &fine);
        let pruned = |i: usize| (i as u32).wrapping_mul(0x9e37_79b9) >> 31 == 1;
        for (_, w) in masked.iter_mut().enumerate().filter(|(i, _)| pruned(*i)) {
            *w *= 0.0;
        }
        let n = masked.len();
        let zeros = masked.iter().filter(|w| w.to_bits() << 1 == 0).count();
        assert!(
            zeros > n / 3 && masked.iter().any(|w| w.to_bits() == 1 << 31),
            "{zeros} of {n}"
        );
        let masked = bytes(dtype, &masked);
        let file = |w: &[u8]| one(pt_safetensors(&[("w", dtype, &[96, 160], w)]));
        let (whole, _) = encode_with(&file(&base), &file(&fine), r#"{"strategy":"lossless"}"#, false);
        let (delta, _) = encode_with(&file(&base), &file(&masked), r#"{"strategy":"lossless"}"#, false);
        assert!(
            decode(&file(&base), &delta, "{}", false).unwrap() == file(&masked),
            "{dtype}"
        );
        let bits = |delta: &[u8]| 8.0 * delta.len() as f64 / n as f64;
        assert!(
            bits(&delta) < 0.6 * bits(&whole) + 1.9,
            "{dtype}: {} of {}",
            bits(&delta),
            bits(&whole)
        );
        let (delta, report) = encode_with(&file(&base), &file(&masked), &lossy(40), false);
        assert_eq!(of(&report, "w")["strategy"], "dithered", "{dtype}");
        let back = decode(&file(&base), &delta, "{}", false).unwrap();
        let width = masked.len() / n;
        let words = |w: &[u8]| w.chunks_exact(width).map(<[u8]>::to_vec).collect::<Vec<_>>();
        let pairs = words(tensor(&back, "w")).into_iter().zip(words(&masked)).enumerate();
        let mut lost = 0;
        for (i, (back, masked)) in pairs {
            assert!(!pruned(i) || back == masked, "{dtype}: weight {i}");
            lost += (back != masked) as usize;
        }
        assert!(lost > n / 4, "{dtype}: {lost}");
    }
}

#[test]
fn steps_below_the_types_own_lose_nothing() {
    // Changes of about one step of the type at a quality whose steps are finer.
    let (base, fine) = made("BF16", 100, 128, 2e-4);
    let file = |data: &[u8]| one(pt_safetensors(&[("w", "BF16", &[100, 128], data)]));
    let (base, fine) = (file(&base), file(&fine));
    let mut errors = Vec::new();
    for quality in [95, 70, 60] {
        let (delta, report) = encode_with(&base, &fine, &lossy(quality), false);
        decode(&base, &delta, "{}", false).unwrap();
        errors.push(report["relativeError"].as_f64().unwrap());
    }
    assert!(
        errors[0] < 1e-3 && errors[0] <= errors[1] && errors[1] < errors[2],
        "{errors:?}"
    );
}

#[test]
fn the_order_of_tasks_does_not_matter() {
    let (base, fine) = (data("base.safetensors"), data("ft-sft.safetensors"));
    for options in [lossy(50), r#"{"strategy":"lossy","quality":70}"#.into()] {
        let (delta, report) = encode_with(&base, &fine, &options, false);
        assert!(encode_with(&base, &fine, &options, true).0 == delta);
        assert_eq!(report["strategy"], "lossy");
        let there = decode(&base, &delta, r#"{"readBack":true}"#, false).unwrap();
        assert!(decode(&base, &delta, "{}", true).unwrap() == there);
        assert!(there != fine);
    }
}

#[test]
fn every_dtype_and_operation_is_rebuilt() {
    let (base, fine) = variety();
    for quality in [1, 40, 80] {
        let (delta, _) = encode_with(&base, &fine, &lossy(quality), false);
        let back = decode(&base, &delta, "{}", false).unwrap();
        for name in ["ids", "f8", "f4", "f64", "added", "zeros", "same", "retyped"] {
            assert!(tensor(&back, name) == tensor(&fine, name), "{name}");
        }
    }
}

#[test]
fn damage_is_found() {
    let (base, fine) = made("BF16", 60, 100, 4e-3);
    let file = |data: &[u8]| one(pt_safetensors(&[("w", "BF16", &[60, 100], data)]));
    let (base, fine) = (file(&base), file(&fine));
    let (delta, _) = encode_with(&base, &fine, &lossy(45), false);
    for n in (0..delta.len()).step_by(11) {
        assert!(decode(&base, &delta[..n], "{}", false).is_err(), "prefix {n}");
    }
    for at in 0..delta.len() {
        let mut bad = delta.clone();
        bad[at] ^= 1 << (at % 8);
        let e = decode(&base, &bad, "{}", false).unwrap_err();
        assert_ne!(e.code, Code::Internal, "byte {at}: {e:?}");
    }
}

/// Five classes, two of them dithered.
const WINDOW: Window = Window {
    log2_q: 1,
    offset: 7,
    classes: 5,
};

#[test]
fn table_sets_say_which_steps_they_have() {
    let set = flat_set(WINDOW);
    let bytes = set.to_bytes();
    assert!(TableSet::parse(&bytes).unwrap() == set);
    let body = &bytes[..bytes.len() - 8];
    assert_eq!(body[6..10], [2, 253, 255, 2]);
    // Parts that there are none of, no classes or too many, an offset out of range, more tables than there may be.
    for (at, values) in [
        (6, vec![4, 6, 8, 255]),
        (9, vec![0, 25, 255]),
        (8, vec![0x7f, 0x80]),
        (4, vec![64]),
    ] {
        for value in values {
            let mut bad = body.to_vec();
            bad[at] = value;
            (bad[5], bad[9]) = match at {
                4 => (64, 24),
                _ => (bad[5], bad[9]),
            };
            assert_eq!(
                TableSet::parse(&sealed(&bad)).unwrap_err().code,
                Code::Malformed,
                "{at}: {value}"
            );
        }
    }
}

#[test]
fn steps_need_tables_and_a_type_that_has_them() {
    let dither = Some((Dither { step: 200, seed: 1 }, 0));
    let code = |set: &TableSet, dtype: Dtype| {
        let base = vec![1; 64 * dtype.bytes().unwrap()];
        let mut out = base.clone();
        let mut targets = [Target {
            layout: Layout::of(dtype),
            columns: 64,
            scales: &[0; 64],
            factors: None,
            dither,
            base: &base,
            out: &mut out,
        }];
        let tables = DecodeTables::new(&set.freqs, set.log);
        let e = block::decode(set, &tables, &sealed(&[0; 80]), &mut targets).unwrap_err();
        (e.code, e.message.contains("steps"))
    };
    let set = flat_set(WINDOW);
    for dtype in [Dtype::F64, Dtype::I16, Dtype::F8_E4M3] {
        assert_eq!(code(&set, dtype), (Code::Malformed, true), "{dtype:?}");
    }
    assert_eq!(code(&set, Dtype::F16), (Code::Malformed, false));
    let mut without = flat_set(WINDOW);
    (without.dither_classes, without.dither_offset) = (0, 0);
    assert_eq!(code(&without, Dtype::BF16), (Code::Malformed, true));
}

#[test]
fn no_made_up_block_panics() {
    let set = flat_set(WINDOW);
    let tables = DecodeTables::new(&set.freqs, set.log);
    let mut x = 1u64;
    let mut next = || {
        x = x
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (x >> 33) as u32
    };
    for dtype in [Dtype::BF16, Dtype::F16, Dtype::F32] {
        for round in 0..300u64 {
            // Lengths of the streams, then anything.
            let mut block = vec![0, 40, 100, 60];
            block.extend((0..40 + 64 + 200 + 60).map(|_| next() as u8));
            let base: Vec<u8> = (0..50 * 33 * dtype.bytes().unwrap()).map(|_| next() as u8).collect();
            let mut out = vec![0; base.len()];
            let scales: Vec<i16> = (0..33).map(|_| (next() % 16_383) as i16 - 8191).collect();
            let step = next() as u8;
            let mut targets = [Target {
                layout: Layout::of(dtype),
                columns: 33,
                scales: &scales,
                factors: None,
                dither: Some((Dither { step, seed: round }, u64::MAX - round)),
                base: &base,
                out: &mut out,
            }];
            let e = block::decode(&set, &tables, &sealed(&block), &mut targets).unwrap_err();
            assert_eq!(e.code, Code::Malformed);
        }
    }
}

#[test]
fn an_index_says_how_a_tensor_is_dithered() {
    let record = |step: u8, seed: u64| TensorRecord {
        name: "w".into(),
        dtype: Dtype::BF16,
        shape: vec![10, 64],
        op: Op::Delta,
        base: Some(BaseRef {
            name: "w".into(),
            dtype: Dtype::BF16,
            shape: vec![10, 64],
            digest: [1; 16],
        }),
        digest: [2; 16],
        dithered: Some(Dithered {
            step,
            seed,
            lost: Lost::new([-0.5, 1.0, 2.0, 0.25]),
        }),
        ..TensorRecord::default()
    };
    for (step, seed) in [(0, 0), (128, 77), (255, u64::MAX)] {
        let index = Index {
            tensors: vec![record(step, seed)],
            ..Index::default()
        };
        let bytes = index.to_bytes().unwrap();
        let back = Index::parse(&bytes).unwrap();
        assert!(back == index);
        assert_eq!(back.tensors[0].dithered.unwrap().lost.values(), [-0.5, 1.0, 2.0, 0.25]);
        // What was lost is not there to the end.
        assert_eq!(
            Index::parse(&bytes[..bytes.len() - 1]).unwrap_err().code,
            Code::Malformed
        );
    }
}

#[test]
fn a_ratio_counts_what_is_tied_once_and_says_when_it_is_out_of_reach() {
    let (base, fine) = made("BF16", 300, 300, 4e-3);
    let (shape, other) = ([300, 300], random_bytes(2 * 300 * 300, 9));
    let model = |tensors: &[(&str, &[u8])]| {
        let tensors: Vec<_> = tensors.iter().map(|(n, b)| (*n, "BF16", &shape[..], *b)).collect();
        one(pt_safetensors(&tensors))
    };
    let options = r#"{"strategy":"lossy","ratio":20}"#;
    let base = model(&[("w", &base)]);
    // Nothing in the base is like `other`: it is stored, once. Zeros take next to nothing.
    let zeros = vec![0; other.len()];
    let tied = model(&[("v", &zeros), ("w", &fine), ("x", &fine), ("y", &fine)]);
    let (delta, _) = encode_with(&base, &tied, options, false);
    let got = tied[0].1.len() as f64 / delta.len() as f64;
    assert!(got > 18.0 && got < 25.0, "{got}");
    let lost = model(&[("w", &fine), ("x", &other)]);
    let mut host = Memory::new().model(Role::Base, &base).model(Role::Finetuned, &lost);
    let e = host.run("encode", options).unwrap_err();
    assert!(e.code == Code::Usage && e.message.contains("out of reach"), "{e}");
}

#[test]
fn options_that_do_not_go_together_are_refused() {
    let (base, fine) = variety();
    for options in [
        r#"{"strategy":"lossless","quality":50}"#,
        r#"{"strategy":"int4","ratio":20}"#,
        r#"{"strategy":"lossy","quality":50,"ratio":20}"#,
        r#"{"strategy":"lossy","quality":0}"#,
        r#"{"strategy":"lossy","quality":101}"#,
        r#"{"strategy":"lossy","quality":1.5}"#,
        r#"{"strategy":"lossy","ratio":0.5}"#,
        r#"{"strategy":"lossy","ratio":"many"}"#,
        r#"{"strategy":"lossy","reference":true}"#,
        r#"{"strategy":"lossless","hashOrder":"memory"}"#,
    ] {
        let mut host = Memory::new().model(Role::Base, &base).model(Role::Finetuned, &fine);
        assert_eq!(host.run("encode", options).unwrap_err().code, Code::Usage, "{options}");
    }
}
