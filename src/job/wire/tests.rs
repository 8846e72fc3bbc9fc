use super::*;
use crate::dtype::Dtype;
use crate::error::{Code, Error};
use crate::strategy::Surveyed;

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
        let mut reader = WireReader::new(&bytes);
        assert_eq!(All::get(&mut reader), all(kind));
        assert!(reader.is_done());
    }
}

#[test]
fn every_float_comes_back() {
    for bits in [0, 1 << 63, f64::NAN.to_bits() | 5, f64::INFINITY.to_bits()] {
        let mut out = Vec::new();
        f64::from_bits(bits).put(&mut out);
        assert_eq!(f64::get(&mut WireReader::new(&out)).to_bits(), bits);
    }
}

#[test]
fn a_message_cut_short_or_with_more_is_noticed() {
    let mut bytes = bytes(&all(Kind::Pair(300, false)));
    for n in 0..bytes.len() {
        let mut reader = WireReader::new(&bytes[..n]);
        All::get(&mut reader);
        assert!(!reader.is_done(), "{n}");
    }
    bytes.push(0);
    let mut reader = WireReader::new(&bytes);
    All::get(&mut reader);
    assert!(!reader.is_done());
}

#[test]
fn any_bytes_give_something_of_their_size() {
    for seed in 0..2000u32 {
        let bytes: Vec<u8> = (0..60u32)
            .map(|i| ((i + seed).wrapping_mul(seed.wrapping_mul(2_654_435) + 977) >> 9) as u8)
            .collect();
        let list = Vec::<All>::get(&mut WireReader::new(&bytes));
        assert!(list.len() <= bytes.len());
    }
}

#[test]
fn a_survey_of_tensors_without_extremes_comes_back() {
    for (lo, hi) in [(f32::NAN, -f32::NAN), (-0.0, f32::MIN_POSITIVE / 4.0)] {
        let found = Surveyed {
            elements: u64::MAX,
            zeros: 1,
            non_finite: 2,
            sum_sq: 0.1,
            cut: None,
            lo,
            hi,
            spoiled: Some("why".into()),
        };
        let mut out = Vec::new();
        found.put(&mut out);
        let back = Surveyed::get(&mut WireReader::new(&out));
        assert_eq!([back.lo, back.hi].map(f32::to_bits), [lo, hi].map(f32::to_bits));
        assert_eq!(format!("{back:?}"), format!("{found:?}"));
    }
}
