//! Configurations as they are published: what is computed is accepted as it is, and every key that asks for something else is
//! refused by its name.

use emopipe::models::{ConfigTable, Dims, dims, weights::model_config::Config};
use serde_json::{Value, json};

fn read(family: &str, config: &Value) -> Result<Dims, String> {
    let Value::Object(keys) = config.clone() else { panic!("no object") };
    let e = match dims(family, &Config::new("config.json", keys.clone())) {
        Ok(dims) => {
            // What a pipeline file states is checked alike.
            assert_eq!(
                self::dims(family, &Config::of_table(&keys.into_iter().collect::<ConfigTable>())).unwrap(),
                dims
            );
            return Ok(dims);
        }
        Err(e) => e,
    };
    assert!(e.help.is_some(), "no advice: {e}");
    Err(e.message)
}

fn with(config: &Value, changes: Value) -> Value {
    let mut config = config.clone();
    let (Value::Object(map), Value::Object(changes)) = (&mut config, changes) else { panic!("no objects") };
    map.extend(changes);
    config
}

fn smollm2() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 1,
        "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 576, "initializer_range": 0.041666666666666664,
        "intermediate_size": 1536, "is_llama_config": true, "max_position_embeddings": 8192, "mlp_bias": false,
        "model_type": "llama", "num_attention_heads": 9, "num_hidden_layers": 30, "num_key_value_heads": 3,
        "pad_token_id": 2, "pretraining_tp": 1, "rms_norm_eps": 1e-5, "rope_interleaved": false, "rope_scaling": null,
        "rope_theta": 100000, "tie_word_embeddings": true, "torch_dtype": "bfloat16",
        "transformers.js_config": { "kv_cache_dtype": { "fp16": "float16", "q4f16": "float16" } },
        "transformers_version": "4.42.3", "use_cache": true, "vocab_size": 49152
    })
}

fn qwen2() -> Value {
    json!({
        "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643,
        "eos_token_id": 151643, "hidden_act": "silu", "hidden_size": 3584, "initializer_range": 0.02,
        "intermediate_size": 18944, "max_position_embeddings": 131072, "max_window_layers": 28, "model_type": "qwen2",
        "num_attention_heads": 28, "num_hidden_layers": 28, "num_key_value_heads": 4, "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0, "sliding_window": 131072, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
        "transformers_version": "4.40.1", "use_cache": true, "use_mrope": false, "use_sliding_window": false,
        "vocab_size": 152064
    })
}

fn chatglm3() -> Value {
    json!({
        "_name_or_path": "THUDM/chatglm3-6b", "model_type": "chatglm", "architectures": ["ChatGLMModel"],
        "auto_map": { "AutoConfig": "configuration_chatglm.ChatGLMConfig" }, "add_bias_linear": false,
        "add_qkv_bias": true, "apply_query_key_layer_scaling": true, "apply_residual_connection_post_layernorm": false,
        "attention_dropout": 0.0, "attention_softmax_in_fp32": true, "bias_dropout_fusion": true,
        "classifier_dropout": null, "ffn_hidden_size": 13696, "fp32_residual_connection": false, "hidden_dropout": 0.0,
        "hidden_size": 4096, "kv_channels": 128, "layernorm_epsilon": 1e-5, "multi_query_attention": true,
        "multi_query_group_num": 2, "num_attention_heads": 32, "num_layers": 28, "original_rope": true,
        "padded_vocab_size": 65024, "post_layer_norm": true, "pre_seq_len": null, "prefix_projection": false,
        "quantization_bit": 0, "rmsnorm": true, "seq_length": 8192, "use_cache": true, "torch_dtype": "float16",
        "transformers_version": "4.30.2", "tie_word_embeddings": false, "eos_token_id": 2, "pad_token_id": 0,
        "vocab_size": 65024
    })
}

fn bert() -> Value {
    json!({
        "architectures": ["BertForMaskedLM"], "attention_probs_dropout_prob": 0.1, "gradient_checkpointing": false,
        "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "hidden_size": 768, "initializer_range": 0.02,
        "intermediate_size": 3072, "layer_norm_eps": 1e-12, "max_position_embeddings": 512, "model_type": "bert",
        "num_attention_heads": 12, "num_hidden_layers": 12, "pad_token_id": 0, "position_embedding_type": "absolute",
        "transformers_version": "4.6.0.dev0", "type_vocab_size": 2, "use_cache": true, "vocab_size": 30522
    })
}

