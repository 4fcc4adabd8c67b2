//! The state of a training that was interrupted.
//!
//! A checkpoint is one safetensors file behind its own BLAKE3 digest: adapter (`adapter.NAME`), optimiser moments
//! (`exp_avg.NAME`, `exp_avg_sq.NAME`), losses, and a header with the step. Data order and dropout masks are functions of seed and
//! step, so the step is all of the data cursor and of the random state. What doesn't fit the job, or isn't whole, is ignored:
//! the worst a checkpoint can do is to be useless.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, Tensor};
use safetensors::{SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};

use super::training_summary::DevPoint;
use crate::base::{
    digest::Digest,
    durable,
    error::{Error, Result},
    failpoint,
};

/// Raised when the layout changes; older files are then ignored.
const VERSION: u32 = 1;

/// Where a training keeps its checkpoint, and which work it belongs to.
#[derive(Debug, Clone)]
pub struct CheckpointFile {
    pub path: PathBuf,
    /// Digest of everything that decides the course of the training: parameters and inputs.
    pub fingerprint: Digest,
}

/// The state after `step` optimiser steps.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    pub step: u64,
    pub optimiser_steps: u64,
    /// Labelled tokens so far.
    pub labelled_tokens: u64,
    /// Mean loss of each step so far, `[step]`.
    pub loss: Vec<f32>,
    pub dev: Vec<DevPoint>,
    /// `adapter.NAME`, and the optimiser's state under its own names.
    pub tensors: BTreeMap<String, Tensor>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
    fingerprint: Digest,
    step: u64,
    optimiser_steps: u64,
    labelled_tokens: u64,
    dev: Vec<DevPoint>,
}

const HEADER: &str = "emopipe";
const LOSS: &str = "loss";

impl CheckpointFile {
    /// Writes atomically: a kill or a power failure at any instant leaves the old checkpoint or the new one.
    ///
    /// # Errors
    /// If a tensor can't be fetched from its device, or the file can't be written.
    pub fn save(&self, state: &Checkpoint) -> Result<()> {
        let bytes = self.encode(state)?;
        durable::replace(&self.path, durable::ORDINARY, |file| {
            file.write_all(Digest::of(&bytes).as_bytes())?;
            failpoint::at("checkpoint-half");
            file.write_all(&bytes)
        })?;
        // The action's folder was made before anybody knew that something in it must last.
        durable::sync_folder(durable::parent(durable::parent(&self.path)))?;
        failpoint::at("checkpoint");
        Ok(())
    }

    /// The checkpoint, if there is one that is whole and belongs to this work.
    ///
    /// # Errors
    /// A sentence that says why the file can't be used.
    pub fn load(&self) -> std::result::Result<Option<Checkpoint>, String> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(format!("it can't be read: {e}")),
        };
        self.decode(&bytes).map(Some)
    }

    fn encode(&self, state: &Checkpoint) -> Result<Vec<u8>> {
        let header = Header {
            version: VERSION,
            fingerprint: self.fingerprint,
            step: state.step,
            optimiser_steps: state.optimiser_steps,
            labelled_tokens: state.labelled_tokens,
            dev: state.dev.clone(),
        };
        let mut data = BTreeMap::new();
        for (name, tensor) in &state.tensors {
            data.insert(name.as_str(), (tensor.dims().to_vec(), f32_bytes(&tensor.flatten_all()?.to_vec1::<f32>()?)));
        }
        data.insert(LOSS, (vec![state.loss.len()], f32_bytes(&state.loss)));
        let views = data
            .iter()
            .map(|(name, (shape, bytes))| Ok((*name, TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes)?)))
            .collect::<std::result::Result<Vec<_>, safetensors::SafeTensorError>>()
            .map_err(Error::internal)?;
        let metadata = [(HEADER.to_owned(), serde_json::to_string(&header)?)].into();
        safetensors::serialize(views, Some(metadata)).map_err(Error::internal)
    }

    fn decode(&self, bytes: &[u8]) -> std::result::Result<Checkpoint, String> {
        let (digest, body) = bytes.split_at_checked(32).ok_or("it is cut short")?;
        if Digest::of(body).as_bytes() != digest {
            return Err("it is damaged (its digest doesn't match its content)".to_owned());
        }
        let (_, metadata) = SafeTensors::read_metadata(body).map_err(|e| e.to_string())?;
        let text = metadata.metadata().as_ref().and_then(|m| m.get(HEADER)).ok_or("it has no header")?;
        let header: Header = serde_json::from_str(text).map_err(|e| format!("its header can't be read: {e}"))?;
        if header.version != VERSION {
            return Err(format!("another version of emopipe wrote it (layout {}, not {VERSION})", header.version));
        }
        if header.fingerprint != self.fingerprint {
            return Err("it belongs to other parameters or inputs".to_owned());
        }
        let mut tensors = BTreeMap::new();
        let mut loss = None;
        for (name, view) in SafeTensors::deserialize(body).map_err(|e| e.to_string())?.tensors() {
            let values = Tensor::from_raw_buffer(view.data(), DType::F32, view.shape(), &Device::Cpu);
            let values = values.map_err(|e| e.to_string())?;
            if name == LOSS {
                loss = Some(values.to_vec1::<f32>().map_err(|e| e.to_string())?);
            } else {
                tensors.insert(name, values);
            }
        }
        Ok(Checkpoint {
            step: header.step,
            optimiser_steps: header.optimiser_steps,
            labelled_tokens: header.labelled_tokens,
            loss: loss.ok_or("it has no losses")?,
            dev: header.dev,
            tensors,
        })
    }
}

/// Path of the checkpoint in an action's private folder.
pub fn checkpoint_path(work: &Path) -> PathBuf {
    work.join("checkpoint.bin")
}

fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> Checkpoint {
        let tensor = Tensor::new(&[[1.5f32, -0.1], [f32::MIN_POSITIVE, 3.0]], &Device::Cpu).unwrap();
        Checkpoint {
            step: 7,
            optimiser_steps: 7,
            labelled_tokens: 42,
            loss: vec![0.1, 0.3],
            dev: vec![DevPoint { step: 5, n: 10, correct: 3 }],
            tensors: [("adapter.a".to_owned(), tensor)].into(),
        }
    }

    fn file(folder: &tempfile::TempDir, job: &str) -> CheckpointFile {
        CheckpointFile { path: checkpoint_path(folder.path()), fingerprint: Digest::of(job.as_bytes()) }
    }

    #[test]
    fn a_checkpoint_comes_back_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(&folder, "job");
        assert!(file.load().unwrap().is_none());
        file.save(&state()).unwrap();
        let back = file.load().unwrap().unwrap();
        assert_eq!((back.step, back.labelled_tokens, &back.loss, &back.dev), (7, 42, &state().loss, &state().dev));
        let values = |c: &Checkpoint| c.tensors["adapter.a"].to_vec2::<f32>().unwrap();
        assert_eq!(values(&back), values(&state()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the temporary file is gone");
    }

    #[test]
    fn damaged_and_foreign_checkpoints_are_refused_with_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        let mine = file(&folder, "job");
        mine.save(&state()).unwrap();
        assert!(file(&folder, "other").load().unwrap_err().contains("other parameters"));
        let mut bytes = fs::read(&mine.path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&mine.path, &bytes).unwrap();
        assert!(mine.load().unwrap_err().contains("damaged"));
        fs::write(&mine.path, &bytes[..20]).unwrap();
        assert!(mine.load().unwrap_err().contains("cut short"));
    }
}
