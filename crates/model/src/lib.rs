//! The transformer: tokens in, logits out; cache, sampling, and the batch that decodes many
//! sequences at once.
//!
//! 1. [`Config`]: the shape of a model, from `config.json` or GGUF metadata, checked.
//! 2. [`Model::load`]: weights from a [`Source`], tensor by tensor into the engine's matrices.
//! 3. [`MemoryPlan`]: what a model and its batch will take, known from its [`Outline`] alone.
//! 4. [`Batch`]: [`SequenceRequest`]s are let in, each [`step`](Batch::step) brings [`Event`]s.
//! 5. [`Sampling`]: how each token is drawn.
//! 6. [`Adapter`]: what was learned beside a model, as small files; computed unmerged or merged.
//! 7. [`trainable::Trainable`]: a model that learns; [`export::Export`]: a checkpoint written anew
//!    for other programs.
//!
//! This crate never sees text. What a sequence gets depends on its own request alone: not on what
//! else runs in the batch, on chunks, caches or threads.
//!
//! ```no_run
//! use std::sync::Arc;
//! use engine::{Device, DeviceOptions};
//! use model::{Batch, BatchOptions, Event, Model, Sampling, SequenceRequest, Source};
//!
//! let device = Device::cpu(&DeviceOptions::default())?;
//! let source = Source::Gguf("model.gguf".into());
//! let model = Arc::new(Model::load(&device, &source, &mut |_read, _total| ())?);
//! let mut batch = Batch::new(model, BatchOptions::default())?;
//! batch.add(SequenceRequest {
//!     prompt: vec![1, 2, 3],
//!     max_tokens: 16,
//!     sampling: Sampling::greedy(),
//!     ..SequenceRequest::default()
//! })?;
//! while !batch.is_idle() {
//!     for event in batch.step()? {
//!         if let Event::Token { token, .. } = event {
//!             println!("{token}");
//!         }
//!     }
//! }
//! # Ok::<(), model::Error>(())
//! ```

#![forbid(unsafe_code)]

pub mod adapter;
mod batch;
mod block;
mod checkpoint;
pub mod config;
mod error;
pub mod export;
mod gpt;
mod inventory;
mod memory;
mod names;
mod outline;
mod pages;
mod prefix;
mod request;
mod sampler;
mod sampling;
#[cfg(test)]
mod testing;
pub mod trainable;
mod weights;
mod workspace;

pub use adapter::{Adapter, AdapterOptions};
pub use batch::{Batch, BatchOptions, BatchStats, PREFILL_CHUNK_MAX, SLOTS_MAX};
pub use checkpoint::Source;
pub use config::Config;
pub use error::Error;
pub use gpt::{Adapted, Model};
pub use memory::MemoryPlan;
pub use outline::Outline;
pub use request::{
    ALTERNATIVES_MAX, Event, LogprobsOf, STOP_TOKENS_MAX, SequenceId, SequenceRequest, StopReason,
    TokenLogprob,
};
pub use sampling::{LOGIT_BIAS_MAX, REPETITION_PENALTY_MIN, Sampling, TEMPERATURE_MIN};
