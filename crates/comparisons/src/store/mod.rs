//! The store: comparisons in an append-only file that a crash at any moment leaves readable.
//!
//! A file of JSON lines: the first says the version, each later one is a comparison, a deletion, or
//! a record of what an artifact was made from.
//!
//! - A row's id is the SHA-256 of its content. A counter would be shorter; but a judgment that is
//!   sent twice because the first acknowledgment was lost is one row this way, ids mean the same
//!   in every copy of a file, and a damaged row does not fit its id.
//! - What was acknowledged was synced before. A line at the end that was not finished is cut, and
//!   said so; any other damage is an error that names the line.
//! - A writer begins by copying what it read into a new file that takes the old one's name. After
//!   a failed sync the kernel may show bytes that are on no disk: behind such a row, the next one
//!   would be followed by a hole after a power cut. The copy costs one pass over the file.
//! - Revising a judgment appends a row that names all earlier versions. Deleting one appends their
//!   ids; [`Store::compact`] then takes the texts off the disk. The ids stay, so that no import
//!   brings back what was deleted and artifacts made from it can still be told.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use artifacts::disk::{Disk, NewFile, RealDisk};
use artifacts::hash::Digest;
use serde::{Deserialize, Serialize};

use crate::{CandidateId, Comparison, Error};

mod index;
mod read;
mod row;
#[cfg(test)]
mod tests;

use index::Index;
use read::Rows;
use row::{Deleted, Header, Kept, Row};

pub use read::{STORE_BYTES_MAX, Snapshot};
pub use row::{REVISIONS_MAX, ROW_BYTES_MAX};

/// The usual name of the file.
pub const STORE_FILE: &str = "comparisons.jsonl";
/// What the name of the file ends in while it is written anew.
const TEMPORARY_ENDING: &str = ".tmp";
/// How much of a file that is written anew is gathered before it is written.
const BUFFER_BYTES: usize = 1 << 20;
/// What the name of the lock ends in.
const LOCK_ENDING: &str = ".lock";

/// Names a row of a store: the hash of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RowId(pub Digest);

/// A store that is being written, by one process at a time.
#[derive(Debug)]
pub struct Store<D = RealDisk> {
    disk: D,
    path: PathBuf,
    index: Index,
    /// The file at its end; `None` once a call has failed, as nothing is certain then.
    file: Option<Box<dyn NewFile>>,
    bytes: u64,
    _lock: Option<File>,
}

/// What was found in a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Whole lines.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of a line at the end that was never finished and never acknowledged; they are cut.
    pub torn_bytes: u64,
}

/// That a labeler has answered, without the texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The row that counts.
    pub id: RowId,
    /// What was ranked.
    pub candidate: CandidateId,
    /// By whom.
    pub labeler: String,
    /// Whether the labeler skipped it.
    pub is_skipped: bool,
}

/// What became of an import.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Comparisons that are new.
    pub added: u64,
    /// Those that were there before.
    pub present: u64,
    /// Those that were deleted here, and stay so.
    pub deleted: u64,
}

/// Many comparisons on their way into a store.
#[derive(Debug)]
pub struct Import<'a> {
    anew: &'a mut Anew,
    counts: Imported,
}

impl fmt::Display for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl RowId {
    /// The id of a comparison.
    #[must_use]
    pub fn of(comparison: &Comparison) -> Self {
        Self(Digest::of(&row::line_of(comparison)))
    }
}

impl Store {
    /// Opens a store on this machine's disk, or begins one where none is, and takes its lock.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] where another process writes to it, and as [`Store::open_on`].
    pub fn open(path: &Path) -> Result<(Self, Opened), Error> {
        let lock = lock(path)?;
        let (mut store, opened) = Self::open_on(RealDisk, path)?;
        store._lock = Some(lock);
        Ok((store, opened))
    }
}

