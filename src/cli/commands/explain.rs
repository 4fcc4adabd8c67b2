//! `emopipe explain`: why an action ran or would run, and what it was made from, by digest.

use std::{collections::BTreeSet, fmt::Write, fs};

use crate::{
    base::{
        digest::Digest,
        error::{Error, IoAt, Result},
    },
    cli::{
        cli_command::CliCommand, command_result::CommandResult, load_plan::load, pipeline_args::PipelineArgs,
        terminal::print,
    },
    engine::{
        lineage::Lineage,
        plan::{Forecast, Plan},
        reasons::Reason,
    },
    store::Store,
};
use clap::Args;

/// Fewer hexadecimal digits are more likely a name.
const SHORTEST_PREFIX: usize = 4;

/// The file of a report that has a row for every figure, and the columns that a cell is named by.
const FIGURES: &str = "results.csv";

/// Say why a stage or an action ran or would run, and what it was made from.
#[derive(Args)]
pub struct ExplainArgs {
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// A stage, an action such as `train[task=movies-2,method=lora,seed=0]`, some axes of a stage, the beginning of a digest,
    /// or a cell of a report such as `table-2:lora:movies-2:accuracy`.
    pub target: String,
}

impl CliCommand for ExplainArgs {
    const NAME: &'static str = "explain";

    fn execute(&self) -> CommandResult {
        explain(self)
    }
}

fn explain(args: &ExplainArgs) -> CommandResult {
    let plan = load(&args.pipeline)?;
    let store = args.pipeline.open_store_to_read(&plan)?;
    let forecasts = plan.forecast(&store, &Default::default());
    let lineage = Lineage::new(&store);
    let target = args.target.as_str();
    let is_digest = target.len() >= SHORTEST_PREFIX && target.bytes().all(|b| b.is_ascii_hexdigit());
    let mut out = String::new();
    match plan.matching(target) {
        Ok(actions) => {
            for i in actions {
                describe(&plan, &store, &lineage, &forecasts, i, &mut out);
            }
        }
        Err(_) if target.contains(':') => cell(&store, &lineage, &forecasts, target, &mut out)?,
        Err(error) if is_digest => {
            let keys = lineage.find(target);
            if keys.is_empty() {
                return Err(error.into());
            }
            for key in keys {
                result(&store, &lineage, &key, &mut out);
                out.push_str(&lineage.tree(&key));
            }
        }
        Err(error) => return Err(error.into()),
    }
    print(&out);
    Ok(())
}

fn describe(plan: &Plan, store: &Store, lineage: &Lineage, forecasts: &[Forecast], i: usize, out: &mut String) {
    let action = &plan.actions[i];
    let _ = writeln!(out, "{}", action.name);
    match &forecasts[i] {
        Forecast::Cached { key, result: cached, .. } => {
            let _ = writeln!(out, "  cached: key {}, artifact {}", key.short(), cached.artifact.short());
            result(store, lineage, key, out);
            for file in &cached.files {
                let _ = writeln!(out, "  file {}  {}", file.digest, file.name);
            }
        }
        Forecast::Run { reasons, .. } => {
            let _ = writeln!(out, "  would run, because:");
            for reason in reasons {
                let _ = writeln!(out, "    {reason}");
            }
        }
    }
    for (role, sources) in &action.inputs {
        for &source in sources {
            let digest = match &forecasts[source] {
                Forecast::Cached { result, .. } => result.artifact.short(),
                Forecast::Run { .. } => "not computed".to_owned(),
            };
            let _ = writeln!(out, "  input {role}: {}  {digest}", plan.actions[source].name);
        }
    }
}

/// How the result of a key came about.
fn result(store: &Store, lineage: &Lineage, key: &Digest, out: &mut String) {
    let Some(known) = store.known(key) else { return };
    if known.results.len() > 1 {
        let all: Vec<String> = known.results.iter().map(|o| o.artifact.short()).collect();
        let _ = writeln!(out, "  not deterministic: this key has given {}; the first is in use", all.join(", then "));
    }
    if let Some(acceptance) = &known.accepted {
        let from = acceptance.from.short();
        let _ = writeln!(out, "  accepted, not computed: the result of key {from} stands: {}", acceptance.note);
    }
    let Some(record) = store.preimage(key) else {
        let _ = writeln!(out, "  its description is lost");
        return;
    };
    let reasons: Vec<Reason> =
        record.get("reasons").and_then(|r| serde_json::from_value(r.clone()).ok()).unwrap_or_default();
    match record.get("run").and_then(|r| r.as_str()) {
        Some(run) => drop(writeln!(out, "  computed in run {run}, because:")),
        None => drop(writeln!(out, "  what changed:")),
    }
    for reason in &reasons {
        let _ = writeln!(out, "    {reason}");
    }
    if reasons == [Reason::New]
        && let Some((action, found)) = lineage.nearest(key)
    {
        let _ = writeln!(out, "  nearest earlier action: {action}");
        for reason in found {
            let _ = writeln!(out, "    {reason}");
        }
    }
}

/// From a cell of a report, `[TABLE:]METHOD:TASK:METRIC`, down to the raw files.
fn cell(store: &Store, lineage: &Lineage, forecasts: &[Forecast], name: &str, out: &mut String) -> Result<()> {
    let parts: Vec<&str> = name.split(':').collect();
    let (table, [method, task, metric]) = match parts[..] {
        [table, method, task, metric] => (Some(table), [method, task, metric]),
        [method, task, metric] => (None, [method, task, metric]),
        _ => {
            return Err(Error::input(format!("`{name}` names no cell"))
                .help("a cell is TABLE:METHOD:TASK:METRIC, such as `table-2:lora:movies-2:accuracy`"));
        }
    };
    let mut cells: BTreeSet<String> = BTreeSet::new();
    let mut found = false;
    for forecast in forecasts {
        let Forecast::Cached { result, .. } = forecast else { continue };
        let has = |file: &str| result.files.iter().find(|f| f.name == file);
        let Some(figures) = has(FIGURES).filter(|_| table.is_none_or(|t| has(&format!("{t}.csv")).is_some())) else {
            continue;
        };
        let path = store.blob(&figures.digest);
        for row in csv::Reader::from_reader(&fs::read(&path).io_at("read", &path)?[..]).deserialize() {
            let row: std::collections::HashMap<String, String> = row.map_err(Error::input)?;
            // A name that a spreadsheet would take for a formula has an apostrophe there.
            let column = |c: &str| row.get(c).map_or("", |text| text.strip_prefix('\'').unwrap_or(text));
            cells.insert(format!("{}:{}:{}", column("method"), column("task"), column("metric")));
            if [column("method"), column("task"), column("metric")] != [method, task, metric] {
                continue;
            }
            found = true;
            let _ = writeln!(out, "{metric} {} (seed {})", column("value"), column("seed"));
            let maker = column("evaluation").parse().ok().and_then(|d: Digest| lineage.maker(&d));
            match maker {
                Some(key) => out.push_str(&lineage.tree(&key)),
                None => drop(writeln!(out, "  from evaluation {}, no longer in the store", column("evaluation"))),
            }
        }
    }
    if found {
        return Ok(());
    }
    let e = Error::input(format!("no report in the store has the cell `{name}`"));
    let wanted = format!("{method}:{task}:{metric}");
    Err(match crate::config::suggest(&wanted, cells.iter().map(String::as_str)) {
        Some(near) => e.help(format!("did you mean `{near}`?")),
        None => e.help("a cell is TABLE:METHOD:TASK:METRIC; methods, tasks and metrics are those of results.csv"),
    })
}
