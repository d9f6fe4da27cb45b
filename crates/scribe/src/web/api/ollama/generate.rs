//! `POST /api/chat` and `POST /api/generate`.

use std::sync::Arc;
use std::time::Instant;

use ::chat::context::Overflow;
use ::chat::turn::Turn;
use ::chat::{Event, GenerationRequest, STOP_BYTES_MAX, STOPS_MAX, Sampling, StopReason, Usage};
use axum::Json;
use axum::extract::{FromRequest as _, Request, State};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use tokenizer::{Conversation, Message, Role};

use crate::random;
use crate::web::api::request;
use crate::web::body::JsonObject;
use crate::web::error::ApiError;
use crate::web::fields::Fields;
use crate::web::generation::Choices;
use crate::web::state::{AppState, ServedModel};
use crate::web::streaming::{self, Format, Out, Writer};
use crate::web::work;

/// Which of the two answers is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Chat,
    Generate,
}

/// Continues a conversation.
pub(in crate::web) async fn chat(
    State(state): State<AppState>,
    request: Request,
) -> Result<Response, ApiError> {
    answer(state, request, Kind::Chat).await
}

/// Answers a single prompt.
pub(in crate::web) async fn generate(
    State(state): State<AppState>,
    request: Request,
) -> Result<Response, ApiError> {
    answer(state, request, Kind::Generate).await
}

async fn answer(state: AppState, request: Request, kind: Kind) -> Result<Response, ApiError> {
    let begun = Instant::now();
    let JsonObject(body) = JsonObject::from_request(request, &state).await?;
    let fields = Fields::new(&body);
    let name = fields.string("model")?.ok_or_else(|| fields.missing("model"))?;
    let model = super::model(&state, name)?;
    let mut line = Line { kind, model: name.to_owned(), begun, prompt_done: None };
    let stream = fields.choice("stream")?.unwrap_or(true);
    let for_work = Arc::clone(&model);
    let asked = work::admitted(&state, &model, move || read(&body, &for_work, kind)).await?;
    let Some(asked) = asked else { return Ok(Json(line.loaded()).into_response()) };
    let running = Choices::start(&state, &model, vec![asked])?;
    if stream {
        return Ok(streaming::respond(running, line, Format::Lines, state.limits().heartbeat));
    }
    let mut running = running;
    let mut text = String::new();
    loop {
        let event = std::future::poll_fn(|context| running.poll_next(context)).await;
        match event.transpose()? {
            Some((_, Event::Started { .. })) => line.prompt_done = Some(Instant::now()),
            Some((_, Event::Text { text: piece, .. })) => text.push_str(&piece),
            Some((_, Event::Done { stop_reason, usage, .. })) => {
                return Ok(Json(line.last(&text, stop_reason, usage)).into_response());
            }
            Some(_) => {}
            None => return Err(ApiError::internal()),
        }
    }
}

/// The request in tokens; nothing if it only asks for the model to be there.
fn read(
    body: &Map<String, Value>,
    model: &ServedModel,
    kind: Kind,
) -> Result<Option<GenerationRequest>, ApiError> {
    let fields = Fields::new(body);
    refuse_unsupported(&fields)?;
    let messages = match kind {
        Kind::Chat if fields.list("messages")?.is_none_or(<[Value]>::is_empty) => return Ok(None),
        Kind::Chat => request::messages(&fields)?,
        Kind::Generate => match fields.string("prompt")? {
            None | Some("") => return Ok(None),
            Some(prompt) => {
                let system = fields.string("system")?.map(|text| Message::new(Role::System, text));
                system.into_iter().chain([Message::new(Role::User, prompt)]).collect()
            }
        },
    };
    let none = Map::new();
    let options = fields.object("options")?.unwrap_or(Fields::new(&none));
    let sampling = sampling(&options, model)?;
    let max_tokens = max_tokens(&options, model.context_tokens())?;
    let stop = options.strings("stop", STOPS_MAX, STOP_BYTES_MAX)?;
    if kind == Kind::Generate && fields.flag("raw")? {
        let tokenizer = &model.tokenizer;
        let text = messages.last().map_or("", |message| message.content.as_str());
        let mut prompt: Vec<u32> = tokenizer.beginning_of_text().into_iter().collect();
        prompt.extend(tokenizer.encode(text));
        return Ok(Some(GenerationRequest {
            prompt,
            max_tokens,
            sampling,
            stop,
            ..Default::default()
        }));
    }
    let turn = Turn {
        conversation: Conversation { messages },
        // As Ollama does it; its clients keep no count of tokens.
        overflow: Overflow::DropOldest,
        max_tokens,
        sampling,
        stop,
        logprobs: None,
    };
    Ok(Some(request::prepare(turn, model)?.request))
}

