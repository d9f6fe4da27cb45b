//! One turn: the conversation so far becomes a request to the generator.
//!
//! The whole conversation is fed to the model every time: written in tokens, fitted into the window
//! ([`crate::context`]), and handed to the generator ([`crate::Generator`]).

use model::Sampling;
use tokenizer::{ChatFormat, Conversation, Tokenizer};

use crate::context::{Overflow, Room, fit};
use crate::error::Error;
use crate::generator::GenerationRequest;

/// Largest part of the context window that is kept free for an answer by dropping turns.
const ANSWER_PART: usize = 4;

/// A conversation to be continued by the model.
#[derive(Clone, Debug, Default)]
pub struct Turn {
    /// All messages so far.
    pub conversation: Conversation,
    /// What happens if they are too long.
    pub overflow: Overflow,
    /// Most tokens of the answer; nothing for as many as fit.
    pub max_tokens: Option<usize>,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Strings that end the answer.
    pub stop: Vec<String>,
    /// `Some(n)`: log-probabilities, with `n` alternatives each.
    pub logprobs: Option<usize>,
}

/// A turn that is ready for the generator.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// What to submit.
    pub request: GenerationRequest,
    /// Messages that the model does not see because they did not fit.
    pub dropped_messages: usize,
}

impl Turn {
    /// Writes the conversation in tokens that fit into `context_tokens`.
    ///
    /// # Errors
    ///
    /// [`Error::ContextOverflow`] if it does not fit, [`Error::Tokenizer`] if it cannot be written.
    pub fn prepare(
        self,
        tokenizer: &Tokenizer,
        format: &ChatFormat,
        context_tokens: usize,
    ) -> Result<Prepared, Error> {
        let part = context_tokens / ANSWER_PART;
        let answer_tokens = self.max_tokens.map_or(part, |most| most.min(part));
        let room = Room { context_tokens, answer_tokens };
        let fitted = fit(&self.conversation, tokenizer, format, room, self.overflow)?;
        let request = GenerationRequest {
            prompt: fitted.tokens,
            max_tokens: self.max_tokens,
            sampling: self.sampling,
            stop: self.stop,
            logprobs: self.logprobs,
            echo: false,
        };
        Ok(Prepared { request, dropped_messages: fitted.dropped_messages })
    }
}
