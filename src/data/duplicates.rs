//! Texts that occur more than once.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
};

use super::{card::Duplicates, rows::Row, split::TextHash, summary::DuplicateCounts};

/// Counts rows whose text occurs more than once, and takes out those that `policy` has no room for.
pub(super) fn remove_duplicates(policy: Duplicates, rows: &mut Vec<Row>) -> DuplicateCounts {
    let mut groups: HashMap<TextHash, Vec<usize>> = HashMap::new();
    for (i, row) in rows.iter().enumerate() {
        groups.entry(row.hash).or_default().push(i);
    }
    let mut counts = DuplicateCounts {
        policy,
        repeats_within_split: 0,
        repeats_across_splits: 0,
        conflicting_texts: 0,
        conflicting_rows: 0,
        removed: 0,
    };
    let mut remove = vec![false; rows.len()];
    for group in groups.into_values().filter(|group| group.len() > 1) {
        let labels: BTreeSet<u32> = group.iter().map(|i| rows[*i].example.label_id).collect();
        if labels.len() > 1 {
            counts.conflicting_texts += 1;
            counts.conflicting_rows += group.len() as u64;
            group.iter().for_each(|i| remove[*i] = true);
            continue;
        }
        let Some(stays) = group.iter().copied().min_by_key(|i| (Reverse(rows[*i].example.split), *i)) else {
            continue;
        };
        for i in group.into_iter().filter(|i| *i != stays) {
            if rows[i].example.split == rows[stays].example.split {
                counts.repeats_within_split += 1;
            } else {
                counts.repeats_across_splits += 1;
            }
            remove[i] = true;
        }
    }
    if policy == Duplicates::Remove {
        let before = rows.len();
        let mut remove = remove.into_iter();
        rows.retain(|_| !remove.next().unwrap_or(false));
        counts.removed = (before - rows.len()) as u64;
    }
    counts
}
