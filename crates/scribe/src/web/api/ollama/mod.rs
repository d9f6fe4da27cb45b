//! Ollama's dialect: lines of JSON, times in nanoseconds, errors as a string.

pub(in crate::web) mod generate;
pub(in crate::web) mod models;

use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::web::error::ApiError;

/// An error as Ollama's clients read it.
#[derive(Debug)]
pub(in crate::web) struct OllamaError(ApiError);

impl From<ApiError> for OllamaError {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl IntoResponse for OllamaError {
    fn into_response(self) -> Response {
        let body = json!({ "error": self.0.message() });
        self.0.into_response_with(body)
    }
}
