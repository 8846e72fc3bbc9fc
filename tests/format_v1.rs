//! Version 1: headers and records there and back, every spelling that a reader must take, and hostile bytes.
#![cfg(not(target_arch = "wasm32"))]

use proptest::prelude::*;
use std::collections::BTreeMap;
use wdelta::error::{Code, Error};
use wdelta::format::v1::header::{parse_header, ResultDtype, V1Header};
use wdelta::format::v1::placed::{expected_header, predict, Placed};
use wdelta::format::v1::record::parse_record;
use wdelta::format::v1::walker::Walker;
use wdelta::format::v1::writer::{
    header_json, preamble, py_float, record_header, HeaderPlan, HeaderTensor, RecordLayout,
};
use wdelta::strategy::{array_elements, Strategy as Kind};

const HASH: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn tensor(name: &str, strategy: Kind, shape: &[u64], kept: u64, option: &str) -> HeaderTensor {
    HeaderTensor {
        name: name.into(),
        strategy,
        shape: shape.into(),
        elements: shape.iter().product(),
        kept,
        option: option.into(),
    }
}

/// A small file with every strategy; nothing of it is data but zeros.
fn small() -> HeaderPlan {
    HeaderPlan {
        parent_hash: HASH.into(),
        strategy: "int4".into(),
        base_name: Some("org/base".into()),
        tensors: vec![
            tensor("a", Kind::Int4, &[5, 2], 2, "0.2"),
            tensor("b", Kind::Quantized, &[3, 3], 0, ""),
            tensor("c", Kind::Sparse, &[20], 1, "0.9"),
            tensor("d", Kind::Sparse, &[1000000000000], 0, "1.0"),
        ],
    }
}

/// The file of a plan with records in this order of its tensors, data and checksum zero.
fn file_of(plan: &HeaderPlan, order: &[usize]) -> Vec<u8> {
    let mut file = preamble(&header_json(plan)).unwrap();
    let ordered: Vec<_> = order.iter().map(|&i| &plan.tensors[i]).collect();
    let layout = RecordLayout::new(file.len() as u64, &ordered).unwrap();
    for (t, starts) in ordered.into_iter().zip(&layout.records) {
        let elements = array_elements(t.strategy, &t.shape, t.kept);
        for (i, field) in t.strategy.fields().iter().enumerate() {
            assert_eq!(file.len() as u64, starts[i]);
            file.extend(record_header(&t.name, field.name, field.dtype, elements[i]));
            file.resize(file.len() + elements[i] as usize * field.dtype.width(), 0);
        }
    }
    assert_eq!(file.len() as u64, layout.checksum_at);
    file.resize(layout.size as usize, 0);
    file
}

fn open(file: &[u8]) -> Result<(V1Header, u64), Error> {
    let cut = || Error::new(Code::Truncated, "no whole header");
    let len = file.get(11..15).ok_or_else(cut)?;
    let end = 15 + u64::from(u32::from_le_bytes(len.try_into().unwrap()));
    let json = file.get(15..end as usize).ok_or_else(cut)?;
    Ok((parse_header(json)?, end))
}

/// Walks with windows that are `extra` bytes longer than asked for, and counts the reads.
fn walk(header: &V1Header, header_end: u64, file: &[u8], extra: usize) -> Result<(Placed, usize), Error> {
    let mut walker = Walker::new(header, header_end, file.len() as u64);
    let mut reads = 0;
    while let Some(range) = walker.wants() {
        reads += 1;
        assert!(range.len > 0 && range.end() <= file.len() as u64, "a read past the end");
        assert!(reads <= file.len(), "a walk that does not end");
        let end = (range.end() as usize + extra).min(file.len());
        walker.feed(&file[range.offset as usize..end])?;
    }
    Ok((walker.finish()?, reads))
}

fn walk_file(file: &[u8]) -> Result<Placed, Error> {
    let (header, end) = open(file)?;
    Ok(walk(&header, end, file, 0)?.0)
}

