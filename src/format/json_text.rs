//! Texts in JSON, as all that writes JSON has them.

use std::fmt::Write;

/// Appends a JSON string. Quotes, backslashes and what has an escape of one letter are escaped, and so is everything that
/// is not `plain`, as UTF-16 in four lower-case digits.
pub(crate) fn push_text(json: &mut String, text: &str, plain: fn(char) -> bool) {
    json.push('"');
    for c in text.chars() {
        let letter = match c {
            '"' | '\\' => c,
            '\n' => 'n',
            '\r' => 'r',
            '\t' => 't',
            '\u{8}' => 'b',
            '\u{c}' => 'f',
            c if plain(c) => {
                json.push(c);
                continue;
            }
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(json, "\\u{unit:04x}");
                }
                continue;
            }
        };
        json.push('\\');
        json.push(letter);
    }
    json.push('"');
}

/// What need not be escaped in UTF-8.
pub(crate) fn is_plain(c: char) -> bool {
    c >= ' '
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_is_not_plain() {
        let json = |plain| {
            let mut json = String::new();
            push_text(
                &mut json,
                "a\"\\/\u{8}\u{c}\n\r\t\0\u{1f}\u{7f}~é\u{2028}\u{ffff}\u{10000}",
                plain,
            );
            json
        };
        assert_eq!(
            json(|c| c.is_ascii_graphic()),
            r#""a\"\\/\b\f\n\r\t\u0000\u001f\u007f~\u00e9\u2028\uffff\ud800\udc00""#
        );
        assert_eq!(
            json(is_plain),
            "\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0000\\u001f\u{7f}~é\u{2028}\u{ffff}\u{10000}\""
        );
    }
}
