//! What travels between a job and its tasks: a few bytes for each field, in the order of declaration, without names.
//!
//! Both ends are the same build of the core, so there is no version and no check beyond the length. Reading cannot fail
//! in the middle: past the end everything is zero and empty, and [`WireReader`] remembers it. So neither a field nor a list
//! has a path for errors, which is what most of the code of a serializer is.

mod layers;
mod plain;
#[cfg(test)]
mod tests;

/// The bytes of a message that are still to be read.
pub struct WireReader<'a> {
    bytes: &'a [u8],
    ended_early: bool,
}

impl<'a> WireReader<'a> {
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

/// Something that can travel.
pub trait Wire: Sized {
    /// Appends it to a message.
    fn put(&self, out: &mut Vec<u8>);
    /// Takes it off a message; something of its type if the message does not hold it.
    fn get(from: &mut WireReader) -> Self;
    /// Appends the items of a list.
    fn put_list(list: &[Self], out: &mut Vec<u8>) {
        for item in list {
            item.put(out);
        }
    }
    /// Takes `n` items off a message, of which at least so many bytes are left.
    fn get_list(n: usize, from: &mut WireReader) -> Vec<Self> {
        let mut list = Vec::new();
        // Each item takes at least a byte, so that the memory is of the order of the message.
        while list.len() < n && !from.ended_early {
            list.push(Self::get(from));
        }
        list
    }
}

/// Makes a struct travel: every field has to be named, those after `but` start empty at the other end.
macro_rules! wire {
    ($name:ident { $($field:ident),* $(,)? } $(but { $($skipped:ident),* })?) => {
        impl $crate::job::wire::Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                $($crate::job::wire::Wire::put(&self.$field, out);)*
            }
            fn get(from: &mut $crate::job::wire::WireReader) -> Self {
                Self {
                    $($field: $crate::job::wire::Wire::get(from),)*
                    $($($skipped: Default::default(),)*)?
                }
            }
        }
    };
}
pub(crate) use wire;

/// Makes an enum travel: numbers from 0, variants, and a name for each field of a variant; a variant can be left out of a build.
macro_rules! wire_enum {
    ($name:ident { $($(#[$when:meta])* $number:literal: $variant:ident { $($field:tt: $bound:ident),* }),* $(,)? }) => {
        impl $crate::job::wire::Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $($(#[$when])* Self::$variant { $($field: $bound),* } => {
                        out.push($number);
                        $($crate::job::wire::Wire::put($bound, out);)*
                    })*
                }
            }
            fn get(from: &mut $crate::job::wire::WireReader) -> Self {
                match <u8 as $crate::job::wire::Wire>::get(from) {
                    $($(#[$when])* $number => Self::$variant { $($field: $crate::job::wire::Wire::get(from)),* },)*
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
