//! What a checkpoint's configuration and table of tensors say of a model before it is loaded.

use engine::ops::attention::{CacheShape, CacheType};
use engine::ops::rope::RopeTable;
use engine::{Device, Dtype, KernelPath, Matrix};

use crate::adapter::Adapter;
use crate::batch::BatchOptions;
use crate::checkpoint::{Checkpoint, Source};
use crate::config::Config;
use crate::error::Error;
use crate::weights::{self, Weights};

/// A model's shape and size, known without its weights.
#[derive(Debug, Clone)]
pub struct Outline {
    config: Config,
    cache_type: CacheType,
    weights_bytes: u64,
    parameters: u64,
}

impl Outline {
    /// Reads configuration and table of tensors, and a few rows of weights at most.
    ///
    /// # Errors
    ///
    /// Whatever is wrong with them, by the name of the key or tensor.
    pub fn read(device: &Device, source: &Source) -> Result<Self, Error> {
        Self::of(device, &Checkpoint::open(source)?)
    }

    pub(crate) fn of(device: &Device, checkpoint: &Checkpoint) -> Result<Self, Error> {
        let weights_bytes = weights::packed_bytes(checkpoint)?;
        let parameters = checkpoint.parameters()?;
        // Keys and values are rounded to bf16; the reference path, the oracle of all others, keeps
        // them as they are.
        let cache_type = match device.kernels() {
            KernelPath::Reference => CacheType::F32,
            _ => CacheType::Bf16,
        };
        let config = checkpoint.config().clone();
        Ok(Self { config, cache_type, weights_bytes, parameters })
    }

    /// That of a model in memory.
    pub(crate) fn of_weights(config: &Config, cache_type: CacheType, weights: &Weights) -> Self {
        let (config, weights_bytes) = (config.clone(), weights.bytes());
        let parameters = config.parameters();
        Self { config, cache_type, weights_bytes, parameters }
    }

    /// With the memory of an adapter that is computed beside the weights, in f32 at most.
    #[must_use]
    pub fn beside(mut self, adapter: &Adapter) -> Self {
        let weights = adapter.weights().iter();
        let bytes = weights.map(|w| Matrix::packed_bytes(&[(Dtype::F32, w.rows())], w.columns()));
        self.weights_bytes = self.weights_bytes.saturating_add(bytes.sum::<usize>() as u64);
        self
    }

    /// The model's shape.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Memory of the packed matrices; norms and biases are too small to count.
    #[must_use]
    pub fn weights_bytes(&self) -> u64 {
        self.weights_bytes
    }

    /// How many weights the model has. A head that repeats the embedding counts once, also where a
    /// quantizer wrote it a second time in another type.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        self.parameters
    }

    /// The context window of a batch: never longer than the model's own.
    pub(crate) fn context_tokens(&self, options: &BatchOptions) -> usize {
        options.context_tokens.min(self.context_tokens_max())
    }

    /// The longest context window: what the model states, or how many positions can be told apart.
    pub(crate) fn context_tokens_max(&self) -> usize {
        self.config.context_tokens.min(RopeTable::CONTEXT_TOKENS_MAX)
    }

    /// What a cache of all layers holds of each token.
    pub(crate) fn cache_shape(&self) -> CacheShape {
        cache_shape(&self.config, self.cache_type)
    }

    /// Memory of one page of the cache.
    pub(crate) fn page_bytes(&self) -> u64 {
        self.cache_shape().page_bytes() as u64
    }
}

/// What a cache of all layers holds of each token.
pub(crate) fn cache_shape(config: &Config, cache_type: CacheType) -> CacheShape {
    let Config { layers, kv_heads, head_size, .. } = *config;
    let scale = inverse_root(head_size);
    CacheShape { layers, kv_heads, head_size, scale, cache_type }
}

/// `1 / sqrt(n)`, which is what query-key products are multiplied with.
#[expect(clippy::cast_possible_truncation, reason = "rounded to f32 once")]
#[expect(clippy::cast_precision_loss, reason = "heads have at most 256 channels")]
fn inverse_root(n: usize) -> f32 {
    (1.0 / (n as f64).sqrt()) as f32
}
