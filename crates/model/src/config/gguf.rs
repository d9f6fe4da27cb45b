//! Reads the shape of a model from the header of a GGUF file; foreign names end here.

use artifacts::gguf::{Gguf, Metadata};
use artifacts::shown;
use engine::ops::rope::{Pairing, RopeScaling};

use super::{Architecture, Biases, Config, Rope, require};
use crate::error::Error;

pub(super) fn read(header: &Gguf) -> Result<Config, Error> {
    let metadata = header.metadata();
    let found = metadata.str("general.architecture")?;
    let found = found.ok_or_else(|| missing("general.architecture".to_owned()))?;
    let architecture = Architecture::parse(found, Architecture::gguf_name)?;
    let keys = Keys { metadata, prefix: architecture.gguf_name() };
    refuse_unsupported(&keys)?;
    let heads = keys.needed("attention.head_count")?;
    let width = keys.needed("embedding_length")?;
    let head_size = head_size(&keys, heads, width)?;
    let context_tokens = keys.needed("context_length")?;
    let present = |name: &str| header.tensor(name).is_some();
    Ok(Config {
        architecture,
        layers: keys.needed("block_count")?,
        heads,
        kv_heads: keys.usize("attention.head_count_kv")?.unwrap_or(heads),
        head_size,
        width,
        ffn_width: keys.needed("feed_forward_length")?,
        vocab: vocab(header, &keys)?,
        context_tokens,
        rope: rope(architecture, &keys, context_tokens)?,
        norm_epsilon: norm_epsilon(&keys)?,
        tied_head: !present("output.weight"),
        biases: Biases {
            qkv: present("blk.0.attn_q.bias"),
            output: present("blk.0.attn_output.bias"),
            ffn: present("blk.0.ffn_down.bias"),
        },
        qk_norm: architecture == Architecture::Qwen3,
    })
}

fn head_size(keys: &Keys<'_>, heads: usize, width: usize) -> Result<usize, Error> {
    let head_size = match keys.usize("attention.key_length")? {
        Some(head_size) => head_size,
        None => {
            require(
                heads > 0 && width.is_multiple_of(heads),
                &keys.full("embedding_length"),
                &width,
                || format!("a multiple of the {heads} heads, as there is no attention.key_length"),
            )?;
            width / heads
        }
    };
    for key in ["attention.value_length", "rope.dimension_count"] {
        let other = keys.usize(key)?.unwrap_or(head_size);
        require(other == head_size, &keys.full(key), &other, || {
            format!("{head_size}, as the keys' heads")
        })?;
    }
    Ok(head_size)
}

/// Rows of the embedding table; the metadata may leave the number out but must not contradict it.
fn vocab(header: &Gguf, keys: &Keys<'_>) -> Result<usize, Error> {
    let name = "token_embd.weight";
    let table =
        header.tensor(name).ok_or_else(|| Error::MissingTensor { name: name.to_owned() })?;
    let rows = match table.shape.as_slice() {
        [rows, _] => usize::try_from(*rows).unwrap_or(usize::MAX),
        _ => 0,
    };
    let stated = keys.usize("vocab_size")?.unwrap_or(rows);
    require(stated == rows, &keys.full("vocab_size"), &stated, || {
        format!("the {rows} rows of {name}")
    })?;
    Ok(rows)
}

#[expect(clippy::cast_possible_truncation, reason = "the file stores an f32")]
fn norm_epsilon(keys: &Keys<'_>) -> Result<f32, Error> {
    let key = "attention.layer_norm_rms_epsilon";
    let epsilon = keys.f64(key)?.ok_or_else(|| missing(keys.full(key)))?;
    Ok(epsilon as f32)
}

/// Llama's q and k were permuted by the converter, so that RoPE turns neighboring channels; those
/// of the other families lie as Hugging Face has them.
fn rope(architecture: Architecture, keys: &Keys<'_>, context_tokens: usize) -> Result<Rope, Error> {
    let base = keys.f64("rope.freq_base")?.unwrap_or(10_000.0);
    let stated = match keys.f64("rope.scaling.factor")? {
        Some(factor) => Some(factor),
        // The key of older files.
        None => keys.f64("rope.scale_linear")?,
    };
    let factor = || stated.ok_or_else(|| missing(keys.full("rope.scaling.factor")));
    let scaling = match (keys.str("rope.scaling.type")?, stated) {
        (Some("none"), _) => RopeScaling::None,
        // As llama.cpp has it: linear where no type is stated, and not at all by 0 or 1.
        (None, Some(factor)) if ![0.0, 1.0].contains(&factor) => RopeScaling::Linear { factor },
        (None, _) => RopeScaling::None,
        (Some("linear"), _) => RopeScaling::Linear { factor: factor()? },
        (Some("yarn"), _) => {
            let original = keys.usize("rope.scaling.original_context_length")?;
            RopeScaling::Yarn {
                factor: factor()?,
                original_context_tokens: original.unwrap_or(context_tokens),
                beta_fast: keys.f64("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
                beta_slow: keys.f64("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
                attention_factor: None,
            }
        }
        (Some(other), _) => {
            return Err(Error::BadValue {
                key: keys.full("rope.scaling.type"),
                found: format!("`{}`", shown(other)),
                expected: "one of none, linear, yarn".to_owned(),
            });
        }
    };
    let pairing = match architecture {
        Architecture::Llama => Pairing::Interleaved,
        Architecture::Qwen2 | Architecture::Qwen3 => Pairing::Halves,
    };
    Ok(Rope { base, scaling, pairing })
}

/// Everything that would change the arithmetic and that this transformer does not have.
fn refuse_unsupported(keys: &Keys<'_>) -> Result<(), Error> {
    let neutral = [
        ("expert_count", 0.0),
        ("attention.sliding_window", 0.0),
        ("logit_scale", 1.0),
        ("rope.scaling.attn_factor", 1.0),
        ("rope.scaling.yarn_attn_factor", 1.0),
        ("rope.scaling.yarn_log_multiplier", 0.0),
    ];
    for (key, neutral) in neutral {
        let value = match keys.metadata.u64(&keys.full(key)) {
            Ok(Some(value)) => f64::from(u32::try_from(value).unwrap_or(u32::MAX)),
            Ok(None) => continue,
            Err(_) => keys.f64(key)?.unwrap_or(neutral),
        };
        if (value - neutral).abs() > 1e-9 {
            return Err(Error::Unsupported { feature: format!("{} = {value}", keys.full(key)) });
        }
    }
    Ok(())
}

/// The metadata of one architecture: its keys begin with its name.
struct Keys<'a> {
    metadata: &'a Metadata,
    prefix: &'static str,
}

impl<'a> Keys<'a> {
    fn full(&self, key: &str) -> String {
        format!("{}.{key}", self.prefix)
    }

    fn usize(&self, key: &str) -> Result<Option<usize>, Error> {
        let value = self.metadata.u64(&self.full(key))?;
        Ok(value.map(|value| usize::try_from(value).unwrap_or(usize::MAX)))
    }

    fn needed(&self, key: &str) -> Result<usize, Error> {
        self.usize(key)?.ok_or_else(|| missing(self.full(key)))
    }

    fn f64(&self, key: &str) -> Result<Option<f64>, Error> {
        Ok(self.metadata.f64(&self.full(key))?)
    }

    fn str(&self, key: &str) -> Result<Option<&'a str>, Error> {
        Ok(self.metadata.str(&self.full(key))?)
    }
}

fn missing(key: String) -> Error {
    Error::MissingKey { key }
}
