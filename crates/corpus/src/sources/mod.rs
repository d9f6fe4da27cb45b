//! Documents from files: text, Markdown, JSON lines, plain or compressed with zstd, and folders of
//! them, row by row and never whole.

mod files;
mod lines;
mod row;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use artifacts::shown;
use serde::{Deserialize, Serialize};

use crate::demonstration;
use crate::{Content, Document, Error, Place, RowSample, Weight};

use files::{Encoding, Found};
use lines::{Line, Lines};

pub use files::{FILES_MAX, FOLDER_DEPTH_MAX, KNOWN_ENDINGS};

/// The longest row of JSON lines, and the longest document of a text file, in bytes.
pub const ROW_BYTES_MAX: usize = 16 << 20;
/// A text file without separators is cut at the first blank line after so many bytes.
pub const TEXT_PART_BYTES: usize = 1 << 20;
/// The largest window of a compressed file, as the exponent of 2: 128 MiB, which is what the zstd
/// command accepts without being asked.
pub const WINDOW_LOG_MAX: u32 = 27;
/// Bad rows of which a sample is kept, for each source.
pub const SAMPLES_MAX: usize = 8;
/// Rows without the wanted column, with none that has it, after which reading ends with an error.
const ROWS_WITHOUT_COLUMN_MAX: u64 = 100;

/// Where documents come from.
#[derive(Clone, Debug)]
pub struct Source {
    /// What reports call it.
    pub name: String,
    /// A file, or a folder of files, which are read in the order of their paths.
    pub path: PathBuf,
    /// What its rows are.
    pub kind: RowKind,
    /// The column of JSON lines that holds the text. A list of messages or turns is joined with a
    /// blank line between them, without the names of roles.
    pub column: String,
    /// The line of a text file that ends a document and belongs to none.
    pub separator: String,
    /// How often its documents are taken.
    pub weight: Weight,
}

/// What the rows of a source are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowKind {
    /// Texts to be continued.
    Text,
    /// Conversations whose answers are to be learned: see [`demonstration`].
    Conversation,
}

/// Why a row gives no document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BadRow {
    /// Longer than [`ROW_BYTES_MAX`].
    TooLong,
    /// Not UTF-8.
    NotUtf8,
    /// Not a JSON object.
    NotJson,
    /// Without the column that was asked for.
    NoColumn,
    /// The column holds neither text nor a list of messages or turns.
    NotText,
    /// Neither `messages` nor `conversations` nor `prompt` and `completion` in a known form.
    NotAConversation,
    /// A message of a role that is not known.
    UnknownRole,
    /// A conversation that its format cannot write.
    Unwritable,
}

impl fmt::Display for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "longer than 16 MiB",
            Self::NotUtf8 => "not UTF-8",
            Self::NotJson => "not a JSON object",
            Self::NoColumn => "without the column",
            Self::NotText => "neither a text nor a list of messages in the column",
            Self::NotAConversation => "neither messages nor a prompt with a completion",
            Self::UnknownRole => "a role other than system, user, assistant and tool",
            Self::Unwritable => "a conversation that the chat format cannot write",
        })
    }
}

/// What became of the rows of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows {
    /// Files that were read.
    pub files: u64,
    /// Files of a folder that are of no known kind, and were passed over.
    pub files_passed_over: u64,
    /// Rows, bad ones included.
    pub rows: u64,
    /// Bad rows, by what is wrong with them.
    pub bad: BTreeMap<BadRow, u64>,
    /// The first few bad rows.
    pub samples: Vec<RowSample>,
}

impl Rows {
    /// Counts a bad row, and keeps it as a sample while there is room.
    pub(crate) fn add_bad(&mut self, place: &Place, reason: BadRow) {
        *self.bad.entry(reason).or_default() += 1;
        if self.samples.len() < SAMPLES_MAX {
            let file = place.file.to_string();
            self.samples.push(RowSample { file, line: place.line, reason });
        }
    }

