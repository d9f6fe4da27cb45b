//! Everything that can go wrong with comparisons, with what to do.

use std::io;
use std::path::PathBuf;

use crate::Refusal;
use crate::store::RowId;

/// What this crate refuses; each message says what to do.
///
/// Text that comes from a file is cut and printed with escapes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something is no comparison.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A file cannot be read. Remedy: check the path and the rights.
    #[error("cannot read {}: {source}; check that it is there and may be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's own words.
        source: io::Error,
    },
    /// A store cannot be written. Remedy: make room or give rights, then open it again.
    #[error(
        "cannot write {}: {source}; see to space and rights, then open the store again",
        path.display()
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's own words.
        source: io::Error,
    },
    /// A call after one that failed.
    #[error(
        "an earlier write to {} failed, so its end is not known; open the store again",
        path.display()
    )]
    Broken {
        /// The file.
        path: PathBuf,
    },
    /// Another process writes to the store.
    #[error("another process writes to {}; wait for it or end it", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// A file without the first line of a store.
    #[error(
        "{} is not a store of comparisons; import it if it holds comparisons of another format, \
         or choose another name",
        path.display()
    )]
    NotAStore {
        /// The file.
        path: PathBuf,
    },
    /// A store of another version.
    #[error(
        "{} is of version {found}, and this program knows {known}; use the program that wrote it \
         to export the comparisons, or a newer one",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The version in the file.
        found: u32,
        /// The version that is read.
        known: u32,
    },
    /// A row that is not what was written.
    #[error(
        "{}: line {line} is damaged: {fault}; take that line out to lose it alone, or restore the \
         file from a copy",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it.
        fault: String,
    },
    /// A row of none of the formats that are read.
    #[error(
        "line {line} is of no format that is known ({known}); its columns are: {columns}; name \
         the format, or rename the columns"
    )]
    UnknownFormat {
        /// The line, counted from 1.
        line: u64,
        /// The columns of the row.
        columns: String,
        /// The formats.
        known: String,
    },
    /// A store over its limit.
    #[error("{} has more than {limit} bytes; begin another file", path.display())]
    StoreTooLarge {
        /// The file.
        path: PathBuf,
        /// The most that is read.
        limit: u64,
    },
    /// A store was compacted while it was read.
    #[error("{} was written anew while it was read; open it again", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A comparison that does not fit into a row.
    #[error("the comparison takes {bytes} bytes, more than {limit}; give shorter texts")]
    RowTooLong {
        /// Its bytes.
        bytes: usize,
        /// The most that a row may have.
        limit: usize,
    },
    /// A row that is not in the store.
    #[error("no comparison that counts has the id {id}; list those there are")]
    UnknownRow {
        /// The id.
        id: RowId,
    },
    /// A comparison that was deleted.
    #[error("comparison {id} was deleted here and stays so; judge its candidate anew")]
    Deleted {
        /// The id.
        id: RowId,
    },
    /// A revision of something that is not the labeler's own.
    #[error(
        "comparison {id} is another labeler's, or of another candidate; a judgment can be revised \
         by who gave it, for the same completions in the same order"
    )]
    OtherJudgment {
        /// The id.
        id: RowId,
    },
    /// A revision that equals a version before it.
    #[error("{id} was there before, to the millisecond; give the time of the revision")]
    Repeated {
        /// The id.
        id: RowId,
    },
    /// A judgment that was revised without end.
    #[error("comparison {id} was revised {limit} times; delete it and judge its candidate anew")]
    TooManyRevisions {
        /// The id.
        id: RowId,
        /// The most that are kept.
        limit: usize,
    },
}
