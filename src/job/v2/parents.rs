//! The links before a delta that is to be made: they must be sound, and made against the base that was given.

use super::chain::{Chain, Link};
use super::checks::{Checks, RebuildTasks};
use crate::error::Result;
use crate::job::machine::{Io, TaskSpec};

/// The checks of all links.
pub struct Parents<'a> {
    chain: &'a Chain,
    checks: Checks,
    n_checks: usize,
    rebuild: Option<RebuildTasks<'a>>,
    tasks: Vec<TaskSpec>,
}

impl<'a> Parents<'a> {
    /// Files and hashes of all links, and the tensors after the last one if it is of version 2: the hash of a version 1
    /// link covers what comes before it.
    pub fn new(chain: &'a Chain) -> Result<Self> {
        let mut checks = Checks::default();
        let mut tasks = checks.tasks(chain)?;
        let n_checks = tasks.len();
        let mut rebuild = match chain.stages.last().map(|s| &*s.link) {
            Some(Link::V2(delta)) => {
                let nowhere = vec![None; delta.index.tensors.len()];
                Some(RebuildTasks::new(chain, chain.stages.len(), &nowhere, false)?)
            }
            _ => None,
        };
        tasks.extend(rebuild.as_mut().map_or(Vec::new(), RebuildTasks::take));
        Ok(Self {
            chain,
            checks,
            n_checks,
            rebuild,
            tasks,
        })
    }

    /// Bytes that are read for them.
    pub fn cost(&self) -> u64 {
        self.tasks.iter().map(|t| t.cost).sum()
    }

    /// Runs them; an error when a link does not hold. This comes before anything is made of what the links rebuild.
    pub async fn check(&mut self, io: &Io) -> Result<()> {
        let reports = io.run(std::mem::take(&mut self.tasks)).await?;
        let (of_checks, of_rebuild) = reports.split_at(self.n_checks.min(reports.len()));
        let checked = self.checks.judge(io, self.chain, of_checks).await;
        if let Some(rebuild) = &self.rebuild {
            rebuild.judge(io, of_rebuild, checked.as_ref().err()).await?;
        }
        checked.map(drop)
    }
}
