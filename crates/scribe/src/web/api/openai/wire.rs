//! What OpenAI's clients read: the shapes of answers.

use ::chat::{StopReason, TokenInfo, Usage};
use serde::Serialize;
use tokenizer::Tokenizer;

/// The least log-probability that is sent, because JSON has no infinity; OpenAI's own value.
const LOGPROB_MIN: f32 = -9999.0;

/// Token counts of an answer.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct UsageBody {
    prompt_tokens: usize,
    completion_tokens: usize,
    total_tokens: usize,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct PromptDetails {
    cached_tokens: usize,
    audio_tokens: usize,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct CompletionDetails {
    reasoning_tokens: usize,
    audio_tokens: usize,
    accepted_prediction_tokens: usize,
    rejected_prediction_tokens: usize,
}

impl UsageBody {
    /// Adds a choice. The completions of one prompt count that prompt once.
    pub(super) fn add(&mut self, usage: &Usage, is_first_of_prompt: bool) {
        if is_first_of_prompt {
            self.prompt_tokens += usage.prompt_tokens;
            self.prompt_tokens_details.cached_tokens += usage.cached_tokens;
        }
        self.completion_tokens += usage.completion_tokens;
        self.total_tokens = self.prompt_tokens + self.completion_tokens;
    }
}

/// The public word for why an answer ended.
pub(super) fn finish_reason(reason: Option<StopReason>) -> &'static str {
    match reason {
        Some(StopReason::Length) => "length",
        Some(StopReason::EndOfTurn | StopReason::Stopped) | None => "stop",
    }
}

/// `logprobs` of a chat choice.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ChatLogprobs {
    content: Vec<ChatLogprob>,
    refusal: Option<()>,
}

#[derive(Clone, Debug, Serialize)]
struct ChatLogprob {
    #[serde(flatten)]
    token: TokenLogprob,
    top_logprobs: Vec<TokenLogprob>,
}

#[derive(Clone, Debug, Serialize)]
struct TokenLogprob {
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
}

impl ChatLogprobs {
    /// The tokens of a piece; their texts, joined over an answer, are the answer.
    pub(super) fn new(tokens: Vec<TokenInfo>, tokenizer: &Tokenizer) -> Self {
        let content = tokens
            .into_iter()
            .map(|token| ChatLogprob {
                token: TokenLogprob {
                    token: token.text,
                    logprob: sendable(token.logprob.unwrap_or(LOGPROB_MIN)),
                    bytes: token.bytes,
                },
                top_logprobs: token
                    .alternatives
                    .into_iter()
                    .map(|(token, logprob)| TokenLogprob::alternative(token, logprob, tokenizer))
                    .collect(),
            })
            .collect();
        Self { content, refusal: None }
    }
}

impl TokenLogprob {
    fn alternative(token: u32, logprob: f32, tokenizer: &Tokenizer) -> Self {
        let text = tokenizer.token_text(token);
        let bytes = match tokenizer.token_bytes(token) {
            [] => text.as_bytes().to_vec(),
            bytes => bytes.to_vec(),
        };
        Self { token: text, logprob: sendable(logprob), bytes }
    }
}

/// `logprobs` of a choice of the older completions: columns instead of rows.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct TextLogprobs {
    tokens: Vec<String>,
    token_logprobs: Vec<Option<f32>>,
    top_logprobs: Vec<Option<serde_json::Map<String, serde_json::Value>>>,
    text_offset: Vec<usize>,
}

impl TextLogprobs {
    /// Columns for `tokens`, whose text begins `offset` characters into the choice's text. Returns
    /// the offset behind them, too.
    pub(super) fn new(
        tokens: Vec<TokenInfo>,
        tokenizer: &Tokenizer,
        mut offset: usize,
    ) -> (Self, usize) {
        let mut columns = Self::default();
        for token in tokens {
            columns.text_offset.push(offset);
            offset += token.text.chars().count();
            let top = token.logprob.map(|logprob| {
                let mut top = serde_json::Map::new();
                let alternatives = token
                    .alternatives
                    .iter()
                    .map(|&(other, logprob)| (tokenizer.token_text(other), logprob));
                // Best first; where two tokens have the same text, the better one stays. The token
                // itself is always among them.
                for (text, logprob) in
                    alternatives.chain([(tokenizer.token_text(token.token), logprob)])
                {
                    top.entry(text).or_insert_with(|| sendable(logprob).into());
                }
                top
            });
            columns.tokens.push(token.text);
            columns.token_logprobs.push(token.logprob.map(sendable));
            columns.top_logprobs.push(top);
        }
        (columns, offset)
    }
}

/// The nearest number that JSON can say.
fn sendable(logprob: f32) -> f32 {
    if logprob.is_nan() { LOGPROB_MIN } else { logprob.clamp(LOGPROB_MIN, 0.0) }
}
