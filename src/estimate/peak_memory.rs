//! What training and evaluation hold in memory, from shapes alone.
//!
//! Follows what [`crate::models::Decoder`] keeps: per layer its input, queries, keys and values, the stream between the two halves, and
//! the gate and up activations, and what attention saw where LoRA changes the layer that reads it, all in f32; norms and
//! attention probabilities are computed again in backward. [`crate::models::Encoder`] keeps the same with one inner activation in
//! place of gate and up.

use super::{
    model_shape::{F32, ModelShape},
    row::{Answering, Parts, Row},
};
use crate::models::{AdapterSpec, Dtype, ops::nll_targets};

/// The program itself with its tokenizer and tables, measured with a model of a few thousand parameters.
const PROGRAM: u64 = 40 << 20;

/// What a GPU's memory holds before there is a tensor: the driver's context, kernels, cuBLAS's workspace. An estimate.
const DRIVER: u64 = 768 << 20;

impl ModelShape {
    /// Width of what a layer's perceptron keeps for backward: gate and up, or an encoder's inner activation.
    fn inner(&self) -> u64 {
        let parts = if self.encoder { 1 } else { 2 };
        (parts * self.dims.intermediate) as u64
    }

    /// Whether backward reads what attention saw.
    fn keeps_attention_output(&self, adapter: &AdapterSpec) -> bool {
        let mut readers = self.modules.iter().filter(|m| m.path.ends_with(self.attention_output));
        readers.any(|m| adapter.changes(&m.path))
    }

    /// The peak of a training whose largest row is `row`. With `gradient_checkpointing` a layer keeps its input alone, and the inside
    /// of one layer at a time; where a head alone is trained, no layer keeps anything.
    pub fn peak_training(&self, adapter: &AdapterSpec, row: Row, gradient_checkpointing: bool) -> Parts {
        let row = row.behind(adapter.places());
        let d = &self.dims;
        let (tokens, hidden) = (row.tokens as u64, d.hidden as u64);
        let qkv = (d.q_width() + 2 * d.kv_width()) as u64;
        let seen = if self.keeps_attention_output(adapter) { d.q_width() as u64 } else { 0 };
        let inside = hidden + qkv + seen + self.inner();
        let layers = if adapter.is_trained() { d.layers as u64 } else { 0 };
        let insides = if gradient_checkpointing { layers.min(1) } else { layers };
        let activations = F32 * tokens * (layers * hidden + insides * inside + 2 * hidden);
        // Backward of the gate and up projections: gradients of both, of their product, and of the stream.
        let working = F32 * tokens * (2 * self.inner() + 3 * hidden + adapter.working(self.backbone()));
        let trained = F32 * adapter.trainable(self.backbone());
        let parts = vec![
            ("activations", activations),
            ("working space", working),
            ("output layer", self.output(row)),
            ("adapter", trained + F32 * adapter.applied(self.backbone())),
            // A gradient with its clipped copy and the optimiser's working copy; two moments.
            ("gradients and moments", 5 * trained),
            ("rounded operands", self.rounded(row, self.inner())),
            ("attention's partial sums", self.partial_sums(row)),
        ];
        self.peak(parts)
    }

    /// The peak of an evaluation whose largest row is `row`.
    pub fn peak_evaluation(&self, adapter: &AdapterSpec, row: Row, answering: Answering) -> Parts {
        let row = row.behind(adapter.places());
        let d = &self.dims;
        let (tokens, hidden, wide) = (row.tokens as u64, d.hidden as u64, d.intermediate as u64);
        let qkv = (d.q_width() + 2 * d.kv_width()) as u64;
        let aside = adapter.working(self.backbone()) / 2;
        let working = F32 * tokens * (4 * hidden + qkv + d.q_width() as u64 + self.inner() + wide + aside);
        let (output, cached) = match answering {
            Answering::Scored => (self.output(row), 0),
            // The logits and their copy.
            Answering::Written => (F32 * 2 * (row.predicting * d.vocab) as u64, row.tokens),
        };
        let parts = vec![
            ("working space", working),
            ("output layer", output),
            ("adapter", F32 * (adapter.trainable(self.backbone()) + adapter.applied(self.backbone()))),
            ("key/value cache", F32 * (cached * d.layers) as u64 * qkv),
            ("rounded operands", self.rounded(row, wide)),
        ];
        self.peak(parts)
    }

