//! Version 1 deltas: the header and the records, as the jobs read them. The checksum is made right, so that damage gets
//! through to the parsers.

use crate::common::pairs::with_deltas;
use sha2::{Digest, Sha256};
use wdelta::error::Code;

/// Reads one input; panics where what must hold does not.
pub fn run(data: &[u8]) {
    let mut file = data.to_vec();
    // Of other versions there is nothing to see.
    if let Some(start) = file.get_mut(..11) {
        start.copy_from_slice(b"wdelta\0\x01\0\0\0");
    }
    let body = file.len().saturating_sub(32);
    if body > 0 {
        let sum = Sha256::digest(&file[..body]);
        file[body..].copy_from_slice(&sum);
    }
    for (job, options) in [("inspect", "{}"), ("verify", "{}"), ("stats", r#"{"bins":4}"#)] {
        if let Err(e) = with_deltas(&Vec::new(), &[&file]).run(job, options) {
            assert!(!matches!(e.code, Code::Internal | Code::Usage), "{job}: {e}");
        }
    }
}
