//! Runs machines natively over anything that can read and write at a position.

use super::machine::{Machine, OutputFile, SourceEntry, Step, TaskSpec, Transfer};
use super::{start_job, start_task};
use crate::error::{Code, Error, Result};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, VecDeque};

/// Where the bytes of a job come from and go to.
pub trait Host {
    /// Fills `out` from `offset` of `source`. Outputs follow the sources.
    fn read(&mut self, source: u32, offset: u64, out: &mut [u8]) -> Result<()>;
    /// Writes to a sink.
    fn write(&mut self, sink: u32, offset: u64, bytes: &[u8]) -> Result<()>;
    /// Creates the outputs.
    fn create(&mut self, outputs: &[OutputFile]) -> Result<()>;
    /// Cuts an output to this length.
    fn resize(&mut self, sink: u32, size: u64) -> Result<()>;
    /// Takes the plan; false stops the job here.
    fn plan(&mut self, _json: &str) -> bool {
        true
    }
    /// Takes an item of a streamed result.
    fn item(&mut self, _json: &str, _bytes: &[u8]) {}
    /// The order in which the tasks of a round are run; any order must give the same result.
    fn order(&mut self, tasks: &[TaskSpec]) -> Vec<usize> {
        (0..tasks.len()).collect()
    }
}

/// How a job ended.
#[derive(Debug)]
pub enum Ended {
    /// With this report.
    Done(String),
    /// At its plan.
    Planned(String),
}

/// Runs a job to its end, its tasks one after another.
pub fn run_job(kind: &str, options: &str, sources: Vec<SourceEntry>, host: &mut impl Host) -> Result<Ended> {
    let mut sizes: Vec<u64> = sources.iter().map(|s| s.size).collect();
    let n_sources = sizes.len() as u32;
    let mut machine = start_job(kind, options, sources)?;
    let mut lanes = HashMap::new();
    let mut rounds = VecDeque::new();
    loop {
        match machine.step()? {
            Step::Plan(json) => {
                if !host.plan(&json) {
                    return Ok(Ended::Planned(json));
                }
            }
            Step::Create(outputs) => {
                host.create(&outputs)?;
                for (i, output) in outputs.iter().enumerate() {
                    sizes.push(output.size);
                    machine.put_size(n_sources + i as u32, output.size);
                }
            }
            Step::Start(tasks) => {
                let mut reports = vec![Vec::new(); tasks.len()];
                for i in host.order(&tasks) {
                    reports[i] = run_task(&tasks[i].spec, sizes.clone(), host)?;
                }
                rounds.push_back(reports);
            }
            Step::Collect => machine.put_reports(rounds.pop_front().unwrap_or_default()),
            Step::Resize { file, size } => {
                host.resize(file, size)?;
                if let Some(of_output) = sizes.get_mut((n_sources + file) as usize) {
                    *of_output = size;
                }
            }
            Step::Done(report) => return Ok(Ended::Done(String::from_utf8_lossy(&report).into_owned())),
            step => answer(step, &mut machine, &mut lanes, host)?,
        }
    }
}

/// Runs one task; `sizes` are those of all sources and, after them, of the outputs.
pub fn run_task(spec: &[u8], sizes: Vec<u64>, host: &mut impl Host) -> Result<Vec<u8>> {
    let mut machine = start_task(spec, sizes)?;
    let mut lanes = HashMap::new();
    loop {
        match machine.step()? {
            Step::Done(report) => return Ok(report),
            step => answer(step, &mut machine, &mut lanes, host)?,
        }
    }
}

fn answer(step: Step, machine: &mut Machine, lanes: &mut HashMap<u32, Sha256>, host: &mut impl Host) -> Result<()> {
    match step {
        Step::Need(transfers) => transfers.iter().try_for_each(|&Transfer { file, offset, buf, .. }| {
            machine.with_buffer(buf, |b| host.read(file, offset, b))
        }),
        Step::Ready(transfers) => transfers.iter().try_for_each(|&Transfer { file, offset, buf, .. }| {
            machine.with_buffer(buf, |b| host.write(file, offset, b))
        }),
        Step::Hash { lanes: numbers, buf } => {
            for number in numbers {
                machine.with_buffer(buf, |b| lanes.entry(number).or_default().update(b));
            }
            Ok(())
        }
        Step::Digest { lane } => {
            machine.put_digest(lanes.remove(&lane).unwrap_or_default().finalize().into());
            Ok(())
        }
        Step::Item { json, buf } => {
            match buf {
                Some(buf) => machine.with_buffer(buf, |b| host.item(&json, b)),
                None => host.item(&json, &[]),
            }
            Ok(())
        }
        Step::Plan(_) | Step::Create(_) | Step::Resize { .. } | Step::Start(_) | Step::Collect | Step::Done(_) => {
            Err(Error::new(Code::Internal, "a task did what only a job may"))
        }
    }
}
