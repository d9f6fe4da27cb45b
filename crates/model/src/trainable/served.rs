//! A model that learns, served as it is now: for those who sample from it between two steps.

use std::sync::Arc;

use engine::ops::attention::CacheType;
use engine::ops::matmul::Precision;
use engine::{Dtype, Matrix, Order};

use super::parameters::{BlockPlaces, LinearPlaces};
use super::{Trainable, forward_copy};
use crate::error::Error;
use crate::gpt::Model;
use crate::outline::Outline;
use crate::weights::{BlockWeights, HeadNorms, Linear, Weights};

impl Trainable {
    /// The model as it is now, for a [`Batch`](crate::Batch). It reads the same matrices as training
    /// and shares their memory; the table of tokens and an adapter are copied.
    ///
    /// Log-probabilities that it decodes, with its cache and in any company, are those of
    /// [`Self::losses`] to the bit on every kernel path, at the same temperature: keys and values
    /// are rounded as in training, and every sum has the same order
    /// (`decoded_logprobs_are_those_of_training`).
    ///
    /// When this model learns on while the one that is served is still there, the matrices are
    /// copied then.
    ///
    /// # Errors
    ///
    /// [`Error::Engine`] if a matrix cannot be addressed.
    pub fn served(&self) -> Result<Model, Error> {
        let table = &self.weights[self.places.embedding];
        let mut embedding = Matrix::zeros(Dtype::F32, table.rows(), table.columns())?;
        embedding.write(&self.device, table, Order::Rows);
        let weights = Weights {
            embedding,
            blocks: self.places.blocks.iter().map(|block| self.block(block)).collect(),
            final_norm: self.weights[self.places.final_norm].clone(),
            head: Some(Arc::clone(forward_copy(&self.copies, self.places.head))),
        };
        let cache_type = match self.precision {
            Precision::F32 => CacheType::F32,
            Precision::Bf16 => CacheType::Bf16,
        };
        let outline = Outline::of_weights(&self.config, cache_type, &weights);
        Model::of_weights(&self.device, outline, weights, self.adapter())
    }

    fn block(&self, places: &BlockPlaces) -> BlockWeights {
        let vector = |place: usize| self.weights[place].clone();
        let linear = |LinearPlaces { matrix, bias, .. }: LinearPlaces| Linear {
            matrix: Arc::clone(forward_copy(&self.copies, matrix)),
            bias: bias.map(vector),
        };
        let head_norms = places.head_norms.map(|[query, key]| [vector(query), vector(key)]);
        BlockWeights {
            attention_norm: vector(places.attention_norm),
            qkv: linear(places.qkv),
            head_norms: head_norms.map(|[query, key]| HeadNorms { query, key }),
            attention_output: linear(places.attention_output),
            ffn_norm: vector(places.ffn_norm),
            gate_up: linear(places.gate_up),
            down: linear(places.down),
        }
    }
}
