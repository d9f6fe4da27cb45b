//! The queue in front of the batch: who may wait, who is served, and how it ends.
//!
//! One operating system thread ([`worker`]) owns the batch; everybody else holds a [`Generator`],
//! which is a handle. A request waits in a bounded queue until the batch has a slot, first come,
//! first served.

mod worker;

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use model::{Batch, BatchOptions, BatchStats, Model, Sampling, SequenceRequest};
use tokenizer::Tokenizer;
use tokio::sync::mpsc;

use crate::error::{Error, SubmitError};
use crate::event::{Event, Stream};

/// Most stop strings of a request.
pub const STOPS_MAX: usize = 4;
/// Most bytes of a stop string.
pub const STOP_BYTES_MAX: usize = 256;
/// Longest wait that a refused client is told.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// How many requests are served and how many may wait.
#[derive(Clone, Debug)]
pub struct GeneratorOptions {
    /// Slots, context window and cache.
    pub batch: BatchOptions,
    /// Most requests that wait although every slot is taken; 0 refuses them at once.
    pub queue: usize,
}

/// A prompt in tokens and what is wanted of its completion.
#[derive(Clone, Debug, Default)]
pub struct GenerationRequest {
    /// At least one token.
    pub prompt: Vec<u32>,
    /// Most tokens of the completion; nothing for as many as fit.
    pub max_tokens: Option<usize>,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Strings that end the completion, at most [`STOPS_MAX`] of [`STOP_BYTES_MAX`] bytes.
    pub stop: Vec<String>,
    /// `Some(n)`: log-probabilities, with `n` alternatives each.
    pub logprobs: Option<usize>,
    /// Whether the prompt's tokens are wanted with log-probabilities, too (only with `logprobs`).
    pub echo: bool,
}

/// What the generator is doing.
#[derive(Clone, Debug)]
pub struct GeneratorStats {
    /// Requests that wait for a slot.
    pub waiting: usize,
    /// Requests that have a slot.
    pub live: usize,
    /// How often the engine failed and was started again.
    pub restarts: u64,
    /// What the batch says of its cache, after its latest step.
    pub batch: BatchStats,
}

/// A handle to the thread that serves all requests. The thread ends with its last handle.
#[derive(Clone, Debug)]
pub struct Generator {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the handles and the thread share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Told of every change of `state` that the thread or [`Generator::shutdown`] may wait for.
    changed: Condvar,
    tokenizer: Tokenizer,
    vocabulary: usize,
    context_tokens: usize,
    slots: usize,
    queue: usize,
}

#[derive(Debug)]
struct State {
    waiting: VecDeque<Pending>,
    phase: Phase,
    live: usize,
    restarts: u64,
    batch: BatchStats,
}

/// Where the generator is in its life; only ever goes on to a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Accepts requests.
    Serving,
    /// Accepts none, finishes those it has.
    Draining,
    /// Fails those it has.
    Stopping,
    /// The thread is gone.
    Ended,
    /// The thread is gone because there is no engine any more.
    Gone,
}

/// A request in the queue.
#[derive(Debug)]
struct Pending {
    request: SequenceRequest,
    stop: Vec<String>,
    events: mpsc::UnboundedSender<Event>,
}

