//! What a run takes, by arithmetic alone: parameters, floating-point operations, memory.
//!
//! Of every token the forward pass multiplies and adds once for each weight of a matrix, and the
//! backward pass twice: `6` operations a weight. Attention to `t` tokens before takes `4 t` for each
//! number of the queries forward and twice that backward; over a row of `T` tokens `t` is `T / 2` in
//! the mean: `6 layers query_width T`.
//!
//! Source: Kaplan et al. 2020, "Scaling laws for neural language models", arXiv:2001.08361,
//! table 1; Chowdhery et al. 2022, "PaLM", arXiv:2204.02311, appendix B.

use model::Config;
use serde::Serialize;

use crate::recipe::{OptimizerKind, Precision, Recipe, StageRecipe};
use crate::{Error, learner};

/// Operations for each weight of a matrix and token, forward and backward.
const OPERATIONS_PER_WEIGHT: f64 = 6.0;
/// The same for each layer, number of the queries and token before.
const OPERATIONS_PER_ATTENDED: f64 = 6.0;
/// Bytes of an f32.
const F32: u64 = 4;

/// What a run takes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Weights, tables included.
    pub parameters: u64,
    /// Layers.
    pub layers: usize,
    /// Numbers of the residual stream.
    pub width: usize,
    /// Query heads of a layer.
    pub heads: usize,
    /// Updates of the weights.
    pub steps: u64,
    /// Rows of a step.
    pub rows: usize,
    /// Tokens of a row.
    pub row_tokens: u64,
    /// Tokens that are learned from, repetitions included.
    pub tokens: u64,
    /// Floating-point operations, multiplications and additions counted apart.
    pub operations: f64,
    /// Those of attention among them; the rest are `6 N D` for `N` weights and `D` tokens.
    pub attention_operations: f64,
    /// Tokens whose activations are in memory at once: those of a micro-batch.
    pub micro_tokens: u64,
    /// Bytes that are in memory at once.
    pub memory: Memory,
}

/// Bytes that are in memory at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Weights in f32.
    pub weights_bytes: u64,
    /// The copies of weights that products read, one for each direction.
    pub copies_bytes: u64,
    /// Gradients in f32.
    pub gradients_bytes: u64,
    /// What the optimizer remembers.
    pub optimizer_bytes: u64,
    /// What is kept of the forward pass of a micro-batch.
    pub activations_bytes: u64,
}

impl Memory {
    /// What a stage takes that lets all weights of such a model learn, in rows of so many tokens,
    /// with `micro_rows` of them in memory at once, if that is said.
    ///
    /// With an adapter it is what is there before any step: the weights, and their copies.
    #[must_use]
    pub fn new(
        config: &Config,
        stage: &StageRecipe,
        row_tokens: usize,
        micro_rows: Option<usize>,
    ) -> Self {
        let (learning, optimizer) = match stage.lora {
            None => (config.parameters(), optimizer(config, stage.optimizer)),
            // A small part of the whole.
            Some(_) => (0, 0),
        };
        let micro_tokens = micro_tokens(stage, row_tokens, micro_rows);
        Self {
            weights_bytes: config.parameters() * F32,
            copies_bytes: copies(config, stage),
            gradients_bytes: learning * F32,
            optimizer_bytes: optimizer,
            activations_bytes: activations(config, stage.recompute, micro_tokens),
        }
    }

    /// All of it.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.state_bytes() + self.activations_bytes
    }

    /// What grows with the parameters alone: all but the activations.
    #[must_use]
    pub fn state_bytes(&self) -> u64 {
        self.weights_bytes + self.copies_bytes + self.gradients_bytes + self.optimizer_bytes
    }
}

impl Plan {
    /// What the pretraining of a recipe takes.
    ///
    /// # Errors
    ///
    /// Where there is no such model.
    pub fn new(recipe: &Recipe) -> Result<Self, Error> {
        let config = recipe.model.config(recipe.vocabulary()?)?;
        let stage = &recipe.pretrain;
        let row_tokens = recipe.row_tokens() as u64;
        let steps = stage.steps.ok_or_else(|| {
            Error::field("pretrain", "for some `epochs`", "for some `steps`, to be planned")
        })?;
        let tokens = steps * stage.rows as u64 * row_tokens;
        let micro_tokens = micro_tokens(stage, recipe.row_tokens(), None);
        let attention_operations = attention_operations(&config, tokens, row_tokens);
        Ok(Self {
            parameters: config.parameters(),
            layers: config.layers,
            width: config.width,
            heads: config.heads,
            steps,
            rows: stage.rows,
            row_tokens,
            tokens,
            operations: weight_operations(&config, tokens) + attention_operations,
            attention_operations,
            micro_tokens,
            memory: Memory::new(&config, stage, recipe.row_tokens(), None),
        })
    }
}

