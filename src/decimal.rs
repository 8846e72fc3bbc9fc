//! Decimal spellings of float64, both ways exactly rounded.
//!
//! In wasm the JavaScript engine converts: the tables and the arithmetic for it are a tenth of the module otherwise, and
//! every engine has them.

/// `x`, which must be finite, as `d.ddde±x` with the fewest digits that read back as `x`; of two equally near spellings
/// the even one.
///
/// ```
/// assert_eq!(wdelta::decimal::shortest(-0.00125), "-1.25e-3");
/// ```
pub fn shortest(x: f64) -> String {
    // The engine drops the sign of zero, and writes one before every exponent.
    let mut text = engine::exponential(x.abs());
    text.retain(|c| c != '+');
    if x.is_sign_negative() {
        text.insert(0, '-');
    }
    text
}

/// `x` for a sentence: at most three of its digits, cut off.
///
/// ```
/// assert_eq!([wdelta::decimal::brief(0.012345), wdelta::decimal::brief(-2.0)], ["1.23e-2", "-2e0"]);
/// ```
pub fn brief(x: f64) -> String {
    if !x.is_finite() {
        return "infinity or NaN".into();
    }
    let text = shortest(x);
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let shown = digits.len().min(if x < 0.0 { 5 } else { 4 });
    format!("{}e{exponent}", digits.get(..shown).unwrap_or(digits))
}

/// The float64 nearest to what `text` spells: digits with an optional sign, point and exponent, no white space. Infinite
/// where the exponent is too large; `None` for anything else.
///
/// ```
/// assert_eq!(wdelta::decimal::parse("+1.5E-3"), Some(0.0015));
/// assert_eq!(wdelta::decimal::parse("0x10"), None);
/// ```
pub fn parse(text: &str) -> Option<f64> {
    is_decimal(text).then(|| engine::number(text))
}

fn is_decimal(text: &str) -> bool {
    fn unsigned(text: &str) -> &str {
        text.strip_prefix(['+', '-']).unwrap_or(text)
    }
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (mantissa, exponent) = unsigned(text).split_once(['e', 'E']).unwrap_or((unsigned(text), "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent = unsigned(exponent);
    digits(whole) && digits(fraction) && digits(exponent) && !exponent.is_empty() && whole.len() + fraction.len() > 0
}

/// The conversions of the engine that the module runs in.
#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code)] // the binding macro needs it
mod engine {
    use wasm_bindgen::prelude::wasm_bindgen;

    #[wasm_bindgen]
    extern "C" {
        /// `Number(text)`: exactly rounded in every engine.
        #[wasm_bindgen(js_name = Number)]
        pub fn number(text: &str) -> f64;

        /// `x.toExponential()`: the shortest digits.
        #[wasm_bindgen(js_namespace = ["Number", "prototype", "toExponential"], js_name = call)]
        pub fn exponential(x: f64) -> String;
    }
}

/// The same from Rust's library.
#[cfg(not(target_arch = "wasm32"))]
mod engine {
    pub fn number(text: &str) -> f64 {
        text.parse().unwrap_or(f64::NAN)
    }

    pub fn exponential(x: f64) -> String {
        let shortest = format!("{x:e}");
        // Rust takes the upper of two equally near ones (1801514316094494.25). Rounding to as many digits takes the even.
        let digits = shortest
            .bytes()
            .take_while(|b| *b != b'e')
            .filter(u8::is_ascii_digit)
            .count();
        let nearest = format!("{x:.*e}", digits.saturating_sub(1));
        if nearest.parse() == Ok(x) {
            nearest
        } else {
            shortest
        }
    }
}
