//! What a recipe's numbers may be.

use std::ops::RangeInclusive;

use corpus::sources::RowKind;
use corpus::{BATCH_TOKENS_MAX, SOURCES_MAX, TIME_MAX, Weight};
use tokenizer::SplitRule;

use super::{
    CorpusRecipe, FineTune, PpoRecipe, Recipe, RewardRecipe, RoundsRecipe, SAMPLES_MAX, STEPS_MAX,
    SourceRecipe, StageRecipe,
};
use crate::Error;

/// Parts of a million, which shares and weights are counted in.
const PPM: f64 = 1e6;

/// The longest rows of fine-tuning where a recipe does not say: most conversations are shorter.
const FINE_TUNE_ROW_TOKENS: usize = 512;

/// The smallest learning rate that is no mistake, and the largest.
const RATES: RangeInclusive<f64> = 1e-9..=10.0;

impl Recipe {
    /// Refuses what cannot be meant, before anything is made.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.corpus.check("corpus")?;
        if SplitRule::by_name(&self.tokenizer.split).is_none() {
            let expected = SplitRule::ALL.map(SplitRule::name).join(", ");
            return Err(Error::field("tokenizer.split", &self.tokenizer.split, expected));
        }
        // A vocabulary is checked when it is there; until then any size does.
        self.model.config(self.tokenizer.vocabulary.max(1))?;
        row_tokens("pretrain", self.row_tokens(), self.model.context_tokens)?;
        self.pretrain.check("pretrain", self.row_tokens())?;
        if let Some(conversations) = &self.conversations {
            conversations.check_conversations("conversations")?;
        }
        check_people(
            [("prompts", self.prompts.as_ref()), ("evaluation", self.evaluation.as_ref())],
            (self.reward.as_ref(), self.ppo.as_ref(), self.rounds.as_ref()),
        )?;
        match &self.sft {
            Some(sft) => sft.check("sft", sft.fine_tune_row_tokens(self.model.context_tokens)?),
            None => Ok(()),
        }
    }

    /// Tokens of a row of pretraining.
    #[must_use]
    pub fn row_tokens(&self) -> usize {
        self.pretrain.row_tokens.unwrap_or(self.model.context_tokens)
    }
}

impl FineTune {
    /// Refuses what cannot be meant; the longest row is the base's affair.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.conversations.check_conversations("conversations")?;
        check_people(
            [("prompts", self.prompts.as_ref()), ("evaluation", self.evaluation.as_ref())],
            (self.reward.as_ref(), self.ppo.as_ref(), self.rounds.as_ref()),
        )?;
        self.sft.check("sft", self.sft.fine_tune_row_tokens(TIME_MAX)?)
    }
}

/// Refuses what cannot be meant in the sections of learning from people.
fn check_people(
    prompts: [(&str, Option<&CorpusRecipe>); 2],
    (reward, ppo, rounds): (Option<&RewardRecipe>, Option<&PpoRecipe>, Option<&RoundsRecipe>),
) -> Result<(), Error> {
    for (section, prompts) in prompts {
        prompts.map_or(Ok(()), |prompts| prompts.check_conversations(section))?;
    }
    reward.map_or(Ok(()), RewardRecipe::check)?;
    ppo.map_or(Ok(()), PpoRecipe::check)?;
    rounds.map_or(Ok(()), RoundsRecipe::check)
}

impl CorpusRecipe {
    fn check(&self, section: &str) -> Result<(), Error> {
        let is = |name: &str| format!("{section}.{name}");
        field(&is("source"), self.sources.len(), 1..=SOURCES_MAX)?;
        for source in &self.sources {
            if source.path.is_some() == source.set.is_some() {
                let found = if source.path.is_some() { "both" } else { "neither" };
                return Err(Error::field(&is("source"), found, "a `path` or a `set`"));
            }
            source.weight()?;
        }
        field(&is("validation"), self.validation, 0.0..=0.5)
    }
}

impl CorpusRecipe {
    /// The same of what a model learns to answer from.
    fn check_conversations(&self, section: &str) -> Result<(), Error> {
        self.check(section)?;
        if self.sources.iter().any(|source| source.kind == Some(RowKind::Text)) {
            let expected = "\"conversation\": only answers are learned from";
            return Err(Error::field(&format!("{section}.source.kind"), "\"text\"", expected));
        }
        Ok(())
    }
}