#[test]
fn predicts_what_it_walks_to() {
    let plan = small();
    for order in [[0, 1, 2, 3], [3, 1, 0, 2]] {
        let file = file_of(&plan, &order);
        let (header, end) = open(&file).unwrap();
        let names: Vec<_> = order.iter().map(|&i| plan.tensors[i].name.as_str()).collect();
        let predicted = predict(&header, end, file.len() as u64, &names).unwrap();
        assert_eq!(predicted.order, names);
        for extra in [0, 1, 100, 10_000] {
            assert_eq!(walk(&header, end, &file, extra).unwrap().0, predicted);
        }
        for (t, records) in header.tensors.iter().zip(&predicted.tensors) {
            for (i, record) in records.iter().enumerate() {
                let (found, used) = parse_record(&file[record.header_at as usize..]).unwrap().unwrap();
                assert_eq!(
                    (found.name.as_str(), found.data_len),
                    (t.name.as_str(), record.data.len)
                );
                assert_eq!(record.header_at + used as u64, record.data.offset);
                assert_eq!(
                    expected_header(t, i, record),
                    file[record.header_at as usize..record.data.offset as usize]
                );
            }
        }
    }
}

#[test]
fn predicts_nothing_where_the_header_does_not_say_enough() {
    let mut plan = small();
    let file = file_of(&plan, &[0, 1, 2, 3]);
    let (header, end) = open(&file).unwrap();
    let len = file.len() as u64;
    assert!(predict(&header, end, len, &["a", "b", "c", "d"]).is_some());
    assert_eq!(predict(&header, end, len + 1, &["a", "b", "c", "d"]), None);
    assert_eq!(predict(&header, end, len, &["a", "b", "c"]), None);
    assert_eq!(predict(&header, end, len, &["a", "b", "c", "x"]), None);
    assert_eq!(predict(&header, end, len, &["a", "b", "c", "c"]), None);
    // Another number of kept values than the option says: legal, to be walked.
    plan.tensors[2].kept = 7;
    let file = file_of(&plan, &[0, 1, 2, 3]);
    let (header, end) = open(&file).unwrap();
    assert_eq!(predict(&header, end, file.len() as u64, &["a", "b", "c", "d"]), None);
    assert_eq!(walk_file(&file).unwrap().tensors[2][0].elements, 7);
}

#[test]
fn a_walk_skips_data_and_reads_long_names_whole() {
    let long = "n".repeat(60_000);
    let plan = HeaderPlan {
        tensors: vec![
            tensor("big", Kind::Quantized, &[2, 4_000_000], 0, ""),
            tensor(&long, Kind::Quantized, &[1], 0, ""),
        ],
        ..small()
    };
    let file = file_of(&plan, &[0, 1]);
    let (header, end) = open(&file).unwrap();
    let (placed, reads) = walk(&header, end, &file, 0).unwrap();
    assert_eq!(placed.order, ["big".to_owned(), long]);
    assert!(reads < 20, "{reads} reads");
}

