//! `POST /chat`: the answer as server-sent events, rendered as it is written.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use chat::{Event, StopReason, Usage};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::preferences::Preferences;
use super::question::Question;
use super::words::{self, Pace};
use crate::locale::Language;
use crate::web::api::request::MESSAGES_MAX;
use crate::web::body;
use crate::web::error::ApiError;
use crate::web::generation::Choices;
use crate::web::markdown::{Patch, StreamRenderer, render};
use crate::web::state::AppState;
use crate::web::streaming::{Format, Out, Step, Writer, respond};
use crate::web::work;

/// Longest text that is rendered between other requests: a millisecond's work at most.
const AT_ONCE_BYTES: usize = 2 << 10;

/// Asks the model and streams its answer to the page.
pub(super) async fn answer(State(state): State<AppState>, request: Request) -> Response {
    let language = Preferences::of(request.headers()).language;
    match start(&state, language, request).await {
        Ok(response) => response,
        Err(error) => refused(language, error),
    }
}

async fn start(
    state: &AppState,
    language: Language,
    request: Request,
) -> Result<Response, ApiError> {
    let bytes = body::read(request, state.limits()).await?;
    let model = state.model(None).ok_or_else(ApiError::internal)?;
    let for_work = Arc::clone(&model);
    let preparing = move || from_json::<Question>(&bytes)?.prepare(&for_work);
    let prepared = work::admitted(state, &model, preparing).await?;
    let choices = Choices::start(state, &model, vec![prepared.request])?;
    let writer = PageWriter::new(language, prepared.dropped_messages);
    Ok(respond(choices, writer, Format::Events, state.limits().heartbeat))
}

/// A refusal in the reader's language, in the API's shape.
fn refused(language: Language, error: ApiError) -> Response {
    let message = words::problem(language, &error);
    let body = json!({ "error": { "message": message, "code": error.code() } });
    error.into_response_with(body)
}

fn from_json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, ApiError> {
    serde_json::from_slice(bytes)
        .map_err(|error| ApiError::bad_json(format!("The body is not as expected: {error}.")))
}

/// One event as `static/api.js` reads it.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Message {
    Start {
        #[serde(skip_serializing_if = "String::is_empty")]
        note: String,
    },
    Delta {
        text: String,
        #[serde(flatten)]
        patch: Patch,
    },
    Done {
        #[serde(flatten)]
        patch: Patch,
        figures: String,
        #[serde(rename = "figuresTitle")]
        figures_title: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        note: String,
    },
    Error {
        message: String,
    },
}

/// Writes one answer for the page.
struct PageWriter {
    language: Language,
    dropped_messages: usize,
    renderer: StreamRenderer,
    /// Text that is not rendered yet: all that is ready at a time is rendered at once.
    unrendered: String,
    asked: Instant,
    first_text: Option<Instant>,
    done: Option<(StopReason, Usage)>,
}

impl PageWriter {
    fn new(language: Language, dropped_messages: usize) -> Self {
        Self {
            language,
            dropped_messages,
            renderer: StreamRenderer::new(),
            unrendered: String::new(),
            asked: Instant::now(),
            first_text: None,
            done: None,
        }
    }

    fn pace(&self) -> Pace {
        let decoding = self.first_text.map_or(Duration::ZERO, |first| first.elapsed());
        Pace { decoding, total: self.asked.elapsed() }
    }
}

impl Writer for PageWriter {
    fn event(&mut self, _: usize, event: Event, out: &mut Out) {
        match event {
            Event::Started { .. } => {
                let note = words::dropped(self.language, self.dropped_messages);
                out.message(&Message::Start { note });
            }
            Event::Text { text, .. } if !text.is_empty() => {
                self.first_text.get_or_insert_with(Instant::now);
                self.unrendered.push_str(&text);
            }
            Event::Done { stop_reason, usage, .. } => self.done = Some((stop_reason, usage)),
            // Waiting in the queue is nothing that the page shows.
            _ => {}
        }
    }

