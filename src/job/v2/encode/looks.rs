//! Looks at every tensor before any is encoded: the fit tasks of one pass, and what they found.

use super::arrange::Item;
use super::fitted::{Fit, FitItem, Fitted, Look, Purpose};
use crate::error::Result;
use crate::job::machine::{Io, TaskSpec};
use crate::job::report::from_wire;
use crate::job::task::{grouped, Task};
use crate::job::v2::chain::Chain;

/// Who looks at tensors, next to what and how.
#[derive(Clone, Copy)]
pub struct Looker<'a> {
    /// Runs the tasks.
    pub io: &'a Io,
    /// What the delta is made against.
    pub chain: &'a Chain,
    /// How tensors are looked at.
    pub look: Look,
}

impl Looker<'_> {
    /// The same with this step of dither.
    pub fn with_step(mut self, step: u8) -> Self {
        self.look.step = Some(step);
        self
    }

    /// The same for another purpose.
    pub fn with_purpose(mut self, purpose: Purpose) -> Self {
        self.look.purpose = purpose;
        self
    }

    /// Looks at these tensors; gives what it found, in their order.
    pub async fn look_at(self, items: &[Item<'_>]) -> Result<Vec<Fitted>> {
        let mut fitted = Vec::with_capacity(items.len());
        for report in self.io.run(tasks(self.chain, items, self.look)?).await? {
            fitted.extend(from_wire::<Vec<Fitted>>(&report)?);
        }
        Ok(fitted)
    }
}

fn tasks(chain: &Chain, items: &[Item<'_>], look: Look) -> Result<Vec<TaskSpec>> {
    let n = chain.stages.len();
    let stride = |i: &&Item<'_>| match look.purpose {
        Purpose::Hash => 1,
        _ => look.stride(&i.geometry),
    };
    let cost = |i: &&Item<'_>| (i.tensor.range.len + i.base.map_or(0, |b| chain.cost(n, &b.name))) / stride(i);
    let task = |group: Vec<&Item<'_>>| {
        let names: Vec<&str> = group.iter().filter_map(|i| i.base).map(|b| b.name.as_str()).collect();
        let (past, numbers) = chain.past_of(n, &names, false)?;
        let mut numbers = numbers.into_iter();
        let item = |i: &&Item<'_>| FitItem {
            fine: i.tensor.into(),
            base: i.base.and_then(|_| numbers.next()),
            columns: i.geometry.columns,
            common: i.geometry.common,
            stride: stride(i),
            finer: i.finer,
        };
        let items = group.iter().map(item).collect();
        Ok(Task::Fit(Fit { look, items, past }))
    };
    grouped(items.iter().collect(), "reading", cost, |i| &i.tensor.name, task)
}
