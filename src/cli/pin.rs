//! `emopipe pin`: fills in the BLAKE3 of sources that have none, and with `--update` follows local files that have changed.

use std::{collections::HashMap, path::Path};

use super::{CommandResult, Failure, args::PinArgs, data_folder, many_problems, print, problems};
use crate::{
    base::{
        digest::Digest,
        error::{Error, Result},
    },
    config::{self, LoadOptions, SourceMap},
    fetch::{Fetcher, Settings},
    stages::{self, SourceEntry},
};

pub fn pin(args: &PinArgs) -> CommandResult {
    let PinArgs { pipeline: args, update } = args;
    let options = LoadOptions { profile: args.profile.clone(), set: args.set.clone() };
    let loaded = config::load(&args.pipeline, &options, &stages::vocabulary());
    let Some(mut spec) = loaded.spec.filter(|_| loaded.diagnostics.is_empty()) else {
        return Err(many_problems(&loaded.diagnostics, loaded.more, &loaded.sources, &args.pipeline));
    };
    let data = data_folder(args, &spec.pipeline.root)?;
    stages::locate(&mut spec, &data);
    let entries = stages::used_sources(&spec).map_err(|found| problems(&found, &loaded.sources, &args.pipeline))?;
    let (pinned, open): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.source.pin().is_some());

    let mut wrong = Vec::new();
    let mut updated = 0;
    for entry in &pinned {
        match stages::changed(&entry.source, &spec.tracked_fs)? {
            Some(changed) if *update => {
                updated += 1;
                for (key, hash) in changed.pins {
                    write(entry, key, &hash, &loaded.sources)?;
                }
            }
            Some(_) => wrong.extend(entry.changed(&spec.tracked_fs)),
            None => {}
        }
    }
    let (absent, here): (Vec<_>, Vec<_>) =
        open.iter().map(|entry| (entry, entry.absent(&spec.tracked_fs))).partition(|(_, absent)| absent.is_some());
    let here: Vec<_> = here.into_iter().map(|(entry, _)| entry).collect();
    wrong.extend(absent.into_iter().filter_map(|(_, absent)| absent));
    fill_in(&here, args.mirror.as_deref(), &loaded.sources)?;
    if open.is_empty() && updated == 0 && wrong.is_empty() {
        print("every source is pinned\n");
    }
    // What is there is pinned all the same.
    if wrong.is_empty() { Ok(()) } else { Err(problems(&wrong, &loaded.sources, &args.pipeline)) }
}

/// Pins sources that can be had.
fn fill_in(open: &[&SourceEntry], mirror: Option<&Path>, sources: &SourceMap) -> Result<(), Failure> {
    let mut settings = Settings::from_env();
    if let Some(mirror) = mirror {
        settings.mirror = Some(mirror.to_owned());
    }
    let fetcher = Fetcher::new(settings);
    let work = tempfile::tempdir().map_err(|e| Error::environment(format!("no temporary folder: {e}")))?;
    // Definitions often name the same bytes more than once.
    let mut known: HashMap<String, Digest> = HashMap::new();
    for &entry in open {
        let url = entry.source.url.clone().unwrap_or_default();
        let digest = match known.get(&url) {
            Some(digest) => *digest,
            None => fetcher.digest_of(&entry.source, &entry.name, work.path(), &())?.digest,
        };
        known.insert(url, digest);
        write(entry, "blake3", &digest.to_string(), sources)?;
    }
    Ok(())
}

/// Sets a pin where its source is written.
fn write(entry: &SourceEntry, pin: &str, hash: &str, sources: &SourceMap) -> Result<()> {
    let Some(file) = sources.path(entry.span) else {
        return Err(Error::input(format!("{} wasn't read from a file, so it can't be pinned", entry.key.join("."))));
    };
    let mut key: Vec<&str> = entry.key.iter().map(String::as_str).collect();
    key.push(pin);
    config::set_string(file, &key, hash)?;
    print(&format!("{}: {} = {hash}\n", file.display(), key.join(".")));
    Ok(())
}
