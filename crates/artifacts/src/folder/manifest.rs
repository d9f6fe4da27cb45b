//! `MANIFEST.json`: the files of a folder with their lengths and digests, in one canonical form.

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::hash::Digest;
use crate::json;
use crate::plain_name::is_plain;

/// The name of the manifest in its folder.
pub const MANIFEST_FILE: &str = "MANIFEST.json";
/// The longest manifest that is read, in bytes.
pub const MANIFEST_BYTES_MAX: u64 = 4 << 20;
/// The most files that a folder may hold.
pub const FILES_MAX: usize = 10_000;
/// The longest name of a file, in bytes.
const NAME_BYTES_MAX: usize = 128;
/// The version of the form.
const VERSION: u32 = 1;

/// The files of a folder, sorted by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    version: u32,
    files: Vec<ManifestFile>,
}

/// One file of a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestFile {
    /// Its name: letters, digits, `.`, `-` and `_`.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// The digest of its bytes.
    pub sha256: Digest,
}

impl Default for Manifest {
    fn default() -> Self {
        Self { version: VERSION, files: Vec::new() }
    }
}

impl Manifest {
    /// Parses a manifest; only the form that [`Manifest::to_json`] writes is accepted, to the byte.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() as u64 > MANIFEST_BYTES_MAX {
            return Err(Error::TooLarge {
                what: "the length of the manifest",
                value: bytes.len() as u64,
                limit: MANIFEST_BYTES_MAX,
            });
        }
        let read: Self = json::parse("the manifest", bytes)?;
        let mut checked = Self::default();
        for file in &read.files {
            checked.check_new(&file.name)?;
            checked.add(file.clone());
        }
        if checked.to_json() != bytes {
            return Err(Error::NotCanonical { version: read.version, expected: VERSION });
        }
        Ok(checked)
    }

    /// The files, sorted by name.
    pub fn files(&self) -> &[ManifestFile] {
        &self.files
    }

    /// The file of that name.
    pub fn file(&self, name: &str) -> Option<&ManifestFile> {
        self.position(name).ok().map(|at| &self.files[at])
    }

    /// The manifest as it is stored.
    pub fn to_json(&self) -> Vec<u8> {
        let files: Vec<String> = self
            .files
            .iter()
            .map(|ManifestFile { name, bytes, sha256 }| {
                // Names need no escapes: see `check_new`.
                format!(r#"    {{"name":"{name}","bytes":{bytes},"sha256":"{sha256}"}}"#)
            })
            .collect();
        let (version, files) = (self.version, files.join(",\n"));
        format!("{{\n  \"version\":{version},\n  \"files\":[\n{files}\n  ]\n}}\n").into_bytes()
    }

    /// Refuses a name that is not plain or is there already.
    pub(super) fn check_new(&self, name: &str) -> Result<(), Error> {
        if name.len() > NAME_BYTES_MAX || !is_plain(name) || name == MANIFEST_FILE {
            return Err(Error::FileName { name: name.chars().take(NAME_BYTES_MAX).collect() });
        }
        if self.files.len() == FILES_MAX {
            return Err(Error::TooLarge {
                what: "the number of files in a folder",
                value: FILES_MAX as u64 + 1,
                limit: FILES_MAX as u64,
            });
        }
        match self.position(name) {
            Ok(_) => Err(Error::Duplicate { what: "file", name: name.to_owned() }),
            Err(_) => Ok(()),
        }
    }

    /// Adds a file whose name was checked.
    pub(super) fn add(&mut self, file: ManifestFile) {
        let (Ok(at) | Err(at)) = self.position(&file.name);
        self.files.insert(at, file);
    }

    fn position(&self, name: &str) -> Result<usize, usize> {
        self.files.binary_search_by(|file| file.name.as_str().cmp(name))
    }
}
