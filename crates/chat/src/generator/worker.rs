//! The thread that owns the batch: admits, steps, delivers, and starts over after a failure.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use model::{Batch, BatchStats, SequenceId, SequenceRequest, StopReason};
use tokenizer::Tokenizer;
use tokio::sync::mpsc;

use super::{Pending, Phase, Shared, State};
use crate::error::Error;
use crate::event::{Event, Usage};
use crate::stream::{Piece, TextStream, TokenInfo, Utf8Decoder};

/// What the thread needs of a batch; the tests put failures between it and the real one.
pub(super) trait Engine: Send + 'static {
    fn add(&mut self, request: SequenceRequest) -> Result<SequenceId, model::Error>;
    fn cancel(&mut self, id: SequenceId);
    fn step(&mut self) -> Result<Vec<model::Event>, model::Error>;
    fn stats(&self) -> BatchStats;
    fn context_tokens(&self) -> usize;
}

impl Engine for Batch {
    fn add(&mut self, request: SequenceRequest) -> Result<SequenceId, model::Error> {
        Self::add(self, request)
    }

    fn cancel(&mut self, id: SequenceId) {
        Self::cancel(self, id);
    }

    fn step(&mut self) -> Result<Vec<model::Event>, model::Error> {
        Self::step(self)
    }

    fn stats(&self) -> BatchStats {
        Self::stats(self)
    }

    fn context_tokens(&self) -> usize {
        self.options().context_tokens
    }
}

/// First pause before another attempt to make an engine; the next ones are longer.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest such pause: after it no more attempts are made.
const PAUSE_MAX: Duration = Duration::from_millis(400);

/// Serves until the generator is stopped; a panic or an error of the engine fails the requests that
/// it was serving, and a new engine takes the rest of the queue.
pub(super) fn run<E: Engine>(
    shared: &Shared,
    engine: E,
    make: &impl Fn() -> Result<E, model::Error>,
) {
    let mut worker = Worker { shared, live: HashMap::new() };
    let mut next = Ok(engine);
    let gone = loop {
        let engine = match next {
            Ok(engine) => engine,
            Err(reason) => break Some(reason),
        };
        // The failed engine gives its memory back before the next one asks for it.
        let Err(reason) = guarded(|| worker.serve(engine)) else { break None };
        worker.fail(|| Error::EngineFailed { reason: Arc::clone(&reason) });
        next = restarted(shared, make);
    };
    let failure = || match &gone {
        Some(reason) => Error::EngineGone { reason: Arc::clone(reason) },
        None => Error::ShuttingDown,
    };
    worker.fail(failure);
    let mut state = shared.lock();
    state.phase = state.phase.max(if gone.is_some() { Phase::Gone } else { Phase::Ended });
    for pending in state.waiting.drain(..) {
        // A receiver that is gone needs no answer.
        drop(pending.events.send(Event::Failed(failure())));
    }
    drop(state);
    shared.changed.notify_all();
}

/// Makes an engine again; what is missing for it, memory above all, may come back.
fn restarted<E>(
    shared: &Shared,
    make: &impl Fn() -> Result<E, model::Error>,
) -> Result<E, Arc<str>> {
    let mut pause = PAUSE_MIN;
    loop {
        let made = guarded(make);
        let mut state = shared.lock();
        match made {
            Ok(engine) => {
                state.restarts += 1;
                return Ok(engine);
            }
            Err(reason) if pause > PAUSE_MAX => return Err(reason),
            Err(reason) => {
                let stays = |state: &mut State| state.phase < Phase::Stopping;
                let waited = shared.changed.wait_timeout_while(state, pause, stays);
                let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
                if state.phase >= Phase::Stopping {
                    return Err(reason);
                }
                pause *= 2;
            }
        }
    }
}

/// The result of `work`, or why there is none, panics included.
fn guarded<T>(work: impl FnOnce() -> Result<T, model::Error>) -> Result<T, Arc<str>> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| error.to_string().into()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(format!("it panicked: {}", text.unwrap_or("without a message")).into())
        }
    }
}

struct Worker<'a> {
    shared: &'a Shared,
    live: HashMap<SequenceId, Live>,
}

/// What the thread does next.
enum Next {
    /// Lets a request in.
    Request(Box<Pending>),
    /// Computes for those that are live.
    Step,
    /// Ends.
    End,
}

/// A request that has a slot.
struct Live {
    events: mpsc::UnboundedSender<Event>,
    text: TextStream,
    /// Released by `text`, but without text to show yet.
    tokens_without_text: Vec<TokenInfo>,
    prompt: Vec<u32>,
    usage: Usage,
    tokens: Vec<u32>,
    logprobs: bool,
}

