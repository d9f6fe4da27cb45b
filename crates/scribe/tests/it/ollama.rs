//! Ollama's dialect.

use axum::http::Method;
use serde_json::{Value, json};

use crate::server::{ALIAS, Answer, NAME, Setup, app, get, post, request, send};

fn lines(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.headers["content-type"], "application/x-ndjson", "{}", answer.text);
    answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn chat_body(more: &Value) -> Value {
    let mut body = json!({
        "model": NAME,
        "messages": [{ "role": "user", "content": "Say something." }],
        "options": { "num_predict": 24, "seed": 5, "num_ctx": 1_000_000, "mirostat": 2 },
    });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

#[tokio::test]
async fn a_chat_streams_lines_and_says_the_same_without() {
    let (app, _) = app(&Setup::default());
    let plain = post(&app, "/api/chat", &chat_body(&json!({ "stream": false }))).await.good();
    assert_eq!((&plain["done"], &plain["done_reason"]), (&json!(true), &json!("length")));
    assert_eq!(plain["message"]["role"], "assistant");
    assert_eq!(plain["eval_count"], 24);
    for name in ["total_duration", "prompt_eval_duration", "eval_duration", "prompt_eval_count"] {
        assert!(plain[name].as_u64().unwrap() > 0, "{name} of {plain}");
    }
    assert!(plain["created_at"].as_str().unwrap().ends_with('Z'));
    let lines = lines(&post(&app, "/api/chat", &chat_body(&json!({}))).await);
    let (last, others) = lines.split_last().unwrap();
    assert_eq!((&last["done"], &last["message"]["content"]), (&json!(true), &json!("")));
    assert!(others.iter().all(|line| line["done"] == json!(false)));
    let joined: String =
        others.iter().map(|line| line["message"]["content"].as_str().unwrap()).collect();
    assert_eq!(joined, plain["message"]["content"]);
}

#[tokio::test]
async fn a_prompt_is_a_chat_of_one_message_unless_it_is_raw() {
    let (app, _) = app(&Setup::default());
    let chat = post(&app, "/api/chat", &chat_body(&json!({ "stream": false }))).await.good();
    let body = |raw: bool| {
        json!({ "model": format!("{NAME}:latest"), "prompt": "Say something.", "stream": false,
            "raw": raw, "options": { "num_predict": 24, "seed": 5 } })
    };
    let generated = post(&app, "/api/generate", &body(false)).await.good();
    assert_eq!(generated["response"], chat["message"]["content"]);
    let raw = post(&app, "/api/generate", &body(true)).await.good();
    assert!(raw["prompt_eval_count"].as_u64() < generated["prompt_eval_count"].as_u64());
    assert_ne!(raw["response"], generated["response"]);
}

#[tokio::test]
async fn stop_strings_and_negative_counts_mean_what_they_mean_there() {
    let (app, _) = app(&Setup::default());
    let whole = post(&app, "/api/chat", &chat_body(&json!({ "stream": false }))).await.good();
    let whole = whole["message"]["content"].as_str().unwrap().to_owned();
    let stop: String = whole.chars().skip(4).take(2).collect();
    let options = json!({ "num_predict": -1, "seed": 5, "stop": [stop] });
    let body = chat_body(&json!({ "stream": false, "options": options }));
    let cut = post(&app, "/api/chat", &body).await.good();
    assert_eq!(cut["message"]["content"], whole[..whole.find(&stop).unwrap()]);
    assert_eq!(cut["done_reason"], "stop");
}

#[tokio::test]
async fn an_empty_request_says_that_the_model_is_there() {
    let (app, _) = app(&Setup::default());
    for (path, body) in [
        ("/api/chat", json!({ "model": NAME, "messages": [] })),
        ("/api/generate", json!({ "model": NAME })),
    ] {
        let answer = post(&app, path, &body).await.good();
        assert_eq!((&answer["done"], &answer["done_reason"]), (&json!(true), &json!("load")));
    }
}

#[tokio::test]
async fn models_are_listed_and_shown() {
    let (app, _) = app(&Setup::default());
    let tags = get(&app, "/api/tags").await.good();
    let names: Vec<&str> = tags["models"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| tag["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, [NAME, ALIAS]);
    assert_eq!(tags["models"][0]["details"]["quantization_level"], "Q8_0");
    assert_eq!(tags["models"][0]["modified_at"], "2023-11-14T22:13:20Z");
    let shown = post(&app, "/api/show", &json!({ "model": NAME })).await.good();
    assert_eq!(shown["model_info"]["llama.context_length"], crate::server::CONTEXT);
    assert_eq!(shown["capabilities"], json!(["completion"]));
    let tagged = post(&app, "/api/show", &json!({ "model": format!("{NAME}:latest") })).await;
    assert_eq!(tagged.good(), shown);
    let running = get(&app, "/api/ps").await.good();
    assert_eq!(running["models"].as_array().unwrap().len(), 1, "an alias is no second model");
    for model in [&tags["models"][0], &running["models"][0]] {
        let digest = model["digest"].as_str().unwrap();
        assert!(digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(model["details"]["parameter_size"], "260.0K");
        assert_eq!(model["details"]["format"], "gguf");
    }
    let version = get(&app, "/api/version").await.good();
    assert!(version["version"].as_str().unwrap().contains('.'));
}

#[tokio::test]
async fn errors_are_strings() {
    let (app, _) = app(&Setup::default());
    let cases = [
        ("/api/chat", chat_body(&json!({ "model": "other" })), 404),
        ("/api/chat", chat_body(&json!({ "format": "json" })), 400),
        ("/api/chat", chat_body(&json!({ "options": { "temperature": -1 } })), 400),
        ("/api/generate", json!({ "model": NAME, "prompt": "x", "images": ["AA=="] }), 400),
        ("/api/generate", json!({ "prompt": "x" }), 400),
        ("/api/show", json!({ "model": "other" }), 404),
    ];
    for (path, body, status) in cases {
        let answer = post(&app, path, &body).await;
        assert_eq!(answer.status.as_u16(), status, "{path} {body}");
        assert!(answer.json()["error"].is_string(), "{}", answer.text);
    }
}

#[tokio::test]
async fn zero_is_a_seed_and_minus_one_asks_for_any() {
    let (app, _) = app(&Setup::default());
    let answer = async |seed: i64| {
        let options = json!({ "num_predict": 24, "seed": seed });
        let body = chat_body(&json!({ "stream": false, "options": options }));
        post(&app, "/api/chat", &body).await.good()["message"]["content"].clone()
    };
    assert_eq!(answer(0).await, answer(0).await);
    assert_ne!(answer(-1).await, answer(-1).await);
}

#[tokio::test]
async fn refusals_of_every_layer_are_strings() {
    let (app, _) = app(&Setup { key: Some("sk-test"), ..Setup::default() });
    let with_key = |method, path: &str, host: &str| {
        let mut asked = request(method, path, "{}");
        asked.headers_mut().insert("x-api-key", "sk-test".parse().unwrap());
        asked.headers_mut().insert("host", host.parse().unwrap());
        asked
    };
    let cases = [
        (request(Method::GET, "/api/tags", "{}"), 401),
        (with_key(Method::GET, "/api/tags", "evil.example"), 403),
        (with_key(Method::POST, "/api/pull", "localhost"), 404),
        (with_key(Method::GET, "/api/chat", "localhost"), 405),
    ];
    for (asked, status) in cases {
        let answer = send(&app, asked).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
        assert_eq!(answer.headers["content-type"], "application/json");
        assert!(answer.json()["error"].is_string(), "{}", answer.text);
        assert_eq!(answer.headers.contains_key("allow"), status == 405);
    }
}
