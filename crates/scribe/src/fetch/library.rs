//! The models folder: what is installed, where it came from, and whether it is still whole.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use artifacts::disk::RealDisk;
use artifacts::{folder, hash, shown};
use serde::{Deserialize, Serialize};

use super::catalogue::{is_file_name, is_model_name};
use super::{Catalogue, Error};

/// Version of the manifest's fields.
const MANIFEST_SCHEMA: u32 = 1;

/// The file beside a model's own files that says where they come from. It lies in the folder's
/// `MANIFEST.json` like them.
const MANIFEST: &str = "model.json";

/// Where pulls in progress, and locks, live inside the models folder.
const STAGING: &str = ".staging";

/// The models folder and the catalogue that fills it.
#[derive(Debug, Clone)]
pub struct Library {
    folder: PathBuf,
    catalogue: Catalogue,
}

/// A model in the models folder.
#[derive(Debug, Clone, Serialize)]
pub struct Installed {
    /// The model's folder.
    pub folder: PathBuf,
    /// What landed there.
    #[serde(flatten)]
    pub manifest: Manifest,
}

/// What lies in the models folder under a model's name.
#[derive(Debug)]
pub struct Found {
    /// The name.
    pub name: String,
    /// The model, or why it cannot be read.
    pub model: Result<Installed, Error>,
}

/// What landed in a model's folder.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Manifest {
    /// Version of these fields.
    pub schema: u32,
    /// The model's name.
    pub name: String,
    /// SPDX expression of the weights.
    pub license: String,
    /// The files beside the manifest.
    pub files: Vec<ManifestFile>,
}

/// One file of an installed model.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct ManifestFile {
    /// Name in the model's folder.
    pub name: String,
    /// Length.
    pub bytes: u64,
    /// Digest in hexadecimal.
    pub sha256: String,
    /// Where it came from, in a few words.
    pub source: String,
    /// Whether the digest is the catalogue's; `false` = recorded at first use.
    pub digest_from_catalogue: bool,
}

impl Library {
    /// The library in `data/models`; nothing is created yet.
    #[must_use]
    pub fn new(data: &Path, catalogue: Catalogue) -> Self {
        Self { folder: data.join("models"), catalogue }
    }

    /// Removes an installed model, damaged or not, and tells how many bytes that freed.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownModel`], [`Error::NotInstalled`], [`Error::Io`].
    pub fn remove(&self, name: &str) -> Result<u64, Error> {
        let folder = self.folder.join(name);
        if !is_model_name(name) || !folder.join(MANIFEST).exists() {
            return Err(match self.catalogue.get(name) {
                Some(_) => Error::NotInstalled { name: name.to_owned() },
                None => self.unknown(name),
            });
        }
        let _lock = self.lock(name, &mut || ())?;
        let freed_bytes = folder_bytes(&folder);
        // Renamed first, so that a removal cut short leaves no half model under the model's name.
        let grave = self.staging().join(format!("{name}.removed"));
        remove_all(&grave).map_err(|error| Error::io("remove", &grave, error))?;
        fs::rename(&folder, &grave).map_err(|error| Error::io("move", &folder, error))?;
        remove_all(&grave).map_err(|error| Error::io("remove", &grave, error))?;
        Ok(freed_bytes)
    }

    /// The catalogue in use.
    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// The models folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// All installed models by name, each with what is wrong where its manifest cannot be read.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the models folder cannot be listed.
    pub fn installed(&self) -> Result<Vec<Found>, Error> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("list", &self.folder, error)),
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let found = |name: String| {
            let model = self.find(&name).transpose()?;
            Some(Found { name, model })
        };
        let mut models: Vec<Found> = names.filter_map(found).collect();
        models.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(models)
    }

    /// The installed model called `name`.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] or [`Error::Damaged`] if its manifest cannot be read.
    pub fn find(&self, name: &str) -> Result<Option<Installed>, Error> {
        if !is_model_name(name) {
            return Ok(None);
        }
        let folder = self.folder.join(name);
        let path = folder.join(MANIFEST);
        let text = match artifacts::read_text(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", &path, error)),
        };
        let damaged = |what: String| Error::Damaged { path: path.clone(), what: shown(&what) };
        let manifest: Manifest =
            serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        if manifest.schema != MANIFEST_SCHEMA {
            return Err(damaged(format!(
                "schema {} is not {MANIFEST_SCHEMA}; another version of scribe wrote it",
                manifest.schema
            )));
        }
        // Only such names ever land here; any other could lead out of the folder.
        if let Some(file) = manifest.files.iter().find(|file| !is_file_name(&file.name)) {
            return Err(damaged(format!("it lists a file whose name is not plain: {}", file.name)));
        }
        Ok(Some(Installed { folder, manifest }))
    }

    /// The error for a name that nothing answers to.
    #[must_use]
    pub fn unknown(&self, name: &str) -> Error {
        let suggestion = self.catalogue.nearest(name).map(str::to_owned);
        Error::UnknownModel { name: name.to_owned(), suggestion }
    }

    pub(crate) fn staging(&self) -> PathBuf {
        self.folder.join(STAGING)
    }

    /// Takes the model's lock, so that two processes never write the same model.
    ///
    /// `waiting` is called once if another process holds it. The lock ends with the returned file.
    pub(crate) fn lock(&self, name: &str, waiting: &mut dyn FnMut()) -> Result<File, Error> {
        lock(&self.staging(), name, waiting)
    }
}

