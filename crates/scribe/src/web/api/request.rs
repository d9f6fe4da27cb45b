//! Fields that requests of every dialect share, with their ranges.

use chat::turn::{Prepared, Turn};
use chat::{GenerationRequest, STOP_BYTES_MAX, STOPS_MAX, Sampling, derived_seed};
use model::{LOGIT_BIAS_MAX, REPETITION_PENALTY_MIN};
use serde_json::Value;
use tokenizer::{Message, Role};

use crate::random;
use crate::web::error::ApiError;
use crate::web::fields::{Fields, wrong};
use crate::web::state::ServedModel;

/// Most messages of a conversation.
pub(in crate::web) const MESSAGES_MAX: usize = 2048;
/// Highest temperature.
pub(in crate::web) const TEMPERATURE_MAX: f32 = 2.0;
/// Most completions of a prompt.
const CHOICES_MAX: usize = 8;
/// Most alternatives of a log-probability.
pub(super) const ALTERNATIVES_MAX: usize = 20;

/// How tokens are drawn: the model's defaults, and what the request says instead.
pub(super) fn sampling(fields: &Fields<'_>, model: &ServedModel) -> Result<Sampling, ApiError> {
    let defaults = &model.sampling;
    let number = |name, range, default| fields.number(name, range).map(|n| n.unwrap_or(default));
    Ok(Sampling {
        temperature: number("temperature", 0.0..=TEMPERATURE_MAX, defaults.temperature)?,
        top_p: number("top_p", 0.0..=1.0, defaults.top_p)?,
        min_p: number("min_p", 0.0..=1.0, defaults.min_p)?,
        top_k: top_k(fields)?.unwrap_or(defaults.top_k),
        repetition_penalty: number(
            "repetition_penalty",
            REPETITION_PENALTY_MIN..=10.0,
            defaults.repetition_penalty,
        )?,
        presence_penalty: number("presence_penalty", -2.0..=2.0, defaults.presence_penalty)?,
        frequency_penalty: number("frequency_penalty", -2.0..=2.0, defaults.frequency_penalty)?,
        seed: fields.seed("seed")?.unwrap_or_else(random::seed),
        logit_bias: logit_bias(fields, model.tokenizer.vocabulary_len())?
            .unwrap_or_else(|| defaults.logit_bias.clone()),
    })
}

/// A count; -1 is another word for 0: all tokens.
fn top_k(fields: &Fields<'_>) -> Result<Option<usize>, ApiError> {
    if fields.get("top_k").and_then(Value::as_i64) == Some(-1) {
        return Ok(Some(0));
    }
    fields.count("top_k", 0..=usize::MAX)
}

fn logit_bias(fields: &Fields<'_>, vocabulary: usize) -> Result<Option<Vec<(u32, f32)>>, ApiError> {
    let Some(value) = fields.get("logit_bias") else { return Ok(None) };
    let path = fields.path("logit_bias");
    let must = format!(
        "must be an object of at most {LOGIT_BIAS_MAX} numbers from -100 to 100, each under a \
         token below {vocabulary}"
    );
    let entry = |(token, bias): (&String, &Value)| {
        let token = token.parse::<u32>().ok().filter(|&token| (token as usize) < vocabulary)?;
        #[expect(clippy::cast_possible_truncation, reason = "sampling computes in f32")]
        let bias = bias.as_f64().filter(|bias| (-100.0..=100.0).contains(bias))? as f32;
        Some((token, bias))
    };
    let entries: Option<Vec<_>> = value
        .as_object()
        .filter(|object| object.len() <= LOGIT_BIAS_MAX)
        .and_then(|object| object.iter().map(entry).collect());
    entries.map(Some).ok_or_else(|| wrong(path, &must, value))
}