    fn flush(&mut self, out: &mut Out) {
        if !self.unrendered.is_empty() {
            let text = std::mem::take(&mut self.unrendered);
            let patch = self.renderer.push(&text);
            out.message(&Message::Delta { text, patch });
        }
    }

    fn takes_long(&self, step: &Step) -> bool {
        let new = self.unrendered.len();
        let rendered_bytes = match step {
            Step::End => self.renderer.source().len() + new,
            Step::Flush | Step::Error(_) if new == 0 => 0,
            Step::Flush | Step::Error(_) => self.renderer.open_bytes() + new,
        };
        rendered_bytes > AT_ONCE_BYTES
    }

    fn end(&mut self, out: &mut Out) {
        self.flush(out);
        let Some((stop_reason, usage)) = self.done else { return };
        let pace = self.pace();
        out.message(&Message::Done {
            patch: self.renderer.finish(),
            figures: words::figures(self.language, usage, pace),
            figures_title: words::figures_title(self.language, usage, pace),
            note: words::ended(self.language, stop_reason),
        });
    }

    fn error(&mut self, error: &ApiError, out: &mut Out) {
        self.flush(out);
        let message = words::problem(self.language, error);
        out.message(&Message::Error { message });
    }
}

#[derive(Deserialize)]
struct Texts {
    texts: Vec<String>,
}

/// `POST /chat/html`: answers that the page has kept as text, as HTML again.
pub(super) async fn html(State(state): State<AppState>, request: Request) -> Response {
    let language = Preferences::of(request.headers()).language;
    let rendered = async {
        let bytes = body::read(request, state.limits()).await?;
        // Gone when the client is: what it does not wait for is not rendered on.
        let waiting = Arc::new(());
        let waited_for = Arc::downgrade(&waiting);
        let rendering = move || {
            let Texts { texts } = from_json(&bytes)?;
            if texts.len() > MESSAGES_MAX {
                let most = format!("'texts' may have at most {MESSAGES_MAX} entries.");
                return Err(ApiError::invalid("texts", most));
            }
            let wanted = texts.iter().take_while(|_| waited_for.strong_count() > 0);
            Ok(wanted.map(|text| render(text)).collect::<Vec<_>>())
        };
        let html = work::run(&state, rendering).await;
        drop(waiting);
        html
    };
    match rendered.await {
        Ok(html) => Json(json!({ "html": html })).into_response(),
        Err(error) => refused(language, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_blocks_take_long_and_short_ones_do_not() {
        let mut writer = PageWriter::new(Language::English, 0);
        let mut out = Out::new(Format::Events);
        let paragraph = "word ".repeat(200) + "\n\n";
        for _ in 0..10 {
            writer.unrendered.push_str(&paragraph);
            assert!(!writer.takes_long(&Step::Flush), "only the last paragraph is open");
            writer.flush(&mut out);
        }
        assert!(!writer.takes_long(&Step::Flush), "there is nothing to do");
        assert!(writer.takes_long(&Step::End), "all of it is rendered again");
        writer.unrendered.push_str(&"- item\n".repeat(400));
        assert!(writer.takes_long(&Step::Flush));
        writer.flush(&mut out);
        writer.unrendered.push('x');
        assert!(
            writer.takes_long(&Step::Flush)
                && writer.takes_long(&Step::Error(ApiError::internal()))
        );
    }

    #[test]
    fn what_is_ready_at_once_is_rendered_at_once() {
        let mut writer = PageWriter::new(Language::English, 0);
        let mut out = Out::new(Format::Events);
        for _ in 0..100 {
            let event = Event::Text { text: "word ".to_owned(), tokens: Vec::new() };
            writer.event(0, event, &mut out);
        }
        writer.flush(&mut out);
        writer.flush(&mut out);
        assert_eq!(out.text().matches("\"type\":\"delta\"").count(), 1);
        assert_eq!(out.text().matches("word").count(), 200, "as text and as HTML");
    }
}