#[test]
fn published_configurations_are_accepted() {
    let llama = with(&smollm2(), json!({ "is_llama_config": null, "rope_interleaved": null, "rope_theta": null }));
    let llama2 = json!({
        "_name_or_path": "meta-llama/Llama-2-7b-hf", "pretraining_tp": 2, "max_length": 4096, "temperature": 0.9,
        "top_p": 0.6, "rms_norm_eps": 1e-6, "tie_word_embeddings": false, "max_sequence_length": 2048
    });
    let newer = json!({
        "rope_parameters": { "rope_theta": 100000.0, "rope_type": "default" }, "dtype": "bfloat16", "head_dim": 64,
        "eos_token_id": [128001, 128009], "_attn_implementation_autoset": true, "unsloth_version": "2025.1"
    });
    let multilingual = json!({
        "directionality": "bidi", "pooler_fc_size": 768, "pooler_num_attention_heads": 12, "pooler_num_fc_layers": 3,
        "pooler_size_per_head": 128, "pooler_type": "first_token_transform", "vocab_size": 119547
    });
    let cross_encoder = json!({
        "id2label": { "0": "LABEL_0" }, "label2id": { "LABEL_0": 0 }, "classifier_dropout": null, "is_decoder": false,
        "sentence_transformers": { "activation_fn": "torch.nn.modules.linear.Identity", "version": "4.1.0" },
        "sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity", "pruned_heads": {}
    });
    let qwen = json!({ "layer_types": vec!["full_attention"; 28], "sliding_window": null, "rope_parameters": null });
    for (family, config) in [
        ("llama", smollm2()),
        ("llama", with(&llama, llama2)),
        ("llama", with(&llama, newer)),
        ("llama", with(&llama, json!({ "sliding_window": 8192, "rope_scaling": { "type": "default" } }))),
        ("llama", qwen2()),
        ("llama", with(&qwen2(), json!({ "sliding_window": 4096 }))),
        ("llama", with(&qwen2(), qwen)),
        ("chatglm", chatglm3()),
        ("chatglm", with(&chatglm3(), json!({ "seq_length": 32768, "num_hidden_layers": 28 }))),
        ("bert", bert()),
        ("bert", with(&bert(), multilingual)),
        ("bert", with(&bert(), cross_encoder)),
        (
            "bert",
            with(&bert(), json!({ "cell": {}, "emb_size": 768, "structure": [], "pre_trained": "", "training": "" })),
        ),
    ] {
        read(family, &config).unwrap_or_else(|e| panic!("{e}\n{config}"));
    }
}

/// `(key of the message, changes)`: each alone makes another model, or one that nobody knows.
fn refused(family: &str, config: &Value, changes: &[(&str, Value)]) {
    read(family, config).unwrap();
    for (key, change) in changes {
        match read(family, &with(config, change.clone())) {
            Ok(_) => panic!("{family} accepts {change}"),
            Err(message) => {
                assert!(
                    message.contains(&format!("`{key}`")) && message.starts_with("config.json"),
                    "{change}: {message}"
                );
            }
        }
    }
}

fn one(key: &'static str, value: Value) -> (&'static str, Value) {
    (key, json!({ key: value }))
}

