//! Hashes of models that need not exist: by which links know what they were made against.

use super::chain::{Chain, Link};
use super::identify::{hashes, Identify};
use crate::error::Result;
use crate::job::chain::{broken_chain, candidate_orders, wrong_base, Order};
use crate::job::machine::TaskSpec;
use crate::job::task::Task;

/// The task that hashes these tensors of the model after `n` links.
pub fn hash_task(chain: &Chain, n: usize, names: &[&str], each: bool) -> Result<TaskSpec> {
    let (past, numbers) = chain.past_of(n, names, false)?;
    let cost = names.iter().map(|name| chain.cost(n, name)).sum();
    let order = names.iter().map(|&name| name.to_owned()).zip(numbers).collect();
    let label = if n == 0 { "base" } else { "chain" };
    Task::Identify(Identify { past, order, each }).spec(label, "hashing", cost)
}

/// The orders in which the model before version 1 link `number` (from 0) may have been hashed, with the tensors.
pub fn orders(chain: &Chain, number: usize) -> Vec<(Order, Vec<String>)> {
    let Some(Link::V1(delta)) = chain.link(number + 1) else {
        return Vec::new();
    };
    let mut orders = candidate_orders(chain.model(number), delta);
    // Between links of version 1 there are no files, and so no other order.
    if matches!(chain.link(number), Some(Link::V1(_))) {
        orders.truncate(1);
    }
    orders
}

/// The tasks that hash the model before version 1 link `number`, one for each order; none for version 2.
pub fn parent_tasks(chain: &Chain, number: usize) -> Result<Vec<TaskSpec>> {
    let hash = |(_, names): (Order, Vec<String>)| {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        hash_task(chain, number, &names, false)
    };
    orders(chain, number).into_iter().map(hash).collect()
}

/// The order in which the reports of [`parent_tasks`] give the hash that the link names; an error when none does.
pub fn judge_parent(chain: &Chain, number: usize, reports: &[Vec<u8>]) -> Result<Order> {
    let Some(Link::V1(delta)) = chain.link(number + 1) else {
        return Ok(Order::Sorted);
    };
    let mut found = Vec::with_capacity(reports.len());
    for report in reports {
        found.extend(hashes(report)?);
    }
    let orders = orders(chain, number);
    match found.iter().position(|h| *h == delta.header.parent_hash) {
        Some(at) => Ok(orders[at].0),
        None => {
            let found = found.first().map_or("", |h| h);
            Err(match number {
                0 => wrong_base(delta, found),
                _ => broken_chain(delta, number, found),
            })
        }
    }
}
