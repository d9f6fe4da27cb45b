//! A simulated disk with a planted fault: some of its syncs do nothing and say that all is well.
//!
//! A test that tries every power cut proves itself with it: without those syncs it must fail.

use std::io::{self, Read, Write};
use std::path::Path;

use super::{Disk, Kind, NewFile, SimulatedDisk};

/// A simulated disk that skips syncs.
#[derive(Debug)]
pub(crate) struct Skipping {
    /// The disk itself.
    pub(crate) disk: SimulatedDisk,
    /// Which syncs it skips.
    pub(crate) skipped: Skipped,
}

/// Which syncs are skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Skipped {
    /// Those of files.
    Files,
    /// Those of this folder.
    Folder(&'static str),
    /// Those of all folders but this one.
    FoldersBut(&'static str),
}

impl Disk for Skipping {
    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>> {
        let file = self.disk.create(path)?;
        if self.skipped == Skipped::Files { Ok(Box::new(Unsynced(file))) } else { Ok(file) }
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read>> {
        self.disk.open(path)
    }

    fn kind(&self, path: &Path) -> io::Result<Option<Kind>> {
        self.disk.kind(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.disk.list(folder)
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.disk.create_folder(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let is_skipped = match self.skipped {
            Skipped::Files => false,
            Skipped::Folder(folder) => path == Path::new(folder),
            Skipped::FoldersBut(folder) => path != Path::new(folder),
        };
        if is_skipped { Ok(()) } else { self.disk.sync_folder(path) }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_folder(path)
    }
}

/// A file whose sync does nothing.
#[derive(Debug)]
struct Unsynced(Box<dyn NewFile>);

impl Write for Unsynced {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl NewFile for Unsynced {
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}
