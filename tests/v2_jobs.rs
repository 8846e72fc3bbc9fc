//! The jobs over version 2 beside `encode` and `decode`: random access, statistics, comparison, damage, maps of the file.
#![cfg(not(target_arch = "wasm32"))]

mod common;

use common::pairs::{
    decode_chain, encode, encode_after, encode_with, nudged, nudged_model, one, pt_safetensors, variety, with_deltas,
    Files,
};
use common::random::normal;
use common::{bf16s, read_safetensors, Memory};
use serde_json::{json, Value};
use std::cell::RefCell;
use std::rc::Rc;
use wdelta::error::Code;
use wdelta::job::machine::Role;

const ROWS: usize = 3500;
const COLUMNS: usize = 1024;

/// A tensor of 7 MB between two small ones, and the same moved a little.
fn large() -> (Files, Files) {
    let model = |step: f32| {
        let mut values = normal(ROWS * COLUMNS, 0.1, 5);
        let by = normal(ROWS * COLUMNS, 0.001 * step, 6);
        values.iter_mut().zip(by).for_each(|(v, d)| *v += d);
        one(pt_safetensors(&[
            ("a", "BF16", &[50, 64], &bf16s(&normal(3200, 0.1 + step / 1000.0, 1))),
            ("large", "BF16", &[ROWS as u64, COLUMNS as u64], &bf16s(&values)),
            ("z", "BF16", &[50, 64], &bf16s(&normal(3200, 0.1 + step / 1000.0, 2))),
        ]))
    };
    (model(0.0), model(1.0))
}

/// Reads that a host answered: source, and how many.
fn counted(mut host: Memory) -> (Memory, Rc<RefCell<Vec<u32>>>) {
    let reads = Rc::new(RefCell::new(Vec::new()));
    let of_host = reads.clone();
    host.meddle = Some(Box::new(move |source, _, _| of_host.borrow_mut().push(source)));
    (host, reads)
}

fn all_bytes(host: &Memory) -> Vec<u8> {
    host.items.iter().flat_map(|(_, bytes)| bytes.clone()).collect()
}

