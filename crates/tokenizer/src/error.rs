//! Everything that can be wrong with a tokenizer or a chat template, with the facts and the remedy.

use std::io;
use std::path::PathBuf;

use artifacts::shown;

/// The longest excerpt of a file where the message prints it with escapes itself.
const FOUND_CHARS_MAX: usize = 300;

/// What is wrong with a tokenizer file, a chat template or a conversation.
///
/// Text that comes from a file is cut and printed with escapes, so that no file can fill a log or
/// write to a terminal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read. Remedy: check the path and the rights.
    #[error("cannot read {path}: {source}; check the path and who may read it")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's own words.
        source: io::Error,
    },

    /// A file or list is larger than any known tokenizer needs.
    #[error(
        "{what} is {found}, more than the limit of {limit}; \
         the file is damaged or was made to do harm: get it from a source that you trust"
    )]
    TooLarge {
        /// What was counted or measured.
        what: &'static str,
        /// How much there is.
        found: u64,
        /// The most that is accepted.
        limit: u64,
    },

    /// A file is not the JSON that it should be.
    #[error("{what} is not valid: {message}; download it again")]
    Json {
        /// Which file.
        what: &'static str,
        /// Where and why, in the words of the JSON reader.
        message: String,
    },

    /// The metadata of a GGUF file cannot be read.
    #[error(transparent)]
    Artifact(#[from] artifacts::Error),

    /// A part of the tokenizer that must be there is missing.
    #[error("the tokenizer has no {what}; convert the model again with a current converter")]
    Missing {
        /// The metadata key or field.
        what: &'static str,
    },

    /// A kind of tokenizer that is not supported. Remedy: take a model with one of those listed.
    #[error("{what} {found:?} is not supported; use a model whose {what} is one of: {known}")]
    Unsupported {
        /// Which part of the tokenizer.
        what: &'static str,
        /// What the file asks for.
        found: String,
        /// What is supported.
        known: &'static str,
    },

    /// A tokenizer has something that a layout of files has no words for.
    #[error("{what} cannot hold {feature}; choose another layout")]
    Unwritable {
        /// What is to be written.
        what: &'static str,
        /// What it cannot say.
        feature: String,
    },

    /// The parts of a tokenizer contradict each other.
    #[error("the tokenizer is damaged: {problem}; download it again")]
    Invalid {
        /// What is wrong.
        problem: String,
    },

    /// The model has no special token that the chat format needs.
    #[error(
        "the vocabulary has no special token {name:?}, which the {format} chat format needs; \
         choose the chat format that the model was trained with"
    )]
    MissingSpecial {
        /// The token.
        name: String,
        /// The chat format.
        format: &'static str,
    },

    /// A token that ends a turn can come of text: whoever writes it could speak for others.
    #[error(
        "token {token:?} ends a turn of this model, but any text can hold it; \
         get the model from where it is marked as special"
    )]
    OpenEnd {
        /// The token.
        token: String,
    },

    /// Nothing says how this model wants conversations to be written.
    #[error(
        "the model has no chat template and no special tokens of a known chat format; \
         use a model that was taught to chat"
    )]
    NoChatFormat,

    /// A sampled token of a stored message is not in this model's vocabulary.
    #[error(
        "message {message} holds token {token}, but the vocabulary has {vocabulary} tokens; \
         it was written by another model: drop its tokens and keep its text"
    )]
    UnknownToken {
        /// Which message, counted from 0.
        message: usize,
        /// The token.
        token: u32,
        /// How many tokens there are.
        vocabulary: usize,
    },

    /// A chat template cannot be understood.
    #[error(
        "the model's chat template cannot be read: {problem}; \
         use a model whose template can be read"
    )]
    Template {
        /// Where and why.
        problem: String,
    },

    /// A chat template works too long or writes too much: a template bomb.
    #[error(
        "the model's chat template was stopped: it goes over the limit for {limit}; \
         get the model from a source that you trust"
    )]
    TemplateLimit {
        /// Which limit.
        limit: &'static str,
    },

    /// A chat template looks into what people wrote instead of only placing it.
    #[error(
        "the model's chat template inspects the content of messages ({how}), which is not \
         supported; use a model whose template only places it"
    )]
    TemplateInspects {
        /// What gave it away.
        how: String,
    },

    /// A vocabulary cannot be trained to that size.
    #[error(
        "a vocabulary of {asked} tokens cannot be trained; ask for at least {} (256 bytes and \
         {special} special tokens) and at most {most}",
        special + 256
    )]
    VocabularySize {
        /// The tokens that were asked for.
        asked: usize,
        /// How many of them are special.
        special: usize,
        /// The most that can be.
        most: usize,
    },

    /// A special token that no tokenizer can have. Remedy: give it another name, or leave it out.
    #[error(
        "the special token \"{name}\" {problem}; give each a name of its own, such as \
         <|endoftext|>"
    )]
    SpecialToken {
        /// The token.
        name: String,
        /// What is wrong with it, as in "is empty".
        problem: &'static str,
    },

    /// A file that should be text is not UTF-8.
    #[error("{path} is not UTF-8 at byte {byte}; convert it to UTF-8, or leave it out")]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Where, in bytes from the start of the file.
        byte: u64,
    },

    /// A text has more different words than can be counted in memory.
    #[error(
        "the different words of the text have more than {limit} bytes together; leave out what is \
         no natural language, or train on a part of the text"
    )]
    TooManyWords {
        /// The most bytes that are counted.
        limit: usize,
    },

    /// There is nothing in the text to learn from.
    #[error("there is no text to learn from; give files that are not empty")]
    NothingToTrain,

    /// A chat template refuses this conversation, in its own words.
    #[error("the model's chat template refuses this conversation: {reason:?}; change the messages")]
    TemplateRefuses {
        /// The template's words.
        reason: String,
    },
}

impl Error {
    /// A file that is not the JSON that it should be.
    pub(crate) fn json(what: &'static str, source: &serde_json::Error) -> Self {
        Self::Json { what, message: shown(&source.to_string()) }
    }

    /// A kind of tokenizer that is not supported.
    pub(crate) fn unsupported(what: &'static str, found: &str, known: &'static str) -> Self {
        Self::Unsupported { what, found: found.chars().take(FOUND_CHARS_MAX).collect(), known }
    }

    /// A tokenizer whose parts contradict each other.
    pub(crate) fn invalid(problem: &str) -> Self {
        Self::Invalid { problem: shown(problem) }
    }

    /// A token that ends a turn and can come of text.
    pub(crate) fn open_end(token: &str) -> Self {
        Self::OpenEnd { token: token.chars().take(FOUND_CHARS_MAX).collect() }
    }

    /// A chat template that cannot be understood.
    pub(crate) fn template(problem: &str) -> Self {
        Self::Template { problem: shown(problem) }
    }

    /// A chat template that looks into contents.
    pub(crate) fn inspects(how: &str) -> Self {
        Self::TemplateInspects { how: shown(how) }
    }
}
