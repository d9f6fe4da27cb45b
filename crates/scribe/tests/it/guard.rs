//! Who gets in, and what everybody else hears.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::json;

use crate::server::{Answer, Setup, app, chat_body, get, post, request, send};

/// Every route but the page's own files, with its method.
const ROUTES: [(&str, Method); 17] = [
    ("/metrics", Method::GET),
    ("/v1/models", Method::GET),
    ("/v1/models/tiny-chat", Method::GET),
    ("/v1/chat/completions", Method::POST),
    ("/v1/completions", Method::POST),
    ("/tokenize", Method::POST),
    ("/detokenize", Method::POST),
    ("/tokenizer_info", Method::GET),
    ("/api/version", Method::GET),
    ("/api/tags", Method::GET),
    ("/api/ps", Method::GET),
    ("/api/show", Method::POST),
    ("/api/chat", Method::POST),
    ("/api/generate", Method::POST),
    ("/chat", Method::POST),
    ("/chat/html", Method::POST),
    ("/no/such/path", Method::GET),
];

fn with(mut request: Request<Body>, name: &'static str, value: &str) -> Request<Body> {
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

#[tokio::test]
async fn without_the_key_nothing_but_a_sign_of_life_and_the_page() {
    let (app, _) = app(&Setup { key: Some("sk-test"), ..Setup::default() });
    let mut texts = std::collections::HashSet::new();
    for (path, method) in ROUTES {
        let asked = || request(method.clone(), path, "{}");
        let tries = [
            asked(),
            with(asked(), "authorization", "Bearer sk-wrong"),
            with(asked(), "authorization", "Bearer "),
            with(asked(), "authorization", "Basic sk-test"),
            with(asked(), "x-api-key", "sk-wrong"),
        ];
        for asked in tries {
            let answer = send(&app, asked).await;
            if path.starts_with("/api/") {
                // Ollama's clients read another shape.
                assert_eq!(answer.status, 401, "{path}");
                assert!(answer.json()["error"].is_string(), "{}", answer.text);
            } else {
                assert_eq!(answer.refusal(), (401, None, Some("invalid_api_key".into())), "{path}");
            }
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
            texts.insert(answer.text);
        }
        for (name, value) in [("authorization", "Bearer sk-test"), ("x-api-key", "sk-test")] {
            let answer = send(&app, with(asked(), name, value)).await;
            assert_ne!(answer.status.as_u16(), 401, "{path} with {name}");
        }
    }
    assert_eq!(texts.len(), 2, "one fixed text tells nothing: {texts:?}");
    for path in ["/health", "/"] {
        assert_eq!(get(&app, path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn the_form_of_the_page_needs_the_key_too() {
    let (app, _) = app(&Setup { key: Some("sk-test"), ..Setup::default() });
    let history = r#"[{"role":"user","content":"a"},{"role":"assistant","content":"**bold**"}]"#;
    for (key, status) in [("", 401), ("sk-wrong", 401), ("sk-test", 200)] {
        let fields = [("prompt", "hello"), ("history", history), ("key", key), ("max_tokens", "4")];
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        let mut asked = request(Method::POST, "/", body.extend_pairs(fields).finish());
        let form = "application/x-www-form-urlencoded".parse().unwrap();
        asked.headers_mut().insert("content-type", form);
        let answer = send(&app, asked).await;
        assert_eq!(answer.status, status, "{}", answer.text);
        let rendered = answer.text.contains("<strong>bold</strong>");
        assert_eq!(rendered, status == 200, "nothing is rendered for strangers");
        assert!(answer.text.contains("**bold**"), "the conversation is not lost");
    }
}

#[tokio::test]
async fn only_known_hosts_and_no_pages_of_other_sites() {
    let (app, _) = app(&Setup::default());
    let asked = || request(Method::POST, "/v1/chat/completions", chat_body(json!({})).to_string());
    let refused = async |request| {
        let (status, _, code) = send(&app, request).await.refusal();
        (status, code.unwrap_or_default())
    };
    let rebound = with(asked(), "host", "evil.example:8080");
    assert_eq!(refused(rebound).await, (403, "host_not_allowed".into()));
    for host in ["localhost:80@evil.com", "[::1]evil.com", "evil.com#.localhost", "localhost:x"] {
        let odd = with(asked(), "host", host);
        assert_eq!(refused(odd).await, (403, "host_not_allowed".into()), "{host}");
    }
    for (name, value, status) in [
        ("host", "localhost", 400),
        ("origin", "http://localhost:8080", 403),
        ("sec-fetch-site", "same-origin", 403),
    ] {
        let mut twice = with(asked(), name, value);
        twice.headers_mut().append(name, value.parse().unwrap());
        assert_eq!(refused(twice).await.0, status, "two {name}");
    }
    let foreign = with(asked(), "origin", "http://evil.example");
    assert_eq!(refused(foreign).await, (403, "origin_not_allowed".into()));
    let foreign = with(asked(), "sec-fetch-site", "cross-site");
    assert_eq!(refused(foreign).await, (403, "origin_not_allowed".into()));
    let mut hostless = asked();
    hostless.headers_mut().remove("host");
    assert_eq!(refused(hostless).await.0, 400);
    let own = with(asked(), "origin", "http://localhost:8080");
    let answer = send(&app, own).await;
    assert_eq!(answer.status, 200);
    let cors = answer.headers.keys().filter(|name| name.as_str().starts_with("access-control"));
    assert_eq!(cors.count(), 0, "no answer lets other origins read");
}

#[tokio::test]
async fn every_answer_carries_its_id_and_the_security_headers() {
    let (app, _) = app(&Setup { key: Some("sk-test"), ..Setup::default() });
    let check = |answer: &Answer| {
        assert!(answer.headers["x-request-id"].to_str().unwrap().len() > 20);
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers["referrer-policy"], "no-referrer");
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'none';") && policy.contains("trusted-types scribe")
        );
    };
    check(&get(&app, "/health").await);
    check(&get(&app, "/v1/models").await);
    check(&get(&app, "/").await);
}

#[tokio::test]
async fn wrong_paths_methods_and_bodies_are_told_in_the_same_shape() {
    let (app, _) = app(&Setup::default());
    let unknown = get(&app, "/v1/nothing").await;
    assert_eq!(unknown.refusal(), (404, None, Some("unknown_url".into())));
    for path in ["/v1/models/%ff", "/static/0/none.js", "/static/%ff/main.js"] {
        assert_eq!(get(&app, path).await.refusal().2.as_deref(), Some("unknown_url"), "{path}");
    }
    let wrong = get(&app, "/v1/chat/completions").await;
    assert_eq!(wrong.refusal(), (405, None, Some("method_not_allowed".into())));
    assert_eq!(wrong.headers["allow"], "POST");
    let bad = (400, None, Some("invalid_json".to_owned()));
    let deep = format!("{{\"messages\":{}{}}}", "[".repeat(100), "]".repeat(100));
    for body in ["", "{", "[]", "null", "{\"model\": \"\\ud800\"}", "\u{0}", &deep] {
        let asked = request(Method::POST, "/v1/chat/completions", body.to_owned());
        assert_eq!(send(&app, asked).await.refusal(), bad, "{body}");
    }
    let large = chat_body(json!({ "padding": "x".repeat(3_000_000) }));
    let refused = post(&app, "/v1/chat/completions", &large).await.refusal();
    assert_eq!(refused, (413, None, Some("request_too_large".into())));
}

#[tokio::test]
async fn metrics_are_lines_that_prometheus_reads() {
    let (app, _) = app(&Setup::default());
    post(&app, "/v1/chat/completions", &chat_body(json!({}))).await.good();
    let answer = get(&app, "/metrics").await;
    assert_eq!(answer.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    for line in answer.text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("scribe_"), "{line}");
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    for line in [
        "scribe_request_count 1",
        "scribe_request_success 1",
        "scribe_request_duration_count 1",
        "scribe_request_queue_duration_count 1",
        "scribe_request_time_to_first_token_duration_count 1",
        "scribe_request_mean_time_per_token_duration_count 1",
        "scribe_request_generated_tokens_sum 24",
        "scribe_http_answers{status=\"200\"} 1",
    ] {
        assert!(answer.text.contains(line), "{line} in {}", answer.text);
    }
}
