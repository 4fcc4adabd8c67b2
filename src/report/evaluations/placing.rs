//! Which evaluations fall into which cell of a figure.

use std::collections::{BTreeMap, BTreeSet};

use super::figure_layout::{Axes, AxisLayout, FigureLayout, SEED, Selection};

/// Panel, row and column; zero where a figure has no such axis.
pub type Place = [usize; 3];

/// Evaluations that differ in more than the seed and would be one cell.
#[derive(Debug, PartialEq, Eq)]
pub struct Clash {
    /// The cell: `method = lora, task = sst-2`.
    pub cell: String,
    pub evaluations: usize,
    /// Axes in which they differ; none where they are the same twice.
    pub open: Vec<String>,
}

/// Whether an evaluation has one of the values of every axis that is fixed.
pub fn selected(only: &Selection, axes: &Axes) -> bool {
    only.iter().all(|(axis, values)| axes.get(axis).is_none_or(|value| values.contains(value)))
}

/// The cells of a figure and the positions of their evaluations, which differ in the seed alone. What is without one of the
/// figure's axes has no place.
///
/// # Errors
/// The first cell of several evaluations that differ otherwise.
pub fn place(layout: &FigureLayout, evaluations: &[Axes]) -> Result<BTreeMap<Place, Vec<usize>>, Clash> {
    let mut cells: BTreeMap<Place, Vec<usize>> = BTreeMap::new();
    for (i, axes) in evaluations.iter().enumerate().filter(|(_, axes)| selected(&layout.only, axes)) {
        let at = |axis: &Option<AxisLayout>| match axis {
            None => Some(0),
            Some(axis) => axes.get(&axis.name).and_then(|value| axis.values.iter().position(|v| v.name == *value)),
        };
        if let (Some(panel), Some(row), Some(column)) = (at(&layout.panels), at(&layout.rows), at(&layout.columns)) {
            cells.entry([panel, row, column]).or_default().push(i);
        }
    }
    for members in cells.values() {
        let all: Vec<&Axes> = members.iter().map(|i| &evaluations[*i]).collect();
        let open = differing(&all);
        let seeds: BTreeSet<_> = all.iter().map(|axes| axes.get(SEED)).collect();
        if !open.is_empty() || seeds.len() < all.len() {
            let fixed = layout.axes().filter_map(|axis| Some(format!("{} = {}", axis.name, all[0].get(&axis.name)?)));
            let cell = fixed.collect::<Vec<_>>().join(", ");
            return Err(Clash { cell, evaluations: all.len(), open });
        }
    }
    Ok(cells)
}

/// Axes other than the seed in which evaluations differ. Fields of definitions follow from their axes, and the stage is named
/// only where nothing else is.
fn differing(all: &[&Axes]) -> Vec<String> {
    let names: BTreeSet<&String> = all.iter().flat_map(|axes| axes.keys()).collect();
    let differs = |name: &str| all.iter().any(|axes| axes.get(name) != all[0].get(name));
    let mut open: Vec<String> =
        names.into_iter().filter(|n| *n != SEED && !n.contains('.') && differs(n)).cloned().collect();
    if open.len() > 1 {
        open.retain(|name| name != "stage");
    }
    open
}

#[cfg(test)]
mod tests {
    use super::{
        super::{super::named::Named, figure_layout::Form},
        *,
    };
    use crate::eval::metrics::Metric;

    fn axes(pairs: &[(&str, &str)]) -> Axes {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn axis(name: &str, values: &[&str]) -> Option<AxisLayout> {
        let value = |v: &&str| Named { name: (*v).to_owned(), title: (*v).to_owned() };
        Some(AxisLayout { name: name.to_owned(), values: values.iter().map(value).collect() })
    }

    fn by_method_and_rank() -> FigureLayout {
        FigureLayout {
            name: "f".to_owned(),
            title: "F".to_owned(),
            form: Form::Table,
            panels: None,
            rows: axis("method", &["lora"]),
            columns: axis("rank", &["4", "8"]),
            metrics: vec![Metric::Accuracy],
            only: Selection::new(),
        }
    }

    #[test]
    fn seeds_share_a_cell_and_what_has_no_place_is_left_out() {
        let all = [
            axes(&[("method", "lora"), ("rank", "8"), ("seed", "0")]),
            axes(&[("method", "lora"), ("rank", "8"), ("seed", "1")]),
            axes(&[("method", "zero-shot")]),
        ];
        assert_eq!(place(&by_method_and_rank(), &all), Ok([([0, 0, 1], vec![0, 1])].into()));
    }

    #[test]
    fn an_open_axis_is_named_and_fixing_it_helps() {
        let all = [
            axes(&[("method", "lora"), ("rank", "8"), ("task", "a"), ("stage", "x"), ("task.limit", "1")]),
            axes(&[("method", "lora"), ("rank", "8"), ("task", "b"), ("stage", "y"), ("task.limit", "2")]),
        ];
        let mut layout = by_method_and_rank();
        let clash = place(&layout, &all).unwrap_err();
        assert_eq!(
            clash,
            Clash { cell: "method = lora, rank = 8".to_owned(), evaluations: 2, open: vec!["task".to_owned()] }
        );
        layout.only = [("task".to_owned(), vec!["b".to_owned()])].into();
        assert_eq!(place(&layout, &all), Ok([([0, 0, 1], vec![1])].into()));
        assert_eq!(place(&layout, &[all[1].clone(), all[1].clone()]).unwrap_err().open, [""; 0]);
    }
}
