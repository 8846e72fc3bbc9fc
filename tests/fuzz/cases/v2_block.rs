//! Blocks, table sets and parameters of version 2, against a base that stays the same. Their hashes are made right.
//!
//! An input says in nine bytes what the tensors are like: dtype, columns, rows, options, step, and the lengths of a table
//! set and of parameters, two bytes each; these follow, and then the block. Without a table set a flat one is taken.

use crate::common::tables::{flat_set, sealed};
use wdelta::dtype::Dtype;
use wdelta::error::{Code, Error};
use wdelta::kernels::v2::dither::Dither;
use wdelta::kernels::v2::element::Layout;
use wdelta::kernels::v2::tables::DecodeTables;
use wdelta::strategy::lossless::block::{self, Target};
use wdelta::strategy::lossless::model::{TableSet, Window};
use wdelta::strategy::lossless::params::Params;

const DTYPES: [Dtype; 9] = [
    Dtype::BF16,
    Dtype::F16,
    Dtype::F32,
    Dtype::F64,
    Dtype::F8_E4M3,
    Dtype::U8,
    Dtype::I16,
    Dtype::I64,
    Dtype::C64,
];

/// A second tensor beside the first.
const SECOND: u8 = 1;
/// Steps that are coarser than the type's own.
const DITHERED: u8 = 2;

fn refused(e: &Error) {
    assert!(matches!(e.code, Code::Malformed | Code::Limit), "{} {e}", e.code);
}

/// Reads one input; panics where what must hold does not.
pub fn run(data: &[u8]) {
    let Some((&[dtype, columns, rows, options, step, a, b, c, d], rest)) = data.split_first_chunk::<9>() else {
        return;
    };
    let dtype = DTYPES[dtype as usize % DTYPES.len()];
    let (columns, rows) = (columns as usize % 65 + 1, rows as usize % 20 + 1);
    let (set_bytes, rest) = rest.split_at(rest.len().min(u16::from_le_bytes([a, b]) as usize));
    let (params_bytes, block_bytes) = rest.split_at(rest.len().min(u16::from_le_bytes([c, d]) as usize));
    let set = match set_bytes {
        [] => flat_set(Window {
            classes: 3,
            ..Window::for_width(Layout::of(dtype).bits)
        }),
        _ => match TableSet::parse(&sealed(set_bytes)) {
            Ok(set) => set,
            Err(e) => return refused(&e),
        },
    };
    let tables = DecodeTables::new(&set.freqs, set.log);
    let (layout, columns) = (set.form.layout(dtype), set.form.columns(dtype, columns));
    let params = match params_bytes {
        [] => Params {
            scales: vec![0; columns],
            factors: None,
        },
        _ => match Params::parse(&set, &tables, layout, columns, &sealed(params_bytes)) {
            Ok(params) => params,
            Err(e) => return refused(&e),
        },
    };

    let base: Vec<u8> = (0..columns * rows * layout.bytes())
        .map(|i| ((i * i) >> 4) as u8 ^ i as u8)
        .collect();
    // Outputs are written to the last byte or not at all: what was in them before must not matter.
    let decode = |fill: u8| {
        let mut first = vec![fill; base.len()];
        let mut second = vec![fill; base.len().min(3 * layout.bytes())];
        let other = &base[..second.len()];
        let mut targets = vec![Target {
            layout,
            columns,
            scales: &params.scales,
            factors: params.factors.as_ref(),
            dither: (options & DITHERED > 0).then_some((Dither { step, seed: 1 }, 5)),
            base: &base,
            out: &mut first,
        }];
        if options & SECOND > 0 {
            targets.push(Target {
                layout,
                columns,
                scales: &params.scales,
                factors: None,
                dither: None,
                base: other,
                out: &mut second,
            });
        }
        let done = block::decode(&set, &tables, &sealed(block_bytes), &mut targets);
        done.map(|()| (first, second, options & SECOND > 0))
    };
    match (decode(0), decode(0xaa)) {
        (Ok((a, x, both)), Ok((b, y, _))) => {
            assert!(a == b && (!both || x == y), "old bytes shine through");
            let mut own = Vec::new();
            let words = set.form.decode(dtype, &a, &mut own).len() / Layout::of(dtype).bytes();
            assert_eq!(set.form.bytes(dtype, words), a.len(), "words are lost");
        }
        (Err(a), Err(b)) => {
            refused(&a);
            assert_eq!(a, b);
        }
        _ => panic!("old bytes decide"),
    }
}
