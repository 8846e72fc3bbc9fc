//! See `cases/v2_block.rs`.
#![no_main]

#[path = "../cases/v2_block.rs"]
mod case;
#[path = "../../common/mod.rs"]
mod common;

libfuzzer_sys::fuzz_target!(|data: &[u8]| case::run(data));
