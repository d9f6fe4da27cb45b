//! Reading a store from its start, line by line; it takes no lock and changes nothing.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use artifacts::disk::Disk;
use artifacts::hash::Digest;

use super::index::Index;
use super::row::{FORMAT, Header, ROW_BYTES_MAX, Row, VERSION};
use super::{Answer, Opened, RowId};
use crate::{Comparison, Error};

/// The largest store, in bytes.
pub const STORE_BYTES_MAX: u64 = 64 << 30;

/// A store as it was at one moment, for any number of readers beside the one writer.
#[derive(Debug)]
pub struct Snapshot<D> {
    disk: D,
    path: PathBuf,
    index: Index,
    opened: Opened,
}

/// The rows of a store, whole ones only.
pub(super) struct Rows {
    path: PathBuf,
    source: BufReader<std::io::Take<Box<dyn Read>>>,
    line: Vec<u8>,
    /// Lines that were read.
    pub(super) number: u64,
    /// Bytes of whole lines that were read.
    pub(super) bytes: u64,
    /// Bytes of a line at the end that was never finished.
    pub(super) torn_bytes: u64,
}

impl<D: Disk> Snapshot<D> {
    /// Reads what is there; a line at the end that a writer has not finished is passed over.
    ///
    /// # Errors
    ///
    /// Where it cannot be read, is of another version, or a row is damaged.
    pub fn open(disk: D, path: &Path) -> Result<Self, Error> {
        let (index, opened) = index(&disk, path)?;
        Ok(Self { disk, path: path.to_owned(), index, opened })
    }

    /// What was found when it was opened.
    #[must_use]
    pub fn opened(&self) -> Opened {
        self.opened
    }

    /// Answers that count, in the order of their rows: a revised one is where it was revised.
    #[must_use]
    pub fn answers(&self) -> Vec<Answer> {
        self.index.answers()
    }

    /// Artifacts that were made from its rows, each with how many they were and how many of those are
    /// deleted now.
    #[must_use]
    pub fn uses(&self) -> BTreeMap<Digest, [usize; 2]> {
        self.index.uses()
    }

    /// Each comparison that counts, in the order of rows, one in memory at a time.
    ///
    /// # Errors
    ///
    /// What `each` fails with; where the file cannot be read, or was compacted since it was opened.
    pub fn for_each<E: From<Error>>(
        &self,
        each: impl FnMut(RowId, Comparison) -> Result<(), E>,
    ) -> Result<(), E> {
        for_each(&self.disk, &self.path, &self.index, self.opened.bytes, each)
    }
}

/// Each comparison of an index that counts.
pub(super) fn for_each<E: From<Error>>(
    disk: &dyn Disk,
    path: &Path,
    index: &Index,
    bytes: u64,
    mut each: impl FnMut(RowId, Comparison) -> Result<(), E>,
) -> Result<(), E> {
    let mut rows = Rows::open(disk, path, bytes)?;
    let mut expected = index.rows.iter();
    while let Some(row) = rows.next()? {
        let Row::Comparison(kept) = row else { continue };
        if expected.next() != Some(&kept.id) {
            return Err(Error::Changed { path: path.to_owned() }.into());
        }
        if index.is_live(kept.id) {
            each(kept.id, kept.comparison)?;
        }
    }
    match expected.next() {
        Some(_) => Err(Error::Changed { path: path.to_owned() }.into()),
        None => Ok(()),
    }
}

/// Reads a store to its end.
pub(super) fn index(disk: &dyn Disk, path: &Path) -> Result<(Index, Opened), Error> {
    let mut rows = Rows::open(disk, path, STORE_BYTES_MAX)?;
    let mut index = Index::default();
    while let Some(row) = rows.next()? {
        index.add(&row);
    }
    if rows.bytes + rows.torn_bytes >= STORE_BYTES_MAX {
        return Err(Error::StoreTooLarge { path: path.to_owned(), limit: STORE_BYTES_MAX });
    }
    let opened = Opened { rows: rows.number, bytes: rows.bytes, torn_bytes: rows.torn_bytes };
    Ok((index, opened))
}

impl Rows {
    /// Opens a store and reads its first line.
    pub(super) fn open(disk: &dyn Disk, path: &Path, bytes: u64) -> Result<Self, Error> {
        let failed = |source| Error::Read { path: path.to_owned(), source };
        let source = disk.open(path).map_err(failed)?;
        let mut rows = Self {
            path: path.to_owned(),
            source: BufReader::with_capacity(1 << 16, source.take(bytes)),
            line: Vec::new(),
            number: 0,
            bytes: 0,
            torn_bytes: 0,
        };
        let not_a_store = || Error::NotAStore { path: path.to_owned() };
        if !rows.next_line()? {
            return Err(not_a_store());
        }
        let header: Header = serde_json::from_slice(&rows.line).map_err(|_| not_a_store())?;
        match (header.format.as_str(), header.version) {
            (FORMAT, VERSION) => Ok(rows),
            (FORMAT, found) => Err(Error::Version { path: path.to_owned(), found, known: VERSION }),
            _ => Err(not_a_store()),
        }
    }

    /// The next row; `None` at the end, be it torn or not.
    pub(super) fn next(&mut self) -> Result<Option<Row>, Error> {
        if !self.next_line()? {
            return Ok(None);
        }
        let damaged = |fault| Error::Damaged { path: self.path.clone(), line: self.number, fault };
        Row::parse(&self.line).map(Some).map_err(damaged)
    }

    /// The line that was read last, with its end.
    pub(super) fn line(&self) -> &[u8] {
        &self.line
    }

    /// Reads a line. The last one is torn where it has no end, or zeros, which a power cut leaves
    /// in place of what was not synced and which are in no JSON.
    fn next_line(&mut self) -> Result<bool, Error> {
        self.line.clear();
        let limit = ROW_BYTES_MAX as u64 + 1;
        let failed = |source| Error::Read { path: self.path.clone(), source };
        let read = self.source.by_ref().take(limit).read_until(b'\n', &mut self.line);
        let length = read.map_err(failed)? as u64;
        let is_ended = self.line.ends_with(b"\n");
        if length == limit && !is_ended {
            let fault = format!("it is longer than {ROW_BYTES_MAX} bytes");
            let line = self.number + 1;
            return Err(Error::Damaged { path: self.path.clone(), line, fault });
        }
        let is_last = !is_ended || self.source.fill_buf().map_err(failed)?.is_empty();
        if is_last && (!is_ended || self.line.contains(&0)) {
            self.torn_bytes = length;
            return Ok(false);
        }
        self.number += 1;
        self.bytes += length;
        Ok(true)
    }
}
