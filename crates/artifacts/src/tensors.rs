//! What both containers share: where each tensor lies, and reading it from a file that may change.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::{Error, StoredType, open_file};

/// The most tensors that one file may hold.
pub const TENSORS_MAX: u64 = 100_000;
/// The most dimensions that a tensor may have.
pub const DIMENSIONS_MAX: u64 = 8;
/// The longest name of a tensor, in bytes.
pub const NAME_BYTES_MAX: u64 = 256;
/// The longest header, in bytes: the limit that the safetensors library set.
pub const HEADER_BYTES_MAX: u64 = 100_000_000;
/// The most bytes in a file that is written: what operating systems count with.
pub(crate) const FILE_BYTES_MAX: u64 = i64::MAX as u64;

/// One tensor of a file whose header was validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name, unique in the file.
    pub name: String,
    /// How its elements are stored.
    pub dtype: StoredType,
    /// Its dimensions, outermost first: a weight matrix is `[out, in]` in both containers.
    pub shape: Vec<u64>,
    /// Where its first byte lies, counted from the start of the file.
    pub offset: u64,
    /// How many bytes it takes.
    pub bytes: u64,
}

impl TensorInfo {
    /// How many elements it has.
    pub fn elements(&self) -> u64 {
        self.shape.iter().product()
    }

    /// One past its last byte, counted from the start of the file.
    pub(crate) fn end(&self) -> u64 {
        self.offset + self.bytes
    }
}

/// A tensor that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name, unique in the file.
    pub name: String,
    /// How its elements are stored.
    pub dtype: StoredType,
    /// Its dimensions, outermost first.
    pub shape: Vec<u64>,
}

impl TensorSpec {
    /// A tensor of that name, type and shape (outermost dimension first).
    pub fn new(name: impl Into<String>, dtype: StoredType, shape: &[u64]) -> Self {
        Self { name: name.into(), dtype, shape: shape.to_vec() }
    }
}

/// The bytes of a tensor of this shape: all products checked, the innermost row in whole blocks.
pub(crate) fn bytes_of_shape(name: &str, dtype: StoredType, shape: &[u64]) -> Result<u64, Error> {
    let fault = |problem| Error::Shape { tensor: name.to_owned(), shape: shape.to_vec(), problem };
    if shape.len() as u64 > DIMENSIONS_MAX {
        return Err(fault("it has more than 8 dimensions"));
    }
    let mut elements = 1_u64;
    for &dimension in shape {
        // With a zero among them the product is 0, but the others could still overflow a reader.
        let Some(product) = elements.checked_mul(dimension.max(1)) else {
            return Err(fault("it has 2^64 elements or more"));
        };
        elements = product;
    }
    if shape.contains(&0) {
        elements = 0;
    }
    let row = shape.last().copied().unwrap_or(1);
    if !row.is_multiple_of(dtype.block_elements() as u64) {
        return Err(fault("its rows do not fill whole blocks of its element type"));
    }
    dtype.bytes_of(elements).map_err(|_| fault("it takes 2^64 bytes or more"))
}

/// How the bytes of tensors may lie in a file.
pub(crate) struct Layout {
    /// Where the first tensor begins.
    pub(crate) data_offset: u64,
    /// Each tensor begins at a multiple of this, counted from `data_offset`.
    pub(crate) alignment: u64,
    /// The length of the file.
    pub(crate) file_length: u64,
}

impl Layout {
    /// Refuses tensors that overlap, leave holes, are misaligned or reach beyond the file.
    ///
    /// Each begins where the one before ends, padded to the alignment. The last may be padded too.
    pub(crate) fn check(&self, tensors: &[TensorInfo]) -> Result<(), Error> {
        let mut order: Vec<&TensorInfo> = tensors.iter().collect();
        order.sort_by_key(|tensor| (tensor.offset, tensor.bytes));
        let mut end = self.data_offset;
        let mut previous = "";
        for tensor in order {
            let begin = self.padded(end)?;
            if tensor.offset < end {
                return Err(Error::Overlap {
                    first: previous.to_owned(),
                    second: tensor.name.clone(),
                });
            }
            if tensor.offset < begin {
                return Err(Error::Misaligned {
                    tensor: tensor.name.clone(),
                    offset: tensor.offset,
                    alignment: self.alignment,
                });
            }
            if tensor.offset > begin {
                return Err(Error::Hole {
                    offset: end,
                    bytes: tensor.offset - end,
                    before: format!("{:?}", tensor.name),
                });
            }
            end = tensor.end();
            if end > self.file_length {
                return Err(Error::BeyondFile {
                    tensor: tensor.name.clone(),
                    end,
                    file_length: self.file_length,
                });
            }
            previous = &tensor.name;
        }
        if self.file_length > self.padded(end)? {
            return Err(Error::Hole {
                offset: end,
                bytes: self.file_length - end,
                before: "the end of the file".to_owned(),
            });
        }
        Ok(())
    }

    /// The first multiple of the alignment, counted from the data offset, that is not below `end`.
    fn padded(&self, end: u64) -> Result<u64, Error> {
        let length = end - self.data_offset;
        length
            .checked_next_multiple_of(self.alignment)
            .and_then(|length| length.checked_add(self.data_offset))
            .ok_or(Error::Truncated {
                what: "padding between tensors",
                offset: end,
                needed: self.alignment,
                available: self.file_length.saturating_sub(end),
            })
    }
}

