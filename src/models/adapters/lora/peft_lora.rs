//! LoRA from PEFT's files.

use candle_core::Var;
use serde_json::Value;

use super::{
    lora_adapter::{Lengths, Lora, Pair, name, name_of_lengths},
    lora_options::LoraOptions,
};
use crate::{
    base::error::{At, Error, Result},
    models::{
        Backbone, Module,
        adapters::{
            layer_names::layer_names,
            peft::{CONFIG_FILE, Keys, PerLayer, Targets, Tensors},
        },
    },
};

/// From PEFT's files.
///
/// # Errors
/// If the configuration says something that isn't supported, or a tensor is missing or has another shape.
pub(super) fn read(keys: &mut Keys, tensors: &mut Tensors, backbone: &dyn Backbone) -> Result<Lora> {
    keys.unused(&UNSUPPORTED)?;
    keys.skip(&WITHOUT_EFFECT);
    check_start(keys)?;
    check_biases(keys, tensors)?;
    let mut options = LoraOptions {
        rank: keys.take("r", "a whole number")?.unwrap_or(PEFT_DEFAULT),
        alpha: keys.take("lora_alpha", "a number")?.unwrap_or(PEFT_DEFAULT as f64),
        dropout: keys.take("lora_dropout", "a number")?.unwrap_or(0.0),
        target_modules: Vec::new(),
        use_rslora: keys.take("use_rslora", "true or false")?.unwrap_or(false),
        use_dora: keys.take("use_dora", "true or false")?.unwrap_or(false),
    };
    let (ranks, alphas) = (PerLayer::take(keys, "rank_pattern")?, PerLayer::take(keys, "alpha_pattern")?);
    let targets = Targets::take(keys)?;
    let mut pairs = Vec::new();
    for Module { path, inputs, outputs } in backbone.modules() {
        if !targets.include(&path)? {
            continue;
        }
        let rank = ranks.find(&path)?.map_or(Ok(options.rank), |rank| whole("rank_pattern", rank))?;
        let alpha = alphas.find(&path)?.unwrap_or(options.alpha);
        let a = tensors.take(&name(&path, 'A'), &[rank, inputs])?;
        let b = tensors.take(&name(&path, 'B'), &[outputs, rank])?;
        let scale = options.scale(alpha, rank);
        if !(scale as f32).is_finite() {
            return Err(Error::input(format!("`lora_alpha` or `alpha_pattern` gives {alpha}, which is too much")))
                .at(CONFIG_FILE);
        }
        let lengths = match options.use_dora {
            true => Some(Lengths::saved(&tensors.take(&name_of_lengths(&path), &[outputs])?, &path, backbone)?),
            false => None,
        };
        pairs.push(Pair { path, a: Var::from_tensor(&a)?, b: Var::from_tensor(&b)?, scale, lengths });
    }
    if pairs.is_empty() {
        return Err(Error::input("`target_modules` chooses no linear layer of the backbone")
            .help(format!("the layers are named: {}", layer_names(backbone).join(", "))))
        .at(CONFIG_FILE);
    }
    options.target_modules = match targets.plain() {
        Some(names) => names.to_vec(),
        None => pairs.iter().map(|p| p.path.clone()).collect(),
    };
    if !options.alpha.is_finite() || !(0.0..1.0).contains(&options.dropout) {
        let (alpha, dropout) = (options.alpha, options.dropout);
        return Err(Error::input(format!("`lora_alpha` {alpha} and `lora_dropout` {dropout}"))
            .help("alpha is a finite number, dropout at least 0 and below 1"))
        .at(CONFIG_FILE);
    }
    Ok(Lora::of(options, pairs))
}

/// PEFT's rank and alpha where a file states none.
const PEFT_DEFAULT: usize = 8;

/// Keys of what would compute something else.
const UNSUPPORTED: [&str; 13] = [
    "alora_invocation_tokens",
    "arrow_config",
    "enable_lora",
    "kasa_config",
    "layer_replication",
    "lora_bias",
    "megatron_config",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_qalora",
    "velora_config",
];

/// Keys that say how an adapter was trained, or that mean nothing without one of the others.
const WITHOUT_EFFECT: [&str; 9] = [
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    // PEFT doesn't go by it where a layer is a linear one, as all are here.
    "fan_in_fan_out",
    "loftq_config",
    "lora_ga_config",
    "megatron_core",
    "merge_weights",
    "qalora_group_size",
];

/// Starts of training that leave the backbone as it is, beside true, false and null.
const STARTS: [&str; 3] = ["eva", "gaussian", "orthogonal"];

/// An adapter that was trained beside a changed backbone means nothing beside the published one.
fn check_start(keys: &mut Keys) -> Result<()> {
    match keys.take::<Value>("init_lora_weights", "a way to start")? {
        None | Some(Value::Bool(_)) => Ok(()),
        Some(Value::String(start)) if STARTS.contains(&start.to_lowercase().as_str()) => Ok(()),
        Some(start) => {
            Err(Error::input(format!("`init_lora_weights` is {start}: training began by changing the backbone")).help(
                "PEFT can turn such an adapter into a plain one when it saves it: \
             `save_pretrained(..., path_initial_model_for_weight_conversion = ...)`",
            ))
            .at(CONFIG_FILE)
        }
    }
}

/// Biases of the backbone that were trained would replace its own.
fn check_biases(keys: &mut Keys, tensors: &Tensors) -> Result<()> {
    let bias: Option<String> = keys.take("bias", "`none`, `all` or `lora_only`")?;
    match bias.as_deref() {
        None | Some("none") => Ok(()),
        Some(bias @ ("all" | "lora_only")) => match tensors.find(|name| name.ends_with(".bias")) {
            // A backbone without biases: there was none to train.
            None => Ok(()),
            Some(name) => Err(Error::input(format!(
                "`bias` is `{bias}`, and the adapter has a bias of the backbone, `{name}`, which isn't supported"
            ))
            .help("without it the adapter would compute something else: take one that was trained with `bias` none")),
        },
        Some(other) => Err(Error::input(format!("`bias` is `{other}`, not `none`, `all` or `lora_only`"))),
    }
    .at(CONFIG_FILE)
}

fn whole(key: &str, number: f64) -> Result<usize> {
    if number.fract() == 0.0 && (1.0..1e9).contains(&number) {
        return Ok(number as usize);
    }
    Err(Error::input(format!("`{key}` says {number}, not a whole number above 0"))).at(CONFIG_FILE)
}
