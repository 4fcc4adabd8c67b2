//! Prompt tuning (Lester et al. 2021): trained embeddings before the first token of every prompt.

use candle_core::{Tensor, Var};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    adapter::{Adapter, SavedAdapter},
    adapter_method::{AdapterMethod, Wrong},
    peft::{self, CONFIG_FILE, Keys, Tensors},
};
use crate::{
    base::error::{At, Error, Result},
    models::{Backbone, BackboneShape, Dims, seeded},
};

/// Embeddings before the first token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PromptOptions {
    /// Embeddings before the first token (default 32).
    pub virtual_tokens: usize,
    /// Where they start (default `random`).
    pub init: PromptInit,
    /// With `init = "text"`: the text whose embeddings are the start, repeated or cut to `virtual_tokens`; left out, it is what
    /// the training prompts have in common (chat template and instruction).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_text: Option<String>,
}

/// What the embeddings are before training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PromptInit {
    /// Normally distributed numbers with standard deviation 1, as in PEFT.
    Random,
    /// The model's embeddings of a text.
    Text,
}

impl Default for PromptOptions {
    fn default() -> Self {
        Self { virtual_tokens: 32, init: PromptInit::Random, init_text: None }
    }
}

impl AdapterMethod for PromptOptions {
    const KIND: &'static str = "prompt-tuning";
    const TITLE: &'static str = "Prompt tuning";
    const PEFT_TYPE: Option<&'static str> = Some("PROMPT_TUNING");
    const FACTS: &'static [&'static str] = &["virtual_tokens"];

    fn check(&self) -> Result<(), Wrong> {
        Wrong::unless_positive("virtual_tokens", self.virtual_tokens)?;
        if self.init == PromptInit::Random && self.init_text.is_some() {
            return Err(Wrong::new("init_text", "`init_text` says something only with `init = \"text\"`"));
        }
        Ok(())
    }

    fn complete(&mut self, _: &[&str]) {
        if self.init == PromptInit::Text {
            self.init_text.get_or_insert_default();
        }
    }

    fn init_text(&self) -> Option<&str> {
        (self.init == PromptInit::Text).then(|| self.init_text.as_deref().unwrap_or_default())
    }

    fn create(&self, backbone: &dyn Backbone, seed: u64, init_ids: Option<&[u32]>) -> Result<Box<dyn Adapter>> {
        let shape = (self.virtual_tokens, backbone.dims().hidden);
        let embeddings = match (self.init_text(), init_ids) {
            (None, _) => {
                let numbers = seeded::normal(seed, "prompt_encoder.embedding", shape.0 * shape.1, 1.0);
                Tensor::from_vec(numbers, shape, backbone.device())?
            }
            (Some(_), Some(ids)) if !ids.is_empty() => {
                let ids: Vec<u32> = ids.iter().copied().cycle().take(shape.0).collect();
                backbone.embed(&ids)?
            }
            (Some(text), _) => {
                return Err(Error::input(format!("the text that the prompt starts from has no tokens: `{text}`")));
            }
        };
        Prompt::of(&embeddings, backbone)
    }

    fn read(keys: &mut Keys, tensors: &mut Tensors, backbone: &dyn Backbone) -> Result<Box<dyn Adapter>> {
        let dims = backbone.dims();
        let rows: Option<usize> = keys.take("num_virtual_tokens", "a number of tokens")?;
        let rows = rows.filter(|rows| *rows > 0);
        let rows = rows.ok_or_else(|| Error::input("`num_virtual_tokens` is missing, or 0")).at(CONFIG_FILE)?;
        for (key, own) in [("token_dim", dims.hidden), ("num_layers", dims.layers), ("num_transformer_submodules", 1)] {
            if let Some(theirs) = keys.take::<usize>(key, "a whole number")?.filter(|theirs| *theirs != own) {
                return Err(Error::input(format!("`{key}` is {theirs}, and the backbone's prompts have {own}"))
                    .help("the adapter was trained for another backbone"))
                .at(CONFIG_FILE);
            }
        }
        // How it was trained; the number of heads says nothing of embeddings.
        keys.skip(&[
            "num_attention_heads",
            "prompt_tuning_init",
            "prompt_tuning_init_text",
            "tokenizer_kwargs",
            "tokenizer_name_or_path",
        ]);
        Prompt::of(&tensors.take(EMBEDDINGS, &[rows, dims.hidden])?, backbone)
    }

    fn trainable(&self, backbone: BackboneShape) -> u64 {
        (self.virtual_tokens * backbone.dims.hidden) as u64
    }

    fn places(&self) -> usize {
        self.virtual_tokens
    }

    fn size(&mut self) -> Option<(&'static str, &mut usize)> {
        Some(("virtual_tokens", &mut self.virtual_tokens))
    }
}

/// PEFT's name for the trained embeddings.
const EMBEDDINGS: &str = "prompt_embeddings";

/// The trained embeddings, `[virtual_tokens, hidden]`.
struct Prompt {
    embeddings: Var,
    dims: Dims,
}

impl Prompt {
    fn of(embeddings: &Tensor, backbone: &dyn Backbone) -> Result<Box<dyn Adapter>> {
        if !backbone.is_causal() {
            return Err(Error::input("prompt tuning is for models that answer in words, and this one is an encoder")
                .help("take another kind of adapter, such as `ptuning2`"));
        }
        Ok(Box::new(Self { embeddings: Var::from_tensor(embeddings)?, dims: backbone.dims() }))
    }
}

impl Adapter for Prompt {
    fn parameters(&self) -> Vec<(String, Var)> {
        vec![(EMBEDDINGS.to_owned(), self.embeddings.clone())]
    }

    fn soft_prompt(&self) -> Result<Option<Tensor>> {
        Ok(Some(self.embeddings.as_tensor().clone()))
    }

    fn method(&self) -> &'static str {
        PromptOptions::KIND
    }

    fn peft_type(&self) -> Option<&'static str> {
        PromptOptions::PEFT_TYPE
    }

    fn wraps_no_layer(&self) -> bool {
        true
    }

    fn facts(&self) -> Vec<(&'static str, Value)> {
        vec![("virtual_tokens", json!(self.embeddings.dims()[0]))]
    }

    fn save(&self, base_model: &str) -> Result<SavedAdapter> {
        let embeddings = self.embeddings.as_detached_tensor();
        let config = peft::pretty(json!({
            "peft_type": PromptOptions::PEFT_TYPE,
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base_model,
            "inference_mode": true,
            "num_virtual_tokens": embeddings.dim(0)?,
            "token_dim": embeddings.dim(1)?,
            "num_transformer_submodules": 1,
            "num_attention_heads": self.dims.heads,
            "num_layers": self.dims.layers,
            // How it starts means nothing once it is trained.
            "prompt_tuning_init": "RANDOM",
        }))?;
        Ok(SavedAdapter { config, weights: peft::weights(&[(EMBEDDINGS.to_owned(), embeddings)].into())? })
    }
}