#[test]
fn rows_are_read_alone() {
    let (base, fine) = large();
    let delta = encode_with(&base, &fine, r#"{"effort":0,"lowRank":"off"}"#, false).0;
    let inspected = with_deltas(&Vec::new(), &[&delta]).run("inspect", "{}").unwrap();
    let tensors = inspected["tensors"].as_array().unwrap();
    let records = tensors.iter().find(|t| t["name"] == "large").unwrap()["records"]
        .as_array()
        .unwrap();
    let blocks: Vec<u64> = records
        .iter()
        .filter(|r| r["field"] == "block")
        .map(|r| r["length"].as_u64().unwrap())
        .collect();
    assert_eq!(blocks.len(), 4);
    let fixed = inspected["layout"]["header"]["length"].as_u64().unwrap() + 10_000;
    let expected = &read_safetensors(&fine[0].1)["large"].1;
    for (from, to, covering) in [(0, 3, 1), (3000, 3010, 1), (1020, 1030, 2), (ROWS - 1, ROWS, 1)] {
        let (mut host, reads) = counted(with_deltas(&base, &[&delta]));
        host.run("tensors", &format!(r#"{{"names":["large"],"rows":[{from},{to}]}}"#))
            .unwrap();
        let row = 2 * COLUMNS;
        assert!(
            all_bytes(&host) == expected[from * row..to * row],
            "rows {from} to {to}"
        );
        // Of the delta the index and the blocks that cover the rows, of the base the rows of those blocks.
        let most: u64 = blocks.iter().copied().max().unwrap();
        assert!(
            host.read[&1] <= covering * most + fixed,
            "rows {from} to {to}: {} of the delta",
            host.read[&1]
        );
        assert!(
            host.read[&0] <= covering * (2 << 20) + 2000,
            "rows {from} to {to}: {} of the base",
            host.read[&0]
        );
        let n = |source| reads.borrow().iter().filter(|&&s| s == source).count() as u64;
        assert!(
            n(1) <= 7 + 2 * covering && n(0) <= 3 + covering,
            "{} and {} reads",
            n(1),
            n(0)
        );
    }
    // Through a chain: as much of every link.
    let next = one(nudged_model(&fine[0].1, 1_000_003));
    let second = encode_with(&fine, &next, r#"{"effort":0,"lowRank":"off"}"#, false).0;
    let (mut host, _) = counted(with_deltas(&base, &[&delta, &second]));
    host.run("tensors", r#"{"names":["large"],"rows":[3000,3010]}"#)
        .unwrap();
    let expected = &read_safetensors(&next[0].1)["large"].1;
    assert!(all_bytes(&host) == expected[3000 * 2 * COLUMNS..3010 * 2 * COLUMNS]);
    assert!(host.read[&0] <= (2 << 20) + 2000 && host.read[&1] < delta.len() as u64 / 2);
    // Whole, and in float32.
    let mut host = with_deltas(&base, &[&delta]);
    host.run("tensors", r#"{"names":["z","large"],"as":"float32"}"#)
        .unwrap();
    let of = read_safetensors(&fine[0].1);
    let wide = |name: &str| {
        of[name]
            .1
            .chunks(2)
            .flat_map(|b| [0, 0, b[0], b[1]])
            .collect::<Vec<u8>>()
    };
    assert!(all_bytes(&host) == [wide("z"), wide("large")].concat());
    let largest = host.items.iter().map(|(_, bytes)| bytes.len()).max().unwrap();
    assert!(largest <= 4 << 20);
}

#[test]
fn blocks_of_several_rounds_come_in_order() {
    const ROWS: usize = 17_000;
    let model = |add: usize| {
        let at = |i: usize| ((i * 2_654_435_761) >> 9 & 0x1ff) as u16 + 0x3c00 + (i / 97 % 5 * add) as u16;
        let bytes: Vec<u8> = (0..ROWS * 1024).flat_map(|i| at(i).to_le_bytes()).collect();
        one(pt_safetensors(&[("w", "BF16", &[ROWS as u64, 1024], &bytes)]))
    };
    let (base, fine) = (model(0), model(1));
    let mut host = Memory::new().model(Role::Base, &base).model(Role::Finetuned, &fine);
    host.backwards = true;
    host.run("encode", r#"{"effort":0,"lowRank":"off"}"#).unwrap();
    // The first is the fit.
    assert!(host.rounds.len() > 2, "rounds of {:?} tasks", host.rounds);
    assert!(decode_chain(&base, &[&host.outputs[0].1], "{}").unwrap() == fine);
}

#[test]
fn every_dtype_streams() {
    let (base, fine) = variety();
    let delta = encode(&base, &fine);
    for (name, (_, bytes)) in read_safetensors(&fine[0].1) {
        let mut host = with_deltas(&base, &[&delta]);
        host.run("tensors", &format!(r#"{{"names":["{name}"]}}"#)).unwrap();
        assert!(all_bytes(&host) == bytes, "{name}");
    }
    let mut host = with_deltas(&base, &[&delta]);
    host.run("tensors", r#"{"names":["grown"],"rows":[48,52]}"#).unwrap();
    assert!(all_bytes(&host) == read_safetensors(&fine[0].1)["grown"].1[48 * 128..52 * 128]);
    for (options, code) in [
        (r#"{"names":["nothing"]}"#, Code::MissingTensor),
        (r#"{"names":["grown"],"rows":[50,54]}"#, Code::Usage),
        (r#"{"names":["f8"],"as":"float32"}"#, Code::UnsupportedDtype),
    ] {
        let e = with_deltas(&base, &[&delta]).run("tensors", options).unwrap_err();
        assert_eq!(e.code, code, "{options}: {e}");
    }
    // A whole tensor of another base does not pass for the right one.
    let mut other = base.clone();
    *other[0].1.last_mut().unwrap() ^= 1;
    let e = with_deltas(&other, &[&delta])
        .run("tensors", r#"{"names":["grown"]}"#)
        .unwrap_err();
    assert_eq!((e.code, e.tensor.as_deref()), (Code::WrongBase, Some("grown")), "{e}");
}

/// The first rows of all tensors can be asked for without knowing which tensors have any.
#[test]
fn rows_of_an_empty_tensor_are_none() {
    let model = |every: usize| {
        let bytes = nudged(&[7; 256], every);
        one(pt_safetensors(&[
            ("empty", "F32", &[0, 4], &[]),
            ("hollow", "BF16", &[2, 0], &[]),
            ("w", "BF16", &[2, 64], &bytes),
        ]))
    };
    let (base, fine) = (model(256), model(9));
    let v1 = encode_with(&base, &fine, r#"{"strategy":"quantized"}"#, false).0;
    let v2 = encode(&base, &fine);
    for deltas in [&[][..], &[&v1[..]], &[&v2[..]]] {
        let mut host = with_deltas(&base, deltas);
        host.run("tensors", r#"{"rows":[0,1]}"#).unwrap();
        let [(json, bytes)] = &host.items[..] else {
            panic!("{} pieces", host.items.len());
        };
        let item: Value = serde_json::from_str(json).unwrap();
        assert_eq!((&item["name"], bytes.len()), (&"w".into(), 128));
        let e = with_deltas(&base, deltas)
            .run("tensors", r#"{"rows":[0,3]}"#)
            .unwrap_err();
        assert_eq!((e.code, e.tensor.as_deref()), (Code::Usage, Some("w")), "{e}");
    }
}

#[test]
fn damage_is_named_and_the_rest_stays_readable() {
    let (base, fine) = large();
    let delta = encode_with(&base, &fine, r#"{"effort":0,"lowRank":"off"}"#, false).0;
    let inspected = with_deltas(&Vec::new(), &[&delta]).run("inspect", "{}").unwrap();
    let tensors = inspected["tensors"].as_array().unwrap();
    let records = tensors[1]["records"].as_array().unwrap();
    let block = records.iter().filter(|r| r["field"] == "block").nth(2).unwrap();
    let (at, len) = (block["offset"].as_u64().unwrap(), block["length"].as_u64().unwrap());
    let mut bad = delta.clone();
    bad[(at + len / 2) as usize] ^= 4;
    for (kind, base_too) in [("verify", false), ("verify", true), ("decode", true)] {
        let files = if base_too { base.clone() } else { Vec::new() };
        let e = with_deltas(&files, &[&bad]).run(kind, "{}").unwrap_err();
        assert_eq!(
            (e.code, e.tensor.as_deref(), e.offset),
            (Code::Checksum, Some("large"), Some(at)),
            "{kind}: {e}"
        );
        let range = format!("bytes {at} to {}", at + len);
        assert!(
            e.message.contains(&range) && e.message.contains("the other 2 of 3"),
            "{kind}: {e}"
        );
    }
    let of = read_safetensors(&fine[0].1);
    for (options, bytes) in [
        (r#"{"names":["a"]}"#, &of["a"].1[..]),
        (r#"{"names":["z"]}"#, &of["z"].1),
        (r#"{"names":["large"],"rows":[0,9]}"#, &of["large"].1[..9 * 2 * COLUMNS]),
        (
            r#"{"names":["large"],"rows":[3499,3500]}"#,
            &of["large"].1[3499 * 2 * COLUMNS..],
        ),
    ] {
        let mut host = with_deltas(&base, &[&bad]);
        host.run("tensors", options).unwrap();
        assert!(all_bytes(&host) == bytes, "{options}");
    }
    let e = with_deltas(&base, &[&bad])
        .run("tensors", r#"{"names":["large"]}"#)
        .unwrap_err();
    assert_eq!((e.code, e.offset), (Code::Checksum, Some(at)), "{e}");
}

fn items(host: &Memory) -> Vec<Value> {
    host.items
        .iter()
        .map(|(json, _)| serde_json::from_str(json).unwrap())
        .collect()
}

#[test]
fn statistics_are_those_of_the_moved_values() {
    let (base, fine) = large();
    let delta = encode_with(&base, &fine, r#"{"effort":0,"lowRank":"off"}"#, false).0;
    let exact = encode_with(&base, &fine, r#"{"strategy":"sparse","sparsity":0}"#, false).0;
    let mut of_v2 = with_deltas(&base, &[&delta]);
    of_v2.run("stats", r#"{"bins":16}"#).unwrap();
    let mut of_v1 = with_deltas(&base, &[&exact]);
    of_v1.run("stats", r#"{"bins":16}"#).unwrap();
    // The plan counts what is asked for.
    let planned = |delta: &[u8], names: &str| {
        let mut host = with_deltas(&base, &[delta]);
        host.stop_at_plan = true;
        host.run("stats", names).unwrap()["elements"].as_u64().unwrap()
    };
    let single = format!(r#"{{"names":["{}"]}}"#, items(&of_v2)[0]["name"].as_str().unwrap());
    for names in ["{}", &single] {
        assert_eq!(planned(&delta, names), planned(&exact, names), "{names}");
    }
    assert!(planned(&delta, &single) < planned(&delta, "{}"));
    let (a, b) = (items(&of_v2), items(&of_v1));
    assert_eq!(a.len(), 3);
    for (a, b) in a.iter().zip(&b) {
        for field in [
            "name",
            "dtype",
            "shape",
            "elements",
            "zeros",
            "min",
            "max",
            "mean",
            "rms",
            "norm",
            "histogram",
            "rows",
        ] {
            assert_eq!(a[field], b[field], "{field}");
        }
        let relative = |x: &Value, field: &str| x[field].as_f64().unwrap();
        for field in ["baseNorm", "relative"] {
            assert!((relative(a, field) / relative(b, field) - 1.0).abs() < 1e-9, "{field}");
        }
        assert_eq!(a["strategy"], "delta");
    }
    let e = Memory::new()
        .with(Role::Delta, 0, "d", delta)
        .run("stats", "{}")
        .unwrap_err();
    assert!(e.code == Code::Usage && e.message.contains("base"), "{e}");
    // Every operation and dtype has statistics; a link of a chain those of its own step.
    let (base, fine) = variety();
    let (delta, next) = (encode(&base, &fine), one(nudged_model(&fine[0].1, 5_003)));
    let mut host = with_deltas(&base, &[&delta]);
    host.run("stats", "{}").unwrap();
    let all = items(&host);
    assert_eq!(all.len(), read_safetensors(&fine[0].1).len());
    let of = |name: &str| all.iter().find(|t| t["name"] == name).unwrap();
    assert_eq!((&of("same")["zeros"], &of("same")["norm"]), (&500.into(), &0.0.into()));
    assert!(of("complex")["elements"] == 160 && of("f8")["nonFinite"].is_u64());
    let second = encode(&fine, &next);
    let mut host = with_deltas(&base, &[&delta, &second]);
    host.run("stats", r#"{"names":["same"]}"#).unwrap();
    let mut alone = with_deltas(&fine, &[&second]);
    alone.run("stats", r#"{"names":["same"]}"#).unwrap();
    assert_eq!(items(&host), items(&alone));
}

#[test]
fn deltas_of_one_base_are_compared_by_how_they_move_it() {
    let (base, fine) = large();
    let other = one(nudged_model(&fine[0].1, 1_000_003));
    let options = r#"{"effort":0,"lowRank":"off"}"#;
    let (a, b) = (
        encode_with(&base, &fine, options, false).0,
        encode_with(&base, &other, options, false).0,
    );
    let exact = encode_with(&base, &other, r#"{"strategy":"sparse","sparsity":0}"#, false).0;
    let models = {
        let host = Memory::new()
            .model(Role::Base, &base)
            .model(Role::A, &fine)
            .model(Role::B, &other);
        { host }.run("diff", "{}").unwrap()
    };
    for b in [&b, &exact] {
        let host = Memory::new()
            .model(Role::Base, &base)
            .with(Role::A, 0, "a.wdelta", a.clone())
            .with(Role::B, 0, "b.wdelta", b.clone());
        let deltas = { host }.run("diff", "{}").unwrap();
        assert_eq!(deltas["kind"], "deltas");
        for field in ["equal", "distance", "cosine"] {
            let of = |r: &Value| r["totals"][field].as_f64().unwrap();
            assert!((of(&deltas) - of(&models)).abs() <= 1e-9 * of(&models).abs(), "{field}");
        }
    }
    let e = Memory::new()
        .with(Role::A, 0, "a", a)
        .with(Role::B, 0, "b", b)
        .run("diff", "{}")
        .unwrap_err();
    assert!(e.code == Code::Usage && e.message.contains("base"), "{e}");
}

#[test]
fn the_plan_is_a_guess_and_says_so() {
    let (base, fine) = variety();
    let mut host = Memory::new().model(Role::Base, &base).model(Role::Finetuned, &fine);
    host.stop_at_plan = true;
    let plan = host.run("encode", "{}").unwrap();
    assert_eq!((&plan["job"], &plan["exact"]), (&"encode".into(), &false.into()));
    let sizes = (base[0].1.len() + fine[0].1.len()) as u64;
    let reads = plan["reads"].as_u64().unwrap();
    assert!(host.outputs.is_empty() && reads > sizes && reads < 3 * sizes, "{plan}");
    // A lossy delta becomes the smaller the lower its quality.
    let bytes = [
        r#"{}"#,
        r#"{"strategy":"lossy"}"#,
        r#"{"strategy":"lossy","quality":20}"#,
    ];
    let bytes = bytes.map(|options| host.run("encode", options).unwrap()["bytes"].as_u64().unwrap());
    assert!(
        bytes[0] > 3 * bytes[1] && bytes[1] > 3 * bytes[2] && bytes[2] > 0,
        "{bytes:?}"
    );
    // With parents, what they take is read, too.
    let delta = encode(&base, &fine);
    let mut host = with_deltas(&base, &[&delta]).model(Role::Finetuned, &fine);
    host.stop_at_plan = true;
    let plan = host.run("encode", "{}").unwrap();
    assert!(plan["reads"].as_u64().unwrap() > reads + delta.len() as u64, "{plan}");
    assert!(encode_after(&base, &[&delta], &fine, "{}", false).unwrap().0.len() < delta.len());
}

#[test]
fn inspect_maps_every_byte() {
    let (base, fine) = variety();
    let delta = encode(&base, &fine);
    let report = with_deltas(&Vec::new(), &[&delta]).run("inspect", "{}").unwrap();
    let place = |p: &Value| (p["offset"].as_u64().unwrap(), p["length"].as_u64().unwrap());
    let mut places = vec![
        (0, 12),
        place(&report["layout"]["header"]),
        place(&report["layout"]["checksum"]),
    ];
    places.extend(report["layout"]["sets"].as_array().unwrap().iter().map(place));
    for t in report["tensors"].as_array().unwrap() {
        places.extend(t["records"].as_array().unwrap().iter().map(place));
    }
    places.sort_unstable();
    places.dedup();
    let mut at = 0;
    for (offset, len) in places {
        assert_eq!(offset, at);
        at += len;
    }
    assert_eq!(at, delta.len() as u64);
}

#[test]
fn another_base_is_named_wherever_a_whole_tensor_is_read() {
    let (base, fine) = large();
    let delta = encode(&base, &fine);
    // As if the links before were left out: the same names and shapes, other values.
    let other = one(nudged_model(&base[0].1, 3));
    let host = || with_deltas(&other, &[&delta]);
    let compared = || {
        Memory::new()
            .model(Role::Base, &other)
            .with(Role::A, 0, "a.wdelta", delta.clone())
            .with(Role::B, 0, "b.wdelta", delta.clone())
    };
    for (job, mut host) in [
        ("stats", host()),
        ("tensors", host()),
        ("decode", host()),
        ("diff", compared()),
    ] {
        let e = host.run(job, "{}").expect_err(job);
        assert_eq!(e.code, Code::WrongBase, "{job}: {e}");
        assert!(e.tensor.is_some() || job == "decode", "{job}: {e}");
    }
}

#[test]
fn another_base_of_one_tensor_is_named_for_all_that_share_its_block() {
    let model = |a: u64, by: f32| {
        let values = |seed: u64| -> Vec<f32> {
            let of = normal(4096, 0.1, seed).into_iter().zip(normal(4096, by, seed + 9));
            of.map(|(v, d)| v + d).collect()
        };
        let (a, b) = (bf16s(&values(a)), bf16s(&values(2)));
        one(pt_safetensors(&[
            ("a", "BF16", &[64, 64], &a),
            ("b", "BF16", &[64, 64], &b),
        ]))
    };
    let (base, fine, other) = (model(1, 0.0), model(1, 0.01), model(5, 0.0));
    let delta = encode(&base, &fine);
    for (job, options) in [
        ("stats", r#"{"names":["b"]}"#),
        ("tensors", r#"{"names":["b"]}"#),
        ("tensors", r#"{"names":["b"],"rows":[3,60]}"#),
    ] {
        let e = with_deltas(&other, &[&delta]).run(job, options).expect_err(job);
        assert_eq!(e.code, Code::WrongBase, "{job} {options}: {e}");
    }
}

/// What `--dry-run` shows of a decode is what the decode reports: in both versions, and in chains of both.
#[test]
fn plan_and_result_name_the_same_findings() {
    let w = normal(6400, 0.1, 1);
    let moved = |step: u64| {
        let by = normal(6400, 0.001, 1 + step);
        let values: Vec<f32> = w.iter().zip(by).map(|(v, d)| v + d).collect();
        one(pt_safetensors(&[("w", "BF16", &[100, 64], &bf16s(&values))]))
    };
    let same = |name| (name, "BF16", &[100u64, 64][..], bf16s(&w));
    let base = |names: &[&'static str]| {
        let tensors: Vec<_> = names.iter().map(|&name| same(name)).collect();
        let of = tensors
            .iter()
            .map(|(name, dtype, shape, bytes)| (*name, *dtype, *shape, &bytes[..]));
        one(pt_safetensors(&of.collect::<Vec<_>>()))
    };
    let v1 = encode_with(&base(&["w"]), &moved(1), r#"{"strategy":"int4"}"#, false).0;
    let v2 = encode(&base(&["w"]), &moved(1));
    let after = encode_after(&base(&["w"]), &[&v2], &moved(2), r#"{"strategy":"int4"}"#, false);
    let after = after.unwrap().0;
    for deltas in [vec![&v1[..]], vec![&v2[..]], vec![&v2[..], &after[..]]] {
        for (names, found) in [
            (&["w"][..], None),
            (&["w", "x"], Some("1 tensor of the base is not in the fine-tune")),
            (&["v", "w", "x"], Some("2 tensors of the base are not in the fine-tune")),
        ] {
            let mut host = with_deltas(&base(names), &deltas);
            let report = host.run("decode", "{}").unwrap();
            let plan: Value = serde_json::from_str(&host.plans[0]).unwrap();
            assert_eq!(plan["problems"], report["findings"], "{names:?}");
            let findings = report["findings"].as_array().unwrap();
            assert_eq!(findings.len(), found.iter().len(), "{names:?}");
            if let (Some(text), Some(finding)) = (found, findings.first()) {
                assert_eq!(finding["code"], "extra-tensors");
                assert!(finding["message"].as_str().unwrap().starts_with(text), "{finding}");
            }
        }
    }
}

#[test]
fn encode_says_what_a_user_may_not_expect() {
    let w = normal(6400, 0.1, 1);
    let model = |names: &[&str], by: f32| {
        let values: Vec<f32> = w.iter().zip(normal(6400, by, 2)).map(|(v, d)| v + d).collect();
        let bytes = bf16s(&values);
        // One of the same shape would count as renamed.
        let shape = |name: &str| match name.starts_with("other") {
            true => &[6400u64][..],
            false => &[100, 64],
        };
        let tensors: Vec<_> = names
            .iter()
            .map(|&name| (name, "BF16", shape(name), &bytes[..]))
            .collect();
        one(pt_safetensors(&tensors))
    };
    let found = |base: &Files, fine: &Files, options: &str| {
        let mut host = Memory::new().model(Role::Base, base).model(Role::Finetuned, fine);
        let report = host.run("encode", options).unwrap();
        let plan: Value = serde_json::from_str(&host.plans[0]).unwrap();
        let codes = |of: &Value| {
            let findings = of.as_array().unwrap().iter();
            findings
                .map(|f| f["code"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        (codes(&plan["problems"]), codes(&report["findings"]))
    };
    let before_and_after = |code: &str| (vec![code.to_owned()], vec![code.to_owned()]);
    let (base, fine) = (model(&["a", "b"], 0.0), model(&["a", "b"], 0.001));
    assert_eq!(found(&base, &fine, "{}"), (vec![], vec![]));

    // Weights that the index does not name.
    let index = br#"{"weight_map":{"a":"model.safetensors","b":"model.safetensors"}}"#.to_vec();
    let name = |name: &str, of: &Files| (name.to_owned(), of[0].1.clone());
    let folder = vec![
        name("model.safetensors", &fine),
        name("optimizer.safetensors", &model(&["m"], 0.1)),
        ("model.safetensors.index.json".to_owned(), index),
    ];
    for options in ["{}", r#"{"strategy":"int4"}"#] {
        assert_eq!(
            found(&base, &folder, options),
            before_and_after("left-out"),
            "{options}"
        );
    }

    // Files that nothing says are one model.
    let two = vec![
        name("model.safetensors", &fine),
        name("other.safetensors", &model(&["m"], 0.1)),
    ];
    let shards = vec![
        name("model-00001-of-00002.safetensors", &fine),
        name("model-00002-of-00002.safetensors", &model(&["m"], 0.1)),
    ];
    assert_eq!(found(&base, &two, "{}"), before_and_after("unlisted"));
    assert_eq!(found(&two, &two, r#"{"strategy":"int4"}"#).0, vec!["unlisted"; 2]);
    assert_eq!(found(&base, &shards, "{}"), (vec![], vec![]));

    // Another model's base.
    let other = model(&["a", "other1", "other2"], 0.001);
    assert_eq!(found(&base, &other, "{}"), before_and_after("strangers"));
    assert_eq!(
        found(&base, &model(&["a", "other"], 0.001), "{}").1,
        Vec::<String>::new()
    );

    let lossy = |quality| found(&base, &fine, &format!(r#"{{"strategy":"lossy","quality":{quality}}}"#));
    assert_eq!(lossy(20), (vec![], vec!["coarse".to_owned()]));
    assert_eq!(lossy(50), (vec![], vec![]));
}

/// An adapter of that rank was merged into the one tensor, noise was added to the other.
#[test]
fn statistics_tell_the_rank_of_a_prediction_where_there_is_one() {
    const N: usize = 512;
    const RANK: usize = 4;
    let (left, right) = (normal(N * RANK, 0.05, 7), normal(N * RANK, 0.05, 8));
    let product = |i: usize| -> f32 {
        let (a, b) = (&left[i / N * RANK..][..RANK], &right[i % N * RANK..][..RANK]);
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    };
    let (weights, noise) = (normal(N * N, 0.05, 9), normal(N * N, 0.005, 10));
    let model = |scale: f32| {
        let merged: Vec<f32> = (0..N * N).map(|i| weights[i] + scale * product(i)).collect();
        let moved: Vec<f32> = weights.iter().zip(&noise).map(|(w, n)| w + scale * n).collect();
        let shape: &[u64] = &[N as u64, N as u64];
        one(pt_safetensors(&[
            ("merged", "BF16", shape, &bf16s(&merged)),
            ("moved", "BF16", shape, &bf16s(&moved)),
        ]))
    };
    let (base, fine) = (model(0.0), model(1.0));
    for (options, rank) in [("{}", json!(RANK)), (r#"{"lowRank":"off"}"#, Value::Null)] {
        let delta = encode_with(&base, &fine, options, false).0;
        let mut host = with_deltas(&base, &[&delta]);
        host.run("stats", "{}").unwrap();
        let found = items(&host);
        assert_eq!((&found[0]["name"], &found[0]["rank"]), (&json!("merged"), &rank));
        assert_eq!((&found[1]["name"], &found[1]["rank"]), (&json!("moved"), &Value::Null));
    }
}