impl Worker<'_> {
    /// Steps until the generator is stopped, or drained and empty.
    fn serve(&mut self, mut engine: impl Engine) -> Result<(), model::Error> {
        loop {
            let gone: Vec<SequenceId> = self
                .live
                .iter()
                .filter_map(|(id, live)| live.events.is_closed().then_some(*id))
                .collect();
            for id in gone {
                engine.cancel(id);
                self.live.remove(&id);
            }
            if !self.admit(&mut engine) {
                return Ok(());
            }
            if self.live.is_empty() {
                continue;
            }
            for event in engine.step()? {
                self.deliver(&mut engine, event);
            }
        }
    }

    /// Fills free slots from the queue, waiting if there is nothing to do. False: it is time to
    /// end.
    fn admit(&mut self, engine: &mut impl Engine) -> bool {
        loop {
            let pending = match self.next(engine.stats()) {
                Next::Request(pending) => pending,
                Next::Step => return true,
                Next::End => return false,
            };
            match engine.add(pending.request.clone()) {
                Ok(id) => {
                    let live = Live::new(*pending);
                    live.send(Event::Admitted);
                    self.live.insert(id, live);
                }
                Err(model::Error::Full) if !self.live.is_empty() => {
                    let mut state = self.shared.lock();
                    state.waiting.push_front(*pending);
                    state.live = self.live.len();
                    return true;
                }
                Err(error) => drop(pending.events.send(Event::Failed(error.into()))),
            }
        }
    }

    /// What to do now. The lock is held for no longer than that takes to say.
    fn next(&self, batch: BatchStats) -> Next {
        let mut state = self.shared.lock();
        state.batch = batch;
        loop {
            state.live = self.live.len();
            if state.phase >= Phase::Stopping {
                return Next::End;
            }
            state.waiting.retain(|pending| !pending.events.is_closed());
            if self.live.len() < self.shared.slots
                && let Some(pending) = state.waiting.pop_front()
            {
                // The slot is as good as taken.
                state.live += 1;
                return Next::Request(Box::new(pending));
            }
            if !self.live.is_empty() {
                return Next::Step;
            }
            if state.phase == Phase::Draining {
                return Next::End;
            }
            let waited = self.shared.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Fails all that are live.
    fn fail(&mut self, error: impl Fn() -> Error) {
        for (_, live) in self.live.drain() {
            live.send(Event::Failed(error()));
        }
        self.shared.lock().live = 0;
    }

    /// Hands one event of the batch to its request.
    fn deliver(&mut self, engine: &mut impl Engine, event: model::Event) {
        match event {
            model::Event::Prompt { id, cached_tokens, logprobs } => {
                if let Some(live) = self.live.get_mut(&id) {
                    live.start(&self.shared.tokenizer, cached_tokens, &logprobs);
                }
            }
            model::Event::Token { id, token, logprob, alternatives } => {
                let Some(live) = self.live.get_mut(&id) else { return };
                let bytes = self.shared.tokenizer.token_bytes(token).to_vec();
                let logprob = live.logprobs.then_some(logprob);
                let text = String::new();
                live.push(TokenInfo { token, text, bytes, logprob, alternatives });
                if live.text.stopped() {
                    engine.cancel(id);
                    self.finish(id, StopReason::Stopped);
                }
            }
            model::Event::Done { id, reason, .. } => self.finish(id, reason),
            model::Event::Failed { id, error } => {
                if let Some(live) = self.live.remove(&id) {
                    live.send(Event::Failed(error.into()));
                }
            }
            // The batch may learn to tell more than a request needs to know.
            _ => {}
        }
    }

    fn finish(&mut self, id: SequenceId, reason: StopReason) {
        let Some(mut live) = self.live.remove(&id) else { return };
        let piece = live.text.finish();
        live.release(piece);
        if !live.tokens_without_text.is_empty() {
            let tokens = std::mem::take(&mut live.tokens_without_text);
            live.send(Event::Text { text: String::new(), tokens });
        }
        let stop_reason = if live.text.stopped() { StopReason::Stopped } else { reason };
        let (usage, tokens) = (live.usage, std::mem::take(&mut live.tokens));
        live.send(Event::Done { stop_reason, usage, tokens });
    }
}

impl Live {
    fn new(pending: Pending) -> Self {
        let Pending { request, stop, events } = pending;
        let usage = Usage { prompt_tokens: request.prompt.len(), ..Usage::default() };
        Self {
            events,
            text: TextStream::new(stop),
            tokens_without_text: Vec::new(),
            logprobs: request.logprobs.is_some(),
            prompt: if request.prompt_logprobs.is_some() { request.prompt } else { Vec::new() },
            usage,
            tokens: Vec::new(),
        }
    }

    /// A receiver that is gone is noticed before the next step.
    fn send(&self, event: Event) {
        drop(self.events.send(event));
    }

    fn start(
        &mut self,
        tokenizer: &Tokenizer,
        cached_tokens: usize,
        logprobs: &[model::TokenLogprob],
    ) {
        self.usage.cached_tokens = cached_tokens;
        let prompt = prompt_tokens(tokenizer, &std::mem::take(&mut self.prompt), logprobs);
        let prompt_tokens = self.usage.prompt_tokens;
        self.send(Event::Started { prompt_tokens, cached_tokens, prompt });
    }

    fn push(&mut self, token: TokenInfo) {
        self.usage.completion_tokens += 1;
        let piece = self.text.push(token);
        self.release(piece);
    }

    /// Tells of a piece, or keeps its tokens until there is text to tell.
    fn release(&mut self, piece: Piece) {
        self.tokens.extend(piece.tokens.iter().map(|token| token.token));
        self.tokens_without_text.extend(piece.tokens);
        if !piece.text.is_empty() {
            let tokens = std::mem::take(&mut self.tokens_without_text);
            self.send(Event::Text { text: piece.text, tokens });
        }
    }
}

/// The prompt's tokens as a reader sees them; nothing predicts the first one.
fn prompt_tokens(
    tokenizer: &Tokenizer,
    prompt: &[u32],
    logprobs: &[model::TokenLogprob],
) -> Vec<TokenInfo> {
    let mut decoder = Utf8Decoder::default();
    let mut logprobs = logprobs.iter();
    let mut tokens: Vec<TokenInfo> = Vec::with_capacity(prompt.len());
    for (index, &token) in prompt.iter().enumerate() {
        let bytes = tokenizer.token_bytes(token).to_vec();
        let known = if index == 0 { None } else { logprobs.next() };
        tokens.push(TokenInfo {
            token,
            text: decoder.push(&bytes),
            bytes,
            logprob: known.map(|known| known.logprob),
            alternatives: known.map(|known| known.alternatives.clone()).unwrap_or_default(),
        });
    }
    if let Some(last) = tokens.last_mut() {
        last.text.push_str(&decoder.finish());
    }
    tokens
}
