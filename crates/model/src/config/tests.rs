//! Configurations as they come, and as they must not come.
#![expect(clippy::float_cmp, reason = "numbers are read as they are written")]

use artifacts::StoredType;
use artifacts::gguf::{self, Gguf, Metadata, Value};
use artifacts::tensors::TensorSpec;
use serde_json::json;

use super::*;

fn llama() -> serde_json::Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "hidden_size": 576, "intermediate_size": 1536,
        "num_attention_heads": 9, "num_key_value_heads": 3, "num_hidden_layers": 30,
        "vocab_size": 49152, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5,
        "rope_theta": 100_000, "rope_scaling": null, "tie_word_embeddings": true,
        "hidden_act": "silu", "torch_dtype": "bfloat16", "rope_interleaved": false
    })
}

fn read(json: &serde_json::Value) -> Result<Config, Error> {
    Config::from_json(json.to_string().as_bytes())
}

fn read_with(key: &str, value: serde_json::Value) -> Result<Config, Error> {
    let mut json = llama();
    json[key] = value;
    read(&json)
}

#[test]
fn smollm2_is_read() {
    let config = read(&llama()).unwrap();
    assert_eq!((config.layers, config.heads, config.kv_heads, config.head_size), (30, 9, 3, 64));
    assert_eq!(config.rope.base, 100_000.0);
    assert_eq!(config.rope.pairing, Pairing::Halves);
    assert!(config.tied_head && !config.qk_norm && config.biases == Biases::default());
    assert_eq!(config.parameters(), 134_515_008);
}

#[test]
fn families_differ_in_their_switches() {
    let mut json = llama();
    json["architectures"] = json!(["Qwen2ForCausalLM"]);
    let config = read(&json).unwrap();
    assert_eq!(config.biases, Biases { qkv: true, output: false, ffn: false });
    json["architectures"] = json!(["Qwen3ForCausalLM"]);
    json["head_dim"] = json!(128);
    let config = read(&json).unwrap();
    assert_eq!((config.qk_norm, config.head_size, config.query_width()), (true, 128, 1152));
}

#[test]
fn rope_is_read_in_both_spellings() {
    let scaling = json!({
        "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192
    });
    let expected = RopeScaling::Llama3 {
        factor: 32.0,
        low_frequency_factor: 1.0,
        high_frequency_factor: 4.0,
        original_context_tokens: 8192,
    };
    let old = read_with("rope_scaling", scaling.clone()).unwrap();
    assert_eq!((old.rope.base, &old.rope.scaling), (100_000.0, &expected));
    let mut parameters = scaling;
    parameters["rope_theta"] = json!(500_000.0);
    let new = read_with("rope_parameters", parameters).unwrap();
    assert_eq!((new.rope.base, &new.rope.scaling), (500_000.0, &expected));
    let linear = read_with("rope_scaling", json!({"type": "linear", "factor": 4.0})).unwrap();
    assert_eq!(linear.rope.scaling, RopeScaling::Linear { factor: 4.0 });
}

