//! One live sequence: its tokens, what of them is in the cache, and what is still to come.

use crate::pages::Lease;
use crate::request::{SequenceId, SequenceRequest, TokenLogprob};
use crate::sampler::Sampler;

#[derive(Debug)]
pub(super) struct Sequence {
    pub id: SequenceId,
    /// Prompt and completion.
    pub tokens: Vec<u32>,
    pub prompt_tokens: usize,
    /// How many first tokens have keys and values in the cache.
    pub stored: usize,
    /// Tokens of the prompt that the prefix cache had.
    pub cached_tokens: usize,
    /// Prompt and the longest allowed completion.
    pub tokens_max: usize,
    pub lease: Lease,
    pub sampler: Sampler,
    pub stop_tokens: Vec<u32>,
    pub logprobs: Option<usize>,
    /// The first token of the prompt whose log-probability is wanted; the prompt's length for none.
    first_logprob: usize,
    /// Log-probabilities of the prompt's tokens from there on, while they are being computed.
    pub prompt_logprobs: Vec<TokenLogprob>,
    /// Whether it was said that the prompt is computed.
    pub announced: bool,
}

impl Sequence {
    /// A sequence whose first `cached_tokens` tokens are in the cache already.
    pub(super) fn new(
        id: SequenceId,
        request: SequenceRequest,
        tokens_max: usize,
        lease: Lease,
        cached_tokens: usize,
    ) -> Self {
        let sampler = Sampler::new(&request);
        let SequenceRequest { prompt, stop_tokens, logprobs, prompt_logprobs, .. } = request;
        Self {
            id,
            prompt_tokens: prompt.len(),
            first_logprob: prompt_logprobs.unwrap_or(prompt.len()),
            tokens: prompt,
            stored: cached_tokens,
            cached_tokens,
            tokens_max,
            lease,
            sampler,
            stop_tokens,
            logprobs,
            prompt_logprobs: Vec::new(),
            announced: false,
        }
    }

    /// Whether part of the prompt is not in the cache yet.
    pub(super) fn is_prefilling(&self) -> bool {
        self.stored < self.prompt_tokens
    }

    /// Whether the longest allowed completion is there.
    pub(super) fn is_full(&self) -> bool {
        self.tokens.len() >= self.tokens_max
    }

    /// Whether the logits of the token at `position` are needed: to draw the next token, or for
    /// the log-probability of the prompt's next one.
    pub(super) fn wants_logits(&self, position: usize) -> bool {
        let last = position + 1 == self.tokens.len();
        let next_is_told = (self.first_logprob..self.prompt_tokens).contains(&(position + 1));
        (last && !self.is_full()) || next_is_told
    }
}
