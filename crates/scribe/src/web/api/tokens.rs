//! Text to tokens and back, for clients that count or that bring their own prompts in tokens.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use tokenizer::Tokenizer;

use crate::web::api;
use crate::web::body::JsonObject;
use crate::web::error::ApiError;
use crate::web::fields::Fields;
use crate::web::state::AppState;
use crate::web::work;

/// Most tokens that are listed with their text.
const PIECES_MAX: usize = 1 << 16;

/// `POST /tokenize`: `prompt` (vLLM) or `content` (llama.cpp) as tokens.
///
/// vLLM's word adds the token that begins a text unless told not to, llama.cpp's the other way
/// round.
pub(in crate::web) async fn tokenize(
    State(state): State<AppState>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, ApiError> {
    let fields = Fields::new(&body);
    let model = api::model(&state, fields.string("model")?)?;
    let (text, by_default) = match (fields.string("prompt")?, fields.string("content")?) {
        (Some(text), _) => (text, true),
        (None, Some(text)) => (text, false),
        (None, None) => return Err(fields.missing("prompt")),
    };
    let with_begin = match fields.choice("add_special_tokens")? {
        Some(choice) => choice,
        None => fields.choice("add_special")?.unwrap_or(by_default),
    };
    let with_pieces = fields.flag("with_pieces")?;
    let text = text.to_owned();
    work::run(&state, move || {
        let tokenizer = &model.tokenizer;
        let mut tokens: Vec<u32> =
            tokenizer.beginning_of_text().filter(|_| with_begin).into_iter().collect();
        // Text never becomes a special token; but clients look one up by sending nothing but its
        // name.
        match tokenizer.special(&text) {
            Some(special) => tokens.push(special),
            None => tokens.extend(tokenizer.encode(&text)),
        }
        let count = tokens.len();
        if with_pieces && count > PIECES_MAX {
            let message = format!("'with_pieces' lists at most {PIECES_MAX} tokens, not {count}.");
            return Err(ApiError::invalid("with_pieces", message));
        }
        let listed: Vec<Value> = tokens
            .iter()
            .map(|&token| match with_pieces {
                true => json!({ "id": token, "piece": tokenizer.token_text(token) }),
                false => json!(token),
            })
            .collect();
        let most = model.context_tokens();
        Ok(Json(json!({ "tokens": listed, "count": count, "max_model_len": most })))
    })
    .await
}

/// `POST /detokenize`: `tokens` as text, under both names.
pub(in crate::web) async fn detokenize(
    State(state): State<AppState>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, ApiError> {
    let model = api::model(&state, Fields::new(&body).string("model")?)?;
    work::run(&state, move || {
        let fields = Fields::new(&body);
        let values = fields.list("tokens")?.ok_or_else(|| fields.missing("tokens"))?;
        let tokens = ids(values, "tokens", &model.tokenizer)?;
        let text = model.tokenizer.decode(&tokens);
        Ok(Json(json!({ "prompt": text, "content": text })))
    })
    .await
}

/// `GET /tokenizer_info`: the special tokens and the chat template, by Hugging Face's names. The
/// tokens are those that chat templates call so: lm-evaluation-harness reads a text that has nothing
/// before it after `bos_token`, or `eos_token` where there is none.
pub(in crate::web) async fn info(State(state): State<AppState>) -> Result<Json<Value>, ApiError> {
    let model = api::model(&state, None)?;
    let tokenizer = &model.tokenizer;
    let name = |token: Option<u32>| token.map(|token| tokenizer.token_text(token));
    let first_end = tokenizer.end_of_turn().first().copied();
    let end = name(tokenizer.end_in_templates().or(first_end));
    Ok(Json(json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": name(tokenizer.beginning_in_templates().or(tokenizer.beginning_of_text())),
        "eos_token": end,
        "pad_token": end,
        "add_bos_token": tokenizer.beginning_of_text().is_some(),
        "chat_template": model.chat_template,
        "vocab_size": tokenizer.vocabulary_len(),
        "model_max_length": model.context_tokens(),
    })))
}

/// The tokens of a JSON list; `path` is its name.
pub(super) fn ids(
    values: &[Value],
    path: &str,
    tokenizer: &Tokenizer,
) -> Result<Vec<u32>, ApiError> {
    let vocabulary = tokenizer.vocabulary_len();
    let id = |(index, value): (usize, &Value)| {
        let token = value.as_u64().and_then(|token| u32::try_from(token).ok());
        token.filter(|&token| (token as usize) < vocabulary).ok_or_else(|| {
            let path = format!("{path}[{index}]");
            let message = format!("'{path}' must be a token: a whole number below {vocabulary}.");
            ApiError::invalid(path, message)
        })
    };
    values.iter().enumerate().map(id).collect()
}
