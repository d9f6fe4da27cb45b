//! What can go wrong while models are fetched, kept and checked.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

/// Why a model is not here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The catalogue does not name this model and nothing of that name is installed. Remedy:
    /// `scribe models list`.
    #[error("no model is called `{name}`")]
    UnknownModel {
        /// What was asked for.
        name: String,
        /// The nearest name that exists.
        suggestion: Option<String>,
    },
    /// The model is not installed, so it cannot be removed. Remedy: `scribe models list`.
    #[error("model `{name}` is not installed")]
    NotInstalled {
        /// The model.
        name: String,
    },
    /// The model is not installed and `--offline` forbids to fetch it. Remedy: leave it out.
    #[error("model `{name}` is not installed, and --offline forbids to fetch it")]
    Offline {
        /// The model.
        name: String,
    },
    /// The catalogue states no digest for a file. Remedy: `--trust-first-use`.
    #[error("the catalogue states no digest for `{file}` of model `{name}`")]
    NoDigest {
        /// The model.
        name: String,
        /// The file.
        file: String,
    },
    /// The catalogue does not name this set of texts. Remedy: `scribe corpus sets`.
    #[error("no set of texts is called `{name}`")]
    UnknownSet {
        /// What was asked for.
        name: String,
        /// The nearest name that exists.
        suggestion: Option<String>,
    },
    /// The set is not here and `--offline` forbids to fetch it. Remedy: leave it out.
    #[error("the set `{name}` is not here, and --offline forbids to fetch it")]
    SetOffline {
        /// The set.
        name: String,
    },
    /// A set is not what it was when it landed. Remedy: remove its folder.
    #[error("the set in `{}` is damaged: {what}", folder.display())]
    DamagedSet {
        /// Its folder.
        folder: PathBuf,
        /// What differs.
        what: String,
    },
    /// The wheel of a set does not hold what it should. Remedy: another version of the program.
    #[error("the set `{name}` cannot be unpacked")]
    Unpack {
        /// The set.
        name: String,
        /// What is wrong with the wheel.
        source: SourceError,
    },
    /// There is not enough room on the disk. Remedy: make room, or another `--data`.
    #[error("`{}` has {free_bytes} bytes free, {needed_bytes} are needed", folder.display())]
    DiskFull {
        /// The folder on that disk.
        folder: PathBuf,
        /// What the model needs while it is fetched.
        needed_bytes: u64,
        /// What is free.
        free_bytes: u64,
    },
    /// Every source of a file failed. Remedy: depends on the causes, which are all listed.
    #[error("`{file}` could not be had from any of its sources{}", list(attempts))]
    Exhausted {
        /// The file.
        file: String,
        /// Each source in a few words, and why it failed.
        attempts: Vec<(String, SourceError)>,
    },
    /// An installed file is not what it was when it landed. Remedy: pull it again.
    #[error("`{}` is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: String,
    },
    /// A catalogue cannot be used. Remedy: correct the file.
    #[error("cannot use {origin}: {message}")]
    Catalogue {
        /// The file.
        origin: String,
        /// What is wrong and where.
        message: String,
    },
    /// The operating system refused something. Remedy: rights, disk, or another `--data`.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it was refused.
        source: io::Error,
    },
}

