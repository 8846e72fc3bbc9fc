//! Safetensors headers and indexes: the same judgement as the `safetensors` crate, and no panic on hostile bytes.
#![cfg(not(target_arch = "wasm32"))]

use proptest::prelude::*;
use safetensors::SafeTensors;
use std::collections::{BTreeMap, BTreeSet};
use wdelta::dtype::Dtype;
use wdelta::error::{Code, Error};
use wdelta::format::safetensors::header::{header_len, parse_header, Entry, Header};
use wdelta::format::safetensors::index::{parse_index, rewrite_index};
use wdelta::format::safetensors::writer::header_bytes;
use wdelta::offset::ByteRange;

/// Both ways from a whole file to what its header says.
fn ours(file: &[u8]) -> Result<Header, Error> {
    let Some(first) = file.first_chunk() else {
        return header_len([2, 0, 0, 0, 0, 0, 0, 0], file.len() as u64).and(Ok(Header::default()));
    };
    let len = header_len(*first, file.len() as u64)?;
    let (json, data) = file[8..].split_at(len as usize);
    parse_header(json, data.len() as u64)
}

type Entries = BTreeMap<String, (String, Vec<u64>, u64, u64)>;

fn our_entries(header: &Header) -> Entries {
    let entry = |e: &wdelta::format::safetensors::header::Entry| {
        (
            e.name.clone(),
            (
                e.dtype.name().to_owned(),
                e.shape.clone(),
                e.range.offset,
                e.range.end(),
            ),
        )
    };
    header.tensors.iter().map(entry).collect()
}

fn crate_entries(file: &[u8]) -> Result<Entries, safetensors::SafeTensorError> {
    let (_, metadata) = SafeTensors::read_metadata(file)?;
    let entry = |(name, info): (String, &safetensors::tensor::TensorInfo)| {
        let dtype = format!("{:?}", info.dtype);
        let shape = info.shape.iter().map(|d| *d as u64).collect();
        (
            name,
            (dtype, shape, info.data_offsets.0 as u64, info.data_offsets.1 as u64),
        )
    };
    Ok(metadata.tensors().into_iter().map(entry).collect())
}

/// Both agree, or differ where the documentation says so: we refuse names that come twice, and take a shape with a zero
/// whose other dimensions overflow.
fn assert_same_judgement(file: &[u8]) {
    match (ours(file), crate_entries(file)) {
        (Ok(header), Ok(entries)) => assert_eq!(our_entries(&header), entries),
        (Err(error), Ok(_)) => assert!(error.message.contains("twice"), "only we refuse: {error}"),
        (Ok(header), Err(error)) => {
            let zero = header.tensors.iter().any(|t| t.shape.contains(&0));
            assert!(
                zero && error.to_string().contains("overflow"),
                "only the crate refuses: {error}"
            );
        }
        (Err(_), Err(_)) => {}
    }
}

fn file(json: &str, data_len: usize) -> Vec<u8> {
    let mut file = (json.len() as u64).to_le_bytes().to_vec();
    file.extend(json.as_bytes());
    file.resize(file.len() + data_len, 0);
    file
}

#[test]
fn dtypes_are_those_of_the_crate() {
    // The crate has no list to ask for, but it names all in its error.
    let error = serde_json::from_str::<safetensors::Dtype>("\"?\"")
        .unwrap_err()
        .to_string();
    let theirs: BTreeSet<_> = error.split('`').skip(3).step_by(2).map(str::to_owned).collect();
    assert!(theirs.len() >= 20, "{error}");
    for name in &theirs {
        let crate_dtype: safetensors::Dtype = serde_json::from_str(&format!("{name:?}")).unwrap();
        assert_eq!(
            Dtype::parse(name).unwrap().bits(),
            crate_dtype.bitsize() as u64,
            "{name}"
        );
    }
    let own = (0..).map_while(Dtype::from_number);
    assert_eq!(own.map(|d| d.name().to_owned()).collect::<BTreeSet<_>>(), theirs);
}

