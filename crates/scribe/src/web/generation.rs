//! Requests at the generator, timed and counted, and several of them for one HTTP request.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use chat::{Event, GenerationRequest, StopReason, TokenInfo, Usage};

use super::error::ApiError;
use super::metrics::{Place, Took};
use super::state::{AppState, ServedModel};

/// What came before a request at the generator.
#[derive(Clone, Copy, Debug)]
enum Follows {
    Nothing,
    /// One of the same HTTP request, which has just ended.
    Another,
}

/// One request at the generator. Dropping it cancels the request.
#[derive(Debug)]
struct Generation {
    stream: chat::Stream,
    state: AppState,
    submitted: Instant,
    started: bool,
    admitted: bool,
    first_text: Option<Instant>,
    ended: bool,
}

impl Generation {
    fn submit(
        state: &AppState,
        model: &ServedModel,
        request: GenerationRequest,
        follows: Follows,
    ) -> Result<Self, chat::SubmitError> {
        let stream = match follows {
            Follows::Nothing => model.generator.submit(request)?,
            Follows::Another => model.generator.submit_next(request)?,
        };
        state.metrics().submitted();
        Ok(Self {
            stream,
            state: state.clone(),
            submitted: Instant::now(),
            started: false,
            admitted: false,
            first_text: None,
            ended: false,
        })
    }

    /// The next event; nothing after the last one. A generator that vanished is a failure.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.stream.poll_next(context).map(|event| {
            let event = event.unwrap_or_else(|| {
                Event::Failed(chat::Error::EngineFailed { reason: "it ended unheard".into() })
            });
            self.count(&event);
            Some(event)
        })
    }

    fn count(&mut self, event: &Event) {
        let metrics = self.state.metrics();
        match event {
            Event::Admitted => {
                self.admitted = true;
                metrics.admitted(self.submitted.elapsed());
            }
            Event::Started { .. } => self.started = true,
            Event::Text { .. } if self.first_text.is_none() => {
                self.first_text = Some(Instant::now());
                metrics.first_text(self.submitted.elapsed());
            }
            Event::Done { usage, .. } => {
                self.ended = true;
                let decoding = self.first_text.map_or(Duration::ZERO, |first| first.elapsed());
                let total = self.submitted.elapsed();
                metrics.completed(&Took { total, decoding, usage: *usage });
            }
            // Whoever tells the client counts it.
            Event::Failed(_) => self.ended = true,
            // More text is nothing to count.
            _ => {}
        }
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        if !self.ended {
            let place = match (self.admitted, self.started) {
                (_, true) => Place::Decode,
                (true, false) => Place::Prefill,
                (false, false) => Place::Queue,
            };
            self.state.metrics().cancelled(place);
        }
    }
}

/// The completions of one HTTP request: as many at once as there are slots, the others after them.
#[derive(Debug)]
pub(super) struct Choices {
    state: AppState,
    model: Arc<ServedModel>,
    waiting: VecDeque<(usize, GenerationRequest)>,
    running: Vec<(usize, Generation)>,
    /// Which of `running` is asked first, so that all are heard alike.
    turn: usize,
}

/// A completion with all that was told of it.
#[derive(Debug, Default)]
pub(super) struct Completed {
    pub(super) text: String,
    pub(super) tokens: Vec<TokenInfo>,
    pub(super) prompt: Vec<TokenInfo>,
    pub(super) stop_reason: Option<StopReason>,
    pub(super) usage: Usage,
}

impl Choices {
    /// Submits the first of `requests`, and as many more as there is room for.
    pub(super) fn start(
        state: &AppState,
        model: &Arc<ServedModel>,
        requests: Vec<GenerationRequest>,
    ) -> Result<Self, ApiError> {
        let mut choices = Self {
            state: state.clone(),
            model: Arc::clone(model),
            waiting: requests.into_iter().enumerate().collect(),
            running: Vec::new(),
            turn: 0,
        };
        choices.refill(Follows::Nothing)?;
        Ok(choices)
    }

    /// Submits more as long as there are slots. A full queue is an error only for the first one:
    /// the others wait for those before them, and follow them when all of those have ended.
    fn refill(&mut self, follows: Follows) -> Result<(), ApiError> {
        while self.running.len() < self.model.generator.slots().max(1) {
            let Some((index, request)) = self.waiting.pop_front() else { break };
            let follows = if self.running.is_empty() { follows } else { Follows::Nothing };
            match Generation::submit(&self.state, &self.model, request.clone(), follows) {
                Ok(generation) => self.running.push((index, generation)),
                Err(chat::SubmitError::QueueFull { .. }) if !self.running.is_empty() => {
                    self.waiting.push_front((index, request));
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The next event of any choice with the choice's number, or why there are no more; nothing
    /// after the last event of the last choice.
    pub(super) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<(usize, Event), ApiError>>> {
        let (count, turn) = (self.running.len(), self.turn);
        for place in (0..count).map(|step| (turn + step) % count) {
            let (index, generation) = &mut self.running[place];
            let Poll::Ready(event) = generation.poll_next(context) else { continue };
            let index = *index;
            self.turn = place + 1;
            match event {
                Some(Event::Failed(error)) => {
                    self.end();
                    return Poll::Ready(Some(Err(error.into())));
                }
                Some(event) => {
                    if matches!(event, Event::Done { .. }) {
                        self.running.remove(place);
                        self.turn = place;
                        if let Err(error) = self.refill(Follows::Another) {
                            self.end();
                            return Poll::Ready(Some(Err(error)));
                        }
                    }
                    return Poll::Ready(Some(Ok((index, event))));
                }
                None => {}
            }
        }
        if self.running.is_empty() { Poll::Ready(None) } else { Poll::Pending }
    }

    /// Cancels all that is left, which is not the client's doing.
    fn end(&mut self) {
        self.waiting.clear();
        for (_, generation) in &mut self.running {
            generation.ended = true;
        }
        self.running.clear();
    }

    /// The server that answers.
    pub(super) fn state(&self) -> &AppState {
        &self.state
    }

    /// Counts an error that the client is told in the middle of its answer.
    pub(super) fn count(&self, error: &ApiError) {
        self.state.metrics().failed(error.name());
    }

    /// Waits for all choices, in their order.
    pub(super) async fn collect(mut self) -> Result<Vec<Completed>, ApiError> {
        let count = self.waiting.len() + self.running.len();
        let mut completed: Vec<Completed> = Vec::new();
        completed.resize_with(count, Completed::default);
        while let Some(event) = std::future::poll_fn(|context| self.poll_next(context)).await {
            let (index, event) = event?;
            completed[index].add(event);
        }
        Ok(completed)
    }
}

impl Completed {
    fn add(&mut self, event: Event) {
        match event {
            Event::Started { prompt, .. } => self.prompt = prompt,
            Event::Text { text, tokens } => {
                self.text.push_str(&text);
                self.tokens.extend(tokens);
            }
            Event::Done { stop_reason, usage, .. } => {
                self.stop_reason = Some(stop_reason);
                self.usage = usage;
            }
            // Being admitted is not part of the answer; a failure never gets here.
            _ => {}
        }
    }
}
