//! `emopipe graph`: the pipeline as DOT or Mermaid.

use std::{collections::BTreeSet, fmt::Write};

use clap::{Args, ValueEnum};

use crate::{
    cli::{
        cli_command::CliCommand, command_result::CommandResult, load_plan::load, pipeline_args::PipelineArgs,
        terminal::print,
    },
    engine::plan::Plan,
};

/// Print the pipeline's graph.
#[derive(Args)]
pub struct GraphArgs {
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// The language that describes it.
    #[arg(short, long, value_enum, default_value_t = GraphFormat::Mermaid)]
    pub format: GraphFormat,
    /// Every action instead of every stage.
    #[arg(short, long)]
    pub actions: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum GraphFormat {
    Dot,
    Mermaid,
}

impl CliCommand for GraphArgs {
    const NAME: &'static str = "graph";

    fn execute(&self) -> CommandResult {
        graph(self)
    }
}

fn graph(args: &GraphArgs) -> CommandResult {
    let plan = load(&args.pipeline)?;
    let (nodes, edges) = if args.actions { actions(&plan) } else { stages(&plan) };
    print(&match args.format {
        GraphFormat::Dot => dot(&nodes, &edges),
        GraphFormat::Mermaid => mermaid(&nodes, &edges),
    });
    Ok(())
}

type Edges = BTreeSet<(usize, usize)>;

fn actions(plan: &Plan) -> (Vec<String>, Edges) {
    let nodes = plan.actions.iter().map(|a| a.name.clone()).collect();
    let edges = (0..plan.actions.len()).flat_map(|i| plan.inputs(i).map(move |s| (s, i)).collect::<Vec<_>>()).collect();
    (nodes, edges)
}

fn stages(plan: &Plan) -> (Vec<String>, Edges) {
    let mut names: Vec<&str> = Vec::new();
    for action in &plan.actions {
        if !names.contains(&action.stage.as_str()) {
            names.push(&action.stage);
        }
    }
    let index = |stage: &str| names.iter().position(|n| *n == stage).unwrap_or(0);
    let mut edges = Edges::new();
    for (i, action) in plan.actions.iter().enumerate() {
        for source in plan.inputs(i) {
            edges.insert((index(&plan.actions[source].stage), index(&action.stage)));
        }
    }
    let label = |name: &&str| {
        let count = plan.actions.iter().filter(|a| a.stage == *name).count();
        if count == 1 { (*name).to_owned() } else { format!("{name} x {count}") }
    };
    (names.iter().map(label).collect(), edges)
}

fn dot(nodes: &[String], edges: &Edges) -> String {
    let mut out = String::from("digraph pipeline {\n  rankdir=LR;\n  node [shape=box, style=rounded];\n");
    for (i, name) in nodes.iter().enumerate() {
        let _ = writeln!(out, "  n{i} [label=\"{}\"];", name.replace('"', "\\\""));
    }
    for (from, to) in edges {
        let _ = writeln!(out, "  n{from} -> n{to};");
    }
    out.push_str("}\n");
    out
}

fn mermaid(nodes: &[String], edges: &Edges) -> String {
    let mut out = String::from("flowchart LR\n");
    for (i, name) in nodes.iter().enumerate() {
        let _ = writeln!(out, "  n{i}[\"{}\"]", name.replace('"', "#quot;"));
    }
    for (from, to) in edges {
        let _ = writeln!(out, "  n{from} --> n{to}");
    }
    out
}
