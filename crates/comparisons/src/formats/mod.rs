//! Comparisons in the formats of others, read row by row and written.
//!
//! Reading counts what is no comparison, with the reason, and shows the first few rows of it.
//! Writing turns a ranking into its pairs where a format only knows pairs, and counts what the
//! format cannot say; what it can say comes back equal.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::BufRead;

use artifacts::shown;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::comparison::check_labeler;
use crate::feedback::Thumb;
use crate::{Comparison, Completion, Error, Refusal};

mod best_of_four;
mod column;
mod hh;
mod llama_factory;
mod oasst;
mod open_webui;
mod rows;
#[cfg(test)]
mod tests;
mod trl;
mod write;

use rows::{RowText, Rows};

pub use write::{Unsaid, WriteReport, Writer};

/// The longest row, in bytes.
pub const ROW_BYTES_MAX: usize = 8 << 20;
/// How many bad rows are shown.
pub const BAD_ROWS_SHOWN: usize = 8;

/// A format that comparisons come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Format {
    /// Anthropic's HH: `chosen` and `rejected`, whole texts with `\n\nHuman:` and `\n\nAssistant:`.
    Hh,
    /// TRL's preferences: `prompt`, `chosen`, `rejected` as texts or messages, and `margin`.
    Trl,
    /// OASST's conversation trees: replies with `rank`.
    Oasst,
    /// The best of four of lm-human-preferences: `query`, `sample0` to `sample3`, `best`.
    BestOfFour,
    /// LLaMA-Factory's preferences, with `instruction` or with `conversations`.
    LlamaFactory,
    /// What open-webui exports: thumbs with the chat around them.
    OpenWebui,
}

/// The text of tokens.
pub type Decode = dyn Fn(&[u32]) -> String;

/// How to read.
#[derive(Clone, Copy)]
pub struct ReadOptions<'a> {
    /// Whose judgments they are, where a row does not say.
    pub labeler: &'a str,
    /// The name of the source, which becomes the origin of its completions.
    pub from: &'a str,
    /// When they were given, where a row does not say: milliseconds since 1970, 0 for unknown.
    pub time_ms: u64,
    /// Who may judge; `None` for anybody. A judgment of anybody else is a bad row.
    pub labelers: Option<&'a BTreeSet<String>>,
    /// What tokens mean, for the files that hold tokens in place of texts.
    pub decode: Option<&'a Decode>,
}

/// What a row says.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Judged {
    /// A ranking.
    Comparison(Comparison),
    /// A judgment of one completion, which [`crate::feedback::pair`] may pair.
    Thumb(Thumb),
}

/// Why a row is no comparison.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BadRow {
    /// Bytes that are not text.
    #[error("not UTF-8")]
    NotUtf8,
    /// Not one JSON object, or one too deep.
    #[error("not a JSON object")]
    NotJson,
    /// More than [`ROW_BYTES_MAX`] bytes.
    #[error("longer than {ROW_BYTES_MAX} bytes")]
    TooLong,
    /// A column is missing or of another kind.
    #[error("`{column}` is not there, or is not {expected}")]
    Column {
        /// The column.
        column: &'static str,
        /// What would be read.
        expected: &'static str,
    },
    /// A message of an unknown role.
    #[error("a message is of none of the roles system, user and assistant")]
    UnknownRole,
    /// Chosen and rejected go on with different prompts.
    #[error("chosen and rejected have different prompts")]
    OtherPrompt,
    /// A conversation that does not end with the assistant.
    #[error("chosen or rejected is not one message of the assistant")]
    NoCompletion,
    /// Tokens, and no tokenizer to read them with.
    #[error("it holds tokens, not texts; give the tokenizer that they are of")]
    Tokens,
    /// Nothing in it was ranked or judged.
    #[error("nothing in it was judged")]
    NotJudged,
    /// What it says cannot be a comparison.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// A bad row, to be looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct BadRowShown {
    /// The line, counted from 1.
    pub line: u64,
    /// What is wrong with it.
    pub reason: BadRow,
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReadReport {
    /// The format; `None` where there was no row.
    pub format: Option<Format>,
    /// Rows that are not blank.
    pub rows: u64,
    /// Comparisons.
    pub comparisons: u64,
    /// Judgments of single completions.
    pub thumbs: u64,
    /// Bad rows and parts of rows, by the kind of reason.
    pub bad: BTreeMap<&'static str, u64>,
    /// The first few of them.
    pub shown: Vec<BadRowShown>,
}

