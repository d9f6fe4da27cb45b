//! How a conversation is written in tokens: the only place that makes special tokens.
//!
//! A chat format writes a list of pieces: special tokens, text, and the content of messages.
//! Neighboring text is joined before merging, as if the whole conversation had been one string, so
//! the tokens are those of Hugging Face's `apply_chat_template`. There are two exceptions, both
//! wanted:
//!
//! - Text of a message never becomes a special token, whatever it looks like.
//! - An assistant's content begins and ends with a hard cut, because its tokens were sampled after
//!   the generation prompt. Where a message carries those sampled tokens, they are written as they
//!   are. So a conversation in training, in its first turn and in its tenth has the same tokens.

use crate::vocabulary::Strip;
use crate::{ChatFormat, Error, Tokenizer};

/// Who wrote a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// The owner of the system: instructions that go before everything else.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// A tool that the model has called.
    Tool,
}

impl Role {
    /// The name in chat templates and in the public interface.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who wrote it.
    pub role: Role,
    /// What it says.
    pub content: String,
    /// The tokens that the model sampled for this message, without the one that ended it. They are
    /// written as they are, in place of `content`.
    pub tokens: Option<Vec<u32>>,
}

impl Message {
    /// A message of text.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into(), tokens: None }
    }

    /// An assistant's message as it was sampled.
    pub fn sampled(content: impl Into<String>, tokens: Vec<u32>) -> Self {
        Self { role: Role::Assistant, content: content.into(), tokens: Some(tokens) }
    }
}

/// The messages so far, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conversation {
    /// The messages.
    pub messages: Vec<Message>,
}

/// Where a rendered conversation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenderEnd {
    /// With the words that make the model write the next message.
    GenerationPrompt,
    /// After the last message, as in training.
    Complete,
}

/// A conversation in tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// The tokens.
    pub tokens: Vec<u32>,
    /// `true` for the tokens that the model is to learn to write: each assistant's content and the
    /// special token that ends it. As long as `tokens`.
    pub loss_mask: Vec<bool>,
}

/// A part of a conversation before it is tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'text> {
    /// A special token.
    Special(u32),
    /// Text; special tokens in it stay text.
    Text(&'text str),
    /// The content of an assistant's message, between hard cuts.
    Answer {
        /// The content, trimmed where the format trims.
        text: &'text str,
        /// The sampled tokens, which go first.
        tokens: Option<&'text [u32]>,
    },
}

impl<'text> Piece<'text> {
    /// The piece for `text`, which is the content of `message` as the format writes it.
    pub(crate) fn content(message: &'text Message, text: &'text str) -> Self {
        match message.role {
            Role::Assistant => Self::Answer { text, tokens: message.tokens.as_deref() },
            Role::System | Role::User | Role::Tool => Self::Text(text),
        }
    }
}

impl Conversation {
    /// Writes the conversation in tokens.
    ///
    /// # Errors
    ///
    /// Fails if the vocabulary lacks a token of the format, if a sampled token is not in the
    /// vocabulary, or if an imported template fails on these messages.
    pub fn render(
        &self,
        tokenizer: &Tokenizer,
        format: &ChatFormat,
        end: RenderEnd,
    ) -> Result<Rendered, Error> {
        for (message, tokens) in
            self.messages.iter().enumerate().filter_map(|(i, m)| Some((i, m.tokens.as_ref()?)))
        {
            let vocabulary = tokenizer.vocabulary_len();
            if let Some(&token) = tokens.iter().find(|&&token| token as usize >= vocabulary) {
                return Err(Error::UnknownToken { message, token, vocabulary });
            }
        }
        let mut writer = Writer::new(tokenizer);
        format.write(tokenizer, &self.messages, end, &mut |piece| writer.push(piece))?;
        Ok(writer.finish())
    }
}

/// Joins neighboring text and turns pieces into tokens.
struct Writer<'tokenizer> {
    tokenizer: &'tokenizer Tokenizer,
    rendered: Rendered,
    /// Text that is not yet merged because more may follow.
    text: String,
    /// What the special token before `text` takes of its white space.
    before: Strip,
    /// Whether an assistant's content was written last, so that the next special token ends it.
    in_answer: bool,
}

impl<'tokenizer> Writer<'tokenizer> {
    fn new(tokenizer: &'tokenizer Tokenizer) -> Self {
        Self {
            tokenizer,
            rendered: Rendered::default(),
            text: String::new(),
            before: Strip::default(),
            in_answer: false,
        }
    }

    fn push(&mut self, piece: Piece<'_>) {
        match piece {
            Piece::Text(text) => self.text.push_str(text),
            Piece::Special(token) => {
                self.cut(self.tokenizer.strip(token));
                // A sampled answer may hold its own end already.
                let ended = self.in_answer
                    && self.rendered.tokens.last() == Some(&token)
                    && self.rendered.loss_mask.last() == Some(&true);
                if !ended {
                    self.rendered.tokens.push(token);
                    self.rendered.loss_mask.push(self.in_answer);
                }
                self.in_answer = false;
                self.before = self.tokenizer.strip(token);
            }
            Piece::Answer { text, tokens } => {
                self.cut(Strip::default());
                match tokens {
                    Some(tokens) => self.rendered.tokens.extend_from_slice(tokens),
                    None => self.tokenizer.encode_into(text, &mut self.rendered.tokens),
                }
                self.rendered.loss_mask.resize(self.rendered.tokens.len(), true);
                self.in_answer = true;
            }
        }
    }

    /// Merges the text so far, so that nothing is joined across this point.
    fn cut(&mut self, after: Strip) {
        let mut text = self.text.as_str();
        if self.before.right {
            text = text.trim_start();
        }
        if after.left {
            text = text.trim_end();
        }
        if !text.is_empty() {
            self.in_answer = false;
            self.tokenizer.encode_into(text, &mut self.rendered.tokens);
            self.rendered.loss_mask.resize(self.rendered.tokens.len(), false);
        }
        self.text.clear();
        self.before = Strip::default();
    }

    fn finish(mut self) -> Rendered {
        self.cut(Strip::default());
        self.rendered
    }
}
