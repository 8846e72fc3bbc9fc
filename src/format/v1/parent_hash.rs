//! The orders in which the reference hashes a base and writes records (`format::v1`, sections 1 and 6), over lists of names.
//!
//! The parent hash runs over name and stored bytes of each tensor, so its value depends on the order, and the reference
//! has three: sorted names (in-memory), the record order (path-based save), base shard groups (path-based load).

use crate::order::sorted_positions;
/// The names sorted by their bytes, which is Python's order of code points.
pub fn sorted<N: AsRef<str> + Clone>(names: &[N]) -> Vec<N> {
    let order = sorted_positions(names.len(), &|a, b| names[a].as_ref().cmp(names[b].as_ref()));
    order.into_iter().map(|i| names[i].clone()).collect()
}

/// `names` grouped by `shard_of`, groups in order of first use, the order inside a group kept.
///
/// Over sorted names this is the order of the path-based load.
pub fn shard_groups<N: AsRef<str> + Clone>(names: &[N], shard_of: impl Fn(&str) -> usize) -> Vec<N> {
    grouped(names, shard_of).concat()
}

/// `names`, which are sorted, in the record order of the path-based save: grouped by the base's shard, in each group by
/// the fine-tune's.
pub fn record_order_for_paths<N: AsRef<str> + Clone>(
    names: &[N],
    base_shard_of: impl Fn(&str) -> usize,
    ft_shard_of: impl Fn(&str) -> usize,
) -> Vec<N> {
    grouped(names, base_shard_of)
        .iter()
        .flat_map(|group| shard_groups(group, &ft_shard_of))
        .collect()
}

/// The names of each shard, shards in order of first use.
fn grouped<N: AsRef<str> + Clone>(names: &[N], shard_of: impl Fn(&str) -> usize) -> Vec<Vec<N>> {
    let mut groups: Vec<Vec<N>> = Vec::new();
    let mut group_of_shard: Vec<Option<usize>> = Vec::new();
    for name in names {
        let shard = shard_of(name.as_ref());
        if group_of_shard.len() <= shard {
            group_of_shard.resize(shard + 1, None);
        }
        let group = *group_of_shard[shard].get_or_insert(groups.len());
        if group == groups.len() {
            groups.push(Vec::new());
        }
        groups[group].push(name.clone());
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_by_code_point_not_by_utf16() {
        let names = [
            "model.layers.10.w",
            "\u{1f600}",
            "model.layers.2.w",
            "\u{ff5e}",
            "Z",
            "a",
            "",
        ];
        let expected = [
            "",
            "Z",
            "a",
            "model.layers.10.w",
            "model.layers.2.w",
            "\u{ff5e}",
            "\u{1f600}",
        ];
        assert_eq!(sorted(&names), expected);
    }

    #[test]
    fn groups_come_in_order_of_first_use() {
        let shard = |name: &str| usize::from(matches!(name, "a" | "c"));
        assert_eq!(shard_groups(&["a", "b", "c", "d"], shard), ["a", "c", "b", "d"]);
        assert_eq!(shard_groups(&["b", "c", "d"], shard), ["b", "d", "c"]);
        assert_eq!(shard_groups(&[""; 0], shard), [""; 0]);
    }

    #[test]
    fn paths_group_by_both_sides() {
        let base = |name: &str| usize::from(name > "d");
        let ft = |name: &str| usize::from(matches!(name, "b" | "d" | "e"));
        let names = ["a", "b", "c", "d", "e", "f", "g"];
        assert_eq!(
            record_order_for_paths(&names, base, ft),
            ["a", "c", "b", "d", "e", "f", "g"]
        );
        assert_eq!(record_order_for_paths(&names, |_| 0, |_| 0), names);
    }
}
