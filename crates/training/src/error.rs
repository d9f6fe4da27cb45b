//! Everything that can go wrong between a recipe and a model that writes, with what to do.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use artifacts::shown;

/// What this crate refuses; each message says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {}: {source}; check that it is there and may be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's own words.
        source: io::Error,
    },
    /// A file of the run cannot be written.
    #[error("cannot write {}: {source}; make room or mend the rights, and run it again", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's own words.
        source: io::Error,
    },
    /// A recipe far longer than any.
    #[error("{} has more than {limit} bytes; this is no recipe", path.display())]
    RecipeTooLong {
        /// The file.
        path: PathBuf,
        /// The most that is read.
        limit: u64,
    },
    /// What is wrong in a recipe's file.
    #[error("{}: {source}", path.display())]
    InRecipe {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<Self>,
    },
    /// A recipe is no TOML, or a field is missing or of the wrong kind.
    #[error("line {line}: {message}; see the recipes that come with the program")]
    Malformed {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A field that no recipe has.
    #[error("line {line}: there is no field `{found}`; {}", meant(suggestion.as_ref(), known))]
    UnknownField {
        /// The line, counted from 1.
        line: usize,
        /// What was written.
        found: String,
        /// The nearest that exists.
        suggestion: Option<String>,
        /// All that exist there.
        known: String,
    },
    /// A field with a value that makes no sense.
    #[error("{name} is {found}, but must be {expected}")]
    Field {
        /// The field.
        name: String,
        /// Its value.
        found: String,
        /// What would be accepted.
        expected: String,
    },
    /// The run was begun with another recipe.
    #[error(
        "{} was begun with another recipe: {difference}; give the recipe that it was begun with, or \
         begin anew in another folder or without this one", folder.display()
    )]
    OtherRecipe {
        /// The run's folder.
        folder: PathBuf,
        /// The first field that differs, with both values.
        difference: String,
    },
    /// A folder of the run that is not as it was made.
    #[error(
        "{} is damaged; remove it and give the same command again, which makes it anew ({source})",
        folder.display()
    )]
    Damaged {
        /// The folder.
        folder: PathBuf,
        /// What is wrong in it.
        source: Box<Self>,
    },
    /// A recipe without what a stage needs.
    #[error("the recipe has no section [{section}]; add it, or take a recipe that has it")]
    NoStage {
        /// The section that is missing.
        section: &'static str,
    },
    /// A run whose pretraining is not at its end.
    #[error(
        "{} is not pretrained yet ({steps} steps are saved); run `scribe pretrain` with the same \
         recipe and --run first", folder.display()
    )]
    NotPretrained {
        /// The run's folder.
        folder: PathBuf,
        /// The steps of its newest checkpoint.
        steps: u64,
    },
    /// A run whose model was not taught to answer to the end.
    #[error(
        "{} does not answer yet ({steps} steps are saved); run `scribe sft` with the same recipe and \
         --run first", folder.display()
    )]
    NotFineTuned {
        /// The run's folder.
        folder: PathBuf,
        /// The steps of its newest checkpoint.
        steps: u64,
    },
    /// Another process trains in this folder.
    #[error("{} is in use by another process; wait for it, or name another --run", folder.display())]
    Locked {
        /// The run's folder.
        folder: PathBuf,
    },
    /// A folder that holds something else.
    #[error("{} holds no run; name a folder that is empty or not there yet", folder.display())]
    NotARun {
        /// The folder.
        folder: PathBuf,
    },
    /// A checkpoint does not fit the run.
    #[error("{}: {problem}; name the run that it belongs to, or remove its folder to begin anew", path.display())]
    OtherCheckpoint {
        /// The checkpoint's folder.
        path: PathBuf,
        /// What does not fit.
        problem: String,
    },
    /// The metrics of the run were cut or removed after a checkpoint had counted on them.
    #[error(
        "{} has {found} bytes, but the checkpoint of step {step} was saved after {expected}; put \
         the file back, or remove the stage's folder to begin anew", path.display()
    )]
    MetricsCut {
        /// The file.
        path: PathBuf,
        /// Its length.
        found: u64,
        /// Its length when the checkpoint was saved.
        expected: u64,
        /// The checkpoint's step.
        step: u64,
    },
    /// Several steps one after the other had gradients that are not finite.
    #[error(
        "step {step}: the loss is not finite for the {times}th time in a row (rows {first_row} to \
         {last_row}); no weight was changed by them, and the checkpoint of step {checkpoint} is \
         kept; lower learning_rate, or lengthen warmup_steps"
    )]
    NotFinite {
        /// The step.
        step: u64,
        /// How many in a row.
        times: u32,
        /// First row of its batch, by its number in the run.
        first_row: u64,
        /// Last row of its batch.
        last_row: u64,
        /// The last checkpoint.
        checkpoint: u64,
    },
    /// The text has too few different words for the vocabulary.
    #[error(
        "the text gives {found} tokens, but the recipe asks for {asked}; give more text, or set \
         tokenizer.vocabulary to at most {found}"
    )]
    VocabularyTooLarge {
        /// What the text gives.
        found: usize,
        /// What was asked for.
        asked: usize,
    },
    /// A reward model without anything to learn from.
    #[error(
        "there is no comparison to learn from ({left_out} were left out); import some with `scribe \
         compare import`, or rank answers at /label"
    )]
    NoComparisons {
        /// Those that cannot be learned from.
        left_out: u64,
    },
    /// Several steps of PPO one after the other had gradients that are not finite.
    #[error(
        "step {step}: the {times}th step in a row had gradients that are not finite, and no weight was \
         changed by them; the checkpoint of step {checkpoint} is kept; lower ppo.learning_rate"
    )]
    PolicyNotFinite {
        /// The step.
        step: u64,
        /// How many in a row.
        times: u32,
        /// The last checkpoint.
        checkpoint: u64,
    },
    /// A step of PPO that has nothing to ask.
    #[error("there is no prompt to answer; name conversations under [[prompts.source]]")]
    NoPrompts,
    /// A reward model that reads other tokens than the policy writes.
    #[error(
        "{} reads other tokens than {}; train the reward model again, on this policy's tokenizer",
        reward.display(), policy.display()
    )]
    OtherTokenizer {
        /// The reward model.
        reward: PathBuf,
        /// The policy.
        policy: PathBuf,
    },
    /// A step of PPO that breaks an invariant. No weight was moved by it.
    #[error("{finding}")]
    Fault {
        /// Which one, with the numbers that show it, and what to do.
        finding: Box<crate::ppo::doctor::Finding>,
    },
    /// A reward model whose scores have no scale yet.
    #[error(
        "the reward model's scores are not normalized, so no price of drift fits them; score samples \
         of the reference with it and keep their scale beside it"
    )]
    NotNormalized,
    /// Scores from which no scale can be read.
    #[error(
        "{samples} scores between {lowest} and {highest} have no spread to be measured by; score \
         more samples of the reference, or train the reward model longer"
    )]
    NoScale {
        /// How many scores there are.
        samples: usize,
        /// The lowest of them.
        lowest: f64,
        /// The highest of them.
        highest: f64,
    },
    /// A folder or container is damaged or cannot be written.
    #[error(transparent)]
    Artifact(#[from] artifacts::Error),
    /// The corpus cannot be built or read.
    #[error(transparent)]
    Corpus(#[from] corpus::Error),
    /// The tokenizer cannot be trained or read.
    #[error(transparent)]
    Tokenizer(#[from] tokenizer::Error),
    /// There is no such model.
    #[error(transparent)]
    Model(#[from] model::Error),
}

impl Error {
    /// What is wrong in a folder of a run, with what to do.
    pub(crate) fn damaged<E: Into<Self>>(folder: &Path) -> impl FnOnce(E) -> Self {
        move |source| Self::Damaged { folder: folder.to_owned(), source: Box::new(source.into()) }
    }

    /// A field with a value that makes no sense.
    pub(crate) fn field(name: &str, found: impl Display, expected: impl Into<String>) -> Self {
        let (name, found) = (name.to_owned(), shown(&found.to_string()));
        Self::Field { name, found, expected: expected.into() }
    }
}

/// What may have been meant.
fn meant(suggestion: Option<&String>, known: &str) -> String {
    match suggestion {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are {known}"),
    }
}
