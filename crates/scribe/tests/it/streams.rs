//! Streams: the same answer in pieces, and how they end.

use std::time::Duration;

use axum::http::Method;
use http_body_util::BodyExt as _;
use scribe::web::ServedModel;
use serde_json::{Value, json};

use crate::server::{Answer, Setup, app, chat_body, get, open, post, request, served};

const CHAT: &str = "/v1/chat/completions";

#[tokio::test]
async fn a_stream_is_the_plain_answer_in_pieces() {
    let (app, _) = app(&Setup::default());
    let more = json!({ "n": 2, "logprobs": true, "top_logprobs": 1, "max_tokens": 40 });
    let plain = post(&app, CHAT, &chat_body(more.clone())).await.good();
    let mut more = more;
    more["stream"] = json!(true);
    let answer = post(&app, CHAT, &chat_body(more)).await;
    assert_eq!(answer.headers["content-type"], "text/event-stream; charset=utf-8");
    assert_eq!(answer.headers["cache-control"], "no-cache, no-transform");
    assert_eq!(answer.headers["x-accel-buffering"], "no");
    let (events, done) = answer.events();
    assert!(done);
    let id = &events[0]["id"];
    for index in 0..2_usize {
        let choices: Vec<&Value> = events
            .iter()
            .map(|event| &event["choices"][0])
            .filter(|choice| choice["index"] == index)
            .collect();
        assert_eq!(choices[0]["delta"], json!({ "role": "assistant", "content": "" }));
        let last = choices.last().unwrap();
        assert_eq!((&last["delta"], &last["finish_reason"]), (&json!({}), &json!("length")));
        let middle = &choices[1..choices.len() - 1];
        assert!(middle.iter().all(|choice| choice["delta"].get("role").is_none()));
        assert!(middle.iter().all(|choice| choice["finish_reason"].is_null()));
        let joined: String =
            middle.iter().filter_map(|choice| choice["delta"]["content"].as_str()).collect();
        assert_eq!(joined, plain["choices"][index]["message"]["content"]);
        let tokens: Vec<&Value> = middle
            .iter()
            .flat_map(|choice| choice["logprobs"]["content"].as_array().unwrap())
            .collect();
        assert_eq!(json!(tokens), plain["choices"][index]["logprobs"]["content"]);
    }
    for event in &events {
        assert_eq!((&event["id"], &event["object"]), (id, &json!("chat.completion.chunk")));
        assert!(event.get("usage").is_none(), "nobody asked for it");
    }
}

#[tokio::test]
async fn usage_comes_last_and_without_choices_where_it_was_asked_for() {
    let (app, _) = app(&Setup::default());
    let plain = post(&app, CHAT, &chat_body(json!({}))).await.good();
    let more = json!({ "stream": true, "stream_options": { "include_usage": true } });
    let (events, done) = post(&app, CHAT, &chat_body(more)).await.events();
    assert!(done);
    let (last, others) = events.split_last().unwrap();
    assert_eq!(last["choices"], json!([]));
    let count = |usage: &Value, name: &str| usage[name].as_u64();
    for name in ["prompt_tokens", "completion_tokens", "total_tokens"] {
        assert_eq!(count(&last["usage"], name), count(&plain["usage"], name));
    }
    assert!(others.iter().all(|event| event["usage"].is_null()));
    assert!(others.iter().all(|event| event.get("usage").is_some()));
}

