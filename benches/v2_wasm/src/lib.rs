//! The coder behind plain exports, for `speed.mjs`.

// Tests and the benchmark of sizes look at more of it.
#[allow(dead_code)]
#[path = "../../common/v2.rs"]
mod v2;

use std::cell::RefCell;
use wdelta::dtype::Dtype;
use wdelta::strategy::lossless::fit::Effort;

#[derive(Default)]
struct State {
    tensors: Vec<v2::Tensor>,
    coded: Option<v2::Coded>,
    outs: Vec<Vec<u8>>,
}

thread_local!(static STATE: RefCell<State> = RefCell::default());

/// Room for `n` bytes, for good.
#[no_mangle]
pub extern "C" fn room(n: usize) -> *mut u8 {
    Box::leak(vec![0u8; n].into_boxed_slice()).as_mut_ptr()
}

/// Forgets all tensors.
#[no_mangle]
pub extern "C" fn clear() {
    STATE.with_borrow_mut(|s| *s = State::default());
}

/// Adds a tensor of `n` bytes of bf16 (`dtype` 0) or float32 (1), or of float32 that is made float16 first (2).
///
/// # Safety
/// Both pointers come from `room(n)`.
#[no_mangle]
pub unsafe extern "C" fn tensor(dtype: u32, rows: u32, columns: u32, base: *const u8, fine: *const u8, n: usize) {
    // SAFETY: promised by the caller.
    let (base, fine) = unsafe { (std::slice::from_raw_parts(base, n), std::slice::from_raw_parts(fine, n)) };
    let shape = if rows == 0 {
        vec![columns as u64]
    } else {
        vec![rows as u64, columns as u64]
    };
    let (dtype, base, fine) = match dtype {
        0 => (Dtype::BF16, base.to_vec(), fine.to_vec()),
        1 => (Dtype::F32, base.to_vec(), fine.to_vec()),
        _ => (Dtype::F16, halves(base), halves(fine)),
    };
    STATE.with_borrow_mut(|s| {
        s.outs.push(vec![0; base.len()]);
        s.tensors.push(v2::Tensor::new(dtype, &shape, base, fine));
    });
}

/// float32 as float16.
fn halves(bytes: &[u8]) -> Vec<u8> {
    let half = |b: &[u8]| half::f16::from_f32(f32::from_le_bytes([b[0], b[1], b[2], b[3]])).to_le_bytes();
    bytes.chunks_exact(4).flat_map(half).collect()
}

/// Encodes everything; gives the length of the block.
#[no_mangle]
pub extern "C" fn encode(level: u32) -> usize {
    let effort = Effort::level(level, true);
    STATE.with_borrow_mut(|s| {
        let coded = v2::encode(&s.tensors, effort);
        let n = coded.block.len();
        s.coded = Some(coded);
        n
    })
}

/// Only the fitting.
#[no_mangle]
pub extern "C" fn fit(level: u32) -> usize {
    let effort = Effort::level(level, true);
    STATE.with_borrow(|s| v2::fit_all(&s.tensors, effort).len())
}

/// Decodes everything.
#[no_mangle]
pub extern "C" fn decode() {
    STATE.with_borrow_mut(|s| {
        let coded = s.coded.as_ref().expect("encoded before");
        v2::decode(&s.tensors, coded, &mut s.outs).expect("a sound block");
    });
}

/// 1 when what was decoded is the fine-tune.
#[no_mangle]
pub extern "C" fn check() -> u32 {
    STATE.with_borrow(|s| s.tensors.iter().zip(&s.outs).all(|(t, o)| t.fine == *o) as u32)
}

/// A digest of the block, to compare builds.
#[no_mangle]
pub extern "C" fn digest() -> u32 {
    STATE.with_borrow(|s| {
        s.coded.as_ref().map_or(0, |c| {
            c.block
                .iter()
                .fold(0u32, |h, &b| (h ^ b as u32).wrapping_mul(0x0100_0193))
        })
    })
}
