//! Arguments of all commands that take a pipeline.

use std::path::{Path, PathBuf};

use clap::Args;

use super::value_parsers::key_value;
use crate::{
    base::error::{Error, Result},
    engine::plan::{Plan, Selection},
    store::Store,
};

// Clap would take a docstring here for the help of each command that has these arguments.
#[derive(Clone, Args)]
pub struct PipelineArgs {
    /// The pipeline file.
    pub pipeline: PathBuf,
    /// Profile to apply [default: the file's default_profile].
    #[arg(short, long)]
    pub profile: Option<String>,
    /// Override a value of the file, such as `method.lora.adapter.rank=4`.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub set: Vec<(String, String)>,
    /// Folder of the store [default: `cache` in the pipeline's root].
    #[arg(long, env = "EMOPIPE_STORE", value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Folder with the files that can't be downloaded, as NAME/FILE [default: `data` in the pipeline's root].
    #[arg(long, env = "EMOPIPE_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Folder laid out as HOST/PATH that is tried before the network.
    #[arg(long, env = "EMOPIPE_MIRROR", value_name = "DIR")]
    pub mirror: Option<PathBuf>,
}

impl PipelineArgs {
    /// The folder with files that people fetch by hand: `--data`, EMOPIPE_DATA, or `data` in the pipeline's root.
    ///
    /// # Errors
    /// If there is no current folder that it could be relative to.
    pub fn data_folder(&self, root: &Path) -> Result<PathBuf> {
        let folder = self.data.clone().unwrap_or_else(|| root.join("data"));
        std::path::absolute(&folder).map_err(|e| Error::io("find", &folder, &e))
    }

    /// The store of a pipeline with this root: `--store`, EMOPIPE_STORE, or `cache` in it.
    pub fn store_folder(&self, root: &Path) -> PathBuf {
        self.store.clone().unwrap_or_else(|| root.join("cache"))
    }

    /// Opens the plan's store.
    ///
    /// # Errors
    /// If it can't be opened, or made where there is none yet.
    pub fn open_store(&self, plan: &Plan) -> Result<Store> {
        Store::open(&self.store_folder(&plan.spec.pipeline.root))
    }

    /// As [`PipelineArgs::open_store`], for commands that ask and change nothing: the store may belong to somebody else, or not
    /// be there yet.
    ///
    /// # Errors
    /// If it is there and can't be opened.
    pub fn open_store_to_read(&self, plan: &Plan) -> Result<Store> {
        Store::open_to_read(&self.store_folder(&plan.spec.pipeline.root))
    }
}

#[derive(Args)]
pub struct SelectionArgs {
    /// Only this stage or action; what it needs must be in the store.
    #[arg(long, value_name = "STAGE", conflicts_with = "until")]
    pub only: Vec<String>,
    /// This stage or action and what it needs, and nothing after.
    #[arg(long, value_name = "STAGE")]
    pub until: Vec<String>,
    /// Compute this stage or action even if its result is known.
    #[arg(long, value_name = "STAGE")]
    pub force: Vec<String>,
}

impl SelectionArgs {
    /// What of a plan is meant.
    pub fn selection(&self) -> Selection {
        Selection { only: self.only.clone(), until: self.until.clone(), force: self.force.clone() }
    }
}
