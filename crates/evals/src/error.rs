//! Everything that can go wrong while something is measured, with what to do.

use std::io;
use std::path::PathBuf;

use crate::likelihood::TaskFault;

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
    /// A file cannot be read. Remedy: check the path and the rights.
    #[error("cannot read {}: {source}; check that it is there and may be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's own words.
        source: io::Error,
    },
    /// More tasks or bytes than a file of them may have.
    #[error("{} has more than {limit} {what}; give a part of it", path.display())]
    TooMuch {
        /// The file.
        path: PathBuf,
        /// The most that are accepted.
        limit: u64,
        /// What was counted.
        what: &'static str,
    },
    /// A line that is no task.
    #[error("{}: line {line}: {fault}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it.
        fault: TaskFault,
    },
    /// A task that the model cannot answer.
    #[error("task {task}: {fault}")]
    Task {
        /// The task, counted from 1.
        task: u64,
        /// What is wrong with it.
        fault: TaskFault,
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
