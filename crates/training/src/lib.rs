//! From a corpus to a model that writes.
//!
//! 1. A [`Recipe`] says everything that decides what comes out: text, tokenizer, model, steps.
//! 2. A [`Trainer`] takes one step after the other: rows from a loader, forward and backward in
//!    micro-batches, clipping, a [`Schedule`], an [`Optimizer`](optimizer::Optimizer).
//! 3. [`metrics`] tells of every step, [`checkpoints`](checkpoint) keep what the run needs to go on.
//! 4. [`reward`], [`ppo`] and [`gate`] are the arithmetic of learning from people's rankings, as
//!    functions of arrays with one number [`PerToken`].
//!
//! The same recipe, text and seed give the same bytes: of weights, optimizer, and metrics; on any
//! number of threads, in micro-batches of any size, stopped and resumed or not.
//!
//! The crate knows no clock and no terminal: an [`Observer`] hears what happens.

#![forbid(unsafe_code)]

pub mod candidates;
pub mod checkpoint;
pub mod error;
pub mod fine_tune;
pub mod gate;
pub mod metrics;
pub mod network;
pub mod optimizer;
pub mod plan;
pub mod ppo;
pub mod recipe;
pub mod reward;
pub mod run_folder;
pub mod schedule;
pub mod serving;
pub mod text;

mod average;
#[cfg(test)]
mod conformance;
mod learner;
mod packed;
mod per_token;
mod stage;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tiny;
mod trainer;
mod validation;

pub use error::Error;
pub use per_token::PerToken;
pub use recipe::Recipe;
pub use run_folder::RunFolder;
pub use schedule::Schedule;
pub use stage::{Begin, Stage};
pub use trainer::{Ended, Event, Observer, Trainer, TrainerOptions};
