//! Every refusal in the shape that OpenAI's clients read.

use std::time::Duration;

use axum::Json;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// A refusal: what happened and what to do next.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    status: StatusCode,
    kind: &'static str,
    message: String,
    param: Option<Box<str>>,
    code: Option<&'static str>,
    retry_after: Option<Duration>,
    tokens: Option<(usize, usize)>,
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, kind, message, param: None, code: None, retry_after: None, tokens: None }
    }

    fn with_code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// 400: `param` is not as it must be; `message` says how it must be.
    pub fn invalid(param: impl Into<Box<str>>, message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message);
        Self { param: Some(param.into()), ..error }
    }

    /// 400: `param` asks for something that this server does not do.
    pub fn unsupported(param: impl Into<Box<str>>, message: impl Into<String>) -> Self {
        Self::invalid(param, message).with_code("unsupported_value")
    }

    /// 400: the body is no JSON object.
    pub fn bad_json(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
            .with_code("invalid_json")
    }

    /// 400: the prompt leaves no room for an answer.
    pub fn context_overflow(param: &str, prompt_tokens: usize, context_tokens: usize) -> Self {
        let message = format!(
            "This model's context window has {context_tokens} tokens, but the request needs \
             {prompt_tokens} and room for an answer. Shorten the {param}."
        );
        let error = Self::invalid(param, message).with_code("context_length_exceeded");
        Self { tokens: Some((prompt_tokens, context_tokens)), ..error }
    }

    /// 400: HTTP/1.1 requests name their host.
    pub fn missing_host() -> Self {
        let message = "The request must name one host. Send a Host header.";
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    /// 403: the host is no name and no address, so it is not this server's.
    pub fn malformed_host() -> Self {
        let message = "The Host header must be a name or an address, and a port after a colon if \
                       there is one.";
        Self::new(StatusCode::FORBIDDEN, "permission_error", message).with_code("host_not_allowed")
    }

    /// 401, always the same text: it tells nothing about the keys there are.
    pub fn wrong_key() -> Self {
        let message = "Missing or wrong API key. Send the server's key as \
                       'Authorization: Bearer KEY' or as 'x-api-key: KEY'.";
        Self::new(StatusCode::UNAUTHORIZED, "authentication_error", message)
            .with_code("invalid_api_key")
    }

    /// 403: the request is for a name that is not this server's.
    pub fn unknown_host(host: &str) -> Self {
        let message = format!(
            "This server does not answer for the host '{host}'. Start it with --allow-host {host} \
             if that is its name."
        );
        Self::new(StatusCode::FORBIDDEN, "permission_error", message).with_code("host_not_allowed")
    }

    /// 403: a page of another site sent this.
    pub fn foreign_origin() -> Self {
        let message = "Pages of other sites may not use this server. Call it from a program or \
                       from its own page.";
        Self::new(StatusCode::FORBIDDEN, "permission_error", message)
            .with_code("origin_not_allowed")
    }

    /// 404: no such path.
    pub fn unknown_path(path: &str) -> Self {
        let message = format!("There is no {path} here. See GET /v1/models for a start.");
        Self::new(StatusCode::NOT_FOUND, "invalid_request_error", message).with_code("unknown_url")
    }

    /// 404: no such model; `known` are those there are.
    pub fn unknown_model(name: &str, known: &[&str]) -> Self {
        let message =
            format!("The model '{name}' does not exist here. Use one of: {}.", known.join(", "));
        let error = Self::new(StatusCode::NOT_FOUND, "invalid_request_error", message);
        Self { param: Some("model".into()), ..error }.with_code("model_not_found")
    }

    /// 404: nothing waits for people here.
    pub fn nothing_to_rank(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "invalid_request_error", message)
            .with_code("nothing_to_rank")
    }

    /// 404: no such candidate, or no such answer.
    pub fn unknown_answer(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "invalid_request_error", message)
            .with_code("answer_not_found")
    }

    /// 409: the same question was answered otherwise.
    pub fn answered_before(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "invalid_request_error", message)
            .with_code("answered_before")
    }

    /// 403: the answer of somebody else.
    pub fn others_answer(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "permission_error", message).with_code("others_answer")
    }

    /// 503: another program writes to the same file.
    pub fn store_busy(message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message);
        Self { retry_after: Some(Duration::from_secs(2)), ..error }.with_code("store_busy")
    }

    /// 405: the path is there, the method is not.
    pub fn wrong_method(method: &str, path: &str) -> Self {
        let message =
            format!("{path} does not take {method}. The Allow header names what it takes.");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", message)
            .with_code("method_not_allowed")
    }

    /// 408: the body stopped arriving.
    pub fn body_timeout(pause: Duration) -> Self {
        let message = format!(
            "The request's body did not arrive: nothing came for {} s. Send it again.",
            pause.as_secs()
        );
        Self::new(StatusCode::REQUEST_TIMEOUT, "timeout_error", message)
            .with_code("request_timeout")
    }

    /// 413: the body is too long.
    pub fn body_too_large(most: usize) -> Self {
        let message = format!("The request's body may have at most {most} bytes. Send less text.");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request_error", message)
            .with_code("request_too_large")
    }

    /// 429: as many wait as may wait.
    pub fn queue_full(retry_after: Duration) -> Self {
        let message = format!(
            "The server is busy and its queue is full. Try again in {} s.",
            retry_after.as_secs().max(1)
        );
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message);
        Self { retry_after: Some(retry_after), ..error }.with_code("queue_full")
    }

    /// 500: a defect of the server. What happened is in its log, not in the answer.
    pub fn internal() -> Self {
        let message = "The server failed on this request. Send it again; if it fails again, the \
                       server's log under this x-request-id says why.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
            .with_code("internal_error")
    }

    /// 500: the engine failed while it worked on this request.
    pub fn generation_failed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
            .with_code("generation_failed")
    }

    /// 503: the models are not there yet.
    pub fn loading() -> Self {
        let message = "The server is loading its model. Try again in a moment.";
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message);
        Self { retry_after: Some(Duration::from_secs(1)), ..error }.with_code("model_loading")
    }

    /// 503: the server is about to end.
    pub fn shutting_down() -> Self {
        let message = "The server is shutting down. Try again in a moment.";
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message);
        Self { retry_after: Some(Duration::from_secs(1)), ..error }.with_code("shutting_down")
    }

    /// 503: the engine failed for good.
    pub fn engine_gone() -> Self {
        let message = "The engine failed and could not be started again. The server must be \
                       restarted; its log says why.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message).with_code("engine_gone")
    }

    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What happened, for a person.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What happened, for a program; `None` for a plain bad value.
    #[must_use]
    pub fn code(&self) -> Option<&'static str> {
        self.code
    }

    /// When to try again, where the server is busy.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Tokens that the request needs and tokens that there are, where it does not fit.
    #[must_use]
    pub fn tokens(&self) -> Option<(usize, usize)> {
        self.tokens
    }

    /// A name for every refusal, under which it is logged and counted.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.code.unwrap_or("invalid_value")
    }

    /// The object under `error`, also sent in the middle of a stream.
    #[must_use]
    pub fn body(&self) -> Value {
        json!({ "error": {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }})
    }

    /// The answer with this error and another body.
    pub fn into_response_with(self, body: Value) -> Response {
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs().max(1);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
            headers.insert(RETRY_AFTER_MS, HeaderValue::from(seconds * 1000));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // Handed to the outer layers, which log it, count it, and say it in another dialect.
        response.extensions_mut().insert(self);
        response
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = self.body();
        self.into_response_with(body)
    }
}

