//! The transformer: tokens in, logits out; cache, sampling, and the batch that decodes many sequences at once.
//!
//! 1. [`Config`]: the shape of a model, from `config.json` or GGUF metadata, checked.
//! 2. [`SequenceRequest`] and [`Sampling`]: a prompt and how to continue it, in tokens.
//! 3. [`Event`]: what each step of the batch brings for each sequence.
//!
//! This crate never sees text.

#![forbid(unsafe_code)]

mod checkpoint;
pub mod config;
mod error;
mod names;
mod pages;
mod prefix;
mod request;
mod sampling;
mod weights;

pub use config::Config;
pub use error::Error;
pub use request::{
    ALTERNATIVES_MAX, Event, STOP_TOKENS_MAX, SequenceId, SequenceRequest, StopReason, TokenLogprob,
};
pub use sampling::{LOGIT_BIAS_MAX, Sampling};
