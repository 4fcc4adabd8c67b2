//! `report`: evaluations become tables, tests and plots.

mod choices;
mod collect;
mod evaluation_axes;
mod figure_layouts;
mod figure_options;
mod report_resolve;
mod report_stage;
mod report_table;

pub use report_stage::ReportKind;
