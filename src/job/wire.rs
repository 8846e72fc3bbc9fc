//! What travels between a job and its tasks: a few bytes for each field, in the order of declaration, without names.
//!
//! Both ends are the same build of the core, so there is no version and no check beyond the length. Reading cannot fail
//! in the middle: past the end everything is zero and empty, and [`Reader`] remembers it. So neither a field nor a list
//! has a path for errors, which is what most of the code of a serializer is.

use crate::dtype::Dtype;
use crate::error::{Code, Error, CODES};
use crate::format::v1::header::ResultDtype;
use crate::kernels::v2::dither::Dither;
use crate::offset::ByteRange;
use crate::strategy::lossless::low_rank::Factors;
use crate::strategy::lossy::loss::Loss as Lost;
use crate::strategy::{Cut, Loss, Strategy, Surveyed};

/// The bytes of a message that are still to be read.
pub struct Reader<'a> {
    bytes: &'a [u8],
    ended_early: bool,
}

impl<'a> Reader<'a> {
    /// A reader at the start of a message.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            ended_early: false,
        }
    }

    /// True when the message was read to its end, and held what was asked for.
    pub fn is_done(&self) -> bool {
        self.bytes.is_empty() && !self.ended_early
    }

    /// Makes the message one that is not what it should be: there is no more to read, and [`Self::is_done`] is false.
    pub fn refuse(&mut self) {
        self.bytes = &[];
        self.ended_early = true;
    }

    #[inline(never)]
    fn byte(&mut self) -> u8 {
        match self.bytes.split_first() {
            Some((&byte, rest)) => {
                self.bytes = rest;
                byte
            }
            None => {
                self.refuse();
                0
            }
        }
    }

    /// A number in groups of seven bits, the lowest first.
    #[inline(never)]
    fn number(&mut self) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte();
            value |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return value;
            }
        }
        self.refuse();
        0
    }

    /// The length of a list, of whose items each takes at least a byte.
    fn len(&mut self) -> usize {
        let n = self.number();
        if n > self.bytes.len() as u64 {
            self.refuse();
            return 0;
        }
        n as usize
    }
}

#[inline(never)]
fn put_number(mut value: u64, out: &mut Vec<u8>) {
    while value >= 128 {
        out.push(value as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Something that can travel.
pub trait Wire: Sized {
    /// Appends it to a message.
    fn put(&self, out: &mut Vec<u8>);
    /// Takes it off a message; something of its type if the message does not hold it.
    fn get(from: &mut Reader) -> Self;
    /// Appends the items of a list.
    fn put_list(list: &[Self], out: &mut Vec<u8>) {
        for item in list {
            item.put(out);
        }
    }
    /// Takes `n` items off a message, of which at least so many bytes are left.
    fn get_list(n: usize, from: &mut Reader) -> Vec<Self> {
        let mut list = Vec::new();
        // Each item takes at least a byte, so that the memory is of the order of the message.
        while list.len() < n && !from.ended_early {
            list.push(Self::get(from));
        }
        list
    }
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Wire for $type {
            fn put(&self, out: &mut Vec<u8>) {
                put_number(*self as u64, out);
            }
            fn get(from: &mut Reader) -> Self {
                from.number() as $type
            }
        }
    )*};
}
numbers!(u16, u32, u64, usize);

macro_rules! signed_numbers {
    ($($type:ty),*) => {$(
        impl Wire for $type {
            // The sign goes below the other bits, so that small numbers stay short.
            fn put(&self, out: &mut Vec<u8>) {
                let value = i64::from(*self);
                put_number((value << 1 ^ value >> 63) as u64, out);
            }
            fn get(from: &mut Reader) -> Self {
                let value = from.number();
                ((value >> 1) as i64 ^ -((value & 1) as i64)) as $type
            }
        }
    )*};
}
signed_numbers!(i16, i32);

impl Wire for u8 {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }
    fn get(from: &mut Reader) -> Self {
        from.byte()
    }
    // Blocks are long.
    fn put_list(list: &[Self], out: &mut Vec<u8>) {
        out.extend_from_slice(list);
    }
    fn get_list(n: usize, from: &mut Reader) -> Vec<Self> {
        let (list, rest) = from.bytes.split_at(n);
        from.bytes = rest;
        list.to_vec()
    }
}