impl From<chat::SubmitError> for ApiError {
    fn from(error: chat::SubmitError) -> Self {
        match error {
            chat::SubmitError::QueueFull { retry_after, .. } => Self::queue_full(retry_after),
            chat::SubmitError::ContextOverflow { prompt_tokens, context_tokens } => {
                Self::context_overflow("prompt", prompt_tokens, context_tokens)
            }
            chat::SubmitError::ShuttingDown => Self::shutting_down(),
            chat::SubmitError::EngineGone => Self::engine_gone(),
            chat::SubmitError::Invalid { param, message } => {
                Self::invalid(param, format!("'{param}' {message}."))
            }
            _ => Self::internal(),
        }
    }
}

impl From<chat::Error> for ApiError {
    fn from(error: chat::Error) -> Self {
        match error {
            chat::Error::ShuttingDown => Self::shutting_down(),
            chat::Error::ContextOverflow { prompt_tokens, context_tokens } => {
                Self::context_overflow("messages", prompt_tokens, context_tokens)
            }
            chat::Error::EngineFailed { ref reason } => {
                tracing::error!(%reason, "the engine failed and is restarted");
                Self::generation_failed(error.to_string())
            }
            chat::Error::EngineGone { reason } => {
                tracing::error!(%reason, "the engine failed and could not be started again");
                Self::engine_gone()
            }
            other => {
                tracing::error!(error = %other, "a request failed in the engine");
                Self::generation_failed("The engine failed on this request. Send it again.")
            }
        }
    }
}
