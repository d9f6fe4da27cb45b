//! The wire types and handlers of the API.

pub(super) mod ollama;
pub(super) mod openai;
pub(super) mod request;
pub(super) mod tokens;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::error::ApiError;
use super::metrics::CONTENT_TYPE as METRICS_CONTENT_TYPE;
use super::state::{AppState, ServedModel};

/// `GET /health`: a sign of life, open to everybody, that tells nothing else but whether the model is
/// the one that should answer.
pub(super) async fn health(State(state): State<AppState>) -> Response {
    if !state.is_ready() {
        return ApiError::loading().into_response_with(json!({ "status": "loading" }));
    }
    let gone = |model: &Arc<ServedModel>| {
        model.generator.check_room() == Err(::chat::SubmitError::EngineGone)
    };
    if state.models().iter().any(gone) {
        return ApiError::engine_gone().into_response_with(json!({ "status": "failed" }));
    }
    if state.is_outdated() {
        return Json(json!({ "status": "ok", "model": "outdated" })).into_response();
    }
    Json(json!({ "status": "ok" })).into_response()
}

/// `GET /metrics`: counters for Prometheus.
pub(super) async fn metrics(State(state): State<AppState>) -> impl IntoResponse {
    ([(CONTENT_TYPE, METRICS_CONTENT_TYPE)], state.metrics().text(&state))
}

/// The model that a request names, or the default one.
fn model(state: &AppState, name: Option<&str>) -> Result<Arc<ServedModel>, ApiError> {
    state.model(name).ok_or_else(|| {
        let models = state.models();
        let known: Vec<&str> = models.iter().flat_map(|model| model.names()).collect();
        ApiError::unknown_model(name.unwrap_or_default(), &known)
    })
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}
