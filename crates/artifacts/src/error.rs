//! Everything that can be wrong with an artifact, with the facts and the remedy.

use std::io;
use std::path::PathBuf;

use crate::StoredType;
use crate::hash;

/// What is wrong with a file or folder, or with a call that was to read or write one.
///
/// Names that come from a file are printed with escapes, so that no file can write to a terminal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a call. Remedy: whatever `source` asks for (space, rights).
    #[error("cannot {action} {path}: {source}; {}", remedy(source))]
    Io {
        /// What was tried, as a verb: `open`, `read`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's own words.
        source: io::Error,
    },

    /// A header could not be read to its end. Becomes [`Error::Io`] where the file has a name.
    #[error("cannot read {what}: {source}; {}", remedy(source))]
    Unreadable {
        /// What was being read.
        what: &'static str,
        /// The system's own words.
        source: io::Error,
    },

    /// One named file is damaged or not what it claims to be; `source` says in what way.
    #[error("{path}: {source}")]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        source: Box<Self>,
    },

    /// The file does not begin as a GGUF file does. Remedy: give another file.
    #[error(
        "not a GGUF file: it begins with {found:02x?} instead of the letters GGUF; \
         check that this is the right file and that it was downloaded whole"
    )]
    NotGguf {
        /// The first four bytes.
        found: [u8; 4],
    },

    /// A GGUF file for big-endian machines. Remedy: convert it.
    #[error(
        "GGUF file in big-endian byte order (version {version}); \
         convert it to little-endian, for instance with gguf-convert-endian"
    )]
    BigEndian {
        /// The version, read in the other byte order.
        version: u32,
    },

    /// A GGUF version that is not read here. Remedy: convert the model again.
    #[error(
        "GGUF version {found} is not supported (2 and 3 are); \
         get a newer file of the model or convert it again"
    )]
    Version {
        /// The version in the file.
        found: u32,
    },

    /// The file ends, or the header limit is reached, before something that the header announces.
    #[error(
        "the file ends too early: {what} at byte {offset} needs {needed} bytes and only \
         {available} are left; it is cut short or damaged: download or copy it again"
    )]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Where it begins, in bytes from the start of the file.
        offset: u64,
        /// How many bytes it needs.
        needed: u64,
        /// How many bytes are there.
        available: u64,
    },

    /// A length or count is over a limit that no known model comes near.
    #[error(
        "{what} is {value}, more than the limit of {limit}; the file is damaged or was made to \
         do harm: get it from a source that you trust"
    )]
    TooLarge {
        /// What was counted or measured.
        what: &'static str,
        /// The value in the file.
        value: u64,
        /// The most that is accepted.
        limit: u64,
    },

    /// Text that is not valid UTF-8.
    #[error("{what} at byte {offset} is not valid UTF-8; the file is damaged: download it again")]
    NotUtf8 {
        /// Which text.
        what: &'static str,
        /// Where it begins, in bytes from the start of the file.
        offset: u64,
    },

    /// A name that may occur once occurs twice.
    #[error(
        "{what} {name:?} occurs twice, so its meaning is ambiguous; \
         get the file from a source that you trust"
    )]
    Duplicate {
        /// What has the name: `metadata key`, `tensor`.
        what: &'static str,
        /// The name.
        name: String,
    },

    /// A metadata value of a type that GGUF does not define.
    #[error(
        "metadata key {key:?} has the unknown value type {id}; \
         the file is damaged or of a newer format than this program knows"
    )]
    ValueType {
        /// The key.
        key: String,
        /// The type number in the file.
        id: u32,
    },

    /// An array of arrays, which no known model uses.
    #[error(
        "metadata key {key:?} holds an array of arrays, which is not supported; \
         convert the model again without that key"
    )]
    NestedArray {
        /// The key.
        key: String,
    },

    /// A truth value that is neither 0 nor 1.
    #[error(
        "the truth value of metadata key {key:?} is {byte} instead of 0 or 1; \
         the file is damaged: download it again"
    )]
    NotBool {
        /// The key.
        key: String,
        /// The byte in the file.
        byte: u8,
    },

    /// A metadata value is there but of another type than asked for.
    #[error(
        "metadata key {key:?} should be {expected} but is {found}; \
         convert the model again with a current converter"
    )]
    MetadataType {
        /// The key.
        key: String,
        /// What the reader needs.
        expected: &'static str,
        /// What the file holds.
        found: &'static str,
    },

    /// A tensor whose element type is not known, or was withdrawn from the format.
    #[error(
        "tensor {tensor:?} has the element type {dtype:?}, which is unknown or withdrawn; \
         get the model in a current type such as Q8_0, Q4_K or BF16"
    )]
    TensorType {
        /// The tensor.
        tensor: String,
        /// The type as the file gives it: a name, or a number.
        dtype: String,
    },

    /// A tensor shape that cannot be: a zero dimension, a size over 2^64, a torn block.
    #[error("tensor {tensor:?} has the impossible shape {shape:?}: {problem}; the file is damaged")]
    Shape {
        /// The tensor.
        tensor: String,
        /// Its shape, outermost dimension first.
        shape: Vec<u64>,
        /// What is impossible about it.
        problem: &'static str,
    },

    /// A number of elements that does not fill whole blocks, or whose bytes do not fit 64 bits.
    #[error(
        "{elements} elements of type {dtype} cannot be stored: \
         they must fill whole blocks of {block_elements} and less than 2^64 bytes"
    )]
    Elements {
        /// The element type.
        dtype: StoredType,
        /// How many elements.
        elements: u64,
        /// How many elements a block holds.
        block_elements: usize,
    },

    /// `general.alignment` is 0, not a power of two or too large.
    #[error(
        "general.alignment is {alignment}; it must be a power of two from 1 to {limit}; \
         the file is damaged"
    )]
    Alignment {
        /// The value in the file.
        alignment: u64,
        /// The largest that is accepted.
        limit: u64,
    },

    /// The length that a tensor's offsets state is not the length that its shape and type need.
    #[error(
        "tensor {tensor:?} states {stated} bytes but its shape and type need {expected}; \
         the file is damaged: download it again"
    )]
    TensorLength {
        /// The tensor.
        tensor: String,
        /// The length by its offsets.
        stated: u64,
        /// The length by its shape and element type.
        expected: u64,
    },

    /// A tensor begins between two multiples of the alignment.
    #[error(
        "tensor {tensor:?} begins at byte {offset}, which breaks the file's alignment of \
         {alignment} bytes; the file is damaged: download it again"
    )]
    Misaligned {
        /// The tensor.
        tensor: String,
        /// Where it begins, in bytes from the start of the file.
        offset: u64,
        /// The alignment, counted from the start of the data.
        alignment: u64,
    },

    /// Two tensors share bytes.
    #[error(
        "tensors {first:?} and {second:?} overlap in the file; \
         it is damaged or was made to do harm: get it from a source that you trust"
    )]
    Overlap {
        /// The tensor that begins first.
        first: String,
        /// The tensor that begins inside it.
        second: String,
    },

    /// Bytes that belong to no tensor and are no padding: another file could hide there.
    #[error(
        "{bytes} unclaimed bytes lie at byte {offset}, before {before}; \
         the file is damaged or hides something: get it from a source that you trust"
    )]
    Hole {
        /// Where they begin, in bytes from the start of the file.
        offset: u64,
        /// How many.
        bytes: u64,
        /// What follows: a tensor's name in quotes, or the end of the file.
        before: String,
    },

    /// A tensor reaches past the end of the file.
    #[error(
        "tensor {tensor:?} ends at byte {end} but the file has {file_length} bytes; \
         it was not downloaded whole: download it again"
    )]
    BeyondFile {
        /// The tensor.
        tensor: String,
        /// Where it would end.
        end: u64,
        /// The length of the file.
        file_length: u64,
    },

    /// A tensor that the file or folder does not hold.
    #[error("there is no tensor {tensor:?}; check that this is the right model")]
    MissingTensor {
        /// The tensor.
        tensor: String,
    },

    /// An index that names a file outside its folder, or one that is no shard.
    #[error(
        "the index names the file {name:?}, which is not a plain name that ends in .safetensors; \
         it was made to do harm or is damaged: get it from a source that you trust"
    )]
    ShardName {
        /// The name in the index.
        name: String,
    },

    /// An index that says a tensor lies in a shard that does not hold it.
    #[error(
        "the index says that tensor {tensor:?} lies in {shard:?}, but it does not; \
         index and shards are of different models: download them again together"
    )]
    WrongShard {
        /// The tensor.
        tensor: String,
        /// The shard that should hold it.
        shard: String,
    },

    /// A shard with a tensor that the index does not list.
    #[error(
        "tensor {tensor:?} is in a shard but not in the index; \
         index and shards are of different models: download them again together"
    )]
    NotInIndex {
        /// The tensor.
        tensor: String,
    },

    /// A header, index or manifest that is not the JSON it should be.
    #[error("{what} is not valid: {message}; the file is damaged: download it again")]
    Json {
        /// Which text.
        what: &'static str,
        /// Where and why, in the words of the JSON reader.
        message: String,
    },

    /// A digest that is not 64 lowercase hexadecimal digits.
    #[error("{text:?} is not a SHA-256 digest, which is 64 digits from 0 to 9 and a to f")]
    Digest {
        /// What stands in its place, cut after 80 characters.
        text: String,
    },

    /// Something has the name under which a folder was to land. Remedy: another name, or remove it.
    #[error("{path} is there already; choose another name, or remove it first")]
    AlreadyThere {
        /// The name.
        path: PathBuf,
    },

    /// What was written is in place, but the folder above could not be synced.
    #[error(
        "{path} is written and whole, but may be lost if the power fails now: {source}; \
         check the disk, then write it again"
    )]
    Unsettled {
        /// The file or folder that landed.
        path: PathBuf,
        /// The system's own words.
        source: io::Error,
    },

    /// A file name that could lead out of its folder or needs escapes.
    #[error(
        "{name:?} is not a plain file name: letters, digits, `.`, `-` and `_`, not first a dot, \
         at most 128 bytes"
    )]
    FileName {
        /// The name, cut after 128 characters.
        name: String,
    },

    /// A manifest that says the right things in another form than the one that is written.
    #[error(
        "the manifest is not in the form of version {expected} (it states version {version}); \
         it is damaged or of another version of this program: use an older copy of the folder"
    )]
    NotCanonical {
        /// The version that it states.
        version: u32,
        /// The version that is read here.
        expected: u32,
    },

    /// A file that the manifest lists is not there.
    #[error("the manifest lists this file but it is missing; use an older copy of the folder")]
    MissingFile,

    /// A file that the manifest does not list.
    #[error("the manifest does not list this file; remove it if it was put there by hand")]
    Unlisted,

    /// A file whose length is not the one in the manifest.
    #[error(
        "it has {found} bytes but the manifest says {expected}; it is damaged: use an older copy \
         of the folder"
    )]
    WrongLength {
        /// The length in the manifest.
        expected: u64,
        /// The length on disk.
        found: u64,
    },

    /// A file whose bytes are not those that were written.
    #[error(
        "its SHA-256 is {found} but the manifest says {expected}; it is damaged: use an older copy \
         of the folder"
    )]
    WrongDigest {
        /// The digest in the manifest.
        expected: hash::Digest,
        /// The digest of the bytes on disk.
        found: hash::Digest,
    },

    /// Too few checkpoints were to be kept.
    #[error(
        "{keep} checkpoints were to be kept, but one must stay readable while another is written; \
         keep {least} or more"
    )]
    KeepTooFew {
        /// How many were to be kept.
        keep: usize,
        /// The fewest.
        least: usize,
    },

    /// A step that no checkpoint can be named after.
    #[error("step {step} has no checkpoint; a run ends at step {limit}: begin another one")]
    StepTooLarge {
        /// The step.
        step: u64,
        /// The last one that has a name.
        limit: u64,
    },

    /// Something other than a folder has the name of one. Links to folders are not followed.
    #[error("it should be a folder but is not; move it away")]
    NotAFolder,

    /// `LATEST` names a checkpoint that is not there.
    #[error(
        "LATEST names this checkpoint but it is missing; restore it from a copy if you have one"
    )]
    MissingCheckpoint,

    /// `LATEST` is not one line with the name of a checkpoint.
    #[error("it does not name a checkpoint; it is damaged: the next save writes it anew")]
    LatestFile,

    /// There are checkpoints, and none is whole.
    #[error(
        "no checkpoint in {folder} is whole: {}; restore one from a copy, or move the folder away \
         to begin anew",
        listed(damage)
    )]
    NoWholeCheckpoint {
        /// The folder of the run.
        folder: PathBuf,
        /// What is wrong with `LATEST`, and with each checkpoint, newest first.
        damage: Vec<Self>,
    },

    /// A checkpoint was saved, but older ones could not be removed. Remedy: that of `source`.
    #[error("{path} is saved and whole, but older checkpoints could not be removed: {source}")]
    Surplus {
        /// The new checkpoint.
        path: PathBuf,
        /// What failed.
        source: Box<Self>,
    },

    /// The file became shorter after it was opened.
    #[error(
        "the file had {expected} bytes when it was opened and has {found} now; \
         something else writes to it: stop that and start again"
    )]
    Shrunk {
        /// The length when it was opened.
        expected: u64,
        /// The length now.
        found: u64,
    },

    /// The stream that a file is written to refuses. Remedy: whatever `source` asks for.
    #[error("cannot write the file: {source}; {}", remedy(source))]
    Write {
        /// The system's own words.
        source: io::Error,
    },

    /// The bytes given for a tensor are not as many as its shape and type need.
    #[error("tensor {tensor:?} needs {expected} bytes but {given} were given to be written")]
    WrongData {
        /// The tensor.
        tensor: String,
        /// By its shape and element type.
        expected: u64,
        /// What was given.
        given: u64,
    },

    /// An element type that the container to be written cannot hold.
    #[error("{container} files cannot hold elements of type {dtype} (tensor {tensor:?})")]
    NotStorable {
        /// The container format.
        container: &'static str,
        /// The tensor.
        tensor: String,
        /// Its element type.
        dtype: StoredType,
    },
}

impl Error {
    /// This error, with the file in which it was found.
    pub(crate) fn in_file(self, path: &std::path::Path) -> Self {
        match self {
            Self::Io { .. } | Self::InFile { .. } => self,
            Self::Unreadable { source, .. } => Self::io("read", path, source),
            other => Self::InFile { path: path.to_owned(), source: Box::new(other) },
        }
    }

    /// A refusal of the operating system.
    pub(crate) fn io(action: &'static str, path: &std::path::Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }
}

/// The first of several faults, and how many more there are.
fn listed(faults: &[Error]) -> String {
    let first = faults.first().map_or_else(String::new, Error::to_string);
    match faults.len().saturating_sub(1) {
        0 => first,
        more => format!("{first} (and {more} more)"),
    }
}

/// What a person can do about an error of the operating system.
fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound => "check the path",
        io::ErrorKind::PermissionDenied => "check who may read and write there",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room on that disk and try again"
        }
        io::ErrorKind::InvalidInput => "put a file there",
        io::ErrorKind::AlreadyExists => "remove it or choose another name",
        _ => "check the disk and try again",
    }
}
