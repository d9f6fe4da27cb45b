//! `POST /v1/chat/completions`.

use std::sync::Arc;

use ::chat::Event;
use ::chat::context::Overflow;
use ::chat::turn::{Prepared, Turn};
use axum::Json;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use tokenizer::Conversation;

use super::wire::{ChatLogprobs, UsageBody, finish_reason};
use crate::random;
use crate::web::api::{self, request};
use crate::web::body::JsonObject;
use crate::web::error::ApiError;
use crate::web::fields::Fields;
use crate::web::generation::{Choices, Completed};
use crate::web::state::{AppState, ServedModel};
use crate::web::streaming::{self, Format, Out, Writer};
use crate::web::work;

/// Tells how many messages at the begin of the conversation the model did not see.
const DROPPED_MESSAGES: &str = "x-scribe-dropped-messages";

/// What a request asks for, checked.
#[derive(Debug)]
struct Asked {
    turn: Turn,
    choices: usize,
    stream: bool,
    include_usage: bool,
}

/// Answers a conversation.
pub(in crate::web) async fn create(
    State(state): State<AppState>,
    JsonObject(body): JsonObject,
) -> Result<Response, ApiError> {
    let model = api::model(&state, Fields::new(&body).string("model")?)?;
    let for_work = Arc::clone(&model);
    let (prepared, choices, stream, include_usage) = work::admitted(&state, &model, move || {
        let asked = read(&Fields::new(&body), &for_work)?;
        let prepared = request::prepare(asked.turn, &for_work)?;
        Ok((prepared, asked.choices, asked.stream, asked.include_usage))
    })
    .await?;
    let Prepared { request, dropped_messages } = prepared;
    let head = Head {
        id: random::id("chatcmpl-"),
        created: api::now(),
        model: model.name.clone(),
        fingerprint: model.fingerprint(),
        logprobs: request.logprobs.is_some(),
        dropped_messages,
    };
    let running = Choices::start(&state, &model, request::repeated(&request, choices))?;
    let mut response = if stream {
        let writer = ChatWriter::new(head, model, include_usage.then(UsageBody::default));
        streaming::respond(running, writer, Format::Events, state.limits().heartbeat)
    } else {
        let completed = running.collect().await?;
        whole(&head, completed, &model)
    };
    if dropped_messages > 0 {
        let headers = response.headers_mut();
        headers.insert(DROPPED_MESSAGES, HeaderValue::from(dropped_messages));
    }
    Ok(response)
}

fn read(fields: &Fields<'_>, model: &ServedModel) -> Result<Asked, ApiError> {
    refuse_unsupported(fields)?;
    let messages = request::messages(fields)?;
    let context_tokens = model.context_tokens();
    let max_tokens = fields.count("max_tokens", 0..=context_tokens)?;
    let max_tokens = fields.count("max_completion_tokens", 0..=context_tokens)?.or(max_tokens);
    let alternatives = fields.count("top_logprobs", 0..=request::ALTERNATIVES_MAX)?;
    let logprobs = fields.flag("logprobs")?;
    if alternatives.is_some_and(|count| count > 0) && !logprobs {
        let message = "'top_logprobs' needs 'logprobs' to be true.";
        return Err(ApiError::invalid("top_logprobs", message));
    }
    Ok(Asked {
        turn: Turn {
            conversation: Conversation { messages },
            overflow: overflow(fields)?,
            max_tokens,
            sampling: request::sampling(fields, model)?,
            stop: request::stop(fields)?,
            logprobs: logprobs.then(|| alternatives.unwrap_or(0)),
        },
        choices: request::choices(fields)?,
        stream: fields.flag("stream")?,
        include_usage: request::include_usage(fields)?,
    })
}

/// `truncation`, as OpenAI's Responses have it: `disabled` refuses what is too long, `auto` drops
/// the oldest turns.
fn overflow(fields: &Fields<'_>) -> Result<Overflow, ApiError> {
    match fields.string("truncation")? {
        None | Some("disabled") => Ok(Overflow::Refuse),
        Some("auto") => Ok(Overflow::DropOldest),
        Some(other) => {
            let message = format!("'truncation' must be 'auto' or 'disabled', not '{other}'.");
            Err(ApiError::invalid("truncation", message))
        }
    }
}

/// Refuses what would be answered wrongly; what only a future client knows is ignored.
fn refuse_unsupported(fields: &Fields<'_>) -> Result<(), ApiError> {
    if let Some(format) = fields.object("response_format")? {
        let kind = format.string("type")?.ok_or_else(|| format.missing("type"))?;
        let path = format.path("type");
        match kind {
            "text" => {}
            "json_object" | "json_schema" => {
                let message = format!(
                    "'{path}': this server cannot hold a model to '{kind}'. Ask for JSON in the \
                     prompt and use 'text'."
                );
                return Err(ApiError::unsupported(path, message));
            }
            _ => {
                let message = format!("'{path}' must be 'text', not '{kind}'.");
                return Err(ApiError::invalid(path, message));
            }
        }
    }
    let modalities = fields.list("modalities")?.unwrap_or_default();
    if modalities.iter().any(|kind| kind != "text") {
        return Err(request::text_only("modalities".to_owned()));
    }
    let forced = |name: &str, none: [&str; 2]| match fields.get(name) {
        Some(Value::String(choice)) => !none.contains(&choice.as_str()),
        choice => choice.is_some(),
    };
    for name in ["tool_choice", "function_call"] {
        if forced(name, ["none", "auto"]) {
            let message =
                format!("'{name}': this model calls no tools. Leave it out, or use 'none'.");
            return Err(ApiError::unsupported(name, message));
        }
    }
    Ok(())
}

