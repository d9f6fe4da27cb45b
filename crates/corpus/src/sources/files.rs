//! The files of a source, in the order of their paths.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::Error;

/// The endings of files that are read.
pub const KNOWN_ENDINGS: &str =
    ".txt, .text, .md, .markdown, .jsonl, .ndjson, or one of these with .zst";
/// The most files of one source.
pub const FILES_MAX: usize = 100_000;
/// How deep folders may lie in a source.
pub const FOLDER_DEPTH_MAX: usize = 16;

/// A file that can be read.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    /// What reports call it: the path from the source on.
    pub(super) name: String,
    pub(super) encoding: Encoding,
    pub(super) is_compressed: bool,
}

/// How a file holds documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Text,
    JsonLines,
}

/// The files at a path, and how many were passed over. Links to folders are not followed.
pub(super) fn find(path: &Path, passed_over: &mut u64) -> Result<Vec<Found>, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let unknown = || Error::UnknownKind { path: path.to_owned(), known: KNOWN_ENDINGS };
        return Ok(vec![known(path, name).ok_or_else(unknown)?]);
    }
    let mut search = Search { root: path, found: Vec::new(), passed_over };
    search.folder(path, 0)?;
    if search.found.is_empty() {
        return Err(Error::NoFiles { path: path.to_owned(), known: KNOWN_ENDINGS });
    }
    Ok(search.found)
}

struct Search<'a> {
    root: &'a Path,
    found: Vec<Found>,
    passed_over: &'a mut u64,
}

impl Search<'_> {
    fn folder(&mut self, folder: &Path, depth: usize) -> Result<(), Error> {
        if depth > FOLDER_DEPTH_MAX {
            return Err(self.too_large("levels of folders", FOLDER_DEPTH_MAX));
        }
        let failed = |source| Error::Read { path: folder.to_owned(), source };
        for (path, is_folder) in self.entries(folder, &failed)? {
            if is_folder {
                self.folder(&path, depth + 1)?;
                continue;
            }
            let name = path.strip_prefix(self.root).unwrap_or(&path).to_string_lossy();
            match known(&path, name.into_owned()) {
                Some(file) => self.found.push(file),
                None => *self.passed_over += 1,
            }
        }
        Ok(())
    }

    /// The names of a folder in the order of their bytes, hidden ones left out, and which of them
    /// are folders.
    fn entries(
        &self,
        folder: &Path,
        failed: &dyn Fn(io::Error) -> Error,
    ) -> Result<Vec<(PathBuf, bool)>, Error> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let is_folder = entry.file_type().map_err(failed)?.is_dir();
            entries.push((entry.path(), is_folder));
            if self.found.len() + entries.len() > FILES_MAX {
                return Err(self.too_large("files", FILES_MAX));
            }
        }
        entries.sort();
        Ok(entries)
    }

    fn too_large(&self, what: &'static str, limit: usize) -> Error {
        Error::FolderTooLarge { path: self.root.to_owned(), what, limit }
    }
}

/// A file by its ending, if it can be read.
fn known(path: &Path, name: String) -> Option<Found> {
    let lowercase = path.file_name()?.to_string_lossy().to_ascii_lowercase();
    let (plain, is_compressed) = match lowercase.strip_suffix(".zst") {
        Some(plain) => (plain, true),
        None => (lowercase.as_str(), false),
    };
    let encoding = match plain.rsplit_once('.')?.1 {
        "txt" | "text" | "md" | "markdown" => Encoding::Text,
        "jsonl" | "ndjson" => Encoding::JsonLines,
        _ => return None,
    };
    Some(Found { path: path.to_owned(), name, encoding, is_compressed })
}
