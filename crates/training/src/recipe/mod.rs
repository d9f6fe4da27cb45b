//! Everything that decides what a run makes, in a file that people write.

mod check;
mod fine_tune;
mod lora;
mod people;
mod read;

pub(crate) use check::ppm;
pub use fine_tune::{AnyRecipe, FineTune};
pub use lora::LoraRecipe;
pub use people::{
    COMPLETION_TOKENS_MAX, DpoRecipe, EPISODES_MAX, LabelerKind, PpoRecipe, REWARD_MODELS_MAX,
    RewardRecipe, RoundsRecipe, ValueKind,
};

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use corpus::language::Language;
use corpus::sources::RowKind;
use model::Config;
use serde::{Deserialize, Serialize};

use crate::schedule::Shape;

/// The most bytes of a recipe.
pub const RECIPE_BYTES_MAX: u64 = 1 << 20;
/// The most steps of a run.
pub const STEPS_MAX: u64 = artifacts::checkpoints::STEP_MAX;
/// The most prompts to write samples for.
pub const SAMPLES_MAX: usize = 64;

/// Everything that decides what a run makes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Decides the first weights, the order of rows and all else that is drawn.
    #[serde(default)]
    pub seed: u64,
    /// How text becomes tokens.
    pub tokenizer: TokenizerRecipe,
    /// What is learned from.
    pub corpus: CorpusRecipe,
    /// The model's shape.
    pub model: ModelRecipe,
    /// How it learns to write.
    pub pretrain: StageRecipe,
    /// The conversations that it learns to answer from.
    #[serde(default)]
    pub conversations: Option<CorpusRecipe>,
    /// How it learns to answer.
    #[serde(default)]
    pub sft: Option<StageRecipe>,
    /// What it is asked when people compare its answers, and in PPO: conversations, of which all up
    /// to the last question counts. Those of `conversations` if not given.
    #[serde(default)]
    pub prompts: Option<CorpusRecipe>,
    /// Prompts that nobody learns from, for the gate and for measuring; those that are held out of
    /// `prompts` if not given.
    #[serde(default)]
    pub evaluation: Option<CorpusRecipe>,
    /// How a reward model learns what people preferred.
    #[serde(default)]
    pub reward: Option<RewardRecipe>,
    /// How it learns from the reward model.
    #[serde(default)]
    pub ppo: Option<PpoRecipe>,
    /// Who compares its answers, and when what learned from that is served.
    #[serde(default)]
    pub rounds: Option<RoundsRecipe>,
}

/// How text becomes tokens: a vocabulary that is learned from the corpus, or one that is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenizerRecipe {
    /// A `tokenizer.json` to use; nothing is learned then, and the other fields mean nothing.
    /// Relative paths begin where the recipe lies.
    pub file: Option<PathBuf>,
    /// How many tokens there are to be.
    pub vocabulary: usize,
    /// How often two tokens must stand together to become one.
    pub min_frequency: u64,
    /// How text is cut into words: `gpt2`, `smollm`, `cl100k`, `llama3`, `qwen2`.
    pub split: String,
    /// Special tokens: the end of a text, and the marks of a conversation.
    pub special: Vec<String>,
    /// Where the recipe lies.
    #[serde(skip)]
    pub(crate) folder: PathBuf,
}

impl TokenizerRecipe {
    /// Where the `tokenizer.json` is that is to be used, if one is named.
    #[must_use]
    pub fn file_path(&self) -> Option<PathBuf> {
        self.file.as_ref().map(|file| self.folder.join(file))
    }
}

/// What is learned from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorpusRecipe {
    /// Where documents come from, in order: of duplicates the first is kept.
    #[serde(rename = "source")]
    pub sources: Vec<SourceRecipe>,
    /// The share of documents that is held out to measure on.
    #[serde(default = "default_validation")]
    pub validation: f64,
    /// Shorter documents are dropped.
    #[serde(default)]
    pub characters_min: Option<usize>,
    /// Languages to keep, by guess; all if empty.
    #[serde(default)]
    pub languages: Vec<Language>,
    /// Whether a document that was there before is dropped, the same or nearly so.
    #[serde(default = "yes")]
    pub deduplicate: bool,
    /// Where the recipe lies. Not a part of what a run is held to: its paths stay as they were
    /// written, so that a run means the same wherever it was begun from.
    #[serde(skip)]
    pub(crate) folder: PathBuf,
}

impl CorpusRecipe {
    /// The share of documents that is held out, in millionths.
    #[must_use]
    pub fn validation_ppm(&self) -> u32 {
        ppm(self.validation)
    }

    /// Where a path of a source leads.
    #[must_use]
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }
}

/// Where documents come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceRecipe {
    /// A file or folder; relative paths begin where the recipe lies.
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// A public set by name instead, which the command fetches.
    #[serde(default)]
    pub set: Option<String>,
    /// Texts or conversations: by default what the section asks for.
    #[serde(default)]
    pub kind: Option<RowKind>,
    /// The column of JSON lines that holds the text.
    #[serde(default)]
    pub column: Option<String>,
    /// How often its documents are taken: 2.5 is twice each, and half of them a third time.
    #[serde(default = "one")]
    pub weight: f64,
}

/// A model's shape: a transformer of the Llama family.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRecipe {
    /// Layers.
    pub layers: usize,
    /// Numbers of the residual stream.
    pub width: usize,
    /// Query heads of a layer.
    pub heads: usize,
    /// Key and value heads of a layer; as many as query heads if not given.
    #[serde(default)]
    pub kv_heads: Option<usize>,
    /// Numbers of a head; width over heads if not given.
    #[serde(default)]
    pub head_size: Option<usize>,
    /// Numbers inside the feed-forward layer; 8/3 of the width, up to a multiple of 64, if not
    /// given.
    #[serde(default)]
    pub ffn_width: Option<usize>,
    /// The most tokens it attends to.
    pub context_tokens: usize,
    /// Whether the output head is the table of embeddings.
    #[serde(default)]
    pub tied_head: bool,
    /// The base of rotary positions.
    #[serde(default = "default_rope_base")]
    pub rope_base: f64,
    /// The epsilon of all norms.
    #[serde(default = "default_norm_epsilon")]
    pub norm_epsilon: f32,
}

