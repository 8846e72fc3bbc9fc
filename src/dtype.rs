//! Dtypes of safetensors, their widths and spellings.

use crate::error::{quoted, Code, Error, Result};

/// A dtype of the safetensors format. The serialized form is the format's own spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types, missing_docs)]
pub enum Dtype {
    BOOL,
    F4,
    F6_E2M3,
    F6_E3M2,
    U8,
    I8,
    F8_E5M2,
    F8_E4M3,
    F8_E8M0,
    F8_E4M3FNUZ,
    F8_E5M2FNUZ,
    I16,
    U16,
    F16,
    BF16,
    I32,
    U32,
    F32,
    C64,
    F64,
    I64,
    U64,
}

use Dtype::*;

const TABLE: [(Dtype, &str, u64); 22] = [
    (BOOL, "BOOL", 8),
    (F4, "F4", 4),
    (F6_E2M3, "F6_E2M3", 6),
    (F6_E3M2, "F6_E3M2", 6),
    (U8, "U8", 8),
    (I8, "I8", 8),
    (F8_E5M2, "F8_E5M2", 8),
    (F8_E4M3, "F8_E4M3", 8),
    (F8_E8M0, "F8_E8M0", 8),
    (F8_E4M3FNUZ, "F8_E4M3FNUZ", 8),
    (F8_E5M2FNUZ, "F8_E5M2FNUZ", 8),
    (I16, "I16", 16),
    (U16, "U16", 16),
    (F16, "F16", 16),
    (BF16, "BF16", 16),
    (I32, "I32", 32),
    (U32, "U32", 32),
    (F32, "F32", 32),
    (C64, "C64", 64),
    (F64, "F64", 64),
    (I64, "I64", 64),
    (U64, "U64", 64),
];

impl Dtype {
    /// The dtype spelled `name` in a safetensors header; `UNSUPPORTED_DTYPE` for any other text.
    pub fn parse(name: &str) -> Result<Self> {
        TABLE
            .iter()
            .find(|(_, n, _)| *n == name)
            .map(|(d, ..)| *d)
            .ok_or_else(|| {
                Error::new(
                    Code::UnsupportedDtype,
                    format!(
                        "dtype {name} is not one of the safetensors format; update wdelta if it is a new one",
                        name = quoted(name)
                    ),
                )
            })
    }

    /// The dtype of that place in the table, which is the order of declaration: how version 2 writes it.
    pub fn from_number(number: usize) -> Option<Self> {
        TABLE.get(number).map(|(d, ..)| *d)
    }

    /// The format's spelling.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// Width of one element in bits: 4 and 6 for the packed types, else a multiple of 8.
    pub fn bits(self) -> u64 {
        self.row().2
    }

    /// Width in bytes; `None` for the packed types.
    pub fn bytes(self) -> Option<usize> {
        let bits = self.bits();
        bits.is_multiple_of(8).then_some((bits / 8) as usize)
    }

    /// Bytes that `n` elements take; `None` on overflow or when they do not fill whole bytes.
    pub fn bytes_of(self, n: u64) -> Option<u64> {
        let bits = n.checked_mul(self.bits())?;
        (bits % 8 == 0).then_some(bits / 8)
    }

    /// True for the real floating-point types of 16 bits and more, the ones a version 1 delta is made for.
    pub fn is_float(self) -> bool {
        matches!(self, F16 | BF16 | F32 | F64)
    }

    /// True where the reference, and we, can convert elements to float32: floats, integers and bool.
    pub fn to_f32_defined(self) -> bool {
        self.is_float() || matches!(self, BOOL | U8 | I8 | I16 | U16 | I32 | U32 | I64 | U64)
    }

    fn row(self) -> &'static (Dtype, &'static str, u64) {
        // The table lists the variants in order of declaration (tested below).
        &TABLE[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_round_trips() {
        for (i, (d, name, _)) in TABLE.iter().enumerate() {
            assert_eq!(*d as usize, i);
            assert_eq!(d.name(), *name);
            assert_eq!(Dtype::parse(name).unwrap(), *d);
        }
        assert!(Dtype::parse("bf16").is_err());
    }

    #[test]
    fn packed_types_fill_whole_bytes_or_nothing() {
        assert_eq!(F4.bytes_of(3), None);
        assert_eq!(F6_E2M3.bytes_of(4), Some(3));
        assert_eq!(BF16.bytes_of(u64::MAX / 8), None);
    }
}