impl<D: Disk> Store<D> {
    /// Opens a store on any disk, without a lock: the caller sees to it that there is one writer.
    ///
    /// # Errors
    ///
    /// Where it cannot be read or written, is of another version, or a row is damaged.
    pub fn open_on(disk: D, path: &Path) -> Result<(Self, Opened), Error> {
        let failed = |source| Error::Read { path: path.to_owned(), source };
        let (index, opened) = match disk.kind(path).map_err(failed)? {
            Some(_) => read::index(&disk, path)?,
            None => (Index::default(), Opened::default()),
        };
        let path = path.to_owned();
        let mut store = Self { disk, path, index, file: None, bytes: opened.bytes, _lock: None };
        let new = store.write_anew(|_, _| true, |_| Ok::<(), Error>(()))?;
        store.take_place(new)?;
        Ok((store, opened))
    }

    /// Keeps a comparison. When this returns, it is on the disk; one that is there already is
    /// acknowledged again.
    ///
    /// # Errors
    ///
    /// [`Error::Deleted`] where it was deleted, [`Error::RowTooLong`], and where it cannot be
    /// written: then the store must be opened again.
    pub fn append(&mut self, comparison: Comparison) -> Result<RowId, Error> {
        let id = RowId::of(&comparison);
        if self.index.is_deleted(id) {
            return Err(Error::Deleted { id });
        }
        if !self.index.is_known(id) {
            self.write(&Row::Comparison(Box::new(Kept {
                id,
                supersedes: Vec::new(),
                comparison,
            })))?;
        }
        Ok(id)
    }

    /// Puts a labeler's new judgment in the place of an earlier one of the same candidate.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownRow`] where there is no such judgment, [`Error::OtherJudgment`] where it is
    /// another labeler's or of another candidate, and as [`Store::append`].
    pub fn revise(&mut self, earlier: RowId, comparison: Comparison) -> Result<RowId, Error> {
        let id = RowId::of(&comparison);
        let (current, live) = self.index.live(earlier).ok_or(Error::UnknownRow { id: earlier })?;
        let answer = &live.answer;
        let is_own = answer.labeler == comparison.judgment().labeler
            && answer.candidate == comparison.candidate().id();
        if !is_own {
            return Err(Error::OtherJudgment { id: earlier });
        }
        if current == id {
            return Ok(id);
        }
        let supersedes = [live.versions.as_slice(), &[current]].concat();
        if supersedes.len() > REVISIONS_MAX {
            return Err(Error::TooManyRevisions { id: current, limit: REVISIONS_MAX });
        }
        match self.index.is_known(id) {
            true => Err(Error::Repeated { id }),
            false => {
                self.write(&Row::Comparison(Box::new(Kept { id, supersedes, comparison })))?;
                Ok(id)
            }
        }
    }

    /// Deletes a comparison and all its versions; [`Store::compact`] takes them off the disk.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownRow`] where there is none, and where it cannot be written.
    pub fn delete(&mut self, id: RowId, time_ms: u64) -> Result<(), Error> {
        let (current, live) = self.index.live(id).ok_or(Error::UnknownRow { id })?;
        let ids = [live.versions.as_slice(), &[current]].concat();
        self.write(&Row::Deleted(Deleted { ids, time_ms }))
    }

    /// Records that an artifact was made from these rows; what is known already is not written again.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownRow`] for one that was never there, and where it cannot be written.
    pub fn record_use(&mut self, artifact: Digest, ids: &[RowId]) -> Result<(), Error> {
        if let Some(&id) = ids.iter().find(|id| !self.index.is_known(**id)) {
            return Err(Error::UnknownRow { id });
        }
        let is_new = |id: &RowId| !self.index.made_from(*id).contains(&artifact);
        let new: Vec<RowId> = ids.iter().copied().filter(is_new).collect();
        index::uses_in_rows(artifact, &new).try_for_each(|row| self.write(&row))
    }

