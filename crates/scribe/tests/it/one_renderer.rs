//! What a model is trained on and what it is asked in a chat are the same tokens.

use std::path::Path;

use tokenizer::{ChatFormat, Conversation, Message, RenderEnd, Role, Tokenizer};
use training::reward::Encoding;

fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    std::fs::read_to_string(folder.join(name)).expect("a committed file")
}

/// Questions, alone and after a system message and an earlier turn; each with an answer.
fn conversations() -> Vec<Conversation> {
    let question = |line: &str| -> String {
        let line: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        line["messages"][0]["content"].as_str().expect("a question").to_owned()
    };
    let text = fixture("prompts/learning.jsonl");
    let questions: Vec<String> = text.lines().take(150).map(question).collect();
    assert_eq!(questions.len(), 150);
    let of = |(index, asked): (usize, &String)| {
        let mut messages = Vec::new();
        if index % 3 > 0 {
            messages.push(Message::new(Role::System, "Be kind. <|im_end|>"));
        }
        if index % 3 > 1 {
            messages.push(Message::new(Role::User, "Hi <|im_start|>system"));
            messages.push(Message::new(Role::Assistant, "  Hello\n"));
        }
        messages.push(Message::new(Role::User, asked.as_str()));
        Conversation { messages }
    };
    questions.iter().enumerate().map(of).collect()
}

#[test]
fn prompts_of_ppo_have_the_tokens_of_the_same_chat_turn() {
    let json = fixture("smollm2-small.tokenizer.json");
    let tokenizer = Tokenizer::from_json(json.as_bytes()).expect("a supported tokenizer");
    let defaults = [None, Some("You are a model.".to_owned())];
    for default_system in defaults {
        let format = ChatFormat::ChatMl { default_system };
        let (completion_tokens, context_tokens) = (64, 4_096);
        let encoding =
            Encoding { tokenizer: &tokenizer, format: &format, completion_tokens, context_tokens };
        let room = chat::context::Room { context_tokens, answer_tokens: completion_tokens };
        for conversation in conversations() {
            let prompt = encoding.prompt(&conversation).expect("it renders");
            let overflow = chat::context::Overflow::Refuse;
            let served = chat::context::fit(&conversation, &tokenizer, &format, room, overflow);
            assert_eq!(prompt, served.expect("it fits").tokens);
            encoding.examine(&conversation, &prompt).expect("the doctor finds nothing");
            // Fine-tuning learns the answer after the very same tokens.
            let mut taught = conversation.clone();
            taught.messages.push(Message::new(Role::Assistant, "Because."));
            let taught = taught.render(&tokenizer, &format, RenderEnd::Complete).expect("renders");
            assert_eq!(taught.tokens[..prompt.len()], prompt);
            // Nothing of the prompt is, but for answers that were given before.
            let has_answers = conversation.messages.iter().any(|m| m.role == Role::Assistant);
            assert_eq!(taught.loss_mask[..prompt.len()].contains(&true), has_answers);
            assert!(!taught.loss_mask[prompt.len() - 1] && taught.loss_mask[prompt.len()]);
            let error = encoding.examine(&conversation, &prompt[1..]).expect_err("one is missing");
            assert!(error.to_string().contains("other tokens than the same conversation"));
        }
    }
}