/// Refuses what would be answered wrongly.
fn refuse_unsupported(fields: &Fields<'_>) -> Result<(), ApiError> {
    if fields.list("images")?.is_some_and(|images| !images.is_empty()) {
        return Err(request::text_only("images".to_owned()));
    }
    if fields.get("format").is_some_and(|format| format != "") {
        let message = "'format': this server cannot hold a model to a format. Leave it out.";
        return Err(ApiError::unsupported("format", message));
    }
    for name in ["suffix", "template"] {
        if fields.string(name)?.is_some_and(|text| !text.is_empty()) {
            let message = format!("'{name}' is not supported here. Leave it out.");
            return Err(ApiError::unsupported(name, message));
        }
    }
    Ok(())
}

/// Ollama's names for what OpenAI's clients send; options that only its own engine knows are
/// ignored.
fn sampling(options: &Fields<'_>, model: &ServedModel) -> Result<Sampling, ApiError> {
    let sampling = request::sampling(options, model)?;
    let seed = match options.seed("seed")? {
        // -1 is Ollama's word for a random seed.
        Some(u64::MAX) | None => random::seed(),
        Some(seed) => seed,
    };
    let repetition_penalty = options
        .number("repeat_penalty", model::REPETITION_PENALTY_MIN..=10.0)?
        .unwrap_or(sampling.repetition_penalty);
    Ok(Sampling { seed, repetition_penalty, ..sampling })
}

/// `num_predict`; negative numbers mean as many as fit.
fn max_tokens(options: &Fields<'_>, context_tokens: usize) -> Result<Option<usize>, ApiError> {
    let value = options.get("num_predict").and_then(Value::as_i64);
    if value.is_some_and(|count| count < 0) {
        return Ok(None);
    }
    Ok(options.count("num_predict", 0..=usize::MAX)?.map(|most| most.min(context_tokens)))
}

/// What every line of an answer says.
#[derive(Clone, Debug)]
struct Line {
    kind: Kind,
    model: String,
    begun: Instant,
    prompt_done: Option<Instant>,
}

impl Line {
    /// One line; `more` is what it says beyond the text.
    fn with(&self, text: &str, done: bool, more: Value) -> Value {
        let mut line = json!({
            "model": self.model,
            "created_at": jiff::Timestamp::now().to_string(),
            "done": done,
        });
        match self.kind {
            Kind::Chat => line["message"] = json!({ "role": "assistant", "content": text }),
            Kind::Generate => line["response"] = json!(text),
        }
        if let (Value::Object(line), Value::Object(more)) = (&mut line, more) {
            line.extend(more);
        }
        line
    }

    /// The answer to a request that says nothing: the model is there.
    fn loaded(&self) -> Value {
        self.with("", true, json!({ "done_reason": "load" }))
    }

    /// The last line, with times in nanoseconds.
    fn last(&self, text: &str, stop_reason: StopReason, usage: Usage) -> Value {
        let now = Instant::now();
        let prompt_done = self.prompt_done.unwrap_or(now);
        let nanoseconds = |from: Instant, to: Instant| {
            u64::try_from(to.duration_since(from).as_nanos()).unwrap_or(u64::MAX)
        };
        let done_reason = if stop_reason == StopReason::Length { "length" } else { "stop" };
        let figures = json!({
            "done_reason": done_reason,
            "total_duration": nanoseconds(self.begun, now),
            "load_duration": 0,
            "prompt_eval_count": usage.prompt_tokens,
            "prompt_eval_duration": nanoseconds(self.begun, prompt_done),
            "eval_count": usage.completion_tokens,
            "eval_duration": nanoseconds(prompt_done, now),
        });
        self.with(text, true, figures)
    }
}

impl Writer for Line {
    fn event(&mut self, _index: usize, event: Event, out: &mut Out) {
        match event {
            Event::Started { .. } => self.prompt_done = Some(Instant::now()),
            Event::Text { text, .. } if !text.is_empty() => {
                out.message(&self.with(&text, false, Value::Null));
            }
            Event::Done { stop_reason, usage, .. } => {
                out.message(&self.last("", stop_reason, usage));
            }
            // Nothing that a client would hear of.
            _ => {}
        }
    }

    fn end(&mut self, _out: &mut Out) {
        // The line that said `done` was the last one.
    }

    fn error(&mut self, error: &ApiError, out: &mut Out) {
        out.message(&super::error_body(error));
    }
}
