//! Which models there are.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::Uri;
use serde_json::{Value, json};

use crate::web::api;
use crate::web::error::ApiError;
use crate::web::state::{AppState, ServedModel};

/// `GET /v1/models`: every name that requests may use.
pub(in crate::web) async fn list(State(state): State<AppState>) -> Json<Value> {
    let models = state.models();
    let data: Vec<Value> =
        models.iter().flat_map(|model| model.names().map(|name| entry(model, name))).collect();
    Json(json!({ "object": "list", "data": data }))
}

/// `GET /v1/models/{id}`.
pub(in crate::web) async fn retrieve(
    State(state): State<AppState>,
    uri: Uri,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let Ok(Path(id)) = id else { return Err(ApiError::unknown_path(uri.path())) };
    let model = api::model(&state, Some(&id))?;
    Ok(Json(entry(&model, &id)))
}

fn entry(model: &ServedModel, name: &str) -> Value {
    json!({
        "id": name,
        "object": "model",
        "created": model.created,
        "owned_by": "scribe",
        "max_model_len": model.context_tokens(),
        "digest": model.digest(),
        "system_fingerprint": model.fingerprint(),
    })
}
