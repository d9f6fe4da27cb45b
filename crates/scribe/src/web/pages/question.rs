//! What a page asks: the whole conversation and the reader's settings, from JSON or from a form.

use std::borrow::Cow;

use chat::Sampling;
use chat::context::Overflow;
use chat::turn::{Prepared, Turn};
use serde::{Deserialize, Serialize};
use tokenizer::{Conversation, Message, Role};

use crate::config::sampling::another;
use crate::random;
use crate::web::api::request::{MESSAGES_MAX, TEMPERATURE_MAX, prepare};
use crate::web::error::ApiError;
use crate::web::state::ServedModel;

/// Who wrote a message of a page's conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Author {
    User,
    Assistant,
}

/// One message as the page keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) role: Author,
    pub(super) content: String,
}

impl Entry {
    pub(super) fn user(content: impl Into<String>) -> Self {
        Self { role: Author::User, content: content.into() }
    }

    pub(super) fn assistant(content: impl Into<String>) -> Self {
        Self { role: Author::Assistant, content: content.into() }
    }
}

/// A question to the model. It is also the body of `POST /chat`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub(super) struct Question {
    /// All messages so far, oldest first.
    pub(super) messages: Vec<Entry>,
    /// What the model reads before them.
    #[serde(default)]
    pub(super) system: String,
    /// Nothing for the model's own.
    #[serde(default)]
    pub(super) temperature: Option<f32>,
    /// Most tokens of the answer; nothing for as many as fit.
    #[serde(default)]
    pub(super) max_tokens: Option<usize>,
    /// Whether an answer was given before, and another one is asked for.
    #[serde(default)]
    pub(super) again: bool,
}

impl Question {
    /// Writes the conversation for the model; its oldest turns are dropped if they do not fit.
    ///
    /// # Errors
    ///
    /// 400 if a value is out of range, or if not even the last message fits.
    pub(super) fn prepare(self, model: &ServedModel) -> Result<Prepared, ApiError> {
        self.check()?;
        prepare(self.turn(model), model)
    }

    fn check(&self) -> Result<(), ApiError> {
        if self.messages.len() > MESSAGES_MAX {
            let most = format!("'messages' may have at most {MESSAGES_MAX} entries.");
            return Err(ApiError::invalid("messages", most));
        }
        if self.messages.last().is_none_or(|last| last.role != Author::User) {
            return Err(ApiError::invalid("messages", "The last message must be the user's."));
        }
        if self.temperature.is_some_and(|value| !(0.0..=TEMPERATURE_MAX).contains(&value)) {
            let range = format!("'temperature' must be between 0 and {TEMPERATURE_MAX}.");
            return Err(ApiError::invalid("temperature", range));
        }
        if self.max_tokens == Some(0) {
            return Err(ApiError::invalid("max_tokens", "'max_tokens' must be at least 1."));
        }
        Ok(())
    }

    fn turn(self, model: &ServedModel) -> Turn {
        let sampling = Sampling { seed: random::seed(), ..self.sampling(&model.sampling) };
        let mut messages = Vec::with_capacity(self.messages.len() + 1);
        if !self.system.trim().is_empty() {
            messages.push(Message::new(Role::System, self.system));
        }
        messages.extend(self.messages.into_iter().map(|entry| {
            let role = match entry.role {
                Author::User => Role::User,
                Author::Assistant => Role::Assistant,
            };
            Message::new(role, entry.content)
        }));
        Turn {
            conversation: Conversation { messages },
            overflow: Overflow::DropOldest,
            max_tokens: self.max_tokens.map(|most| most.min(model.context_tokens())),
            sampling,
            ..Turn::default()
        }
    }

    /// How tokens are drawn, but for the seed.
    fn sampling(&self, advice: &Sampling) -> Sampling {
        match self.temperature {
            Some(temperature) => Sampling { temperature, ..advice.clone() },
            None if self.again => another(advice),
            None => advice.clone(),
        }
    }
}

/// The page's form as it arrives where there is no JavaScript.
#[derive(Clone, Debug, Default)]
pub(super) struct Form {
    /// The conversation so far, as JSON in a hidden field.
    pub(super) history: String,
    /// What the reader has written.
    pub(super) prompt: String,
    /// Whether the last answer is to be written again.
    pub(super) regenerate: bool,
    /// The API key, where the server asks for one.
    pub(super) key: String,
    pub(super) system: String,
    pub(super) temperature: String,
    pub(super) max_tokens: String,
}

impl Form {
    /// Reads an URL-encoded body. Unknown fields are ignored.
    pub(super) fn parse(body: &[u8]) -> Self {
        let mut form = Self::default();
        for (name, value) in url::form_urlencoded::parse(body) {
            // Browsers send lines of a form with carriage returns.
            let value = value.replace("\r\n", "\n");
            match &*name {
                "history" => form.history = value,
                "prompt" | "example" if !value.trim().is_empty() => form.prompt = value,
                "action" => form.regenerate = value == "regenerate",
                "key" => form.key = value,
                "system" => form.system = value,
                "temperature" => form.temperature = value,
                "max_tokens" => form.max_tokens = value,
                _ => {}
            }
        }
        form
    }

