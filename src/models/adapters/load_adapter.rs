//! An adapter from PEFT's files.

use super::{
    adapter::Adapter,
    adapter_registry::{METHODS, of_peft_type},
    head::Head,
    none::Untrained,
    peft::{CONFIG_FILE, Keys, SEQUENCES, Tensors, WEIGHTS_FILE},
    with_head::WithHead,
};
use crate::{
    base::error::{At, Error, Result},
    models::Backbone,
};

/// Keys of every type that name where an adapter comes from, or what it was trained with.
const ORIGIN: [&str; 6] =
    ["auto_mapping", "base_model_name_or_path", "inference_mode", "peft_version", "revision", "runtime_config"];

/// Tasks whose adapters mean what they mean for a causal model or for one that classifies texts.
const TASKS: [&str; 4] = ["CAUSAL_LM", SEQUENCES, "SEQ_2_SEQ_LM", "FEATURE_EXTRACTION"];

/// The adapter in two files of PEFT's format, for `backbone`.
///
/// # Errors
/// If a file is damaged, lacks something, or has something that isn't understood.
pub fn load(config: &[u8], weights: &[u8], backbone: &dyn Backbone) -> Result<Box<dyn Adapter>> {
    let mut keys = Keys::parse(config)?;
    let mut tensors = Tensors::parse(weights, backbone.device())?;
    let kind: Option<String> = keys.take("peft_type", "a type of adapter")?;
    keys.skip(&ORIGIN);
    let head = read_head(&mut keys, &mut tensors, backbone)?;
    let adapter: Box<dyn Adapter> = match kind.as_deref() {
        None if head.is_some() => Box::new(Untrained),
        None => return Err(Error::input("`peft_type` is missing").at(CONFIG_FILE)),
        Some(peft_type) => match of_peft_type(peft_type) {
            Some(method) => (method.read)(&mut keys, &mut tensors, backbone)?,
            None => return Err(unknown_type(peft_type)),
        },
    };
    keys.finish()?;
    tensors.finish()?;
    Ok(match head {
        Some(head) => Box::new(WithHead { adapter, head }),
        None => adapter,
    })
}

fn unknown_type(peft_type: &str) -> Error {
    let known: Vec<_> = METHODS.iter().filter_map(|method| method.peft_type).collect();
    let known = match known.as_slice() {
        [others @ .., last] if !others.is_empty() => format!("{} and {last}", others.join(", ")),
        all => all.join(", "),
    };
    Error::input(format!("`peft_type` is `{peft_type}`"))
        .at(CONFIG_FILE)
        .help(format!("adapters of type {known} can be read"))
}

/// The classification head, and the keys that speak of it.
fn read_head(keys: &mut Keys, tensors: &mut Tensors, backbone: &dyn Backbone) -> Result<Option<Head>> {
    let task: Option<String> = keys.take("task_type", "a type of task")?;
    let saved: Vec<String> = keys.take("modules_to_save", "a list of names")?.unwrap_or_default();
    if let Some(task) = task.as_deref().filter(|task| !TASKS.contains(task)) {
        return Err(Error::input(format!("`task_type` is `{task}`, which isn't supported"))
            .help(format!("adapters for {} can be read", TASKS.join(", "))))
        .at(CONFIG_FILE);
    }
    let head = Head::read(tensors, backbone)?;
    let needs = task.as_deref() == Some(SEQUENCES) || saved.iter().any(|name| name == backbone.head_name());
    if head.is_none() && needs {
        return Err(Error::input(format!("there is no classification head `{}`", backbone.head_name())).help(format!(
            "`task_type` or `modules_to_save` in {CONFIG_FILE} says that there is one: the files belong to different \
             adapters, or to another family of models"
        )))
        .at(WEIGHTS_FILE);
    }
    match saved.iter().find(|name| !Head::is_named(name, backbone)) {
        None => Ok(head),
        Some(other) => Err(Error::input(format!(
            "`modules_to_save` has `{other}`, and nothing but a classification head is supported"
        ))
        .help("without its trained copy of that layer the adapter computes something else: take another one"))
        .at(CONFIG_FILE),
    }
}
