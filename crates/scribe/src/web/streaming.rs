//! Answers that are sent while they are written: server-sent events and lines of JSON.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::Response;
use bytes::Bytes;
use chat::Event;
use http_body::Frame;
use serde::Serialize;
use tokio::time::{Instant, Sleep, sleep};

use super::error::ApiError;
use super::generation::Choices;
use super::state::AppState;
use super::work;

/// A comment that keeps a quiet connection alive.
const KEEP_ALIVE: &str = ": keep-alive\n\n";
/// The last event of a stream that ended well.
const DONE: &str = "data: [DONE]\n\n";
/// Bytes after which a frame is sent although more events are ready.
const FRAME_BYTES: usize = 16 << 10;

/// What becomes of events on the wire.
pub(super) trait Writer: Send + Unpin + 'static {
    /// Writes what `event` of choice `index` means for the client, perhaps nothing.
    fn event(&mut self, index: usize, event: Event, out: &mut Out);
    /// Writes what was held back of the events so far; no more of them is ready.
    fn flush(&mut self, _out: &mut Out) {}
    /// Whether a step may take more than about a millisecond, so that it must not hold up others.
    fn takes_long(&self, _step: &Step) -> bool {
        false
    }
    /// Writes the end of an answer that is complete.
    fn end(&mut self, out: &mut Out);
    /// Writes that the answer is not going to be complete.
    fn error(&mut self, error: &ApiError, out: &mut Out);
}

/// The text of the next frame.
#[derive(Debug)]
pub(super) struct Out {
    text: String,
    format: Format,
}

/// How messages are told apart on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Server-sent events: OpenAI.
    Events,
    /// A line of JSON each: Ollama.
    Lines,
}

impl Out {
    /// An empty frame.
    pub(super) fn new(format: Format) -> Self {
        Self { text: String::new(), format }
    }

    /// What the frame says so far.
    #[cfg(test)]
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Adds one message.
    pub(super) fn message(&mut self, message: &impl Serialize) {
        match serde_json::to_string(message) {
            Ok(json) => match self.format {
                Format::Events => self.text.extend(["data: ", &json, "\n\n"]),
                Format::Lines => self.text.extend([&json, "\n"]),
            },
            Err(error) => tracing::error!(%error, "a message could not be written as JSON"),
        }
    }

    /// Adds the mark of a good end.
    pub(super) fn done(&mut self) {
        self.text.push_str(DONE);
    }
}

/// The answer that sends the events of `choices` as `writer` writes them.
pub(super) fn respond(
    choices: Choices,
    writer: impl Writer,
    format: Format,
    heartbeat: Duration,
) -> Response {
    let body = Body::new(StreamBody {
        state: choices.state().clone(),
        choices: Some(choices),
        written: Some(Written { writer, out: Out::new(format) }),
        working: None,
        format,
        heartbeat,
        beat: Box::pin(sleep(heartbeat)),
        span: tracing::Span::current(),
    });
    let mut response = Response::new(body);
    let content_type = match format {
        Format::Events => "text/event-stream; charset=utf-8",
        Format::Lines => "application/x-ndjson",
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// What a writer is to do next.
#[derive(Debug)]
pub(super) enum Step {
    /// [`Writer::flush`].
    Flush,
    /// [`Writer::end`].
    End,
    /// [`Writer::error`].
    Error(ApiError),
}

/// A writer and what it has written.
struct Written<W> {
    writer: W,
    out: Out,
}

impl<W: Writer> Written<W> {
    fn take(&mut self, step: &Step) {
        match step {
            Step::Flush => {}
            Step::End => self.writer.end(&mut self.out),
            Step::Error(error) => self.writer.error(error, &mut self.out),
        }
        self.writer.flush(&mut self.out);
    }
}

/// A step that is being taken off the async threads.
type Working<W> = Pin<Box<dyn Future<Output = Result<Written<W>, ApiError>> + Send>>;

/// hyper polls it while the client takes what is sent, and drops it when the client leaves.
struct StreamBody<W> {
    /// Nothing once the end was reached.
    choices: Option<Choices>,
    /// Nothing while `working` has it.
    written: Option<Written<W>>,
    working: Option<Working<W>>,
    state: AppState,
    format: Format,
    heartbeat: Duration,
    beat: Pin<Box<Sleep>>,
    /// The request's, so that what is logged while it is answered has its id.
    span: tracing::Span,
}

impl<W: Writer> StreamBody<W> {
    /// Hands on the events that are ready, and says what is to be done then.
    fn gather(&mut self, written: &mut Written<W>, context: &mut Context<'_>) -> Step {
        while let Some(choices) = &mut self.choices {
            if written.out.text.len() >= FRAME_BYTES {
                break;
            }
            match choices.poll_next(context) {
                Poll::Ready(Some(Ok((index, event)))) => {
                    written.writer.event(index, event, &mut written.out);
                }
                Poll::Ready(Some(Err(error))) => {
                    choices.count(&error);
                    self.choices = None;
                    return Step::Error(error);
                }
                Poll::Ready(None) => {
                    self.choices = None;
                    return Step::End;
                }
                Poll::Pending => break,
            }
        }
        Step::Flush
    }

    /// Takes a step where it holds up nobody. What is left of it when the client goes is one piece
    /// of work in one place.
    fn work(&self, mut written: Written<W>, step: Step) -> Working<W> {
        let (state, span) = (self.state.clone(), self.span.clone());
        Box::pin(async move {
            let work = move || {
                span.in_scope(|| written.take(&step));
                Ok(written)
            };
            work::run(&state, work).await
        })
    }

    /// Nothing to send for now but a sign of life, where it is time for one.
    fn quiet(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.format == Format::Lines || self.beat.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.send(KEEP_ALIVE.to_owned())
    }

    fn send(&mut self, text: String) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.beat.as_mut().reset(Instant::now() + self.heartbeat);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(text)))))
    }
}

