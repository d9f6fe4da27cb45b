//! Chat completions and models, as OpenAI's clients ask for them.

use serde_json::{Value, json};

use crate::server::{ALIAS, CONTEXT, NAME, Setup, app, chat_body, get, post};

const CHAT: &str = "/v1/chat/completions";

#[tokio::test]
async fn a_plain_answer_has_all_that_clients_read() {
    let (app, _) = app(&Setup::default());
    let answer = post(&app, CHAT, &chat_body(json!({}))).await;
    assert!(answer.headers["x-request-id"].to_str().unwrap().starts_with("req_"));
    assert_eq!(answer.headers["content-type"], "application/json");
    let body = answer.good();
    assert!(body["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["model"], NAME);
    assert!(body["created"].as_u64().unwrap() > 1_700_000_000);
    let choice = &body["choices"][0];
    assert_eq!(choice["index"], 0);
    assert_eq!(choice["message"]["role"], "assistant");
    assert!(!choice["message"]["content"].as_str().unwrap().is_empty());
    assert_eq!((&choice["finish_reason"], &choice["logprobs"]), (&json!("length"), &Value::Null));
    let usage = &body["usage"];
    assert_eq!(usage["completion_tokens"], 24);
    let total = usage["prompt_tokens"].as_u64().unwrap() + 24;
    assert_eq!(usage["total_tokens"], total);
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 0);
}

#[tokio::test]
async fn the_same_seed_gives_the_same_answer_and_another_seed_another() {
    let (app, _) = app(&Setup::default());
    let text = async |seed: i64| {
        let answer = post(&app, CHAT, &chat_body(json!({ "seed": seed }))).await.good();
        answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    };
    let first = text(1).await;
    assert_eq!(text(1).await, first);
    assert_ne!(text(2).await, first);
    assert_ne!(text(-9_007_199_254_740_991).await, first);
}

#[tokio::test]
async fn a_prefix_that_was_seen_comes_from_the_cache() {
    let (app, _) = app(&Setup::default());
    let long = "a long message ".repeat(20);
    let body = chat_body(json!({ "messages": [{ "role": "user", "content": long }] }));
    let first = post(&app, CHAT, &body).await.good();
    let second = post(&app, CHAT, &body).await.good();
    assert_eq!(first["choices"], second["choices"]);
    let cached = |answer: &Value| {
        answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap()
    };
    assert_eq!(cached(&first), 0);
    assert!(cached(&second) >= 64, "whole pages of {second}");
}

#[tokio::test]
async fn several_choices_differ_and_the_first_is_the_only_one_of_that_seed() {
    let (app, _) = app(&Setup { slots: 2, ..Setup::default() });
    let alone = post(&app, CHAT, &chat_body(json!({}))).await.good();
    let several = post(&app, CHAT, &chat_body(json!({ "n": 5 }))).await.good();
    let choices = several["choices"].as_array().unwrap();
    let indices: Vec<_> = choices.iter().map(|choice| choice["index"].as_u64().unwrap()).collect();
    assert_eq!(indices, [0, 1, 2, 3, 4]);
    assert_eq!(choices[0]["message"], alone["choices"][0]["message"]);
    let different: std::collections::HashSet<_> =
        choices.iter().map(|choice| choice["message"]["content"].as_str().unwrap()).collect();
    assert_eq!(different.len(), 5);
    assert_eq!(several["usage"]["prompt_tokens"], alone["usage"]["prompt_tokens"]);
    assert_eq!(several["usage"]["completion_tokens"], 5 * 24);
}

#[tokio::test]
async fn a_stop_string_ends_the_answer_and_is_not_in_it() {
    let (app, _) = app(&Setup::default());
    let whole = post(&app, CHAT, &chat_body(json!({}))).await.good();
    let whole = whole["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    let characters: Vec<char> = whole.chars().collect();
    let stop: String = characters[characters.len() / 2..][..2].iter().collect();
    for stops in [json!(stop), json!(["never in it", stop])] {
        let cut = post(&app, CHAT, &chat_body(json!({ "stop": stops }))).await.good();
        let choice = &cut["choices"][0];
        assert_eq!(choice["message"]["content"], whole[..whole.find(&stop).unwrap()]);
        assert_eq!(choice["finish_reason"], "stop");
    }
}

#[tokio::test]
async fn logprobs_joined_are_the_answer() {
    let (app, _) = app(&Setup::default());
    let body = chat_body(json!({ "logprobs": true, "top_logprobs": 3 }));
    let answer = post(&app, CHAT, &body).await.good();
    let choice = &answer["choices"][0];
    let tokens = choice["logprobs"]["content"].as_array().unwrap();
    assert_eq!(tokens.len(), 24);
    let joined: String = tokens.iter().map(|token| token["token"].as_str().unwrap()).collect();
    assert_eq!(joined, choice["message"]["content"]);
    for token in tokens {
        assert!(token["bytes"].is_array());
        let top = token["top_logprobs"].as_array().unwrap();
        assert_eq!(top.len(), 3);
        let best = top[0]["logprob"].as_f64().unwrap();
        assert!(token["logprob"].as_f64().unwrap() <= best + 1e-6);
        assert!(top[1]["logprob"].as_f64().unwrap() <= best);
    }
}

#[tokio::test]
async fn a_bias_decides_what_is_said() {
    let (app, _) = app(&Setup::default());
    let tokenizer = crate::server::tokenizer();
    let token = tokenizer.encode("x")[0];
    let bias = json!({ token.to_string(): 100 });
    let body = chat_body(json!({ "logit_bias": bias, "temperature": 0 }));
    let answer = post(&app, CHAT, &body).await.good();
    assert_eq!(answer["choices"][0]["message"]["content"], "x".repeat(24));
}

#[tokio::test]
async fn developers_and_parts_say_the_same_as_systems_and_strings() {
    let (app, _) = app(&Setup::default());
    let text = async |messages: Value| {
        let answer = post(&app, CHAT, &chat_body(json!({ "messages": messages }))).await.good();
        answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    };
    let plain = text(json!([
        { "role": "system", "content": "Be brief." },
        { "role": "user", "content": "one two" },
    ]))
    .await;
    let parts = text(json!([
        { "role": "developer", "content": "Be brief.", "name": "somebody" },
        { "role": "user", "content": [
            { "type": "text", "text": "one " }, { "type": "text", "text": "two" },
        ] },
    ]))
    .await;
    assert_eq!(plain, parts);
}

#[tokio::test]
async fn odd_but_legal_requests_are_answered() {
    let (app, _) = app(&Setup::default());
    let odd = json!({
        "audio": { "format": "wav", "voice": "alloy" },
        "frequency_penalty": -2, "presence_penalty": -2, "temperature": 1, "top_p": 1, "n": 1,
        "function_call": "none", "functions": [{ "name": "name", "description": "x" }],
        "tool_choice": "none", "tools": [{ "type": "function", "function": { "name": "name" } }],
        "parallel_tool_calls": true, "logit_bias": { "7": 0 }, "logprobs": true,
        "top_logprobs": 0, "max_completion_tokens": 0, "max_tokens": 0, "modalities": ["text"],
        "metadata": { "a": "b" }, "prediction": { "type": "content", "content": "x" },
        "reasoning_effort": "none", "response_format": { "type": "text" },
        "seed": -9_007_199_254_740_991_i64, "service_tier": "auto", "stop": "\n", "store": true,
        "stream": false, "user": "u", "verbosity": "low", "web_search_options": {},
        "a_field_of_the_future": [1, 2, 3],
    });
    let answer = post(&app, CHAT, &chat_body(odd)).await.good();
    assert_eq!(answer["choices"][0]["message"]["content"], "");
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["usage"]["completion_tokens"], 0);
}

#[tokio::test]
async fn what_is_out_of_range_is_named() {
    let (app, _) = app(&Setup::default());
    let many = vec!["x"; 5];
    let message = |message: Value| json!({ "messages": [message] });
    let cases = [
        (json!({ "max_tokens": -1 }), "max_tokens"),
        (json!({ "max_tokens": 1.5 }), "max_tokens"),
        (json!({ "max_completion_tokens": CONTEXT + 1 }), "max_completion_tokens"),
        (json!({ "temperature": 2.1 }), "temperature"),
        (json!({ "temperature": "hot" }), "temperature"),
        (json!({ "top_p": -0.1 }), "top_p"),
        (json!({ "presence_penalty": 3 }), "presence_penalty"),
        (json!({ "frequency_penalty": -3 }), "frequency_penalty"),
        (json!({ "n": 0 }), "n"),
        (json!({ "n": 9 }), "n"),
        (json!({ "seed": 0.5 }), "seed"),
        (json!({ "stop": many }), "stop"),
        (json!({ "stop": "x".repeat(257) }), "stop"),
        (json!({ "top_logprobs": 21, "logprobs": true }), "top_logprobs"),
        (json!({ "top_logprobs": 1 }), "top_logprobs"),
        (json!({ "logit_bias": { "0": 101 } }), "logit_bias"),
        (json!({ "logit_bias": { "99999999": 1 } }), "logit_bias"),
        (json!({ "logit_bias": { "x": 1 } }), "logit_bias"),
        (json!({ "stream": "yes" }), "stream"),
        (json!({ "stream_options": { "include_usage": 1 } }), "stream_options.include_usage"),
        (json!({ "truncation": "some" }), "truncation"),
        (json!({ "response_format": { "type": "json_object" } }), "response_format.type"),
        (json!({ "response_format": { "type": "poem" } }), "response_format.type"),
        (json!({ "tool_choice": "required" }), "tool_choice"),
        (json!({ "modalities": ["text", "audio"] }), "modalities"),
        (json!({ "model": 1 }), "model"),
        (json!({ "messages": null }), "messages"),
        (json!({ "messages": [] }), "messages"),
        (json!({ "messages": "hello" }), "messages"),
        (json!({ "messages": [123] }), "messages[0]"),
        (message(json!({})), "messages[0].role"),
        (message(json!({ "role": 123 })), "messages[0].role"),
        (message(json!({ "role": "tool", "content": "x" })), "messages[0].role"),
        (message(json!({ "role": "user" })), "messages[0].content"),
        (message(json!({ "role": "user", "content": 5 })), "messages[0].content"),
        (
            message(json!({ "role": "user", "content": [{ "type": "image_url" }] })),
            "messages[0].content[0].type",
        ),
    ];
    for (more, param) in cases {
        let answer = post(&app, CHAT, &chat_body(more.clone())).await;
        let (status, named, _) = answer.refusal();
        assert_eq!((status, named.as_deref()), (400, Some(param)), "{more}: {}", answer.text);
    }
    let messages = vec![json!({ "role": "user", "content": "x" }); 2049];
    let refusal = post(&app, CHAT, &chat_body(json!({ "messages": messages }))).await.refusal();
    assert_eq!((refusal.0, refusal.1.as_deref()), (400, Some("messages")));
}

#[tokio::test]
async fn too_long_a_conversation_is_refused_or_loses_its_oldest_turns() {
    let (app, state) = app(&Setup::default());
    let turn = |text: &str| {
        [
            json!({ "role": "user", "content": text.repeat(60) }),
            json!({ "role": "assistant", "content": "yes" }),
        ]
    };
    let mut messages: Vec<Value> = ["one ", "two ", "three ", "four "].map(turn).concat();
    messages.push(json!({ "role": "user", "content": "and now?" }));
    let body = chat_body(json!({ "messages": messages }));
    let refused = post(&app, CHAT, &body).await.refusal();
    let expected = (400, Some("messages".into()), Some("context_length_exceeded".into()));
    assert_eq!(refused, expected);
    let mut body = body;
    body["truncation"] = json!("auto");
    let answer = post(&app, CHAT, &body).await;
    let dropped = answer.good()["dropped_messages"].as_u64().unwrap();
    assert!(dropped >= 2 && dropped.is_multiple_of(2), "{dropped} messages");
    assert_eq!(answer.headers["x-scribe-dropped-messages"], dropped.to_string());
    let shorter: Vec<Value> = messages[usize::try_from(dropped).unwrap()..].to_vec();
    let alone = post(&app, CHAT, &chat_body(json!({ "messages": shorter }))).await;
    assert_eq!(alone.good()["choices"], answer.json()["choices"]);
    assert!(state.models()[0].generator.stats().restarts == 0);
}

#[tokio::test]
async fn models_are_found_by_every_name_they_have() {
    let (app, _) = app(&Setup::default());
    let list = get(&app, "/v1/models").await.good();
    let ids: Vec<_> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["id"].as_str().unwrap())
        .collect();
    assert_eq!((list["object"].as_str(), ids), (Some("list"), vec![NAME, ALIAS]));
    let model = get(&app, &format!("/v1/models/{ALIAS}")).await.good();
    assert_eq!((&model["id"], &model["object"]), (&json!(ALIAS), &json!("model")));
    assert!(model["created"].is_u64() && model["owned_by"].is_string());
    assert!(post(&app, CHAT, &chat_body(json!({ "model": ALIAS }))).await.good()["id"].is_string());
    assert!(post(&app, CHAT, &chat_body(json!({ "model": null }))).await.good()["id"].is_string());
    let expected = (404, Some("model".into()), Some("model_not_found".into()));
    assert_eq!(get(&app, "/v1/models/org/other").await.refusal(), expected);
    let unknown = post(&app, CHAT, &chat_body(json!({ "model": "other" }))).await;
    assert_eq!(unknown.refusal(), expected);
    assert!(unknown.text.contains(NAME), "the names there are: {}", unknown.text);
}