    /// All bad rows.
    #[must_use]
    pub fn bad_rows(&self) -> u64 {
        self.bad.values().sum()
    }
}

/// What to do about a bad row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BadRows {
    /// Count it and go on.
    #[default]
    Counted,
    /// Stop with an error.
    Refused,
}

impl Source {
    /// Texts, from the column `text` where the files have columns.
    pub fn text(name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            path: path.into(),
            kind: RowKind::Text,
            column: "text".to_owned(),
            separator: "<|endoftext|>".to_owned(),
            weight: Weight::default(),
        }
    }

    /// Conversations.
    pub fn conversations(name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self { kind: RowKind::Conversation, ..Self::text(name, path) }
    }

    /// Reads all documents in order, and counts rows. Memory: one row, and what parsing it takes.
    ///
    /// # Errors
    ///
    /// Where a file cannot be read, the folder holds none, the column is missing throughout, a bad
    /// row is refused, or `each` fails.
    pub fn read(
        &self,
        bad_rows: BadRows,
        each: &mut dyn FnMut(Document, &mut Rows) -> Result<(), Error>,
    ) -> Result<Rows, Error> {
        let mut rows = Rows::default();
        let files = files::find(&self.path, &mut rows.files_passed_over)?;
        let mut reader = Reader { source: self, bad_rows, rows, column: Column::default(), each };
        for file in files {
            reader.read_file(&file)?;
        }
        match reader.column.missing {
            Some(error) if !reader.column.seen => Err(error),
            _ => Ok(reader.rows),
        }
    }
}

/// Whether the wanted column was there.
#[derive(Default)]
struct Column {
    seen: bool,
    rows_without: u64,
    /// What to say if it is never seen.
    missing: Option<Error>,
}

struct Reader<'a> {
    source: &'a Source,
    bad_rows: BadRows,
    rows: Rows,
    column: Column,
    each: &'a mut dyn FnMut(Document, &mut Rows) -> Result<(), Error>,
}