    /// Adds many comparisons at once: all of them are there afterwards, or none.
    ///
    /// The file is written anew, as an append of many lines could survive a crash in part.
    ///
    /// # Errors
    ///
    /// What `fill` fails with, which leaves the store as it was, and where it cannot be written.
    pub fn import<E: From<Error>>(
        &mut self,
        fill: impl FnOnce(&mut Import<'_>) -> Result<(), E>,
    ) -> Result<Imported, E> {
        let mut counts = Imported::default();
        let new = self.write_anew(
            |_, _| true,
            |anew| {
                let mut import = Import { anew, counts: Imported::default() };
                fill(&mut import)?;
                counts = import.counts;
                Ok::<(), E>(())
            },
        )?;
        self.take_place(new)?;
        Ok(counts)
    }

    /// Writes the file without deleted and revised rows. The ids of deleted ones stay.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub fn compact(&mut self) -> Result<(), Error> {
        let keep = |index: &Index, row: &Row| match row {
            Row::Comparison(kept) => index.is_live(kept.id),
            Row::Deleted(_) | Row::UsedBy(_) => true,
        };
        let new = self.write_anew(keep, |_| Ok::<(), Error>(()))?;
        self.take_place(new)
    }

    /// How many comparisons count.
    #[must_use]
    pub fn count(&self) -> usize {
        self.index.count()
    }

    /// The version that counts of a comparison, by the id of any version; `None` for what is not
    /// there or was deleted.
    #[must_use]
    pub fn current(&self, id: RowId) -> Option<RowId> {
        self.index.live(id).map(|(current, _)| current)
    }

    /// Answers that count, in the order of their rows: a revised one is where it was revised.
    #[must_use]
    pub fn answers(&self) -> Vec<Answer> {
        self.index.answers()
    }

    /// Artifacts that were made from rows that are deleted now, each with those rows.
    #[must_use]
    pub fn made_from_deleted(&self) -> BTreeMap<Digest, Vec<RowId>> {
        self.index.made_from_deleted()
    }

    /// Artifacts that were made from a row, deleted or not.
    #[must_use]
    pub fn made_from(&self, id: RowId) -> Vec<Digest> {
        self.index.made_from(id)
    }

    /// Each comparison that counts, in the order of rows, one in memory at a time.
    ///
    /// # Errors
    ///
    /// What `each` fails with, and where the file cannot be read.
    pub fn for_each<E: From<Error>>(
        &self,
        each: impl FnMut(RowId, Comparison) -> Result<(), E>,
    ) -> Result<(), E> {
        read::for_each(&self.disk, &self.path, &self.index, self.bytes, each)
    }

    /// Appends a row, syncs it, and only then lets it count.
    fn write(&mut self, row: &Row) -> Result<(), Error> {
        let line = checked_line(row)?;
        check_size(&self.path, self.bytes + line.len() as u64)?;
        let failed = |source| Error::Write { path: self.path.clone(), source };
        // Put back where all went well: after a failure the end of the file is not known.
        let mut file = self.file.take().ok_or_else(|| Error::Broken { path: self.path.clone() })?;
        file.write_all(&line).and_then(|()| file.sync()).map_err(failed)?;
        self.file = Some(file);
        self.bytes += line.len() as u64;
        self.index.add(row);
        Ok(())
    }

    /// Writes a file beside the old one: its rows for which `keep` holds, then those of `fill`.
    fn write_anew<E: From<Error>>(
        &self,
        keep: impl Fn(&Index, &Row) -> bool,
        fill: impl FnOnce(&mut Anew) -> Result<(), E>,
    ) -> Result<Anew, E> {
        let path = with_ending(&self.path, TEMPORARY_ENDING);
        let mut new = Anew::create(&self.disk, path)?;
        if self.bytes > 0 {
            let mut rows = Rows::open(&self.disk, &self.path, self.bytes)?;
            while let Some(row) = rows.next()? {
                if keep(&self.index, &row) {
                    new.push(rows.line())?;
                    new.index.add(&row);
                }
            }
        }
        fill(&mut new)?;
        new.finish()?;
        Ok(new)
    }

