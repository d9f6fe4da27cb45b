//! How good is a model? One number per question, with its baseline.
//!
//! 1. [`BitsPerByte`] is how many bits a text takes, for each of its bytes: the lower, the better.
//!    It is the same unit for models of any vocabulary, and for what knows no tokens at all.
//! 2. [`ngram`] counts runs of tokens, which is how language was modeled before transformers.
//! 3. [`compression`] asks gzip and xz, and [`baselines`] all three for the [`Texts`] of a corpus.
//! 4. A [`Reader`](bits_per_byte::Reader) measures a model, on the same texts, and
//! 5. by multiple choice: [`likelihood`].
//! 6. [`gold`] is a judge whose taste is known, for tests and for teaching; those of [`flawed`] are
//!    easily pleased, to try what is to notice that.

#![forbid(unsafe_code)]

pub mod bits_per_byte;
pub mod compression;
pub mod drift;
pub mod flawed;
pub mod gold;
pub mod likelihood;
pub mod ngram;

mod baselines;
mod bits;
mod error;
mod passages;
mod texts;

pub use baselines::{ORDER, baselines};
pub use bits::BitsPerByte;
pub use error::Error;
pub use texts::{TEXTS_BYTES_MAX, Texts, read_texts};
