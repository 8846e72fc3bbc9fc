//! See `cases/v1.rs`.
#![no_main]

#[path = "../cases/v1.rs"]
mod case;
#[path = "../../common/mod.rs"]
mod common;

libfuzzer_sys::fuzz_target!(|data: &[u8]| case::run(data));
