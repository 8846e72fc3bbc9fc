//! A host in memory for the step machines, and small models to feed them.
#![allow(dead_code)] // each test binary uses a part

pub mod pairs;
pub mod random;
pub mod tables;

use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use wdelta::error::{Code, Error, Result};
use wdelta::job::drive::{run_job, Ended, Host};
use wdelta::job::machine::{OutputFile, Role, SourceEntry, TaskSpec};

/// Folder of the golden cases.
pub fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1")
}

/// Files in memory; outputs too.
#[derive(Default)]
pub struct Memory {
    pub entries: Vec<SourceEntry>,
    pub files: Vec<Vec<u8>>,
    pub outputs: Vec<(String, Vec<u8>)>,
    pub items: Vec<(String, Vec<u8>)>,
    pub plans: Vec<String>,
    /// Bytes read from each source.
    pub read: HashMap<u32, u64>,
    /// Run tasks last to first.
    pub backwards: bool,
    /// Fail when this many bytes have been written.
    pub disk: Option<u64>,
    /// Refuse outputs of more bytes than this in all.
    pub room: Option<u64>,
    pub stop_at_plan: bool,
    /// How many tasks each round had.
    pub rounds: Vec<usize>,
    /// Called before each read with the source, the offset and the files: a chance to change them.
    #[allow(clippy::type_complexity)]
    pub meddle: Option<Box<dyn FnMut(u32, u64, &mut Vec<Vec<u8>>)>>,
    written: u64,
}

impl Memory {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn with(mut self, role: Role, group: u32, path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        let size = bytes.len() as u64;
        self.entries.push(SourceEntry {
            role,
            group,
            path: path.into(),
            size,
        });
        self.files.push(bytes);
        self
    }

    /// Adds a model of one or more files.
    pub fn model(mut self, role: Role, files: &[(String, Vec<u8>)]) -> Self {
        for (path, bytes) in files {
            self = self.with(role, 0, path, bytes.clone());
        }
        self
    }

    pub fn run(&mut self, kind: &str, options: &str) -> Result<Value> {
        let entries = self.entries.clone();
        match run_job(kind, options, entries, self)? {
            Ended::Done(json) | Ended::Planned(json) => Ok(serde_json::from_str(&json).unwrap()),
        }
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory")
            .field("entries", &self.entries)
            .finish_non_exhaustive()
    }
}

impl Host for Memory {
    fn read(&mut self, source: u32, offset: u64, out: &mut [u8]) -> Result<()> {
        *self.read.entry(source).or_default() += out.len() as u64;
        if let Some(mut meddle) = self.meddle.take() {
            meddle(source, offset, &mut self.files);
            self.meddle = Some(meddle);
        }
        let n = self.files.len();
        let file = match (source as usize).checked_sub(n) {
            None => &self.files[source as usize],
            Some(output) => &self.outputs[output].1,
        };
        let start = offset as usize;
        out.copy_from_slice(&file[start..start + out.len()]);
        Ok(())
    }

    fn write(&mut self, sink: u32, offset: u64, bytes: &[u8]) -> Result<()> {
        self.written += bytes.len() as u64;
        if self.disk.is_some_and(|room| self.written > room) {
            return Err(Error::new(Code::Io, "the disk is full"));
        }
        let start = offset as usize;
        self.outputs[sink as usize].1[start..start + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn create(&mut self, outputs: &[OutputFile]) -> Result<()> {
        if self
            .room
            .is_some_and(|room| outputs.iter().map(|o| o.size).sum::<u64>() > room)
        {
            return Err(Error::new(Code::Io, "the disk is too small"));
        }
        self.outputs = outputs
            .iter()
            .map(|o| (o.path.clone(), vec![0xAA; o.size as usize]))
            .collect();
        Ok(())
    }

    fn resize(&mut self, sink: u32, size: u64) -> Result<()> {
        self.outputs[sink as usize].1.truncate(size as usize);
        Ok(())
    }

    fn plan(&mut self, json: &str) -> bool {
        self.plans.push(json.into());
        !self.stop_at_plan
    }

    fn item(&mut self, json: &str, bytes: &[u8]) {
        self.items.push((json.into(), bytes.to_vec()));
    }

    fn order(&mut self, tasks: &[TaskSpec]) -> Vec<usize> {
        self.rounds.push(tasks.len());
        match self.backwards {
            true => (0..tasks.len()).rev().collect(),
            false => (0..tasks.len()).collect(),
        }
    }
}

/// The files that a manifest entry names (one, or a list of shards), by base name.
pub fn files(entry: &Value) -> Vec<(String, Vec<u8>)> {
    let names = entry.as_array().cloned().unwrap_or(vec![entry.clone()]);
    names
        .iter()
        .map(|n| {
            let path = golden().join(n.as_str().unwrap());
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read(path).unwrap())
        })
        .collect()
}

pub fn manifest() -> Value {
    serde_json::from_slice(&std::fs::read(golden().join("manifest.json")).unwrap()).unwrap()
}

/// A tensor to put into a model: name, dtype, shape, bytes.
pub type Tensor<'a> = (&'a str, &'a str, Vec<u64>, Vec<u8>);

/// A safetensors file without padding, and with spaces in its shapes; plain text, which shares no code with the crate.
pub fn safetensors(tensors: &[Tensor<'_>]) -> Vec<u8> {
    let mut at = 0;
    let mut entries = Vec::new();
    let mut data = Vec::new();
    for (name, dtype, shape, bytes) in tensors {
        let end = at + bytes.len();
        let name = serde_json::to_string(name).unwrap();
        entries.push(format!(
            "{name}:{{\"dtype\":\"{dtype}\",\"shape\":{shape:?},\"data_offsets\":[{at},{end}]}}"
        ));
        data.extend_from_slice(bytes);
        at = end;
    }
    let header = format!("{{{}}}", entries.join(","));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(&data);
    file
}

/// The bytes of float32 values.
pub fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// The bytes of float32 values rounded to bf16, nearest even.
pub fn bf16s(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|v| half::bf16::from_f32(*v).to_le_bytes())
        .collect()
}

/// Tensor name to (dtype, bytes) of a safetensors file.
pub fn read_safetensors(file: &[u8]) -> HashMap<String, (String, Vec<u8>)> {
    let len = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&file[8..8 + len]).unwrap();
    header
        .as_object()
        .unwrap()
        .iter()
        .filter(|(name, _)| *name != "__metadata__")
        .map(|(name, t)| {
            let at = |i: usize| 8 + len + t["data_offsets"][i].as_u64().unwrap() as usize;
            (
                name.clone(),
                (t["dtype"].as_str().unwrap().to_owned(), file[at(0)..at(1)].to_vec()),
            )
        })
        .collect()
}
