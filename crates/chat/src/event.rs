//! What a request hears while it is served, and the stream that it hears it on.

use std::task::{Context, Poll};

use model::StopReason;
use tokio::sync::mpsc;

use crate::error::Error;
use crate::stream::TokenInfo;

/// Tokens of one request, counted for bills and limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the prompt that the prefix cache already had.
    pub cached_tokens: usize,
    /// Tokens sampled, those of a stop string included.
    pub completion_tokens: usize,
}

/// One step of a request: `Admitted`, `Started`, any number of `Text`, then `Done`; or `Failed` at
/// any time, which is the last.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The request left the queue and has a slot.
    Admitted,
    /// The prompt is in the cache.
    Started {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Tokens of the prompt that the prefix cache already had.
        cached_tokens: usize,
        /// The prompt's tokens with log-probabilities where `echo` and `logprobs` were asked for.
        prompt: Vec<TokenInfo>,
    },
    /// More of the answer.
    Text {
        /// Valid text; joined, the whole answer. Empty only where nothing but tokens was left over.
        text: String,
        /// The tokens that are complete with this text; their texts, joined over all events, are
        /// the answer, too.
        tokens: Vec<TokenInfo>,
    },
    /// The answer is complete.
    Done {
        /// Why it ended.
        stop_reason: StopReason,
        /// What it cost.
        usage: Usage,
        /// The sampled tokens of the answer, to be fed again as they are. Where a stop string
        /// ended the answer ([`StopReason::Stopped`]) the last token may say more than the text.
        tokens: Vec<u32>,
    },
    /// No (more) answer comes.
    Failed(Error),
}

/// The events of one request. Dropping it cancels the request within one step of the engine.
#[derive(Debug)]
pub struct Stream {
    events: mpsc::UnboundedReceiver<Event>,
}

impl Stream {
    /// The receiving end of a request's events. The channel needs no bound of its own: it holds at
    /// most one event for each token of the context window.
    pub(crate) fn new() -> (mpsc::UnboundedSender<Event>, Self) {
        let (sender, events) = mpsc::unbounded_channel();
        (sender, Self { events })
    }

    /// The next event; nothing after `Done` or `Failed`.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// As [`Self::next`], for callers that poll many streams.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.events.poll_recv(context)
    }

    /// As [`Self::next`], for threads outside an async runtime.
    ///
    /// # Panics
    ///
    /// Panics inside an async runtime, which it would block.
    pub fn next_blocking(&mut self) -> Option<Event> {
        self.events.blocking_recv()
    }
}
