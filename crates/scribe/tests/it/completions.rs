//! Completions of plain prompts, and likelihoods as lm-eval reads them.

use serde_json::{Value, json};

use crate::server::{CONTEXT, NAME, Setup, app, post, tokenizer};

const COMPLETIONS: &str = "/v1/completions";

fn body(more: Value) -> Value {
    let mut body = json!({ "model": NAME, "prompt": "once upon", "max_tokens": 20, "seed": 3 });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

#[tokio::test]
async fn text_and_tokens_one_and_many_are_the_same_prompt() {
    let (app, _) = app(&Setup::default());
    let tokens = tokenizer().encode("once upon");
    let alone = post(&app, COMPLETIONS, &body(json!({}))).await.good();
    assert_eq!(alone["object"], "text_completion");
    assert!(alone["id"].as_str().unwrap().starts_with("cmpl-"));
    let text = &alone["choices"][0]["text"];
    assert!(!text.as_str().unwrap().is_empty());
    for prompt in [json!(["once upon"]), json!(tokens), json!([tokens])] {
        let same = post(&app, COMPLETIONS, &body(json!({ "prompt": prompt }))).await.good();
        assert_eq!(&same["choices"][0]["text"], text);
    }
    let both = body(json!({ "prompt": ["once upon", "another"], "n": 2 }));
    let both = post(&app, COMPLETIONS, &both).await.good();
    let choices = both["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 4);
    assert_eq!(&choices[0]["text"], text);
    assert_eq!(choices[3]["index"], 3);
    assert_ne!(choices[2]["text"], choices[0]["text"]);
    let prompts = tokens.len() + tokenizer().encode("another").len();
    assert_eq!(both["usage"]["prompt_tokens"], prompts, "each prompt counts once");
    assert_eq!(both["usage"]["completion_tokens"], 80);
}

#[tokio::test]
async fn without_a_number_sixteen_tokens_come() {
    let (app, _) = app(&Setup::default());
    let answer = post(&app, COMPLETIONS, &body(json!({ "max_tokens": null }))).await.good();
    assert_eq!(answer["usage"]["completion_tokens"], 16);
}

#[tokio::test]
async fn more_prompts_than_slots_and_queue_are_served_one_after_the_other() {
    let (app, _) = app(&Setup { slots: 2, queue: 1, ..Setup::default() });
    let prompts: Vec<String> = (0..20).map(|number| format!("prompt {number}")).collect();
    let many = body(json!({ "prompt": prompts, "max_tokens": 4 }));
    let many = post(&app, COMPLETIONS, &many).await.good();
    assert_eq!(many["choices"].as_array().unwrap().len(), 20);
    assert_eq!(many["usage"]["completion_tokens"], 80);
}

#[tokio::test]
async fn more_log_probabilities_than_anybody_reads_are_refused() {
    let (app, _) = app(&Setup::default());
    let prompts = vec![vec![5; 400]; 128];
    let body = json!({
        "prompt": prompts, "n": 8, "echo": true, "logprobs": 20, "max_tokens": 0,
    });
    let refusal = post(&app, COMPLETIONS, &body).await.refusal();
    assert_eq!(refusal, (400, Some("prompt".to_owned()), None));
}

#[tokio::test]
async fn an_echo_begins_with_the_prompt_and_scores_it() {
    let (app, _) = app(&Setup::default());
    let plain = post(&app, COMPLETIONS, &body(json!({ "echo": true }))).await.good();
    assert!(plain["choices"][0]["text"].as_str().unwrap().starts_with("once upon"));
    assert_eq!(plain["choices"][0]["logprobs"], Value::Null);
    let tokens = tokenizer().encode("once upon");
    for stream in [false, true] {
        let more = json!({ "echo": true, "logprobs": 2, "prompt": tokens, "stream": stream });
        let answer = post(&app, COMPLETIONS, &body(more)).await;
        let parts = if stream { answer.events().0 } else { vec![answer.good()] };
        let column = |name: &str| -> Vec<Value> {
            let of_part = |part: &Value| part["choices"][0]["logprobs"][name].as_array().cloned();
            parts.iter().filter_map(of_part).flatten().collect()
        };
        let joined: String = column("tokens").iter().map(|token| token.as_str().unwrap()).collect();
        assert_eq!(joined, plain["choices"][0]["text"].as_str().unwrap());
        let logprobs = column("token_logprobs");
        assert_eq!(logprobs.len(), tokens.len() + 20);
        assert!(logprobs[0].is_null() && logprobs[1..].iter().all(Value::is_number));
        let mut characters = 0;
        for (token, offset) in column("tokens").iter().zip(column("text_offset")) {
            assert_eq!(offset, characters);
            characters += token.as_str().unwrap().chars().count();
        }
        let tops = column("top_logprobs");
        assert!(tops[0].is_null() && tops[1..].iter().all(Value::is_object));
    }
}

/// What lm-eval's `local-completions` sends and how it reads the answer.
#[tokio::test]
async fn likelihoods_are_read_as_lm_eval_reads_them() {
    let (app, _) = app(&Setup::default());
    let tokenizer = tokenizer();
    let context = tokenizer.encode("the cat sat on");
    let both: Vec<u32> = context.iter().copied().chain(tokenizer.encode(" the mat")).collect();
    let more = json!({
        "prompt": [both], "max_tokens": 1, "logprobs": 1, "echo": true, "temperature": 0,
        "seed": 1234,
    });
    let answer = post(&app, COMPLETIONS, &body(more)).await.good();
    let logprobs = &answer["choices"][0]["logprobs"];
    let scored = |name: &str| {
        let column = logprobs[name].as_array().unwrap();
        column[context.len()..column.len() - 1].to_vec()
    };
    let (tokens, tops) = (scored("token_logprobs"), scored("top_logprobs"));
    assert_eq!(tokens.len(), both.len() - context.len());
    for (token, top) in tokens.iter().zip(&tops) {
        let best = top.as_object().unwrap().values().filter_map(Value::as_f64);
        let best = best.fold(f64::NEG_INFINITY, f64::max);
        assert!(token.as_f64().unwrap() <= best && best <= 0.0);
    }
    let more = json!({ "prompt": [both], "max_tokens": 0, "logprobs": 1, "echo": true });
    let zero = post(&app, COMPLETIONS, &body(more)).await.good();
    let column = zero["choices"][0]["logprobs"]["token_logprobs"].as_array().unwrap();
    assert_eq!(column.len(), both.len());
    assert_eq!(column[context.len()..], tokens, "no token more changes nothing");
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_by_name() {
    let (app, _) = app(&Setup::default());
    let cases = [
        (json!({ "prompt": null }), "prompt"),
        (json!({ "prompt": 5 }), "prompt"),
        (json!({ "prompt": [] }), "prompt"),
        (json!({ "prompt": ["x", 5] }), "prompt[1]"),
        (json!({ "prompt": [1, 999_999] }), "prompt[1]"),
        (json!({ "prompt": [[1], [-1]] }), "prompt[1][0]"),
        (json!({ "prompt": vec!["x"; 129] }), "prompt"),
        (json!({ "prompt": vec![1; CONTEXT + 1] }), "prompt"),
        (json!({ "suffix": "end" }), "suffix"),
        (json!({ "best_of": 2 }), "best_of"),
        (json!({ "logprobs": 21 }), "logprobs"),
        (json!({ "max_tokens": -1 }), "max_tokens"),
        (json!({ "echo": 1 }), "echo"),
    ];
    for (more, param) in cases {
        let answer = post(&app, COMPLETIONS, &body(more.clone())).await;
        let (status, named, _) = answer.refusal();
        assert_eq!((status, named.as_deref()), (400, Some(param)), "{more}: {}", answer.text);
    }
    let full = post(&app, COMPLETIONS, &body(json!({ "prompt": vec![1; CONTEXT] }))).await;
    assert_eq!(full.refusal().2.as_deref(), Some("context_length_exceeded"));
}
