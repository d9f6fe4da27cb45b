//! Whatever a body says, the answer is a good one or a refusal in the known shape, never a failure.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};

use crate::server::{NAME, Setup, app, post};

/// Fields that some handler reads.
const FIELDS: [&str; 37] = [
    "messages",
    "max_tokens",
    "max_completion_tokens",
    "texts",
    "prompt",
    "content",
    "model",
    "n",
    "stop",
    "stream",
    "stream_options",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "seed",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "echo",
    "suffix",
    "best_of",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "response_format",
    "tool_choice",
    "modalities",
    "truncation",
    "options",
    "system",
    "raw",
    "images",
    "format",
    "tokens",
    "add_special_tokens",
    "with_pieces",
];

/// Every route that takes JSON.
const ROUTES: [&str; 9] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/tokenize",
    "/detokenize",
    "/api/chat",
    "/api/generate",
    "/api/show",
    "/chat",
    "/chat/html",
];

/// Values at and beyond the edges of what fields may be.
fn any_value() -> impl Strategy<Value = Value> {
    let plain = proptest::sample::select(vec![
        json!(null),
        json!(true),
        json!(-1),
        json!(0),
        json!(1),
        json!(3),
        json!(21),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e308),
        json!(-0.5),
        json!(""),
        json!("text"),
        json!("auto"),
        json!("\u{0}\u{ffff}😀<|im_end|>"),
        json!("x".repeat(3000)),
        json!({ "role": "user", "content": "hello" }),
        json!({ "role": "assistant", "content": [{ "type": "text", "text": "yes" }] }),
        json!({ "type": "text", "include_usage": true, "num_predict": -2 }),
        json!({ "5": 100, "6": -100 }),
    ]);
    plain.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            proptest::collection::btree_map(proptest::sample::select(FIELDS.to_vec()), inner, 0..4)
                .prop_map(|map| map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

fn any_body() -> impl Strategy<Value = Map<String, Value>> {
    let fields = proptest::sample::select(FIELDS.to_vec());
    proptest::collection::btree_map(fields, any_value(), 0..6).prop_map(|odd| {
        // Something to work on, so that the odd fields are all that can be wrong.
        let mut body = json!({
            "model": NAME,
            "messages": [{ "role": "user", "content": "hello" }],
            "prompt": "hello",
            "tokens": [1, 2],
            "max_tokens": 2,
            "options": { "num_predict": 2 },
        });
        for (name, value) in odd {
            body[name] = value;
        }
        body.as_object().cloned().unwrap_or_default()
    })
}

#[tokio::test]
async fn no_body_makes_the_server_fail() {
    let (app, state) = app(&Setup::default());
    let mut runner = TestRunner::new(Config::default());
    let strategy = (proptest::sample::select(ROUTES.to_vec()), any_body());
    let mut good = 0;
    for _ in 0..1500 {
        let (path, body) = strategy.new_tree(&mut runner).unwrap().current();
        let body = Value::Object(body);
        let answer = post(&app, path, &body).await;
        match answer.status.as_u16() {
            200 => good += 1,
            400 if path.starts_with("/chat") => {
                assert!(answer.json()["error"]["message"].is_string())
            }
            400 | 404 if path.starts_with("/api/") => assert!(answer.json()["error"].is_string()),
            400 | 404 => drop(answer.refusal()),
            status => panic!("{status} to {body} at {path}: {}", answer.text),
        }
    }
    assert!(good > 100, "only {good} bodies were good, so most test one field alone");
    assert_eq!(state.models()[0].generator.stats().restarts, 0);
}
