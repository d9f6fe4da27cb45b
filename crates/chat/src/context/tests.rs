//! Whole turns are dropped from the begin, as few as needed.

use std::path::Path;

use tokenizer::Message;

use super::*;

fn tokenizer() -> (Tokenizer, ChatFormat) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/tiny-chat.gguf");
    let file = artifacts::gguf::Gguf::open(&path).unwrap();
    let tokenizer = Tokenizer::from_gguf(file.header().metadata()).unwrap();
    let format = ChatFormat::detect(&tokenizer).unwrap().format;
    (tokenizer, format)
}

/// A system message and `turns` turns of a question and an answer, then a last question.
fn conversation(turns: usize) -> Conversation {
    let mut messages = vec![Message::new(Role::System, "Be brief.")];
    for turn in 0..turns {
        messages.push(Message::new(Role::User, format!("question {turn}")));
        messages.push(Message::new(Role::Assistant, format!("answer {turn}")));
    }
    messages.push(Message::new(Role::User, "the last question"));
    Conversation { messages }
}

fn tokens(conversation: &Conversation) -> Vec<u32> {
    let (tokenizer, format) = tokenizer();
    conversation.render(&tokenizer, &format, RenderEnd::GenerationPrompt).unwrap().tokens
}

fn fitted(
    conversation: &Conversation,
    context_tokens: usize,
    overflow: Overflow,
) -> Result<Fitted, Error> {
    let (tokenizer, format) = tokenizer();
    fit(conversation, &tokenizer, &format, Room { context_tokens, answer_tokens: 10 }, overflow)
}

#[test]
fn what_fits_is_left_alone() {
    let conversation = conversation(3);
    let whole = tokens(&conversation);
    for overflow in [Overflow::Refuse, Overflow::DropOldest] {
        let fitted = fitted(&conversation, whole.len() + 10, overflow).unwrap();
        assert_eq!((fitted.tokens, fitted.dropped_messages), (whole.clone(), 0));
    }
}

#[test]
fn refusing_tells_how_long_it_is() {
    let conversation = conversation(3);
    let length = tokens(&conversation).len();
    let error = fitted(&conversation, length, Overflow::Refuse).unwrap_err();
    let expected = (length, length);
    assert!(
        matches!(error, Error::ContextOverflow { prompt_tokens, context_tokens }
            if (prompt_tokens, context_tokens) == expected),
        "{error:?}"
    );
    assert!(fitted(&conversation, length + 1, Overflow::Refuse).is_ok(), "room for one token");
}

#[test]
fn dropping_drops_as_few_whole_turns_as_needed_and_never_the_system_message() {
    let all = conversation(6);
    for kept in 0..6 {
        let mut expected = conversation(6);
        expected.messages.drain(1..1 + 2 * (6 - kept));
        let expected = tokens(&expected);
        let fitted = fitted(&all, expected.len() + 10, Overflow::DropOldest).unwrap();
        assert_eq!(fitted.dropped_messages, 2 * (6 - kept), "{kept} turns are kept");
        assert_eq!(fitted.tokens, expected);
    }
}

#[test]
fn the_last_turn_may_use_the_answers_room_but_not_all_of_it() {
    let alone = tokens(&conversation(0)).len();
    let tight = fitted(&conversation(2), alone + 1, Overflow::DropOldest).unwrap();
    assert_eq!((tight.tokens.len(), tight.dropped_messages), (alone, 4));
    let error = fitted(&conversation(2), alone, Overflow::DropOldest).unwrap_err();
    assert!(matches!(error, Error::ContextOverflow { .. }));
}

#[test]
fn several_messages_of_the_person_in_a_row_are_one_turn() {
    let messages = vec![
        Message::new(Role::User, "one"),
        Message::new(Role::User, "two"),
        Message::new(Role::Assistant, "three"),
        Message::new(Role::User, "four"),
    ];
    assert_eq!(droppable(&Conversation { messages }), [3]);
}
