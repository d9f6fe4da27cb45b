//! The site and the API: all routes on one screen.

pub mod api;
mod body;
mod edge;
pub mod error;
mod fields;
mod generation;
pub mod guard;
mod layers;
pub mod markdown;
pub mod metrics;
mod models;
pub mod pages;
pub mod shutdown;
pub mod state;
mod streaming;
mod work;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tower_http::catch_panic::CatchPanicLayer;

use api::{health, metrics as scrape, ollama, openai, tokens};
pub use error::ApiError;
pub use shutdown::Shutdown;
pub use state::{AppState, Limits, ModelDetails, ServeOptions, ServedModel};

/// Serves until `shutdown` is triggered: then no more connections, up to the grace for requests to
/// finish, an error event for those that do not.
pub async fn serve(state: AppState, listener: TcpListener, shutdown: Shutdown) {
    edge::run(app(state.clone()), &state, listener, shutdown).await;
}

/// All routes, within the layers that every request passes.
pub fn app(state: AppState) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/metrics", get(scrape))
        .route("/v1/models", get(openai::models::list))
        .route("/v1/models/{*id}", get(openai::models::retrieve))
        .route("/v1/chat/completions", post(openai::chat::create))
        .route("/v1/completions", post(openai::completions::create))
        .route("/tokenize", post(tokens::tokenize))
        .route("/detokenize", post(tokens::detokenize))
        .route("/tokenizer_info", get(tokens::info))
        .route("/api/version", get(ollama::models::version))
        .route("/api/tags", get(ollama::models::tags))
        .route("/api/ps", get(ollama::models::running))
        .route("/api/show", post(ollama::models::show))
        .route("/api/chat", post(ollama::generate::chat))
        .route("/api/generate", post(ollama::generate::generate))
        .merge(pages::router())
        .fallback(pages::unknown_path)
        .method_not_allowed_fallback(layers::wrong_method)
        // From here on outwards: each layer sees what the ones after it let in.
        .layer(from_fn_with_state(state.clone(), layers::wait_for_models))
        .layer(from_fn_with_state(state.clone(), guard::check))
        .layer(CatchPanicLayer::custom(layers::panicked))
        .layer(from_fn(layers::speak_the_dialect))
        .layer(from_fn_with_state(state.clone(), layers::observe))
        .with_state(state)
}
