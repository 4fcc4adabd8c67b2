//! The way to a remote store: connected on first use, with threads of its own.

use std::sync::{Arc, OnceLock};

use tokio::runtime::Runtime;

use super::{
    answers::{Pulled, Pushed},
    session::Session,
    settings::Settings,
};
use crate::{
    base::{
        digest::Digest,
        error::{Error, Result},
    },
    process::threads,
    store::{ActionResult, Store},
};

/// A remote store, connected on first use. All methods return at once; answers come through the given functions, on
/// threads of its own.
pub struct Remote {
    settings: Settings,
    link: OnceLock<Result<Link>>,
}

struct Link {
    session: Arc<Session>,
    runtime: Runtime,
}

impl Remote {
    pub fn new(settings: Settings) -> Self {
        Self { settings, link: OnceLock::new() }
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Fetches the result of `key` into the store, where it stands for `action`.
    pub fn pull(
        &self,
        store: &Arc<Store>,
        key: Digest,
        action: &str,
        then: impl FnOnce(Result<Pulled>) + Send + 'static,
    ) {
        let (store, action) = (Arc::clone(store), action.to_owned());
        self.start(then, move |session| async move { session.pull(&store, key, &action).await });
    }

    /// The files of `key`'s result, without fetching them; `None` where the remote hasn't it.
    pub fn look(&self, key: Digest, then: impl FnOnce(Result<Option<ActionResult>>) + Send + 'static) {
        self.start(then, move |session| async move { session.look(&key).await });
    }

    /// Sends the store's result of `key`. With `anew`, also what the remote seems to have.
    pub fn push(
        &self,
        store: &Arc<Store>,
        key: Digest,
        anew: bool,
        then: impl FnOnce(Result<Pushed>) + Send + 'static,
    ) {
        let store = Arc::clone(store);
        self.start(then, move |session| async move { session.push(&store, key, anew).await });
    }

    /// Lets what is under way end at its next request, answered with an interruption. Nothing half-done is visible.
    pub fn cancel(&self) {
        if let Some(Ok(link)) = self.link.get() {
            link.session.close();
        }
    }

    /// Bytes that were fetched and sent so far, also those of transfers under way.
    pub fn traffic(&self) -> (u64, u64) {
        match self.link.get() {
            Some(Ok(link)) => link.session.traffic(),
            _ => (0, 0),
        }
    }

    fn start<T, F>(&self, then: impl FnOnce(Result<T>) + Send + 'static, task: impl FnOnce(Arc<Session>) -> F)
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        match self.link.get_or_init(|| Link::new(&self.settings)) {
            Ok(link) => {
                let task = task(Arc::clone(&link.session));
                link.runtime.spawn(async move { then(task.await) });
            }
            Err(e) => then(Err(e.clone())),
        }
    }
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Remote").field(&self.settings).finish()
    }
}

impl Link {
    fn new(settings: &Settings) -> Result<Self> {
        // The runtime would panic where it gets none.
        threads::try_one()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("remote")
            .enable_all()
            .build()
            .map_err(|e| Error::environment(format!("can't start threads for the remote store: {e}")))?;
        let session = Session::new(settings)?;
        Ok(Self { session: Arc::new(session), runtime })
    }
}
