//! `POST /v1/completions`: prompts of text or tokens, continued as they are; also how likelihoods
//! are measured (`echo` with `logprobs`, and no or one more token).

use std::sync::Arc;

use ::chat::stream::Utf8Decoder;
use ::chat::{Event, GenerationRequest};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;

use super::wire::{TextLogprobs, UsageBody, finish_reason};
use crate::random;
use crate::web::api::{self, request};
use crate::web::body::JsonObject;
use crate::web::error::ApiError;
use crate::web::fields::{Fields, wrong};
use crate::web::generation::{Choices, Completed};
use crate::web::state::{AppState, ServedModel};
use crate::web::streaming::{self, Format, Out, Writer};
use crate::web::work;

/// Most prompts of a request.
const PROMPTS_MAX: usize = 128;
/// Most log-probabilities of prompts that one request is told: about 100 MB of JSON.
const MEASURED_MAX: usize = 1 << 20;
/// Tokens of a completion where the request does not say; OpenAI's own value.
const MAX_TOKENS_DEFAULT: usize = 16;

/// A prompt, and how it reads if it is to be repeated.
#[derive(Clone, Debug)]
struct Prompt {
    tokens: Vec<u32>,
    text: String,
}

/// What a request asks for, checked.
#[derive(Debug)]
struct Asked {
    prompts: Vec<Prompt>,
    /// Everything but the prompt.
    request: GenerationRequest,
    choices: usize,
    stream: bool,
    include_usage: bool,
}

/// Continues prompts.
pub(in crate::web) async fn create(
    State(state): State<AppState>,
    JsonObject(body): JsonObject,
) -> Result<Response, ApiError> {
    let model = api::model(&state, Fields::new(&body).string("model")?)?;
    let for_work = Arc::clone(&model);
    let asked =
        work::admitted(&state, &model, move || read(&Fields::new(&body), &for_work)).await?;
    let head = Head {
        id: random::id("cmpl-"),
        created: api::now(),
        model: model.name.clone(),
        fingerprint: model.fingerprint(),
        logprobs: asked.request.logprobs.is_some(),
        choices_per_prompt: asked.choices,
        echoed: asked
            .request
            .echo
            .then(|| asked.prompts.iter().map(|prompt| prompt.text.clone()).collect()),
    };
    let requests = asked.prompts.into_iter().flat_map(|prompt| {
        let request = GenerationRequest { prompt: prompt.tokens, ..asked.request.clone() };
        request::repeated(&request, asked.choices)
    });
    let running = Choices::start(&state, &model, requests.collect())?;
    if asked.stream {
        let usage = asked.include_usage.then(UsageBody::default);
        let writer = TextWriter { head, model, usage, offsets: Vec::new() };
        Ok(streaming::respond(running, writer, Format::Events, state.limits().heartbeat))
    } else {
        let completed = running.collect().await?;
        Ok(whole(&head, completed, &model))
    }
}

fn read(fields: &Fields<'_>, model: &ServedModel) -> Result<Asked, ApiError> {
    if fields.string("suffix")?.is_some_and(|suffix| !suffix.is_empty()) {
        let message =
            "'suffix': this model only continues a text, it cannot fill a gap. Leave it out.";
        return Err(ApiError::unsupported("suffix", message));
    }
    if fields.count("best_of", 0..=usize::MAX)?.is_some_and(|best_of| best_of > 1) {
        let message = "'best_of': ask for several completions with 'n' and choose among them.";
        return Err(ApiError::unsupported("best_of", message));
    }
    let context_tokens = model.context_tokens();
    let asked = asked(fields, model, context_tokens)?;
    if let (true, Some(alternatives)) = (asked.request.echo, asked.request.logprobs) {
        let tokens: usize = asked.prompts.iter().map(|prompt| prompt.tokens.len()).sum();
        let measured = tokens.saturating_mul(asked.choices).saturating_mul(1 + alternatives);
        if measured > MEASURED_MAX {
            let message = format!(
                "This would tell {measured} log-probabilities of prompts, at most {MEASURED_MAX} \
                 can be told at once. Send fewer prompts, or ask for less 'logprobs' or 'n'."
            );
            return Err(ApiError::invalid("prompt", message));
        }
    }
    Ok(asked)
}

