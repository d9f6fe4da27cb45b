//! A corpus on disk: a folder with a manifest, its facts, a report, and the shards of each split.

use std::io;
use std::path::{Path, PathBuf};

use artifacts::disk::RealDisk;
use artifacts::folder::{self, MANIFEST_FILE, Manifest};
use artifacts::hash::Digest;
use serde::{Deserialize, Serialize};
use tokenizer::Tokenizer;

use crate::documents::Documents;
use crate::loader::{Loader, LoaderOptions};
use crate::report::{Report, SplitReport};
use crate::shard::Shard;
use crate::{Error, ShardFault, Split};

/// The file with the facts.
pub(crate) const FACTS_FILE: &str = "corpus.json";
/// The report for programs.
pub(crate) const REPORT_FILE: &str = "report.json";
/// The report for people.
pub(crate) const REPORT_TEXT_FILE: &str = "report.txt";
/// The version of the facts.
pub(crate) const VERSION: u32 = 1;
/// The most shards of a split: each is an open file while it is read.
pub const SHARDS_MAX: usize = 512;

/// What a corpus is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// The version of this form.
    pub version: u32,
    /// Tokens of the vocabulary.
    pub vocabulary: u32,
    /// The tokenizer: see [`tokenizer_digest`].
    pub tokenizer: Digest,
    /// The token at the end of each text.
    pub end_of_text: Option<u32>,
    /// What is there to learn from.
    pub train: SplitReport,
    /// What is there to measure on.
    pub validation: SplitReport,
}

/// A corpus on disk.
#[derive(Clone, Debug)]
pub struct Corpus {
    path: PathBuf,
    facts: Facts,
    manifest: Manifest,
}

impl Corpus {
    /// Opens a corpus. Its files are there with their lengths; their bytes are not looked at.
    ///
    /// # Errors
    ///
    /// Where a file is missing, cannot be read or is not what it should be.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let manifest = folder::open(&RealDisk, path)?;
        Self::with_manifest(path, manifest)
    }

    /// Opens a corpus, and checks every byte of it against its manifest; `progress` is called with
    /// the number of bytes checked.
    ///
    /// # Errors
    ///
    /// As [`Corpus::open`], and for a file that was changed.
    pub fn verify(path: &Path, progress: impl FnMut(u64)) -> Result<Self, Error> {
        let manifest = folder::verify(&RealDisk, path, progress)?;
        Self::with_manifest(path, manifest)
    }

    fn with_manifest(path: &Path, manifest: Manifest) -> Result<Self, Error> {
        let facts: Facts = read_json(&path.join(FACTS_FILE))?;
        if facts.version != VERSION {
            let fault = ShardFault::Version { found: facts.version, known: VERSION };
            return Err(Error::Damaged { path: path.join(FACTS_FILE), fault });
        }
        Ok(Self { path: path.to_owned(), facts, manifest })
    }

    /// What it is.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// What was kept and dropped when it was built.
    ///
    /// # Errors
    ///
    /// Where the report cannot be read.
    pub fn report(&self) -> Result<Report, Error> {
        read_json(&self.path.join(REPORT_FILE))
    }

    /// Refuses a tokenizer that is not the one the corpus was built with.
    ///
    /// # Errors
    ///
    /// [`Error::OtherTokenizer`].
    pub fn check_tokenizer(&self, tokenizer: &Tokenizer) -> Result<(), Error> {
        let (expected, found) = (self.facts.tokenizer, tokenizer_digest(tokenizer));
        if expected == found { Ok(()) } else { Err(Error::OtherTokenizer { expected, found }) }
    }

    /// Opens the shards of a split to be read in batches.
    ///
    /// # Errors
    ///
    /// Where a shard is damaged, an option makes no sense, or the split is too short for one row.
    pub fn loader(&self, split: Split, options: LoaderOptions) -> Result<Loader, Error> {
        Loader::new(self.shards(split)?, split, options, Digest::of(&self.manifest.to_json()))
    }

    /// Opens the shards of a split to be read document by document, in the order of the shards.
    ///
    /// # Errors
    ///
    /// Where a shard is damaged.
    pub fn documents(&self, split: Split) -> Result<Documents, Error> {
        Ok(Documents::new(self.shards(split)?))
    }

    /// The shards of a split, in order.
    fn shards(&self, split: Split) -> Result<Vec<Shard>, Error> {
        let announced = match split {
            Split::Train => &self.facts.train,
            Split::Validation => &self.facts.validation,
        };
        let damaged = |file: &str, fault| Error::Damaged { path: self.path.join(file), fault };
        let is_of_split = |name: &str| name.starts_with(split.name()) && name.ends_with(".shard");
        let count = self.manifest.files().iter().filter(|file| is_of_split(&file.name)).count();
        let differs = |what, found, expected| {
            Err(damaged(MANIFEST_FILE, ShardFault::Facts { what, found, expected }))
        };
        if count as u64 != announced.shards || count > SHARDS_MAX {
            return differs("shards", count as u64, announced.shards);
        }
        let names = (0..count).map(|number| shard_name(split, number));
        let shards: Vec<Shard> =
            names.map(|name| Shard::open(&self.path.join(name))).collect::<Result<_, _>>()?;
        let tokens = shards.iter().map(Shard::tokens).sum();
        if tokens != announced.tokens {
            return differs("tokens", tokens, announced.tokens);
        }
        let other = shards.iter().find(|shard| shard.vocabulary() != self.facts.vocabulary);
        if let Some(shard) = other {
            let found = u64::from(shard.vocabulary());
            return differs("tokens of the vocabulary", found, u64::from(self.facts.vocabulary));
        }
        Ok(shards)
    }
}

/// A tokenizer's digest: of what each of its tokens stands for, and which are special. The order of
/// its merges is not in it.
#[must_use]
pub fn tokenizer_digest(tokenizer: &Tokenizer) -> Digest {
    let mut bytes = Vec::new();
    for token in (0..).take(tokenizer.vocabulary_len()) {
        let special = tokenizer.is_special(token);
        let name = if special { tokenizer.token_text(token).into_bytes() } else { Vec::new() };
        let stored = if special { &name } else { tokenizer.token_bytes(token) };
        bytes.push(u8::from(special));
        bytes.extend((stored.len() as u64).to_le_bytes());
        bytes.extend_from_slice(stored);
    }
    Digest::of(&bytes)
}

/// The file of a shard.
pub(crate) fn shard_name(split: Split, number: usize) -> String {
    format!("{}-{number:05}.shard", split.name())
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, Error> {
    let text = artifacts::read_text(path)
        .map_err(|source: io::Error| Error::Read { path: path.to_owned(), source })?;
    serde_json::from_str(&text).map_err(|error| {
        let fault = ShardFault::Json { message: artifacts::shown(&error.to_string()) };
        Error::Damaged { path: path.to_owned(), fault }
    })
}
