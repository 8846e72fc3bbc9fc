//! Numbers as Python writes them, since an option's spelling is part of the header's bytes.

use crate::error::{Code, Error, Result};

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
    // Rust's shortest digits are Python's; only the layout differs.
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = format!("{x}");
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// The spelling in the header and the value of an option that was given as text.
///
/// An integer stays an integer, as in Python (`0` and `0.0` differ in the header); any other number becomes Python's
/// spelling of its value. `USAGE` for what is not a finite number.
pub fn option_text(spelled: &str) -> Result<(String, f64)> {
    let text = spelled.trim();
    let value = text.parse::<f64>().ok().filter(|v| v.is_finite());
    // Rust also reads "infinity" and the like, which the filter has removed by now.
    let Some(value) = value else {
        return Err(Error::new(
            Code::Usage,
            format!("{spelled:?} is not a number; give one such as 0.01"),
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
