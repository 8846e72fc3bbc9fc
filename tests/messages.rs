//! What errors say where they repeat what a caller gave: which of it is wrong, and what it should be.

use serde_json::json;
use wdelta::error::{Code, Error};
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
