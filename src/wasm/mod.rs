//! The WebAssembly surface: converts and delegates, decides nothing.
//!
//! The npm package is its only user. A machine's buffers are handed out as addresses in wasm memory, so that the host
//! reads and writes files without a copy; views on the memory must be taken again after every call, since it may grow.

mod machine;

pub use machine::WasmMachine;

use crate::error::{Error, CODES};
use serde::Serialize;
use sha2::{Digest, Sha256};
use wasm_bindgen::prelude::*;

/// Runs once when the module is instantiated: a panic goes to the console and is thrown as an error with its text.
#[wasm_bindgen(start)]
pub fn start() {
    std::panic::set_hook(Box::new(|info| {
        console_error_panic_hook::hook(info);
        wasm_bindgen::throw_str(&format!("panicked: {info}"));
    }));
}

/// The module's memory.
#[wasm_bindgen(js_name = wasmMemory)]
pub fn wasm_memory() -> JsValue {
    wasm_bindgen::memory()
}

/// The crate's version.
#[wasm_bindgen]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").into()
}

/// Every error code with its meaning: `[{ code, meaning }]`.
#[wasm_bindgen(js_name = errorCodes)]
pub fn error_codes() -> Result<JsValue, JsValue> {
    #[derive(Serialize)]
    struct Row {
        code: &'static str,
        meaning: &'static str,
    }
    to_js(
        &CODES
            .iter()
            .map(|&(_, code, meaning)| Row { code, meaning })
            .collect::<Vec<_>>(),
    )
}

/// SHA-256 over wasm memory, for hosts without a native hasher that can be fed in pieces.
#[wasm_bindgen(js_name = Sha256)]
#[derive(Default)]
pub struct WasmSha256(Sha256);

#[wasm_bindgen(js_class = Sha256)]
impl WasmSha256 {
    /// A hash of nothing so far.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes `len` bytes at address `at`, which must lie in a buffer that a machine has handed out.
    pub fn update(&mut self, at: usize, len: usize) {
        self.0.update(memory_slice(at, len));
    }

    /// The 32 bytes; the object is used up.
    pub fn digest(self) -> Vec<u8> {
        self.0.finalize().to_vec()
    }
}

/// The bytes at `at`: a buffer of a machine that waits for its host.
fn memory_slice<'a>(at: usize, len: usize) -> &'a mut [u8] {
    // SAFETY: the host passes addresses that `Machine::step` gave it. The buffers behind them stay where they are until
    // the machine is stepped again, the module has one thread, and no Rust reference to them exists in between.
    unsafe { std::slice::from_raw_parts_mut(at as *mut u8, len) }
}

/// The plain object that the package makes a `WdeltaError` of.
fn error_to_js(error: &Error) -> JsValue {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Plain<'a> {
        code: &'static str,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        tensor: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        offset: Option<f64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        source_id: Option<u32>,
    }
    let plain = Plain {
        code: error.code.as_str(),
        message: &error.message,
        tensor: error.tensor.as_deref(),
        offset: error.offset.map(|o| o as f64),
        source_id: error.source_id,
    };
    to_js(&plain).unwrap_or_else(|e| e)
}

fn to_js<T: Serialize>(value: &T) -> Result<JsValue, JsValue> {
    let serializer = serde_wasm_bindgen::Serializer::json_compatible().serialize_bytes_as_arrays(false);
    value
        .serialize(&serializer)
        .map_err(|e| JsValue::from_str(&e.to_string()))
}