#[test]
fn what_is_written_is_read_as_the_same_shape() {
    let scalings = [
        serde_json::Value::Null,
        json!({"type": "linear", "factor": 2.5}),
        json!({"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}),
        json!({"rope_type": "yarn", "factor": 4.0}),
        json!({"rope_type": "yarn", "factor": 4.0, "attention_factor": 1.25, "beta_slow": 0.5}),
    ];
    for family in ["LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"] {
        for scaling in &scalings {
            let mut json = llama();
            (json["architectures"], json["rope_scaling"]) = (json!([family]), scaling.clone());
            json["attention_bias"] = json!(true);
            json["head_dim"] = json!(32);
            let config = read(&json).unwrap();
            let options = JsonOptions {
                begin_token: Some(1),
                end_tokens: vec![2, 7],
                ..JsonOptions::default()
            };
            let written = config.to_json(&options).unwrap();
            assert_eq!(Config::from_json(&written).unwrap(), config, "{family} {scaling}");
            let json: serde_json::Value = serde_json::from_slice(&written).unwrap();
            assert_eq!((&json["bos_token_id"], &json["eos_token_id"]), (&json!(1), &json!([2, 7])));
            assert_eq!(json["rms_norm_eps"], json!(1e-5));
            assert_eq!(json["torch_dtype"], "float32");
        }
    }
}

#[test]
fn a_shape_becomes_a_configuration_or_is_refused_by_name() {
    let shape = Shape {
        vocab: 49_152,
        width: 576,
        layers: 30,
        heads: 9,
        kv_heads: 3,
        head_size: 64,
        ffn_width: 1536,
        context_tokens: 8192,
        rope_base: 1e5,
        norm_epsilon: 1e-5,
        tied_head: true,
    };
    assert_eq!(Config::new(&shape).unwrap(), read(&llama()).unwrap());
    for (shape, named) in [
        (Shape { layers: 0, ..shape }, "layers"),
        (Shape { kv_heads: 2, ..shape }, "kv_heads"),
        (Shape { head_size: 63, ..shape }, "head_size"),
        (Shape { width: usize::MAX, ..shape }, "width"),
        (Shape { rope_base: f64::NAN, ..shape }, "rope base"),
        (Shape { norm_epsilon: 0.0, ..shape }, "norm_epsilon"),
    ] {
        let error = Config::new(&shape).unwrap_err().to_string();
        assert!(error.contains(&format!("`{named}`")), "{named}: {error}");
    }
}

#[test]
fn biases_that_no_file_can_say_are_not_written() {
    let mut config = read(&llama()).unwrap();
    config.biases.qkv = true;
    let error = config.to_json(&JsonOptions::default()).unwrap_err().to_string();
    assert!(error.contains("LlamaForCausalLM with these biases"), "{error}");
    let quantized = JsonOptions { dtype: engine::Dtype::Q8_0, ..JsonOptions::default() };
    let error = read(&llama()).unwrap().to_json(&quantized).unwrap_err().to_string();
    assert!(error.contains("weights in Q8_0"), "{error}");
}

#[test]
fn two_spellings_of_rope_must_say_the_same() {
    let yarn = json!({"rope_type": "yarn", "factor": 4.0});
    let with = |new: serde_json::Value, old: serde_json::Value| {
        let mut json = llama();
        (json["rope_parameters"], json["rope_scaling"]) = (new, old);
        read(&json)
    };
    let one = read_with("rope_scaling", yarn.clone()).unwrap();
    // `type` is the older name of `rope_type`, and the base of the whole file counts for both.
    let old = json!({"type": "yarn", "factor": 4, "beta_fast": 32.0});
    let new = json!({"rope_type": "yarn", "factor": 4.0, "rope_theta": 100_000});
    for (new, old) in [(yarn.clone(), old.clone()), (new.clone(), old), (new, yarn.clone())] {
        assert_eq!(with(new, old).unwrap().rope, one.rope);
    }
    assert!(with(json!({"rope_type": "default"}), serde_json::Value::Null).is_ok());
    for (new, old) in [
        (json!({"rope_type": "default"}), yarn.clone()),
        (json!({}), yarn.clone()),
        (yarn.clone(), json!({})),
        (yarn.clone(), json!({"rope_type": "yarn", "factor": 2.0})),
        (yarn.clone(), json!({"rope_type": "linear", "factor": 4.0})),
        (json!({"rope_type": "yarn", "factor": 4.0, "rope_theta": 5.0}), yarn),
    ] {
        let error = with(new.clone(), old.clone()).unwrap_err().to_string();
        let told = error.contains("`rope_scaling` is") && error.contains("as rope_parameters");
        assert!(told, "{new} {old}: {error}");
    }
}

#[test]
fn errors_are_short_and_turn_no_text_around() {
    let long = || json!("\u{202e}\u{1b}x".repeat(10_000));
    let nested = |key: &str| json!({"rope_type": "yarn", key: long()});
    for (key, value) in [
        ("max_position_embeddings", long()),
        ("architectures", json!([long()])),
        ("hidden_act", long()),
        ("layer_types", json!([long()])),
        ("rope_theta", long()),
        ("rope_scaling", long()),
        ("rope_scaling", nested("factor")),
        ("rope_scaling", json!({"rope_type": long()})),
        ("rope_parameters", nested("rope_theta")),
    ] {
        let error = read_with(key, value).unwrap_err().to_string();
        assert!(!error.contains(['\u{202e}', '\u{1b}']) && error.len() < 1_000, "{key}: {error}");
    }
}

#[test]
fn hostile_values_are_refused_by_name() {
    let cases = [
        ("num_hidden_layers", json!(1_000_000), "layers"),
        ("num_hidden_layers", json!(-1), "num_hidden_layers"),
        ("num_hidden_layers", json!(0), "layers"),
        ("num_attention_heads", json!(0), "hidden_size"),
        ("num_attention_heads", json!(7), "hidden_size"),
        ("num_key_value_heads", json!(2), "kv_heads"),
        ("num_key_value_heads", json!(0), "kv_heads"),
        ("hidden_size", json!(u64::MAX), "hidden_size"),
        ("head_dim", json!(63), "head_size"),
        ("vocab_size", json!(1e30), "vocab_size"),
        ("vocab_size", json!("many"), "vocab_size"),
        ("intermediate_size", json!(1_u64 << 40), "ffn_width"),
        ("rms_norm_eps", json!(0.0), "norm_epsilon"),
        ("rms_norm_eps", json!(-1.0), "norm_epsilon"),
        ("rope_theta", json!(0.0), "rope base"),
        ("rope_scaling", json!({"type": "linear", "factor": 0.0}), "rope factor"),
        ("rope_scaling", json!({"type": "linear"}), "rope_scaling.factor"),
        ("rope_scaling", json!({"type": "dynamic", "factor": 2.0}), "rope_scaling.rope_type"),
        ("rope_scaling", json!(3), "rope_scaling"),
        ("partial_rotary_factor", json!(0.5), "partial_rotary_factor"),
        ("rope_parameters", json!({"partial_rotary_factor": 0.5}), "partial_rotary_factor"),
        ("hidden_act", json!("gelu"), "hidden_act"),
        ("use_sliding_window", json!(true), "use_sliding_window"),
        ("layer_types", json!(["full_attention", "sliding_attention"]), "sliding_attention"),
        ("quantization_config", json!({"bits": 4}), "quantization_config"),
    ];
    for (key, value, named) in cases {
        let error = read_with(key, value.clone()).unwrap_err().to_string();
        assert!(error.contains(named), "{key} = {value}: {error}");
        assert!(error.contains("; "), "{key} = {value} has no remedy: {error}");
    }
}

#[test]
fn unknown_architectures_hear_the_known_ones() {
    let error = read_with("architectures", json!(["MambaForCausalLM\u{1b}[31m"])).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("LlamaForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM"), "{text}");
    assert!(!text.contains('\u{1b}'), "control characters are not repeated: {text:?}");
    assert!(matches!(Config::from_json(b"[]"), Err(Error::Json { .. })));
    assert!(matches!(Config::from_json(b"{"), Err(Error::Json { .. })));
    assert!(matches!(Config::from_json(b"{}"), Err(Error::MissingKey { .. })));
}

/// A GGUF header of an architecture, with changes; tensors are embedding and first biases.
fn gguf(architecture: &str, changes: &[(&str, Value)]) -> Result<Config, Error> {
    let mut metadata = Metadata::new();
    let mut entries = vec![
        ("attention.head_count", Value::U32(4)),
        ("attention.head_count_kv", Value::U32(2)),
        ("attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
        ("block_count", Value::U32(2)),
        ("context_length", Value::U32(256)),
        ("embedding_length", Value::U32(32)),
        ("feed_forward_length", Value::U32(64)),
        ("rope.freq_base", Value::F32(5000.0)),
    ];
    for (key, value) in changes {
        entries.retain(|(other, _)| other != key);
        entries.push((key, value.clone()));
    }
    metadata.insert("general.architecture", Value::String(architecture.to_owned())).unwrap();
    for (key, value) in entries {
        metadata.insert(format!("{architecture}.{key}"), value).unwrap();
    }
    let tensors = [
        TensorSpec::new("token_embd.weight", StoredType::F32, &[5, 32]),
        TensorSpec::new("blk.0.attn_q.bias", StoredType::F32, &[32]),
    ];
    let mut file = Vec::new();
    let bytes = [vec![0; 5 * 32 * 4], vec![0; 32 * 4]];
    gguf::write(&mut file, &metadata, &tensors, |which, out| out.write_all(&bytes[which])).unwrap();
    Config::from_gguf(&Gguf::parse(&file, file.len() as u64).unwrap())
}

#[test]
fn gguf_metadata_are_read() {
    let config = gguf("llama", &[]).unwrap();
    assert_eq!((config.layers, config.heads, config.kv_heads, config.head_size), (2, 4, 2, 8));
    assert_eq!((config.vocab, config.tied_head, config.biases.qkv), (5, true, true));
    assert_eq!(config.rope.pairing, Pairing::Interleaved);
    assert_eq!(config.rope.base, 5000.0);
    let qwen = gguf("qwen3", &[("attention.key_length", Value::U32(16))]).unwrap();
    assert_eq!((qwen.head_size, qwen.qk_norm), (16, true));
    assert_eq!(qwen.rope.pairing, Pairing::Halves);
}

#[test]
fn a_gguf_factor_without_a_type_is_linear() {
    let text = |kind: &str| Value::String(kind.to_owned());
    let factor = ("rope.scaling.factor", Value::F32(4.0));
    let linear = RopeScaling::Linear { factor: 4.0 };
    for (changes, expected) in [
        (vec![factor.clone()], linear.clone()),
        (vec![("rope.scale_linear", Value::F32(4.0))], linear.clone()),
        (
            vec![("rope.scaling.type", text("linear")), ("rope.scale_linear", Value::F32(4.0))],
            linear,
        ),
        (vec![("rope.scaling.type", text("none")), factor], RopeScaling::None),
        (vec![("rope.scaling.factor", Value::F32(1.0))], RopeScaling::None),
        (vec![("rope.scaling.factor", Value::F32(0.0))], RopeScaling::None),
        (vec![], RopeScaling::None),
    ] {
        assert_eq!(gguf("llama", &changes).unwrap().rope.scaling, expected, "{changes:?}");
    }
    let error = gguf("llama", &[("rope.scaling.factor", Value::F32(f32::NAN))]).unwrap_err();
    assert!(error.to_string().contains("rope factor"), "{error}");
}

#[test]
fn hostile_gguf_metadata_are_refused_by_name() {
    let cases = [
        ("block_count", Value::U32(u32::MAX), "layers"),
        ("attention.head_count", Value::U32(0), "llama.embedding_length"),
        ("attention.head_count", Value::String("4".into()), "llama.attention.head_count"),
        ("attention.value_length", Value::U32(9), "llama.attention.value_length"),
        ("vocab_size", Value::U32(6), "llama.vocab_size"),
        ("expert_count", Value::U32(8), "llama.expert_count"),
        ("rope.scaling.type", Value::String("longrope".into()), "llama.rope.scaling.type"),
        ("rope.freq_base", Value::F32(f32::NAN), "rope base"),
        ("attention.layer_norm_rms_epsilon", Value::F32(f32::INFINITY), "norm_epsilon"),
    ];
    for (key, value, named) in cases {
        let error = gguf("llama", &[(key, value)]).unwrap_err().to_string();
        assert!(error.contains(named), "{key}: {error}");
    }
    let error = gguf("gpt2", &[]).unwrap_err().to_string();
    assert!(error.contains("llama, qwen2, qwen3"), "{error}");
}
