//! The pages as a browser gets them: words, headers, the streamed answer and the plain form.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use scribe::web::markdown::render;
use serde_json::{Value, json};

use super::server::{Answer, Setup, app, get, open, post, request, send};

fn asking(path: &str, name: &'static str, value: &'static str) -> Request<Body> {
    let mut request = request(Method::GET, path, Body::empty());
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

fn form(fields: &[(&str, &str)]) -> Request<Body> {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let mut request = request(Method::POST, "/", body);
    let kind = "application/x-www-form-urlencoded".parse().unwrap();
    request.headers_mut().insert("content-type", kind);
    request
}

/// The value of the form's hidden field.
fn history(answer: &Answer) -> Value {
    let (_, after) = answer.text.split_once("name=\"history\" value=\"").unwrap();
    let escaped = after.split('"').next().unwrap();
    let text = escaped
        .replace("&#34;", "\"")
        .replace("&#39;", "'")
        .replace("&#60;", "<")
        .replace("&#62;", ">")
        .replace("&#38;", "&");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test]
async fn the_page_comes_in_the_readers_language_with_its_policy() {
    let (app, _) = app(&Setup::default());
    let english = get(&app, "/").await;
    assert!(english.text.contains("<html lang=\"en\" data-theme=\"system\">"));
    let policy = english.headers["content-security-policy"].to_str().unwrap();
    assert!(
        policy.ends_with("require-trusted-types-for 'script'; trusted-types scribe"),
        "{policy}"
    );
    for forbidden in ["onclick=", "onload=", "style=", "javascript:", "http://", "https://"] {
        assert!(!english.text.contains(forbidden), "{forbidden}");
    }
    let french = send(&app, asking("/", "accept-language", "fr-CA,en;q=0.5")).await;
    assert!(french.text.contains("<html lang=\"fr\"") && french.text.contains("Que voulez-vous"));
    assert!(french.headers["vary"].to_str().unwrap().contains("accept-language"));
    let dark = send(&app, asking("/", "cookie", "theme=dark; lang=fr")).await;
    assert!(dark.text.contains("<html lang=\"fr\" data-theme=\"dark\">"));
}

#[tokio::test]
async fn a_choice_in_the_address_becomes_a_cookie() {
    let (app, _) = app(&Setup::default());
    let chosen = get(&app, "/?lang=fr").await;
    assert_eq!(chosen.status, StatusCode::SEE_OTHER);
    assert_eq!(chosen.headers["location"], "/");
    let cookie = chosen.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("lang=fr;") && cookie.contains("SameSite=Lax"), "{cookie}");
}

#[tokio::test]
async fn the_pages_files_are_compressed_and_kept() {
    let (app, _) = app(&Setup::default());
    let page = get(&app, "/").await.text;
    let path = page.split('"').find(|part| part.ends_with("/scribe.css")).unwrap();
    let plain = get(&app, path).await;
    assert_eq!(plain.headers["content-type"], "text/css; charset=utf-8");
    assert!(plain.headers["cache-control"].to_str().unwrap().contains("immutable"));
    let packed = open(&app, asking(path, "accept-encoding", "gzip")).await;
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    let mut again = request(Method::GET, path, Body::empty());
    again.headers_mut().insert("if-none-match", plain.headers["etag"].clone());
    assert_eq!(send(&app, again).await.status, StatusCode::NOT_MODIFIED);
    let old = get(&app, "/static/0000000000000000/main.js").await;
    assert_eq!(old.headers["cache-control"], "no-cache");
    assert_eq!(get(&app, "/static/x/../../Cargo.toml").await.status, StatusCode::NOT_FOUND);
}

/// What the page does with patches (`static/answer.js`), on strings.
fn shown(events: &[Value]) -> String {
    let (mut closed, mut tail) = (String::new(), String::new());
    for event in events {
        let text = |name: &str| event[name].as_str().unwrap_or_default();
        if event["replace"] == true {
            closed.clear();
        }
        if !text("closed").is_empty() || event["replace"] == true {
            closed.push_str(text("closed"));
            tail.clear();
        }
        let keep = usize::try_from(event["keep"].as_u64().unwrap_or(0)).unwrap();
        let units: Vec<u16> = tail.encode_utf16().take(keep).collect();
        tail = String::from_utf16(&units).unwrap() + text("tail");
    }
    closed + &tail
}