/// How a model learns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageRecipe {
    /// Updates of the weights; or else `epochs`.
    #[serde(default)]
    pub steps: Option<u64>,
    /// How often all rows are learned from, the last time perhaps in part.
    #[serde(default)]
    pub epochs: Option<f64>,
    /// Rows of each step.
    pub rows: usize,
    /// Tokens of a row, an even number. If not given, the model's context window, of which
    /// fine-tuning takes no more than 512.
    #[serde(default)]
    pub row_tokens: Option<usize>,
    /// How weights follow their gradients.
    #[serde(default)]
    pub optimizer: OptimizerKind,
    /// The highest learning rate.
    pub learning_rate: f64,
    /// How the rate falls after the warm-up.
    #[serde(default)]
    pub schedule: Shape,
    /// Steps until the highest rate.
    #[serde(default)]
    pub warmup_steps: u64,
    /// The last rate as a share of the highest.
    #[serde(default = "default_final_share")]
    pub final_share: f64,
    /// Share of a matrix, times the rate, that goes in each step.
    #[serde(default = "default_weight_decay")]
    pub weight_decay: f64,
    /// Memory of the mean of gradients.
    #[serde(default = "default_beta1")]
    pub beta1: f64,
    /// Memory of the mean of their squares.
    #[serde(default = "default_beta2")]
    pub beta2: f64,
    /// Keeps weights with tiny gradients from moving far.
    #[serde(default = "default_epsilon")]
    pub epsilon: f64,
    /// The learning rate of matrices under `muon`.
    #[serde(default)]
    pub muon_rate: Option<f64>,
    /// Longer gradients are shortened to this norm.
    #[serde(default = "one")]
    pub clip: f64,
    /// What products round their inputs to.
    #[serde(default)]
    pub precision: Precision,
    /// Whether what layers computed is computed again on the way back instead of being kept: less
    /// memory, about a third more arithmetic, the same bytes.
    #[serde(default)]
    pub recompute: bool,
    /// Steps between two looks at the held-out text.
    #[serde(default = "default_interval")]
    pub validate_every: u64,
    /// Rows of held-out text that are looked at.
    #[serde(default = "default_validation_rows")]
    pub validation_rows: usize,
    /// Steps between two checkpoints.
    #[serde(default = "default_interval")]
    pub checkpoint_every: u64,
    /// Checkpoints that are kept.
    #[serde(default = "default_keep")]
    pub keep: usize,
    /// Beginnings that the model goes on from when it has learned, to be looked at.
    #[serde(default)]
    pub samples: Vec<String>,
    /// An adapter that learns in place of the model's own weights; for `sft` alone.
    #[serde(default)]
    pub lora: Option<LoraRecipe>,
}

/// How weights follow their gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    /// AdamW for all.
    #[default]
    Adamw,
    /// Muon for the matrices of layers, AdamW for tables, norms and biases.
    Muon,
}

/// What products round their inputs to; weights and sums are f32 in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Not at all.
    F32,
    /// bfloat16: half the memory, and twice as fast where the CPU has it.
    #[default]
    Bf16,
}

impl Precision {
    /// As the engine says it.
    #[must_use]
    pub fn of_products(self) -> engine::ops::matmul::Precision {
        match self {
            Self::F32 => engine::ops::matmul::Precision::F32,
            Self::Bf16 => engine::ops::matmul::Precision::Bf16,
        }
    }
}

impl Default for TokenizerRecipe {
    fn default() -> Self {
        let special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
        Self {
            file: None,
            vocabulary: 8_192,
            min_frequency: 2,
            split: "gpt2".to_owned(),
            special: special.map(str::to_owned).to_vec(),
            folder: PathBuf::new(),
        }
    }
}

impl ModelRecipe {
    /// The model's shape, with a vocabulary of so many tokens.
    ///
    /// # Errors
    ///
    /// Where there is no such model: the field, its value and what is expected.
    pub fn config(&self, vocab: usize) -> Result<Config, model::Error> {
        Config::new(&model::config::Shape {
            vocab,
            width: self.width,
            layers: self.layers,
            heads: self.heads,
            kv_heads: self.kv_heads.unwrap_or(self.heads),
            head_size: self.head_size.unwrap_or(self.width / self.heads.max(1)),
            ffn_width: self.ffn_width.unwrap_or((self.width * 8).div_ceil(3).next_multiple_of(64)),
            context_tokens: self.context_tokens,
            rope_base: self.rope_base,
            norm_epsilon: self.norm_epsilon,
            tied_head: self.tied_head,
        })
    }
}

fn default_validation() -> f64 {
    0.02
}

fn default_rope_base() -> f64 {
    10_000.0
}

fn default_norm_epsilon() -> f32 {
    1e-5
}

fn default_final_share() -> f64 {
    0.1
}

fn default_weight_decay() -> f64 {
    0.1
}

fn default_beta1() -> f64 {
    0.9
}

fn default_beta2() -> f64 {
    0.95
}

fn default_epsilon() -> f64 {
    1e-8
}

fn default_interval() -> u64 {
    100
}

fn default_validation_rows() -> usize {
    32
}

fn default_keep() -> usize {
    artifacts::checkpoints::KEEP_MIN
}

fn one() -> f64 {
    1.0
}

fn yes() -> bool {
    true
}
