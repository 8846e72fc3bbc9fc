//! Looks at every tensor: the tasks, and what they found.

use super::arrange::Item;
use super::fitted::{Fit, FitItem, Fitted, Look, Purpose};
use crate::error::Result;
use crate::job::machine::{Io, TaskSpec};
use crate::job::report::from_wire;
use crate::job::task::{grouped, Task};
use crate::job::v2::chain::Chain;

/// Looks at these tensors; gives what it found, in their order.
pub async fn look_at(io: &Io, chain: &Chain, items: &[Item<'_>], look: Look) -> Result<Vec<Fitted>> {
    let mut fitted = Vec::with_capacity(items.len());
    for report in io.run(tasks(chain, items, look)?).await? {
        fitted.extend(from_wire::<Vec<Fitted>>(&report)?);
    }
    Ok(fitted)
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
