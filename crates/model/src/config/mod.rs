//! The shape of a model: what a checkpoint says about itself, checked before a byte is allocated.

mod gguf;
mod hugging_face;
mod json;
#[cfg(test)]
mod tests;

use artifacts::shown;
use engine::ops::attention::HEAD_SIZE_MAX;
use engine::ops::rope::{Pairing, RopeScaling};

use crate::error::Error;

pub(crate) use hugging_face::BYTES_MAX as CONFIG_BYTES_MAX;
pub use json::JsonOptions;

/// Most layers that a configuration may name (GPT-3 has 96, the largest open models 126).
const LAYERS_MAX: usize = 1024;
/// Most attention heads.
const HEADS_MAX: usize = 1024;
/// Widest residual stream.
const WIDTH_MAX: usize = 1 << 16;
/// Widest feed-forward layer.
const FFN_WIDTH_MAX: usize = 1 << 18;
/// Largest vocabulary.
const VOCAB_MAX: usize = 1 << 21;
/// Longest context window.
const CONTEXT_TOKENS_MAX: usize = 1 << 24;

/// The families of checkpoints that this program runs; one transformer with small switches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Architecture {
    /// Llama 2 and 3, SmolLM2, TinyLlama and all that kept the form.
    Llama,
    /// Qwen2 and Qwen2.5: biases on q, k and v.
    Qwen2,
    /// Qwen3: RMS norm on each head of q and k.
    Qwen3,
}

impl Architecture {
    const ALL: [Self; 3] = [Self::Llama, Self::Qwen2, Self::Qwen3];

    /// The name in GGUF's `general.architecture`.
    #[must_use]
    pub fn gguf_name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }

    /// The name in the `architectures` of a Hugging Face `config.json`.
    #[must_use]
    pub fn hugging_face_name(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
        }
    }

    fn parse(found: &str, name: fn(Self) -> &'static str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|a| name(*a) == found).ok_or_else(|| {
            Error::UnknownArchitecture {
                found: shown(found),
                known: Self::ALL.map(name).join(", "),
            }
        })
    }
}

/// Rotary position embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// The base of the geometric row of frequencies (`rope_theta`).
    pub base: f64,
    /// How positions are stretched.
    pub scaling: RopeScaling,
    /// Which channels turn together.
    pub pairing: Pairing,
}

/// Which linear layers carry a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Biases {
    /// q, k and v.
    pub qkv: bool,
    /// The attention's output.
    pub output: bool,
    /// gate, up and down.
    pub ffn: bool,
}

/// The numbers that make a new model of the Llama family: no biases, frequencies as they are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// Tokens that have an embedding.
    pub vocab: usize,
    /// Channels of the residual stream.
    pub width: usize,
    /// Transformer blocks.
    pub layers: usize,
    /// Query heads of a block.
    pub heads: usize,
    /// Key and value heads of a block; divides `heads`.
    pub kv_heads: usize,
    /// Channels of a head, even.
    pub head_size: usize,
    /// Channels of the feed-forward layer.
    pub ffn_width: usize,
    /// Most tokens to attend to.
    pub context_tokens: usize,
    /// The base of the rotary frequencies, above 1.
    pub rope_base: f64,
    /// The epsilon of every RMS norm.
    pub norm_epsilon: f32,
    /// Whether the embedding table is the output head, too.
    pub tied_head: bool,
}

/// The shape of one model. Made only by the readers and from a [`Shape`], and always sound.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// The family.
    pub architecture: Architecture,
    /// Transformer blocks.
    pub layers: usize,
    /// Query heads of a block.
    pub heads: usize,
    /// Key and value heads of a block; divides `heads`.
    pub kv_heads: usize,
    /// Channels of a head, even.
    pub head_size: usize,
    /// Channels of the residual stream.
    pub width: usize,
    /// Channels of the feed-forward layer.
    pub ffn_width: usize,
    /// Tokens that have an embedding.
    pub vocab: usize,
    /// Most tokens the model was trained to attend to.
    pub context_tokens: usize,
    /// Rotary positions.
    pub rope: Rope,
    /// The epsilon of every RMS norm.
    pub norm_epsilon: f32,
    /// Whether the embedding table is the output head, too.
    pub tied_head: bool,
    /// Which linear layers carry a bias.
    pub biases: Biases,
    /// Whether each head of q and k is normalized.
    pub qk_norm: bool,
}