impl Generator {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] if there is no memory for the cache, [`Error::Thread`] if there is no
    /// thread.
    pub fn start(
        model: Arc<Model>,
        tokenizer: Tokenizer,
        options: GeneratorOptions,
    ) -> Result<Self, Error> {
        let vocabulary = model.config().vocab;
        let batch_options = options.batch.clone();
        let make = move || Batch::new(Arc::clone(&model), batch_options.clone());
        Self::start_with(make, vocabulary, tokenizer, options)
    }

    /// As [`Self::start`], over any engine; `make` is called again after a failure.
    fn start_with<E: worker::Engine>(
        make: impl Fn() -> Result<E, model::Error> + Send + 'static,
        vocabulary: usize,
        tokenizer: Tokenizer,
        options: GeneratorOptions,
    ) -> Result<Self, Error> {
        let engine = make()?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                phase: Phase::Serving,
                live: 0,
                restarts: 0,
                batch: engine.stats(),
            }),
            changed: Condvar::new(),
            tokenizer,
            vocabulary,
            context_tokens: engine.context_tokens(),
            slots: options.batch.slots,
            queue: options.queue,
        });
        let worker_shared = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("generator".to_owned())
            .spawn(move || worker::run(&worker_shared, engine, &make))
            .map_err(|source| Error::Thread { source })?;
        Ok(Self { handle: Arc::new(Handle { shared, thread: Mutex::new(Some(thread)) }) })
    }

    /// Puts a request into the queue.
    ///
    /// # Errors
    ///
    /// Every [`SubmitError`]: the queue is full, the prompt does not fit, a number is out of range,
    /// the program is ending, or the engine is gone.
    pub fn submit(&self, request: GenerationRequest) -> Result<Stream, SubmitError> {
        let shared = &self.handle.shared;
        let request = shared.checked(request)?;
        let mut state = shared.lock();
        shared.check_room(&mut state)?;
        Ok(shared.enqueue(state, request))
    }

    /// As [`Self::submit`], for a request that follows one that has just ended: it waits even if
    /// the queue is full. As that one has given up its slot to the queue, the queue does not grow.
    ///
    /// # Errors
    ///
    /// As [`Self::submit`], but for the full queue.
    pub fn submit_next(&self, request: GenerationRequest) -> Result<Stream, SubmitError> {
        let shared = &self.handle.shared;
        let request = shared.checked(request)?;
        let state = shared.lock();
        state.phase.check()?;
        Ok(shared.enqueue(state, request))
    }

    /// Whether a request would be let in now; asked before costly work on it.
    ///
    /// # Errors
    ///
    /// [`SubmitError::QueueFull`], [`SubmitError::ShuttingDown`] or [`SubmitError::EngineGone`].
    pub fn check_room(&self) -> Result<(), SubmitError> {
        let shared = &self.handle.shared;
        shared.check_room(&mut shared.lock())
    }

    /// What the generator is doing at the moment.
    #[must_use]
    pub fn stats(&self) -> GeneratorStats {
        let state = self.handle.shared.lock();
        GeneratorStats {
            waiting: state.waiting.len(),
            live: state.live,
            restarts: state.restarts,
            batch: state.batch,
        }
    }

    /// Tokens of the context window of each request.
    #[must_use]
    pub fn context_tokens(&self) -> usize {
        self.handle.shared.context_tokens
    }

    /// Most requests that are served at the same time.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.handle.shared.slots
    }

    /// Accepts no more requests, waits at most `grace` for those that are there, fails the rest and
    /// ends the thread. Blocks meanwhile; a second call with a shorter grace cuts the first one
    /// short.
    pub fn shutdown(&self, grace: Duration) {
        let shared = &self.handle.shared;
        shared.advance(Phase::Draining);
        let state = shared.lock();
        let unfinished = |state: &mut State| state.phase < Phase::Stopping;
        let waited = shared.changed.wait_timeout_while(state, grace, unfinished);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        shared.advance(Phase::Stopping);
        let thread = lock(&self.handle.thread).take();
        if let Some(thread) = thread {
            // A panic of the thread was already told to its requests.
            drop(thread.join());
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.advance(Phase::Stopping);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Refuses where as many wait as may wait, those not counted for whom a slot is free.
    fn check_room(&self, state: &mut State) -> Result<(), SubmitError> {
        state.phase.check()?;
        let room = self.queue.saturating_add(self.slots.saturating_sub(state.live));
        if state.waiting.len() >= room {
            state.waiting.retain(|pending| !pending.events.is_closed());
        }
        let waiting = state.waiting.len();
        if waiting < room {
            return Ok(());
        }
        Err(SubmitError::QueueFull { waiting, retry_after: self.retry_after(waiting) })
    }

    fn enqueue(
        &self,
        mut state: MutexGuard<'_, State>,
        (request, stop): (SequenceRequest, Vec<String>),
    ) -> Stream {
        let (events, stream) = Stream::new();
        state.waiting.push_back(Pending { request, stop, events });
        drop(state);
        self.changed.notify_all();
        stream
    }

    fn advance(&self, phase: Phase) {
        let mut state = self.lock();
        state.phase = state.phase.max(phase);
        drop(state);
        self.changed.notify_all();
    }

    /// The request in the model's terms, once every number is known to be in its range.
    fn checked(
        &self,
        request: GenerationRequest,
    ) -> Result<(SequenceRequest, Vec<String>), SubmitError> {
        let (prompt_tokens, context_tokens) = (request.prompt.len(), self.context_tokens);
        let least = request.max_tokens.map_or(1, |most| most.min(1));
        if prompt_tokens + least > context_tokens {
            return Err(SubmitError::ContextOverflow { prompt_tokens, context_tokens });
        }
        let short = |stop: &String| stop.len() <= STOP_BYTES_MAX;
        if request.stop.len() > STOPS_MAX || !request.stop.iter().all(short) {
            let message =
                format!("must be at most {STOPS_MAX} strings of at most {STOP_BYTES_MAX} bytes");
            return Err(SubmitError::Invalid { param: "stop", message });
        }
        let room = context_tokens - prompt_tokens;
        let sequence = SequenceRequest {
            max_tokens: request.max_tokens.map_or(room, |most| most.min(room)),
            sampling: request.sampling,
            stop_tokens: self.tokenizer.end_of_turn().to_vec(),
            logprobs: request.logprobs,
            prompt_logprobs: (request.echo && request.logprobs.is_some()).then_some(0),
            prompt: request.prompt,
            ..SequenceRequest::default()
        };
        match sequence.check(self.vocabulary, context_tokens) {
            Ok(()) => Ok((sequence, request.stop)),
            Err(model::Error::InvalidRequest { field, expected }) => {
                Err(SubmitError::Invalid { param: field, message: format!("must be {expected}") })
            }
            Err(error) => Err(SubmitError::Invalid {
                param: "prompt",
                message: format!("is refused: {error}"),
            }),
        }
    }

    /// A second for every round of slots that is ahead: rough, but it grows with the queue.
    fn retry_after(&self, waiting: usize) -> Duration {
        let rounds = u64::try_from(waiting / self.slots.max(1)).unwrap_or(u64::MAX);
        Duration::from_secs(rounds.saturating_add(1)).min(RETRY_AFTER_MAX)
    }
}

impl Phase {
    fn check(self) -> Result<(), SubmitError> {
        match self {
            Self::Serving => Ok(()),
            Self::Draining | Self::Stopping | Self::Ended => Err(SubmitError::ShuttingDown),
            Self::Gone => Err(SubmitError::EngineGone),
        }
    }
}

/// Locks, also after a panic elsewhere: every change of the guarded values is a single assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The seed of completion `index` of a request for several: the request's own seed for the first,
/// then well-mixed ones (the finalizer of SplitMix64; Steele et al. 2014,
/// doi:10.1145/2660193.2660195).
#[must_use]
pub fn derived_seed(seed: u64, index: usize) -> u64 {
    if index == 0 {
        return seed;
    }
    let step = (index as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut mixed = seed.wrapping_add(step);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests;
