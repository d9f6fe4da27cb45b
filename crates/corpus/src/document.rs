//! A document: a text or a conversation, where it came from, and the fingerprint of what it says.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::Arc;

use artifacts::hash::{Digest, Hashing};
use tokenizer::Conversation;

/// One document as a source gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// What it says.
    pub content: Content,
    /// Where it stood.
    pub place: Place,
}

/// What a document says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A text to be continued.
    Text(String),
    /// A conversation whose answers are to be learned.
    Conversation(Conversation),
}

/// Where a document or a bad row stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, from the path of its source on.
    pub file: Arc<str>,
    /// The line on which it begins, counted from 1.
    pub line: u64,
}

impl Content {
    /// All that it says: of a conversation the contents of its messages, a blank line between them.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Conversation(conversation) => {
                let contents: Vec<&str> =
                    conversation.messages.iter().map(|message| message.content.as_str()).collect();
                Cow::Owned(contents.join("\n\n"))
            }
        }
    }
}

impl Content {
    /// Bytes of all that it says.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Conversation(conversation) => {
                conversation.messages.iter().map(|message| message.content.len()).sum()
            }
        }
    }
}

/// The words of a text: runs of letters and digits.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

/// What a document says, as a hash: of its words in lowercase, one blank between them.
///
/// Texts that differ in case, white space and punctuation alone have the same fingerprint. A text
/// without a letter or digit is hashed as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(Digest);

impl Fingerprint {
    /// The fingerprint of a text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut hashing = Hashing::new(io::sink());
        let mut word_in_lowercase = String::new();
        let mut words = words(text).peekable();
        if words.peek().is_none() {
            // The byte before keeps these apart from the fingerprints of words.
            write(&mut hashing, b"\0");
            write(&mut hashing, text.as_bytes());
        }
        for word in words {
            word_in_lowercase.clear();
            word_in_lowercase.extend(word.chars().flat_map(char::to_lowercase));
            word_in_lowercase.push(' ');
            write(&mut hashing, word_in_lowercase.as_bytes());
        }
        Self(hashing.finish().0)
    }

    /// One of four independent words of 64 bits.
    ///
    /// # Panics
    ///
    /// Panics if `index` is not below 4.
    pub(crate) fn word(&self, index: usize) -> u64 {
        let (words, _) = self.0.as_bytes().as_chunks::<8>();
        u64::from_le_bytes(words[index])
    }

    /// The first half, which tells a few billion documents apart.
    pub(crate) fn half(&self) -> u128 {
        u128::from(self.word(0)) | u128::from(self.word(1)) << 64
    }
}

/// Feeds a hash, which takes all bytes.
fn write(hashing: &mut Hashing<io::Sink>, bytes: &[u8]) {
    let written = hashing.write_all(bytes);
    debug_assert!(written.is_ok(), "a sink takes everything");
}

#[cfg(test)]
mod tests {
    use tokenizer::{Message, Role};

    use super::*;

    #[test]
    fn fingerprints_see_words_alone() {
        let one = Fingerprint::of("Hello,  World!\n");
        assert_eq!(one, Fingerprint::of("hello world"));
        assert_ne!(one, Fingerprint::of("helloworld"));
        assert_ne!(one, Fingerprint::of("hello world s"));
        assert_ne!(Fingerprint::of("!?"), Fingerprint::of("?!"));
        assert_ne!(Fingerprint::of(""), Fingerprint::of("a"));
        // Computed with Python's hashlib over b"hello world ".
        assert_eq!(one.0, Digest::of(b"hello world "));
    }

    #[test]
    fn a_conversation_says_what_its_messages_say() {
        let messages = vec![Message::new(Role::User, "a"), Message::new(Role::Assistant, "b")];
        assert_eq!(Content::Conversation(Conversation { messages }).text(), "a\n\nb");
    }
}
