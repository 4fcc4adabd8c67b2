//! From a pipeline file to a plan.

use std::collections::HashSet;

use super::{command_result::Failure, pipeline_args::PipelineArgs, refusal::refused_with_more};
use crate::{
    config::{self, LoadOptions, RemoteConfig, SourceMap},
    engine::plan::Plan,
    stages,
};

/// Reads a pipeline and plans it.
///
/// # Errors
/// All that is wrong with it, rendered.
pub fn load(args: &PipelineArgs) -> Result<Plan, Failure> {
    Ok(load_all(args)?.plan)
}

/// A plan, and what else its files say.
pub struct Planned {
    pub plan: Plan,
    /// The texts that diagnostics point into.
    pub sources: SourceMap,
    /// Names of all profiles of the file.
    pub profiles: Vec<String>,
    pub remote: RemoteConfig,
}

/// As [`load`], with all that belongs to the plan.
///
/// # Errors
/// All that is wrong with the pipeline, rendered.
pub fn load_all(args: &PipelineArgs) -> Result<Planned, Failure> {
    let options = LoadOptions { profile: args.profile.clone(), set: args.set.clone() };
    let mut loaded = config::load(&args.pipeline, &options, &stages::vocabulary());
    let mut found = loaded.diagnostics;
    if let Some(spec) = &mut loaded.spec {
        let data = args.data_folder(&spec.pipeline.root)?;
        stages::locate(spec, &data);
        let store = args.store_folder(&spec.pipeline.root);
        spec.tracked_fs.recall(store.join("memos/files.json"));
        stages::pin(spec)?;
    }
    let planned = match loaded.spec {
        Some(spec) if found.is_empty() => Plan::new(spec, stages::REGISTRY).map(Some),
        // What the stages' kinds have to say is worth hearing all the same.
        Some(spec) => Err(Plan::diagnostics(&spec, stages::REGISTRY)),
        None => Ok(None),
    };
    match planned {
        Ok(Some(plan)) => {
            plan.spec.tracked_fs.remember();
            let (sources, profiles, remote) = (loaded.sources, loaded.profiles, loaded.remote);
            return Ok(Planned { plan, sources, profiles, remote });
        }
        Ok(None) => {}
        Err(more) => {
            let known: HashSet<_> = found.iter().map(|d| (d.message.clone(), d.span)).collect();
            found.extend(more.into_iter().filter(|d| !known.contains(&(d.message.clone(), d.span))));
        }
    }
    Err(refused_with_more(&found, loaded.more, &loaded.sources, &args.pipeline))
}
