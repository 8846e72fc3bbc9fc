//! Reading a file in a browser's worker, straight into wasm memory.

use super::memory_slice;
use wasm_bindgen::prelude::*;
use web_sys::{Blob, FileReaderSync};

/// Reads `len` bytes at `offset` of a Blob to address `at`; gives the number of bytes that were there.
#[wasm_bindgen(js_name = readBlob)]
pub fn read_blob(blob: &Blob, offset: f64, at: usize, len: usize) -> Result<usize, JsValue> {
    let part = blob.slice_with_f64_and_f64(offset, offset + len as f64)?;
    let buffer = FileReaderSync::new()?.read_as_array_buffer(&part)?;
    let bytes = js_sys::Uint8Array::new(&buffer);
    let got = (bytes.length() as usize).min(len);
    bytes.subarray(0, got as u32).copy_to(&mut memory_slice(at, len)[..got]);
    Ok(got)
}
