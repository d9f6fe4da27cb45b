//! Reads the shape of a model from a Hugging Face `config.json`; foreign names end here.

use artifacts::shown;
use engine::ops::rope::{Pairing, RopeScaling};
use serde_json::{Map, Value};

use super::{Architecture, Biases, Config, Rope, require};
use crate::error::Error;

/// Largest `config.json` that is read; real ones have one or two kilobytes.
pub(crate) const BYTES_MAX: usize = 1 << 20;

pub(super) fn read(bytes: &[u8]) -> Result<Config, Error> {
    require(bytes.len() <= BYTES_MAX, "config.json", &format!("{} bytes", bytes.len()), || {
        format!("at most {BYTES_MAX} bytes")
    })?;
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|error| Error::Json { message: shown(&error.to_string()) })?;
    let Value::Object(object) = value else {
        return Err(Error::Json { message: "the top level is not an object".to_owned() });
    };
    let keys = Keys { object: &object, prefix: "" };
    let architecture = architecture(&keys)?;
    refuse_unsupported(&keys)?;
    let heads = keys.usize("num_attention_heads")?.ok_or_else(|| missing("num_attention_heads"))?;
    let width = keys.usize("hidden_size")?.ok_or_else(|| missing("hidden_size"))?;
    let head_size = match keys.usize("head_dim")? {
        Some(head_size) => head_size,
        None => {
            require(heads > 0 && width.is_multiple_of(heads), "hidden_size", &width, || {
                format!("a multiple of num_attention_heads = {heads}, as there is no head_dim")
            })?;
            width / heads
        }
    };
    let context_tokens = keys.usize("max_position_embeddings")?.unwrap_or(2048);
    Ok(Config {
        architecture,
        layers: keys.usize("num_hidden_layers")?.ok_or_else(|| missing("num_hidden_layers"))?,
        heads,
        kv_heads: keys.usize("num_key_value_heads")?.unwrap_or(heads),
        head_size,
        width,
        ffn_width: keys.usize("intermediate_size")?.ok_or_else(|| missing("intermediate_size"))?,
        vocab: keys.usize("vocab_size")?.ok_or_else(|| missing("vocab_size"))?,
        context_tokens,
        rope: rope(&keys, context_tokens)?,
        norm_epsilon: narrow(keys.f64("rms_norm_eps")?.unwrap_or(1e-6)),
        tied_head: keys.bool("tie_word_embeddings")?.unwrap_or(false),
        biases: biases(architecture, &keys)?,
        qk_norm: architecture == Architecture::Qwen3,
    })
}

fn architecture(keys: &Keys<'_>) -> Result<Architecture, Error> {
    let found = match keys.object.get("architectures") {
        Some(Value::Array(names)) if names.len() == 1 => names[0].as_str(),
        _ => None,
    };
    let found = found.ok_or_else(|| missing("architectures"))?;
    Architecture::parse(found, Architecture::hugging_face_name)
}

/// Everything that would change the arithmetic and that this transformer does not have.
fn refuse_unsupported(keys: &Keys<'_>) -> Result<(), Error> {
    let unsupported = |feature: String| Err(Error::Unsupported { feature });
    if let Some(activation) = keys.str("hidden_act")?
        && activation != "silu"
        && activation != "swish"
    {
        return unsupported(format!("hidden_act = `{}`", shown(activation)));
    }
    if keys.bool("use_sliding_window")?.unwrap_or(false) {
        return unsupported("use_sliding_window".to_owned());
    }
    if keys.present("quantization_config") {
        return unsupported("quantization_config (use a GGUF file instead)".to_owned());
    }
    let layer_types = keys.object.get("layer_types").and_then(Value::as_array);
    let odd = layer_types.into_iter().flatten().find(|t| t.as_str() != Some("full_attention"));
    match odd {
        Some(kind) => unsupported(format!("layer type {}", shown(&kind.to_string()))),
        None => Ok(()),
    }
}

fn biases(architecture: Architecture, keys: &Keys<'_>) -> Result<Biases, Error> {
    let attention = keys.bool("attention_bias")?.unwrap_or(false);
    let ffn = keys.bool("mlp_bias")?.unwrap_or(false);
    Ok(match architecture {
        Architecture::Llama => Biases { qkv: attention, output: attention, ffn },
        Architecture::Qwen2 => Biases { qkv: true, output: false, ffn: false },
        Architecture::Qwen3 => Biases { qkv: attention, output: attention, ffn: false },
    })
}