fn asked(
    fields: &Fields<'_>,
    model: &ServedModel,
    context_tokens: usize,
) -> Result<Asked, ApiError> {
    let max_tokens = fields.count("max_tokens", 0..=context_tokens)?.unwrap_or(MAX_TOKENS_DEFAULT);
    Ok(Asked {
        prompts: prompts(fields, model)?,
        request: GenerationRequest {
            prompt: Vec::new(),
            max_tokens: Some(max_tokens),
            sampling: request::sampling(fields, model)?,
            stop: request::stop(fields)?,
            logprobs: fields.count("logprobs", 0..=request::ALTERNATIVES_MAX)?,
            echo: fields.flag("echo")?,
        },
        choices: request::choices(fields)?,
        stream: fields.flag("stream")?,
        include_usage: request::include_usage(fields)?,
    })
}

/// A text, several texts, the tokens of one prompt, or of several.
fn prompts(fields: &Fields<'_>, model: &ServedModel) -> Result<Vec<Prompt>, ApiError> {
    let value = fields.get("prompt").ok_or_else(|| fields.missing("prompt"))?;
    let path = fields.path("prompt");
    let Value::Array(values) = value else { return Ok(vec![prompt(value, path, model)?]) };
    if values.iter().all(Value::is_number) {
        return Ok(vec![prompt(value, path, model)?]);
    }
    if values.len() > PROMPTS_MAX {
        let message =
            format!("'{path}' may have at most {PROMPTS_MAX} prompts, not {}.", values.len());
        return Err(ApiError::invalid(path, message));
    }
    let numbered = values.iter().enumerate();
    numbered.map(|(index, value)| prompt(value, format!("{path}[{index}]"), model)).collect()
}

fn prompt(value: &Value, path: String, model: &ServedModel) -> Result<Prompt, ApiError> {
    let tokenizer = &model.tokenizer;
    let prompt = match value {
        Value::String(text) => {
            let mut tokens: Vec<u32> = tokenizer.beginning_of_text().into_iter().collect();
            tokens.extend(tokenizer.encode(text));
            Prompt { tokens, text: text.clone() }
        }
        Value::Array(values) => {
            let tokens = api::tokens::ids(values, &path, tokenizer)?;
            let text = read_text(&tokens, model);
            Prompt { tokens, text }
        }
        _ => return Err(wrong(path, "must be a string or a list of tokens", value)),
    };
    if prompt.tokens.is_empty() {
        let message = format!("'{path}' is empty. Give the model something to continue.");
        return Err(ApiError::invalid(path, message));
    }
    let (prompt_tokens, context_tokens) = (prompt.tokens.len(), model.context_tokens());
    if prompt_tokens > context_tokens {
        return Err(ApiError::context_overflow("prompt", prompt_tokens, context_tokens));
    }
    Ok(prompt)
}

/// The text of tokens, exactly as the tokens of an echoed prompt are told one by one.
fn read_text(tokens: &[u32], model: &ServedModel) -> String {
    let mut decoder = Utf8Decoder::default();
    let mut text = String::new();
    for &token in tokens {
        text.push_str(&decoder.push(model.tokenizer.token_bytes(token)));
    }
    text.push_str(&decoder.finish());
    text
}

/// What all parts of an answer begin with.
#[derive(Clone, Debug)]
struct Head {
    id: String,
    created: u64,
    model: String,
    fingerprint: String,
    logprobs: bool,
    choices_per_prompt: usize,
    /// The texts of the prompts, where they are to be repeated.
    echoed: Option<Vec<String>>,
}

#[derive(Debug, Serialize)]
struct Body<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    /// By which answers of another model of that name are told apart.
    system_fingerprint: &'a str,
    choices: Vec<Choice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<UsageBody>>,
}

