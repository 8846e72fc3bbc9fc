//! Tensors that are the same as earlier ones: tied weights are in the file once.
//!
//! Most tensors differ from all others where they were looked at; only those that do not are hashed as a whole.

use super::arrange::Item;
use super::fitted::{Fitted, Purpose};
use super::looks::Looker;
use crate::error::Result;
use crate::format::v2::index::Digest;
use crate::format::v2::{Op, TensorRecord};
use crate::job::report::source_changed;
use crate::order::sorted_positions;

/// Gives every record a digest that others have only if their tensors are the same: of its bytes, where it has to.
pub async fn tell_apart(
    looker: Looker<'_>,
    items: &[Item<'_>],
    fitted: &[Fitted],
    records: &mut [TensorRecord],
) -> Result<()> {
    for (record, f) in records.iter_mut().zip(fitted) {
        record.digest = f.mark;
    }
    let (mut wanted, mut again) = (Vec::new(), Vec::new());
    for group in alike(records) {
        if group.iter().all(|&i| records[i].op == Op::Unchanged) {
            continue;
        }
        for i in group.into_iter().filter(|&i| fitted[i].whole.is_none()) {
            wanted.push(i);
            again.push(Item { base: None, ..items[i] });
        }
    }
    let hashed = looker.with_purpose(Purpose::Hash).look_at(&again).await?;
    for (i, f) in wanted.into_iter().zip(&hashed).chain((0..).zip(fitted)) {
        records[i].digest = f.whole.unwrap_or(records[i].digest);
    }
    Ok(())
}

/// Makes tensors that are the same as earlier ones refer to those.
pub fn tie(records: &mut [TensorRecord]) {
    for group in alike(records) {
        for &i in &group[1..] {
            if records[i].op != Op::Unchanged {
                let t = &mut records[i];
                let back = (i - group[0]) as u64;
                (t.op, t.base) = (Op::Tied { back }, None);
            }
        }
    }
}

/// Numbers of tensors of one form with the same digest, of at least two each, in order.
fn alike(records: &[TensorRecord]) -> Vec<Vec<usize>> {
    let key = |i: usize| (records[i].digest, records[i].dtype as u8, &records[i].shape);
    let order = sorted_positions(records.len(), &|a, b| key(a).cmp(&key(b)));
    let groups = order.chunk_by(|&a, &b| key(a) == key(b)).filter(|g| g.len() > 1);
    groups.map(<[usize]>::to_vec).collect()
}

/// `SOURCE_CHANGED` when what was encoded of a tensor is not what it was when another one was the same.
pub fn check(record: &TensorRecord, encoded: Digest) -> Result<()> {
    match record.digest == encoded {
        true => Ok(()),
        false => Err(source_changed("fine-tune", &record.name)),
    }
}
