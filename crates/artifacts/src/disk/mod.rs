//! The few calls on a disk that a safe save consists of: of the real disk, or of a simulated one.
//!
//! [`SimulatedDisk`] knows what a power cut may take back, and fails any call that a test picks.
//! Code that must not lose data takes a [`Disk`] and is tried against it, call by call.

mod real;
mod simulated;
#[cfg(test)]
mod skipping;

use std::fmt;
use std::io::{self, Read, Write};
use std::path::Path;

pub use real::RealDisk;
pub use simulated::{Fate, Fault, FaultKind, SimulatedDisk};
#[cfg(test)]
pub(crate) use skipping::{Skipped, Skipping};

/// A disk. Paths are as the operating system takes them.
pub trait Disk: fmt::Debug {
    /// Creates a file, which must not be there yet.
    ///
    /// # Errors
    ///
    /// What the disk fails with; `AlreadyExists` where something has that name.
    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>>;

    /// Opens a file to be read from its start.
    ///
    /// # Errors
    ///
    /// What the disk fails with; `NotFound` where there is no such file.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read>>;

    /// What has that name, if anything; links are not followed.
    ///
    /// # Errors
    ///
    /// What the disk fails with.
    fn kind(&self, path: &Path) -> io::Result<Option<Kind>>;

    /// The names in a folder, sorted.
    ///
    /// # Errors
    ///
    /// What the disk fails with; `InvalidData` for a name that is not UTF-8.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;

    /// Creates a folder, which must not be there yet.
    ///
    /// # Errors
    ///
    /// What the disk fails with.
    fn create_folder(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder survive a power cut: those created, renamed and removed so far.
    ///
    /// # Errors
    ///
    /// What the disk fails with. After a failure nothing is certain, not even after a retry.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;

    /// Gives a file or folder another name, in one step; a file of that name is replaced.
    ///
    /// # Errors
    ///
    /// What the disk fails with.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    ///
    /// What the disk fails with.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes a folder that is empty.
    ///
    /// # Errors
    ///
    /// What the disk fails with.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;
}

/// A file that is being written.
pub trait NewFile: Write + fmt::Debug {
    /// Makes what was written survive a power cut.
    ///
    /// # Errors
    ///
    /// What the disk fails with. After a failure the file must be given up: a retry may succeed
    /// although the data are lost, as the kernel has forgotten that they were to be written.
    fn sync(&mut self) -> io::Result<()>;
}

/// What has a name on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A regular file.
    File {
        /// Its length in bytes.
        length: u64,
    },
    /// A folder.
    Folder,
    /// A link, a device, a socket.
    Other,
}
