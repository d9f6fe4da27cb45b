//! Landing a file or a folder whole: whoever looks sees the old state or the new one, never a mix.
//!
//! Everything is written under a name that ends in `.tmp`, synced, and then renamed in one step. A
//! folder carries `MANIFEST.json`, written last, with the length and the SHA-256 of each of its
//! files. A crash leaves at most a `.tmp`, which the next landing removes.
//!
//! Not survived: a disk that lies about a sync, and two processes that land under the same name at
//! the same time; whoever owns the folder above holds a lock.

mod manifest;

#[cfg(test)]
mod tests;

use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use crate::Error;
use crate::disk::{Disk, Kind, NewFile};
use crate::hash::{self, Hashing};

pub use manifest::{FILES_MAX, MANIFEST_BYTES_MAX, MANIFEST_FILE, Manifest, ManifestFile};

/// What a name ends in as long as that which has it is not whole.
pub(crate) const TEMPORARY_ENDING: &str = ".tmp";

/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 1 << 18;

/// Writes a file whole; one that is there already is replaced. Returns what `fill` returns. Small
/// writes are gathered on the way to the disk.
///
/// # Errors
///
/// [`Error::Io`] where the disk fails, or what `fill` fails with: the old file is as it was.
/// [`Error::Unsettled`] where the new file is in place but may not survive a power cut.
pub fn land_file<T, E: From<Error>>(
    disk: &dyn Disk,
    target: &Path,
    fill: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<T, E> {
    let temporary = temporary(target)?;
    remove_leftover(disk, &temporary)?;
    let landed = write_new(disk, &temporary, fill).and_then(|(value, _)| {
        disk.rename(&temporary, target).map_err(|source| Error::io("rename", target, source))?;
        Ok(value)
    });
    let Ok(value) = landed else {
        // The first failure is the one to report; what stays behind is removed the next time.
        let _ = remove_leftover(disk, &temporary);
        return landed;
    };
    settle(disk, target)?;
    Ok(value)
}

/// Writes a file of these bytes whole, as [`land_file`] does.
///
/// # Errors
///
/// As [`land_file`].
pub fn land_bytes(disk: &dyn Disk, target: &Path, bytes: &[u8]) -> Result<(), Error> {
    land_file(disk, target, |out| {
        out.write_all(bytes).map_err(|source| Error::io("write", target, source))
    })
}

/// Writes a folder whole, under a name that nothing has yet. Returns its manifest.
///
/// `fill` writes the files; the manifest is added when it returns.
///
/// # Errors
///
/// [`Error::AlreadyThere`] where something has that name; [`Error::Io`] where the disk fails, or
/// what `fill` fails with: nothing has the name then. [`Error::Unsettled`] where the folder is in
/// place but may not survive a power cut.
///
/// # Examples
///
/// ```
/// use std::path::Path;
/// use artifacts::Error;
/// use artifacts::disk::SimulatedDisk;
/// use artifacts::folder;
///
/// let disk = SimulatedDisk::new();
/// folder::land_folder(&disk, Path::new("step-1"), |folder| {
///     folder.write_bytes("weights.bin", &[1, 2, 3])
/// })?;
/// assert_eq!(folder::open(&disk, Path::new("step-1"))?.files()[0].bytes, 3);
/// # Ok::<(), Error>(())
/// ```
pub fn land_folder<E: From<Error>>(
    disk: &dyn Disk,
    target: &Path,
    fill: impl FnOnce(&mut NewFolder<'_>) -> Result<(), E>,
) -> Result<Manifest, E> {
    let temporary = temporary(target)?;
    if look(disk, target)?.is_some() {
        return Err(Error::AlreadyThere { path: target.to_owned() }.into());
    }
    remove_leftover(disk, &temporary)?;
    let landed = write_new_folder(disk, &temporary, fill).and_then(|manifest| {
        disk.rename(&temporary, target).map_err(|source| Error::io("rename", target, source))?;
        Ok(manifest)
    });
    let Ok(manifest) = landed else {
        let _ = remove_leftover(disk, &temporary);
        return landed;
    };
    settle(disk, target)?;
    Ok(manifest)
}

/// Lands a folder that was filled elsewhere on the same disk, such as by a download that went on
/// over several tries: adds the manifest and gives the folder its name, which nothing has yet.
///
/// Whoever wrote the files has synced them, and knows their lengths and digests.
///
/// # Errors
///
/// [`Error::FileName`] or [`Error::Duplicate`] for `files` that no folder can hold, else as
/// [`land_folder`]; but what was filled stays where it is, to be landed by another try.
pub fn land_filled(
    disk: &dyn Disk,
    filled: &Path,
    target: &Path,
    files: impl IntoIterator<Item = ManifestFile>,
) -> Result<Manifest, Error> {
    if look(disk, target)?.is_some() {
        return Err(Error::AlreadyThere { path: target.to_owned() });
    }
    let mut manifest = Manifest::default();
    for file in files {
        manifest.check_new(&file.name)?;
        manifest.add(file);
    }
    remove_leftover(disk, &filled.join(MANIFEST_FILE))?;
    finish_folder(disk, filled, &manifest)?;
    disk.rename(filled, target).map_err(|source| Error::io("rename", target, source))?;
    settle(disk, target)?;
    Ok(manifest)
}

/// A folder that is being written.
#[derive(Debug)]
pub struct NewFolder<'a> {
    disk: &'a dyn Disk,
    path: &'a Path,
    manifest: Manifest,
}

impl NewFolder<'_> {
    /// Writes one file of the folder, and syncs it. Returns what `fill` returns. Small writes are
    /// gathered on the way to the disk.
    ///
    /// # Errors
    ///
    /// [`Error::FileName`] for a name that is not plain, [`Error::Duplicate`] for one that the
    /// folder has already, [`Error::Io`] where the disk fails, or what `fill` fails with.
    pub fn write<T, E: From<Error>>(
        &mut self,
        name: &str,
        fill: impl FnOnce(&mut dyn Write) -> Result<T, E>,
    ) -> Result<T, E> {
        self.manifest.check_new(name)?;
        let (value, (sha256, bytes)) = write_new(self.disk, &self.path.join(name), fill)?;
        self.manifest.add(ManifestFile { name: name.to_owned(), bytes, sha256 });
        Ok(value)
    }

    /// Writes one file of these bytes, as [`NewFolder::write`] does.
    ///
    /// # Errors
    ///
    /// As [`NewFolder::write`].
    pub fn write_bytes(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.path.join(name);
        self.write(name, |out| {
            out.write_all(bytes).map_err(|source| Error::io("write", &path, source))
        })
    }
}

