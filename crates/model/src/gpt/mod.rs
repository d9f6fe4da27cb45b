//! The whole transformer: tokens in, logits out.

mod logits;

use std::sync::Arc;

use engine::Device;
use engine::ops::attention::{AttentionRow, KvCache};
use engine::ops::matmul::{self, Store};
use engine::ops::{embedding, rms_norm};

use crate::adapter::{Adapter, ServedAdapter};
use crate::block::{self, Pass};
use crate::checkpoint::{Checkpoint, Source};
use crate::config::Config;
use crate::error::Error;
use crate::outline::Outline;
use crate::weights::{self, Weights};
use crate::workspace::Workspace;

/// Most rows of logits that exist at once: 32 rows of a vocabulary of 50,000 are 6 MB.
pub(crate) const HEAD_ROWS_MAX: usize = 32;

/// A model in memory, ready to compute; shared by whoever serves it.
#[derive(Debug)]
pub struct Model {
    device: Device,
    outline: Outline,
    weights: Weights,
    adapter: Option<ServedAdapter>,
}

/// What is to be done with an adapter.
#[derive(Debug, Clone)]
pub enum Adapted {
    /// It is computed beside the weights, by the products of training in their order.
    Beside(Arc<Adapter>),
    /// It is added to the weights as they are read, and costs nothing more.
    Merged(Arc<Adapter>),
}

impl Model {
    /// Reads a checkpoint and packs it for the device. `progress` hears after each tensor how many
    /// of how many bytes were read.
    ///
    /// # Errors
    ///
    /// Whatever is wrong with the checkpoint, by the name of the key or tensor.
    ///
    /// # Panics
    ///
    /// Never: what is packed is as large as its [`Outline`] says.
    pub fn load(
        device: &Device,
        source: &Source,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, Error> {
        Self::load_adapted(device, source, None, progress)
    }

    /// As [`Model::load`], with an adapter.
    ///
    /// # Errors
    ///
    /// As [`Model::load`]; [`Error::OtherAdapter`] for an adapter of another model,
    /// [`Error::MergeIntoBlocks`] for one that is to be merged into quantized weights.
    ///
    /// # Panics
    ///
    /// Never: what is packed is as large as its [`Outline`] says.
    pub fn load_adapted(
        device: &Device,
        source: &Source,
        adapted: Option<&Adapted>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, Error> {
        let mut checkpoint = Checkpoint::open(source)?;
        if let Some(Adapted::Merged(adapter)) = adapted {
            checkpoint.merge(adapter.clone())?;
        }
        let outline = Outline::of(device, &checkpoint)?;
        let weights = weights::load(device, &mut checkpoint, progress)?;
        debug_assert_eq!(
            weights.bytes(),
            outline.weights_bytes(),
            "the outline is that of the weights"
        );
        let adapter = match adapted {
            Some(Adapted::Beside(adapter)) => {
                let config = outline.config();
                Some(ServedAdapter::new(device, config, &weights.blocks, adapter)?)
            }
            _ => None,
        };
        Ok(Self { device: device.clone(), outline, weights, adapter })
    }

    /// A model of weights that are in memory, beside those of the adapter if one is given.
    pub(crate) fn of_weights(
        device: &Device,
        outline: Outline,
        weights: Weights,
        adapter: Option<&Adapter>,
    ) -> Result<Self, Error> {
        let serve =
            |adapter| ServedAdapter::new(device, outline.config(), &weights.blocks, adapter);
        let adapter = adapter.map(serve).transpose()?;
        Ok(Self { device: device.clone(), outline, weights, adapter })
    }

    /// The model's shape.
    #[must_use]
    pub fn config(&self) -> &Config {
        self.outline.config()
    }

    /// What was known of it before it was loaded.
    #[must_use]
    pub fn outline(&self) -> &Outline {
        &self.outline
    }

    /// The device that computes.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// An empty cache of `pages` pages.
    pub(crate) fn new_cache(&self, pages: usize) -> KvCache {
        KvCache::new(&self.device, &self.outline.cache_shape(), pages)
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
        let (device, config, adapter) = (&self.device, self.config(), self.adapter.as_ref());
        let mut pass = Pass { device, config, cache, rows, positions, adapter };
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
        let (norm, epsilon) = (&self.weights.final_norm, self.config().norm_epsilon);
        w.normed.resize_rows(wanted.len());
        rms_norm::forward(device, &mut w.normed, &w.last, norm, epsilon);
        let head = self.weights.head.as_deref().unwrap_or(&self.weights.embedding);
        matmul::forward(device, &mut w.logits, &w.normed, head, None, Store::Overwrite);
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::real_model;