impl Reader<'_> {
    fn read_file(&mut self, file: &Found) -> Result<(), Error> {
        if file.encoding == Encoding::Text && self.source.kind == RowKind::Conversation {
            // Only JSON lines hold conversations; a text beside them is a read-me.
            self.rows.files_passed_over += 1;
            return Ok(());
        }
        self.rows.files += 1;
        let name: Arc<str> = file.name.as_str().into();
        let lines = open(&file.path, file.is_compressed)
            .map_err(|source| Error::Read { path: file.path.clone(), source })?;
        let mut lines = Lines::new(lines, ROW_BYTES_MAX);
        let failed = |source| Error::Read { path: file.path.clone(), source };
        match file.encoding {
            Encoding::Text => self.read_text(&mut lines, &name, &failed),
            Encoding::JsonLines => self.read_rows(&mut lines, &name, &failed),
        }
    }

    fn read_rows(
        &mut self,
        lines: &mut Lines<Box<dyn BufRead>>,
        file: &Arc<str>,
        failed: &dyn Fn(io::Error) -> Error,
    ) -> Result<(), Error> {
        loop {
            let place = Place { file: file.clone(), line: lines.number() + 1 };
            let content = match lines.next().map_err(failed)? {
                None => return Ok(()),
                Some(Line::Whole(line)) if line.trim_ascii().is_empty() => continue,
                Some(Line::Whole(line)) => self.content(line, &place)?,
                Some(Line::TooLong) => Err(BadRow::TooLong),
            };
            self.give(place, content)?;
        }
    }

    /// What a row says.
    fn content(&mut self, line: &[u8], place: &Place) -> Result<Result<Content, BadRow>, Error> {
        let row = match row::parse(line) {
            Ok(row) => row,
            Err(reason) => return Ok(Err(reason)),
        };
        if self.source.kind == RowKind::Conversation {
            return Ok(demonstration::read(&row).map(Content::Conversation));
        }
        let column = &self.source.column;
        let Some(value) = row.get(column) else {
            self.column.rows_without += 1;
            let missing = || row::no_column(&row, column, place);
            if self.column.missing.is_none() {
                self.column.missing = Some(missing());
            }
            return match self.column.seen || self.column.rows_without < ROWS_WITHOUT_COLUMN_MAX {
                true => Ok(Err(BadRow::NoColumn)),
                false => Err(missing()),
            };
        };
        self.column.seen = true;
        Ok(row::text(value).map(Content::Text))
    }

    fn read_text(
        &mut self,
        lines: &mut Lines<Box<dyn BufRead>>,
        file: &Arc<str>,
        failed: &dyn Fn(io::Error) -> Error,
    ) -> Result<(), Error> {
        let mut text = Vec::new();
        let mut begin = 1;
        loop {
            let number = lines.number() + 1;
            let Some(line) = lines.next().map_err(failed)? else {
                return self.give_text(&mut text, file, begin);
            };
            let Line::Whole(line) = line else {
                self.give_text(&mut text, file, begin)?;
                let place = Place { file: file.clone(), line: number };
                self.give(place, Err(BadRow::TooLong))?;
                begin = number + 1;
                continue;
            };
            let trimmed = line.trim_ascii();
            let separates = !trimmed.is_empty() && trimmed == self.source.separator.as_bytes();
            let enough = trimmed.is_empty() && text.len() >= TEXT_PART_BYTES;
            let too_much = text.len() + line.len() >= ROW_BYTES_MAX;
            if separates || enough || too_much {
                self.give_text(&mut text, file, begin)?;
            }
            if text.is_empty() {
                begin = number + u64::from(separates);
            }
            if !separates {
                text.extend_from_slice(line);
                text.push(b'\n');
            }
        }
    }

    /// Gives what was gathered of a text file, unless it is blank.
    fn give_text(&mut self, text: &mut Vec<u8>, file: &Arc<str>, line: u64) -> Result<(), Error> {
        let text = std::mem::take(text);
        if text.trim_ascii().is_empty() {
            return Ok(());
        }
        let content = String::from_utf8(text).map(Content::Text).map_err(|_| BadRow::NotUtf8);
        self.give(Place { file: file.clone(), line }, content)
    }

    fn give(&mut self, place: Place, content: Result<Content, BadRow>) -> Result<(), Error> {
        self.rows.rows += 1;
        match content {
            Ok(content) => (self.each)(Document { content, place }, &mut self.rows),
            Err(reason) => {
                refuse(self.bad_rows, &place, reason)?;
                self.rows.add_bad(&place, reason);
                Ok(())
            }
        }
    }
}

/// Stops at a bad row where that is wanted.
pub(crate) fn refuse(bad_rows: BadRows, place: &Place, reason: BadRow) -> Result<(), Error> {
    match bad_rows {
        BadRows::Counted => Ok(()),
        BadRows::Refused => {
            Err(Error::BadRow { file: shown(&place.file), line: place.line, reason })
        }
    }
}

/// Opens a file of rows for whoever reads them in a way of their own: a regular file, compressed
/// where its name ends in `.zst`.
///
/// # Errors
///
/// What the operating system fails with, and for what is no regular file.
pub fn open_by_ending(path: &Path) -> io::Result<Box<dyn BufRead>> {
    open(path, path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("zst")))
}

/// Opens a file; frames of a compressed one follow each other, and their sums are checked.
fn open(path: &Path, is_compressed: bool) -> io::Result<Box<dyn BufRead>> {
    let file = artifacts::open_file(path)?;
    if !is_compressed {
        return Ok(Box::new(BufReader::with_capacity(1 << 16, file)));
    }
    let mut decoder = zstd::stream::read::Decoder::new(file)?;
    decoder.window_log_max(WINDOW_LOG_MAX)?;
    Ok(Box::new(BufReader::with_capacity(1 << 16, decoder)))
}