#[test]
fn takes_what_the_crate_takes() {
    let cases = [
        ("{}", 0),
        (" {}\n", 0),
        (r#"{"__metadata__":null}"#, 0),
        (r#"{"__metadata__":{"a":"b","ü":"\u00fc"}}   "#, 0),
        (r#"{"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}"#, 4),
        (r#"{"":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}"#, 3),
        (r#"{"e":{"dtype":"F64","shape":[0,7],"data_offsets":[0,0]}}"#, 0),
        (r#"{"p":{"dtype":"F4","shape":[2,3],"data_offsets":[0,3]}}"#, 3),
        (
            r#"{"x":{"shape":[2],"more":[{"deep":null}],"data_offsets":[0,4],"dtype":"BF16"}}"#,
            4,
        ),
        // Not in the order of their bytes, and not aligned.
        (
            r#"{"b":{"dtype":"F64","shape":[1],"data_offsets":[1,9]},"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},
                "e":{"dtype":"F32","shape":[0],"data_offsets":[1,1]}}"#,
            9,
        ),
    ];
    for (json, data_len) in cases {
        let file = file(json, data_len);
        let header = ours(&file).unwrap_or_else(|e| panic!("{json}: {e}"));
        assert_eq!(our_entries(&header), crate_entries(&file).unwrap(), "{json}");
    }
    let header = ours(&file(cases[3].0, 0)).unwrap();
    assert_eq!(
        header.metadata,
        [("a".to_owned(), "b".to_owned()), ("ü".to_owned(), "ü".to_owned())]
    );
    let header = ours(&file(cases[9].0, 9)).unwrap();
    assert_eq!(
        header.tensors.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(),
        ["b", "a", "e"]
    );
    assert_eq!(header.tensors[0].range, ByteRange { offset: 1, len: 8 });
}

#[test]
fn refuses_with_code_tensor_and_place() {
    let one = |entry: &str| format!(r#"{{"w":{{{entry}}}}}"#);
    let cases = [
        ("", 0, Code::Malformed, "at byte 8"),
        ("[]", 0, Code::Malformed, "one entry per tensor"),
        ("{", 0, Code::Malformed, "found the end"),
        ("{}x", 0, Code::Malformed, "found `x`"),
        ("{}", 1, Code::Malformed, "bytes after the last tensor"),
        (r#"{"__metadata__":{"a":1}}"#, 0, Code::Malformed, "expected a text"),
        (
            r#"{"__metadata__":{"a":"1","a":"2"}}"#,
            0,
            Code::Malformed,
            "comes twice",
        ),
        (
            r#"{"__metadata__":{},"__metadata__":{}}"#,
            0,
            Code::Malformed,
            "comes twice",
        ),
        (r#"{"w":null}"#, 0, Code::Malformed, "dtype, shape and data_offsets"),
        (
            r#"{"w":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"I8","shape":[1],"data_offsets":[1,2]}}"#,
            2,
            Code::Malformed,
            "\"w\" twice",
        ),
        (
            r#"{"w":{"dtype":"I8","shape":[2],"data_offsets":[0,2]},"v":{"dtype":"I8","shape":[2],"data_offsets":[1,3]}}"#,
            3,
            Code::Malformed,
            "inside \"w\"",
        ),
        (
            r#"{"w":{"dtype":"I8","shape":[2],"data_offsets":[0,2]},"v":{"dtype":"I8","shape":[2],"data_offsets":[3,5]}}"#,
            5,
            Code::Malformed,
            "bytes 2 to 3",
        ),
        (
            &one(r#""dtype":"I8","shape":[2],"data_offsets":[1,3]"#),
            3,
            Code::Malformed,
            "bytes 0 to 1",
        ),
        (
            &one(r#""dtype":"I8","shape":[2],"data_offsets":[0,2]"#),
            1,
            Code::Truncated,
            "the file has 1",
        ),
        (
            &one(r#""dtype":"I8","shape":[2],"data_offsets":[0,3]"#),
            3,
            Code::Malformed,
            "takes 2 bytes",
        ),
        (
            &one(r#""dtype":"I8","shape":[2],"data_offsets":[2,0]"#),
            2,
            Code::Malformed,
            "end before",
        ),
        (
            &one(r#""dtype":"I8","shape":[2],"data_offsets":[0]"#),
            2,
            Code::Malformed,
            "has 1 numbers",
        ),
        (
            &one(r#""dtype":"I8","shape":[2],"data_offsets":[0,2,4]"#),
            2,
            Code::Limit,
            "more than 2 numbers",
        ),
        (
            &one(r#""dtype":"I8","shape":[-2],"data_offsets":[0,2]"#),
            2,
            Code::Malformed,
            "`-2`",
        ),
        (
            &one(r#""dtype":"I8","shape":[2.0],"data_offsets":[0,2]"#),
            2,
            Code::Malformed,
            "found `2.0`",
        ),
        (
            &one(r#""dtype":"I8","shape":[1e1],"data_offsets":[0,10]"#),
            10,
            Code::Malformed,
            "found `1e1`",
        ),
        (
            &one(r#""dtype":"I8","shape":[null],"data_offsets":[0,2]"#),
            2,
            Code::Malformed,
            "null",
        ),
        (
            &one(r#""dtype":"I8","shape":[99999999999999999999],"data_offsets":[0,2]"#),
            2,
            Code::Malformed,
            "a whole number",
        ),
        (
            &one(r#""dtype":"I8","shape":[18446744073709551615,2],"data_offsets":[0,2]"#),
            2,
            Code::Malformed,
            "64 bits",
        ),
        (
            &one(r#""dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]"#),
            0,
            Code::Malformed,
            "\"w\"",
        ),
        (
            &one(r#""dtype":"F4","shape":[3],"data_offsets":[0,2]"#),
            2,
            Code::Malformed,
            "whole bytes",
        ),
        (
            &one(r#""dtype":"f32","shape":[],"data_offsets":[0,4]"#),
            4,
            Code::UnsupportedDtype,
            "\"f32\"",
        ),
        (
            &one(r#""dtype":3,"shape":[],"data_offsets":[0,4]"#),
            4,
            Code::Malformed,
            "expected a dtype",
        ),
        (
            &one(r#""shape":[],"data_offsets":[0,4]"#),
            4,
            Code::Malformed,
            "dtype is missing",
        ),
        (
            &one(r#""dtype":"F32","dtype":"F32","shape":[],"data_offsets":[0,4]"#),
            4,
            Code::Malformed,
            "comes twice",
        ),
        (
            &one(r#""x":1,"x":2,"dtype":"F32","shape":[],"data_offsets":[0,4]"#),
            4,
            Code::Malformed,
            "comes twice",
        ),
    ];
    for (json, data_len, code, part) in cases {
        let file = file(json, data_len);
        let error = parse_header(json.as_bytes(), data_len as u64).unwrap_err();
        assert_eq!(error.code, code, "{json}: {error}");
        assert!(error.message.contains(part), "{json}: {error}");
        if json.contains("\"w\":{") {
            assert!(error.tensor.is_some(), "{json}: {error:?}");
        }
        assert_same_judgement(&file);
    }
}

#[test]
fn errors_count_bytes_from_the_start_of_the_file() {
    let json = "{\n \"w\": {\n  \"dtype\": \"F32\",\n  \"shape\": [-1]}}";
    let error = parse_header(json.as_bytes(), 0).unwrap_err();
    let at = json.find("-1").unwrap() as u64 + 8;
    assert!(
        error.offset.is_some_and(|o| (at..=at + 2).contains(&o)),
        "{error:?}, expected {at}"
    );
    assert!(error.message.contains("in the entry of tensor \"w\""), "{error}");
}

#[test]
fn header_lengths_are_held_against_the_file() {
    let len = |n: u64, file: u64| header_len(n.to_le_bytes(), file);
    assert_eq!(len(2, 10).unwrap(), 2);
    assert_eq!(len(100_000_000, 1 << 40).unwrap(), 100_000_000);
    assert_eq!(len(1, 10).unwrap_err().code, Code::Malformed);
    assert_eq!(len(3, 10).unwrap_err().code, Code::Truncated);
    assert_eq!(len(u64::MAX, u64::MAX).unwrap_err().code, Code::Truncated);
    assert_eq!(len(2, 5).unwrap_err().code, Code::Truncated);
    assert_eq!(len(100_000_001, 1 << 40).unwrap_err().code, Code::Limit);
}

#[test]
fn offsets_beyond_four_gib_are_kept() {
    let json = r#"{"a":{"dtype":"BF16","shape":[6000000000],"data_offsets":[0,12000000000]},
                   "b":{"dtype":"U8","shape":[1],"data_offsets":[12000000000,12000000001]}}"#;
    let header = parse_header(json.as_bytes(), 12_000_000_001).unwrap();
    assert_eq!(
        header.tensors[1].range,
        ByteRange {
            offset: 12_000_000_000,
            len: 1
        }
    );
}

#[test]
fn limits_hold() {
    let entry = |shape: &str| format!(r#"{{"w":{{"dtype":"I8","shape":[{shape}],"data_offsets":[0,1]}}}}"#);
    let ones = |n: usize| vec!["1"; n].join(",");
    assert!(parse_header(entry(&ones(64)).as_bytes(), 1).is_ok());
    assert_eq!(
        parse_header(entry(&ones(65)).as_bytes(), 1).unwrap_err().code,
        Code::Limit
    );
    let named = |n: usize| {
        format!(
            r#"{{"{}":{{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}}}"#,
            "n".repeat(n)
        )
    };
    assert!(parse_header(named(65_536).as_bytes(), 1).is_ok());
    assert_eq!(parse_header(named(65_537).as_bytes(), 1).unwrap_err().code, Code::Limit);
    let keys = |n: usize| (0..n).map(|i| format!(r#""k{i}":0,"#)).collect::<String>();
    let unknown = |n| {
        format!(
            r#"{{"w":{{{}"dtype":"I8","shape":[1],"data_offsets":[0,1]}}}}"#,
            keys(n)
        )
    };
    assert!(parse_header(unknown(64).as_bytes(), 1).is_ok());
    assert_eq!(parse_header(unknown(65).as_bytes(), 1).unwrap_err().code, Code::Limit);
}

#[test]
fn more_than_a_million_tensors_are_refused() {
    let too_many = |value: &str| {
        let mut json = String::from("{");
        for i in 0..1_000_000 {
            json.extend(["\"", &i.to_string(), "\":", value, ","]);
        }
        json + "\"last\":" + value + "}"
    };
    let json = format!("{{\"weight_map\":{}}}", too_many("\"f\""));
    assert_eq!(parse_index(json.as_bytes()).unwrap_err().code, Code::Limit);
    let json = too_many(r#"{"dtype":"I8","shape":[0],"data_offsets":[0,0]}"#);
    assert_eq!(parse_header(json.as_bytes(), 0).unwrap_err().code, Code::Limit);
}

#[test]
fn deep_json_ends_in_an_error() {
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let deep = open.repeat(10_000) + "0" + &close.repeat(10_000);
        for json in [
            format!(r#"{{"w":{{"x":{deep}}}}}"#),
            format!(r#"{{"w":{{"shape":{deep}}}}}"#),
            format!(r#"{{"__metadata__":{deep}}}"#),
            format!(r#"{{"w":{deep}}}"#),
            deep.clone(),
        ] {
            assert_eq!(parse_header(json.as_bytes(), 0).unwrap_err().code, Code::Malformed);
            let index = format!(r#"{{"metadata":{{"a":{deep}}},"weight_map":{{}}}}"#);
            assert_eq!(parse_index(index.as_bytes()).unwrap_err().code, Code::Malformed);
        }
    }
}

#[test]
fn indexes_keep_order_and_spelling() {
    let json = "{\n \"weight_map\": {\"b\": \"m-2.safetensors\", \"\\u00fc\": \"m-1.safetensors\"},\r\n \"other\": [],\
                \"metadata\": {\"total_size\": 1.0e3, \"mixed\" : {\"a\": [1, 2]}, \"dtype\":\"bf\\\"16\"}}";
    let index = parse_index(json.as_bytes()).unwrap();
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(
        index.weight_map,
        [pair("b", "m-2.safetensors"), pair("ü", "m-1.safetensors")]
    );
    assert_eq!(
        index.metadata,
        [
            pair("total_size", "1.0e3"),
            pair("mixed", r#"{"a": [1, 2]}"#),
            pair("dtype", r#""bf\"16""#)
        ]
    );
    assert_eq!(index.files(), ["m-1.safetensors", "m-2.safetensors"]);
    assert_eq!(parse_index(&index.to_bytes()).unwrap(), index);
    let written = String::from_utf8(rewrite_index(&index, &[pair("w", "x.safetensors")], 12)).unwrap();
    let expected = "{\n  \"metadata\": {\n    \"total_size\": 12,\n    \"mixed\": {\"a\": [1, 2]},\n    \"dtype\": \
                    \"bf\\\"16\"\n  },\n  \"weight_map\": {\n    \"w\": \"x.safetensors\"\n  }\n}\n";
    assert_eq!(written, expected);
    let bare = parse_index(br#"{"metadata":null,"weight_map":{}}"#).unwrap();
    assert_eq!(bare.to_bytes(), b"{\n  \"weight_map\": {}\n}\n");
}

#[test]
fn indexes_name_plain_files_only() {
    for file in [
        "../w.safetensors",
        "a/b",
        "a\\\\b",
        "..",
        ".",
        "",
        "/etc/passwd",
        "C:x",
        "a\\u0000b",
        &"n".repeat(256),
    ] {
        let json = format!(r#"{{"weight_map":{{"w":"{file}"}}}}"#);
        let error = parse_index(json.as_bytes()).unwrap_err();
        assert_eq!(error.code, Code::Malformed, "{file}");
        assert_eq!(error.tensor.as_deref(), Some("w"));
        assert!(error.message.contains("plain names"), "{error}");
    }
    for (json, part) in [
        (r#"{"weight_map":{"w":"a","w":"a"}}"#, "twice"),
        (r#"{"weight_map":{},"weight_map":{}}"#, "twice"),
        (r#"{"metadata":{"a":1,"a":1},"weight_map":{}}"#, "twice"),
        (r#"{"metadata":{}}"#, "weight_map is missing"),
        (r#"{"metadata":3,"weight_map":{}}"#, "under metadata"),
        (r#"{"weight_map":{"w":3}}"#, "expected a file name"),
        ("[]", "weight_map"),
    ] {
        let error = parse_index(json.as_bytes()).unwrap_err();
        assert!(error.message.contains(part), "{json}: {error}");
    }
}

/// A model's header by chance: names, dtypes and shapes, laid out in some order, written in another.
fn tensors() -> impl Strategy<Value = Vec<Entry>> {
    let dtypes = [
        Dtype::BOOL,
        Dtype::F4,
        Dtype::BF16,
        Dtype::F32,
        Dtype::F64,
        Dtype::F6_E2M3,
        Dtype::U64,
    ];
    let one = (
        prop_oneof![
            "[a-c]{1,2}",
            "\\PC{0,6}",
            Just("__metadata".to_owned()),
            Just("\u{1f600}\"\\\u{1}".to_owned())
        ],
        prop::sample::select(dtypes.to_vec()),
        prop::collection::vec(prop_oneof![Just(0), Just(1), Just(2), 3..9u64], 0..4),
        any::<u32>(),
    );
    prop::collection::btree_map("[a-z]", one, 0..6).prop_map(|map| {
        let mut seen = BTreeSet::new();
        let mut list: Vec<_> = map.into_values().filter(|t| seen.insert(t.0.clone())).collect();
        let mut at = 0;
        let mut placed = Vec::new();
        for (name, dtype, shape, key) in list.drain(..) {
            let n = shape.iter().product();
            let Some(len) = dtype.bytes_of(n) else { continue };
            let range = ByteRange { offset: at, len };
            placed.push((
                key,
                Entry {
                    name,
                    dtype,
                    shape,
                    range,
                },
            ));
            at += len;
        }
        placed.sort_by_key(|p| p.0);
        placed.into_iter().map(|p| p.1).collect()
    })
}

fn metadata() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::btree_map("\\PC{0,4}", "\\PC{0,4}", 0..3).prop_map(|m| m.into_iter().collect())
}

fn whole_file(metadata: &[(String, String)], tensors: &[Entry]) -> Vec<u8> {
    let mut file = header_bytes(metadata, tensors);
    let data_len: u64 = tensors.iter().map(|t| t.range.len).sum();
    file.resize(file.len() + data_len as usize, 0);
    file
}

proptest! {
    #[test]
    fn written_headers_are_read_by_both(metadata in metadata(), tensors in tensors()) {
        let file = whole_file(&metadata, &tensors);
        let header = ours(&file).unwrap();
        let data_offset = 8 + u64::from_le_bytes(file[..8].try_into().unwrap());
        prop_assert_eq!(data_offset % 8, 0);
        prop_assert_eq!(&header.metadata, &metadata);
        prop_assert_eq!(&header.tensors, &tensors);
        prop_assert_eq!(our_entries(&header), crate_entries(&file).unwrap());
    }

    #[test]
    fn damaged_headers_get_the_same_judgement(
        metadata in metadata(),
        tensors in tensors(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let file = whole_file(&metadata, &tensors);
        let mut edited = file.clone();
        for (at, byte) in edits {
            let i = at.index(edited.len());
            edited[i] = byte;
            assert_same_judgement(&edited);
        }
        assert_same_judgement(&file[..cut.index(file.len())]);
    }

    #[test]
    fn changed_numbers_get_the_same_judgement(tensors in tensors(), which: prop::sample::Index, by in -3i64..4, what in 0..3) {
        if tensors.is_empty() {
            return Ok(());
        }
        let mut changed = tensors.clone();
        let i = which.index(changed.len());
        match what {
            0 => changed[i].range.offset = changed[i].range.offset.saturating_add_signed(by),
            1 => changed[i].range.len = changed[i].range.len.saturating_add_signed(by),
            _ => changed[i].shape.push(by.unsigned_abs()),
        }
        let mut file = header_bytes(&[], &changed);
        let data_len: u64 = tensors.iter().map(|t| t.range.len).sum();
        file.resize(file.len() + data_len as usize, 0);
        assert_same_judgement(&file);
    }

    #[test]
    fn any_bytes_end_in_a_result(bytes in prop::collection::vec(any::<u8>(), 0..64), json in "[\\[\\]{}\":,0-9a-z_. -]{0,80}") {
        let _ = parse_header(&bytes, 0);
        let _ = parse_index(&bytes);
        assert_same_judgement(&file(&json, 0));
        let _ = parse_index(json.as_bytes());
    }
}

#[test]
fn every_prefix_and_every_flipped_byte_of_a_file_is_judged_alike() {
    let json = r#"{"__metadata__":{"k":"v"},"b":{"dtype":"F32","shape":[2,1],"data_offsets":[1,9]},
        "a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}"#;
    let file = file(json, 9);
    for cut in 0..file.len() {
        assert_same_judgement(&file[..cut]);
    }
    let mut edited = file.clone();
    for i in 0..file.len() {
        for byte in [file[i] ^ 1, file[i] ^ 0x80, 0, b'"', b'0', b'}', 0xff] {
            edited[i] = byte;
            assert_same_judgement(&edited);
        }
        edited[i] = file[i];
    }
}