/// Writes a conversation in tokens. A template that refuses it is the request's fault.
///
/// # Errors
///
/// 400 if it cannot be written, or does not fit.
pub(in crate::web) fn prepare(turn: Turn, model: &ServedModel) -> Result<Prepared, ApiError> {
    let context_tokens = model.context_tokens();
    turn.prepare(&model.tokenizer, &model.format, context_tokens).map_err(|error| match error {
        chat::Error::Tokenizer(error) => {
            ApiError::invalid("messages", format!("These messages cannot be written: {error}."))
        }
        other => other.into(),
    })
}

/// The same request several times, each with its own seed.
pub(super) fn repeated(request: &GenerationRequest, choices: usize) -> Vec<GenerationRequest> {
    let numbered = (0..choices).map(|index| {
        let mut request = request.clone();
        request.sampling.seed = derived_seed(request.sampling.seed, index);
        request
    });
    numbered.collect()
}

/// Whether a stream is to end with what it cost.
pub(super) fn include_usage(fields: &Fields<'_>) -> Result<bool, ApiError> {
    let options = fields.object("stream_options")?;
    options.map_or(Ok(false), |options| options.flag("include_usage"))
}

/// Strings that end the answer.
pub(super) fn stop(fields: &Fields<'_>) -> Result<Vec<String>, ApiError> {
    fields.strings("stop", STOPS_MAX, STOP_BYTES_MAX)
}

/// How many completions of each prompt.
pub(super) fn choices(fields: &Fields<'_>) -> Result<usize, ApiError> {
    Ok(fields.count("n", 1..=CHOICES_MAX)?.unwrap_or(1))
}

/// The messages of a conversation: text only, from roles that the model knows.
pub(super) fn messages(fields: &Fields<'_>) -> Result<Vec<Message>, ApiError> {
    let path = fields.path("messages");
    let values = fields.list("messages")?.ok_or_else(|| fields.missing("messages"))?;
    if values.is_empty() || values.len() > MESSAGES_MAX {
        let message =
            format!("'{path}' must have 1 to {MESSAGES_MAX} messages, not {}.", values.len());
        return Err(ApiError::invalid(path, message));
    }
    let numbered = values.iter().enumerate();
    numbered.map(|(index, value)| message(value, format!("{path}[{index}]"))).collect()
}

fn message(value: &Value, path: String) -> Result<Message, ApiError> {
    let fields = Fields::of(value, path)?;
    let role = match fields.string("role")?.ok_or_else(|| fields.missing("role"))? {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        other => {
            let path = fields.path("role");
            let message = match other {
                "tool" | "function" => format!(
                    "'{path}' is '{other}', but this model calls no tools. Send the result as a \
                     message of the user."
                ),
                _ => format!(
                    "'{path}' must be one of system, developer, user, assistant, not '{other}'."
                ),
            };
            return Err(ApiError::invalid(path, message));
        }
    };
    if fields.list("images")?.is_some_and(|images| !images.is_empty()) {
        return Err(text_only(fields.path("images")));
    }
    Ok(Message::new(role, content(&fields)?))
}

/// A string, or a list of parts of text.
fn content(fields: &Fields<'_>) -> Result<String, ApiError> {
    let path = fields.path("content");
    match fields.get("content") {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Array(parts)) => {
            let mut content = String::new();
            for (index, part) in parts.iter().enumerate() {
                content.push_str(part_text(part, format!("{path}[{index}]"))?);
            }
            Ok(content)
        }
        None => Err(fields.missing("content")),
        Some(value) => Err(wrong(path, "must be a string or a list of text parts", value)),
    }
}

fn part_text(part: &Value, path: String) -> Result<&str, ApiError> {
    let fields = Fields::of(part, path)?;
    let kind = fields.string("type")?.ok_or_else(|| fields.missing("type"))?;
    match kind {
        "text" | "input_text" => fields.string("text")?.ok_or_else(|| fields.missing("text")),
        "refusal" => fields.string("refusal")?.ok_or_else(|| fields.missing("refusal")),
        _ => Err(text_only(fields.path("type"))),
    }
}

/// The error for pictures, sounds and files.
pub(super) fn text_only(path: String) -> ApiError {
    let message = format!("'{path}': this model reads text only. Send text instead.");
    ApiError::unsupported(path, message)
}
