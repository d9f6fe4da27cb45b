//! Writes the shape of a model as a Hugging Face `config.json`.

use engine::Dtype;
use engine::ops::rope::RopeScaling;
use serde_json::{Value, json};

use super::{Architecture, Biases, Config};
use crate::error::Error;

/// What a `config.json` says beside the shape of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonOptions {
    /// How the weights are stored: F32, F16 or BF16.
    pub dtype: Dtype,
    /// The token that a text begins with.
    pub begin_token: Option<u32>,
    /// The tokens that end what the model writes.
    pub end_tokens: Vec<u32>,
}

impl Default for JsonOptions {
    fn default() -> Self {
        Self { dtype: Dtype::F32, begin_token: None, end_tokens: Vec::new() }
    }
}

pub(super) fn write(config: &Config, options: &JsonOptions) -> Result<Vec<u8>, Error> {
    let mut json = json!({
        "architectures": [config.architecture.hugging_face_name()],
        "head_dim": config.head_size,
        "hidden_act": "silu",
        "hidden_size": config.width,
        "intermediate_size": config.ffn_width,
        "max_position_embeddings": config.context_tokens,
        // Hugging Face calls the families as GGUF does.
        "model_type": config.architecture.gguf_name(),
        "num_attention_heads": config.heads,
        "num_hidden_layers": config.layers,
        "num_key_value_heads": config.kv_heads,
        "rms_norm_eps": shortest(config.norm_epsilon),
        "rope_scaling": scaling(&config.rope.scaling)?,
        "rope_theta": config.rope.base,
        "tie_word_embeddings": config.tied_head,
        "torch_dtype": dtype_name(options.dtype)?,
        "use_cache": true,
        "vocab_size": config.vocab,
    });
    for (key, value) in switches(config)? {
        json[key] = value.into();
    }
    if let Some(token) = options.begin_token {
        json["bos_token_id"] = token.into();
    }
    match options.end_tokens.as_slice() {
        [] => {}
        [token] => json["eos_token_id"] = (*token).into(),
        tokens => json["eos_token_id"] = tokens.into(),
    }
    Ok(format!("{json:#}\n").into_bytes())
}

fn unwritable(feature: impl Into<String>) -> Error {
    Error::Unwritable { layout: "config.json", feature: feature.into() }
}

/// What the family lets a file choose; the rest of its biases follows from its name.
fn switches(config: &Config) -> Result<Vec<(&'static str, bool)>, Error> {
    let Biases { qkv, output, ffn } = config.biases;
    let (fits, switches) = match config.architecture {
        Architecture::Llama => (qkv == output, vec![("attention_bias", qkv), ("mlp_bias", ffn)]),
        Architecture::Qwen2 => (qkv && !output && !ffn, vec![("use_sliding_window", false)]),
        Architecture::Qwen3 => {
            (qkv == output && !ffn, vec![("attention_bias", qkv), ("use_sliding_window", false)])
        }
    };
    if fits {
        return Ok(switches);
    }
    let family = config.architecture.hugging_face_name();
    Err(unwritable(format!("a {family} with these biases: {:?}", config.biases)))
}

fn scaling(scaling: &RopeScaling) -> Result<Value, Error> {
    Ok(match scaling {
        RopeScaling::None => Value::Null,
        RopeScaling::Linear { factor } => json!({ "rope_type": "linear", "factor": factor }),
        RopeScaling::Llama3 {
            factor,
            low_frequency_factor,
            high_frequency_factor,
            original_context_tokens,
        } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_frequency_factor,
            "high_freq_factor": high_frequency_factor,
            "original_max_position_embeddings": original_context_tokens,
        }),
        RopeScaling::Yarn {
            factor,
            original_context_tokens,
            beta_fast,
            beta_slow,
            attention_factor,
        } => {
            let mut json = json!({
                "rope_type": "yarn",
                "factor": factor,
                "original_max_position_embeddings": original_context_tokens,
                "beta_fast": beta_fast,
                "beta_slow": beta_slow,
            });
            if let Some(factor) = attention_factor {
                json["attention_factor"] = (*factor).into();
            }
            json
        }
        RopeScaling::Divisors(_) => {
            return Err(unwritable("rotary frequencies with a divisor each (rope_freqs.weight)"));
        }
        other => return Err(unwritable(format!("the rope scaling {other:?}"))),
    })
}

fn dtype_name(dtype: Dtype) -> Result<&'static str, Error> {
    match dtype {
        Dtype::F32 => Ok("float32"),
        Dtype::F16 => Ok("float16"),
        Dtype::Bf16 => Ok("bfloat16"),
        other => Err(unwritable(format!("weights in {other}"))),
    }
}

/// The number that reads as this one and has the fewest digits: 1e-5, not 9.999999747378752e-6.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}
