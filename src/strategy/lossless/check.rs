//! What must fit together before a block is decoded: the kernels index by these numbers without looking at them again.

use super::block::Target;
use super::factors::{Factors, MAX_RAW_BITS};
use super::model::TableSet;
use super::params::{MAX_CONTEXTS, MAX_DITHER_CLASSES};
use super::rows::MAX_COLUMNS;
use super::side::MAX_SCALE;
use crate::error::{Code, Error, Result};
use crate::kernels::v2::dither::{can_dither, LEVELS};
use crate::kernels::v2::element::Layout;
use crate::kernels::v2::tables::{DecodeTables, LOGS};

/// Most classes of a window.
pub const MAX_CLASSES: u8 = 64;

/// `MALFORMED` unless the tables are those of the set, its numbers are in range, and every target fits them.
pub fn check(set: &TableSet, tables: &DecodeTables, targets: &[Target<'_>]) -> Result<()> {
    check_set(set, tables)?;
    targets.iter().try_for_each(|t| check_target(set, t))
}

fn check_set(set: &TableSet, tables: &DecodeTables) -> Result<()> {
    let (window, n) = (set.window, set.freqs.len());
    require(
        LOGS.contains(&set.log) && tables.log == set.log && tables.slots.len() == (n + 1) << set.log,
        || {
            format!(
                "its tables should have 2^9 to 2^11 slots each, and there are {} slots for {n} tables of 2^{}",
                tables.slots.len(),
                set.log
            )
        },
    )?;
    require(
        (1..=MAX_CLASSES).contains(&window.classes) && set.phased <= window.classes,
        || {
            format!(
                "it should have 1 to {MAX_CLASSES} classes and no more phased ones, not {} and {}",
                window.classes, set.phased
            )
        },
    )?;
    require(window.log2_q <= 1 && (window.offset as i32).abs() <= MAX_SCALE, || {
        format!(
            "its window should have 1 or 2 classes per octave and an offset up to {MAX_SCALE}, not 2^{} and {}",
            window.log2_q, window.offset
        )
    })?;
    require(
        set.dither_classes <= MAX_DITHER_CLASSES && (set.dither_offset as i32).abs() <= MAX_SCALE,
        || {
            format!(
                "it should have at most {MAX_DITHER_CLASSES} dithered classes and an offset up to {MAX_SCALE}, not {} and {}",
                set.dither_classes, set.dither_offset
            )
        },
    )?;
    let weights = set.contexts().count() + LEVELS * set.dither_classes as usize;
    require((weights..=MAX_CONTEXTS).contains(&n), || {
        format!("its classes need {weights} to {MAX_CONTEXTS} tables, and there are {n}")
    })
}

fn check_target(set: &TableSet, t: &Target<'_>) -> Result<()> {
    let bits = t.layout.bits;
    require(matches!(bits, 8 | 16 | 32 | 64), || {
        format!("its elements should have 8, 16, 32 or 64 bits, not {bits}")
    })?;
    let (base, out) = (t.base.len(), t.out.len());
    require(base == out && base % t.layout.bytes() == 0, || {
        format!("base and fine-tune should have equally many whole elements of {bits} bits, not {base} and {out} bytes")
    })?;
    let (columns, scales) = (t.columns, t.scales.len());
    require(
        (1..=MAX_COLUMNS as usize).contains(&columns) && scales == columns,
        || {
            format!(
                "a row should have 1 to {MAX_COLUMNS} elements with a scale each, not {columns} with {scales} scales"
            )
        },
    )?;
    require(t.scales.iter().all(|&s| (s as i32).abs() <= MAX_SCALE), || {
        format!("a column's scale should be within {MAX_SCALE} either way")
    })?;
    require(
        t.dither.is_none() || (can_dither(t.layout) && set.dither_classes > 0),
        || "its steps need tables that are not there, or a type that has none".into(),
    )?;
    t.factors.map_or(Ok(()), |f| check_factors(set, t.layout, columns, f))
}

fn check_factors(set: &TableSet, layout: Layout, columns: usize, f: &Factors) -> Result<()> {
    require(layout.is_float() && matches!(layout.bits, 16 | 32), || {
        format!(
            "only floats of 16 and 32 bits can have a prediction, not elements of {} bits",
            layout.bits
        )
    })?;
    let rank = f.rank;
    let (gains, classes) = (f.gains.len(), f.left_classes.len());
    require(
        f.columns.fits(rank, columns)
            && gains == rank
            && classes == rank
            && f.shift.abs() <= MAX_SCALE
            && f.raw_bits <= MAX_RAW_BITS,
        || {
            format!(
                "a prediction of rank {rank} should have as many gains and classes, a shift within {MAX_SCALE}, at most \
                 {MAX_RAW_BITS} raw bits and {columns} columns, and has {gains}, {classes}, {}, {} and {}",
                f.shift,
                f.raw_bits,
                f.octaves.len()
            )
        },
    )?;
    let n = set.undithered();
    require(f.left_classes.iter().all(|&c| set.factor_context(c) < n), || {
        format!("a prediction's factors are of a class without a table; there are {n} tables")
    })
}

fn require(sound: bool, what: impl FnOnce() -> String) -> Result<()> {
    if sound {
        return Ok(());
    }
    Err(Error::new(
        Code::Malformed,
        format!(
            "a block cannot be decoded: {}; get the file again from where it came from",
            what()
        ),
    ))
}
