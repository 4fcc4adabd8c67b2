//! Files of hub repositories, through the hub's own client: its endpoint, token and cache settings hold.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use hf_hub::{HFClient, HFClientSync, HFError, HFRepositorySync, RepoType, repository::RepoTreeEntry, split_id};
use reqwest::Url;

use super::{
    interruptible::unless_stopped,
    location::{HubFile, Location},
    partial_download::{About, Part},
    plain_http::check_plain,
    redirect,
    retry::{Failure, retried},
    url_text::shown,
    watch::Watch,
};
use crate::base::{
    error::{Error, IoAt, Result},
    http::{USER_AGENT, root_cause},
};

/// Downloads ask for so many bytes at a time: what an interruption loses at most, and what is held in memory.
const CHUNK: u64 = 32 << 20;

pub(super) struct Hub {
    client: HFClientSync,
    /// Pauses between tries double from this.
    backoff: Duration,
    /// Bytes that are asked for at once.
    chunk: u64,
}

impl Hub {
    /// `endpoint` is for tests; `None` is the hub's own configuration.
    ///
    /// # Errors
    /// Where a token would go over an unprotected address, or the client can't be set up.
    pub fn new(endpoint: Option<&str>, backoff: Duration) -> Result<Self> {
        let stated = endpoint.map(str::to_owned).or_else(|| std::env::var("HF_ENDPOINT").ok());
        if let Some(url) = stated.and_then(|text| text.parse::<Url>().ok())
            && check_plain(&url, false).is_err()
            && has_token()
        {
            return Err(Error::input(format!(
                "the hub's address {} is unprotected: anyone on the way could read the token",
                shown(&url)
            ))
            .help("use https:// in HF_ENDPOINT, or take the token away: HF_TOKEN, and what `hf auth login` left"));
        }
        let unusable =
            |e: &dyn std::error::Error| Error::input(format!("can't set up the hub's client: {}", root_cause(e)));
        let client = redirect::guarded_client().map_err(|e| unusable(&e))?;
        let mut builder = HFClient::builder().user_agent(USER_AGENT).client(client);
        builder = builder.retry_max_attempts(2).retry_base_delay(backoff);
        if let Some(endpoint) = endpoint {
            builder = builder.endpoint(endpoint);
        }
        let client = builder.build_sync().map_err(|e| unusable(&e))?;
        Ok(Self { client, backoff, chunk: CHUNK })
    }

    #[cfg(test)]
    pub fn with_chunk(self, chunk: u64) -> Self {
        Self { chunk, ..self }
    }

    /// The copy in the hub's shared cache, where there is one.
    pub fn cached(&self, file: &HubFile) -> Option<PathBuf> {
        fn look<T: RepoType>(repo: &HFRepositorySync<T>, file: &HubFile) -> Option<PathBuf> {
            let request = repo.download_file().filename(&file.file).revision(&file.revision);
            request.local_files_only(true).send().ok()
        }
        let (owner, name) = split_id(&file.repo);
        if file.dataset {
            look(&self.client.dataset(owner, name), file)
        } else {
            look(&self.client.model(owner, name), file)
        }
    }

    /// Downloads to `to`, going on with what an earlier try left in `work`. Returns whether it did go on.
    ///
    /// # Errors
    /// Where the repository, revision or file isn't there or isn't open to all, the hub doesn't answer, the file can't
    /// be written, or the user asks to stop.
    pub fn download(&self, file: &HubFile, work: &Path, to: &Path, watch: &dyn Watch) -> Result<bool> {
        let (owner, name) = split_id(&file.repo);
        if file.dataset {
            self.download_from(&self.client.dataset(owner, name), file, work, to, watch)
        } else {
            self.download_from(&self.client.model(owner, name), file, work, to, watch)
        }
    }

