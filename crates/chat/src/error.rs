//! What can go wrong between a request and its answer, with what to do about it.

use std::sync::Arc;
use std::time::Duration;

/// Why the generator could not start, or why an accepted request ended without an answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The batch could not be set up, or refused a request it had accepted.
    #[error(transparent)]
    Model(#[from] model::Error),
    /// The operating system gave no thread for the engine.
    #[error("cannot start the engine's thread: {source}; close other programs and try again")]
    Thread {
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The engine failed during this request and is started again.
    #[error("the engine failed during this request and is restarted; send the request again")]
    EngineFailed {
        /// What the engine said; for a log, not for the client.
        reason: Arc<str>,
    },
    /// The engine failed and could not be started again.
    #[error("the engine failed and could not be started again; restart the server")]
    EngineGone {
        /// What the engine said at the last attempt; for a log, not for the client.
        reason: Arc<str>,
    },
    /// The program is ending.
    #[error("the server is shutting down; send the request again in a moment")]
    ShuttingDown,
    /// A conversation cannot be written as tokens.
    #[error(transparent)]
    Tokenizer(#[from] tokenizer::Error),
    /// The conversation does not fit into the context window, not even its last message alone
    /// where oldest turns may be dropped.
    #[error(
        "the conversation has {prompt_tokens} tokens, but the context window has {context_tokens}; \
         shorten the messages or start a new conversation"
    )]
    ContextOverflow {
        /// Tokens that the conversation needs.
        prompt_tokens: usize,
        /// Tokens of the context window.
        context_tokens: usize,
    },
}

/// Why a request was not accepted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// As many requests wait already as may wait.
    #[error("{waiting} requests are waiting already; try again in {} s", retry_after.as_secs())]
    QueueFull {
        /// Requests in the queue.
        waiting: usize,
        /// When a place is likely to be free.
        retry_after: Duration,
    },
    /// The prompt leaves no room for an answer.
    #[error(
        "the prompt has {prompt_tokens} tokens, but the context window has {context_tokens}; \
         shorten the prompt"
    )]
    ContextOverflow {
        /// Tokens in the prompt.
        prompt_tokens: usize,
        /// Tokens of the context window.
        context_tokens: usize,
    },
    /// The program is ending.
    #[error("the server is shutting down; try again in a moment")]
    ShuttingDown,
    /// The engine failed and could not be started again.
    #[error("the engine failed and could not be started again; restart the server")]
    EngineGone,
    /// A field of the request is out of range.
    #[error("`{param}` {message}")]
    Invalid {
        /// The field.
        param: &'static str,
        /// What would be accepted.
        message: String,
    },
}
