//! What happens around every request, whoever answers it.

use std::any::Any;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, REFRESH};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument as _;

use super::api::ollama;
use super::error::ApiError;
use super::pages;
use super::state::AppState;
use crate::random;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The page's own files and nothing else: no foreign script, style, image or connection.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data: blob:; font-src 'self'; connect-src 'self'; form-action 'self'; \
    base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
    trusted-types scribe";

/// Headers of every answer.
const SECURITY_HEADERS: [(&str, &str); 5] = [
    ("content-security-policy", CONTENT_SECURITY_POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ("cross-origin-opener-policy", "same-origin"),
];

/// Gives every answer an id and the security headers, counts it, and writes its line in the log.
pub(super) async fn observe(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let id = random::id("req_");
    // At the highest level, so that the id stands on every line, whatever is shown.
    let span = tracing::error_span!("request", %id);
    let mut response = next.run(request).instrument(span.clone()).await;
    let status = response.status().as_u16();
    let error = response.extensions().get::<ApiError>().map(ApiError::name);
    let latency_ms = started.elapsed().as_millis();
    span.in_scope(|| {
        tracing::info!(%method, path, status, error, latency_ms, "request answered");
    });
    state.metrics().answered(status);
    if let Some(error) = error {
        state.metrics().failed(error);
    }
    add_headers(response.headers_mut(), &id);
    response
}

fn add_headers(headers: &mut HeaderMap, id: &str) {
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
    for (name, value) in SECURITY_HEADERS {
        headers.entry(HeaderName::from_static(name)).or_insert(HeaderValue::from_static(value));
    }
}

/// Asks everybody to wait while the models are loaded, but for what needs none of them.
pub(super) async fn wait_for_models(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    if state.is_ready() || path == "/health" || path == "/metrics" || path.starts_with("/static/") {
        return next.run(request).await;
    }
    let error = ApiError::loading();
    let mut response = pages::problem(&error, request.headers());
    if let Some(wait) = error.retry_after() {
        // A page looks again by itself.
        response.headers_mut().insert(REFRESH, HeaderValue::from(wait.as_secs()));
    }
    response
}

/// Says a refusal as the clients of its path read it, whoever refused.
pub(super) async fn speak_the_dialect(request: Request, next: Next) -> Response {
    let is_ollama = request.uri().path().starts_with(ollama::PATH);
    let mut response = next.run(request).await;
    let error = response.extensions().get::<ApiError>().filter(|_| is_ollama);
    if let Some(body) = error.map(|error| ollama::error_body(error).to_string()) {
        *response.body_mut() = body.into();
        let headers = response.headers_mut();
        headers.remove(CONTENT_LENGTH);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    response
}

/// The answer of a handler that panicked.
pub(super) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    tracing::error!(panic = text, "a handler panicked");
    ApiError::internal().into_response()
}

/// The answer for a method that the path does not take.
pub(super) async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    ApiError::wrong_method(method.as_str(), uri.path())
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use tower::ServiceExt as _;
    use tower_http::catch_panic::CatchPanicLayer;

    use super::*;
    use crate::web::ServeOptions;

    /// What was logged, kept.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_panic_is_answered_without_its_words_which_are_in_the_log() {
        let kept = Kept::default();
        let writer = kept.clone();
        let lines = tracing_subscriber::fmt().with_max_level(tracing::Level::ERROR);
        let _logging =
            tracing::subscriber::set_default(lines.with_writer(move || writer.clone()).finish());
        let state = AppState::loading(ServeOptions::new(([127, 0, 0, 1], 0).into()));
        let app = Router::new()
            .route("/", get(planted))
            .layer(CatchPanicLayer::custom(panicked))
            .layer(from_fn_with_state(state, observe));
        let response = app.oneshot(Request::new(Body::empty())).await.unwrap();
        let id = response.headers()[REQUEST_ID].to_str().unwrap();
        let log = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert!(log.contains(id) && log.contains("planted"), "{log}");
        assert_eq!(response.status(), 500);
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(body.contains("\"internal_error\"") && !body.contains("planted"), "{body}");
    }

    async fn planted() {
        panic!("planted");
    }
}