#[tokio::test]
async fn stop_strings_hold_in_streams() {
    let (app, _) = app(&Setup::default());
    let whole = post(&app, CHAT, &chat_body(json!({}))).await.good();
    let whole = whole["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    let characters: Vec<char> = whole.chars().collect();
    let stop: String = characters[characters.len() / 2..][..2].iter().collect();
    let more = json!({ "stream": true, "stop": stop });
    let (events, _) = post(&app, CHAT, &chat_body(more)).await.events();
    let joined: String = events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(joined, whole[..whole.find(&stop).unwrap()]);
    assert_eq!(events.last().unwrap()["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn a_failure_in_the_middle_is_an_error_event_and_no_good_end() {
    let (app, state) = app(&Setup { slow: true, ..Setup::default() });
    let body = chat_body(json!({ "stream": true, "max_tokens": 400, "n": 8 })).to_string();
    let mut response = open(&app, request(Method::POST, CHAT, body)).await;
    let first = response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(first.starts_with(b"data: {"));
    let generator = state.models()[0].generator.clone();
    tokio::task::spawn_blocking(move || generator.shutdown(Duration::ZERO)).await.unwrap();
    let (events, done) = Answer::of(response).await.events();
    assert!(!done);
    assert_eq!(events.last().unwrap()["error"]["code"], "shutting_down");
    let refused = post(&app, CHAT, &chat_body(json!({}))).await;
    assert_eq!(refused.refusal(), (503, None, Some("shutting_down".into())));
}

#[tokio::test]
async fn a_quiet_stream_shows_that_it_lives() {
    let mut setup = Setup { slots: 1, slow: true, ..Setup::default() };
    setup.limits.heartbeat = Duration::from_millis(1);
    let (app, _) = app(&setup);
    let body = chat_body(json!({ "stream": true, "max_tokens": 400 })).to_string();
    let first = open(&app, request(Method::POST, CHAT, body.clone())).await;
    let second = Answer::of(open(&app, request(Method::POST, CHAT, body)).await).await;
    assert!(second.text.starts_with(": keep-alive\n\n"), "it waited for the first one's slot");
    let (events, done) = second.events();
    assert!(done && events.len() > 2);
    assert!(Answer::of(first).await.events().1);
}

#[tokio::test]
async fn a_full_queue_is_told_with_when_to_come_back() {
    let (app, state) = app(&Setup { slots: 1, slow: true, queue: 1, ..Setup::default() });
    let long = chat_body(json!({ "stream": true, "max_tokens": 400 })).to_string();
    let mut first = open(&app, request(Method::POST, CHAT, long.clone())).await;
    let started = first.body_mut().frame().await.unwrap().unwrap();
    assert!(started.is_data(), "it has the slot");
    let second = open(&app, request(Method::POST, CHAT, long.clone())).await;
    let third = post(&app, CHAT, &chat_body(json!({}))).await;
    assert_eq!(third.refusal(), (429, None, Some("queue_full".into())));
    let seconds: u64 = third.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert_eq!(third.headers["retry-after-ms"], (1000 * seconds).to_string());
    drop(second);
    let fourth = open(&app, request(Method::POST, CHAT, long)).await;
    assert_eq!(fourth.status(), 200, "the second one's place is free");
    drop(first);
    assert!(Answer::of(fourth).await.events().1);
    for line in [
        "scribe_request_count 3",
        "scribe_request_success 1",
        "scribe_request_failure{err=\"queue_full\"} 1",
        "scribe_request_cancelled{where=\"queue\"} 1",
        "scribe_request_cancelled{where=\"decode\"} 1",
        "scribe_queue_size 0",
        "scribe_batch_current_size 0",
    ] {
        // The engine thread hears of clients that left at its next step.
        let mut text = state.metrics().text(&state);
        for _ in 0..500 {
            if text.contains(line) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            text = state.metrics().text(&state);
        }
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[tokio::test]
async fn several_choices_come_although_the_queue_is_full_between_them() {
    let (app, _) = app(&Setup { slots: 1, queue: 1, slow: true, ..Setup::default() });
    let stream = |more: Value| {
        let mut body = chat_body(more);
        body["stream"] = json!(true);
        open(&app, request(Method::POST, CHAT, body.to_string()))
    };
    let several = stream(json!({ "n": 2, "max_tokens": 3 })).await;
    let mut next = stream(json!({ "max_tokens": 400 })).await;
    // The first choice of `several` has ended when `next` begins; then somebody else waits.
    next.body_mut().frame().await.unwrap().unwrap();
    let waiting = stream(json!({ "max_tokens": 3 })).await;
    assert_eq!(waiting.status(), 200);
    let full = stream(json!({})).await;
    assert_eq!(full.status(), 429);
    // Refused before its prompt is written in tokens, which would tell that it is too long.
    for path in [CHAT, "/api/chat", "/chat", "/v1/completions"] {
        let long = "far too long ".repeat(2_000);
        let more = json!({ "messages": [{ "role": "user", "content": long }], "prompt": long });
        assert_eq!(post(&app, path, &chat_body(more)).await.status, 429, "{path}");
    }
    // All three are read to their ends, as their clients would.
    let ends = tokio::join!(Answer::of(several), Answer::of(next), Answer::of(waiting)).0;
    let (events, done) = ends.events();
    assert!(done && events.iter().all(|event| event.get("error").is_none()), "{events:?}");
    let finished = events.iter().filter(|event| event["choices"][0]["finish_reason"] == "length");
    assert_eq!(finished.count(), 2);
}

#[tokio::test]
async fn a_model_that_is_replaced_ends_what_it_began_and_is_gone() {
    let setup = Setup { slots: 2, queue: 4, slow: true, ..Setup::default() };
    let (app, state) = app(&setup);
    let more = json!({ "stream": true, "max_tokens": 200 });
    let undisturbed = contents(&post(&app, CHAT, &chat_body(more.clone())).await);
    // More than there are slots, so that one of them waits in the old model's queue.
    let mut begun = Vec::new();
    for _ in 0..3 {
        let body = chat_body(more.clone()).to_string();
        begun.push(open(&app, request(Method::POST, CHAT, body)).await);
    }
    let (fingerprint, old) = {
        let old = state.models().remove(0);
        (old.fingerprint(), std::sync::Arc::downgrade(&old))
    };
    state.replace(ServedModel { created: 1, ..served(&setup) });
    assert!(old.strong_count() > 0, "it has requests");
    let next = post(&app, CHAT, &chat_body(json!({ "max_tokens": 3 }))).await.good();
    assert_eq!(next["system_fingerprint"], state.models()[0].fingerprint());
    assert_ne!(next["system_fingerprint"], fingerprint);
    for response in begun {
        let answer = Answer::of(response).await;
        assert_eq!(contents(&answer), undisturbed);
        let (events, done) = answer.events();
        assert!(done && events.iter().all(|event| event["system_fingerprint"] == fingerprint));
    }
    assert_eq!(old.strong_count(), 0, "its memory is free after its last request");
    assert!(state.metrics().text(&state).contains("scribe_model_changes 1"));
}

/// What a stream says, in one piece.
fn contents(answer: &Answer) -> String {
    let (events, _) = answer.events();
    let pieces = events.iter().map(|event| &event["choices"][0]["delta"]["content"]);
    pieces.filter_map(Value::as_str).collect()
}

#[tokio::test]
async fn a_model_that_was_replaced_can_be_stopped_by_itself() {
    let (app, state) = app(&Setup { slow: true, ..Setup::default() });
    let body = chat_body(json!({ "stream": true, "max_tokens": 400, "n": 8 })).to_string();
    let response = open(&app, request(Method::POST, CHAT, body)).await;
    let before = state.models();
    state.replace(ServedModel { created: 1, ..served(&Setup::default()) });
    let generator = before[0].generator.clone();
    tokio::task::spawn_blocking(move || generator.shutdown(Duration::ZERO)).await.unwrap();
    let (events, done) = Answer::of(response).await.events();
    assert!(!done && events.last().unwrap()["error"]["code"] == "shutting_down", "{events:?}");
    // The new one goes on.
    post(&app, CHAT, &chat_body(json!({ "max_tokens": 2 }))).await.good();
}

#[tokio::test]
async fn health_says_that_a_model_cannot_be_taken_up() {
    let (app, state) = app(&Setup::default());
    assert_eq!(get(&app, "/health").await.good(), json!({ "status": "ok" }));
    state.set_outdated(true);
    let expected = json!({ "status": "ok", "model": "outdated" });
    assert_eq!(get(&app, "/health").await.good(), expected);
    assert!(state.metrics().text(&state).contains("scribe_model_outdated 1"));
    state.replace(served(&Setup::default()));
    assert_eq!(get(&app, "/health").await.good(), json!({ "status": "ok" }));
}
