//! `emopipe pin`: fills in the BLAKE3 of sources that have none, and with `--update` follows local files that have changed.

use std::{collections::HashMap, fs, path::Path};

use clap::Args;

use crate::{
    base::{
        digest::Digest,
        durable,
        error::{Error, IoAt, Result},
    },
    cli::{
        cli_command::CliCommand,
        command_result::{CommandResult, Failure},
        pipeline_args::PipelineArgs,
        refusal::{refused, refused_with_more},
        terminal::print,
    },
    config::{self, LoadOptions, SourceMap},
    fetch::{Fetcher, Settings},
    stages::{self, SourceEntry},
};

/// Fill in missing BLAKE3 pins of sources, in the TOML files that name them.
#[derive(Args)]
pub struct PinArgs {
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// Also pin local files anew that have changed since they were pinned.
    #[arg(long)]
    pub update: bool,
}

impl CliCommand for PinArgs {
    const NAME: &'static str = "pin";

    fn execute(&self) -> CommandResult {
        pin(self)
    }
}

fn pin(args: &PinArgs) -> CommandResult {
    let PinArgs { pipeline: args, update } = args;
    let options = LoadOptions { profile: args.profile.clone(), set: args.set.clone() };
    let loaded = config::load(&args.pipeline, &options, &stages::vocabulary());
    let Some(mut spec) = loaded.spec.filter(|_| loaded.diagnostics.is_empty()) else {
        return Err(refused_with_more(&loaded.diagnostics, loaded.more, &loaded.sources, &args.pipeline));
    };
    let data = args.data_folder(&spec.pipeline.root)?;
    stages::locate(&mut spec, &data);
    let entries = stages::used_sources(&spec).map_err(|found| refused(&found, &loaded.sources, &args.pipeline))?;
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
    wrong.extend(open.iter().filter_map(|entry| entry.absent(&spec.tracked_fs)));
    let at_hand: Vec<_> = open.iter().filter(|entry| entry.absent(&spec.tracked_fs).is_none()).collect();
    fill_in(&at_hand, args.mirror.as_deref(), &loaded.sources)?;
    if open.is_empty() && updated == 0 && wrong.is_empty() {
        print("every source is pinned\n");
    }
    // What is there is pinned all the same.
    if wrong.is_empty() { Ok(()) } else { Err(refused(&wrong, &loaded.sources, &args.pipeline)) }
}

/// Pins all that can be had.
fn fill_in(open: &[&SourceEntry], mirror: Option<&Path>, sources: &SourceMap) -> Result<(), Failure> {
    let mut settings = Settings::from_env();
    if let Some(mirror) = mirror {
        settings.mirror = Some(mirror.to_owned());
    }
    let fetcher = Fetcher::new(settings);
    let work = tempfile::tempdir().map_err(|e| Error::environment(format!("no temporary folder: {e}")))?;
    // Definitions often name the same bytes more than once.
    let mut known: HashMap<String, Digest> = HashMap::new();
    for entry in open {
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
    // As a whole or not at all.
    let text = fs::read_to_string(file).io_at("read", file)?;
    let edited = config::with_string(&text, &key, hash).map_err(|e| e.at(file.display()))?;
    durable::edit(file, edited.as_bytes())?;
    print(&format!("{}: {} = {hash}\n", file.display(), key.join(".")));
    Ok(())
}