    fn download_from<T: RepoType + Clone + Send + 'static>(
        &self,
        repo: &HFRepositorySync<T>,
        file: &HubFile,
        work: &Path,
        to: &Path,
        watch: &dyn Watch,
    ) -> Result<bool> {
        let place = Location::Hub(file.clone()).to_string();
        let listed = retried(self.backoff, watch, || {
            let (asked, wanted) = (repo.clone(), file.clone());
            let request =
                move || asked.get_paths_info().paths(vec![wanted.file.clone()]).revision(&wanted.revision).send();
            match unless_stopped(watch, request)? {
                Ok(entries) => Ok(Some(entries)),
                // Endpoints that only pass files on have no listings.
                Err(HFError::Http { context }) if context.status.is_client_error() => Ok(None),
                Err(HFError::Json(_) | HFError::MalformedResponse { .. }) => Ok(None),
                Err(e) => Err(failure(&place, e)),
            }
        })?;
        let Some(entries) = listed else {
            self.whole(repo, file, &place, work, to, watch)?;
            return Ok(false);
        };
        let about = entries.into_iter().find_map(|entry| match entry {
            RepoTreeEntry::File { oid, size, path, .. } if path == file.file => {
                Some(About { validator: Some(oid), total: Some(size) })
            }
            _ => None,
        });
        let about = about.ok_or_else(|| Error::input(format!("{place}: the repository has no such file")))?;

        let total = about.total.unwrap_or(0);
        let part = Part::of(&place, work);
        let kept = part.state().filter(|(_, before)| *before == about).map(|(have, _)| have);
        let mut writer = match kept {
            Some(have) => part.go_on(have)?,
            None => part.begin(&about)?,
        };
        while writer.have < total {
            let range = writer.have..(writer.have + self.chunk).min(total);
            let bytes = retried(self.backoff, watch, || {
                let (asked, wanted, part) = (repo.clone(), file.clone(), range.clone());
                let request = move || {
                    let request = asked.download_file_to_bytes().filename(&wanted.file).revision(&wanted.revision);
                    request.range(part).send()
                };
                let bytes = unless_stopped(watch, request)?.map_err(|e| failure(&place, e))?;
                if bytes.len() as u64 == range.end - range.start {
                    return Ok(bytes);
                }
                let (got, asked) = (bytes.len(), range.end - range.start);
                Err(Failure::again(Error::environment(format!(
                    "{place}: {got} bytes came where {asked} were asked for"
                ))))
            })?;
            writer.append(&bytes)?;
            watch.bytes(writer.have, Some(total));
        }
        part.finish(to)?;
        Ok(kept.is_some())
    }

    /// In one go, without a way to continue.
    fn whole<T: RepoType + Clone + Send + 'static>(
        &self,
        repo: &HFRepositorySync<T>,
        file: &HubFile,
        place: &str,
        work: &Path,
        to: &Path,
        watch: &dyn Watch,
    ) -> Result<()> {
        let folder = tempfile::tempdir_in(work).io_at("write in", work)?;
        let path = retried(self.backoff, watch, || {
            let (asked, wanted, into) = (repo.clone(), file.clone(), folder.path().to_owned());
            let request = move || {
                let request = asked.download_file().filename(&wanted.file).revision(&wanted.revision);
                request.local_dir(into).send()
            };
            unless_stopped(watch, request)?.map_err(|e| failure(place, e))
        })?;
        fs::rename(&path, to).io_at("rename", &path)
    }
}

/// Whether the hub's client would send a token.
fn has_token() -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let home =
        || set("HF_HOME").map(PathBuf::from).or_else(|| Some(PathBuf::from(set("HOME")?).join(".cache/huggingface")));
    let file = set("HF_TOKEN_PATH").map(PathBuf::from).or_else(|| Some(home()?.join("token")));
    ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"].iter().any(|name| set(name).is_some())
        || file.is_some_and(|file| file.is_file())
}

fn failure(place: &str, e: HFError) -> Failure {
    let environment = |e: &HFError| Error::environment(format!("{place}: {}", root_cause(e)));
    match e {
        HFError::RateLimited { retry_after, .. } => {
            Failure::Again { error: environment(&e), after: retry_after, progressed: false }
        }
        HFError::Request { .. } | HFError::Xet { .. } => Failure::again(environment(&e)),
        HFError::Http { ref context } if context.status.is_server_error() => Failure::again(environment(&e)),
        HFError::AuthRequired { .. } | HFError::Forbidden { .. } => {
            Failure::Final(Error::input(format!("{place}: the hub wants a permission")).help(
                "accept the repository's terms on its page if it has any, then set HF_TOKEN or log in with `hf auth login`",
            ))
        }
        HFError::RepoNotFound { .. } | HFError::RevisionNotFound { .. } | HFError::EntryNotFound { .. } => {
            Failure::Final(
                Error::input(format!("{place}: {e}"))
                    .help("check organisation, repository, revision and file; a private repository needs HF_TOKEN"),
            )
        }
        e => Failure::Final(environment(&e)),
    }
}
