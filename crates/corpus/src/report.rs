//! What was kept and what was dropped and why, for programs and in a few lines for people.

use std::collections::BTreeMap;
use std::fmt;

use artifacts::shown;
use serde::{Deserialize, Serialize};

use crate::BadRow;
use crate::sources::Rows;

/// Why a document is not in the corpus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DropReason {
    /// Nothing is left of it when it is clean.
    Empty,
    /// Fewer characters than asked for.
    TooShort,
    /// Full of U+FFFD: it was read in the wrong encoding.
    Broken,
    /// A conversation without an answer to learn from.
    NoAnswer,
    /// In another language than asked for.
    Language,
    /// Not chosen by the weight of its source.
    Weight,
    /// The same words were there before.
    Duplicate,
    /// Nearly the same words were there before.
    NearDuplicate,
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "empty",
            Self::TooShort => "too short",
            Self::Broken => "in a broken encoding",
            Self::NoAnswer => "without an answer",
            Self::Language => "in another language",
            Self::Weight => "not chosen by weight",
            Self::Duplicate => "duplicate",
            Self::NearDuplicate => "near duplicate",
        })
    }
}

/// A bad row, to be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowSample {
    /// The file, from the path of its source on.
    pub file: String,
    /// The line, counted from 1.
    pub line: u64,
    /// What is wrong with it.
    pub reason: BadRow,
}

/// What became of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceReport {
    /// Its name.
    pub name: String,
    /// Its files and rows.
    #[serde(flatten)]
    pub rows: Rows,
    /// Documents that were dropped, by reason.
    pub dropped: BTreeMap<DropReason, u64>,
    /// Documents that were kept, each counted once.
    pub documents: u64,
    /// Their copies in the shards: more or fewer where the source has a weight.
    pub copies: u64,
    /// Bytes of their clean text, each counted once.
    pub text_bytes: u64,
    /// Tokens of all copies.
    pub tokens: u64,
}

/// What one split holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitReport {
    /// Files.
    pub shards: u64,
    /// Documents, copies included.
    pub documents: u64,
    /// Tokens.
    pub tokens: u64,
    /// Tokens that the model reads but does not learn to write.
    pub silent_tokens: u64,
}

/// What became of all sources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Each source, in order.
    pub sources: Vec<SourceReport>,
    /// Documents that could not be remembered to be compared with later ones.
    pub not_remembered: u64,
    /// What is there to learn from.
    pub train: SplitReport,
    /// What is there to measure on.
    pub validation: SplitReport,
}

impl SourceReport {
    /// All documents that were dropped.
    #[must_use]
    pub fn dropped_documents(&self) -> u64 {
        self.dropped.values().sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for source in &self.sources {
            write!(f, "{source}")?;
        }
        for (name, split) in [("train", &self.train), ("validation", &self.validation)] {
            let SplitReport { shards, documents, tokens, silent_tokens } = split;
            write!(f, "{name}: {documents} documents, {tokens} tokens")?;
            if *silent_tokens > 0 {
                write!(f, " ({silent_tokens} of them only read)")?;
            }
            writeln!(f, " in {shards} shards")?;
        }
        if self.not_remembered > 0 {
            let count = self.not_remembered;
            writeln!(f, "{count} documents were too many to be compared with later ones")?;
        }
        Ok(())
    }
}

impl fmt::Display for SourceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, rows, dropped, documents, copies, tokens, .. } = self;
        let (files, all_rows) = (rows.files, rows.rows);
        write!(f, "{}: {files} files, {all_rows} rows, ", shown(name))?;
        writeln!(f, "{documents} documents kept in {copies} copies, {tokens} tokens")?;
        if rows.files_passed_over > 0 {
            writeln!(f, "  {} files passed over", rows.files_passed_over)?;
        }
        for (reason, count) in dropped {
            writeln!(f, "  {count} dropped: {reason}")?;
        }
        for (reason, count) in &rows.bad {
            writeln!(f, "  {count} bad rows: {reason}")?;
        }
        for RowSample { file, line, reason } in &rows.samples {
            writeln!(f, "    {} line {line}: {reason}", shown(file))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_says_what_was_dropped_and_why() {
        let mut rows = Rows { files: 1, rows: 9, files_passed_over: 2, ..Rows::default() };
        rows.bad.insert(BadRow::NotJson, 1);
        let file = "a\u{1b}.jsonl".to_owned();
        rows.samples.push(RowSample { file, line: 3, reason: BadRow::NotJson });
        let source = SourceReport {
            name: "books".to_owned(),
            rows,
            dropped: [(DropReason::TooShort, 2), (DropReason::NearDuplicate, 1)].into(),
            documents: 5,
            copies: 10,
            text_bytes: 500,
            tokens: 100,
        };
        let train = SplitReport { shards: 1, documents: 10, tokens: 100, silent_tokens: 7 };
        let report =
            Report { sources: vec![source], not_remembered: 0, train, ..Report::default() };
        let expected = "books: 1 files, 9 rows, 5 documents kept in 10 copies, 100 tokens\n  \
            2 files passed over\n  2 dropped: too short\n  1 dropped: near duplicate\n  \
            1 bad rows: not a JSON object\n    a\\u{1b}.jsonl line 3: not a JSON object\n\
            train: 10 documents, 100 tokens (7 of them only read) in 1 shards\n\
            validation: 0 documents, 0 tokens in 0 shards\n";
        assert_eq!(report.to_string(), expected);
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
    }
}
