//! The links before a delta that is to be made: they must be sound, and made against the base that was given.

use crate::error::Result;
use crate::job::batch::{Batch, Slots};
use crate::job::machine::Io;
use crate::job::v2::chain::Chain;
use crate::job::v2::checks::{Checks, RebuildTasks};

/// The tasks that check all links, and how to read their reports.
pub struct Parents<'a> {
    chain: &'a Chain,
    checks: Checks,
    rebuild: Option<RebuildTasks<'a>>,
    batch: Batch,
    of_checks: Slots,
    of_rebuild: Slots,
}

impl<'a> Parents<'a> {
    /// Files and hashes of all links, and the tensors after the last one if it is of version 2: the hash of a version 1
    /// link covers what comes before it.
    pub fn new(chain: &'a Chain) -> Result<Self> {
        let mut checks = Checks::default();
        let mut batch = Batch::default();
        let of_checks = batch.add(checks.tasks(chain)?);
        let mut rebuild = RebuildTasks::of_last(chain)?;
        let of_rebuild = batch.add(rebuild.as_mut().map_or(Vec::new(), RebuildTasks::take));
        Ok(Self {
            chain,
            checks,
            rebuild,
            batch,
            of_checks,
            of_rebuild,
        })
    }

    /// Bytes that are read for them.
    pub fn cost(&self) -> u64 {
        self.batch.cost()
    }

    /// Runs them; an error when a link does not hold. This comes before anything is made of what the links rebuild.
    pub async fn check(self, io: &Io) -> Result<()> {
        let reports = io.run(self.batch.tasks()).await?;
        let checked = self.checks.judge(io, self.chain, self.of_checks.of(&reports)).await;
        if let Some(rebuild) = &self.rebuild {
            rebuild
                .judge(io, self.of_rebuild.of(&reports), checked.as_ref().err())
                .await?;
        }
        checked.map(drop)
    }
}
