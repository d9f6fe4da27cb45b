//! Everything that can go wrong while something is measured, with what to do.

use std::io;

/// What this crate refuses; each message says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The corpus cannot be read.
    #[error(transparent)]
    Corpus(#[from] corpus::Error),
    /// The model cannot compute.
    #[error(transparent)]
    Model(#[from] model::Error),
    /// An option has a value that makes no sense.
    #[error("{option} is {found}, but must be {expected}")]
    Option {
        /// The option.
        option: &'static str,
        /// The value given.
        found: String,
        /// What would be accepted.
        expected: String,
    },
    /// A token that the vocabulary does not have.
    #[error(
        "token {token} is not in the vocabulary of {vocabulary}; use the tokenizer that the tokens \
         were made with"
    )]
    Token {
        /// The token.
        token: u32,
        /// Tokens of the vocabulary.
        vocabulary: u32,
    },
    /// More tokens than are counted.
    #[error("there are more than {limit} tokens to count; give a smaller corpus")]
    TooManyTokens {
        /// The most that are accepted.
        limit: usize,
    },
    /// Nothing to learn from or to measure on.
    #[error("there is no {what}; give more text, or put more of it aside for validation")]
    Empty {
        /// What is missing.
        what: &'static str,
    },
    /// A corpus of something else than texts.
    #[error(
        "the corpus holds conversations, of which some tokens are only read; build one of texts alone \
         to measure on"
    )]
    Conversations,
    /// A compressor failed.
    #[error("cannot compress: {source}; free some memory, and try again")]
    Compress {
        /// Its own words.
        source: io::Error,
    },
}
