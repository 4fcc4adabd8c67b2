//! Orders actions so that every edge is respected.

use std::collections::{BTreeSet, HashSet};

use super::action::Action;

/// The actions that `wanted` needs, and themselves.
pub fn closure(actions: &[Action], wanted: Vec<usize>) -> HashSet<usize> {
    let mut seen: HashSet<usize> = HashSet::new();
    let mut open = wanted;
    while let Some(i) = open.pop() {
        if seen.insert(i) {
            open.extend(actions[i].inputs.values().flatten());
        }
    }
    seen
}

/// The actions of `keep`, which has all that they read, with the inputs of each before it. Wherever edges leave a choice they
/// follow the order of the file. None where they depend on each other in a circle.
pub fn sorted(actions: Vec<Action>, keep: &HashSet<usize>) -> Option<Vec<Action>> {
    let order = stable_order(&actions, keep)?;
    let mut rank = vec![0; actions.len()];
    for (new, &old) in order.iter().enumerate() {
        rank[old] = new;
    }
    let mut slots: Vec<Option<Action>> = actions.into_iter().map(Some).collect();
    let mut sorted: Vec<Action> = order.iter().filter_map(|old| slots[*old].take()).collect();
    for input in sorted.iter_mut().flat_map(|action| action.inputs.values_mut()).flatten() {
        *input = rank[*input];
    }
    Some(sorted)
}

/// By action, those that read it, the last one first.
pub fn readers(actions: &[Action]) -> Vec<Vec<usize>> {
    let mut readers = vec![Vec::new(); actions.len()];
    for (i, action) in actions.iter().enumerate().rev() {
        for input in distinct_inputs(action) {
            readers[input].push(i);
        }
    }
    readers
}

/// What an action reads, each once though it may fill several roles.
pub fn distinct_inputs(action: &Action) -> BTreeSet<usize> {
    action.inputs.values().flatten().copied().collect()
}

/// Kahn's algorithm, the first in the file first.
fn stable_order(actions: &[Action], keep: &HashSet<usize>) -> Option<Vec<usize>> {
    let readers = readers(actions);
    let mut missing: Vec<usize> = actions.iter().map(|action| distinct_inputs(action).len()).collect();
    let mut ready: BTreeSet<usize> = keep.iter().copied().filter(|i| missing[*i] == 0).collect();
    let mut order = Vec::with_capacity(keep.len());
    while let Some(i) = ready.pop_first() {
        order.push(i);
        for &reader in readers[i].iter().filter(|reader| keep.contains(reader)) {
            missing[reader] -= 1;
            if missing[reader] == 0 {
                ready.insert(reader);
            }
        }
    }
    (order.len() == keep.len()).then_some(order)
}
