//! A file on its way in: appended and hashed at once, from where an earlier try stopped.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::SourceError;

/// Bytes moved at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// A partial file, its length and the digest of what is there.
#[derive(Debug)]
pub(crate) struct Staged {
    path: PathBuf,
    file: File,
    length: u64,
    length_max: u64,
    hasher: Sha256,
}

impl Staged {
    /// Opens the partial file at `path`, keeping at most `length_max` bytes of an earlier try.
    pub(crate) fn open(path: &Path, length_max: u64) -> Result<Self, SourceError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|error| SourceError::disk("open", path, error))?;
        let mut staged =
            Self { path: path.to_owned(), file, length: 0, length_max, hasher: Sha256::new() };
        staged.hash_what_is_there()?;
        Ok(staged)
    }

    /// Forgets everything that is there.
    pub(crate) fn restart(&mut self) -> Result<(), SourceError> {
        self.hasher = Sha256::new();
        self.length = 0;
        self.file
            .set_len(0)
            .and_then(|()| self.file.rewind())
            .map_err(|error| SourceError::disk("truncate", &self.path, error))
    }

    /// Appends everything that `source` gives; `advance` hears the length after each chunk.
    ///
    /// A source that ends early or fails leaves what came; one that gives too much is refused.
    pub(crate) fn append(
        &mut self,
        source: &mut dyn Read,
        advance: &mut dyn FnMut(u64),
    ) -> Result<(), SourceError> {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let read = match source.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(SourceError::Truncated {
                        got: self.length,
                        expected: self.length_max,
                        message: error.to_string(),
                    });
                }
            };
            let length = self.length + read as u64;
            if length > self.length_max {
                return Err(SourceError::Length { got: length, expected: self.length_max });
            }
            self.file
                .write_all(&chunk[..read])
                .map_err(|error| SourceError::disk("write", &self.path, error))?;
            self.hasher.update(&chunk[..read]);
            self.length = length;
            advance(length);
        }
    }

    /// Flushes the file to the disk.
    pub(crate) fn flush(&self) -> Result<(), SourceError> {
        self.file.sync_all().map_err(|error| SourceError::disk("flush", &self.path, error))
    }

    /// SHA-256 of the bytes that are there, in hexadecimal.
    pub(crate) fn digest(&self) -> String {
        hexadecimal(&self.hasher.clone().finalize())
    }

    /// Bytes that are there.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    fn hash_what_is_there(&mut self) -> Result<(), SourceError> {
        let length = self
            .file
            .metadata()
            .map_err(|error| SourceError::disk("inspect", &self.path, error))?
            .len();
        if length > self.length_max {
            return self.restart();
        }
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let read = self
                .file
                .read(&mut chunk)
                .map_err(|error| SourceError::disk("read", &self.path, error))?;
            if read == 0 {
                break;
            }
            self.hasher.update(&chunk[..read]);
            self.length += read as u64;
        }
        self.file
            .seek(SeekFrom::Start(self.length))
            .map_err(|error| SourceError::disk("seek in", &self.path, error))?;
        Ok(())
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf abc | sha256sum`
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_second_try_goes_on_where_the_first_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.part");
        let mut first = Staged::open(&path, 3).unwrap();
        first.append(&mut &b"a"[..], &mut |_| ()).unwrap();
        drop(first);
        let mut second = Staged::open(&path, 3).unwrap();
        assert_eq!(second.length(), 1);
        let mut seen = 0;
        second.append(&mut &b"bc"[..], &mut |bytes| seen = bytes).unwrap();
        assert_eq!(seen, 3);
        assert_eq!(second.digest(), ABC);
    }

    #[test]
    fn too_much_is_refused_and_too_long_a_rest_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.part");
        let mut staged = Staged::open(&path, 3).unwrap();
        let refusal = staged.append(&mut &b"abcd"[..], &mut |_| ()).unwrap_err();
        assert!(matches!(refusal, SourceError::Length { got: 4, expected: 3 }), "{refusal}");
        std::fs::write(&path, b"abcde").unwrap();
        assert_eq!(Staged::open(&path, 3).unwrap().length(), 0);
    }
}