    /// Gives a file that is whole the name of the old one, and goes on at its end.
    fn take_place(&mut self, new: Anew) -> Result<(), Error> {
        let failed = |source| Error::Write { path: self.path.clone(), source };
        self.file = None;
        self.disk.rename(&new.path, &self.path).map_err(failed)?;
        self.disk.sync_folder(parent(&self.path)).map_err(failed)?;
        (self.bytes, self.index, self.file) = (new.bytes, new.index, Some(new.file));
        Ok(())
    }
}

impl Import<'_> {
    /// Adds one comparison.
    ///
    /// # Errors
    ///
    /// [`Error::RowTooLong`], and where it cannot be written.
    pub fn add(&mut self, comparison: Comparison) -> Result<(), Error> {
        let id = RowId::of(&comparison);
        if self.anew.index.is_deleted(id) {
            self.counts.deleted += 1;
        } else if self.anew.index.is_known(id) {
            self.counts.present += 1;
        } else {
            let row = Row::Comparison(Box::new(Kept { id, supersedes: Vec::new(), comparison }));
            self.anew.push(&checked_line(&row)?)?;
            self.anew.index.add(&row);
            self.counts.added += 1;
        }
        Ok(())
    }
}

/// A store that is being written anew beside the old one.
#[derive(Debug)]
struct Anew {
    path: PathBuf,
    file: Box<dyn NewFile>,
    buffer: Vec<u8>,
    bytes: u64,
    index: Index,
}

impl Anew {
    fn create(disk: &dyn Disk, path: PathBuf) -> Result<Self, Error> {
        let failed = |source| Error::Write { path: path.clone(), source };
        if disk.kind(&path).map_err(failed)?.is_some() {
            disk.remove_file(&path).map_err(failed)?;
        }
        let file = disk.create(&path).map_err(failed)?;
        let mut new = Self { path, file, buffer: Vec::new(), bytes: 0, index: Index::default() };
        new.push(&row::line_of(&Header::current()))?;
        Ok(new)
    }

    fn push(&mut self, line: &[u8]) -> Result<(), Error> {
        self.buffer.extend_from_slice(line);
        self.bytes += line.len() as u64;
        check_size(&self.path, self.bytes)?;
        if self.buffer.len() < BUFFER_BYTES { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), Error> {
        let buffer = std::mem::take(&mut self.buffer);
        let failed = |source| Error::Write { path: self.path.clone(), source };
        self.file.write_all(&buffer).map_err(failed)
    }

    fn finish(&mut self) -> Result<(), Error> {
        self.flush()?;
        self.file.sync().map_err(|source| Error::Write { path: self.path.clone(), source })
    }
}

/// Refuses what could not be read again.
fn check_size(path: &Path, bytes: u64) -> Result<(), Error> {
    match bytes {
        0..STORE_BYTES_MAX => Ok(()),
        _ => Err(Error::StoreTooLarge { path: path.to_owned(), limit: STORE_BYTES_MAX }),
    }
}

fn checked_line(row: &Row) -> Result<Vec<u8>, Error> {
    let line = row::line_of(row);
    match line.len() {
        0..=ROW_BYTES_MAX => Ok(line),
        bytes => Err(Error::RowTooLong { bytes, limit: ROW_BYTES_MAX }),
    }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Takes the lock, which goes with the process however it ends.
fn lock(path: &Path) -> Result<File, Error> {
    let path_of_lock = with_ending(path, LOCK_ENDING);
    let failed = |source| Error::Write { path: path_of_lock.clone(), source };
    // Not truncated: whatever a link of that name leads to stays as it is.
    let mut open = File::options();
    let file = open.write(true).create(true).truncate(false).open(&path_of_lock).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}
