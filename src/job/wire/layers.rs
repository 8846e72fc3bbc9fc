//! Types of the layers below.

use super::{wire, wire_enum, Wire, WireReader};
use crate::dtype::Dtype;
use crate::error::{Code, Error, CODES};
use crate::format::v1::header::ResultDtype;
use crate::kernels::v2::dither::Dither;
use crate::offset::ByteRange;
use crate::strategy::lossless::factors::Factors;
use crate::strategy::lossless::form::Form;
use crate::strategy::lossy::loss::DitherLoss;
use crate::strategy::{Cut, Loss, Strategy, Surveyed};

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
    cut,
    lo,
    hi,
    spoiled
});
wire!(Factors { rank, raw_bits, shift, gains, left_classes, right_classes, octaves, right } but { columns });
wire!(Dither { step, seed });
wire!(DitherLoss {
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
wire_enum!(Form {
    0: Own {},
    1: Bf16 {},
    2: F16 {},
    3: Nibbles {}
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
    fn get(from: &mut WireReader) -> Self {
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
    fn get(from: &mut WireReader) -> Self {
        let code = CODES.get(usize::get(from)).map_or(Code::Internal, |(code, ..)| *code);
        let mut error = Error::new(code, String::get(from));
        error.tensor = Wire::get(from);
        error.offset = Wire::get(from);
        error.source_id = Wire::get(from);
        error
    }
}
