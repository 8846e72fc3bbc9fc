//! See `cases/safetensors_header.rs`.
#![no_main]

#[path = "../cases/safetensors_header.rs"]
mod case;

libfuzzer_sys::fuzz_target!(|data: &[u8]| case::run(data));
