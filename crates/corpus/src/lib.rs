//! Documents, cleaned, split, packed into shards of tokens, read in batches.
//!
//! 1. [`sources`] reads documents row by row from text, Markdown and JSON lines, plain or zstd.
//! 2. [`clean`] makes their text even, or says why it is dropped; [`language`] guesses what it is in.
//! 3. [`weight`] decides by hash how often a document is taken, [`deduplicate`] drops what was there
//!    before, and [`split`] decides by hash whether it is for training or validation.
//! 4. [`demonstration`] and the tokenizer turn it into tokens, which [`shard`] packs into files.
//! 5. [`Corpus::build`] does all that and writes a folder whole, with a [`Report`] of what was kept
//!    and what was dropped and why.
//! 6. A [`Loader`] reads the shards in batches, in an order that a seed decides.
//!
//! The crate gets paths and readers; it fetches nothing. The same sources, options and tokenizer
//! give the same bytes, on any number of threads.
//!
//! ```
//! use corpus::{BuildOptions, Corpus, LoaderOptions, Packing, Source, Split};
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("poem.txt");
//! # std::fs::write(&path, "hi hi hi hi hi hi hi hi hi hi hi hi")?;
//! # let out = folder.path().join("2-corpus");
//! # let merges = r#"["h i"]"#;
//! # let json = format!(r#"{{"model": {{"type": "BPE", "vocab": {{"h": 0, "i": 1, "hi": 2, "Ġ": 3}},
//! #     "merges": {merges}}}, "pre_tokenizer": {{"type": "ByteLevel", "add_prefix_space": false}},
//! #     "added_tokens": []}}"#).into_bytes();
//! # let tokenizer = tokenizer::Tokenizer::from_json(&json)?;
//! let options = BuildOptions { validation_ppm: 0, ..BuildOptions::new(vec![Source::text("poem", path)]) };
//! let report = Corpus::build(&options, &tokenizer, &out, &mut |_| ())?;
//! assert_eq!(report.train.documents, 1);
//!
//! let corpus = Corpus::open(&out)?;
//! let mut loader = corpus.loader(
//!     Split::Train,
//!     LoaderOptions { time: 8, seed: 1, packing: Packing::Stream },
//! )?;
//! let batch = loader.next_batch(2)?;
//! assert_eq!(batch.inputs.len(), 2 * 8);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

pub mod clean;
pub mod deduplicate;
pub mod demonstration;
pub mod language;
pub mod shard;
pub mod sources;
pub mod split;
pub mod weight;

mod build;
mod document;
mod documents;
mod error;
mod folder;
mod loader;
mod mix;
mod permutation;
mod prepare;
mod prompts;
mod report;
mod threads;

pub use build::{BuildOptions, Progress, SOURCES_MAX};
pub use document::{Content, Document, Fingerprint, Place};
pub use documents::Documents;
pub use error::{Error, ShardFault};
pub use folder::{Corpus, Facts, SHARDS_MAX, tokenizer_digest};
pub use loader::{BATCH_TOKENS_MAX, Loader, LoaderOptions, Packing, Position, RowBatch, TIME_MAX};
pub use prompts::{PROMPTS_MAX, Prompts};
pub use report::{DropReason, Report, RowSample, SourceReport, SplitReport};
pub use sources::{BadRow, Source};
pub use split::Split;
pub use weight::Weight;
