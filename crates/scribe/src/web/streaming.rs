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
    let out = Out::new(format);
    let beat = Box::pin(sleep(heartbeat));
    let choices = Some(choices);
    let span = tracing::Span::current();
    let body = Body::new(StreamBody { choices, writer, out, heartbeat, beat, span });
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

/// hyper polls it while the client takes what is sent, and drops it when the client leaves.
struct StreamBody<W> {
    /// Nothing once the end was written.
    choices: Option<Choices>,
    writer: W,
    out: Out,
    heartbeat: Duration,
    beat: Pin<Box<Sleep>>,
    /// The request's, so that what is logged while it is answered has its id.
    span: tracing::Span,
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
        while let Some(choices) = &mut this.choices {
            if this.out.text.len() >= FRAME_BYTES {
                break;
            }
            match choices.poll_next(context) {
                Poll::Ready(Some(Ok((index, event)))) => {
                    this.writer.event(index, event, &mut this.out);
                }
                Poll::Ready(Some(Err(error))) => {
                    choices.count(&error);
                    this.writer.error(&error, &mut this.out);
                    this.choices = None;
                }
                Poll::Ready(None) => {
                    this.writer.end(&mut this.out);
                    this.choices = None;
                }
                Poll::Pending => break,
            }
        }
        this.writer.flush(&mut this.out);
        if this.out.text.is_empty() {
            if this.choices.is_none() {
                return Poll::Ready(None);
            }
            if this.out.format == Format::Lines || this.beat.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            this.out.text.push_str(KEEP_ALIVE);
        }
        this.beat.as_mut().reset(Instant::now() + this.heartbeat);
        let text = std::mem::take(&mut this.out.text);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(text)))))
    }
}
