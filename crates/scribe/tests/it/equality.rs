//! The same request gives the same bytes: alone or in company, streamed or not, cached or not.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::server::{Setup, app, chat_body, post};

const CHAT: &str = "/v1/chat/completions";

/// Requests that differ in all that decides an answer.
fn any_request() -> impl Strategy<Value = Value> {
    let text = proptest::string::string_regex("[a-z ]{1,200}").unwrap();
    (text, any::<u32>(), any::<bool>(), 1..=2_usize, 1..=20_usize).prop_map(
        |(text, seed, greedy, choices, max_tokens)| {
            chat_body(json!({
                "messages": [{ "role": "user", "content": text }],
                "seed": seed,
                "temperature": if greedy { 0.0 } else { 1.0 },
                "n": choices,
                "max_tokens": max_tokens,
            }))
        },
    )
}

fn texts(answer: &Value) -> Vec<String> {
    let choices = answer["choices"].as_array().unwrap();
    choices.iter().map(|c| c["message"]["content"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_same_request_has_the_same_answer_in_any_company() {
    let cases = std::env::var("SCRIBE_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(30);
    let (alone, _) = app(&Setup { slots: 1, queue: 8, ..Setup::default() });
    let (shared, _) = app(&Setup { slots: 3, queue: 32, ..Setup::default() });
    let mut runner = TestRunner::deterministic();
    for _ in 0..cases {
        let (request, other) = (any_request(), any_request());
        let (request, other) = (request, other).new_tree(&mut runner).unwrap().current();
        let expected = texts(&post(&alone, CHAT, &request).await.good());
        let mut streamed = request.clone();
        streamed["stream"] = json!(true);
        let (first, _, streamed, again) = tokio::join!(
            post(&shared, CHAT, &request),
            post(&shared, CHAT, &other),
            post(&shared, CHAT, &streamed),
            post(&shared, CHAT, &request),
        );
        assert_eq!(texts(&first.good()), expected, "{request}");
        assert_eq!(texts(&again.good()), expected, "{request}");
        let mut joined = vec![String::new(); expected.len()];
        for event in streamed.events().0 {
            let choice = &event["choices"][0];
            let index = usize::try_from(choice["index"].as_u64().unwrap()).unwrap();
            joined[index].push_str(choice["delta"]["content"].as_str().unwrap_or_default());
        }
        assert_eq!(joined, expected, "{request}");
    }
}
