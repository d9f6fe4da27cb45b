//! How a token is chosen from logits: the numbers a request may set, and their ranges.

use crate::error::Error;

/// Most entries of [`Sampling::logit_bias`].
pub const LOGIT_BIAS_MAX: usize = 300;

/// Least temperature that draws; below it the largest logit wins. Divided by less, large logits
/// would be infinite and equal.
pub const TEMPERATURE_MIN: f32 = 1e-4;
/// Least [`Sampling::repetition_penalty`].
pub const REPETITION_PENALTY_MIN: f32 = 0.01;

/// How the next token is drawn. The steps run in this order, each on the result of the one before
/// (the order of Hugging Face `transformers`, whose processors come before its warpers; llama.cpp
/// differs in that it applies the temperature last):
///
/// 1. repetition penalty on all tokens of prompt and completion (Keskar et al. 2019,
///    arXiv:1909.05858), then presence and frequency penalty on tokens of the completion,
/// 2. logit bias,
/// 3. temperature (below [`TEMPERATURE_MIN`]: the largest logit wins and the steps below are
///    skipped),
/// 4. `top_k`, 5. `top_p`, 6. `min_p`, each on the distribution left by the step before,
/// 7. draw: `argmax(logit / temperature + Gumbel(seed, position, token))`, ties to the lower id.
///
/// The same request therefore draws the same tokens in any batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Divides the logits, `0 ..= 100`; below [`TEMPERATURE_MIN`] is greedy. Default 1.
    pub temperature: f32,
    /// Keep the `top_k` largest logits; 0 keeps all. Default 0.
    pub top_k: usize,
    /// Keep the fewest most probable tokens whose probabilities reach `top_p`, `0 ..= 1`; 1 keeps
    /// all, 0 keeps one. Default 1.
    pub top_p: f32,
    /// Keep tokens at least `min_p` times as probable as the most probable one, `0 ..= 1`.
    /// Default 0.
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of seen tokens,
    /// [`REPETITION_PENALTY_MIN`] `..= 10`. Default 1: off.
    pub repetition_penalty: f32,
    /// Taken from the logit of every token of the completion, `-100 ..= 100`. Default 0.
    pub presence_penalty: f32,
    /// Taken from a token's logit once per occurrence in the completion, `-100 ..= 100`. Default 0.
    pub frequency_penalty: f32,
    /// The seed of the draws.
    pub seed: u64,
    /// Added to the logits of single tokens; at most [`LOGIT_BIAS_MAX`] entries.
    pub logit_bias: Vec<(u32, f32)>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            seed: 0,
            logit_bias: Vec::new(),
        }
    }
}

impl Sampling {
    /// Always the most probable token.
    #[must_use]
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    /// Checks every number against its range.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRequest`] naming the first field that is out of range.
    pub fn check(&self, vocab: usize) -> Result<(), Error> {
        let ranges = [
            ("temperature", self.temperature, 0.0, 100.0),
            ("top_p", self.top_p, 0.0, 1.0),
            ("min_p", self.min_p, 0.0, 1.0),
            ("repetition_penalty", self.repetition_penalty, REPETITION_PENALTY_MIN, 10.0),
            ("presence_penalty", self.presence_penalty, -100.0, 100.0),
            ("frequency_penalty", self.frequency_penalty, -100.0, 100.0),
        ];
        for (field, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                let expected = format!("{least} to {most}");
                return Err(Error::InvalidRequest { field, expected });
            }
        }
        let fits = |&(token, bias): &(u32, f32)| (token as usize) < vocab && bias.is_finite();
        if self.logit_bias.len() > LOGIT_BIAS_MAX || !self.logit_bias.iter().all(fits) {
            let expected =
                format!("at most {LOGIT_BIAS_MAX} finite numbers for tokens below {vocab}");
            return Err(Error::InvalidRequest { field: "logit_bias", expected });
        }
        Ok(())
    }

    /// Whether the largest logit wins.
    pub(crate) fn is_greedy(&self) -> bool {
        self.temperature < TEMPERATURE_MIN
    }

    /// Whether some logit is changed before the temperature.
    #[expect(clippy::float_cmp, reason = "exactly the neutral values switch a step off")]
    pub(crate) fn edits_logits(&self) -> bool {
        self.counts_tokens() || !self.logit_bias.is_empty() || self.repetition_penalty != 1.0
    }

    /// Whether seen tokens have to be remembered.
    #[expect(clippy::float_cmp, reason = "exactly the neutral values switch a step off")]
    pub(crate) fn counts_tokens(&self) -> bool {
        self.repetition_penalty != 1.0
            || self.presence_penalty != 0.0
            || self.frequency_penalty != 0.0
    }
}
