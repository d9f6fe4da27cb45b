//! The same request gives the same bytes, whoever else is served and however the server computes.

use axum::Router;
use serde_json::{Value, json};

use crate::server::{Setup, app, chat_body, post};

const CHAT: &str = "/v1/chat/completions";

/// Numbers that look random, the same ones each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        // The constants of Knuth's MMIX generator.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    fn of<T: Copy, const N: usize>(&mut self, values: [T; N]) -> T {
        values[self.below(N)]
    }

    /// A conversation, often one that begins like others.
    fn body(&mut self) -> Value {
        let words = ["the sea", "a ship", "an island", "rain", "été", "🌊"];
        let text: Vec<&str> = (0..1 + self.below(30)).map(|_| self.of(words)).collect();
        let mut messages = vec![
            json!({ "role": "system", "content": self.of(["Be brief.", "Tell the story of the ship."]) }),
            json!({ "role": "user", "content": self.of(["Begin.", "Where is the island?"]) }),
        ];
        if self.below(2) == 0 {
            messages
                .push(json!({ "role": "assistant", "content": text[..text.len() / 2].join(" ") }));
            messages.push(json!({ "role": "user", "content": text.join(" ") }));
        }
        chat_body(json!({
            "messages": messages,
            "max_tokens": 1 + self.below(24),
            "temperature": self.of([0.0, 0.7, 1.0]),
            "top_p": self.of([1.0, 0.9]),
            "frequency_penalty": self.of([0.0, 0.5]),
            "seed": self.below(1000),
            "n": 1 + self.below(2),
            "logprobs": true,
            "top_logprobs": self.below(3),
        }))
    }
}

fn number(value: &Value) -> usize {
    value.as_u64().and_then(|number| number.try_into().ok()).unwrap()
}

/// What must not change: of each choice the text, the log-probabilities and the end.
async fn plain(app: &Router, body: &Value) -> Vec<Value> {
    let answer = post(app, CHAT, body).await.good();
    let choices = answer["choices"].as_array().unwrap();
    choices
        .iter()
        .map(|choice| {
            json!([
                choice["message"]["content"],
                choice["logprobs"]["content"],
                choice["finish_reason"]
            ])
        })
        .collect()
}

/// The same from a stream.
async fn streamed(app: &Router, body: &Value) -> Vec<Value> {
    let mut body = body.clone();
    body["stream"] = json!(true);
    let (events, done) = post(app, CHAT, &body).await.events();
    assert!(done);
    let mut choices = vec![(String::new(), Vec::new(), Value::Null); number(&body["n"])];
    for choice in events.iter().flat_map(|event| event["choices"].as_array().unwrap()) {
        let (text, tokens, end) = &mut choices[number(&choice["index"])];
        text.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
        tokens.extend(choice["logprobs"]["content"].as_array().into_iter().flatten().cloned());
        if !choice["finish_reason"].is_null() {
            *end = choice["finish_reason"].clone();
        }
    }
    choices.into_iter().map(|(text, tokens, end)| json!([text, tokens, end])).collect()
}

#[tokio::test]
async fn company_cache_chunks_threads_and_streams_do_not_change_a_byte() {
    let cases = std::env::var("SCRIBE_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(40);
    let alone = Setup { slots: 1, prefix_reuse: false, ..Setup::default() };
    let (reference, _) = app(&alone);
    let servers: Vec<Router> = [
        Setup { two_threads: true, prefill_chunk: 7, ..Setup::default() },
        Setup { two_threads: true, prefix_reuse: false, ..Setup::default() },
        Setup { slots: 3, prefill_chunk: 16, ..Setup::default() },
        Setup { slots: 8, prefix_reuse: false, prefill_chunk: 1, ..Setup::default() },
    ]
    .iter()
    .map(|setup| app(setup).0)
    .collect();
    let mut dice = Dice(7);
    for case in 0..cases {
        let server = &servers[case % servers.len()];
        let mates: Vec<Value> = (0..dice.below(5)).map(|_| dice.body()).collect();
        let company = mates.into_iter().map(|body| {
            let server = server.clone();
            tokio::spawn(async move { plain(&server, &body).await })
        });
        let company: Vec<_> = company.collect();
        let body = dice.body();
        let found = if dice.below(2) == 0 {
            plain(server, &body).await
        } else {
            streamed(server, &body).await
        };
        assert_eq!(found, plain(&reference, &body).await, "case {case}: {body}");
        for mate in company {
            mate.await.unwrap();
        }
    }
}
