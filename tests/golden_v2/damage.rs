//! Each prefix of each golden file and each changed byte, as it is and with all hashes made right again, so that it is
//! the decoder itself that sees the damage.

use super::{all, hashed, inspect, Golden};
use sha2::{Digest, Sha256};
use std::ops::Range;
use wdelta::error::{Code, Result};
use wdelta::format::v2::{Index, PREAMBLE, TRAILER};
use xxhash_rust::xxh3::xxh3_64;

/// In files up to this length each byte is changed in more than one way.
const SMALL: usize = 2048;

/// Memory that nothing here comes near to.
#[cfg(target_os = "linux")]
const MOST_MEMORY_KB: u64 = 600 << 10;

/// Decodes; gives the hashes of what comes out.
fn decode(golden: &Golden, delta: &[u8]) -> Result<Vec<(String, String)>> {
    super::decode(&golden.base, &golden.before, delta).map(|files| hashed(&files))
}

/// Runs a check for each position in a file, on all cores.
fn each_place(golden: &Golden, check: impl Fn(usize) + Sync) {
    let n = golden.delta.len();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let check = &check;
            scope.spawn(move || (thread..n).step_by(threads).for_each(check));
        }
    });
}

#[test]
fn every_prefix_is_refused() {
    for golden in all() {
        each_place(&golden, |n| {
            let Err(error) = decode(&golden, &golden.delta[..n]) else {
                panic!("{}: a prefix of {n} is taken", golden.name);
            };
            let codes = [Code::NotWdelta, Code::Truncated, Code::Checksum, Code::Malformed];
            assert!(
                codes.contains(&error.code),
                "{} up to {n}: {} {error}",
                golden.name,
                error.code
            );
            inspect(&golden.delta[..n]).unwrap_err();
        });
    }
}

#[test]
fn every_changed_byte_is_found() {
    for golden in all() {
        each_place(&golden, |at| {
            let mut delta = golden.delta.clone();
            delta[at] ^= 1 << (at % 8);
            let Err(error) = decode(&golden, &delta) else {
                panic!("{}: a change at {at} of {} is not found", golden.name, delta.len());
            };
            assert!(
                matches!(
                    error.code,
                    Code::NotWdelta | Code::UnsupportedVersion | Code::Truncated | Code::Checksum | Code::Malformed
                ),
                "{} at {at}: {} {error}",
                golden.name,
                error.code
            );
        });
    }
}

/// Where a file's parts lie: all that end with a hash of their own, and the index.
struct Parts {
    sealed: Vec<Range<usize>>,
    index: Range<usize>,
}

impl Parts {
    fn of(delta: &[u8]) -> Self {
        let end = delta.len() - TRAILER as usize;
        let at = u64::from_le_bytes(delta[end..end + 8].try_into().unwrap()) as usize;
        let index = Index::parse(&delta[at..end]).unwrap();
        let mut from = PREAMBLE.len();
        let lengths = index.sets.iter().copied();
        let lengths = lengths.chain(index.tensors.iter().map(|t| t.params));
        let lengths = lengths.chain(index.blocks.iter().map(|b| b.len));
        let sealed = lengths.filter(|&n| n > 0).map(|n| {
            from += n as usize;
            from - n as usize..from
        });
        Self {
            sealed: sealed.collect(),
            index: at..end,
        }
    }

    /// Makes all hashes right again.
    fn seal(&self, delta: &mut [u8]) {
        for part in &self.sealed {
            let (body, hash) = delta[part.clone()].split_at_mut(part.len() - 8);
            hash.copy_from_slice(&xxh3_64(body).to_le_bytes());
        }
        let hash = xxh3_64(&delta[self.index.clone()]).to_le_bytes();
        delta[self.index.end + 16..self.index.end + 24].copy_from_slice(&hash);
        let end = delta.len() - 32;
        let hash = Sha256::digest(&delta[..end]);
        delta[end..].copy_from_slice(&hash);
    }
}

/// What only the index says, and nothing else can contradict in a file without digests of files: names, and how bytes are
/// to be understood.
fn words(index: &Index) -> impl PartialEq + '_ {
    let files: Vec<_> = index.files.iter().map(|f| (&f.path, &f.head, f.tensors)).collect();
    let tensors: Vec<_> = index.tensors.iter().map(|t| (&t.name, t.dtype, &t.shape)).collect();
    (files, tensors)
}

#[test]
fn what_the_hashes_do_not_find_the_decoder_does() {
    for golden in all() {
        let parts = Parts::of(&golden.delta);
        let before = Index::parse(&golden.delta[parts.index.clone()]).unwrap();
        each_place(&golden, |at| {
            let one = 1 << (at % 8);
            let flips = match golden.delta.len() {
                ..=SMALL => vec![one, 0xff],
                _ if at % 3 == 0 => vec![0xff],
                _ => vec![one],
            };
            for flip in flips {
                let mut delta = golden.delta.clone();
                delta[at] ^= flip;
                parts.seal(&mut delta);
                if at < PREAMBLE.len() || at >= parts.index.start {
                    // It reads nothing else.
                    let _ = inspect(&delta);
                }
                match decode(&golden, &delta) {
                    // A hash that was changed and made right again, and little else.
                    Ok(files) if files == golden.files => {}
                    Ok(_) => assert!(
                        before.digests.is_empty()
                            && words(&Index::parse(&delta[parts.index.clone()]).unwrap()) != words(&before),
                        "{}: byte {at} gives another result",
                        golden.name
                    ),
                    Err(error) => assert!(
                        !matches!(error.code, Code::Internal | Code::Usage | Code::Aborted),
                        "{}: byte {at}: {} {error}",
                        golden.name,
                        error.code
                    ),
                }
            }
        });
    }
    #[cfg(target_os = "linux")]
    {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
        let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(peak < MOST_MEMORY_KB, "{peak} KB of memory were used");
    }
}
