//! Float64 as text and back: natively by Rust's library, in wasm by the JavaScript engine, with the same results.
//!
//! `cargo test --test decimal`, and the same with `--target wasm32-unknown-unknown` and `wasm-bindgen-test-runner`.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use wdelta::decimal::{brief, parse, shortest};
use wdelta::format::v1::number::py_float;

/// Value, shortest spelling, Python's spelling.
const CASES: [(f64, &str, &str); 14] = [
    (0.0, "0e0", "0.0"),
    (-0.0, "-0e0", "-0.0"),
    (1.0, "1e0", "1.0"),
    (-2.5, "-2.5e0", "-2.5"),
    (0.01, "1e-2", "0.01"),
    (0.1 + 0.2, "3.0000000000000004e-1", "0.30000000000000004"),
    (0.00012, "1.2e-4", "0.00012"),
    (1e-5, "1e-5", "1e-05"),
    (123456789.0, "1.23456789e8", "123456789.0"),
    (1e16, "1e16", "1e+16"),
    // Exactly between two shortest spellings: the even one.
    (7206057264377977.0 / 4.0, "1.8015143160944942e15", "1801514316094494.2"),
    (5e-324, "5e-324", "5e-324"),
    (
        2.2250738585072014e-308,
        "2.2250738585072014e-308",
        "2.2250738585072014e-308",
    ),
    (f64::MAX, "1.7976931348623157e308", "1.7976931348623157e+308"),
];

#[test]
fn spells_and_reads_back() {
    for (x, short, python) in CASES {
        assert_eq!(shortest(x), short);
        assert_eq!(py_float(x), python);
        for text in [short, python] {
            assert_eq!(parse(text).map(f64::to_bits), Some(x.to_bits()), "{text}");
        }
    }
}

#[test]
fn reads_decimals_only() {
    let taken = [
        (".5", 0.5),
        ("1.", 1.0),
        ("+0.010", 0.01),
        ("1E2", 100.0),
        ("007", 7.0),
        ("1e999", f64::INFINITY),
    ];
    for (text, x) in taken {
        assert_eq!(parse(text), Some(x), "{text}");
    }
    // JavaScript's `Number` would take most of these, Rust's `parse` some.
    for text in [
        "", " ", "-", ".", "e5", "1e", "1e+", " 1", "1 ", "inf", "Infinity", "NaN", "0x10", "0b1", "1_000", "0,5",
        "--1", "٣",
    ] {
        assert_eq!(parse(text), None, "{text:?}");
    }
}

/// Exactly half way between two floats, and off it by a digit far behind: the last bit depends on every digit.
#[test]
fn rounds_exactly() {
    let half_way = "9007199254740993";
    assert_eq!(parse(half_way), Some(9007199254740992.0));
    assert_eq!(
        parse(&format!("{half_way}.{}1", "0".repeat(100))),
        Some(9007199254740994.0)
    );
    let smallest = "2.4703282292062327208e-324";
    assert_eq!(parse(smallest), Some(0.0));
    assert_eq!(parse("2.4703282292062327209e-324"), Some(5e-324));
}

#[test]
fn cuts_digits_for_sentences() {
    let cases = [
        (0.012345, "1.23e-2"),
        (-9.999e7, "-9.99e7"),
        (2.0, "2e0"),
        (1.5, "1.5e0"),
        (f64::NAN, "infinity or NaN"),
    ];
    for (x, text) in cases {
        assert_eq!(brief(x), text);
    }
}
