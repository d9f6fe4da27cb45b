//! `GET /` and `POST /`: the chat page, empty, or with the answer to its plain form.

use std::sync::Arc;
use std::time::Instant;

use askama::Template;
use axum::extract::{RawQuery, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_ENCODING, LOCATION, SET_COOKIE, VARY};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};

use super::assets;
use super::preferences::Preferences;
use super::question::{Author, Entry, Form, Question};
use super::view::{
    AnswerShown, ChatPage, Frame, ModelShown, ProblemPage, SettingsShown, Shown, page_data,
};
use super::words::{self, Pace};
use crate::locale::Language;
use crate::web::body;
use crate::web::error::ApiError;
use crate::web::generation::Choices;
use crate::web::markdown::render;
use crate::web::state::AppState;
use crate::web::work;

/// Longest form of a server with a key.
const KEYED_FORM_BYTES_MAX: usize = 256 << 10;

/// `GET /`: the empty page. `/?lang=fr` and `/?theme=dark` are kept in a cookie first.
pub(super) async fn show(
    State(state): State<AppState>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    if let Some(response) = keep_choice(query.as_deref(), "/") {
        return response;
    }
    let page = Chat { form: Form::default(), ..Chat::new(Preferences::of(&headers)) };
    send(&page.page(&state), StatusCode::OK, &headers)
}

