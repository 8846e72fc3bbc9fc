//! Before a lossy encode: by how much each tensor's steps are to be finer than what was asked for.

use super::arrange::Item;
use super::chain::Chain;
use super::encode::fit_tasks;
use super::fit::{Fitted, Look};
use crate::error::Result;
use crate::job::machine::Io;
use crate::job::report::from_wire;
use crate::strategy::lossy::importance::{finer, Known};

/// Looks at a part of each tensor and sets [`Item::finer`].
pub async fn weigh(io: &Io, chain: &Chain, items: &mut [Item<'_>], look: Look) -> Result<()> {
    let look = Look { probe: true, ..look };
    let mut changes = Vec::with_capacity(items.len());
    for report in io.run(fit_tasks(chain, items, look)?).await? {
        let fitted: Vec<Fitted> = from_wire(&report)?;
        changes.extend(fitted.iter().map(|f| f.change));
    }
    let known: Vec<_> = items
        .iter()
        .zip(changes)
        .map(|(item, change)| Known {
            name: &item.tensor.name,
            shape: &item.tensor.shape,
            change,
        })
        .collect();
    let finer = finer(&known);
    for (item, finer) in items.iter_mut().zip(finer) {
        item.finer = finer;
    }
    Ok(())
}