/// Reads the manifest of a folder, and checks that its files are there with their lengths.
///
/// # Errors
///
/// [`Error::Io`] where the disk fails, [`Error::InFile`] with what is wrong and where.
pub fn open(disk: &dyn Disk, folder: &Path) -> Result<Manifest, Error> {
    let path = folder.join(MANIFEST_FILE);
    let manifest = Manifest::parse(&read_manifest(disk, &path)?).map_err(|e| e.in_file(&path))?;
    for file in manifest.files() {
        let path = folder.join(&file.name);
        let fault = match look(disk, &path)? {
            Some(Kind::File { length }) if length == file.bytes => continue,
            Some(Kind::File { length }) => {
                Error::WrongLength { expected: file.bytes, found: length }
            }
            Some(Kind::Folder | Kind::Other) | None => Error::MissingFile,
        };
        return Err(fault.in_file(&path));
    }
    let names = disk.list(folder).map_err(|source| Error::io("list", folder, source))?;
    match names.iter().find(|name| *name != MANIFEST_FILE && manifest.file(name).is_none()) {
        Some(name) => Err(Error::Unlisted.in_file(&folder.join(name))),
        None => Ok(manifest),
    }
}

/// Reads the manifest of a folder, and checks every byte of its files against it.
///
/// `progress` is called with the number of bytes checked so far.
///
/// # Errors
///
/// As [`open`], and [`Error::WrongDigest`] for a file whose bytes are not those that were written.
pub fn verify(
    disk: &dyn Disk,
    folder: &Path,
    mut progress: impl FnMut(u64),
) -> Result<Manifest, Error> {
    let manifest = open(disk, folder)?;
    let mut before = 0;
    for file in manifest.files() {
        let path = folder.join(&file.name);
        let mut source = disk.open(&path).map_err(|source| Error::io("open", &path, source))?;
        let (found, _) = hash::stream(&mut *source, |done| progress(before + done))
            .map_err(|source| Error::io("read", &path, source))?;
        if found != file.sha256 {
            return Err(Error::WrongDigest { expected: file.sha256, found }.in_file(&path));
        }
        before += file.bytes;
    }
    Ok(manifest)
}