impl<W: Writer> http_body::Body for StreamBody<W> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        let _within = this.span.clone().entered();
        loop {
            if let Some(working) = &mut this.working {
                let Poll::Ready(worked) = working.as_mut().poll(context) else {
                    return this.quiet(context);
                };
                this.working = None;
                // A writer that is lost ends the stream without its last event.
                this.written = worked.ok();
            } else if let Some(mut written) = this.written.take() {
                let step = this.gather(&mut written, context);
                if written.writer.takes_long(&step) {
                    this.working = Some(this.work(written, step));
                    continue;
                }
                written.take(&step);
                if written.out.text.is_empty() && this.choices.is_some() {
                    this.written = Some(written);
                    return this.quiet(context);
                }
                this.written = Some(written).filter(|written| !written.out.text.is_empty());
            }
            let Some(written) = &mut this.written else {
                this.choices = None;
                return Poll::Ready(None);
            };
            let text = std::mem::take(&mut written.out.text);
            if !text.is_empty() {
                return this.send(text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread::{self, ThreadId};

    use http_body_util::BodyExt;

    use super::*;
    use crate::web::ServeOptions;

    /// Writes where it was asked to, once.
    struct Slow {
        long: bool,
        wrote: bool,
    }

    impl Writer for Slow {
        fn event(&mut self, _: usize, _: Event, _: &mut Out) {}

        fn flush(&mut self, out: &mut Out) {
            if !std::mem::replace(&mut self.wrote, true) {
                out.message(&format!("{:?}", thread::current().id()));
            }
        }

        fn takes_long(&self, _: &Step) -> bool {
            self.long && !self.wrote
        }

        fn end(&mut self, _: &mut Out) {}

        fn error(&mut self, _: &ApiError, _: &mut Out) {}
    }

    async fn written_on(long: bool) -> String {
        let state = AppState::loading(ServeOptions::new(([127, 0, 0, 1], 0).into()));
        let body = StreamBody {
            choices: None,
            written: Some(Written {
                writer: Slow { long, wrote: false },
                out: Out::new(Format::Events),
            }),
            working: None,
            state,
            format: Format::Events,
            heartbeat: Duration::from_secs(60),
            beat: Box::pin(sleep(Duration::from_secs(60))),
            span: tracing::Span::none(),
        };
        String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn what_takes_long_is_written_off_the_async_threads() {
        let here: ThreadId = thread::current().id();
        let message = format!("data: \"{here:?}\"\n\n");
        assert_eq!(written_on(false).await, message);
        let elsewhere = written_on(true).await;
        assert!(elsewhere.starts_with("data: \"ThreadId("), "{elsewhere}");
        assert_ne!(elsewhere, message);
    }
}
