//! In which words the tensors of a table set are coded: their own, or others that say the same and differ by less.

use super::rows::MAX_COLUMNS;
use crate::dtype::Dtype;
use crate::kernels::convert;
use crate::kernels::v2::element::Layout;

/// The words in which tensors are coded. A form that is not for a tensor's dtype leaves it as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Their own.
    #[default]
    Own,
    /// BF16 for tensors of F32 that have no other values, as after training in it.
    Bf16,
    /// F16, likewise.
    F16,
    /// Every four bits of a tensor of integers as a word of U16: for quantised weights, several of which are packed into
    /// one integer.
    Nibbles,
}

/// All forms, in the order of their numbers in a file.
pub const FORMS: [Form; 4] = [Form::Own, Form::Bf16, Form::F16, Form::Nibbles];

impl Form {
    /// The dtype that the coded words of a tensor have.
    pub fn dtype(self, own: Dtype) -> Dtype {
        match self {
            Form::Bf16 if own == Dtype::F32 => Dtype::BF16,
            Form::F16 if own == Dtype::F32 => Dtype::F16,
            Form::Nibbles if !Layout::of(own).is_float() => Dtype::U16,
            _ => own,
        }
    }

    /// Whether tensors of a dtype are coded in other words than their own.
    pub fn changes(self, own: Dtype) -> bool {
        self.dtype(own) != own || self.per_word(own) > 1
    }

    /// The layout of the coded words.
    pub fn layout(self, own: Dtype) -> Layout {
        Layout::of(self.dtype(own))
    }

    /// Coded words for each word of a tensor: 1, or a power of two up to 16.
    pub fn per_word(self, own: Dtype) -> usize {
        let layout = Layout::of(own);
        match self == Form::Nibbles && !layout.is_float() {
            true => 2 * layout.bytes(),
            false => 1,
        }
    }

    /// Bytes of the coded words of so many words.
    pub fn bytes(self, own: Dtype, words: usize) -> usize {
        words * self.per_word(own) * self.layout(own).bytes()
    }

    /// Coded words in a row, for a tensor with `columns` words in a row, at most [`MAX_COLUMNS`]: all of those, or where
    /// they are more than that an even part of them.
    pub fn columns(self, own: Dtype, columns: usize) -> usize {
        let mut per_word = self.per_word(own);
        while per_word > 1 && columns * per_word > MAX_COLUMNS as usize {
            per_word /= 2;
        }
        columns * per_word
    }

    /// Words of dtype `from` as the coded words of a tensor of dtype `own`, converted to it first; `scratch` holds them
    /// when they had to be changed.
    pub fn code<'a>(self, from: Dtype, own: Dtype, bytes: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
        if self.per_word(own) == 1 {
            return in_dtype(from, self.dtype(own), bytes, scratch);
        }
        let mut converted = Vec::new();
        let words = in_dtype(from, own, bytes, &mut converted);
        scratch.resize(4 * words.len(), 0);
        for (pair, byte) in scratch.chunks_exact_mut(4).zip(words) {
            pair.copy_from_slice(&[byte & 15, 0, byte >> 4, 0]);
        }
        scratch
    }

    /// As [`Form::code`], in place; gives back the words as they were, or nothing where they stay.
    pub fn code_in_place(self, from: Dtype, own: Dtype, words: &mut Vec<u8>) -> Vec<u8> {
        let mut coded = Vec::new();
        if self.per_word(own) == 1 && widths(from, self.dtype(own)).is_none() {
            return coded;
        }
        self.code(from, own, words, &mut coded);
        std::mem::replace(words, coded)
    }

    /// The words of a tensor of dtype `own` that were coded; `scratch` as above.
    pub fn decode<'a>(self, own: Dtype, coded: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
        if self.per_word(own) == 1 {
            return in_dtype(self.dtype(own), own, coded, scratch);
        }
        scratch.resize(coded.len() / 4, 0);
        for (byte, pair) in scratch.iter_mut().zip(coded.chunks_exact(4)) {
            *byte = pair[0] & 15 | pair[2] << 4;
        }
        scratch
    }

    /// As [`Form::decode`], in place; gives back the coded words, or nothing where they stay.
    pub fn decode_in_place(self, own: Dtype, coded: &mut Vec<u8>) -> Vec<u8> {
        let mut words = Vec::new();
        if !self.changes(own) {
            return words;
        }
        self.decode(own, coded, &mut words);
        std::mem::replace(coded, words)
    }

    /// The coded words of a tensor, if it comes back from them bit for bit.
    pub fn exactly(self, own: Dtype, bytes: &[u8]) -> Option<Vec<u8>> {
        let (mut coded, mut back) = (Vec::new(), Vec::new());
        self.code(own, own, bytes, &mut coded);
        (self.decode(own, &coded, &mut back) == bytes).then_some(coded)
    }
}