impl Wire for i8 {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }
    fn get(from: &mut Reader) -> Self {
        from.byte() as i8
    }
}

impl Wire for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn get(from: &mut Reader) -> Self {
        from.byte() != 0
    }
}

impl Wire for f64 {
    fn put(&self, out: &mut Vec<u8>) {
        put_number(self.to_bits(), out);
    }
    fn get(from: &mut Reader) -> Self {
        Self::from_bits(from.number())
    }
}

impl Wire for f32 {
    fn put(&self, out: &mut Vec<u8>) {
        put_number(u64::from(self.to_bits()), out);
    }
    fn get(from: &mut Reader) -> Self {
        Self::from_bits(from.number() as u32)
    }
}

impl Wire for String {
    fn put(&self, out: &mut Vec<u8>) {
        put_number(self.len() as u64, out);
        out.extend_from_slice(self.as_bytes());
    }
    #[inline(never)]
    fn get(from: &mut Reader) -> Self {
        let n = from.len();
        let (text, rest) = from.bytes.split_at(n);
        from.bytes = rest;
        String::from_utf8(text.to_vec()).unwrap_or_else(|_| {
            from.refuse();
            String::new()
        })
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_number(self.len() as u64, out);
        T::put_list(self, out);
    }
    fn get(from: &mut Reader) -> Self {
        T::get_list(from.len(), from)
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }
    fn get(from: &mut Reader) -> Self {
        bool::get(from).then(|| T::get(from))
    }
}

impl<T: Wire> Wire for Result<T, Error> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_ok().put(out);
        match self {
            Ok(value) => value.put(out),
            Err(error) => error.put(out),
        }
    }
    fn get(from: &mut Reader) -> Self {
        match bool::get(from) {
            true => Ok(T::get(from)),
            false => Err(Error::get(from)),
        }
    }
}

impl<const N: usize> Wire for [u8; N] {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn get(from: &mut Reader) -> Self {
        std::array::from_fn(|_| from.byte())
    }
}

impl Wire for () {
    fn put(&self, _: &mut Vec<u8>) {}
    fn get(_: &mut Reader) -> Self {}
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }
    fn get(from: &mut Reader) -> Self {
        (A::get(from), B::get(from))
    }
}

impl<A: Wire, B: Wire, C: Wire> Wire for (A, B, C) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
        self.2.put(out);
    }
    fn get(from: &mut Reader) -> Self {
        (A::get(from), B::get(from), C::get(from))
    }
}

/// Makes a struct travel: every field has to be named, those after `but` start empty at the other end.
macro_rules! wire {
    ($name:ident { $($field:ident),* $(,)? } $(but { $($skipped:ident),* })?) => {
        impl $crate::job::wire::Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                $($crate::job::wire::Wire::put(&self.$field, out);)*
            }
            fn get(from: &mut $crate::job::wire::Reader) -> Self {
                Self {
                    $($field: $crate::job::wire::Wire::get(from),)*
                    $($($skipped: Default::default(),)*)?
                }
            }
        }
    };
}
pub(crate) use wire;

/// Makes an enum travel: numbers from 0, variants, and a name for each field of a variant.
macro_rules! wire_enum {
    ($name:ident { $($number:literal: $variant:ident { $($field:tt: $bound:ident),* }),* $(,)? }) => {
        impl $crate::job::wire::Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant { $($field: $bound),* } => {
                        out.push($number);
                        $($crate::job::wire::Wire::put($bound, out);)*
                    })*
                }
            }
            fn get(from: &mut $crate::job::wire::Reader) -> Self {
                match <u8 as $crate::job::wire::Wire>::get(from) {
                    $($number => Self::$variant { $($field: $crate::job::wire::Wire::get(from)),* },)*
                    _ => {
                        // Nothing is left then: the next number is 0.
                        from.refuse();
                        $crate::job::wire::Wire::get(from)
                    }
                }
            }
        }
    };
}
pub(crate) use wire_enum;

