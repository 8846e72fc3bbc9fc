//! Table sets made by hand, and checksums made right.
#![allow(dead_code)] // each test binary uses a part

use wdelta::kernels::v2::tables::SYMBOLS;
use wdelta::strategy::lossless::form::Form;
use wdelta::strategy::lossless::model::{TableSet, Window};
use xxhash_rust::xxh3::xxh3_64;

/// Flat tables of this window, none for predictions, and of two classes of dithered weights.
pub fn flat_set(window: Window) -> TableSet {
    let mut flat = [2u16; SYMBOLS];
    flat[0] = 512 - 2 * 255;
    TableSet {
        window,
        raw_factors: false,
        form: Form::Own,
        phased: 0,
        log: 9,
        dither_offset: -3,
        dither_classes: 2,
        freqs: vec![flat; window.classes as usize + 2 * 8],
    }
}

/// A section of these bytes: they and their checksum.
pub fn sealed(bytes: &[u8]) -> Vec<u8> {
    [bytes, &xxh3_64(bytes).to_le_bytes()].concat()
}