/// Creates, fills and syncs one file; returns its digest and length too.
fn write_new<T, E: From<Error>>(
    disk: &dyn Disk,
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<(T, (hash::Digest, u64)), E> {
    let file = disk.create(path).map_err(|source| Error::io("create", path, source))?;
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, Hashing::new(Named { file, path }));
    let filled = fill(&mut out).and_then(|value| {
        out.flush().map_err(|source| Error::Write { source })?;
        Ok(value)
    });
    // Without what a failed one still holds.
    let (mut out, _) = out.into_parts();
    let value = filled?;
    out.get_mut().file.sync().map_err(|source| Error::io("sync", path, source))?;
    Ok((value, out.finish()))
}

fn write_new_folder<E: From<Error>>(
    disk: &dyn Disk,
    path: &Path,
    fill: impl FnOnce(&mut NewFolder<'_>) -> Result<(), E>,
) -> Result<Manifest, E> {
    disk.create_folder(path).map_err(|source| Error::io("create", path, source))?;
    let mut folder = NewFolder { disk, path, manifest: Manifest::default() };
    fill(&mut folder)?;
    let manifest = folder.manifest;
    finish_folder(disk, path, &manifest)?;
    Ok(manifest)
}

/// Writes the manifest and makes all names of the folder survive a power cut.
fn finish_folder(disk: &dyn Disk, path: &Path, manifest: &Manifest) -> Result<(), Error> {
    let manifest_path = path.join(MANIFEST_FILE);
    write_new(disk, &manifest_path, |out| {
        let bytes = manifest.to_json();
        out.write_all(&bytes).map_err(|source| Error::io("write", &manifest_path, source))
    })?;
    disk.sync_folder(path).map_err(|source| Error::io("sync", path, source))
}

/// Makes the new name survive a power cut.
fn settle(disk: &dyn Disk, target: &Path) -> Result<(), Error> {
    disk.sync_folder(parent(target))
        .map_err(|source| Error::Unsettled { path: target.to_owned(), source })
}

/// Removes what a crash or a failed landing left under the temporary name.
pub(crate) fn remove_leftover(disk: &dyn Disk, path: &Path) -> Result<(), Error> {
    match look(disk, path)? {
        None => Ok(()),
        Some(Kind::Folder) => {
            let names = disk.list(path).map_err(|source| Error::io("list", path, source))?;
            names.iter().try_for_each(|name| remove_leftover(disk, &path.join(name)))?;
            disk.remove_folder(path).map_err(|source| Error::io("remove", path, source))
        }
        Some(Kind::File { .. } | Kind::Other) => {
            disk.remove_file(path).map_err(|source| Error::io("remove", path, source))
        }
    }
}

/// What has that name, if anything.
pub(crate) fn look(disk: &dyn Disk, path: &Path) -> Result<Option<Kind>, Error> {
    disk.kind(path).map_err(|source| Error::io("look at", path, source))
}

fn read_manifest(disk: &dyn Disk, path: &Path) -> Result<Vec<u8>, Error> {
    let file = disk.open(path).map_err(|source| Error::io("open", path, source))?;
    let mut bytes = Vec::new();
    file.take(MANIFEST_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| Error::io("read", path, source))?;
    Ok(bytes)
}

/// The name under which a file or folder is written before it lands.
pub(crate) fn temporary(target: &Path) -> Result<PathBuf, Error> {
    let mut name = target.file_name().map(std::ffi::OsStr::to_owned).ok_or_else(|| {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "it has no name of its own");
        Error::io("write", target, source)
    })?;
    name.push(TEMPORARY_ENDING);
    Ok(target.with_file_name(name))
}

/// The folder that holds a name.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// A new file whose failures name it.
struct Named<'a> {
    file: Box<dyn NewFile>,
    path: &'a Path,
}

impl Named<'_> {
    fn with_path(&self, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("{}: {error}", self.path.display()))
    }
}

impl Write for Named<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.file.write(buffer).map_err(|error| self.with_path(&error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush().map_err(|error| self.with_path(&error))
    }
}
