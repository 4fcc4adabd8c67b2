//! `emopipe pin`: fills in the BLAKE3 of sources that have none.

use std::collections::HashMap;

use super::{Failure, Outcome, args::PipelineArgs, data_folder, many_problems, print, problems};
use crate::{
    config::{self, LoadOptions},
    error::Error,
    fetch::{Fetcher, Settings},
    stages::{self, SourceEntry},
};

pub fn pin(args: &PipelineArgs) -> Outcome {
    let options = LoadOptions { profile: args.profile.clone(), set: args.set.clone() };
    let loaded = config::load(&args.pipeline, &options, &stages::vocabulary());
    let Some(mut spec) = loaded.spec.filter(|_| loaded.diagnostics.is_empty()) else {
        return Err(many_problems(&loaded.diagnostics, loaded.more, &loaded.sources, &args.pipeline));
    };
    let data = data_folder(args, &spec.pipeline.root)?;
    stages::locate(&mut spec, &data);
    let entries = stages::unpinned(&spec).map_err(|found| problems(&found, &loaded.sources, &args.pipeline))?;
    if entries.is_empty() {
        print("every source is pinned\n");
        return Ok(());
    }
    let absent: Vec<_> = entries.iter().filter_map(SourceEntry::absent).collect();
    let mut settings = Settings::from_env();
    if args.mirror.is_some() {
        settings.mirror = args.mirror.clone();
    }
    let fetcher = Fetcher::new(settings);
    let work =
        tempfile::tempdir().map_err(|e| Failure::Error(Error::environment(format!("no temporary folder: {e}"))))?;
    // Definitions often name the same bytes more than once.
    let mut known: HashMap<String, crate::store::Digest> = HashMap::new();
    for entry in entries.iter().filter(|entry| entry.absent().is_none()) {
        let url = entry.source.url.clone().unwrap_or_default();
        let digest = match known.get(&url) {
            Some(digest) => *digest,
            None => fetcher.digest_of(&entry.source, &entry.name, work.path(), &())?.digest,
        };
        known.insert(url, digest);
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
    // What is there is pinned all the same.
    if absent.is_empty() { Ok(()) } else { Err(problems(&absent, &loaded.sources, &args.pipeline)) }
}
