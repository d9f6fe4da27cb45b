//! SHA-256 of files and streams, computed as the bytes pass by.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};

use crate::{Error, open_file};

/// How many bytes are read at a time; also how often progress is reported.
const CHUNK_BYTES: usize = 1 << 20;

/// A SHA-256 digest, written as 64 lowercase hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest itself.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let fault = || Error::Digest { text: text.chars().take(80).collect() };
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(fault()),
        };
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != 32 || !rest.is_empty() {
            return Err(fault());
        }
        let mut bytes = [0; 32];
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// The digest and the length of all that `source` holds.
///
/// `progress` is called with the number of bytes read so far, after every mebibyte and at the end.
///
/// # Errors
///
/// What `source` fails with.
///
/// ```
/// use artifacts::hash::{self, Digest};
///
/// let (digest, length) = hash::stream(&mut "abc".as_bytes(), |_| ())?;
/// assert_eq!((digest, length), (Digest::of(b"abc"), 3));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn stream(source: &mut dyn Read, mut progress: impl FnMut(u64)) -> io::Result<(Digest, u64)> {
    let mut hashing = Hashing::new(io::sink());
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => {
                progress(hashing.length());
                return Ok(hashing.finish());
            }
            Ok(count) => {
                hashing.write_all(&buffer[..count])?;
                progress(hashing.length());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
        }
    }
}

/// The digest and the length of a file; `progress` as in [`stream`].
///
/// # Errors
///
/// [`Error::Io`] where it cannot be read.
pub fn file(path: &Path, progress: impl FnMut(u64)) -> Result<(Digest, u64), Error> {
    let mut file = open_file(path).map_err(|source| Error::io("open", path, source))?;
    stream(&mut file, progress).map_err(|source| Error::io("read", path, source))
}

/// Passes bytes on to a writer, and computes the digest of those that it took.
#[derive(Debug)]
pub struct Hashing<W> {
    out: W,
    sha256: Sha256,
    length: u64,
}

impl<W> Hashing<W> {
    /// Nothing is written yet.
    pub fn new(out: W) -> Self {
        Self { out, sha256: Sha256::new(), length: 0 }
    }

    /// The writer behind.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.out
    }

    /// How many bytes were written.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The digest and the number of the bytes written.
    pub fn finish(self) -> (Digest, u64) {
        (Digest(self.sha256.finalize().into()), self.length)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.out.write(buffer)?;
        self.sha256.update(&buffer[..written]);
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The digest of "abc" in FIPS 180-4, and of nothing.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn digests_are_those_of_the_standard() {
        assert_eq!(Digest::of(b"abc").to_string(), ABC);
        assert_eq!(Digest::of(b"").to_string(), NOTHING);
        assert_eq!(ABC.parse::<Digest>().unwrap(), Digest::of(b"abc"));
        let json = serde_json::to_string(&Digest::of(b"abc")).unwrap();
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), Digest::of(b"abc"));
    }

    #[test]
    fn only_whole_lowercase_digests_are_read() {
        let (short, long) = (&ABC[1..], format!("{ABC}0"));
        for text in [short, &long, &ABC.to_uppercase(), "", &"é".repeat(32)] {
            assert!(matches!(text.parse::<Digest>(), Err(Error::Digest { .. })), "{text}");
        }
    }

    #[test]
    fn a_file_is_hashed_in_pieces_and_progress_ends_at_its_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let bytes = vec![7; CHUNK_BYTES * 2 + 5];
        std::fs::write(&path, &bytes).unwrap();
        let mut reports = Vec::new();
        let (digest, length) = file(&path, |done| reports.push(done)).unwrap();
        assert_eq!((digest, length), (Digest::of(&bytes), bytes.len() as u64));
        assert!(reports.is_sorted() && reports.len() >= 3);
        assert_eq!(reports.last(), Some(&length));
        assert!(matches!(file(folder.path(), |_| ()), Err(Error::Io { .. })));
    }
}