#[test]
fn records_that_nobody_needs_are_skipped_and_the_last_of_equals_wins() {
    let plan = HeaderPlan {
        tensors: vec![tensor("w", Kind::Quantized, &[2], 0, "")],
        ..small()
    };
    let head = preamble(&header_json(&plan)).unwrap();
    let record = |name: &str, field: &str, dtype: &str, dims: &[u64], data: &[u8]| {
        let mut bytes = Vec::new();
        for text in [name, field, dtype] {
            bytes.extend((text.len() as u32).to_le_bytes());
            bytes.extend(text.as_bytes());
        }
        bytes.extend((dims.len() as u32).to_le_bytes());
        dims.iter().for_each(|d| bytes.extend(d.to_le_bytes()));
        bytes.extend((data.len() as u64).to_le_bytes());
        bytes.extend(data);
        bytes
    };
    let records = [
        record("w", "scales", "float16", &[1], &[1, 1]),
        record("x", "scales", "object", &[9], &[1, 2, 3]),
        record("w", "extra", ">c16", &[0, 4], &[]),
        record("w", "packed_signs", "|u1", &[1, 1], &[2]),
        record("w", "scales", "<f2", &[], &[3, 3]),
    ];
    let file = |records: &[Vec<u8>]| [&head, &records.concat()[..], &[0; 32]].concat();
    let placed = walk_file(&file(&records)).unwrap();
    let at = |range: wdelta::offset::ByteRange, file: &[u8]| file[range.offset as usize..range.end() as usize].to_vec();
    assert_eq!(at(placed.tensors[0][0].data, &file(&records)), [3, 3]);
    assert_eq!(at(placed.tensors[0][1].data, &file(&records)), [2]);
    assert_eq!(placed.order, ["w"]);

    let error = walk_file(&file(&records[..3])).unwrap_err();
    assert_eq!((error.code, error.tensor.as_deref()), (Code::Malformed, Some("w")));
    assert!(
        error.message.contains("packed_signs") && error.message.contains("missing"),
        "{error}"
    );
    let error = walk_file(&file(&[
        record("w", "scales", "float16", &[2], &[0; 4]),
        records[3].clone(),
    ]))
    .unwrap_err();
    assert!(error.message.contains("has 2 elements where 1 are needed"), "{error}");
    let error = walk_file(&file(&[record("w", "scales", ">f2", &[1], &[0; 2])])).unwrap_err();
    assert_eq!(
        (error.code, error.offset),
        (Code::UnsupportedDtype, Some(head.len() as u64))
    );
    let error = walk_file(&file(&[record("w", "scales", "float16", &[1], &[0; 3])])).unwrap_err();
    assert_eq!((error.code, error.offset), (Code::Malformed, Some(head.len() as u64)));
}

#[test]
fn a_short_answer_is_an_error_and_not_a_wrong_place() {
    let file = file_of(&small(), &[0, 1, 2, 3]);
    let (header, end) = open(&file).unwrap();
    let mut walker = Walker::new(&header, end, file.len() as u64);
    let wanted = walker.wants().unwrap();
    let short = &file[wanted.offset as usize..wanted.end() as usize - 1];
    assert_eq!(walker.feed(short).unwrap_err().code, Code::Internal);
    assert_eq!(walker.finish().unwrap_err().code, Code::Internal);
}

#[test]
fn takes_any_spelling_of_the_json() {
    let json = format!(
        "\t{{ \"x\": [{{\"y\": [null, true, -1.5e3, \"\\u00e9\"]}}], \"tensors\" :\r\n{{\"\\u00fc\": {{\"indices\": 3, \
         \"sp\\u0061rsity\": 0.5, \"dtype\":\"float64\",\"shape\":[ 2 , 3 ],\"strategy\":\"sparse\"}}, \"é\u{1f600}\": \
         {{\"n_outliers\": 0, \"strategy\": \"int4\", \"outlier_fraction\": 1.50e-2, \"n_elements\":4, \"shape\": [4], \
         \"dtype\":\"float16\"}}, \"\\ud83d\\ude00\": {{\"n_cols\":4,\"shape\":[0,2,2],\"strategy\":\"quantized\",\
         \"n_elements\":0,\"dtype\":\"float32\",\"sparsity\":{{}}}}}}, \"strategy\":\"\",\"parent_hash\":\"{}\"}} \n",
        HASH.to_uppercase()
    );
    let header = parse_header(json.as_bytes()).unwrap();
    assert_eq!(
        (header.parent_hash.as_str(), header.strategy.as_str(), &header.base_name),
        (HASH, "", &None)
    );
    let names: Vec<_> = header.tensors.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["ü", "é\u{1f600}", "\u{1f600}"]);
    let [sparse, int4, quantized] = &header.tensors[..] else {
        panic!()
    };
    assert_eq!(
        (sparse.dtype, sparse.elements, sparse.kept, sparse.cols),
        (ResultDtype::Float64, 6, None, None)
    );
    // Its key is written with escapes.
    assert_eq!(sparse.option.as_deref(), Some("0.5"));
    assert_eq!((int4.kept, int4.option.as_deref()), (Some(0), Some("1.50e-2")));
    assert_eq!(
        (quantized.elements, quantized.cols, &quantized.option),
        (0, Some(4), &None)
    );
    assert_eq!(header.find("\u{1f600}"), Some(2));
    assert_eq!(header.find("u"), None);
}

