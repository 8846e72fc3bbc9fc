//! The orders in which the reference hashes a base and writes records (FORMAT-V1 1.3 and 6), as positions in a list of
//! names.
//!
//! The parent hash runs over name and stored bytes of each tensor, so its value depends on the order, and the reference
//! has three: sorted names (in-memory), the record order (path-based save), base shard groups (path-based load).

/// Positions of `names`, sorted by the bytes of the names, which is Python's order of code points.
pub fn sorted<N: AsRef<str>>(names: &[N]) -> Vec<usize> {
    let mut order: Vec<_> = (0..names.len()).collect();
    order.sort_by_key(|&i| names[i].as_ref());
    order
}

/// Positions of `names` grouped by `shard_of`, groups in order of first use, the order inside a group kept.
///
/// Over sorted names this is the order of the path-based load.
pub fn shard_groups<N: AsRef<str>>(names: &[N], shard_of: impl Fn(&str) -> usize) -> Vec<usize> {
    group((0..names.len()).collect(), |i| shard_of(names[i].as_ref()))
}

/// Positions of `names`, which are sorted, in the record order of the path-based save: grouped by the base's shard, in
/// each group by the fine-tune's.
pub fn record_order_for_paths<N: AsRef<str>>(
    names: &[N],
    base_shard_of: impl Fn(&str) -> usize,
    ft_shard_of: impl Fn(&str) -> usize,
) -> Vec<usize> {
    let by_base = shard_groups(names, &base_shard_of);
    let same_base = |a: &usize, b: &usize| base_shard_of(names[*a].as_ref()) == base_shard_of(names[*b].as_ref());
    by_base
        .chunk_by(same_base)
        .flat_map(|one_shard| group(one_shard.to_vec(), |i| ft_shard_of(names[i].as_ref())))
        .collect()
}

/// A stable sort by the first use of each key.
fn group(mut order: Vec<usize>, key_of: impl Fn(usize) -> usize) -> Vec<usize> {
    let mut first_use = std::collections::HashMap::new();
    for &i in &order {
        let rank = first_use.len();
        first_use.entry(key_of(i)).or_insert(rank);
    }
    order.sort_by_cached_key(|&i| first_use.get(&key_of(i)).copied());
    order
}