#[tokio::test]
async fn a_streamed_answer_ends_as_its_text_is_rendered() {
    let (app, _) = app(&Setup::default());
    let body = json!({
        "messages": [{ "role": "user", "content": "Say something." }],
        "system": "Be brief.", "temperature": 0.8, "max_tokens": 60,
    });
    let answer = post(&app, "/chat", &body).await;
    assert_eq!(answer.headers["content-type"], "text/event-stream; charset=utf-8");
    let (events, _) = answer.events();
    assert_eq!(events.first().unwrap()["type"], "start");
    let last = events.last().unwrap();
    assert_eq!(last["type"], "done");
    assert!(last["figures"].as_str().unwrap().contains("tokens/s"), "{last}");
    let text: String = events.iter().filter_map(|event| event["text"].as_str()).collect();
    assert!(!text.is_empty());
    assert_eq!(shown(&events), render(&text));
    let html = post(&app, "/chat/html", &json!({ "texts": [text] })).await.good();
    assert_eq!(html["html"][0], render(&text));
}

#[tokio::test]
async fn refusals_are_sentences_in_the_readers_language() {
    let (app, _) = app(&Setup::default());
    let long = "far too long ".repeat(2_000);
    let body = json!({ "messages": [{ "role": "user", "content": long }] });
    let mut french = request(Method::POST, "/chat", body.to_string());
    french.headers_mut().insert("cookie", "lang=fr".parse().unwrap());
    let answer = send(&app, french).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.ends_with("Raccourcissez-le."), "{message}");
    for body in [json!({}), json!({ "messages": [] }), json!([1]), json!({ "messages": "x" })] {
        assert_eq!(post(&app, "/chat", &body).await.status, StatusCode::BAD_REQUEST, "{body}");
    }
}

#[tokio::test]
async fn the_plain_form_answers_goes_on_and_writes_again() {
    let (app, _) = app(&Setup::default());
    let first = send(&app, form(&[("prompt", "</textarea><script>x"), ("max_tokens", "8")])).await;
    assert_eq!(first.status, StatusCode::OK);
    assert!(!first.text.contains("<script>x"));
    assert_eq!(first.headers["cache-control"], "no-store");
    let entries = history(&first);
    assert_eq!(entries.as_array().unwrap().len(), 2);
    assert_eq!(entries[0]["content"], "</textarea><script>x");

    let past = entries.to_string();
    let second =
        send(&app, form(&[("history", &past), ("prompt", "b"), ("max_tokens", "8")])).await;
    assert_eq!(history(&second).as_array().unwrap().len(), 4);
    let again = form(&[("history", &past), ("action", "regenerate"), ("max_tokens", "8")]);
    let again = send(&app, again).await;
    assert_eq!(history(&again)[0], entries[0]);
    assert_eq!(history(&again).as_array().unwrap().len(), 2);

    let empty = send(&app, form(&[("history", &past), ("prompt", "  ")])).await;
    assert!(empty.text.contains("Write a message first."));
    assert_eq!(history(&empty), entries);
    let broken = send(&app, form(&[("history", "[{"), ("prompt", "kept")])).await;
    assert_eq!(broken.status, StatusCode::BAD_REQUEST);
    assert!(broken.text.contains(">kept</textarea>"));
}

#[tokio::test]
async fn the_plain_form_brings_the_key_in_its_body() {
    let (app, _) = app(&Setup { key: Some("open sesame"), ..Setup::default() });
    assert!(get(&app, "/").await.text.contains("name=\"key\""));
    for key in ["", "wrong"] {
        let refused = send(&app, form(&[("prompt", "kept"), ("key", key)])).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
        assert!(refused.text.contains(">kept</textarea>"));
    }
    let fields = [("prompt", "a"), ("key", "open sesame"), ("max_tokens", "4")];
    let answer = send(&app, form(&fields)).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(!answer.text.contains("sesame"));
    let body = json!({ "messages": [{ "role": "user", "content": "a" }] });
    assert_eq!(post(&app, "/chat", &body).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        post(&app, "/chat/html", &json!({ "texts": [] })).await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn a_wrong_address_is_a_page_for_people_and_an_error_for_programs() {
    let (app, _) = app(&Setup::default());
    let page = send(&app, asking("/nowhere", "accept", "text/html,*/*")).await;
    assert_eq!(page.status, StatusCode::NOT_FOUND);
    assert!(page.text.contains("There is no such page"));
    assert_eq!(get(&app, "/nowhere").await.json()["error"]["code"], "unknown_url");
}
