//! What the server says while its model is loaded.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use scribe::web::{self, AppState, ServeOptions};
use tower::ServiceExt as _;

use super::server::{Answer, Setup, served};

async fn ask(state: &AppState, path: &str, accept: &str) -> Answer {
    let request = Request::get(path).header(header::HOST, "localhost:8080");
    let request = request.header(header::ACCEPT, accept).body(Body::empty()).unwrap();
    Answer::of(web::app(state.clone()).oneshot(request).await.unwrap()).await
}

#[tokio::test]
async fn everybody_is_asked_to_wait_until_the_model_is_there() {
    let state = AppState::loading(ServeOptions::new("127.0.0.1:8080".parse().unwrap()));
    let health = ask(&state, "/health", "*/*").await;
    assert_eq!(health.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(health.json()["status"], "loading");

    let models = ask(&state, "/v1/models", "application/json").await;
    assert_eq!(models.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(models.json()["error"]["code"], "model_loading");
    assert_eq!(models.headers[header::RETRY_AFTER], "1");

    let page = ask(&state, "/", "text/html").await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(page.headers[header::REFRESH], "1");
    assert!(page.text.contains("The model is being loaded"), "{}", page.text);
    let style = page.text.split('"').find(|part| part.ends_with(".css")).unwrap();
    assert_eq!(ask(&state, style, "*/*").await.status, StatusCode::OK);

    state.ready(vec![served(&Setup::default())]);
    assert_eq!(ask(&state, "/health", "*/*").await.json()["status"], "ok");
    assert_eq!(ask(&state, "/", "text/html").await.status, StatusCode::OK);
}