#[test]
fn other_models_of_llamas_kind_are_refused_by_key() {
    let rope = |value: Value| one("rope_scaling", value);
    refused(
        "llama",
        &smollm2(),
        &[
            ("rope_type", json!({ "rope_scaling": { "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0 } })),
            ("type", json!({ "rope_scaling": { "type": "linear", "factor": 4.0 } })),
            ("factor", json!({ "rope_scaling": { "rope_type": "default", "factor": 4.0 } })),
            ("rope_type", json!({ "rope_parameters": { "rope_type": "yarn" } })),
            ("partial_rotary_factor", json!({ "rope_parameters": { "partial_rotary_factor": 0.5 } })),
            ("full_attention", json!({ "rope_parameters": { "full_attention": { "rope_theta": 1e4 } } })),
            ("rope_theta", json!({ "rope_parameters": { "rope_theta": 5e5 } })),
            rope(json!("yarn")),
            one("rope_interleaved", json!(true)),
            one("partial_rotary_factor", json!(0.5)),
            one("sliding_window", json!(4096)),
            one("layer_types", json!(["full_attention", "sliding_attention"])),
            one("hidden_act", json!("gelu")),
            one("model_type", json!("mistral")),
            one("auto_map", json!({ "AutoModel": "modeling_own.Model" })),
            one("quantization_config", json!({ "quant_method": "gptq", "bits": 4 })),
            one("logit_scale", json!(0.0625)),
            one("logits_scaling", json!(8.0)),
            one("embedding_multiplier", json!(12.0)),
            one("residual_multiplier", json!(0.22)),
            one("attention_multiplier", json!(0.015)),
            one("final_logit_softcapping", json!(30.0)),
            one("num_local_experts", json!(8)),
            one("qk_layernorm", json!(true)),
            one("clip_qkv", json!(8.0)),
            one("is_causal", json!(false)),
            one("is_encoder_decoder", json!(true)),
            one("add_cross_attention", json!(true)),
            one("pruned_heads", json!({ "0": [1] })),
            one("attention_bias", json!("yes")),
            one("rms_norm_epsilon", json!(1e-5)),
        ],
    );
    refused(
        "llama",
        &qwen2(),
        &[
            ("sliding_window", json!({ "use_sliding_window": true, "sliding_window": 4096 })),
            ("sliding_window", json!({ "use_sliding_window": true, "sliding_window": null })),
            one("use_mrope", json!(true)),
            one("dual_chunk_attention_config", json!({ "chunk_size": 262144 })),
        ],
    );
}

#[test]
fn other_models_of_the_other_kinds_are_refused_by_key() {
    refused(
        "chatglm",
        &chatglm3(),
        &[
            one("pre_seq_len", json!(128)),
            one("quantization_bit", json!(4)),
            one("rope_ratio", json!(50)),
            one("position_encoding_2d", json!(true)),
            one("inner_hidden_size", json!(16384)),
            one("num_hidden_layers", json!(29)),
            one("tie_word_embeddings", json!(true)),
            one("interleaved_qkv", json!(true)),
        ],
    );
    refused(
        "bert",
        &bert(),
        &[
            one("position_embedding_type", json!("relative_key")),
            one("hidden_act", json!("gelu_new")),
            one("is_decoder", json!(true)),
            one("emb_size", json!(128)),
            one("embedding_size", json!(128)),
            one("feed_forward_type", json!("geglu")),
            one("auto_map", json!({ "AutoModel": "modeling_own.Model" })),
            one("layer_norm_eps", json!(-1e-12)),
            one("type_vocab_size", json!(0)),
        ],
    );
}

#[test]
fn numbers_out_of_range_are_refused_by_key() {
    for (family, config, sizes, eps) in [
        ("llama", smollm2(), ["hidden_size", "num_hidden_layers", "max_position_embeddings"], "rms_norm_eps"),
        ("chatglm", chatglm3(), ["kv_channels", "num_layers", "seq_length"], "layernorm_epsilon"),
        ("bert", bert(), ["intermediate_size", "num_hidden_layers", "vocab_size"], "layer_norm_eps"),
    ] {
        for value in [json!(0), json!(-1e-5), json!(1.5), json!(1e30), json!("1e-5"), json!(true)] {
            refused(family, &config, &[one(eps, value)]);
        }
        for key in sizes {
            for value in [json!(0), json!(-1), json!(1.5), json!(u64::MAX), json!(1u64 << 32), json!("8"), json!([8])] {
                refused(family, &config, &[one(key, value)]);
            }
        }
    }
    for value in [json!(0), json!(-1e4), json!(1), json!(1e300), json!("1e4")] {
        refused("llama", &with(&smollm2(), json!({ "rope_theta": 1e5 })), &[one("rope_theta", value.clone())]);
        let inside = json!({ "rope_theta": null, "rope_parameters": { "rope_theta": value } });
        refused("llama", &smollm2(), &[("rope_theta", inside)]);
    }
    // Heads that can't be shared out.
    for (family, config, change) in [
        ("llama", smollm2(), json!({ "num_key_value_heads": 2 })),
        ("llama", smollm2(), json!({ "num_attention_heads": 7, "num_key_value_heads": 7 })),
        ("llama", smollm2(), json!({ "head_dim": 63 })),
        ("chatglm", chatglm3(), json!({ "kv_channels": 6 })),
        ("bert", bert(), json!({ "num_attention_heads": 7 })),
    ] {
        let message = read(family, &with(&config, change)).unwrap_err();
        assert!(message.contains("config.json") && message.contains("heads"), "{message}");
    }
}
