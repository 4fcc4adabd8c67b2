//! `emopipe pin`: fills in the BLAKE3 of sources that have none.

use std::collections::HashMap;

use super::{Failure, Outcome, args::PipelineArgs, print, problems};
use crate::{
    config::{self, LoadOptions},
    error::Error,
    fetch::{Fetcher, Settings},
    stages,
};

pub fn pin(args: &PipelineArgs) -> Outcome {
    let options = LoadOptions { profile: args.profile.clone(), set: args.set.clone() };
    let loaded = config::load(&args.pipeline, &options, &stages::vocabulary());
    let Some(spec) = loaded.spec.filter(|_| loaded.diagnostics.is_empty()) else {
        return Err(problems(&loaded.diagnostics, &loaded.sources, &args.pipeline));
    };
    let entries = stages::unpinned(&spec).map_err(|found| problems(&found, &loaded.sources, &args.pipeline))?;
    if entries.is_empty() {
        print("every source is pinned\n");
        return Ok(());
    }
    let mut settings = Settings::from_env();
    if args.mirror.is_some() {
        settings.mirror = args.mirror.clone();
    }
    let fetcher = Fetcher::new(settings);
    let work =
        tempfile::tempdir().map_err(|e| Failure::Error(Error::environment(format!("no temporary folder: {e}"))))?;
    // Definitions often name the same bytes more than once.
    let mut known: HashMap<String, crate::store::Digest> = HashMap::new();
    for entry in entries {
        let digest = match known.get(&entry.source.url) {
            Some(digest) => *digest,
            None => fetcher.digest_of(&entry.source, &entry.name, work.path(), &())?.digest,
        };
        known.insert(entry.source.url.clone(), digest);
        let Some(file) = loaded.sources.path(entry.span) else {
            return Err(Error::input(format!(
                "{} wasn't read from a file, so it can't be pinned",
                entry.key.join(".")
            ))
            .into());
        };
        let mut key: Vec<&str> = entry.key.iter().map(String::as_str).collect();
        key.push("blake3");
        config::set_string(file, &key, &digest.to_string())?;
        print(&format!("{}: {} = {digest}\n", file.display(), key.join(".")));
    }
    Ok(())
}