/// All tensors of a file, in file order, found by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct TensorTable {
    tensors: Vec<TensorInfo>,
    /// Indices into `tensors`, sorted by name.
    by_name: Vec<u32>,
}

impl TensorTable {
    /// Refuses a name that occurs twice.
    pub(crate) fn new(tensors: Vec<TensorInfo>) -> Result<Self, Error> {
        let count = u32::try_from(tensors.len()).unwrap_or(u32::MAX);
        let name = |index: u32| tensors[index as usize].name.as_str();
        let mut by_name: Vec<u32> = (0..count).collect();
        by_name.sort_unstable_by(|&a, &b| name(a).cmp(name(b)));
        for pair in by_name.windows(2) {
            if name(pair[0]) == name(pair[1]) {
                return Err(Error::Duplicate { what: "tensor", name: name(pair[0]).to_owned() });
            }
        }
        Ok(Self { tensors, by_name })
    }

    pub(crate) fn all(&self) -> &[TensorInfo] {
        &self.tensors
    }

    pub(crate) fn get(&self, name: &str) -> Option<&TensorInfo> {
        let found = self
            .by_name
            .binary_search_by(|&index| self.tensors[index as usize].name.as_str().cmp(name));
        found.ok().map(|at| &self.tensors[self.by_name[at] as usize])
    }
}

/// An open file from which tensors are read by position, by many threads at once if need be.
#[derive(Debug)]
pub(crate) struct TensorSource {
    file: File,
    path: PathBuf,
    length: u64,
}

impl TensorSource {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let file = open_file(path).map_err(|source| Error::io("open", path, source))?;
        let metadata = file.metadata().map_err(|source| Error::io("read", path, source))?;
        Ok(Self { file, path: path.to_owned(), length: metadata.len() })
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The length of the file when it was opened.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Reads one tensor whole; nothing is allocated before its place in the file is certain.
    pub(crate) fn read(&self, tensor: &TensorInfo) -> Result<Vec<u8>, Error> {
        let end = tensor.offset.checked_add(tensor.bytes);
        if end.is_none_or(|end| end > self.length) {
            return Err(Error::BeyondFile {
                tensor: tensor.name.clone(),
                end: end.unwrap_or(u64::MAX),
                file_length: self.length,
            }
            .in_file(&self.path));
        }
        self.check_length()?;
        let Ok(bytes) = usize::try_from(tensor.bytes) else {
            return Err(Error::TooLarge {
                what: "the length of a tensor",
                value: tensor.bytes,
                limit: usize::MAX as u64,
            }
            .in_file(&self.path));
        };
        let mut buffer = vec![0; bytes];
        match self.file.read_exact_at(&mut buffer, tensor.offset) {
            Ok(()) => Ok(buffer),
            Err(source) if source.kind() == io::ErrorKind::UnexpectedEof => {
                self.check_length()?;
                Err(Error::io("read", &self.path, source))
            }
            Err(source) => Err(Error::io("read", &self.path, source)),
        }
    }

    fn check_length(&self) -> Result<(), Error> {
        let metadata =
            self.file.metadata().map_err(|source| Error::io("read", &self.path, source))?;
        if metadata.len() < self.length {
            return Err(
                Error::Shrunk { expected: self.length, found: metadata.len() }.in_file(&self.path)
            );
        }
        Ok(())
    }
}

/// The length of a file with this header and these bytes of tensors, if operating systems count so
/// far.
pub(crate) fn file_length(header_bytes: u64, data_bytes: u64) -> Result<u64, Error> {
    let length = header_bytes.saturating_add(data_bytes);
    if length > FILE_BYTES_MAX {
        let what = "the length of the file";
        return Err(Error::TooLarge { what, value: length, limit: FILE_BYTES_MAX });
    }
    Ok(length)
}

/// Where the next tensor begins, after `bytes` more bytes of tensors and padding.
pub(crate) fn next_offset(tensor: &TensorSpec, offset: u64, bytes: u64) -> Result<u64, Error> {
    let end = offset.checked_add(bytes).filter(|&end| end <= FILE_BYTES_MAX);
    end.ok_or_else(|| Error::Shape {
        tensor: tensor.name.clone(),
        shape: tensor.shape.clone(),
        problem: "the file would take 2^63 bytes or more",
    })
}

/// Has `data` write the bytes of one tensor to `out`, and refuses more or fewer than `expected`.
pub(crate) fn write_data<W: Write + ?Sized>(
    out: &mut W,
    tensor: &str,
    expected: u64,
    data: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Error> {
    let mut counted = Counted { out, given: 0, expected };
    let result = data(&mut counted);
    if counted.given != expected && (result.is_ok() || counted.given > expected) {
        let given = counted.given;
        return Err(Error::WrongData { tensor: tensor.to_owned(), expected, given });
    }
    result.map_err(|source| Error::Write { source })
}

/// Passes bytes on and counts them; none beyond the expected number is passed on.
struct Counted<'a, W: ?Sized> {
    out: &'a mut W,
    given: u64,
    expected: u64,
}

impl<W: Write + ?Sized> Write for Counted<'_, W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let given = self.given.saturating_add(buffer.len() as u64);
        if given > self.expected {
            self.given = given;
            return Err(io::Error::other("more bytes than the tensor has"));
        }
        let written = self.out.write(buffer)?;
        self.given += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