impl SourceRecipe {
    /// How often its documents are taken.
    ///
    /// # Errors
    ///
    /// [`Error::Field`] where that is not between 0 and the most repetitions.
    pub fn weight(&self) -> Result<Weight, Error> {
        let most = f64::from(corpus::weight::REPETITIONS_MAX);
        field("corpus.source.weight", self.weight, 0.0..=most)?;
        Ok(Weight::from_ppm(ppm(self.weight)).unwrap_or_default())
    }
}

impl StageRecipe {
    /// Tokens of a row of fine-tuning, of a model that attends to so many.
    ///
    /// # Errors
    ///
    /// [`Error::Field`] for longer rows than that.
    pub(crate) fn fine_tune_row_tokens(&self, context_tokens: usize) -> Result<usize, Error> {
        // Products in bf16 add tokens in pairs.
        let asked = self.row_tokens.unwrap_or(context_tokens.min(FINE_TUNE_ROW_TOKENS) / 2 * 2);
        row_tokens("sft", asked, context_tokens)?;
        Ok(asked)
    }

    /// Refuses what cannot be meant, in rows of so many tokens.
    fn check(&self, stage: &'static str, row_tokens: usize) -> Result<(), Error> {
        let is = |name: &str| format!("{stage}.{name}");
        match (self.steps, self.epochs) {
            (Some(steps), None) => field(&is("steps"), steps, 1..=STEPS_MAX)?,
            (None, Some(epochs)) => field(&is("epochs"), epochs, 1e-6..=1e6)?,
            (steps, _) => {
                let found = if steps.is_some() { "both" } else { "neither" };
                return Err(Error::field(stage, found, "for some `steps` or some `epochs`"));
            }
        }
        field(&is("rows"), self.rows, 1..=BATCH_TOKENS_MAX / row_tokens)?;
        field(&is("learning_rate"), self.learning_rate, RATES)?;
        field(&is("muon_rate"), self.muon_rate.unwrap_or(self.learning_rate), RATES)?;
        field(&is("warmup_steps"), self.warmup_steps, 0..=self.steps.unwrap_or(STEPS_MAX))?;
        field(&is("final_share"), self.final_share, 0.0..=1.0)?;
        field(&is("weight_decay"), self.weight_decay, 0.0..=10.0)?;
        field(&is("beta1"), self.beta1, 0.0..=0.999_999)?;
        field(&is("beta2"), self.beta2, 0.0..=0.999_999_9)?;
        field(&is("epsilon"), self.epsilon, 1e-20..=0.1)?;
        field(&is("clip"), self.clip, 1e-9..=1e9)?;
        field(&is("validate_every"), self.validate_every, 1..=STEPS_MAX)?;
        field(&is("validation_rows"), self.validation_rows, 0..=1 << 20)?;
        field(&is("checkpoint_every"), self.checkpoint_every, 1..=STEPS_MAX)?;
        field(&is("keep"), self.keep, artifacts::checkpoints::KEEP_MIN..=1_000)?;
        if self.samples.iter().any(String::is_empty) {
            return Err(Error::field(&is("samples"), "an empty text", "beginnings of some text"));
        }
        field(&is("samples"), self.samples.len(), 0..=SAMPLES_MAX)?;
        self.check_lora(stage)
    }
}

/// Refuses rows that are longer than what a model attends to, or odd.
fn row_tokens(stage: &str, row_tokens: usize, context_tokens: usize) -> Result<(), Error> {
    let name = format!("{stage}.row_tokens");
    field(&name, row_tokens, 2..=context_tokens.min(TIME_MAX))?;
    if row_tokens.is_multiple_of(2) {
        return Ok(());
    }
    Err(Error::field(&name, row_tokens, "an even number"))
}

/// Refuses a value outside of its range.
pub(super) fn field<T: PartialOrd + std::fmt::Display>(
    name: &str,
    value: T,
    range: RangeInclusive<T>,
) -> Result<(), Error> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(Error::field(name, value, format!("from {} to {}", range.start(), range.end())))
}

/// A share in millionths.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range: checked")]
pub(crate) fn ppm(share: f64) -> u32 {
    (share * PPM).round() as u32
}
