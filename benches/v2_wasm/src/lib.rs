//! The coder behind plain exports, for `speed.mjs`.

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

/// Adds a tensor of `n` bytes; `bits` 16 (bf16) or 32 (float32).
///
/// # Safety
/// Both pointers come from `room(n)`.
#[no_mangle]
pub unsafe extern "C" fn tensor(bits: u32, rows: u32, columns: u32, base: *const u8, fine: *const u8, n: usize) {
    let dtype = if bits == 16 { Dtype::BF16 } else { Dtype::F32 };
    // SAFETY: promised by the caller.
    let (base, fine) = unsafe { (std::slice::from_raw_parts(base, n), std::slice::from_raw_parts(fine, n)) };
    let shape = if rows == 0 { vec![columns as u64] } else { vec![rows as u64, columns as u64] };
    STATE.with_borrow_mut(|s| {
        s.tensors.push(v2::Tensor::new(dtype, &shape, base.to_vec(), fine.to_vec()));
        s.outs.push(vec![0; n]);
    });
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
        s.coded
            .as_ref()
            .map_or(0, |c| c.block.iter().fold(0u32, |h, &b| (h ^ b as u32).wrapping_mul(0x0100_0193)))
    })
}