/// What an address such as `/?lang=fr` chooses becomes cookies, and the page is asked for anew.
pub(super) fn keep_choice(query: Option<&str>, page: &'static str) -> Option<Response> {
    let chosen = Preferences::chosen(query.unwrap_or_default());
    if chosen.is_empty() {
        return None;
    }
    let mut response = (StatusCode::SEE_OTHER, [(LOCATION, page)]).into_response();
    for cookie in chosen {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    Some(response)
}

/// `POST /`: the form's question, answered on a whole page.
pub(super) async fn answer(State(state): State<AppState>, request: Request) -> Response {
    let headers = request.headers().clone();
    let preferences = Preferences::of(&headers);
    // The key is in the form, so until it is read nobody has shown one.
    let mut limits = *state.limits();
    if state.options().key.is_some() {
        limits.body_bytes = limits.body_bytes.min(KEYED_FORM_BYTES_MAX);
    }
    let form = match body::read(request, &limits).await {
        Ok(bytes) => Form::parse(&bytes),
        Err(error) => return problem_page(preferences, &error, &headers),
    };
    let mut chat = Chat { form, ..Chat::new(preferences) };
    let status = match chat.answer(&state).await {
        Ok(()) => StatusCode::OK,
        Err(error) => {
            chat.fail(&error);
            error.status()
        }
    };
    // A conversation takes a while to be rendered.
    let for_work = state.clone();
    let page = move || Ok(send(&chat.page(&for_work), status, &headers));
    work::run(&state, page).await.unwrap_or_else(IntoResponse::into_response)
}

/// A page with a conversation, as far as it has got.
struct Chat {
    preferences: Preferences,
    form: Form,
    entries: Vec<Entry>,
    /// What is known of the newest answer.
    newest: AnswerShown,
    problem: String,
    /// What becomes of an answer's text.
    render: fn(&str) -> String,
}

impl Chat {
    fn new(preferences: Preferences) -> Self {
        Self {
            preferences,
            form: Form::default(),
            entries: Vec::new(),
            newest: AnswerShown::default(),
            problem: String::new(),
            render,
        }
    }

    fn language(&self) -> Language {
        self.preferences.language
    }

    /// Reads the form, asks the model, and adds its answer to the conversation. For whoever has not
    /// the key, nothing is done but to give the conversation back.
    async fn answer(&mut self, state: &AppState) -> Result<(), ApiError> {
        let key = state.options().key.as_ref();
        let is_known = key.is_none_or(|key| key.matches(self.form.key.trim()));
        if !is_known {
            self.render = raw;
        }
        let form = self.form.clone();
        self.entries = work::run(state, move || form.entries()).await?;
        if !is_known {
            return Err(ApiError::wrong_key());
        }
        let Some(question) = self.form.question(self.entries.clone())? else {
            self.problem = self.language().text("error-empty");
            return Ok(());
        };
        let mut entries = question.messages.clone();
        entries.push(Entry::assistant(self.ask(state, question).await?));
        self.entries = entries;
        self.form.prompt.clear();
        Ok(())
    }

    /// Waits for the whole answer.
    async fn ask(&mut self, state: &AppState, question: Question) -> Result<String, ApiError> {
        let asked = Instant::now();
        let model = state.model(None).ok_or_else(ApiError::internal)?;
        let for_work = Arc::clone(&model);
        let prepared = work::admitted(state, &model, move || question.prepare(&for_work)).await?;
        let choices = Choices::start(state, &model, vec![prepared.request])?;
        let completed = choices.collect().await?.pop().ok_or_else(ApiError::internal)?;
        let language = self.language();
        let total = asked.elapsed();
        let pace = Pace { decoding: total, total };
        let dropped = words::dropped(language, prepared.dropped_messages);
        let ended = completed.stop_reason.map(|reason| words::ended(language, reason));
        self.newest = AnswerShown {
            figures: words::figures(language, completed.usage, pace),
            figures_title: words::figures_title(language, completed.usage, pace),
            dropped,
            ended: ended.unwrap_or_default(),
            ..AnswerShown::default()
        };
        Ok(completed.text)
    }

    fn fail(&mut self, error: &ApiError) {
        self.problem = words::problem(self.language(), error);
    }

    fn page(mut self, state: &AppState) -> ChatPage {
        let model = state.model(None);
        let temperature = model.as_ref().map_or(1.0, |model| model.sampling.temperature);
        let history = serde_json::to_string(&self.entries).unwrap_or_default();
        let mut messages: Vec<Shown> =
            self.entries.iter().map(|entry| shown(entry, self.render)).collect();
        if let Some(Shown::Assistant(last)) = messages.last_mut() {
            self.newest.html = std::mem::take(&mut last.html);
            *last = self.newest;
        }
        ChatPage {
            data: page_data(self.preferences.language, temperature, &self.entries),
            blank: AnswerShown::default(),
            frame: Frame::new(self.preferences),
            model: ModelShown {
                name: model.as_ref().map(|model| model.name.clone()).unwrap_or_default(),
                context_tokens: model.map_or(1, |model| model.context_tokens()),
            },
            messages,
            history: if self.entries.is_empty() { String::new() } else { history },
            settings: SettingsShown {
                system: self.form.system,
                temperature: self.form.temperature,
                max_tokens: self.form.max_tokens,
            },
            draft: self.form.prompt,
            problem: self.problem,
            key_needed: state.options().key.is_some(),
        }
    }
}

fn shown(entry: &Entry, render: fn(&str) -> String) -> Shown {
    match entry.role {
        Author::User => Shown::User(entry.content.clone()),
        Author::Assistant => {
            Shown::Assistant(AnswerShown { html: render(&entry.content), ..AnswerShown::default() })
        }
    }
}

/// An answer as it was written.
fn raw(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("<p class=\"raw\">{escaped}</p>")
}

/// A page for what went wrong, with the way back to the chat.
pub(super) fn problem_page(
    preferences: Preferences,
    error: &ApiError,
    headers: &HeaderMap,
) -> Response {
    let language = preferences.language;
    let (title, message) = match error.code() {
        Some("unknown_url") => (language.text("not-found-title"), language.text("not-found")),
        Some("model_loading") => (language.text("loading-title"), language.text("loading")),
        _ => (language.text("error-title"), words::problem(language, error)),
    };
    let waits = error.code() == Some("model_loading");
    let status = (!waits).then(|| error.status().as_u16());
    let page = ProblemPage { frame: Frame::new(preferences), status, title, message };
    send(&page, error.status(), headers)
}

/// The page, compressed where the browser reads that. Nothing of a conversation is kept by caches.
pub(super) fn send(page: &impl Template, status: StatusCode, headers: &HeaderMap) -> Response {
    let html = match page.render() {
        Ok(html) => html,
        Err(error) => {
            tracing::error!(%error, "a page could not be written");
            return ApiError::internal().into_response();
        }
    };
    let mut response = if assets::accepts_gzip(headers) {
        let mut response = Html(assets::gzip(html.as_bytes())).into_response();
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        response
    } else {
        Html(html).into_response()
    };
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(VARY, HeaderValue::from_static("accept-language, cookie, accept-encoding"));
    response
}
