//! A prompt: what the completions of a comparison go on with, as a conversation or as plain text.

use serde::{Deserialize, Serialize};
use tokenizer::Conversation;

use crate::Refusal;
use crate::refusal::at_most;

/// The longest text of a message or completion, in bytes.
pub const TEXT_BYTES_MAX: usize = 256 << 10;
/// The most messages of a prompt.
pub const MESSAGES_MAX: usize = 256;

/// What the completions of a comparison go on with.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Prompt {
    /// Plain text, for a model that goes on with a text.
    Text(String),
    /// A conversation, whose next message is the completion.
    Messages(Vec<Message>),
}

/// One message of a prompt.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who wrote it.
    pub role: Role,
    /// What it says.
    pub text: String,
}

/// Who wrote a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The owner of the system.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

impl Message {
    /// A message of text.
    pub fn new(role: Role, text: impl Into<String>) -> Self {
        Self { role, text: text.into() }
    }
}

impl Role {
    /// The name in files: `system`, `user` or `assistant`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }

    /// The role by its name in files.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        [Self::System, Self::User, Self::Assistant].into_iter().find(|role| role.name() == name)
    }
}

impl From<Role> for tokenizer::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::System => Self::System,
            Role::User => Self::User,
            Role::Assistant => Self::Assistant,
        }
    }
}

impl Prompt {
    /// The conversation, to be written in tokens; `None` for plain text.
    #[must_use]
    pub fn conversation(&self) -> Option<Conversation> {
        let Self::Messages(messages) = self else { return None };
        let message = |m: &Message| tokenizer::Message::new(m.role.into(), m.text.clone());
        Some(Conversation { messages: messages.iter().map(message).collect() })
    }

    /// Its messages; `None` for plain text.
    #[must_use]
    pub fn messages(&self) -> Option<&[Message]> {
        match self {
            Self::Messages(messages) => Some(messages),
            Self::Text(_) => None,
        }
    }

    /// Refuses what is empty or over a limit. An empty text is a prompt: a model may begin anew.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        match self {
            Self::Text(text) => at_most("the bytes of the prompt", text.len(), TEXT_BYTES_MAX),
            Self::Messages(messages) if messages.is_empty() => Err(Refusal::EmptyPrompt),
            Self::Messages(messages) => {
                at_most("the messages of the prompt", messages.len(), MESSAGES_MAX)?;
                let mut texts = messages.iter().map(|message| message.text.len());
                texts.try_for_each(|bytes| at_most("the bytes of a message", bytes, TEXT_BYTES_MAX))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_text_or_messages_in_json() {
        for (json, prompt) in [
            (r#""once""#, Prompt::Text("once".to_owned())),
            (
                r#"[{"role":"user","text":"hi"}]"#,
                Prompt::Messages(vec![Message::new(Role::User, "hi")]),
            ),
        ] {
            assert_eq!(serde_json::to_string(&prompt).unwrap(), json);
            assert_eq!(serde_json::from_str::<Prompt>(json).unwrap(), prompt);
        }
    }

    #[test]
    fn limits_are_exact() {
        let text = |bytes: usize| Prompt::Text("x".repeat(bytes));
        assert_eq!(text(TEXT_BYTES_MAX).check(), Ok(()));
        assert_eq!(text(TEXT_BYTES_MAX + 1).check().unwrap_err().kind(), "over a limit");
        let many = |count| Prompt::Messages(vec![Message::new(Role::User, "x"); count]);
        assert_eq!(many(0).check(), Err(Refusal::EmptyPrompt));
        assert_eq!(many(MESSAGES_MAX).check(), Ok(()));
        assert_eq!(many(MESSAGES_MAX + 1).check().unwrap_err().kind(), "over a limit");
    }

    #[test]
    fn a_conversation_keeps_roles_and_texts() {
        let roles = [Role::System, Role::User, Role::Assistant];
        let prompt = Prompt::Messages(roles.map(|role| Message::new(role, role.name())).into());
        let conversation = prompt.conversation().unwrap();
        let names: Vec<&str> = conversation.messages.iter().map(|m| m.role.name()).collect();
        assert_eq!(names, ["system", "user", "assistant"]);
        assert_eq!(conversation.messages[1].content, "user");
        assert_eq!(Prompt::Text(String::new()).conversation(), None);
        assert_eq!(Role::of_name("tool"), None);
    }
}