/// Bytes of a word of either dtype, if words of one have to be changed to be the other's: packed ones cannot be.
fn widths(from: Dtype, to: Dtype) -> Option<(usize, usize)> {
    from.bytes().zip(to.bytes()).filter(|_| from != to)
}

/// Words in another dtype, rounded once; `scratch` holds them when they had to be changed.
pub fn in_dtype<'a>(from: Dtype, to: Dtype, bytes: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    let Some((a, b)) = widths(from, to) else {
        return bytes;
    };
    let mut values = vec![0f32; bytes.len() / a];
    convert::to_f32(from, bytes, &mut values);
    scratch.resize(values.len() * b, 0);
    convert::from_f32(to, &values, scratch);
    scratch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nibbles_come_lowest_first_and_come_back() {
        let bytes = [0x21, 0x43, 0xf5, 0x0e];
        let mut scratch = Vec::new();
        let coded = Form::Nibbles.code(Dtype::I32, Dtype::I32, &bytes, &mut scratch);
        let words: Vec<u16> = coded
            .chunks_exact(2)
            .map(|b| u16::from_le_bytes([b[0], b[1]]))
            .collect();
        assert_eq!(words, [1, 2, 3, 4, 5, 15, 14, 0]);
        for dtype in [Dtype::BOOL, Dtype::U8, Dtype::F4, Dtype::I16, Dtype::U32, Dtype::I64] {
            assert_eq!(Form::Nibbles.dtype(dtype), Dtype::U16);
            assert!(Form::Nibbles.exactly(dtype, &[0xab; 16]).is_some());
        }
        assert_eq!(Form::Nibbles.per_word(Dtype::BF16), 1);
        assert_eq!(Form::Nibbles.dtype(Dtype::F8_E4M3), Dtype::F8_E4M3);
    }

    #[test]
    fn words_change_in_place_where_they_change() {
        let words = [0, 0, 0xc0, 0x3f, 0, 0, 0x80, 0xbf];
        for form in FORMS {
            for (from, own) in [
                (Dtype::F32, Dtype::F32),
                (Dtype::BF16, Dtype::F32),
                (Dtype::I32, Dtype::I32),
            ] {
                let (mut scratch, mut back) = (Vec::new(), Vec::new());
                let coded = form.code(from, own, &words, &mut scratch).to_vec();
                let mut own_words = words.to_vec();
                let before = form.code_in_place(from, own, &mut own_words);
                assert_eq!(own_words, coded, "{form:?} {from:?}");
                assert!(before == words || before.is_empty() && coded == words);
                let decoded = form.decode(own, &coded, &mut back).to_vec();
                let before = form.decode_in_place(own, &mut own_words);
                assert_eq!(own_words, decoded, "{form:?} {from:?}");
                assert!(before == coded || before.is_empty() && coded == decoded);
            }
        }
    }

    #[test]
    fn wide_rows_of_nibbles_are_divided_evenly() {
        let columns = |dtype, columns| Form::Nibbles.columns(dtype, columns);
        assert_eq!(columns(Dtype::I32, 4096), 32768);
        assert_eq!(columns(Dtype::I32, 11008), 44032);
        assert_eq!(columns(Dtype::I64, 65536), 65536);
        assert_eq!(columns(Dtype::U8, 300), 600);
        assert_eq!(Form::Own.columns(Dtype::I32, 300), 300);
        assert_eq!(Form::Nibbles.columns(Dtype::F32, 300), 300);
    }

    #[test]
    fn narrow_forms_are_exact_only_for_their_values() {
        let bytes = |v: f32| v.to_le_bytes();
        assert!(Form::Bf16.exactly(Dtype::F32, &bytes(1.5)).is_some());
        assert!(Form::Bf16.exactly(Dtype::F32, &bytes(1.0 + f32::EPSILON)).is_none());
        assert!(Form::F16.exactly(Dtype::F32, &bytes(1e30)).is_none());
        assert_eq!(Form::Bf16.dtype(Dtype::F64), Dtype::F64);
    }
}
