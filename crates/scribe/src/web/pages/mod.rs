//! The pages: the chat, its streamed answers, its own files, and a page for what went wrong.
//!
//! Everything works twice: with JavaScript as a stream of rendered patches (`stream`), and without
//! as a plain form (`home`). Both show the HTML of one renderer, [`super::markdown`].

mod assets;
mod home;
mod label;
mod preferences;
mod question;
mod stream;
mod view;
mod words;

use axum::Router;
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};

use super::error::ApiError;
use super::state::AppState;
use preferences::Preferences;

/// The routes of the pages.
pub fn router() -> Router<AppState> {
    Router::new()
        .route("/", get(home::show).post(home::answer))
        .merge(label::router())
        .route("/chat", post(stream::answer))
        .route("/chat/html", post(stream::html))
        .route("/static/{version}/{name}", get(assets::serve))
        // Some browsers ask for this name whatever the page says.
        .route("/favicon.ico", get(favicon))
}

async fn favicon() -> Redirect {
    Redirect::permanent(&format!("{}/favicon.svg", assets::folder()))
}

/// The answer for a path that nobody serves: a page for people, an error for programs.
pub async fn unknown_path(uri: Uri, headers: HeaderMap) -> Response {
    problem(&ApiError::unknown_path(uri.path()), &headers)
}

/// A refusal: a page for people, an error for programs.
pub(super) fn problem(error: &ApiError, headers: &HeaderMap) -> Response {
    if is_for_people(headers) {
        home::problem_page(Preferences::of(headers), error, headers)
    } else {
        error.clone().into_response()
    }
}

/// Whether a browser asks for a page.
fn is_for_people(headers: &HeaderMap) -> bool {
    let accepted = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    accepted.is_some_and(|accepted| accepted.contains("text/html"))
}
