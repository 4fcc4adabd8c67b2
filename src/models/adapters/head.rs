//! A linear classifier on what a backbone makes of a prompt, trained with an adapter or alone.
//!
//! `logits = W h + b`, where `h` is the backbone's summary of the prompt: of a decoder the hidden state (after the last norm)
//! of its last token, as in ChatGLM's own model for sequence classification; of an encoder its pooled state. The loss is the
//! cross-entropy over the labels.

use std::collections::BTreeMap;

use candle_core::{Device, Result as Candle, Tensor, Var};
use serde_json::json;

use super::{
    Adapter, LowRank, SavedAdapter,
    peft::{self, Tensors},
    ptuning2::{self, linear},
};
use crate::{
    base::error::{Error, Result},
    models::{
        Backbone,
        autograd::{Backward, Input, record},
        seeded,
    },
};

/// The classifier's parameters.
#[derive(Debug, Clone)]
pub struct Head {
    /// Path of the layer in saved weights.
    name: &'static str,
    /// `[labels, hidden]`
    weight: Var,
    /// `[labels]`
    bias: Var,
}

impl Head {
    /// Both uniform in `±1/sqrt(hidden)`, as PyTorch's linear layer starts.
    pub fn new(labels: usize, backbone: &dyn Backbone, seed: u64) -> Result<Self> {
        let (name, hidden, device) = (backbone.head_name(), backbone.dims().hidden, backbone.device());
        let bound = 1.0 / (hidden as f32).sqrt();
        let weight = seeded::uniform(seed, &format!("{name}.weight"), labels * hidden, bound);
        let bias = seeded::uniform(seed, &format!("{name}.bias"), labels, bound);
        Ok(Self {
            name,
            weight: Var::from_vec(weight, (labels, hidden), device)?,
            bias: Var::from_vec(bias, labels, device)?,
        })
    }

    /// With saved parameters: `[labels, hidden]` and `[labels]`. `name` is the layer's path in saved weights
    /// ([`Backbone::head_name`]).
    pub fn from_tensors(name: &'static str, weight: &Tensor, bias: &Tensor) -> Result<Self> {
        Ok(Self { name, weight: Var::from_tensor(weight)?, bias: Var::from_tensor(bias)? })
    }

    pub fn labels(&self) -> usize {
        self.bias.elem_count()
    }

    /// Logits of [`Backbone::summaries`] (`[samples, hidden]`): `[samples, labels]`.
    pub fn logits(&self, summaries: &Tensor) -> Result<Tensor> {
        Ok(linear(summaries, &self.weight, &self.bias)?)
    }

    /// Negative log-likelihood (natural logarithm) of label `targets[i]` at row `i` of `summaries`: `[samples]`.
    pub fn nll(&self, summaries: &Tensor, targets: &[u32]) -> Result<Tensor> {
        let samples = summaries.dim(0)?;
        if samples != targets.len() || targets.iter().any(|t| *t as usize >= self.labels()) {
            let (targets, labels) = (targets.len(), self.labels());
            return Err(Error::internal(format!("{samples} samples, {targets} targets, {labels} labels")));
        }
        Ok(cross_entropy(&self.logits(summaries)?, targets)?)
    }

    /// The head among an adapter's tensors, if there is one.
    pub(super) fn read(tensors: &mut Tensors, backbone: &dyn Backbone) -> Result<Option<Self>> {
        let name = backbone.head_name();
        let found = PLACES.iter().find_map(|place| {
            let path = format!("{place}{name}");
            let labels = *tensors.dims(&format!("{path}.weight"))?.first()?;
            Some((path, labels))
        });
        let Some((path, labels)) = found else { return Ok(None) };
        let weight = tensors.take(&format!("{path}.weight"), &[labels, backbone.dims().hidden])?;
        let bias = format!("{path}.bias");
        // Decoders of the reference implementation have a head without.
        let bias = if name == DECODERS && tensors.dims(&bias).is_none() {
            Tensor::zeros(labels, weight.dtype(), weight.device())?
        } else {
            tensors.take(&bias, &[labels])?
        };
        Self::from_tensors(name, &weight, &bias).map(Some)
    }

