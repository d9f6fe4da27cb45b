//! `/label`: people rank what a model of a run wrote, blinded and shuffled.
//!
//! The page is one, whoever comes; what it asks and keeps goes through four small calls of JSON:
//! `next`, `answer`, `revise` and `mine`. A judgment is on the disk before it is acknowledged.

mod read;
mod told;

use std::sync::Arc;

use askama::Template;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::home;
use super::preferences::Preferences;
use super::view::Frame;
use crate::labeling::{Desk, Labeling, Problem, Task};
use crate::locale::Language;
use crate::web::body::JsonObject;
use crate::web::error::ApiError;
use crate::web::fields::Fields;
use crate::web::state::AppState;
use crate::web::work;

/// Where the page is.
pub(super) const PATH: &str = "/label";
/// Most answers of one's own that are shown to be revised.
const OWN_MAX: usize = 50;

/// The words that the page's module uses.
const SCRIPT_WORDS: [&str; 29] = [
    "error-key",
    "error-network",
    "error-unknown",
    "label-agreement-few",
    "label-agreement-self",
    "label-agreement-two",
    "label-all-done",
    "label-answer",
    "label-better",
    "label-kept",
    "label-next-best",
    "label-nothing",
    "label-off",
    "label-order",
    "label-people",
    "label-place",
    "label-problem-answer-not-found",
    "label-problem-answered-before",
    "label-problem-nothing-to-rank",
    "label-problem-others-answer",
    "label-problem-store-busy",
    "label-progress",
    "label-revise",
    "label-role-assistant",
    "label-role-system",
    "label-role-user",
    "label-skipped",
    "label-then",
    "label-tied",
];

/// The page.
#[derive(Template)]
#[template(path = "label.html")]
struct LabelPage {
    frame: Frame,
    /// Whether the server was started with a run.
    has_run: bool,
    /// JSON for the page's modules, safe inside an element.
    data: String,
}

/// The routes of the page.
pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route(PATH, get(show))
        .route("/label/next", post(next))
        .route("/label/answer", post(answer))
        .route("/label/revise", post(revise))
        .route("/label/mine", post(mine))
}

/// `GET /label`. `/label?lang=fr` is kept in a cookie first.
async fn show(
    State(state): State<AppState>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    if let Some(response) = home::keep_choice(query.as_deref(), PATH) {
        return response;
    }
    let preferences = Preferences::of(&headers);
    let page = LabelPage {
        frame: Frame { here: PATH, ..Frame::new(preferences) },
        has_run: state.labeling().is_some(),
        data: data(preferences.language),
    };
    home::send(&page, axum::http::StatusCode::OK, &headers)
}

fn data(language: Language) -> String {
    let words: Value = SCRIPT_WORDS.iter().map(|&key| (key, language.text(key))).collect();
    // No `<` is left that could end the element around it.
    json!({ "words": words }).to_string().replace('<', "\\u003c")
}

/// `POST /label/next`: what the labeler is asked next, and where everybody stands.
async fn next(
    State(state): State<AppState>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, ApiError> {
    let fields = Fields::new(&body);
    let (labeler, held) = (read::labeler(&fields)?, read::held(&fields)?);
    at_the_desk(&state, None, labeler.clone(), move |desk, task, _| {
        let standing = told::standing(&desk.standing(&labeler)?);
        let question = desk.next(&labeler, &held)?.map(|question| told::question(&question));
        Ok(json!({ "task": task.to_string(), "question": question, "standing": standing }))
    })
    .await
}

/// `POST /label/answer`: keeps a ranking or a skip.
async fn answer(
    State(state): State<AppState>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, ApiError> {
    let fields = Fields::new(&body);
    let (task, said) = (read::task(&fields)?, read::said(&fields)?);
    let (candidate, times) = read::question(&fields)?;
    let labeler = said.labeler.clone();
    at_the_desk(&state, Some(task), labeler.clone(), move |desk, _, labeling| {
        let id = labeling.in_turn(|| desk.keep(candidate, times, said))?;
        Ok(json!({ "id": id, "standing": told::standing(&desk.standing(&labeler)?) }))
    })
    .await
}

/// `POST /label/revise`: puts another judgment in the place of one's own.
async fn revise(
    State(state): State<AppState>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, ApiError> {
    let fields = Fields::new(&body);
    let (task, said, id) = (read::task(&fields)?, read::said(&fields)?, read::row(&fields)?);
    let labeler = said.labeler.clone();
    at_the_desk(&state, Some(task), labeler.clone(), move |desk, _, labeling| {
        let id = labeling.in_turn(|| desk.revise(id, said))?;
        Ok(json!({ "id": id, "standing": told::standing(&desk.standing(&labeler)?) }))
    })
    .await
}

/// `POST /label/mine`: the labeler's own last answers, the newest first.
async fn mine(
    State(state): State<AppState>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, ApiError> {
    let labeler = read::labeler(&Fields::new(&body))?;
    at_the_desk(&state, None, labeler.clone(), move |desk, task, _| {
        let own = desk.own(&labeler)?;
        let last: Vec<Value> = own.iter().rev().take(OWN_MAX).map(told::own).collect();
        Ok(json!({ "task": task.to_string(), "answers": last }))
    })
    .await
}

/// Does something at the desk of a task, or of what is asked now, off the async threads.
async fn at_the_desk(
    state: &AppState,
    task: Option<Task>,
    labeler: String,
    act: impl FnOnce(&Desk, Task, &Labeling) -> Result<Value, Problem> + Send + 'static,
) -> Result<Json<Value>, ApiError> {
    let labeling =
        state.labeling().cloned().ok_or_else(|| told::problem(&Problem::NothingAsked))?;
    let work = move || -> Result<Value, Problem> {
        labeling.join(&labeler)?;
        let task = task.or_else(|| labeling.task()).ok_or(Problem::NothingAsked)?;
        let desk: Arc<Desk> = labeling.desk(task)?;
        act(&desk, task, &labeling)
    };
    work::run(state, move || work().map_err(|problem| told::problem(&problem))).await.map(Json)
}
