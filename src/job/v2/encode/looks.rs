//! Looks at every tensor: the tasks, and what they found.

use super::arrange::Item;
use super::fitted::{Fit, FitItem, Fitted, Look, Purpose};
use crate::error::Result;
use crate::job::machine::{Io, TaskSpec};
use crate::job::report::from_wire;
use crate::job::task::{Task, GROUP_BYTES};
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
    let mut specs = Vec::new();
    for group in grouped(items, &cost) {
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
        let fit = Fit {
            look,
            items: group.iter().map(item).collect(),
            past,
        };
        specs.push(Task::Fit(fit).spec(&group[0].tensor.name, "reading", group.iter().map(cost).sum())?);
    }
    Ok(specs)
}

/// Items in runs of at least a few megabytes.
fn grouped<'a, 'b>(items: &'a [Item<'b>], cost: &dyn Fn(&&'a Item<'b>) -> u64) -> Vec<Vec<&'a Item<'b>>> {
    let mut groups = Vec::new();
    let mut group = Vec::new();
    let mut sum = 0;
    for item in items {
        sum += cost(&item);
        group.push(item);
        if sum >= GROUP_BYTES {
            groups.push(std::mem::take(&mut group));
            sum = 0;
        }
    }
    if !group.is_empty() {
        groups.push(group);
    }
    groups
}
