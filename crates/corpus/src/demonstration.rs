//! Demonstrations: conversations that show how to answer, and their tokens with what is learned.
//!
//! A row is one of these:
//! - `messages`: a list of objects with `role` (`system`, `user`, `assistant` or `tool`) and
//!   `content`;
//! - `conversations`: a list of objects with `from` (also `human` and `gpt`) and `value`;
//! - `prompt` and `completion`: each a text or such a list of messages.

use std::ops::Range;

use serde_json::{Map, Value};
use tokenizer::{ChatFormat, Conversation, Message, RenderEnd, Role, Tokenizer};

use crate::BadRow;

/// The most messages of a conversation.
pub const MESSAGES_MAX: usize = 2_048;

/// The tokens of a document, and which of them are not learned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// The tokens.
    pub tokens: Vec<u32>,
    /// Runs of tokens that the model reads but does not learn to write, in order, apart, not empty.
    pub silent: Vec<Range<usize>>,
}

/// The conversation in a row.
///
/// # Errors
///
/// What is wrong with the row.
pub fn read(row: &Map<String, Value>) -> Result<Conversation, BadRow> {
    let messages = if let Some(list) = row.get("messages") {
        messages(list, "role", "content")?
    } else if let Some(list) = row.get("conversations") {
        messages(list, "from", "value")?
    } else {
        let part = |name: &str, role| part(row.get(name).ok_or(BadRow::NotAConversation)?, role);
        let mut all = part("prompt", Role::User)?;
        all.extend(part("completion", Role::Assistant)?);
        all
    };
    Ok(Conversation { messages })
}

/// Writes a conversation in tokens. What the model learns is the content of its answers, and the
/// special tokens that end them.
///
/// # Errors
///
/// Where the format cannot write it: see [`Conversation::render`].
pub fn encode(
    conversation: &Conversation,
    tokenizer: &Tokenizer,
    format: &ChatFormat,
) -> Result<Encoded, tokenizer::Error> {
    let rendered = conversation.render(tokenizer, format, RenderEnd::Complete)?;
    let mut silent: Vec<Range<usize>> = Vec::new();
    let not_learned = rendered.loss_mask.iter().enumerate().filter(|(_, learned)| !**learned);
    for (at, _) in not_learned {
        match silent.last_mut() {
            Some(run) if run.end == at => run.end += 1,
            _ => silent.push(at..at + 1),
        }
    }
    Ok(Encoded { tokens: rendered.tokens, silent })
}

/// Whether there is an answer to learn.
pub(crate) fn has_answer(conversation: &Conversation) -> bool {
    let is_answer =
        |message: &Message| message.role == Role::Assistant && !message.content.is_empty();
    conversation.messages.iter().any(is_answer)
}

fn messages(list: &Value, role: &str, content: &str) -> Result<Vec<Message>, BadRow> {
    let list = list.as_array().filter(|list| (1..=MESSAGES_MAX).contains(&list.len()));
    let messages = list.ok_or(BadRow::NotAConversation)?.iter().map(|message| {
        let text =
            |name: &str| message.get(name).and_then(Value::as_str).ok_or(BadRow::NotAConversation);
        let role = match text(role)? {
            "system" => Role::System,
            "user" | "human" => Role::User,
            "assistant" | "gpt" => Role::Assistant,
            "tool" => Role::Tool,
            _ => return Err(BadRow::UnknownRole),
        };
        Ok(Message::new(role, text(content)?))
    });
    messages.collect()
}

/// A prompt or a completion.
fn part(value: &Value, role: Role) -> Result<Vec<Message>, BadRow> {
    match value {
        Value::String(text) => Ok(vec![Message::new(role, text)]),
        list => messages(list, "role", "content"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(json: &str) -> Result<Vec<(Role, String)>, BadRow> {
        let conversation = read(&serde_json::from_str(json).unwrap())?;
        Ok(conversation.messages.into_iter().map(|m| (m.role, m.content)).collect())
    }

    #[test]
    fn all_forms_are_read() {
        let expected = Ok(vec![(Role::User, "a".to_owned()), (Role::Assistant, "b".to_owned())]);
        for json in [
            r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}"#,
            r#"{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}"#,
            r#"{"prompt": "a", "completion": "b"}"#,
            r#"{"prompt": [{"role": "user", "content": "a"}], "completion": "b", "id": 1}"#,
        ] {
            assert_eq!(row(json), expected, "{json}");
        }
    }

    #[test]
    fn others_are_bad_rows() {
        for (json, expected) in [
            ("{}", BadRow::NotAConversation),
            (r#"{"prompt": "a"}"#, BadRow::NotAConversation),
            (r#"{"messages": []}"#, BadRow::NotAConversation),
            (r#"{"messages": "a"}"#, BadRow::NotAConversation),
            (r#"{"messages": [{"role": "user"}]}"#, BadRow::NotAConversation),
            (r#"{"messages": [{"role": "user", "content": [1]}]}"#, BadRow::NotAConversation),
            (r#"{"messages": [{"role": "root", "content": "a"}]}"#, BadRow::UnknownRole),
        ] {
            assert_eq!(row(json), Err(expected), "{json}");
        }
        let many = format!(
            r#"{{"messages": [{}]}}"#,
            vec![r#"{"role": "user", "content": "a"}"#; MESSAGES_MAX + 1].join(",")
        );
        assert_eq!(row(&many), Err(BadRow::NotAConversation));
    }
}