    /// The conversation so far.
    ///
    /// # Errors
    ///
    /// 400 if the hidden field was changed into something else.
    pub(super) fn entries(&self) -> Result<Vec<Entry>, ApiError> {
        if self.history.is_empty() {
            return Ok(Vec::new());
        }
        serde_json::from_str(&self.history)
            .map_err(|error| ApiError::bad_json(format!("'history' is not valid: {error}.")))
    }

    /// The question that the form asks about `entries`; `None` if it says nothing.
    ///
    /// # Errors
    ///
    /// 400 if a number is none.
    pub(super) fn question(&self, mut entries: Vec<Entry>) -> Result<Option<Question>, ApiError> {
        let prompt = self.prompt.trim();
        let answered = entries.last().is_some_and(|entry| entry.role == Author::Assistant);
        if self.regenerate {
            while entries.last().is_some_and(|entry| entry.role == Author::Assistant) {
                entries.pop();
            }
        } else if !prompt.is_empty() {
            entries.push(Entry::user(prompt));
        } else {
            return Ok(None);
        }
        Ok(Some(Question {
            messages: entries,
            system: self.system.clone(),
            temperature: number(&self.temperature, "temperature")?,
            max_tokens: number(&self.max_tokens, "max_tokens")?,
            again: self.regenerate && answered,
        }))
    }
}

/// A number of a form; nothing if its field is empty. A French reader may write a comma.
fn number<N: std::str::FromStr>(text: &str, name: &'static str) -> Result<Option<N>, ApiError> {
    let text = match text.trim() {
        "" => return Ok(None),
        text if text.contains(',') => Cow::Owned(text.replace(',', ".")),
        text => Cow::Borrowed(text),
    };
    let parsed =
        text.parse().map_err(|_| ApiError::invalid(name, format!("'{name}' must be a number.")));
    parsed.map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_asks_as_json_does() {
        let history = r#"[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]"#;
        let body = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("history", history)
            .append_pair("prompt", " c\r\nd ")
            .append_pair("temperature", "0,5")
            .append_pair("max_tokens", "")
            .append_pair("system", "s")
            .finish();
        let form = Form::parse(body.as_bytes());
        let question = form.question(form.entries().expect("entries")).expect("numbers");
        let asked: Question = serde_json::from_str(
            r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},
            {"role":"user","content":"c\nd"}],"system":"s","temperature":0.5}"#,
        )
        .expect("JSON");
        assert_eq!(question, Some(asked));
    }

    #[test]
    fn regenerating_takes_the_last_answer_back() {
        let entries = vec![Entry::user("a"), Entry::assistant("b")];
        let form = Form { regenerate: true, ..Form::default() };
        let question = form.question(entries).expect("numbers").expect("a question");
        assert_eq!(question.messages, [Entry::user("a")]);
        assert!(question.again);
        // An answer that failed is asked for as if for the first time.
        let question = form.question(vec![Entry::user("a")]).expect("numbers").expect("a question");
        assert!(!question.again);
    }

    #[test]
    fn another_answer_is_drawn_as_the_reader_says_where_the_reader_says_anything() {
        let advice = Sampling { top_k: 7, ..Sampling::greedy() };
        let sampling = |again, temperature| {
            Question { again, temperature, ..Question::default() }.sampling(&advice)
        };
        assert_eq!(sampling(false, None), advice);
        assert_eq!(sampling(true, None), another(&advice));
        for temperature in [0.0, 0.8] {
            let asked = Sampling { temperature, ..advice.clone() };
            assert_eq!(sampling(true, Some(temperature)), asked);
            assert_eq!(sampling(false, Some(temperature)), asked);
        }
    }

    #[test]
    fn nothing_written_asks_nothing() {
        let form = Form::parse(b"prompt=+%0d%0a+&unknown=1&history=");
        assert_eq!(form.question(form.entries().expect("none")).expect("numbers"), None);
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        let question = |messages: Vec<Entry>| Question { messages, ..Question::default() };
        let user = || vec![Entry::user("a")];
        assert!(question(user()).check().is_ok());
        for (wrong, word) in [
            (question(Vec::new()), "last message"),
            (question(vec![Entry::assistant("a")]), "last message"),
            (question(vec![Entry::user("a"); MESSAGES_MAX + 1]), "at most"),
            (Question { temperature: Some(2.5), ..question(user()) }, "temperature"),
            (Question { temperature: Some(f32::NAN), ..question(user()) }, "temperature"),
            (Question { max_tokens: Some(0), ..question(user()) }, "max_tokens"),
        ] {
            let error = wrong.check().expect_err("refused");
            assert!(error.message().contains(word), "{}", error.message());
        }
        let form =
            Form { temperature: "warm".to_owned(), prompt: "a".to_owned(), ..Form::default() };
        assert!(form.question(Vec::new()).is_err());
        assert!(Form { history: "{".to_owned(), ..Form::default() }.entries().is_err());
    }
}