    /// Whether `modules_to_save` means the head by `name`. PEFT writes down the heads' names of several families.
    pub(super) fn is_named(name: &str, backbone: &dyn Backbone) -> bool {
        name == backbone.head_name() || NAMES.contains(&name)
    }

    fn named(&self) -> [(&'static str, &Var); 2] {
        [("weight", &self.weight), ("bias", &self.bias)]
    }
}

/// What the reference implementation calls the head of a decoder.
const DECODERS: &str = "score";

/// What PEFT takes for the name of a head.
const NAMES: [&str; 2] = ["classifier", DECODERS];

/// Where PEFT keeps a head beside an adapter that wraps layers (LoRA), and beside one that doesn't (a prefix).
const PLACES: [&str; 2] = ["base_model.model.", "base_model."];

/// `bare` with a head in PEFT's format for sequence classification (`SEQ_CLS`). PEFT has no format for a head alone; its
/// configuration then has `peft_type` null.
fn save_with(bare: Option<SavedAdapter>, head: &Head, base_model: &str) -> Result<SavedAdapter> {
    let (mut config, mut tensors) = match bare {
        Some(bare) => {
            let tensors = candle_core::safetensors::load_buffer(&bare.weights, &Device::Cpu)?;
            (serde_json::from_slice(&bare.config)?, tensors.into_iter().collect::<BTreeMap<_, _>>())
        }
        None => {
            let config = json!({ "peft_type": null, "base_model_name_or_path": base_model, "inference_mode": true });
            (config, BTreeMap::new())
        }
    };
    config["task_type"] = json!(peft::SEQUENCES);
    let [wrapped, beside] = PLACES;
    let place = if config["peft_type"] == ptuning2::PEFT_TYPE {
        beside
    } else {
        config["modules_to_save"] = json!([head.name]);
        wrapped
    };
    for (name, var) in head.named() {
        tensors.insert(format!("{place}{}.{name}", head.name), var.as_detached_tensor());
    }
    Ok(SavedAdapter { config: peft::pretty(config)?, weights: peft::weights(&tensors)? })
}

/// `-log softmax(logits)[i, targets[i]]`: `[rows]` from `[rows, labels]`.
fn cross_entropy(logits: &Tensor, targets: &[u32]) -> Candle<Tensor> {
    let mut rows = logits.detach().to_vec2::<f32>()?;
    let mut losses = Vec::with_capacity(rows.len());
    for (row, &target) in rows.iter_mut().zip(targets) {
        let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let log_sum = f64::from(top) + row.iter().map(|x| f64::from(x - top).exp()).sum::<f64>().ln();
        losses.push((log_sum - f64::from(row[target as usize])) as f32);
        row.iter_mut().for_each(|x| *x = (f64::from(*x) - log_sum).exp() as f32);
        row[target as usize] -= 1.0;
    }
    let slope = Tensor::from_vec(rows.concat(), logits.shape(), logits.device())?;
    let losses = Tensor::from_vec(losses, targets.len(), logits.device())?;
    record(&[logits], losses, CrossEntropy { slope })
}

struct CrossEntropy {
    /// `softmax(logits) - one-hot(targets)`
    slope: Tensor,
}

impl Backward for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn backward(&self, _: &[Input], _: &Tensor, grad: &Tensor) -> Candle<Vec<Option<Tensor>>> {
        Ok(vec![Some(self.slope.broadcast_mul(&grad.unsqueeze(1)?)?)])
    }
}

/// An adapter with a head that was trained with it; [`super::Untrained`] for a head alone.
pub struct WithHead {
    pub adapter: Box<dyn Adapter>,
    pub head: Head,
}

impl Adapter for WithHead {
    fn parameters(&self) -> Vec<(String, Var)> {
        let head = self.head.named().map(|(name, var)| (format!("{}.{name}", self.head.name), var.clone()));
        self.adapter.parameters().into_iter().chain(head).collect()
    }