    /// Hidden states of the predicting tokens with their gradient, and a block of logits where there are any.
    fn output(&self, row: Row) -> u64 {
        let block = if self.encoder { 0 } else { nll_targets::block_numbers(row.predicting, self.dims.vocab) as u64 };
        F32 * (3 * (row.predicting * self.dims.hidden) as u64 + block)
    }

    /// On GPUs, the widest operand of a product with a matrix in bf16.
    fn rounded(&self, row: Row, widest: u64) -> u64 {
        if self.device.is_cpu() || self.dtype != Dtype::Bf16 { 0 } else { 2 * row.tokens as u64 * widest }
    }

    /// On GPUs, what the backward of attention adds up: tasks of 64 keys and values with 128 numbers each
    /// (`ops/cuda/attention.rs`, `TASKS` and `SHARE`), at least one for every sample.
    fn partial_sums(&self, row: Row) -> u64 {
        if self.device.is_cpu() {
            return 0;
        }
        let d = &self.dims;
        let tiles = row.tokens as u64 / 16 + 2;
        let shared_out = (row.tokens * d.heads / d.kv_heads) as u64 * tiles / 128;
        (tiles + shared_out.min(1024 / d.kv_heads as u64)) * d.kv_heads as u64 * 2 * 64 * 128 * F32
    }

