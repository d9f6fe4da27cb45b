//! What is on disk and how it gets there whole.
//!
//! 1. [`gguf`] and [`safetensors`] read and write the two containers that weights come in. A file
//!    is treated as hostile: every length is checked against the file before anything is allocated.
//! 2. [`StoredType`] names every element type that such a file may hold, with its block layout.
//! 3. [`hash`] computes the SHA-256 of files and streams.
//! 4. [`open_file`] opens what somebody else put on the disk, without waiting for anything.
//! 5. [`folder`] lands files and folders whole on a [`disk`], real or simulated.
//! 6. [`checkpoints`] keeps the newest states of a training run, one of them always readable.
//!
//! ```
//! use artifacts::StoredType;
//! use artifacts::gguf::{self, Gguf, Metadata, Value};
//! use artifacts::tensors::TensorSpec;
//!
//! let mut metadata = Metadata::new();
//! metadata.insert("general.architecture", Value::String("llama".to_owned()))?;
//! let tensors = [TensorSpec::new("output_norm.weight", StoredType::F32, &[2])];
//! let mut file = Vec::new();
//! gguf::write(&mut file, &metadata, &tensors, |_, out| out.write_all(&[0; 8]))?;
//!
//! let header = Gguf::parse(&file, file.len() as u64)?;
//! assert_eq!(header.metadata().str("general.architecture")?, Some("llama"));
//! assert_eq!(header.tensors()[0].shape, [2]);
//! # Ok::<(), artifacts::Error>(())
//! ```

#![forbid(unsafe_code)]

mod error;
mod stored_type;

pub mod checkpoints;
pub mod disk;
pub mod folder;
pub mod gguf;
pub mod hash;
pub mod safetensors;
pub mod tensors;

mod cursor;
mod json;
mod outside;
mod plain_name;
mod shown;

pub use error::Error;
pub use outside::{TEXT_BYTES_MAX, open_file, read_text};
pub use shown::{shown, shown_lines};
pub use stored_type::StoredType;
