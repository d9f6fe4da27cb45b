//! The whole transformer: tokens in, logits out.

mod logits;

use engine::ops::attention::{AttentionRow, CacheShape, CacheType, KvCache};
use engine::ops::matmul::{self, Store};
use engine::ops::rope::RopeTable;
use engine::ops::{embedding, rms_norm};
use engine::{Device, KernelPath};

use crate::batch::BatchOptions;
use crate::block::{self, Pass};
use crate::checkpoint::{Checkpoint, Source};
use crate::config::Config;
use crate::error::Error;
use crate::weights::{self, Weights};
use crate::workspace::Workspace;

/// Most rows of logits that exist at once: 32 rows of a vocabulary of 50,000 are 6 MB.
pub(crate) const HEAD_ROWS_MAX: usize = 32;

/// A model in memory, ready to compute; shared by whoever serves it.
#[derive(Debug)]
pub struct Model {
    device: Device,
    config: Config,
    weights: Weights,
}

impl Model {
    /// Reads a checkpoint and packs it for the device. `progress` hears after each tensor how many
    /// of how many bytes were read.
    ///
    /// # Errors
    ///
    /// Whatever is wrong with the checkpoint, by the name of the key or tensor.
    pub fn load(
        device: &Device,
        source: &Source,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, Error> {
        let mut checkpoint = Checkpoint::open(source)?;
        let weights = weights::load(device, &mut checkpoint, progress)?;
        let config = checkpoint.config().clone();
        Ok(Self { device: device.clone(), config, weights })
    }

    /// The model's shape.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The device that computes.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Memory of the packed weights.
    #[must_use]
    pub fn weights_bytes(&self) -> u64 {
        self.weights.bytes()
    }

    /// The context window of a batch: never longer than the model's own.
    pub(crate) fn context_tokens(&self, options: &BatchOptions) -> usize {
        options.context_tokens.min(self.context_tokens_max())
    }

    /// The longest context window: what the model states, or how many positions can be told apart.
    fn context_tokens_max(&self) -> usize {
        self.config.context_tokens.min(RopeTable::CONTEXT_TOKENS_MAX)
    }

    /// Keys and values are rounded to bf16; the reference path, the oracle of all others, keeps
    /// them as they are.
    fn cache_shape(&self) -> CacheShape {
        let cache_type = match self.device.kernels() {
            KernelPath::Reference => CacheType::F32,
            _ => CacheType::Bf16,
        };
        let Config { layers, kv_heads, head_size, .. } = self.config;
        let scale = inverse_root(head_size);
        CacheShape { layers, kv_heads, head_size, scale, cache_type }
    }

    /// An empty cache of `pages` pages.
    pub(crate) fn new_cache(&self, pages: usize) -> KvCache {
        KvCache::new(&self.device, &self.cache_shape(), pages)
    }

    /// Memory of one page of the cache.
    pub(crate) fn page_bytes(&self) -> u64 {
        self.cache_shape().page_bytes() as u64
    }

    /// Computes rows up to the end of the residual stream; keys and values go into the cache.
    ///
    /// # Shapes
    ///
    /// - `tokens`, `positions`, `rows`: one each per row; rows of one sequence in the order of
    ///   their positions
    pub(crate) fn forward(
        &self,
        w: &mut Workspace,
        cache: &mut KvCache,
        tokens: &[u32],
        positions: &[u32],
        rows: &[AttentionRow<'_>],
    ) {
        assert_eq!((tokens.len(), positions.len()), (rows.len(), rows.len()), "rows of a step");
        w.resize(rows.len());
        embedding::forward(&self.device, &mut w.stream, &self.weights.embedding, tokens);
        let (device, config) = (&self.device, &self.config);
        let mut pass = Pass { device, config, cache, rows, positions };
        for (layer, weights) in self.weights.blocks.iter().enumerate() {
            block::forward(&mut pass, w, weights, layer);
        }
    }

    /// Computes the logits of some rows of the stream into `w.logits`, in the order of `wanted`.
    ///
    /// # Panics
    ///
    /// Panics for more than [`HEAD_ROWS_MAX`] rows.
    pub(crate) fn head(&self, w: &mut Workspace, wanted: &[usize]) {
        assert!(wanted.len() <= HEAD_ROWS_MAX, "{} rows of logits at once", wanted.len());
        let device = &self.device;
        w.last.resize_rows(wanted.len());
        w.logits.resize_rows(wanted.len());
        for (place, row) in wanted.iter().enumerate() {
            w.last.copy_row(place, &w.stream, *row);
        }
        let (norm, epsilon) = (&self.weights.final_norm, self.config.norm_epsilon);
        w.normed.resize_rows(wanted.len());
        rms_norm::forward(device, &mut w.normed, &w.last, norm, epsilon);
        let head = self.weights.head.as_ref().unwrap_or(&self.weights.embedding);
        matmul::forward(device, &mut w.logits, &w.normed, head, None, Store::Overwrite);
    }
}

/// `1 / sqrt(n)`, which is what query-key products are multiplied with.
#[expect(clippy::cast_possible_truncation, reason = "rounded to f32 once")]
#[expect(clippy::cast_precision_loss, reason = "heads have at most 256 channels")]
fn inverse_root(n: usize) -> f32 {
    (1.0 / (n as f64).sqrt()) as f32
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::real_model;
