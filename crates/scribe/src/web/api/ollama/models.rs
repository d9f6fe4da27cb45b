//! Which models there are, as Ollama tells it.

use axum::Json;
use axum::extract::{FromRequest as _, Request, State};
use serde_json::{Value, json};

use super::OllamaError;
use crate::web::api;
use crate::web::body::JsonObject;
use crate::web::fields::Fields;
use crate::web::state::{AppState, ServedModel};

/// `GET /api/version`.
pub(in crate::web) async fn version() -> Json<Value> {
    Json(json!({ "version": env!("CARGO_PKG_VERSION") }))
}

/// `GET /api/tags`: every name that requests may use.
pub(in crate::web) async fn tags(State(state): State<AppState>) -> Json<Value> {
    let models = state.models().iter();
    let tags: Vec<Value> =
        models.flat_map(|model| model.names().map(|name| tag(model, name))).collect();
    Json(json!({ "models": tags }))
}

/// `POST /api/show`: what is known of a model.
pub(in crate::web) async fn show(
    State(state): State<AppState>,
    request: Request,
) -> Result<Json<Value>, OllamaError> {
    let JsonObject(body) = JsonObject::from_request(request, &state).await?;
    let fields = Fields::new(&body);
    let name = fields.string("model")?.or(fields.string("name")?);
    let model = api::model(&state, Some(name.ok_or_else(|| fields.missing("model"))?))?;
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

fn tag(model: &ServedModel, name: &str) -> Value {
    json!({
        "name": name,
        "model": name,
        "modified_at": modified(model),
        "size": model.details.bytes,
        "digest": model.details.sha256.as_deref().unwrap_or_default(),
        "details": details(model),
    })
}

fn details(model: &ServedModel) -> Value {
    let family = &model.details.architecture;
    json!({
        "parent_model": "",
        "format": "gguf",
        "family": family,
        "families": [family],
        "parameter_size": parameter_size(model.details.parameters),
        "quantization_level": model.details.quantization,
    })
}

/// When the model was made, as text.
fn modified(model: &ServedModel) -> String {
    let seconds = i64::try_from(model.created).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

/// Such as `135M` or `1.5B`.
fn parameter_size(parameters: u64) -> String {
    let (unit, name) = match parameters {
        1_000_000_000.. => (1_000_000_000, "B"),
        1_000_000.. => (1_000_000, "M"),
        1_000.. => (1_000, "K"),
        _ => return parameters.to_string(),
    };
    let tenths = (parameters * 10).div_ceil(unit);
    if tenths >= 1000 || tenths.is_multiple_of(10) {
        format!("{}{name}", parameters.saturating_add(unit / 2) / unit)
    } else {
        format!("{}.{}{name}", tenths / 10, tenths % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::parameter_size;

    #[test]
    fn parameter_sizes_read_as_on_model_cards() {
        let sizes =
            [(999, "999"), (260_000, "260K"), (134_515_008, "135M"), (1_500_000_000, "1.5B")];
        for (parameters, expected) in sizes {
            assert_eq!(parameter_size(parameters), expected);
        }
    }
}
