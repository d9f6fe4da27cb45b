//! One turn of a conversation, and the queue that serves many.
//!
//! 1. [`turn`] writes a conversation as tokens and makes it fit ([`context`]).
//! 2. [`Generator`] queues the request, and one thread decodes all live requests in one batch.
//! 3. [`stream`] turns sampled tokens into text: whole characters, nothing of a stop string.
//! 4. [`Stream`] hands [`Event`]s to whoever asked; dropping it cancels the request.

#![forbid(unsafe_code)]

pub mod context;
mod error;
mod event;
mod generator;
pub mod stream;
pub mod turn;

pub use error::{Error, SubmitError};
pub use event::{Event, Stream, Usage};
pub use generator::{
    GenerationRequest, Generator, GeneratorOptions, GeneratorStats, STOP_BYTES_MAX, STOPS_MAX,
    derived_seed,
};
pub use model::{Sampling, StopReason};
pub use stream::TokenInfo;
