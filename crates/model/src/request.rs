//! What is asked of a batch and what it answers, all in tokens.

use crate::error::Error;
use crate::sampling::{Sampling, TEMPERATURE_MIN};

/// Most alternatives that come with a log-probability.
pub const ALTERNATIVES_MAX: usize = 20;
/// Most stop tokens of a request.
pub const STOP_TOKENS_MAX: usize = 256;

/// One sequence of a batch; never reused within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(pub(crate) u64);

/// A prompt to continue.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SequenceRequest {
    /// At least one token.
    pub prompt: Vec<u32>,
    /// Most tokens of the completion; 0 only reads the prompt. Cut to what the context window
    /// leaves after the prompt.
    pub max_tokens: usize,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Tokens that end the completion; they are not part of it. At most [`STOP_TOKENS_MAX`].
    pub stop_tokens: Vec<u32>,
    /// `Some(n)`: log-probabilities, with `n` alternatives each (at most [`ALTERNATIVES_MAX`]).
    pub logprobs: Option<usize>,
    /// Of which distribution the log-probabilities are.
    pub logprobs_of: LogprobsOf,
    /// `Some(n)`: the prompt's own tokens from the one at place `n` on get log-probabilities, too;
    /// place 0 is as 1, for nothing predicts the first. Of such a prompt only what comes before
    /// the token at `n - 1` is taken from the prefix cache.
    pub prompt_logprobs: Option<usize>,
}

/// A distribution that tokens have log-probabilities under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogprobsOf {
    /// The model's own: before penalties, bias, temperature and filters, as OpenAI's `logprobs` are.
    #[default]
    Model,
    /// The one at [`Sampling::temperature`], which must draw. Without penalties, bias and filters
    /// tokens are drawn from it, so that a ratio to it weighs them right.
    Temperature,
}

/// A token with its log-probability under the distribution that [`LogprobsOf`] names.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprob {
    /// The token.
    pub token: u32,
    /// Its natural log-probability.
    pub logprob: f32,
    /// The most probable tokens at this place, best first, ties to the lower id.
    pub alternatives: Vec<(u32, f32)>,
}

/// Why a sequence ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StopReason {
    /// The model chose one of the stop tokens.
    EndOfTurn,
    /// `max_tokens` are there, or the context window is full.
    Length,
    /// Somebody who reads the text ended it: a stop string or the client. Never said by a batch.
    Stopped,
}

/// What one step of a batch brought for one sequence. Events of a sequence come in the order
/// `Prompt`, any number of `Token`, then `Done` or `Failed`; after [`cancel`](crate::Batch::cancel)
/// comes nothing.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The whole prompt is in the cache.
    Prompt {
        /// The sequence.
        id: SequenceId,
        /// Tokens of the prompt that the prefix cache already had.
        cached_tokens: usize,
        /// For the tokens of the prompt from the place that [`SequenceRequest::prompt_logprobs`]
        /// names to its end; else empty.
        logprobs: Vec<TokenLogprob>,
    },
    /// One more token of the completion; never a stop token.
    Token {
        /// The sequence.
        id: SequenceId,
        /// The token.
        token: u32,
        /// Its log-probability as in [`TokenLogprob`]; 0 unless [`SequenceRequest::logprobs`]
        /// is set.
        logprob: f32,
        /// As in [`TokenLogprob`].
        alternatives: Vec<(u32, f32)>,
    },
    /// The sequence ended and its slot is free.
    Done {
        /// The sequence.
        id: SequenceId,
        /// Why.
        reason: StopReason,
        /// The stop token that the model chose, with what [`SequenceRequest::logprobs`] asks for;
        /// none where the sequence ended by its length.
        stop: Option<TokenLogprob>,
    },
    /// The sequence cannot go on ([`Error::NotFinite`]) and its slot is free.
    Failed {
        /// The sequence.
        id: SequenceId,
        /// What happened.
        error: Error,
    },
}

impl SequenceRequest {
    /// Checks everything that does not depend on what else is running.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRequest`] naming the field, or [`Error::ContextOverflow`].
    pub fn check(&self, vocab: usize, context_tokens: usize) -> Result<(), Error> {
        let invalid = |field, expected| Err(Error::InvalidRequest { field, expected });
        if self.prompt.is_empty() {
            return invalid("prompt", "at least one token".to_owned());
        }
        if self.prompt.len() > context_tokens {
            let prompt_tokens = self.prompt.len();
            return Err(Error::ContextOverflow { prompt_tokens, context_tokens });
        }
        if self.prompt.iter().any(|token| *token as usize >= vocab) {
            return invalid("prompt", format!("tokens below {vocab}"));
        }
        if self.logprobs.is_some_and(|n| n > ALTERNATIVES_MAX) {
            return invalid("logprobs", format!("at most {ALTERNATIVES_MAX} alternatives"));
        }
        if self.stop_tokens.len() > STOP_TOKENS_MAX {
            return invalid("stop_tokens", format!("at most {STOP_TOKENS_MAX}"));
        }
        if self.logprobs_of == LogprobsOf::Temperature && self.sampling.is_greedy() {
            return invalid(
                "temperature",
                format!("at least {TEMPERATURE_MIN} for its log-probabilities"),
            );
        }
        self.sampling.check(vocab)
    }
}