#[derive(Debug, Serialize)]
struct Choice {
    index: usize,
    text: String,
    logprobs: Option<TextLogprobs>,
    finish_reason: Option<&'static str>,
}

impl Head {
    fn body(&self, choices: Vec<Choice>, usage: Option<Option<UsageBody>>) -> Body<'_> {
        Body {
            id: &self.id,
            object: "text_completion",
            created: self.created,
            model: &self.model,
            system_fingerprint: &self.fingerprint,
            choices,
            usage,
        }
    }

    /// What goes before the completion of choice `index`.
    fn echo(&self, index: usize) -> &str {
        let prompts = self.echoed.as_deref().unwrap_or_default();
        prompts.get(index / self.choices_per_prompt).map_or("", String::as_str)
    }

    fn is_first_of_prompt(&self, index: usize) -> bool {
        index.is_multiple_of(self.choices_per_prompt)
    }
}

fn whole(head: &Head, completed: Vec<Completed>, model: &ServedModel) -> Response {
    let mut usage = UsageBody::default();
    let mut choices = Vec::new();
    for (index, completed) in completed.into_iter().enumerate() {
        usage.add(&completed.usage, head.is_first_of_prompt(index));
        let mut tokens = completed.prompt;
        tokens.extend(completed.tokens);
        choices.push(Choice {
            index,
            text: format!("{}{}", head.echo(index), completed.text),
            logprobs: head.logprobs.then(|| TextLogprobs::new(tokens, &model.tokenizer, 0).0),
            finish_reason: Some(finish_reason(completed.stop_reason)),
        });
    }
    Json(head.body(choices, Some(Some(usage)))).into_response()
}

/// Writes a stream's chunks.
struct TextWriter {
    head: Head,
    model: Arc<ServedModel>,
    /// Counted where it was asked for.
    usage: Option<UsageBody>,
    /// Characters that were sent of each choice.
    offsets: Vec<usize>,
}

impl TextWriter {
    fn chunk(&self, choice: Choice, out: &mut Out) {
        out.message(&self.head.body(vec![choice], self.usage.map(|_| None)));
    }

    /// Sends text and its tokens.
    fn text(&mut self, index: usize, text: String, tokens: Vec<::chat::TokenInfo>, out: &mut Out) {
        if self.offsets.len() <= index {
            self.offsets.resize(index + 1, 0);
        }
        let logprobs = self.head.logprobs.then(|| {
            let offset = self.offsets[index];
            let (logprobs, end) = TextLogprobs::new(tokens, &self.model.tokenizer, offset);
            self.offsets[index] = end;
            logprobs
        });
        self.chunk(Choice { index, text, logprobs, finish_reason: None }, out);
    }
}

impl Writer for TextWriter {
    fn event(&mut self, index: usize, event: Event, out: &mut Out) {
        match event {
            Event::Started { prompt, .. } if self.head.echoed.is_some() => {
                let text = self.head.echo(index).to_owned();
                self.text(index, text, prompt, out);
            }
            Event::Text { text, tokens } if self.head.logprobs || !text.is_empty() => {
                self.text(index, text, tokens, out);
            }
            Event::Done { stop_reason, usage, .. } => {
                let is_first = self.head.is_first_of_prompt(index);
                if let Some(total) = &mut self.usage {
                    total.add(&usage, is_first);
                }
                let finish_reason = Some(finish_reason(Some(stop_reason)));
                let choice = Choice { index, text: String::new(), logprobs: None, finish_reason };
                self.chunk(choice, out);
            }
            // Nothing that a client would hear of.
            _ => {}
        }
    }

    fn end(&mut self, out: &mut Out) {
        if let Some(usage) = self.usage {
            out.message(&self.head.body(Vec::new(), Some(Some(usage))));
        }
        out.done();
    }

    fn error(&mut self, error: &ApiError, out: &mut Out) {
        out.message(&error.body());
    }
}
