//! A stage of a run: what it reads, where it begins, and where it leaves what it makes.

use std::path::PathBuf;

use artifacts::hash::Digest;
use corpus::{Corpus, Loader, LoaderOptions, Packing, Split};
use model::{AdapterOptions, Config};
use tokenizer::Tokenizer;

use crate::recipe::{Recipe, STEPS_MAX, StageRecipe};
use crate::{Error, RunFolder};

/// A stage of a run.
#[derive(Debug, Clone)]
pub struct Stage {
    /// How the model learns.
    pub recipe: StageRecipe,
    /// Decides the first weights and the order of rows.
    pub seed: u64,
    /// All that decides what comes out, as a digest: a checkpoint of another one is refused.
    pub identity: Digest,
    /// The text in tokens.
    pub corpus: PathBuf,
    /// The tokenizer's folder; every checkpoint gets its files.
    pub tokenizer: PathBuf,
    /// Where metrics and checkpoints are left.
    pub folder: PathBuf,
    /// How documents are put into rows.
    pub packing: Packing,
    /// Tokens of a row.
    pub row_tokens: usize,
    /// Where it begins.
    pub begin: Begin,
}

/// Where a stage begins.
#[derive(Debug, Clone)]
pub enum Begin {
    /// With random weights of this shape.
    Random(Box<Config>),
    /// With the weights of a checkpoint.
    Weights(PathBuf),
    /// With an adapter beside the weights of a checkpoint, which stay.
    Adapter {
        /// The checkpoint.
        base: PathBuf,
        /// How the adapter begins.
        options: Box<AdapterOptions>,
    },
}

impl Stage {
    /// The pretraining of a run whose tokenizer is there.
    ///
    /// # Errors
    ///
    /// Where the tokenizer cannot be read, or there is no such model.
    pub fn pretrain(run: &RunFolder, recipe: &Recipe) -> Result<Self, Error> {
        let tokenizer = Tokenizer::from_folder(&run.tokenizer())?;
        let config = recipe.model.config(tokenizer.vocabulary_len())?;
        Ok(Self {
            recipe: recipe.pretrain.clone(),
            seed: recipe.seed,
            identity: recipe.identity(),
            corpus: run.corpus(),
            tokenizer: run.tokenizer(),
            folder: run.pretrained(),
            packing: Packing::Stream,
            row_tokens: recipe.row_tokens(),
            begin: Begin::Random(Box::new(config)),
        })
    }

    /// How many steps there are where an epoch has so many rows.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "far fewer than 2^52 rows; a number that is too large becomes the largest"
    )]
    pub(crate) fn steps(&self, epoch_rows: u64) -> u64 {
        let of_epochs = |epochs: f64| (epochs * epoch_rows as f64 / self.recipe.rows as f64).ceil();
        let steps = self.recipe.epochs.map(|epochs| of_epochs(epochs) as u64);
        self.recipe.steps.or(steps).unwrap_or(1).clamp(1, STEPS_MAX)
    }

    /// Opens the rows that are learned from.
    pub(crate) fn loader(&self, corpus: &Corpus) -> Result<Loader, Error> {
        Ok(corpus.loader(Split::Train, self.reads(self.seed))?)
    }

    /// How rows are read.
    pub(crate) fn reads(&self, seed: u64) -> LoaderOptions {
        LoaderOptions { time: self.row_tokens, seed, packing: self.packing }
    }
}
