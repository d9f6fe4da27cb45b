//! Which models there are, as Ollama tells it.

use axum::Json;
use axum::extract::{FromRequest as _, Request, State};
use serde_json::{Value, json};

use crate::terminal::count_for_people;
use crate::web::body::JsonObject;
use crate::web::error::ApiError;
use crate::web::fields::Fields;
use crate::web::state::{AppState, ServedModel};

/// When a model that stays is unloaded.
const NEVER: &str = "9999-12-31T23:59:59Z";

/// `GET /api/version`.
pub(in crate::web) async fn version() -> Json<Value> {
    Json(json!({ "version": env!("CARGO_PKG_VERSION") }))
}

/// `GET /api/tags`: every name that requests may use.
pub(in crate::web) async fn tags(State(state): State<AppState>) -> Json<Value> {
    let models = state.models();
    let tags: Vec<Value> =
        models.iter().flat_map(|model| model.names().map(|name| tag(model, name))).collect();
    Json(json!({ "models": tags }))
}

/// `POST /api/show`: what is known of a model.
pub(in crate::web) async fn show(
    State(state): State<AppState>,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    let JsonObject(body) = JsonObject::from_request(request, &state).await?;
    let fields = Fields::new(&body);
    let name = fields.string("model")?.or(fields.string("name")?);
    let model = super::model(&state, name.ok_or_else(|| fields.missing("model"))?)?;
    let architecture = &model.details.architecture;
    let context_key = format!("{architecture}.context_length");
    Ok(Json(json!({
        "modelfile": "",
        "parameters": format!(
            "temperature {}\ntop_k {}\ntop_p {}",
            model.sampling.temperature, model.sampling.top_k, model.sampling.top_p
        ),
        "template": model.chat_template.as_deref().unwrap_or_default(),
        "details": details(&model),
        "model_info": {
            "general.architecture": architecture,
            "general.parameter_count": model.details.parameters,
            context_key: model.context_tokens(),
        },
        "capabilities": ["completion"],
        "modified_at": modified(&model),
    })))
}

/// `GET /api/ps`: the models in memory, which are all of them; they stay until the server ends.
pub(in crate::web) async fn running(State(state): State<AppState>) -> Json<Value> {
    let running = state.models().into_iter().map(|model| {
        let mut tag = tag(&model, &model.name);
        tag["expires_at"] = json!(NEVER);
        tag["size_vram"] = json!(0);
        tag["context_length"] = json!(model.context_tokens());
        tag
    });
    Json(json!({ "models": running.collect::<Vec<_>>() }))
}

fn tag(model: &ServedModel, name: &str) -> Value {
    json!({
        "name": name,
        "model": name,
        "modified_at": modified(model),
        "size": model.details.bytes,
        "digest": model.digest(),
        "details": details(model),
    })
}

fn details(model: &ServedModel) -> Value {
    let family = &model.details.architecture;
    json!({
        "parent_model": "",
        "format": model.details.format,
        "family": family,
        "families": [family],
        "parameter_size": count_for_people(model.details.parameters, ""),
        "quantization_level": model.details.quantization,
    })
}

/// When the model was made, as text.
fn modified(model: &ServedModel) -> String {
    let seconds = i64::try_from(model.created).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string()
}
