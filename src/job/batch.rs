//! Tasks of several kinds that run in one round, and which reports are whose.

use super::machine::TaskSpec;
use std::ops::Range;

/// Tasks that are to run together.
#[derive(Default)]
pub struct Batch(Vec<TaskSpec>);

/// Where the reports of some tasks are among those of their [`Batch`].
pub struct Slots(Range<usize>);

impl Batch {
    /// Adds tasks; what is given back finds their reports.
    pub fn add(&mut self, tasks: Vec<TaskSpec>) -> Slots {
        let start = self.0.len();
        self.0.extend(tasks);
        Slots(start..self.0.len())
    }

    /// Bytes that all tasks read and write.
    pub fn cost(&self) -> u64 {
        self.0.iter().map(|t| t.cost).sum()
    }

    /// The tasks, to be run.
    pub fn tasks(self) -> Vec<TaskSpec> {
        self.0
    }
}

impl Slots {
    /// Of the reports of the whole batch, those of the tasks that were added together, in their order.
    pub fn of<'a>(&self, reports: &'a [Vec<u8>]) -> &'a [Vec<u8>] {
        &reports[self.0.clone()]
    }
}
