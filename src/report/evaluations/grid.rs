//! Where each cell of a report stands: models by tasks by methods, in the layout's order.

use std::collections::BTreeSet;

use super::{
    super::named::Named,
    document::Model,
    groups::{Group, Groups, key},
    layout::{Layout, Publication},
};

/// The cells that there are, and where a layout puts them.
pub struct Grid<'a> {
    pub layout: &'a Layout,
    pub groups: &'a Groups<'a>,
    pub models: &'a [Model],
    pub baseline: &'a Named,
}

impl<'a> Grid<'a> {
    /// The models to make rows for: none known still makes rows, of missing cells.
    pub fn row_models(&self) -> Vec<Option<&'a Model>> {
        if self.models.is_empty() { vec![None] } else { self.models.iter().map(Some).collect() }
    }

    pub fn get(&self, model: Option<&Model>, task: &str, method: &str) -> Option<&'a Group<'a>> {
        self.groups.get(&key(&model?.name, task, method))
    }

    /// The model is named only where there are several.
    pub fn row_title(&self, model: Option<&Model>, method: &str) -> String {
        match model {
            Some(model) if self.models.len() > 1 => format!("{} ({method})", model.title),
            _ => method.to_owned(),
        }
    }

    /// Tasks of all tables, each once, in the order of the tables.
    pub fn all_tasks(&self) -> Vec<&'a Named> {
        let mut seen = BTreeSet::new();
        let tasks = self.layout.tables.iter().flat_map(|t| &t.tasks).map(|c| &c.task);
        tasks.filter(|t| seen.insert(&t.name)).collect()
    }

    /// All groups of a task: model by model, methods in the order of the rows.
    pub fn of_task(&self, task: &str) -> Vec<(Option<&'a Model>, usize, &'a Named, &'a Group<'a>)> {
        let mut out = Vec::new();
        for model in self.row_models() {
            for (series, method) in self.layout.methods.iter().enumerate() {
                out.extend(self.get(model, task, &method.name).map(|g| (model, series, method, g)));
            }
        }
        out
    }

    /// Where there are published figures to show.
    pub fn publication(&self) -> Option<&'a Publication> {
        self.layout.publication.as_ref().filter(|_| self.layout.tables.iter().any(|t| !t.published.is_empty()))
    }
}
