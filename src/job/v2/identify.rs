//! Hashes of models that need not exist: by which links know what they were made against.

use super::chain::{Chain, Link};
use super::digest;
use super::past::Past;
use super::reader::Reader;
use crate::error::{Code, Error, Result};
use crate::job::chain::{candidate_orders, short, wrong_base, Order};
use crate::job::machine::{Io, TaskSpec};
use crate::job::report::{from_wire, hex, to_wire};
use crate::job::task::Task;
use crate::job::wire::wire;
use crate::limits::CHUNK_BYTES;

/// Tensors of the last model of a past, to be hashed.
#[derive(Debug)]
pub struct Identify {
    /// The models.
    pub past: Past,
    /// Names and numbers of the tensors, in order.
    pub order: Vec<(String, u32)>,
    /// A digest of each tensor, as version 2 has them; else one SHA-256 over names and bytes, as version 1 has it.
    pub each: bool,
}
wire!(Identify { past, order, each });

/// Runs the task; reports hashes in hex, or what is wrong with the links, which need not be the cause: see [`hashes`].
pub async fn identify(io: Io, work: Identify) -> Result<Vec<u8>> {
    to_wire(&hash(&io, work).await)
}

/// The hashes that [`identify`] reports.
pub fn hashes(report: &[u8]) -> Result<Vec<String>> {
    from_wire::<Result<Vec<String>>>(report)?
}

async fn hash(io: &Io, work: Identify) -> Result<Vec<String>> {
    let mut reader = Reader::new(work.past);
    let top = reader.top();
    let mut digests = Vec::new();
    for (name, tensor) in work.order {
        let mut of_tensor = blake3::Hasher::new();
        if !work.each {
            io.hash(&[0], &mut name.into_bytes()).await;
        }
        let (_, len) = reader.shape_of(top, tensor);
        let mut done = 0;
        while done < len {
            let n = (len - done).min(CHUNK_BYTES as u64);
            let mut bytes = reader.read(io, top, tensor, done, n as usize).await?;
            match work.each {
                true => {
                    of_tensor.update(&bytes);
                }
                false => io.hash(&[0], &mut bytes).await,
            }
            done += n;
        }
        digests.push(hex(&digest(&of_tensor)));
    }
    if !work.each {
        digests = vec![hex(&io.digest(0).await?)];
    }
    Ok(digests)
}

/// The task that hashes these tensors of the model after `n` links.
pub fn task(chain: &Chain, n: usize, names: &[&str], each: bool) -> Result<TaskSpec> {
    let (past, numbers) = chain.past_of(n, names, false)?;
    let cost = names.iter().map(|name| chain.cost(n, name)).sum();
    let order = names.iter().map(|&name| name.to_owned()).zip(numbers).collect();
    let label = if n == 0 { "base" } else { "chain" };
    Task::Identify(Identify { past, order, each }).spec(label, "hashing", cost)
}

/// The orders in which the model before version 1 link `number` (from 0) may have been hashed, with the tensors.
pub fn orders(chain: &Chain, number: usize) -> Vec<(Order, Vec<String>)> {
    let Link::V1(delta) = &*chain.stages[number].link else {
        return Vec::new();
    };
    let mut orders = candidate_orders(chain.model(number), delta);
    // Between links of version 1 there are no files, and so no other order.
    if number > 0 && matches!(*chain.stages[number - 1].link, Link::V1(_)) {
        orders.truncate(1);
    }
    orders
}

/// The tasks that hash the model before version 1 link `number`, one for each order; none for version 2.
pub fn parent_tasks(chain: &Chain, number: usize) -> Result<Vec<TaskSpec>> {
    let hash = |(_, names): (Order, Vec<String>)| {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        task(chain, number, &names, false)
    };
    orders(chain, number).into_iter().map(hash).collect()
}

/// The order in which the reports of [`parent_tasks`] give the hash that the link names; an error when none does.
pub fn judge_parent(chain: &Chain, number: usize, reports: &[Vec<u8>]) -> Result<Order> {
    let Link::V1(delta) = &*chain.stages[number].link else {
        return Ok(Order::Sorted);
    };
    let mut found = Vec::with_capacity(reports.len());
    for report in reports {
        found.extend(hashes(report)?);
    }
    let orders = orders(chain, number);
    match found.iter().position(|h| *h == delta.header.parent_hash) {
        Some(at) => Ok(orders[at].0),
        None if number == 0 => Err(wrong_base(delta, found.first().map_or("", |h| h))),
        None => Err(Error::new(
            Code::BrokenChain,
            format!(
                "link {} does not follow link {number}: it was made against a model with hash {}, but link {number} rebuilds {}; check the order of the deltas, and whether one is missing in between",
                number + 1,
                short(&delta.header.parent_hash),
                short(found.first().map_or("", |h| h)),
            ),
        )
        .source(delta.source)),
    }
}