    fn peak(&self, parts: Vec<(&'static str, u64)>) -> Parts {
        let program = if self.device.is_cpu() { ("program", PROGRAM) } else { ("driver and libraries", DRIVER) };
        let fixed = [program, ("weights", self.bytes())];
        Parts(fixed.into_iter().chain(parts).filter(|(_, bytes)| *bytes > 0).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use crate::{
        base::machine::Device,
        models::{BackboneSpec, load},
    };

    fn model(value: serde_json::Value) -> BackboneSpec {
        serde_json::from_value::<BackboneSpec>(value).unwrap()
    }

    fn chatglm2_6b() -> ModelShape {
        let config = json!({
            "model_type": "chatglm", "add_bias_linear": false, "add_qkv_bias": true, "ffn_hidden_size": 13696,
            "hidden_size": 4096, "kv_channels": 128, "layernorm_epsilon": 1e-5, "multi_query_attention": true,
            "multi_query_group_num": 2, "num_attention_heads": 32, "num_layers": 28, "original_rope": true,
            "padded_vocab_size": 65024, "post_layer_norm": true, "rmsnorm": true, "seq_length": 32768,
        });
        let spec = json!({ "family": "chatglm", "dtype": "bf16", "config": config });
        ModelShape::of(&model(spec), Device::Cpu).unwrap().unwrap()
    }

    fn adapter(value: serde_json::Value) -> AdapterSpec {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn parameters_of_the_published_model() {
        let shape = chatglm2_6b();
        // The seven published shards hold 12,487,241,... bytes with their pickles.
        assert_eq!(shape.parameters(), 6_243_584_000);
        assert!((12_487_100_000..12_488_300_000).contains(&shape.bytes()), "{}", shape.bytes());
        let lora = adapter(json!({ "kind": "lora", "rank": 8, "alpha": 32.0, "target_modules": ["query_key_value"] }));
        assert_eq!(lora.trainable(shape.backbone()), 28 * 8 * (4096 + 4608));
        let prefix = adapter(json!({ "kind": "ptuning2", "virtual_tokens": 32 }));
        assert_eq!(prefix.trainable(shape.backbone()), 32 * 28 * 2 * 256);
    }

    #[test]
    fn sizes_grow_with_what_causes_them_and_with_nothing_else() {
        let shape = chatglm2_6b();
        let lora = |rank: usize| {
            adapter(json!({ "kind": "lora", "rank": rank, "alpha": 32.0, "target_modules": ["query_key_value"] }))
        };
        let row = |tokens| Row { tokens, predicting: 64 };
        let part = |parts: &Parts, name: &str| parts.0.iter().find(|(n, _)| *n == name).unwrap().1;
        let (short, long) =
            (shape.peak_training(&lora(8), row(500), false), shape.peak_training(&lora(8), row(1000), false));
        assert_eq!(part(&long, "activations"), 2 * part(&short, "activations"));
        // 160,768 bytes a token and layer, and the last two hidden states.
        assert_eq!(part(&short, "activations"), 500 * (28 * 160_768 + 2 * 4096 * 4));
        let all = adapter(json!({ "kind": "lora", "rank": 8, "alpha": 32.0,
            "target_modules": ["query_key_value", "self_attention.dense"] }));
        let kept = shape.peak_training(&all, row(500), false);
        assert_eq!(part(&kept, "activations"), part(&short, "activations") + 500 * 28 * 4096 * 4);
        assert_eq!(part(&long, "weights"), part(&short, "weights"));
        let wide = shape.peak_training(&lora(64), row(500), false);
        assert_eq!(part(&wide, "gradients and moments"), 8 * part(&short, "gradients and moments"));
        let none = adapter(json!({ "kind": "none" }));
        let scored = shape.peak_evaluation(&none, row(500), Answering::Scored);
        assert!(scored.total() < short.total());
        assert!(scored.0.iter().all(|(name, _)| *name != "key/value cache"));
        let written = shape.peak_evaluation(&none, row(500), Answering::Written);
        assert_eq!(part(&written, "key/value cache"), 500 * 28 * 4608 * 4);
        assert_eq!(part(&written, "output layer"), 2 * 64 * 65_024 * 4);
    }

    #[test]
    fn modules_and_parameters_are_those_of_the_loaded_model() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        for (name, family) in
            [("llama-tiny", "llama"), ("qwen2-tiny", "llama"), ("chatglm2-tiny", "chatglm"), ("bert-tiny", "bert")]
        {
            let folder = root.join(name);
            let config: serde_json::Value =
                serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
            let spec = model(json!({ "family": family, "dtype": "f32", "config": config }));
            let shape = ModelShape::of(&spec, Device::Cpu).unwrap().unwrap();
            let files = ["config.json", "model.safetensors"].map(|f| (f.to_owned(), folder.join(f)));
            let own = BackboneSpec { config: Default::default(), ..spec };
            let backbone = load(&own, &files.into(), &candle_core::Device::Cpu).unwrap();
            assert_eq!(shape.modules, backbone.modules(), "{name}");
            let stored: u64 =
                safetensors::SafeTensors::deserialize(&std::fs::read(folder.join("model.safetensors")).unwrap())
                    .unwrap()
                    .iter()
                    .filter(|(name, _)| !name.contains("inv_freq") && (!shape.dims.tied || *name != "lm_head.weight"))
                    // What an encoder adds for the first sentence lies in its positions; a head is the adapter's.
                    .filter(|(name, _)| !name.contains("token_type") && !name.starts_with("classifier"))
                    .map(|(_, t)| t.shape().iter().product::<usize>() as u64)
                    .sum();
            assert_eq!(shape.parameters(), stored, "{name}");
            let target = backbone.modules()[0].path.rsplit('.').next().unwrap().to_owned();
            for spec in [
                json!({ "kind": "lora", "rank": 3, "alpha": 6.0, "target_modules": [target] }),
                json!({ "kind": "lora", "rank": 3, "use_dora": true, "target_modules": [target] }),
                json!({ "kind": "ptuning2", "virtual_tokens": 5 }),
                json!({ "kind": "ptuning2", "virtual_tokens": 5, "projection": 7 }),
            ] {
                let spec = adapter(spec);
                let made = spec.create(backbone.as_ref(), 0, None).unwrap();
                let numbers: usize = made.parameters().iter().map(|(_, p)| p.elem_count()).sum();
                assert_eq!(spec.trainable(shape.backbone()), numbers as u64, "{name}");
            }
        }
    }
}
