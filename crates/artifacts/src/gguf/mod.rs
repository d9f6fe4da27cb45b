//! GGUF, the container of llama.cpp and its family: versions 2 and 3, little-endian.
//!
//! A file is: magic, version, counts; the metadata; an entry for each tensor; padding; the tensors,
//! each padded to `general.alignment`. Nothing else may be in it: a hole or a trailing byte is
//! refused, since a second file could hide there.
//!
//! Source: docs/gguf.md of the ggml repository, and `gguf_init_from_file_impl` of its gguf.cpp.

mod metadata;
mod parse;
mod write;

#[cfg(test)]
mod tests;

use std::io::BufReader;
use std::path::Path;

use crate::Error;
use crate::tensors::{TensorInfo, TensorSource, TensorTable};

pub use metadata::{Array, Metadata, Value};
pub use write::write;

/// The first bytes of every GGUF file.
pub const MAGIC: [u8; 4] = *b"GGUF";
/// The alignment of tensors where a file states none.
pub const DEFAULT_ALIGNMENT: u64 = 32;
/// The largest alignment that is accepted: no page or device needs more.
pub const ALIGNMENT_MAX: u64 = 65_536;
/// The most metadata keys that are accepted; known models have fewer than 100.
pub const KEYS_MAX: u64 = 16_384;
/// The longest metadata key, in bytes.
pub const KEY_BYTES_MAX: u64 = 1_024;

/// A parsed and fully validated header.
#[derive(Clone, Debug)]
pub struct Gguf {
    version: u32,
    metadata: Metadata,
    tensors: TensorTable,
    data_offset: u64,
}

impl Gguf {
    /// Opens a file: its header is read and validated, the file is kept open for its tensors.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where it cannot be read, [`Error::InFile`] with what is wrong in it.
    pub fn open(path: &Path) -> Result<GgufFile, Error> {
        let source = TensorSource::open(path)?;
        let header = parse::header(BufReader::new(source.file()), source.length())
            .map_err(|error| error.in_file(path))?;
        Ok(GgufFile { header, source })
    }

    /// Parses a header from the first bytes of a file that is `file_length` bytes long.
    ///
    /// # Errors
    ///
    /// What is wrong with the header, or with the places that it gives to the tensors.
    pub fn parse(bytes: &[u8], file_length: u64) -> Result<Self, Error> {
        parse::header(bytes, file_length)
    }

    /// The format version: 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The metadata, in file order.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The tensors, in the order of the header.
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

/// An open GGUF file: its header, and its tensors on demand. May be shared between threads.
#[derive(Debug)]
pub struct GgufFile {
    header: Gguf,
    source: TensorSource,
}

impl GgufFile {
    /// The validated header.
    pub fn header(&self) -> &Gguf {
        &self.header
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        self.source.path()
    }

    /// The bytes of one tensor, as stored.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where they cannot be read; [`Error::InFile`] where the file has become shorter
    /// since it was opened, or `tensor` does not lie in it.
    pub fn read(&self, tensor: &TensorInfo) -> Result<Vec<u8>, Error> {
        self.source.read(tensor)
    }
}
