//! Text to tokens and back.

use serde_json::{Value, json};

use crate::server::{CONTEXT, Setup, app, get, post, tokenizer};

#[tokio::test]
async fn text_becomes_tokens_and_text_again() {
    let (app, _) = app(&Setup::default());
    let text = "Once upon a time, été 😀 <|im_end|>";
    let expected = tokenizer().encode(text);
    for body in [
        json!({ "prompt": text, "add_special_tokens": false }),
        json!({ "content": text }),
        json!({ "content": text, "add_special": false }),
    ] {
        let answer = post(&app, "/tokenize", &body).await.good();
        assert_eq!(answer["tokens"], json!(expected));
        assert_eq!(
            (&answer["count"], &answer["max_model_len"]),
            (&json!(expected.len()), &json!(CONTEXT))
        );
    }
    let back = post(&app, "/detokenize", &json!({ "tokens": expected })).await.good();
    assert_eq!((&back["prompt"], &back["content"]), (&json!(text), &json!(text)));
}

#[tokio::test]
async fn pieces_are_shown_on_demand() {
    let (app, _) = app(&Setup::default());
    let body = json!({ "content": "abc", "with_pieces": true });
    let answer = post(&app, "/tokenize", &body).await.good();
    let pieces: Vec<&str> = answer["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|token| token["piece"].as_str().unwrap())
        .collect();
    assert_eq!(pieces.concat(), "abc");
    let long = json!({ "content": "a!".repeat(70_000), "with_pieces": true });
    let refusal = post(&app, "/tokenize", &long).await.refusal();
    assert_eq!(refusal, (400, Some("with_pieces".to_owned()), None));
}

#[tokio::test]
async fn a_client_finds_the_special_tokens_by_name() {
    let (app, _) = app(&Setup::default());
    let info = get(&app, "/tokenizer_info").await.good();
    let name = |token: Option<u32>| token.map(|token| tokenizer().token_text(token));
    assert_eq!(info["eos_token"], json!(name(tokenizer().end_in_templates())));
    assert_eq!(info["bos_token"], json!(name(tokenizer().beginning_in_templates())));
    let end = info["eos_token"].as_str().unwrap();
    let answer = post(&app, "/tokenize", &json!({ "content": end })).await.good();
    assert_eq!(answer["tokens"], json!([tokenizer().special(end).unwrap()]));
    assert!(info["chat_template"].is_string() || info["chat_template"].is_null());
    let inside = post(&app, "/tokenize", &json!({ "content": format!("x{end}") })).await.good();
    assert!(inside["count"].as_u64().unwrap() > 2, "within a text it is text");
}

#[tokio::test]
async fn bad_tokens_and_missing_texts_are_named() {
    let (app, _) = app(&Setup::default());
    let refusal =
        async |path: &str, body: Value| post(&app, path, &body).await.refusal().1.unwrap();
    assert_eq!(refusal("/tokenize", json!({})).await, "prompt");
    assert_eq!(refusal("/tokenize", json!({ "prompt": 1 })).await, "prompt");
    assert_eq!(refusal("/detokenize", json!({})).await, "tokens");
    assert_eq!(refusal("/detokenize", json!({ "tokens": [1, -1] })).await, "tokens[1]");
    assert_eq!(refusal("/detokenize", json!({ "tokens": ["x"] })).await, "tokens[0]");
}