#[test]
fn refuses_what_contradicts_itself() {
    let header = |tensors: &str| format!(r#"{{"parent_hash":"{HASH}","strategy":"int4","tensors":{tensors}}}"#);
    let one = |entry: &str| header(&format!(r#"{{"w":{{{entry}}}}}"#));
    let sparse = r#""strategy":"sparse","dtype":"float32""#;
    let int4 = r#""strategy":"int4","dtype":"float32","shape":[2,3]"#;
    let quantized = r#""strategy":"quantized","dtype":"float32","shape":[2,3],"n_elements":6"#;
    let cases = [
        (String::new(), Code::Malformed, "found the end"),
        ("null".into(), Code::Malformed, "parent_hash, strategy and tensors"),
        ("{}".into(), Code::Malformed, "parent_hash is missing"),
        (
            format!(r#"{{"parent_hash":"{HASH}","strategy":"int4"}}"#),
            Code::Malformed,
            "tensors is missing",
        ),
        (
            format!(r#"{{"parent_hash":"{HASH}","tensors":{{}}}}"#),
            Code::Malformed,
            "strategy is missing",
        ),
        (
            r#"{"parent_hash":"abc","strategy":"int4","tensors":{}}"#.into(),
            Code::Malformed,
            "64 hex digits",
        ),
        (
            format!(r#"{{"parent_hash":"g{}"}}"#, &HASH[1..]),
            Code::Malformed,
            "64 hex digits",
        ),
        (
            format!(r#"{{"parent_hash":"{HASH}","parent_hash":"{HASH}"}}"#),
            Code::Malformed,
            "comes twice",
        ),
        (header("{}") + "x", Code::Malformed, "found `x`"),
        (header("[]"), Code::Malformed, "one entry per tensor"),
        (header(r#"{"w":[]}"#), Code::Malformed, "strategy, shape and dtype"),
        (
            header(&format!(
                r#"{{"w":{{{sparse},"shape":[]}},"w":{{{sparse},"shape":[]}}}}"#
            )),
            Code::Malformed,
            "\"w\" comes twice",
        ),
        (one(sparse), Code::Malformed, "no shape"),
        (one(r#""strategy":"sparse","shape":[1]"#), Code::Malformed, "no dtype"),
        (one(r#""dtype":"float32","shape":[1]"#), Code::Malformed, "no strategy"),
        (
            one(r#""strategy":"lossless","dtype":"float32","shape":[1]"#),
            Code::Malformed,
            "\"lossless\"",
        ),
        (
            one(r#""strategy":"sparse","dtype":"bfloat16","shape":[1]"#),
            Code::UnsupportedDtype,
            "\"bfloat16\"",
        ),
        (
            one(&format!(r#"{sparse},"shape":[1],"shape":[1]"#)),
            Code::Malformed,
            "comes twice",
        ),
        (
            one(&format!(r#"{sparse},"shape":[1],"x":0,"x":0"#)),
            Code::Malformed,
            "comes twice",
        ),
        (
            one(&format!(r#"{sparse},"shape":[-1]"#)),
            Code::Malformed,
            "whole number",
        ),
        (
            one(&format!(r#"{sparse},"shape":[1.0]"#)),
            Code::Malformed,
            "whole number",
        ),
        (
            one(&format!(r#"{sparse},"shape":[null]"#)),
            Code::Malformed,
            "whole number",
        ),
        (
            one(&format!(r#"{sparse},"shape":[18446744073709551616]"#)),
            Code::Malformed,
            "whole number",
        ),
        (
            one(&format!(r#"{sparse},"shape":[4294967296,4294967296]"#)),
            Code::Malformed,
            "64 bits",
        ),
        (
            one(&format!(r#"{sparse},"shape":[{}1]"#, "1,".repeat(64))),
            Code::Limit,
            "more than 64",
        ),
        (one(int4), Code::Malformed, "no n_elements"),
        (
            one(&format!(r#"{int4},"n_elements":6"#)),
            Code::Malformed,
            "no n_outliers",
        ),
        (
            one(&format!(r#"{int4},"n_elements":7,"n_outliers":1"#)),
            Code::Malformed,
            "n_elements is 7",
        ),
        (
            one(&format!(r#"{int4},"n_elements":6,"n_outliers":7"#)),
            Code::Malformed,
            "n_outliers is 7",
        ),
        (
            one(&format!(r#"{int4},"n_elements":6,"n_outliers":-1"#)),
            Code::Malformed,
            "whole number",
        ),
        (one(quantized), Code::Malformed, "no n_cols"),
        (
            one(&format!(r#"{quantized},"n_cols":2"#)),
            Code::Malformed,
            "n_cols is 2",
        ),
    ];
    for (json, code, part) in cases {
        let error = parse_header(json.as_bytes()).unwrap_err();
        assert_eq!(error.code, code, "{json}: {error}");
        assert!(error.message.contains(part), "{json}: {error}");
        if json.contains("\"w\"") {
            assert_eq!(error.tensor.as_deref(), Some("w"), "{json}: {error}");
        }
    }
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let deep = open.repeat(10_000) + "0" + &close.repeat(10_000);
        for json in [
            one(&format!(r#""x":{deep}"#)),
            one(&format!(r#""sparsity":{deep}"#)),
            header(&deep),
            deep.clone(),
        ] {
            assert_eq!(parse_header(json.as_bytes()).unwrap_err().code, Code::Malformed);
        }
    }
}

/// 330 bytes that claim 10^13 elements: nothing may be allocated for them, and their arrays are not there.
#[test]
fn a_small_file_that_claims_much_costs_nothing() {
    let plan = |strategy| HeaderPlan {
        tensors: vec![tensor("w", strategy, &[10_000_000_000_000], 1, "0.5")],
        ..small()
    };
    for strategy in [Kind::Int4, Kind::Quantized, Kind::Sparse] {
        let mut file = preamble(&header_json(&plan(strategy))).unwrap();
        let end = file.len() as u64;
        file.extend([0; 32]);
        let (header, _) = open(&file).unwrap();
        assert_eq!(predict(&header, end, file.len() as u64, &["w"]), None);
        assert_eq!(walk_file(&file).unwrap_err().code, Code::Malformed);
        let field = strategy.fields().last().unwrap();
        let at = file.len() - 32;
        file.splice(at..at, record_header("w", field.name, field.dtype, 5_000_000_000_000));
        assert_eq!(walk_file(&file).unwrap_err().code, Code::Truncated);
    }
}

#[test]
fn every_prefix_and_every_flipped_byte_ends_in_a_result() {
    let file = file_of(&small(), &[2, 0, 1, 3]);
    let (header, end) = open(&file).unwrap();
    for cut in 0..file.len() {
        assert!(walk_file(&file[..cut]).is_err(), "cut at {cut}");
        // The same cut with the header known, as when a file shrinks between two reads.
        let mut walker = Walker::new(&header, end, cut as u64);
        let walked = walker
            .wants()
            .map(|r| walker.feed(file.get(r.offset as usize..r.end() as usize).unwrap_or_default()));
        if let Some(Err(error)) = walked {
            assert!(matches!(error.code, Code::Truncated | Code::Internal), "{error}");
        }
    }
    let mut edited = file.clone();
    let mut accepted = 0;
    for i in 0..file.len() {
        for byte in [file[i] ^ 1, file[i] ^ 0x80, file[i].wrapping_add(1), 0, 0xff] {
            edited[i] = byte;
            accepted += usize::from(walk_file(&edited).is_ok());
            if let Ok((header, end)) = open(&edited) {
                predict(&header, end, edited.len() as u64, &header.sorted_names());
            }
        }
        edited[i] = file[i];
    }
    // Data, the checksum and names that nobody checks here may change; structure may not.
    assert!(
        accepted > 0 && accepted < file.len() * 5 / 2,
        "{accepted} of {}",
        file.len() * 5
    );
}

fn plans() -> impl Strategy<Value = HeaderPlan> {
    let one = (
        prop::sample::select(vec![Kind::Int4, Kind::Sparse, Kind::Quantized]),
        prop::collection::vec(0..7u64, 0..4),
        any::<prop::sample::Index>(),
        prop_oneof![Just("0".to_owned()), (0.0..1.0f64).prop_map(py_float)],
    );
    let names = prop_oneof![
        "[a-z.0-9]{0,8}",
        "\\PC{0,4}",
        "[\u{0}-\u{a0}\u{ff5e}\u{1f600}\"\\\\]{1,4}"
    ];
    let tensors = prop::collection::btree_map(names, one, 0..8).prop_map(|map: BTreeMap<String, _>| {
        let built = map.into_iter().map(|(name, (strategy, shape, kept, option))| {
            let kept = kept.index(1 + shape.iter().product::<u64>() as usize) as u64;
            tensor(&name, strategy, &shape, kept, &option)
        });
        built.collect()
    });
    (tensors, prop::option::of("\\PC{0,9}"), "[0-9a-f]{64}").prop_map(|(tensors, base_name, parent_hash)| HeaderPlan {
        parent_hash,
        strategy: "sparse".into(),
        base_name,
        tensors,
    })
}

proptest! {
    #[test]
    fn written_headers_come_back(plan in plans()) {
        let json = header_json(&plan);
        prop_assert!(json.is_ascii());
        let header = parse_header(&json).unwrap();
        prop_assert_eq!(&header.parent_hash, &plan.parent_hash);
        prop_assert_eq!(&header.base_name, &plan.base_name);
        prop_assert_eq!(header.tensors.len(), plan.tensors.len());
        for (t, planned) in header.tensors.iter().zip(&plan.tensors) {
            prop_assert_eq!((&t.name, t.strategy, &t.shape), (&planned.name, planned.strategy, &planned.shape));
            prop_assert_eq!(t.elements, planned.elements);
            match t.strategy {
                Kind::Int4 => prop_assert_eq!(t.kept, Some(planned.kept)),
                Kind::Sparse => prop_assert_eq!(t.option.as_ref(), Some(&planned.option)),
                Kind::Quantized => prop_assert!(t.cols.is_some()),
            }
        }
    }

    #[test]
    fn written_files_are_walked_however_they_are_read(plan in plans(), keys: u64, extra in 0usize..300) {
        let mut order: Vec<usize> = (0..plan.tensors.len()).collect();
        order.sort_by_key(|i| keys.rotate_left(7 * *i as u32) % 17);
        let file = file_of(&plan, &order);
        let (header, end) = open(&file).unwrap();
        let (placed, _) = walk(&header, end, &file, extra).unwrap();
        let names: Vec<_> = order.iter().map(|&i| plan.tensors[i].name.clone()).collect();
        prop_assert_eq!(&placed.order, &names);
        for (t, records) in plan.tensors.iter().zip(&placed.tensors) {
            let expected = array_elements(t.strategy, &t.shape, t.kept);
            let found: Vec<_> = records.iter().map(|r| r.elements).collect();
            prop_assert_eq!(&found[..], &expected[..found.len()]);
        }
        if let Some(predicted) = predict(&header, end, file.len() as u64, &names) {
            prop_assert_eq!(predicted.order, names);
        }
    }

    #[test]
    fn damaged_files_end_in_a_result(
        plan in plans(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        cut in any::<prop::sample::Index>(),
    ) {
        let order: Vec<usize> = (0..plan.tensors.len()).collect();
        let mut file = file_of(&plan, &order);
        for (at, byte) in edits {
            let i = at.index(file.len());
            file[i] = byte;
            let _ = walk_file(&file);
        }
        file.truncate(cut.index(file.len() + 1));
        let _ = walk_file(&file);
    }

    #[test]
    fn any_bytes_end_in_a_result(bytes in prop::collection::vec(any::<u8>(), 0..96), json in "[\\[\\]{}\":,0-9a-z_. -]{0,80}") {
        let _ = parse_header(&bytes);
        let _ = parse_header(json.as_bytes());
        if let Ok(Some((record, used))) = parse_record(&bytes) {
            prop_assert!(used <= bytes.len());
            prop_assert!(record.name.len() + record.field.len() + record.dtype.len() <= used);
        }
    }
}