/// Why one source did not give a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// Nothing answered.
    #[error("no connection: {message}")]
    Connect {
        /// The client's words.
        message: String,
    },
    /// The server answered with something other than the file.
    #[error("the server answered with status {status}")]
    Status {
        /// HTTP status.
        status: u16,
    },
    /// The transfer ended early; what came is kept and used by the next try.
    #[error("the transfer ended after {got} of {expected} bytes: {message}")]
    Truncated {
        /// Bytes here now.
        got: u64,
        /// Length of the file.
        expected: u64,
        /// The client's words.
        message: String,
    },
    /// The source offers a file of another length.
    #[error("the source offers {got} bytes, {expected} were expected")]
    Length {
        /// Bytes offered.
        got: u64,
        /// Length of the file.
        expected: u64,
    },
    /// The bytes are not those of the catalogue; they were removed.
    #[error("sha256 is {got}, expected {expected}; the download was removed")]
    Digest {
        /// Digest of what came.
        got: String,
        /// Digest in the catalogue.
        expected: String,
    },
    /// No Python is installed that could fetch a wheel.
    #[error("none of {tried} could be started")]
    NoPython {
        /// The programs that were tried.
        tried: String,
    },
    /// The wheel could not be fetched.
    #[error("`{program}` failed: {message}")]
    Pip {
        /// The program.
        program: String,
        /// Its last words.
        message: String,
    },
    /// The wheel is not what the catalogue says.
    #[error("wheel `{wheel}`: {message}")]
    Wheel {
        /// The wheel.
        wheel: String,
        /// What is wrong with it.
        message: String,
    },
    /// Writing the download failed; no other source can help.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Disk {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it was refused.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }

    /// What the person can do next.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::UnknownModel { suggestion: Some(name), .. } => {
                format!("did you mean `{name}`? `scribe models list` shows all names")
            }
            Self::UnknownModel { suggestion: None, .. } => {
                "`scribe models list` shows all names; `--model` also takes the path of a .gguf \
                 file or of a Hugging Face folder"
                    .into()
            }
            Self::NotInstalled { .. } => "`scribe models list` shows what is installed".into(),
            Self::Offline { name } => {
                format!("leave --offline out once, or run `scribe models pull {name}` first")
            }
            Self::NoDigest { name, .. } => format!(
                "`scribe models pull {name} --trust-first-use` takes what comes, keeps its digest"
            ),
            Self::UnknownSet { suggestion: Some(name), .. } => {
                format!("did you mean `set:{name}`? `scribe corpus sets` shows all names")
            }
            Self::UnknownSet { suggestion: None, .. } => {
                "`scribe corpus sets` shows all names".into()
            }
            Self::SetOffline { .. } => {
                "leave --offline out once, or give files of your own instead".into()
            }
            Self::DamagedSet { folder, .. } => {
                format!("remove the folder with `rm -r {}`, and run it again", folder.display())
            }
            Self::Unpack { .. } => {
                "the catalogue of this version does not know the wheel; a newer scribe may".into()
            }
            Self::DiskFull { .. } => {
                "make room, remove a model with `scribe models remove`, or choose another folder \
                 with --data"
                    .into()
            }
            Self::Exhausted { .. } => {
                "run the same command again to go on where it stopped; files got by other means \
                 can be named by their paths"
                    .into()
            }
            Self::Damaged { .. } => {
                "remove the model with `scribe models remove` and pull it again".into()
            }
            Self::Catalogue { .. } => "the embedded catalogue documents every field; \
                 leave --catalogue out to use it"
                .into(),
            Self::Io { .. } => "check the folder's rights and `scribe doctor`, or choose another \
                 folder with --data"
                .into(),
        }
    }

    /// Whether the thing asked for does not exist, as opposed to something being broken.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(
            self,
            Self::UnknownModel { .. }
                | Self::NotInstalled { .. }
                | Self::Offline { .. }
                | Self::UnknownSet { .. }
                | Self::SetOffline { .. }
        )
    }
}

impl From<artifacts::Error> for Error {
    fn from(error: artifacts::Error) -> Self {
        match error {
            artifacts::Error::Io { action, path, source } => Self::Io { action, path, source },
            other => Self::Io {
                action: "land",
                path: "the model".into(),
                source: io::Error::other(other),
            },
        }
    }
}

impl SourceError {
    pub(crate) fn disk(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Disk { action, path: path.to_owned(), source }
    }
}

fn list(attempts: &[(String, SourceError)]) -> String {
    attempts.iter().fold(String::new(), |mut text, (source, error)| {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  {source}: {error}");
        text
    })
}