impl Config {
    /// A model of the Llama family that is not on disk yet.
    ///
    /// # Errors
    ///
    /// A number that no sound model has, by its name.
    pub fn new(shape: &Shape) -> Result<Self, Error> {
        let Shape { vocab, width, layers, heads, kv_heads, head_size, ffn_width, .. } = *shape;
        let Shape { context_tokens, rope_base, norm_epsilon, tied_head, .. } = *shape;
        let (scaling, pairing) = (RopeScaling::None, Pairing::Halves);
        Self {
            architecture: Architecture::Llama,
            layers,
            heads,
            kv_heads,
            head_size,
            width,
            ffn_width,
            vocab,
            context_tokens,
            rope: Rope { base: rope_base, scaling, pairing },
            norm_epsilon,
            tied_head,
            biases: Biases::default(),
            qk_norm: false,
        }
        .checked()
    }

    /// Reads a Hugging Face `config.json`.
    ///
    /// # Errors
    ///
    /// An unknown architecture (the known ones are listed), a missing key, a value out of range,
    /// or a feature that is not supported.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Error> {
        hugging_face::read(bytes)?.checked()
    }

    /// Reads the metadata and the tensor list of a GGUF file.
    ///
    /// # Errors
    ///
    /// As [`Config::from_json`].
    pub fn from_gguf(header: &artifacts::gguf::Gguf) -> Result<Self, Error> {
        gguf::read(header)?.checked()
    }

    /// Writes a Hugging Face `config.json`, which [`Config::from_json`] reads as this shape but for
    /// the pairing: of a checkpoint in that layout it is always [`Pairing::Halves`].
    ///
    /// # Errors
    ///
    /// [`Error::Unwritable`] for what such a file has no words for: frequencies with a divisor
    /// each, biases that the family does not have, weights in a block type.
    pub fn to_json(&self, options: &JsonOptions) -> Result<Vec<u8>, Error> {
        json::write(self, options)
    }

    /// The same shape, its rows of q and k in this order.
    pub(crate) fn with_pairing(mut self, pairing: Pairing) -> Self {
        self.rope.pairing = pairing;
        self
    }

    /// The same shape with each rotary frequency divided by its own number.
    pub(crate) fn with_rope_divisors(mut self, divisors: Vec<f32>) -> Result<Self, Error> {
        self.rope.scaling = RopeScaling::Divisors(divisors);
        self.checked()
    }

    /// Channels of all query heads together.
    #[must_use]
    pub fn query_width(&self) -> usize {
        self.heads * self.head_size
    }

    /// Channels of all key (or all value) heads together.
    #[must_use]
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_size
    }

    /// Number of weights, biases aside.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        let [width, query, kv, ffn] =
            [self.width, self.query_width(), self.kv_width(), self.ffn_width].map(|n| n as u64);
        let per_layer = width * (2 * query + 2 * kv + 3 * ffn + 2);
        let tables = if self.tied_head { 1 } else { 2 };
        per_layer * self.layers as u64 + width * (tables * self.vocab as u64 + 1)
    }

    /// Refuses what no sound model has, before anything is multiplied or allocated.
    fn checked(self) -> Result<Self, Error> {
        let caps = [
            ("layers", self.layers, LAYERS_MAX),
            ("heads", self.heads, HEADS_MAX),
            ("kv_heads", self.kv_heads, HEADS_MAX),
            ("head_size", self.head_size, HEAD_SIZE_MAX),
            ("width", self.width, WIDTH_MAX),
            ("ffn_width", self.ffn_width, FFN_WIDTH_MAX),
            ("vocab", self.vocab, VOCAB_MAX),
            ("context_tokens", self.context_tokens, CONTEXT_TOKENS_MAX),
        ];
        for (key, found, most) in caps {
            require((1..=most).contains(&found), key, &found, || format!("1 to {most}"))?;
        }
        require(self.head_size.is_multiple_of(2), "head_size", &self.head_size, || {
            "even, because RoPE turns pairs of channels".to_owned()
        })?;
        require(self.heads.is_multiple_of(self.kv_heads), "kv_heads", &self.kv_heads, || {
            format!("a divisor of the {} query heads", self.heads)
        })?;
        require(self.query_width() <= WIDTH_MAX, "heads", &self.heads, || {
            format!("at most {WIDTH_MAX} channels over all heads")
        })?;
        let epsilon = self.norm_epsilon;
        require(epsilon > 0.0 && epsilon <= 0.1, "norm_epsilon", &epsilon, || {
            "above 0 and at most 0.1".to_owned()
        })?;
        self.check_rope()?;
        Ok(self)
    }

    fn check_rope(&self) -> Result<(), Error> {
        let base = self.rope.base;
        require((1.0..=1e12).contains(&base) && base > 1.0, "rope base", &base, || {
            "above 1 and at most 1e12".to_owned()
        })?;
        let factor_is = |factor: f64| {
            require((1.0..=1e6).contains(&factor), "rope factor", &factor, || "1 to 1e6".to_owned())
        };
        let original_is = |tokens: usize| {
            let key = "rope original context";
            require((1..=CONTEXT_TOKENS_MAX).contains(&tokens), key, &tokens, || {
                format!("1 to {CONTEXT_TOKENS_MAX}")
            })
        };
        match &self.rope.scaling {
            RopeScaling::None => Ok(()),
            RopeScaling::Linear { factor } => factor_is(*factor),
            RopeScaling::Llama3 {
                factor,
                low_frequency_factor: low,
                high_frequency_factor: high,
                original_context_tokens,
            } => {
                factor_is(*factor)?;
                original_is(*original_context_tokens)?;
                require(
                    *low > 0.0 && high > low && *high <= 1e6,
                    "rope low_freq_factor",
                    low,
                    || format!("above 0 and below high_freq_factor = {high}"),
                )
            }
            RopeScaling::Yarn {
                factor,
                original_context_tokens,
                beta_fast: fast,
                beta_slow: slow,
                attention_factor,
            } => {
                factor_is(*factor)?;
                original_is(*original_context_tokens)?;
                require(
                    *slow > 0.0 && fast > slow && *fast <= 1e6,
                    "rope beta_slow",
                    slow,
                    || format!("above 0 and below beta_fast = {fast}"),
                )?;
                let scale = attention_factor.unwrap_or(1.0);
                require(scale > 0.0 && scale <= 100.0, "rope attention_factor", &scale, || {
                    "above 0 and at most 100".to_owned()
                })
            }
            RopeScaling::Divisors(divisors) => {
                let fine = divisors.len() == self.head_size / 2
                    && divisors.iter().all(|d| d.is_finite() && *d > 0.0);
                require(fine, "rope_freqs.weight", &format!("{} numbers", divisors.len()), || {
                    format!("{} positive numbers", self.head_size / 2)
                })
            }
            other => Err(Error::Unsupported { feature: format!("rope scaling {other:?}") }),
        }
    }
}

/// `Ok` when `fine`; else the error that names the key, the value and what is expected.
fn require(
    fine: bool,
    key: &str,
    found: &dyn std::fmt::Display,
    expected: impl FnOnce() -> String,
) -> Result<(), Error> {
    if fine {
        return Ok(());
    }
    Err(Error::BadValue {
        key: key.to_owned(),
        found: shown(&found.to_string()),
        expected: expected(),
    })
}