/// Reads comparisons row by row: JSON lines, or one JSON array.
///
/// The format is found from the first row where it is not given.
///
/// # Errors
///
/// What `each` fails with, where the source cannot be read, and [`Error::UnknownFormat`].
pub fn read<E: From<Error>>(
    source: impl BufRead,
    format: Option<Format>,
    options: &ReadOptions<'_>,
    mut each: impl FnMut(Judged) -> Result<(), E>,
) -> Result<ReadReport, E> {
    let mut rows = Rows::new(source);
    let mut report = ReadReport { format, ..ReadReport::default() };
    let failed = |source| Error::Read { path: options.from.into(), source };
    while let Some((line, text)) = rows.next().map_err(failed)? {
        report.rows += 1;
        let row = match parse(text) {
            Ok(row) => row,
            Err(reason) => {
                report.add_bad(line, reason);
                continue;
            }
        };
        let format = match report.format {
            Some(format) => format,
            None => detect(&row, line)?,
        };
        report.format = Some(format);
        let mut found = Found { options, judged: Vec::new(), bad: Vec::new() };
        if let Err(reason) = format.read_row(&row, &mut found) {
            found.bad.push(reason);
        }
        found.bad.into_iter().for_each(|reason| report.add_bad(line, reason));
        for judged in found.judged {
            if let Err(refusal) = judged.check_labeler(options) {
                report.add_bad(line, refusal.into());
                continue;
            }
            match &judged {
                Judged::Comparison(_) => report.comparisons += 1,
                Judged::Thumb(_) => report.thumbs += 1,
            }
            each(judged)?;
        }
    }
    Ok(report)
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 6] =
        [Self::Hh, Self::Trl, Self::Oasst, Self::BestOfFour, Self::LlamaFactory, Self::OpenWebui];

    /// The name, as a person writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hh => "hh",
            Self::Trl => "trl",
            Self::Oasst => "oasst",
            Self::BestOfFour => "best-of-four",
            Self::LlamaFactory => "llama-factory",
            Self::OpenWebui => "open-webui",
        }
    }

    /// The format of that name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    fn read_row(self, row: &Map<String, Value>, found: &mut Found<'_>) -> Result<(), BadRow> {
        match self {
            Self::Hh => hh::read(row, found),
            Self::Trl => trl::read(row, found),
            Self::Oasst => oasst::read(row, found),
            Self::BestOfFour => best_of_four::read(row, found),
            Self::LlamaFactory => llama_factory::read(row, found),
            Self::OpenWebui => open_webui::read(row, found),
        }
    }

    /// Whether a row looks like one of this format. No row looks like one of two: what a wider
    /// format would take, too, is tried before it, in the order of [`detect`].
    fn fits(self, row: &Map<String, Value>) -> bool {
        let has = |names: &[&str]| names.iter().all(|name| row.contains_key(*name));
        match self {
            Self::BestOfFour => has(&["query", "sample0", "best"]),
            Self::Oasst => row.get("prompt").is_some_and(|prompt| prompt.get("replies").is_some()),
            Self::OpenWebui => open_webui::fits(row),
            Self::LlamaFactory => {
                has(&["chosen", "rejected"]) && (has(&["instruction"]) || has(&["conversations"]))
            }
            Self::Hh => hh::fits(row),
            Self::Trl => has(&["chosen", "rejected"]) || has(&["prompt", "completion", "label"]),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for ReadOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("ReadOptions");
        f.field("labeler", &self.labeler).field("from", &self.from).finish_non_exhaustive()
    }
}

impl Judged {
    fn check_labeler(&self, options: &ReadOptions<'_>) -> Result<(), Refusal> {
        let labeler = match self {
            Self::Comparison(comparison) => &comparison.judgment().labeler,
            Self::Thumb(thumb) => &thumb.labeler,
        };
        options.labelers.map_or(Ok(()), |labelers| check_labeler(labeler, labelers))
    }
}

impl BadRow {
    /// The kind in a few words, the same for all facts: what reports count by.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotUtf8 => "not UTF-8",
            Self::NotJson => "not a JSON object",
            Self::TooLong => "too long",
            Self::Column { .. } => "a column missing",
            Self::UnknownRole => "unknown role",
            Self::OtherPrompt => "different prompts",
            Self::NoCompletion => "no completion",
            Self::Tokens => "tokens",
            Self::NotJudged => "nothing judged",
            Self::Refused(refusal) => refusal.kind(),
        }
    }
}

impl ReadReport {
    /// All that was bad.
    #[must_use]
    pub fn bad_rows(&self) -> u64 {
        self.bad.values().sum()
    }

    fn add_bad(&mut self, line: u64, reason: BadRow) {
        *self.bad.entry(reason.kind()).or_default() += 1;
        if self.shown.len() < BAD_ROWS_SHOWN {
            self.shown.push(BadRowShown { line, reason });
        }
    }
}

/// What a row was found to say.
struct Found<'a> {
    options: &'a ReadOptions<'a>,
    judged: Vec<Judged>,
    bad: Vec<BadRow>,
}

impl Found<'_> {
    fn completion(&self, text: &str) -> Completion {
        Completion::imported(text, self.options.from)
    }
}

fn parse(text: RowText<'_>) -> Result<Map<String, Value>, BadRow> {
    let RowText::Whole(bytes) = text else { return Err(BadRow::TooLong) };
    let text = std::str::from_utf8(bytes).map_err(|_| BadRow::NotUtf8)?;
    serde_json::from_str(text).map_err(|_| BadRow::NotJson)
}

fn detect(row: &Map<String, Value>, line: u64) -> Result<Format, Error> {
    let order = [
        Format::BestOfFour,
        Format::Oasst,
        Format::OpenWebui,
        Format::LlamaFactory,
        Format::Hh,
        Format::Trl,
    ];
    order.into_iter().find(|format| format.fits(row)).ok_or_else(|| {
        let columns: Vec<String> = row.keys().take(20).map(|name| shown(name)).collect();
        Error::UnknownFormat {
            line,
            columns: columns.join(", "),
            known: Format::ALL.map(Format::name).join(", "),
        }
    })
}
