//! One line of a store: what it may say, and how a torn or damaged one is told from a whole one.

use artifacts::hash::Digest;
use artifacts::shown;
use serde::{Deserialize, Serialize};

use super::RowId;
use crate::Comparison;

/// The longest line, in bytes: several comparisons of the longest texts would not fit, one does.
pub const ROW_BYTES_MAX: usize = 16 << 20;
/// The most versions of one judgment that a labeler may give.
pub const REVISIONS_MAX: usize = 256;
/// How many ids one row of a record of use holds; a longer record is several rows.
pub(super) const IDS_OF_A_ROW: usize = 4_096;
/// The version of the format that is written here, and the only one that is read.
pub(super) const VERSION: u32 = 1;
/// What the first line says that this is.
pub(super) const FORMAT: &str = "scribe comparisons";

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) format: String,
    pub(super) version: u32,
}

/// A line after the first.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Row {
    /// A comparison, and the earlier versions of it, all of which it takes the place of.
    Comparison(Box<Kept>),
    /// Ids that are deleted: all versions of one comparison.
    Deleted(Deleted),
    /// What an artifact was made from.
    UsedBy(UsedBy),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    pub(super) id: RowId,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) supersedes: Vec<RowId>,
    pub(super) comparison: Comparison,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Deleted {
    pub(super) ids: Vec<RowId>,
    pub(super) time_ms: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UsedBy {
    pub(super) artifact: Digest,
    pub(super) ids: Vec<RowId>,
}

impl Header {
    pub(super) fn current() -> Self {
        Self { format: FORMAT.to_owned(), version: VERSION }
    }
}

impl Row {
    /// Reads a line; the error says what is wrong with it.
    pub(super) fn parse(line: &[u8]) -> Result<Self, String> {
        let row: Self = serde_json::from_slice(line).map_err(|error| shown(&error.to_string()))?;
        match &row {
            Self::Comparison(kept) if kept.supersedes.len() > REVISIONS_MAX => {
                Err(format!("it has more than {REVISIONS_MAX} earlier versions"))
            }
            Self::Comparison(kept) if kept.id != RowId::of(&kept.comparison) => {
                Err("its id is not the hash of its content".to_owned())
            }
            _ => Ok(row),
        }
    }
}

/// The line of a header or row, with its end.
///
/// # Panics
///
/// Panics if the value has no form in JSON: those of this file all have one.
pub(super) fn line_of(value: &impl Serialize) -> Vec<u8> {
    let mut line = match serde_json::to_vec(value) {
        Ok(line) => line,
        Err(error) => unreachable!("a row without a form in JSON: {error}"),
    };
    line.push(b'\n');
    line
}
