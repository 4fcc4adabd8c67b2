//! An adapter together with a classification head.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};
use serde_json::{Value, json};

use super::{
    adapter::{Adapter, LowRank, SavedAdapter},
    head::Head,
    head_of_backbone::PLACES,
    peft,
};
use crate::base::error::Result;

/// An adapter with a head that was trained with it; `Untrained` for a head alone.
pub struct WithHead {
    pub adapter: Box<dyn Adapter>,
    pub head: Head,
}

impl Adapter for WithHead {
    fn parameters(&self) -> Vec<(String, Var)> {
        let head = self.head.named().map(|(name, var)| (format!("{}.{name}", self.head.name()), var.clone()));
        self.adapter.parameters().into_iter().chain(head).collect()
    }

    fn low_rank(&self, path: &str) -> Option<LowRank> {
        self.adapter.low_rank(path)
    }

    fn prefix(&self) -> Result<Option<Vec<Tensor>>> {
        self.adapter.prefix()
    }

    fn soft_prompt(&self) -> Result<Option<Tensor>> {
        self.adapter.soft_prompt()
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

    fn wraps_no_layer(&self) -> bool {
        self.adapter.wraps_no_layer()
    }

    fn facts(&self) -> Vec<(&'static str, Value)> {
        self.adapter.facts()
    }

    fn save(&self, base_model: &str) -> Result<SavedAdapter> {
        let bare = (!self.adapter.parameters().is_empty()).then(|| self.adapter.save(base_model)).transpose()?;
        save_with(bare, &self.head, self.wraps_no_layer(), base_model)
    }
}

/// `bare` with a head in PEFT's format for sequence classification (`SEQ_CLS`). PEFT has no format for a head alone; its
/// configuration then has `peft_type` null.
fn save_with(bare: Option<SavedAdapter>, head: &Head, wraps_no_layer: bool, base_model: &str) -> Result<SavedAdapter> {
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
    let place = if wraps_no_layer {
        beside
    } else {
        config["modules_to_save"] = json!([head.name()]);
        wrapped
    };
    for (name, var) in head.named() {
        tensors.insert(format!("{place}{}.{name}", head.name()), var.as_detached_tensor());
    }
    Ok(SavedAdapter { config: peft::pretty(config)?, weights: peft::weights(&tensors)? })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use candle_core::Device;
    use serde_json::{Value, json};

    use super::*;
    use crate::models::{
        Backbone, Decoder, Mode, TokenTree,
        adapters::{AdapterSpec, Untrained, UntrainedOptions, load},
        load_decoder,
        test_models::{assert_close, assert_gradient},
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
        spec(json!({ "kind": "lora", "rank": 4, "alpha": 16.0, "target_modules": ["q_proj", "v_proj"] }))
    }

    fn with_head(spec: &AdapterSpec, backbone: &Decoder) -> WithHead {
        let head = Head::new(3, backbone, 7).unwrap();
        WithHead { adapter: spec.create(backbone, 7, None).unwrap(), head }
    }

    /// Through the whole backbone, down to the adapter.
    #[test]
    fn the_adapter_gets_its_gradient_through_the_head() {
        let backbone = backbone();
        let mut tree = TokenTree::new();
        let root = tree.push(None, &[1, 5, 9]);
        let leaves = [[12, 13].as_slice(), &[40]].map(|ids| tree.push(Some(root), ids));
        let prefix = spec(json!({ "kind": "ptuning2", "virtual_tokens": 3, "init_std": 0.5 }));
        // Of LoRA the second matrix: while it is zero, the first one has no gradient.
        for (spec, parameter) in [(lora(), 1), (prefix, 0)] {
            let adapter = with_head(&spec, &backbone);
            let loss = || -> Result<Tensor> {
                let pooled_output = backbone.pooled_output(&tree, &leaves, &adapter, Mode::Eval)?;
                Ok(adapter.head.nll(&pooled_output, &[2, 0])?.sum_all()?)
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
    fn saved_as_peft_does_and_read_again() {
        let backbone = backbone();
        let prefix = spec(json!({ "kind": "ptuning2", "virtual_tokens": 3 }));
        let alone = spec(json!({ "kind": "none" }));
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
            if spec == AdapterSpec::from(UntrainedOptions {}) {
                let e = load(&saved.config, &saved.weights, &other).map(drop).unwrap_err();
                assert!(e.message.contains("score.weight") && e.help.is_some(), "{e}");
            }
        }
        assert!(load(b"{}", &peft::weights(&Default::default()).unwrap(), &backbone).is_err());
        assert!(Untrained.head().is_none());
    }
}