wire!(ByteRange { offset, len });
wire!(Cut { magnitude, ties, tied });
wire!(Loss {
    error_sq,
    delta_sq,
    largest
});
wire!(Surveyed {
    elements,
    zeros,
    non_finite,
    sum_sq,
    largest,
    cut,
    lo,
    hi,
    spoiled
});
wire!(Factors { rank, shift, gains, left_classes, right_classes, octaves, right } but { columns });
wire!(Dither { step, seed });
wire!(Lost {
    product,
    errors,
    changes,
    largest
});
wire_enum!(Strategy {
    0: Int4 {},
    1: Sparse {},
    2: Quantized {}
});
wire_enum!(ResultDtype {
    0: Float16 {},
    1: Float32 {},
    2: Float64 {}
});

impl Wire for Dtype {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }
    fn get(from: &mut Reader) -> Self {
        Dtype::from_number(usize::from(from.byte())).unwrap_or_else(|| {
            from.refuse();
            Dtype::U8
        })
    }
}

impl Wire for Error {
    fn put(&self, out: &mut Vec<u8>) {
        let number = CODES.iter().position(|(code, ..)| *code == self.code);
        number.unwrap_or(CODES.len()).put(out);
        self.message.put(out);
        self.tensor.put(out);
        self.offset.put(out);
        self.source_id.put(out);
    }
    fn get(from: &mut Reader) -> Self {
        let code = CODES.get(usize::get(from)).map_or(Code::Internal, |(code, ..)| *code);
        let mut error = Error::new(code, String::get(from));
        error.tensor = Wire::get(from);
        error.offset = Wire::get(from);
        error.source_id = Wire::get(from);
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct All {
        list: Vec<(u16, String)>,
        maybe: Option<f64>,
        none: Option<u8>,
        number: i32,
        error: Error,
        kind: Kind,
        digest: [u8; 4],
    }
    wire!(All {
        list,
        maybe,
        none,
        number,
        error,
        kind,
        digest
    });

    #[derive(Clone, Debug, PartialEq)]
    enum Kind {
        Nothing,
        Pair(u64, bool),
        Named { dtype: Dtype },
    }
    wire_enum!(Kind {
        0: Nothing {},
        1: Pair { 0: a, 1: b },
        2: Named { dtype: dtype }
    });

    fn all(kind: Kind) -> All {
        All {
            list: vec![(7, "ü".into()), (u16::MAX, String::new())],
            maybe: Some(-0.1),
            none: None,
            number: -5,
            error: Error::new(Code::WrongBase, "no").tensor("t").at(u64::MAX).source(3),
            kind,
            digest: [1, 200, 0, 4],
        }
    }

    fn bytes(message: &All) -> Vec<u8> {
        let mut out = Vec::new();
        message.put(&mut out);
        out
    }

    #[test]
    fn comes_back() {
        let named = Kind::Named { dtype: Dtype::BF16 };
        for kind in [Kind::Nothing, Kind::Pair(u64::MAX, true), named] {
            let bytes = bytes(&all(kind.clone()));
            let mut reader = Reader::new(&bytes);
            assert_eq!(All::get(&mut reader), all(kind));
            assert!(reader.is_done());
        }
    }

    #[test]
    fn every_float_comes_back() {
        for bits in [0, 1 << 63, f64::NAN.to_bits() | 5, f64::INFINITY.to_bits()] {
            let mut out = Vec::new();
            f64::from_bits(bits).put(&mut out);
            assert_eq!(f64::get(&mut Reader::new(&out)).to_bits(), bits);
        }
    }

    #[test]
    fn a_message_cut_short_or_with_more_is_noticed() {
        let mut bytes = bytes(&all(Kind::Pair(300, false)));
        for n in 0..bytes.len() {
            let mut reader = Reader::new(&bytes[..n]);
            All::get(&mut reader);
            assert!(!reader.is_done(), "{n}");
        }
        bytes.push(0);
        let mut reader = Reader::new(&bytes);
        All::get(&mut reader);
        assert!(!reader.is_done());
    }

    #[test]
    fn any_bytes_give_something_of_their_size() {
        for seed in 0..2000u32 {
            let bytes: Vec<u8> = (0..60u32)
                .map(|i| ((i + seed).wrapping_mul(seed.wrapping_mul(2_654_435) + 977) >> 9) as u8)
                .collect();
            let list = Vec::<All>::get(&mut Reader::new(&bytes));
            assert!(list.len() <= bytes.len());
        }
    }
}
