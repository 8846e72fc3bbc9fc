//! What errors say where they repeat what a caller or a file gave: which of it is wrong, what it should be, and no more
//! than can be read.

mod common;

use common::{f32s, safetensors, Memory};
use serde_json::json;
use wdelta::error::{Code, Error};
use wdelta::job::machine::Role;
use wdelta::job::start_job;

/// The error of a job that does not even begin.
fn refused(kind: &str, options: &str) -> Error {
    let begun = start_job(kind, options, Vec::new());
    begun.err().unwrap_or_else(|| panic!("{kind} begins with {options}"))
}

#[test]
fn a_wrong_option_is_named_with_what_it_takes_and_what_was_given() {
    for (kind, options, message) in [
        (
            "stats",
            r#"{"bins":-1}"#,
            "option bins must be a whole number from 1 to 4096; got -1",
        ),
        (
            "stats",
            r#"{"bins":1e30}"#,
            "option bins must be a whole number from 1 to 4096; got 1e30",
        ),
        (
            "stats",
            r#"{"names":["a",5]}"#,
            "option names must be a list of tensor names; got 5",
        ),
        (
            "encode",
            r#"{"effort":true}"#,
            "option effort must be a whole number from 0 to 3; got true",
        ),
        (
            "encode",
            r#"{"lowRank":"of"}"#,
            r#"option lowRank must be one of auto, off; got "of""#,
        ),
        (
            "encode",
            r#"{"ratio":"0.5"}"#,
            r#"option ratio must be a number from 1 on: how many times smaller the delta is to be; got "0.5""#,
        ),
        (
            "encode",
            r#"{"baseName":["a","b"]}"#,
            "option baseName must be a text; got a list of 2",
        ),
        (
            "encode",
            r#"{"baseName":"half a pair: \ud800"}"#,
            "options are a JSON object of valid Unicode, without lone surrogates",
        ),
        (
            "decode",
            r#"{"verify":{}}"#,
            "option verify must be true or false; got an object",
        ),
        (
            "tensors",
            r#"{"rows":[1]}"#,
            "option rows must be a list of two row numbers, the first and one past the last; got a list of 1",
        ),
        (
            "tensors",
            r#"{"rows":[0,1.5]}"#,
            "option rows must be a list of two row numbers, the first and one past the last; got 1.5",
        ),
        ("hash", r#"{"like":1}"#, r#"there is no option "like" here"#),
    ] {
        let e = refused(kind, options);
        assert_eq!((e.code, e.message.as_str()), (Code::Usage, message));
    }
}

#[test]
fn a_base_name_that_no_delta_can_hold_is_refused_for_either_version() {
    for strategy in ["lossless", "int4"] {
        let options = |n: usize| json!({ "strategy": strategy, "baseName": "x".repeat(n) }).to_string();
        let e = refused("encode", &options(65_537));
        assert_eq!(e.code, Code::Limit);
        assert!(
            e.message.starts_with("baseName has 65537 bytes, more than the 65536"),
            "{e}"
        );
        assert!(start_job("encode", &options(65_536), Vec::new()).is_ok());
    }
}

#[test]
fn long_names_are_shortened_in_sentences_and_whole_beside_them() {
    let name = format!("first{}last", "\u{1f600}".repeat(15_000));
    let model = |shape: &[u64], n: usize| safetensors(&[(name.as_str(), "F32", shape.to_vec(), f32s(&vec![1.0; n]))]);
    let pair = || {
        Memory::new()
            .with(Role::Base, 0, "base.safetensors", model(&[4], 4))
            .with(Role::Finetuned, 0, "fine.safetensors", model(&[5], 5))
    };
    let check = |e: Error| {
        assert_eq!(e.tensor.as_ref(), Some(&name));
        assert!(e.message.chars().count() < 500, "{e}");
        assert!(e.message.contains("\"first") && e.message.contains("last\""), "{e}");
        assert!(e.message.contains('…'), "{e}");
    };
    check(pair().run("encode", r#"{"strategy":"int4"}"#).unwrap_err());
    check(
        pair()
            .run("tensors", &json!({ "names": [name], "rows": [3, 7] }).to_string())
            .unwrap_err(),
    );
    let mut of_another = Memory::new().with(Role::Base, 0, "base.safetensors", safetensors(&[]));
    check(
        of_another
            .run("tensors", &json!({ "names": [name] }).to_string())
            .unwrap_err(),
    );
}