/// What all parts of an answer begin with.
#[derive(Clone, Debug)]
struct Head {
    id: String,
    created: u64,
    model: String,
    fingerprint: String,
    logprobs: bool,
    dropped_messages: usize,
}

/// A whole answer, or a part of one.
#[derive(Debug, Serialize)]
struct Body<'a, Choice> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    /// By which answers of another model of that name are told apart.
    system_fingerprint: &'a str,
    choices: Vec<Choice>,
    /// Left out where it was not asked for, `null` in all but the last part of a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<UsageBody>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped_messages: Option<usize>,
}

#[derive(Debug, Serialize)]
struct WholeChoice {
    index: usize,
    message: Message,
    logprobs: Option<ChatLogprobs>,
    finish_reason: &'static str,
}

#[derive(Debug, Serialize)]
struct Message {
    role: &'static str,
    content: String,
    refusal: Option<()>,
}

#[derive(Debug, Serialize)]
struct PartChoice {
    index: usize,
    delta: Delta,
    logprobs: Option<ChatLogprobs>,
    finish_reason: Option<&'static str>,
}

#[derive(Debug, Default, Serialize)]
struct Delta {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
}

impl Head {
    fn body<Choice>(
        &self,
        object: &'static str,
        choices: Vec<Choice>,
        usage: Option<Option<UsageBody>>,
    ) -> Body<'_, Choice> {
        let dropped_messages = (self.dropped_messages > 0).then_some(self.dropped_messages);
        Body {
            id: &self.id,
            object,
            created: self.created,
            model: &self.model,
            system_fingerprint: &self.fingerprint,
            choices,
            usage,
            dropped_messages,
        }
    }
}

fn whole(head: &Head, completed: Vec<Completed>, model: &ServedModel) -> Response {
    let mut usage = UsageBody::default();
    let mut choices = Vec::new();
    for (index, completed) in completed.into_iter().enumerate() {
        usage.add(&completed.usage, index == 0);
        choices.push(WholeChoice {
            index,
            message: Message { role: "assistant", content: completed.text, refusal: None },
            logprobs: head.logprobs.then(|| ChatLogprobs::new(completed.tokens, &model.tokenizer)),
            finish_reason: finish_reason(completed.stop_reason),
        });
    }
    Json(head.body("chat.completion", choices, Some(Some(usage)))).into_response()
}

/// Writes a stream's chunks.
struct ChatWriter {
    head: Head,
    model: Arc<ServedModel>,
    /// Counted where it was asked for.
    usage: Option<UsageBody>,
}

impl ChatWriter {
    fn new(head: Head, model: Arc<ServedModel>, usage: Option<UsageBody>) -> Self {
        Self { head, model, usage }
    }

    fn chunk(&self, choice: PartChoice, out: &mut Out) {
        let usage = self.usage.map(|_| None);
        out.message(&self.head.body("chat.completion.chunk", vec![choice], usage));
    }
}

impl Writer for ChatWriter {
    fn event(&mut self, index: usize, event: Event, out: &mut Out) {
        let empty =
            PartChoice { index, delta: Delta::default(), logprobs: None, finish_reason: None };
        match event {
            Event::Started { .. } => {
                let delta = Delta { role: Some("assistant"), content: Some(String::new()) };
                self.chunk(PartChoice { delta, ..empty }, out);
            }
            Event::Text { text, tokens } if self.head.logprobs || !text.is_empty() => {
                let delta = Delta { role: None, content: Some(text) };
                let logprobs =
                    self.head.logprobs.then(|| ChatLogprobs::new(tokens, &self.model.tokenizer));
                self.chunk(PartChoice { delta, logprobs, ..empty }, out);
            }
            Event::Done { stop_reason, usage, .. } => {
                if let Some(total) = &mut self.usage {
                    total.add(&usage, index == 0);
                }
                let finish_reason = Some(finish_reason(Some(stop_reason)));
                self.chunk(PartChoice { finish_reason, ..empty }, out);
            }
            // Nothing that a client would hear of.
            _ => {}
        }
    }

    fn end(&mut self, out: &mut Out) {
        if let Some(usage) = self.usage {
            let choices: Vec<PartChoice> = Vec::new();
            out.message(&self.head.body("chat.completion.chunk", choices, Some(Some(usage))));
        }
        out.done();
    }

    fn error(&mut self, error: &ApiError, out: &mut Out) {
        out.message(&error.body());
    }
}
