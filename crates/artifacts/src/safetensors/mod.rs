//! SafeTensors, the container of Hugging Face: one file, or a folder of shards.
//!
//! A file is: the length of the header (8 bytes), the header (JSON), the tensors without a gap.
//! The header is read by this module rather than by the safetensors crate, which accepts a name
//! that occurs twice and wants the whole file in memory: see decision 0002 in docs/decisions.
//!
//! Source: the "Format" section of the safetensors repository's README.

mod folder;
mod header;
mod write;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::BufReader;
use std::path::Path;

use crate::Error;
use crate::tensors::{TensorInfo, TensorSource, TensorTable};

pub use folder::{INDEX_FILE, SHARDS_MAX, SINGLE_FILE, SafetensorsFolder};
pub use write::{for_pytorch, write};

/// The most entries of `__metadata__` that are accepted; known files have fewer than 10.
pub const METADATA_ENTRIES_MAX: u64 = 16_384;

/// A parsed and fully validated header.
#[derive(Clone, Debug)]
pub struct Safetensors {
    metadata: BTreeMap<String, String>,
    tensors: TensorTable,
    data_offset: u64,
}

impl Safetensors {
    /// Parses a header from the first bytes of a file that is `file_length` bytes long.
    ///
    /// # Errors
    ///
    /// What is wrong with the header, or with the places that it gives to the tensors.
    pub fn parse(bytes: &[u8], file_length: u64) -> Result<Self, Error> {
        header::parse(bytes, file_length)
    }

    /// The free text that the writer of the file left under `__metadata__`.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The tensors, in the order of their bytes.
    pub fn tensors(&self) -> &[TensorInfo] {
        self.tensors.all()
    }

    /// The tensor of that name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name)
    }

    /// Where the tensors begin, in bytes from the start of the file.
    pub fn data_offset(&self) -> u64 {
        self.data_offset
    }
}

/// An open file: its header, and its tensors on demand. May be shared between threads.
#[derive(Debug)]
pub struct SafetensorsFile {
    header: Safetensors,
    source: TensorSource,
}

impl SafetensorsFile {
    /// Opens a file: its header is read and validated, the file is kept open for its tensors.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where it cannot be read, [`Error::InFile`] with what is wrong in it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let source = TensorSource::open(path)?;
        let header = header::parse(BufReader::new(source.file()), source.length())
            .map_err(|error| error.in_file(path))?;
        Ok(Self { header, source })
    }

    /// The validated header.
    pub fn header(&self) -> &Safetensors {
        &self.header
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        self.source.path()
    }

    /// The tensors, in the order of their bytes.
    pub fn tensors(&self) -> &[TensorInfo] {
        self.header.tensors()
    }

    /// The tensor of that name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.header.tensor(name)
    }

    /// The bytes of one tensor, as stored: little-endian, outermost dimension first.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where they cannot be read; [`Error::InFile`] where the file has become shorter
    /// since it was opened, or `tensor` does not lie in it.
    pub fn read(&self, tensor: &TensorInfo) -> Result<Vec<u8>, Error> {
        self.source.read(tensor)
    }
}
