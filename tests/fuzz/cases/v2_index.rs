//! The index of a version 2 delta, and what the jobs make of it. All hashes are made right, so that damage gets through
//! to the parsers.
//!
//! An input is a file, or an index alone.

use crate::common::pairs::with_deltas;
use sha2::{Digest, Sha256};
use std::ops::Range;
use wdelta::error::Code;
use wdelta::format::v2::{placed, Index, PREAMBLE, TRAILER};
use xxhash_rust::xxh3::xxh3_64;

/// Where a file's trailer says that the index is.
fn index_of(file: &[u8]) -> Option<Range<usize>> {
    let end = file.len().checked_sub(TRAILER as usize)?;
    let number = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().unwrap());
    let at = usize::try_from(number(end)).ok()?;
    (PREAMBLE.len() <= at && at < end && number(end + 8) == (end - at) as u64).then_some(at..end)
}

/// A file that is nothing but this index.
fn file_of(index: &[u8]) -> Vec<u8> {
    let mut file = [&PREAMBLE[..], index].concat();
    for n in [PREAMBLE.len() as u64, index.len() as u64] {
        file.extend_from_slice(&n.to_le_bytes());
    }
    file.extend_from_slice(&[0; 8 + 32]);
    file
}

/// Makes the hashes right of all parts that the index places, of the index and of the file.
fn seal(file: &mut [u8], at: Range<usize>) {
    if let Ok(index) = Index::parse(&file[at.clone()]) {
        let lengths = index.sets.iter().copied();
        let lengths = lengths.chain(index.tensors.iter().map(|t| t.params));
        let mut from = PREAMBLE.len();
        for len in lengths.chain(index.blocks.iter().map(|b| b.len)) {
            let Some(to) = usize::try_from(len).ok().and_then(|n| from.checked_add(n)) else {
                break;
            };
            if to > at.start {
                break;
            }
            if to - from >= 8 {
                let sum = xxh3_64(&file[from..to - 8]).to_le_bytes();
                file[to - 8..to].copy_from_slice(&sum);
            }
            from = to;
        }
    }
    let sum = xxh3_64(&file[at.clone()]).to_le_bytes();
    file[at.end + 16..at.end + 24].copy_from_slice(&sum);
    let end = file.len() - 32;
    let sum = Sha256::digest(&file[..end]);
    file[end..].copy_from_slice(&sum);
}

/// Reads one input; panics where what must hold does not.
pub fn run(data: &[u8]) {
    let mut file = data.to_vec();
    let at = index_of(&file).unwrap_or_else(|| {
        file = file_of(data);
        PREAMBLE.len()..PREAMBLE.len() + data.len()
    });
    file[..PREAMBLE.len()].copy_from_slice(&PREAMBLE);
    seal(&mut file, at.clone());

    if let Ok(index) = Index::parse(&file[at.clone()]) {
        let written = index.to_bytes().expect("what was read can be written");
        assert_eq!(Index::parse(&written).expect("what was written can be read"), index);
        let _ = placed::place(&index, at.start as u64);
    }
    for job in ["inspect", "verify"] {
        if let Err(e) = with_deltas(&Vec::new(), &[&file]).run(job, "{}") {
            assert!(!matches!(e.code, Code::Internal | Code::Usage), "{job}: {e}");
        }
    }
}
