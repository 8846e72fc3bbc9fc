//! Numbers, texts and what is put together from them.

use super::{Wire, WireReader};
use crate::error::Error;
use crate::strategy::lossless::wire::put_varint;

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Wire for $type {
            fn put(&self, out: &mut Vec<u8>) {
                put_varint(out, *self as u64);
            }
            fn get(from: &mut WireReader) -> Self {
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
                put_varint(out, (value << 1 ^ value >> 63) as u64);
            }
            fn get(from: &mut WireReader) -> Self {
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
    fn get(from: &mut WireReader) -> Self {
        from.byte()
    }
    // Blocks are long.
    fn put_list(list: &[Self], out: &mut Vec<u8>) {
        out.extend_from_slice(list);
    }
    fn get_list(n: usize, from: &mut WireReader) -> Vec<Self> {
        let (list, rest) = from.bytes.split_at(n);
        from.bytes = rest;
        list.to_vec()
    }
}

impl Wire for i8 {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }
    fn get(from: &mut WireReader) -> Self {
        from.byte() as i8
    }
}

impl Wire for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn get(from: &mut WireReader) -> Self {
        from.byte() != 0
    }
}

impl Wire for f64 {
    fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.to_bits());
    }
    fn get(from: &mut WireReader) -> Self {
        Self::from_bits(from.number())
    }
}

impl Wire for f32 {
    fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, u64::from(self.to_bits()));
    }
    fn get(from: &mut WireReader) -> Self {
        Self::from_bits(from.number() as u32)
    }
}

impl Wire for String {
    fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.len() as u64);
        out.extend_from_slice(self.as_bytes());
    }
    #[inline(never)]
    fn get(from: &mut WireReader) -> Self {
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
        put_varint(out, self.len() as u64);
        T::put_list(self, out);
    }
    fn get(from: &mut WireReader) -> Self {
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
    fn get(from: &mut WireReader) -> Self {
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
    fn get(from: &mut WireReader) -> Self {
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
    fn get(from: &mut WireReader) -> Self {
        std::array::from_fn(|_| from.byte())
    }
}

impl Wire for () {
    fn put(&self, _: &mut Vec<u8>) {}
    fn get(_: &mut WireReader) -> Self {}
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }
    fn get(from: &mut WireReader) -> Self {
        (A::get(from), B::get(from))
    }
}

impl<A: Wire, B: Wire, C: Wire> Wire for (A, B, C) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
        self.2.put(out);
    }
    fn get(from: &mut WireReader) -> Self {
        (A::get(from), B::get(from), C::get(from))
    }
}
