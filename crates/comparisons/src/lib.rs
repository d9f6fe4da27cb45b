//! What people preferred: prompts, completions, rankings.
//!
//! 1. A [`Candidate`] is a prompt with its completions; a labeler's [`Judgment`] of it makes it a
//!    [`Comparison`], whose [`Ranking`] gives the pairs that a reward model learns from.
//! 2. A [`store::Store`] keeps comparisons in an append-only file; what it has acknowledged
//!    survives a crash, and deleted rows can be traced to what was made from them.
//! 3. [`feedback`] makes judgments of thumbs, edits and regenerations.
//! 4. [`formats`] reads and writes comparisons in the formats of others.
//! 5. A [`queue::Queue`] says whom to ask about what next; [`agreement`] how far labelers agree.
//!
//! The crate sees no model and no clock: times are given to it.
//!
//! ```
//! use comparisons::formats::{self, Judged, ReadOptions};
//! use comparisons::store::Store;
//!
//! let file = br#"{"prompt": "2 + 2 =", "chosen": " 4", "rejected": " about 5"}"#;
//! let options =
//!     ReadOptions { labeler: "ada", from: "sums", time_ms: 0, labelers: None, decode: None };
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("comparisons.jsonl");
//! let (mut store, _) = Store::open(&path)?;
//! let imported = store.import(|import| {
//!     let report = formats::read(&file[..], None, &options, |judged| match judged {
//!         Judged::Comparison(comparison) => import.add(comparison),
//!         _ => Ok(()),
//!     })?;
//!     assert_eq!(report.bad_rows(), 0);
//!     Ok::<(), comparisons::Error>(())
//! })?;
//! assert_eq!((imported.added, store.count()), (1, 1));
//! store.for_each(|_, comparison| {
//!     assert_eq!(comparison.pairs().next().map(|pair| pair.chosen), Some(" 4"));
//!     Ok::<(), comparisons::Error>(())
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

pub mod store;

pub mod feedback;
pub mod formats;

pub mod agreement;
pub mod queue;

mod candidate;
mod comparison;
mod error;
mod prompt;
mod ranking;
mod refusal;

pub use candidate::{
    COMPLETIONS_MAX, Candidate, CandidateId, Completion, NAME_BYTES_MAX, Origin, Sampling,
    TOKENS_MAX,
};
pub use comparison::{Comparison, Judgment, PairOfTexts, REASON_BYTES_MAX, check_name};
pub use error::Error;
pub use prompt::{MESSAGES_MAX, Message, Prompt, Role, TEXT_BYTES_MAX};
pub use ranking::{Pair, Ranking, Relation};
pub use refusal::Refusal;