impl Installed {
    /// What a loader opens: the model's one `.gguf` file, or the whole folder.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        match self.manifest.files.as_slice() {
            [file] if file.name.ends_with(".gguf") => self.folder.join(&file.name),
            _ => self.folder.clone(),
        }
    }

    /// Length of all files together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.manifest.files.iter().map(|file| file.bytes).sum()
    }

    /// Checks that every file is there with its length; cheap, for each start.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] or [`Error::Io`].
    pub fn check_lengths(&self) -> Result<(), Error> {
        for file in &self.manifest.files {
            let path = self.folder.join(&file.name);
            let metadata = fs::metadata(&path).map_err(|error| Error::io("open", &path, error))?;
            if metadata.len() != file.bytes {
                let what = format!("it is {} bytes long, not {}", metadata.len(), file.bytes);
                return Err(Error::Damaged { path, what });
            }
        }
        Ok(())
    }

    /// Reads every file and compares its digest; `advance` hears the bytes read so far.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] or [`Error::Io`].
    pub fn verify(&self, advance: &mut dyn FnMut(u64)) -> Result<(), Error> {
        self.check_lengths()?;
        let mut before = 0;
        for file in &self.manifest.files {
            let path = self.folder.join(&file.name);
            let (digest, _) = hash::file(&path, |bytes| advance(before + bytes))?;
            if digest.to_string() != file.sha256 {
                let what = format!("its sha256 is {digest}, not {}", shown(&file.sha256));
                return Err(Error::Damaged { path, what });
            }
            before += file.bytes;
        }
        Ok(())
    }
}

impl ManifestFile {
    /// The file as its folder's own manifest lists it.
    pub(crate) fn listed(&self) -> Result<folder::ManifestFile, Error> {
        let Self { name, bytes, sha256, .. } = self;
        Ok(folder::ManifestFile { name: name.clone(), bytes: *bytes, sha256: sha256.parse()? })
    }
}

impl Manifest {
    pub(crate) fn new(name: &str, license: &str, files: Vec<ManifestFile>) -> Self {
        Self { schema: MANIFEST_SCHEMA, name: name.into(), license: license.into(), files }
    }

    /// Writes the manifest into `folder`, and lists it as a file like the others.
    pub(crate) fn write(&self, folder: &Path) -> Result<folder::ManifestFile, Error> {
        let path = folder.join(MANIFEST);
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::io("write", &path, error.into()))?;
        folder::land_bytes(&RealDisk, &path, &text)?;
        let sha256 = hash::Digest::of(&text);
        Ok(folder::ManifestFile { name: MANIFEST.into(), bytes: text.len() as u64, sha256 })
    }
}

/// Takes the lock of `name` in a staging folder, which is made if it is not there.
pub(crate) fn lock(staging: &Path, name: &str, waiting: &mut dyn FnMut()) -> Result<File, Error> {
    fs::create_dir_all(staging).map_err(|error| Error::io("create", staging, error))?;
    let path = staging.join(format!("{name}.lock"));
    let lock = File::create(&path).map_err(|error| Error::io("create", &path, error))?;
    match lock.try_lock() {
        Ok(()) => return Ok(lock),
        Err(fs::TryLockError::WouldBlock) => waiting(),
        Err(fs::TryLockError::Error(error)) => return Err(Error::io("lock", &path, error)),
    }
    lock.lock().map_err(|error| Error::io("lock", &path, error))?;
    Ok(lock)
}

/// Bytes of all files in a folder; what cannot be looked at counts nothing.
pub(crate) fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let bytes = |entry: fs::DirEntry| {
        let metadata = entry.metadata().ok()?;
        Some(if metadata.is_dir() { folder_bytes(&entry.path()) } else { metadata.len() })
    };
    entries.flatten().filter_map(bytes).sum()
}

/// Removes a folder with all that is in it; nothing happens if there is none.
pub(crate) fn remove_all(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