    fn low_rank(&self, path: &str) -> Option<LowRank> {
        self.adapter.low_rank(path)
    }

    fn prefix(&self) -> Result<Option<Vec<Tensor>>> {
        self.adapter.prefix()
    }

    fn head(&self) -> Option<&Head> {
        Some(&self.head)
    }

    fn method(&self) -> &'static str {
        self.adapter.method()
    }

    fn peft_type(&self) -> Option<&'static str> {
        self.adapter.peft_type()
    }

    fn facts(&self) -> Vec<(&'static str, f64)> {
        self.adapter.facts()
    }

    fn save(&self, base_model: &str) -> Result<SavedAdapter> {
        let bare = (!self.adapter.parameters().is_empty()).then(|| self.adapter.save(base_model)).transpose()?;
        save_with(bare, &self.head, base_model)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use candle_core::Device;
    use serde_json::{Value, json};

    use super::*;
    use crate::models::{
        Decoder, Mode, TokenTree,
        adapters::{self, AdapterSpec, Untrained, create, load},
        load_decoder,
        test_models::{assert_close, assert_gradient, random, with_threads},
    };

    fn backbone() -> Decoder {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/llama-tiny");
        let files = ["config.json", "model.safetensors"].map(|f| (f.to_owned(), folder.join(f)));
        load_decoder("llama", &files.into(), &Device::Cpu).unwrap()
    }

    fn spec(spec: Value) -> AdapterSpec {
        serde_json::from_value(spec).unwrap()
    }

    fn lora() -> AdapterSpec {
        spec(json!({ "adapter": "lora", "rank": 4, "alpha": 16.0, "target_modules": ["q_proj", "v_proj"] }))
    }

    fn with_head(spec: &AdapterSpec, backbone: &Decoder) -> WithHead {
        let head = Head::new(3, backbone, 7).unwrap();
        WithHead { adapter: create(spec, backbone, 7, None).unwrap(), head }
    }

    const TARGETS: [u32; 3] = [2, 0, 1];

    #[test]
    fn equals_candles_own_cross_entropy() {
        let (h, w, b) = (random(&[3, 16], 1), random(&[3, 16], 2), random(&[3], 3));
        let head = Head::from_tensors("score", &w, &b).unwrap();
        let logits = h.matmul(&w.t().unwrap()).unwrap().broadcast_add(&b).unwrap();
        assert_close(&head.logits(&h).unwrap(), &logits, 1e-6);
        let mean = head.nll(&h, &TARGETS).unwrap().mean_all().unwrap();
        let targets = Tensor::new(&TARGETS, &Device::Cpu).unwrap();
        let expected = candle_nn::loss::cross_entropy(&logits, &targets).unwrap();
        assert_close(&mean.reshape(1).unwrap(), &expected.reshape(1).unwrap(), 1e-6);
        assert!(head.nll(&h, &[0, 1, 3]).is_err(), "there is no fourth label");
    }

    #[test]
    fn gradients_equal_finite_differences() {
        let (h, w, b) = (Var::from_tensor(&random(&[3, 16], 1)).unwrap(), random(&[3, 16], 2), random(&[3], 3));
        let head = Head::from_tensors("score", &w, &b).unwrap();
        let loss = |h: &Tensor, w: &Tensor, b: &Tensor| {
            Head::from_tensors("score", w, b).and_then(|head| head.nll(h, &TARGETS)).unwrap().sum_all()
        };
        let grads = head.nll(&h, &TARGETS).unwrap().sum_all().unwrap().backward().unwrap();
        assert_gradient(&h, grads.get(&h).unwrap(), |x| loss(x, &w, &b));
        assert_gradient(&w, grads.get(&head.weight).unwrap(), |x| loss(&h, x, &b));
        assert_gradient(&b, grads.get(&head.bias).unwrap(), |x| loss(&h, &w, x));
    }

    /// Through the whole backbone, down to the adapter.
    #[test]
    fn the_adapter_gets_its_gradient_through_the_head() {
        let backbone = backbone();
        let mut tree = TokenTree::new();
        let root = tree.push(None, &[1, 5, 9]);
        let leaves = [[12, 13].as_slice(), &[40]].map(|ids| tree.push(Some(root), ids));
        let prefix =
            spec(json!({ "adapter": "ptuning2", "virtual_tokens": 3, "init": { "from": "normal", "std": 0.5 } }));
        // Of LoRA the second matrix: while it is zero, the first one has no gradient.
        for (spec, parameter) in [(lora(), 1), (prefix, 0)] {
            let adapter = with_head(&spec, &backbone);
            let loss = || -> Result<Tensor> {
                let summaries = backbone.summaries(&tree, &leaves, &adapter, Mode::Eval)?;
                Ok(adapter.head.nll(&summaries, &[2, 0])?.sum_all()?)
            };
            let (_, var) = adapter.parameters().swap_remove(parameter);
            let (before, grads) = (var.copy().unwrap(), loss().unwrap().backward().unwrap());
            assert_gradient(&before, grads.get(&var).unwrap(), |moved| {
                var.set(moved)?;
                Ok(loss().unwrap())
            });
        }
    }

    #[test]
    fn threads_change_no_bit() {
        let (h, w, b) = (Var::from_tensor(&random(&[300, 64], 1)).unwrap(), random(&[5, 64], 2), random(&[5], 3));
        let targets: Vec<u32> = (0..300).map(|i| i % 5).collect();
        let bits = |threads| {
            with_threads(threads, || {
                let head = Head::from_tensors("score", &w, &b).unwrap();
                let grads = head.nll(&h, &targets).unwrap().sum_all().unwrap().backward().unwrap();
                let of = |v: &Var| grads.get(v).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
                [of(&h), of(&head.weight), of(&head.bias)]
            })
        };
        assert!(bits(1) == bits(3));
    }

    #[test]
    fn saved_as_peft_does_and_read_again() {
        let backbone = backbone();
        let prefix = spec(json!({ "adapter": "ptuning2", "virtual_tokens": 3 }));
        let alone = spec(json!({ "adapter": "none" }));
        let cases = [(lora(), "base_model.model.", json!("LORA")), (prefix, "base_model.", json!("PREFIX_TUNING"))];
        for (spec, place, kind) in cases.into_iter().chain([(alone, "base_model.model.", Value::Null)]) {
            let adapter = with_head(&spec, &backbone);
            let saved = adapter.save("tiny").unwrap();
            let config: Value = serde_json::from_slice(&saved.config).unwrap();
            assert_eq!((&config["peft_type"], &config["task_type"]), (&kind, &json!("SEQ_CLS")));
            let tensors = candle_core::safetensors::load_buffer(&saved.weights, &Device::Cpu).unwrap();
            assert_eq!(tensors[&format!("{place}score.weight")].dims(), [3, backbone.dims.hidden]);
            assert_eq!(tensors[&format!("{place}score.bias")].dims(), [3]);

            let loaded = load(&saved.config, &saved.weights, &backbone).unwrap();
            let again = loaded.save("tiny").unwrap();
            assert_eq!(again.config, saved.config);
            // A prefix's keys are turned on their way to PEFT and back.
            let again = candle_core::safetensors::load_buffer(&again.weights, &Device::Cpu).unwrap();
            assert_eq!(again.len(), tensors.len());
            tensors.iter().for_each(|(name, tensor)| assert_close(&again[name], tensor, 1e-6));
            let other = Decoder { dims: crate::models::Dims { hidden: 8, ..backbone.dims }, ..self::backbone() };
            if spec == AdapterSpec::None(adapters::UntrainedSpec {}) {
                let e = load(&saved.config, &saved.weights, &other).map(drop).unwrap_err();
                assert!(e.message.contains("score.weight") && e.help.is_some(), "{e}");
            }
        }
        assert!(load(b"{}", &peft::weights(&Default::default()).unwrap(), &backbone).is_err());
        assert!(Untrained.head().is_none());
    }
}
