//! The user's own configuration file.

use std::path::PathBuf;

use super::{
    diagnostic::Diagnostic, diagnostic_sink::Sink, parse::parse_text, remote_config::RemoteConfig,
    remote_table::read_remote, source_map::SourceMap, suggest::help_for,
};
use crate::base::tracked_fs::TrackedFs;

/// The user's own settings and everything that is wrong with them.
#[derive(Debug, Default)]
pub struct UserConfig {
    pub path: PathBuf,
    pub remote: RemoteConfig,
    pub sources: SourceMap,
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads `emopipe/config.toml` in `XDG_CONFIG_HOME`, else in `.config` of the home folder. No such file is no problem.
pub fn user_config(tracked_fs: &TrackedFs) -> UserConfig {
    user_config_path(tracked_fs).map_or_else(UserConfig::default, |path| user_config_at(path, tracked_fs))
}

/// Where the user's own settings would be.
pub fn user_config_path(tracked_fs: &TrackedFs) -> Option<PathBuf> {
    let set = |name| tracked_fs.value(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))?;
    Some(folder.join("emopipe/config.toml"))
}

fn user_config_at(path: PathBuf, tracked_fs: &TrackedFs) -> UserConfig {
    let mut config =
        UserConfig { path, sources: SourceMap::in_folder(tracked_fs.working_folder()), ..UserConfig::default() };
    let text = match tracked_fs.read_to_string(&config.path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return config,
        Err(e) => {
            config.diagnostics.push(Diagnostic::new(format!("can't read {}: {e}", config.path.display())));
            return config;
        }
    };
    let mut sink = Sink::default();
    let file = config.sources.add(config.path.clone(), text.as_str());
    let (table, diagnostics) = parse_text(file, &text);
    sink.extend(diagnostics);
    for (name, (key, node)) in &table {
        if name == "remote" {
            config.remote = read_remote(node, tracked_fs, &mut config.sources, &mut sink);
        } else {
            let help = help_for(name, &["remote"], "tables");
            sink.push(Diagnostic::new(format!("unknown table `{name}`")).at(key.span).help(help));
        }
    }
    config.diagnostics = sink.finish().0;
    config
}

#[cfg(test)]
mod tests {
    use super::super::{
        diagnostic_report::render,
        remote_config::{RemotePlace, Service},
    };
    use super::*;

    fn config(text: &str) -> UserConfig {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        user_config_at(path, &TrackedFs::default())
    }

    fn place_of(url: &str) -> RemotePlace {
        let found = config(&format!("[remote]\nurl = {url:?}"));
        assert!(found.diagnostics.is_empty(), "{url}: {:?}", found.diagnostics);
        found.remote.place.unwrap()
    }

    fn diagnostics(text: &str) -> String {
        let found = config(text);
        render(&found.diagnostics, &found.sources)
    }

    #[test]
    fn every_kind_of_place_is_understood() {
        assert_eq!(place_of("/shared/results"), RemotePlace::Folder("/shared/results".into()));
        assert_eq!(place_of("file:///shared/a%20b"), RemotePlace::Folder("/shared/a b".into()));
        assert!(
            matches!(place_of("shared"), RemotePlace::Folder(path) if path.is_absolute() && path.ends_with("shared"))
        );
        for (url, service) in [
            ("s3://my_bucket/a/b/", Service::S3),
            ("gs://my_bucket/a/b", Service::Gcs),
            ("az://my_bucket/a/b", Service::Azure),
        ] {
            let RemotePlace::Bucket(bucket) = place_of(url) else { panic!("{url}") };
            assert_eq!((bucket.service, bucket.name.as_str(), bucket.prefix.as_str()), (service, "my_bucket", "a/b"));
            assert_eq!(place_of(url).to_string(), url.trim_end_matches('/'));
        }
        assert_eq!(place_of("s3://b").to_string(), "s3://b");
    }

    #[test]
    fn what_cannot_be_meant_is_explained() {
        for (text, part) in [
            ("[remote]\nurll = 'x'", "did you mean `url`?"),
            ("[remot]\nurl = 'x'", "did you mean `remote`?"),
            ("[remote]\nurl = 'ftp://x/y'", "`ftp://` is no kind of remote"),
            ("[remote]\nurl = 's3:///x'", "names no bucket"),
            ("[remote]\nurl = ''", "`url` is empty"),
            ("[remote]\nurl = 'x'\nregion = 'y'", "means nothing for a folder"),
            ("[remote]\nendpoint = 'https://x'", "stands without a `url`"),
            ("[remote]\nurl = 's3://x'\nendpoint = 'x.org'", "is no address"),
            ("[remote]\nurl = 's3://x'\nendpoint = 'ftp://x.org'", "must begin with https://"),
            ("[remote]\nconcurrency = 0", "from 1 to 256"),
            ("[remote]\ntimeout = -1", "`timeout` must be"),
            ("[remote]\npush = 'no'", "`push` must be true or false"),
        ] {
            let found = diagnostics(text);
            assert!(found.contains(part), "{text}:\n{found}");
        }
    }

    #[test]
    fn credentials_are_refused_and_shown_nowhere() {
        for text in [
            "[remote]\nsecret_access_key = 'CANARY'\nurl = 's3://b'",
            "[remote]\nurl = 's3://b'\n[remote.credentials]\nkey = ['CANARY']",
            "[remote]\nurl = 's3://AKIA:CANARY@b/p'",
            "[remote]\nurl = 's3://b/p?X-Amz-Signature=CANARY'",
            "[remote]\nurl = 'az://c/p?sig=CANARY'\npsuh = true",
            "[remote]\nurl = 's3://b'\nendpoint = 'https://u:CANARY@host/'",
            "[remote]\nurl = ['s3://u:CANARY@b']",
            "[remote]\nsas-token = \"\"\"\nCANARY\n\"\"\"\npsuh = 1",
        ] {
            let found = diagnostics(text);
            assert!(found.contains("environment variables"), "{text}:\n{found}");
            assert!(!found.contains("CANARY"), "{text}:\n{found}");
        }
    }

    #[test]
    fn a_place_is_never_mixed_from_two_files() {
        let pipeline = config("[remote]\nurl = 's3://theirs'\npush = false").remote;
        let user = config("[remote]\nurl = 's3://mine'\nendpoint = 'https://x.org'\npush = true\ntimeout = 5").remote;
        let merged = pipeline.clone().or(user.clone());
        assert_eq!((&merged.place, merged.push, merged.timeout), (&pipeline.place, Some(false), Some(5)));
        assert_eq!(RemoteConfig::default().or(user.clone()), user);
    }
}
