//! Ollama's dialect: lines of JSON, times in nanoseconds, errors as a string.

pub(in crate::web) mod generate;
pub(in crate::web) mod models;

use std::sync::Arc;

use serde_json::{Value, json};

use crate::web::api;
use crate::web::error::ApiError;
use crate::web::state::{AppState, ServedModel};

/// The path below which this dialect is spoken.
pub(in crate::web) const PATH: &str = "/api/";

/// The model of that name. A tag is part of Ollama's names; the only one here is the one that means
/// "as it is".
fn model(state: &AppState, name: &str) -> Result<Arc<ServedModel>, ApiError> {
    api::model(state, Some(name.strip_suffix(":latest").unwrap_or(name)))
}

/// An error as Ollama's clients read it.
pub(in crate::web) fn error_body(error: &ApiError) -> Value {
    json!({ "error": error.message() })
}
