//! Everything that can go wrong between files of text and batches of tokens, with what to do.

use std::io;
use std::path::PathBuf;

use artifacts::hash::Digest;

use crate::BadRow;

/// What this crate refuses; each message says what to do.
///
/// Text that comes from a file is cut and printed with escapes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder cannot be read. Remedy: check the path and the rights.
    #[error("cannot read {}: {source}; check that it is there, whole, and may be read", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The system's own words, or those of the decompressor.
        source: io::Error,
    },
    /// The folder of the corpus cannot be written, or is damaged.
    #[error(transparent)]
    Artifact(#[from] artifacts::Error),
    /// A conversation cannot be written in tokens.
    #[error(transparent)]
    Tokenizer(#[from] tokenizer::Error),
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
    /// A file of a kind that is not read here.
    #[error("{} is no file that can be read here; give one of {known}, or a folder of them", path.display())]
    UnknownKind {
        /// The file.
        path: PathBuf,
        /// The endings that are known.
        known: &'static str,
    },
    /// A folder without a single file that can be read.
    #[error("{} holds no file that can be read here; put files that end in {known} there", path.display())]
    NoFiles {
        /// The folder.
        path: PathBuf,
        /// The endings that are known.
        known: &'static str,
    },
    /// A folder deeper or fuller than any corpus.
    #[error("{} has more than {limit} {what}; give a smaller folder", path.display())]
    FolderTooLarge {
        /// The folder.
        path: PathBuf,
        /// What was counted.
        what: &'static str,
        /// The most that is accepted.
        limit: usize,
    },
    /// The rows of a source do not have the column that was asked for.
    #[error(
        "{file}: line {line} has no column `{column}`, nor has a row before it; name one of \
         its columns: {found}"
    )]
    NoColumn {
        /// The file.
        file: String,
        /// The first line that lacks it.
        line: u64,
        /// The column that was asked for.
        column: String,
        /// The columns that are there.
        found: String,
    },
    /// A bad row, where none is allowed.
    #[error("{file}: line {line}: {reason}; mend the row, or take it out")]
    BadRow {
        /// The file.
        file: String,
        /// The line.
        line: u64,
        /// What is wrong with it.
        reason: BadRow,
    },
    /// Nothing is left to train on.
    #[error("no document is left to train on: {why}; give more text or drop less of it")]
    Empty {
        /// How many there were, and what became of them.
        why: String,
    },
    /// More shards than one split may have.
    #[error("the tokens fill more than {limit} shards; build with more tokens in each shard")]
    TooManyShards {
        /// The most that are accepted.
        limit: usize,
    },
    /// A file of the corpus is not what it should be.
    #[error("{}: {fault}; build the corpus again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: ShardFault,
    },
    /// The split has too few tokens for a single row.
    #[error(
        "the {split} split has {tokens} tokens, not enough for a row of {time} and the one after \
         it; give more text, or make rows shorter"
    )]
    TooShort {
        /// The split.
        split: &'static str,
        /// Its tokens.
        tokens: u64,
        /// Tokens of a row.
        time: usize,
    },
    /// A position of another corpus, or of other options.
    #[error(
        "the position belongs to {found}, but this corpus with these options is {expected}; go on \
         with the corpus, the seed and the row length of the run, or begin a new run"
    )]
    OtherPosition {
        /// What the position belongs to.
        found: Digest,
        /// What is being read.
        expected: Digest,
    },
    /// A tokenizer that is not the one the corpus was built with.
    #[error(
        "the corpus was built with another tokenizer ({expected}, not {found}); use that one, or \
         build the corpus again"
    )]
    OtherTokenizer {
        /// The tokenizer's digest in the corpus.
        expected: Digest,
        /// The digest of the one given.
        found: Digest,
    },
}

/// What is wrong with a file of a corpus.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShardFault {
    /// It does not begin as a shard does.
    #[error("not a shard of a corpus")]
    NotAShard,
    /// Another version of the format.
    #[error("shard version {found} is not known (this program knows {known})")]
    Version {
        /// The version in the file.
        found: u32,
        /// The version that is read.
        known: u32,
    },
    /// A number of the header that cannot be.
    #[error("its {what} is {found}")]
    Header {
        /// Which number.
        what: &'static str,
        /// The number.
        found: u64,
    },
    /// The file is shorter or longer than its header says.
    #[error("it has {found} bytes, but its header speaks of {expected}")]
    Length {
        /// What the header asks for.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// Document starts that do not rise from 0 to below the number of tokens.
    #[error("document {document} begins at token {start}, out of order or past the end")]
    Start {
        /// The document.
        document: usize,
        /// Where it claims to begin.
        start: u32,
    },
    /// Runs that are empty, out of order or past the end.
    #[error("run {run} of tokens that are not learned is out of order or past the end")]
    Run {
        /// The run.
        run: usize,
    },
    /// A token that the vocabulary does not have.
    #[error("token {token} at {place} is not in the vocabulary of {vocabulary}")]
    Token {
        /// The token.
        token: u32,
        /// Where in the shard.
        place: u64,
        /// Tokens of the vocabulary.
        vocabulary: u32,
    },
    /// `corpus.json` is not what is written there.
    #[error("it cannot be understood: {message}")]
    Json {
        /// What the JSON reader found.
        message: String,
    },
    /// The shards are not those that `corpus.json` speaks of.
    #[error("it has {found} {what}, but corpus.json speaks of {expected}")]
    Facts {
        /// What was counted.
        what: &'static str,
        /// What is there.
        found: u64,
        /// What was announced.
        expected: u64,
    },
}