/// RoPE in both spellings: `rope_theta` with `rope_scaling`, and `rope_parameters` with all in one.
/// Where both are there, readers differ in which they believe: so both must say the same.
fn rope(keys: &Keys<'_>, context_tokens: usize) -> Result<Rope, Error> {
    let (new, old) = (keys.nested("rope_parameters")?, keys.nested("rope_scaling")?);
    if let (Some(new), Some(old)) = (&new, &old) {
        let base = |nested: &Keys<'_>| Ok::<_, Error>(rope_base(keys, Some(nested))?.to_bits());
        let same = scaling(new, context_tokens)? == scaling(old, context_tokens)?;
        require(same && base(new)? == base(old)?, "rope_scaling", &json_of(old), || {
            format!("as rope_parameters, which is {}", shown(&json_of(new)))
        })?;
    }
    let nested = new.or(old);
    for keys in std::iter::once(keys).chain(&nested) {
        if keys.f64("partial_rotary_factor")?.is_some_and(|share| share < 1.0) {
            let feature = format!("{}partial_rotary_factor below 1", keys.prefix);
            return Err(Error::Unsupported { feature });
        }
    }
    let base = rope_base(keys, nested.as_ref())?;
    let scaling = match nested {
        Some(parameters) => scaling(&parameters, context_tokens)?,
        None => RopeScaling::None,
    };
    Ok(Rope { base, scaling, pairing: Pairing::Halves })
}

/// The base of the frequencies, in the nested object or beside it.
fn rope_base(keys: &Keys<'_>, nested: Option<&Keys<'_>>) -> Result<f64, Error> {
    let own = nested.map_or(Ok(None), |nested| nested.f64("rope_theta"))?;
    Ok(own.or(keys.f64("rope_theta")?).unwrap_or(10_000.0))
}

/// The values as the file has them.
fn json_of(keys: &Keys<'_>) -> String {
    let values: Vec<String> =
        keys.object.iter().map(|(key, value)| format!("{key} = {value}")).collect();
    if values.is_empty() { "empty".to_owned() } else { values.join(", ") }
}

fn scaling(keys: &Keys<'_>, context_tokens: usize) -> Result<RopeScaling, Error> {
    let kind = match keys.str("rope_type")? {
        Some(kind) => Some(kind),
        None => keys.str("type")?,
    };
    let need = |key: &str| keys.f64(key)?.ok_or_else(|| missing(&format!("{}{key}", keys.prefix)));
    let original_context_tokens =
        keys.usize("original_max_position_embeddings")?.unwrap_or(context_tokens);
    match kind.unwrap_or("default") {
        "default" => Ok(RopeScaling::None),
        "linear" => Ok(RopeScaling::Linear { factor: need("factor")? }),
        "llama3" => Ok(RopeScaling::Llama3 {
            factor: need("factor")?,
            low_frequency_factor: need("low_freq_factor")?,
            high_frequency_factor: need("high_freq_factor")?,
            original_context_tokens,
        }),
        "yarn" => {
            if keys.present("mscale") || keys.present("mscale_all_dim") {
                return Err(Error::Unsupported { feature: format!("{}mscale", keys.prefix) });
            }
            if keys.bool("truncate")? == Some(false) {
                let feature = format!("{}truncate = false", keys.prefix);
                return Err(Error::Unsupported { feature });
            }
            Ok(RopeScaling::Yarn {
                factor: need("factor")?,
                original_context_tokens,
                beta_fast: keys.f64("beta_fast")?.unwrap_or(32.0),
                beta_slow: keys.f64("beta_slow")?.unwrap_or(1.0),
                attention_factor: keys.f64("attention_factor")?,
            })
        }
        other => Err(Error::BadValue {
            key: format!("{}rope_type", keys.prefix),
            found: format!("`{}`", shown(other)),
            expected: "one of default, linear, llama3, yarn".to_owned(),
        }),
    }
}

/// A JSON object whose values are read by type; the wrong type is an error that names the key,
/// `null` counts as absent.
struct Keys<'a> {
    object: &'a Map<String, Value>,
    prefix: &'static str,
}

impl<'a> Keys<'a> {
    fn present(&self, key: &str) -> bool {
        self.object.get(key).is_some_and(|value| !value.is_null())
    }

    fn typed<T>(
        &self,
        key: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
        expected: &str,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.object.get(key).filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        read(value).map(Some).ok_or_else(|| Error::BadValue {
            key: format!("{}{key}", self.prefix),
            found: shown(&value.to_string()),
            expected: expected.to_owned(),
        })
    }

    fn usize(&self, key: &str) -> Result<Option<usize>, Error> {
        let read = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
        self.typed(key, read, "a whole number that is not negative")
    }

    fn f64(&self, key: &str) -> Result<Option<f64>, Error> {
        self.typed(key, Value::as_f64, "a number")
    }

    fn bool(&self, key: &str) -> Result<Option<bool>, Error> {
        self.typed(key, Value::as_bool, "true or false")
    }

    fn str(&self, key: &str) -> Result<Option<&'a str>, Error> {
        self.typed(key, Value::as_str, "a string")
    }

    fn nested(&self, key: &'static str) -> Result<Option<Self>, Error> {
        let prefix = if key == "rope_parameters" { "rope_parameters." } else { "rope_scaling." };
        let object = self.typed(key, Value::as_object, "an object")?;
        Ok(object.map(|object| Keys { object, prefix }))
    }
}

fn missing(key: &str) -> Error {
    Error::MissingKey { key: key.to_owned() }
}

/// The f32 nearest to a JSON number, as PyTorch uses it.
#[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is what is asked for")]
fn narrow(value: f64) -> f32 {
    value as f32
}