/// Tokens that go through the model at once.
fn micro_tokens(stage: &StageRecipe, row_tokens: usize, micro_rows: Option<usize>) -> u64 {
    (learner::micro_rows(micro_rows, stage.rows, row_tokens) * row_tokens) as u64
}

/// Weights of a layer's matrices.
fn layer_weights(config: &Config) -> u64 {
    let [width, query, kv, ffn] =
        [config.width, config.query_width(), config.kv_width(), config.ffn_width].map(|n| n as u64);
    width * (2 * query + 2 * kv + 3 * ffn)
}

/// Weights that tokens are multiplied with: all matrices, and the head.
fn multiplied(config: &Config) -> u64 {
    layer_weights(config) * config.layers as u64 + (config.vocab * config.width) as u64
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn weight_operations(config: &Config, tokens: u64) -> f64 {
    OPERATIONS_PER_WEIGHT * multiplied(config) as f64 * tokens as f64
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn attention_operations(config: &Config, tokens: u64, row_tokens: u64) -> f64 {
    let attended = (config.layers * config.query_width()) as f64 * row_tokens as f64;
    OPERATIONS_PER_ATTENDED * attended * tokens as f64
}

/// The copies of the matrices and the head that products read, for both directions; on the way back
/// those of one layer and of the head, where the others are made again.
fn copies(config: &Config, stage: &StageRecipe) -> u64 {
    let copy = match stage.precision {
        Precision::F32 => F32,
        Precision::Bf16 => 2,
    };
    let across = match stage.recompute && stage.lora.is_none() {
        true => layer_weights(config) + (config.vocab * config.width) as u64,
        false => multiplied(config),
    };
    (multiplied(config) + across) * copy
}

fn optimizer(config: &Config, kind: OptimizerKind) -> u64 {
    let matrices = layer_weights(config) * config.layers as u64;
    let both = 2 * config.parameters() * F32;
    match kind {
        OptimizerKind::Adamw => both,
        OptimizerKind::Muon => both - matrices * F32,
    }
}

/// What the model keeps of each token of a micro-batch: the input of every layer, the rest of
/// every layer or, where that is computed again, of one, and what is there once.
fn activations(config: &Config, recompute: bool, micro_tokens: u64) -> u64 {
    let (width, query) = (config.width, config.query_width());
    let qkv = query + 2 * config.kv_width();
    let layer = width + qkv + query + config.heads + 2 * config.ffn_width;
    let kept_layers = if recompute { 1 } else { config.layers };
    let once = 5 * width + 4 * config.ffn_width + qkv + query;
    (width * config.layers + layer * kept_layers + once) as u64 * F32 * micro_tokens
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn plan(model: &str, vocabulary: usize, stage: &str) -> Plan {
        let text = format!(
            "[[corpus.source]]\npath = \"text\"\n[tokenizer]\nvocabulary = {vocabulary}\n\
             [model]\n{model}\n[pretrain]\nlearning_rate = 1e-3\n{stage}"
        );
        Plan::new(&Recipe::parse(&text).unwrap()).unwrap()
    }

    #[test]
    fn a_small_model_by_hand() {
        let plan = plan(
            "layers = 1\nwidth = 4\nheads = 1\nffn_width = 8\ncontext_tokens = 2",
            300,
            "steps = 5\nrows = 2",
        );
        // Four matrices of 4 x 4, three of 4 x 8; two tables of 300 x 4; three norms of 4.
        assert_eq!(plan.parameters, 64 + 96 + 2 * 1_200 + 12);
        assert_eq!(plan.tokens, 20);
        let per_token = 6.0 * (64.0 + 96.0 + 1_200.0) + 6.0 * 4.0 * 2.0;
        assert!((plan.operations - 20.0 * per_token).abs() < 1e-6, "{}", plan.operations);
        assert!((plan.attention_operations - 20.0 * 6.0 * 8.0).abs() < 1e-6);
        assert_eq!(plan.memory.optimizer_bytes, plan.parameters * 8);
    }

    #[test]
    fn the_largest_model_of_the_story() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/plans/gpt-3.5.toml");
        let plan = Plan::new(&Recipe::read(&path).unwrap()).unwrap();
        let billions = |count: u64| (count + 500_000_000) / 1_000_000_000;
        assert_eq!((billions(plan.parameters), plan.layers), (175, 96));
        assert_eq!(billions(plan.tokens), 500);
        // Brown et al. 2020, table D.1: 3.14e23 for 300 billion tokens, attention left out.
        let for_300 = (plan.operations - plan.attention_operations) * 300.0 / 500.0;
        assert!((3.13e23..3.15e23).contains(&for_300), "{for_300:e}");
        // Twelve bytes for each weight and its gradient, eight for what AdamW remembers.
        // Norms are few, and have no copies for products, two times two bytes.
        let norms = (2 * 96 + 1) * 12_288;
        assert_eq!(plan.memory.state_bytes(), plan.parameters * 20 - norms * 4);
    }
}
