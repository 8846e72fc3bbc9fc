//! A job or task as JavaScript sees it.

use super::{error_to_js, to_js};
use crate::job::machine::{as_bytes, Machine, OutputFile, Step, TaskSpec, Transfer};
use crate::job::options::sources as sources_of;
use crate::job::{start_job, start_task};
use serde::Serialize;
use wasm_bindgen::prelude::*;

/// A step, with addresses in place of buffer numbers.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum JsStep {
    Need {
        transfers: Vec<Place>,
    },
    Ready {
        transfers: Vec<Place>,
    },
    Hash {
        lanes: Vec<u32>,
        at: usize,
        len: usize,
    },
    Digest {
        lane: u32,
    },
    Plan {
        json: String,
    },
    Create {
        outputs: Vec<OutputFile>,
    },
    Resize {
        file: u32,
        size: f64,
    },
    Start {
        tasks: Vec<TaskSpec>,
    },
    Collect,
    Item {
        json: String,
        at: usize,
        len: usize,
    },
    Done {
        #[serde(serialize_with = "as_bytes")]
        report: Vec<u8>,
    },
}

#[derive(Serialize)]
struct Place {
    file: u32,
    offset: f64,
    len: usize,
    at: usize,
}

/// See `src/job/machine.rs`.
#[wasm_bindgen(js_name = Machine)]
pub struct WasmMachine(Machine);

#[wasm_bindgen(js_class = Machine)]
impl WasmMachine {
    /// Begins a job: options as a plain object, sources as `[{ role, group, path, size }]`.
    pub fn job(kind: &str, options: &JsValue, sources: &JsValue) -> Result<WasmMachine, JsValue> {
        let json = |value: &JsValue| js_sys::JSON::stringify(value).map(String::from);
        let (options, entries) = (json(options)?, json(sources)?);
        let machine = sources_of(&entries).and_then(|entries| start_job(kind, &options, entries));
        machine.map(Self).map_err(|e| error_to_js(&e))
    }

    /// Begins a task of a `start` step; `sizes` are those of all sources and, after them, of the outputs.
    pub fn task(spec: &[u8], sizes: Vec<f64>) -> Result<WasmMachine, JsValue> {
        let sizes = sizes.into_iter().map(|s| s as u64).collect();
        start_task(spec, sizes).map(Self).map_err(|e| error_to_js(&e))
    }

    /// Goes on until the machine wants something or is done.
    pub fn step(&mut self) -> Result<JsValue, JsValue> {
        let step = self.0.step().map_err(|e| error_to_js(&e))?;
        let machine = &mut self.0;
        let mut at = |buf: usize| machine.with_buffer(buf, |b| (b.as_mut_ptr() as usize, b.len()));
        let mut places = |transfers: Vec<Transfer>| -> Vec<Place> {
            let place = |t: Transfer| Place {
                file: t.file,
                offset: t.offset as f64,
                len: t.len,
                at: at(t.buf).0,
            };
            transfers.into_iter().map(place).collect()
        };
        to_js(&match step {
            Step::Need(transfers) => JsStep::Need {
                transfers: places(transfers),
            },
            Step::Ready(transfers) => JsStep::Ready {
                transfers: places(transfers),
            },
            Step::Hash { lanes, buf } => {
                let (at, len) = at(buf);
                JsStep::Hash { lanes, at, len }
            }
            Step::Digest { lane } => JsStep::Digest { lane },
            Step::Plan(json) => JsStep::Plan { json },
            Step::Create(outputs) => JsStep::Create { outputs },
            Step::Resize { file, size } => JsStep::Resize {
                file,
                size: size as f64,
            },
            Step::Start(tasks) => JsStep::Start { tasks },
            Step::Collect => JsStep::Collect,
            Step::Item { json, buf } => {
                let (at, len) = buf.map_or((0, 0), at);
                JsStep::Item { json, at, len }
            }
            Step::Done(report) => JsStep::Done { report },
        })
    }

    /// Answers a `digest` step with 32 bytes.
    #[wasm_bindgen(js_name = putDigest)]
    pub fn put_digest(&mut self, digest: &[u8]) {
        if let Ok(digest) = digest.try_into() {
            self.0.put_digest(digest);
        }
    }

    /// Answers a `collect` step with the reports in the order of the tasks.
    #[wasm_bindgen(js_name = putReports)]
    pub fn put_reports(&mut self, reports: Vec<js_sys::Uint8Array>) {
        self.0
            .put_reports(reports.iter().map(js_sys::Uint8Array::to_vec).collect());
    }

    /// Answers a `create` step: output i can be read as source `number of sources + i`.
    #[wasm_bindgen(js_name = putSize)]
    pub fn put_size(&mut self, source: u32, size: f64) {
        self.0.put_size(source, size as u64);
    }
}
