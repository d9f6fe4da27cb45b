//! What a GGUF file says of a model: llama.cpp's keys, types and rotary divisors.
//!
//! Source: `gguf-py/gguf/constants.py` and `convert_hf_to_gguf.py` of the llama.cpp repository.

use artifacts::gguf::{Metadata, Value};
use engine::Dtype;
use engine::ops::rope::{self, Pairing, RopeScaling};

use super::{fits, is_head};
use crate::config::{Architecture, Config};
use crate::error::Error;
use crate::inventory::Item;

/// The tensor of one divisor for each pair of channels.
pub(super) const DIVISORS: &str = "rope_freqs.weight";

/// The version of the block types' layouts.
const QUANTIZATION_VERSION: u32 = 2;

/// The scalings of Llama 3.1 (8) and of the small models of Llama 3.2 (32).
const LLAMA3_FACTORS: [f64; 2] = [8.0, 32.0];

/// How far apart divisors are that mean the same: a converter's arithmetic in f32.
const DIVISOR_TOLERANCE: f32 = 1e-4;

/// The keys of a model of this shape.
pub(super) fn metadata(config: &Config, dtype: Dtype) -> Result<Metadata, Error> {
    let mut metadata = Metadata::new();
    let family = config.architecture.gguf_name();
    metadata.insert("general.architecture", Value::String(family.to_owned()))?;
    metadata.insert("general.file_type", Value::U32(file_type(dtype)?))?;
    metadata.insert("general.quantization_version", Value::U32(QUANTIZATION_VERSION))?;
    for (key, count) in [
        ("vocab_size", config.vocab),
        ("context_length", config.context_tokens),
        ("embedding_length", config.width),
        ("block_count", config.layers),
        ("feed_forward_length", config.ffn_width),
        ("attention.head_count", config.heads),
        ("attention.head_count_kv", config.kv_heads),
        ("attention.key_length", config.head_size),
        ("attention.value_length", config.head_size),
        ("rope.dimension_count", config.head_size),
    ] {
        metadata.insert(format!("{family}.{key}"), count_value(count))?;
    }
    let key = format!("{family}.attention.layer_norm_rms_epsilon");
    metadata.insert(key, Value::F32(config.norm_epsilon))?;
    metadata.insert(format!("{family}.rope.freq_base"), Value::F32(narrow(config.rope.base)))?;
    for (key, value) in scaling(&config.rope.scaling)? {
        metadata.insert(format!("{family}.rope.scaling.{key}"), value)?;
    }
    Ok(metadata)
}

/// The number of a mix of types in `general.file_type`.
///
/// Source: `enum llama_ftype` of llama.h.
fn file_type(dtype: Dtype) -> Result<u32, Error> {
    match dtype {
        Dtype::F32 => Ok(0),
        Dtype::F16 => Ok(1),
        Dtype::Q4_0 => Ok(2),
        Dtype::Q8_0 => Ok(7),
        Dtype::Bf16 => Ok(32),
        other => {
            let feature = format!("weights made in {other}");
            Err(Error::Unwritable { layout: "a GGUF file from here", feature })
        }
    }
}

/// In which type a tensor is stored.
pub(super) fn dtype_of(item: &Item, config: &Config, wanted: Dtype) -> Dtype {
    if item.is_vector() {
        return Dtype::F32;
    }
    if !fits(item, wanted) {
        return Dtype::F16;
    }
    match wanted {
        Dtype::Q4_0 if is_head(item, config) => Dtype::Q8_0,
        other => other,
    }
}

/// How rows of q and k lie: llama.cpp turns neighboring channels of the Llama family.
pub(super) fn pairing(config: &Config) -> Pairing {
    match config.architecture {
        Architecture::Llama => Pairing::Interleaved,
        Architecture::Qwen2 | Architecture::Qwen3 => Pairing::Halves,
    }
}

/// The divisors of frequencies that are stored as a tensor.
pub(super) fn divisors(config: &Config) -> Option<Vec<f32>> {
    match &config.rope.scaling {
        RopeScaling::Divisors(divisors) => Some(divisors.clone()),
        scaling @ RopeScaling::Llama3 { .. } => Some(divisors_of(config, scaling)),
        _ => None,
    }
}

/// The same shape with the scaling of Llama 3.1 by name, where its divisors are those.
pub(super) fn with_named_scaling(config: &Config) -> Config {
    let RopeScaling::Divisors(divisors) = &config.rope.scaling else { return config.clone() };
    let named = LLAMA3_FACTORS.map(|factor| RopeScaling::Llama3 {
        factor,
        low_frequency_factor: 1.0,
        high_frequency_factor: 4.0,
        original_context_tokens: 8192,
    });
    let is_that = |scaling: &RopeScaling| {
        let close = |(a, b): (&f32, &f32)| (a / b - 1.0).abs() <= DIVISOR_TOLERANCE;
        divisors.iter().zip(&divisors_of(config, scaling)).all(close)
    };
    let mut config = config.clone();
    if let Some(scaling) = named.into_iter().find(is_that) {
        config.rope.scaling = scaling;
    }
    config
}

/// By what the frequencies of a shape would be divided under a scaling.
fn divisors_of(config: &Config, scaling: &RopeScaling) -> Vec<f32> {
    let divisors = rope::divisors(config.head_size, config.rope.base, scaling);
    divisors.into_iter().map(narrow).collect()
}

/// The keys of a scaling that has some.
fn scaling(scaling: &RopeScaling) -> Result<Vec<(&'static str, Value)>, Error> {
    let kind = |name: &str| ("type", Value::String(name.to_owned()));
    Ok(match scaling {
        RopeScaling::Linear { factor } => {
            vec![kind("linear"), ("factor", Value::F32(narrow(*factor)))]
        }
        RopeScaling::Yarn {
            factor,
            original_context_tokens,
            beta_fast,
            beta_slow,
            attention_factor: None,
        } => vec![
            kind("yarn"),
            ("factor", Value::F32(narrow(*factor))),
            ("original_context_length", count_value(*original_context_tokens)),
            ("yarn_beta_fast", Value::F32(narrow(*beta_fast))),
            ("yarn_beta_slow", Value::F32(narrow(*beta_slow))),
        ],
        RopeScaling::Yarn { attention_factor: Some(factor), .. } => {
            let feature = format!("YaRN's attention_factor = {factor}");
            return Err(Error::Unwritable { layout: "a GGUF file", feature });
        }
        _ => Vec::new(),
    })
}

/// All counts of a sound shape are far below 2^32.
fn count_value(count: usize) -> Value {
    Value::U32(u32::try_from(count).unwrap_or(u32::MAX))
}

#[expect(clippy::cast_possible_truncation, reason = "the file stores an f32")]
fn narrow(value: f64) -> f32 {
    value as f32
}
