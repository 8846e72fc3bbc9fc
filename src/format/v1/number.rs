//! Numbers as Python writes them, since an option's spelling is part of the header's bytes.

use crate::decimal;
use crate::error::{quoted, Code, Error, Result};

/// `x` as Python's `repr` gives it: the shortest digits that read back as the same value, always with a point or an
/// exponent; exponents below 1e-4 and from 1e16 on.
///
/// ```
/// use wdelta::format::v1::number::py_float;
/// assert_eq!([py_float(0.0), py_float(1e-5), py_float(0.1 + 0.2)], ["0.0", "1e-05", "0.30000000000000004"]);
/// ```
pub fn py_float(x: f64) -> String {
    if !x.is_finite() {
        let text = if x.is_nan() { "nan" } else { "inf" };
        return if x < 0.0 { format!("-{text}") } else { text.into() };
    }
    let sign = if x.is_sign_negative() { "-" } else { "" };
    let scientific = decimal::shortest(x.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..16).contains(&exponent) {
        let of_exponent = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{mantissa}e{of_exponent}{:02}", exponent.abs());
    }
    let mut digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    // The point stands after this many digits; what is missing on either side is zeros.
    let mut point = 1 + exponent;
    while point < 1 {
        digits.insert(0, '0');
        point += 1;
    }
    while digits.len() <= point as usize {
        digits.push('0');
    }
    digits.insert(point as usize, '.');
    digits.insert_str(0, sign);
    digits
}

/// The spelling in the header and the value of an option that was given as text.
///
/// An integer stays an integer, as in Python (`0` and `0.0` differ in the header); any other number becomes Python's
/// spelling of its value. `USAGE` for what is not a finite number.
pub fn option_text(spelled: &str) -> Result<(String, f64)> {
    let text = spelled.trim();
    let value = decimal::parse(text).filter(|v| v.is_finite());
    let Some(value) = value else {
        return Err(Error::new(
            Code::Usage,
            format!(
                "{spelled} is not a number; give one such as 0.01",
                spelled = quoted(spelled)
            ),
        ));
    };
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_integer = digits.bytes().all(|b| b.is_ascii_digit()) && (digits.len() == 1 || !digits.starts_with('0'));
    Ok(match is_integer {
        // Python's integers have no negative zero.
        true if value == 0.0 => ("0".into(), 0.0),
        true => (text.into(), value),
        false => (py_float(value), value),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What `repr` of Python 3 gives.
    #[test]
    fn floats_look_like_pythons() {
        let cases = [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (0.01, "0.01"),
            (0.9, "0.9"),
            (1.0, "1.0"),
            (-2.5, "-2.5"),
            (0.0001, "0.0001"),
            (0.00012, "0.00012"),
            (1e-5, "1e-05"),
            (1.5e-5, "1.5e-05"),
            (1e-100, "1e-100"),
            (0.1 + 0.2, "0.30000000000000004"),
            (123456789.0, "123456789.0"),
            (9999999999999998.0, "9999999999999998.0"),
            (1e16, "1e+16"),
            (1.2345678901234568e19, "1.2345678901234567e+19"),
            // Exactly between two shortest spellings: the even one.
            (7206057264377977.0 / 4.0, "1801514316094494.2"),
            (5e-324, "5e-324"),
            (2.2250738585072014e-308, "2.2250738585072014e-308"),
            (f64::MAX, "1.7976931348623157e+308"),
            (9007199254740993.0, "9007199254740992.0"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ];
        for (x, text) in cases {
            assert_eq!(py_float(x), text);
        }
    }

    #[test]
    fn integers_stay_as_spelled() {
        let cases = [
            ("0", "0", 0.0),
            ("-0", "0", 0.0),
            ("3", "3", 3.0),
            (" 10 ", "10", 10.0),
            ("-7", "-7", -7.0),
            (
                "123456789012345678901234567890",
                "123456789012345678901234567890",
                1.2345678901234568e29,
            ),
        ];
        for (spelled, text, value) in cases {
            assert_eq!(option_text(spelled).unwrap(), (text.to_owned(), value), "{spelled}");
        }
    }

    #[test]
    fn other_numbers_get_pythons_spelling() {
        let cases = [
            ("0.0", "0.0"),
            ("-0.0", "-0.0"),
            (".5", "0.5"),
            ("1.", "1.0"),
            ("+0.010", "0.01"),
            ("1e-5", "1e-05"),
            ("1E2", "100.0"),
            ("007", "7.0"),
            ("0.30000000000000004", "0.30000000000000004"),
        ];
        for (spelled, text) in cases {
            assert_eq!(option_text(spelled).unwrap().0, text, "{spelled}");
        }
        for wrong in [
            "", " ", "-", "inf", "NaN", "infinity", "1e999", "0,5", "0x10", "1_000", "10%", "٣",
        ] {
            assert_eq!(option_text(wrong).unwrap_err().code, Code::Usage, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn every_float_reads_back(bits: u64) {
            let x = f64::from_bits(bits);
            prop_assume!(x.is_finite());
            let text = py_float(x);
            prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), bits);
            prop_assert!(text.contains(['.', 'e']));
            let (again, value) = option_text(&text).unwrap();
            prop_assert_eq!((again, value.to_bits()), (text, bits));
        }
    }
}
