//! What a step of optimization makes smaller, with its gradient in closed form.
//!
//! Losses and figures here are *shares*: each is a sum over the tokens that are given, divided by the
//! tokens of the whole minibatch, which the caller says. Shares of micro-batches add up to the
//! minibatch's mean, and so do their gradients, however it was divided; a mean of means would count
//! tokens of short completions more.

mod entropy;
mod policy;
mod value;

pub use entropy::{d_entropy, entropy};
pub use policy::{PolicyLoss, PolicyToken, SampledToken, Tokens, policy, policy_token};
pub use value::{ForetoldToken, ValueLoss, ValueToken, Values, value, value_token};

use crate::per_token::count;

/// One over the tokens of a minibatch.
///
/// # Panics
///
/// Panics if there are fewer of them than are given.
fn share_of(given: usize, tokens: usize) -> f64 {
    assert!((1..=tokens).contains(&given), "{given} tokens of a minibatch of {tokens}");
    1.0 / count(tokens)
}

/// How far a ratio or a value may count: above 0.
///
/// # Panics
///
/// Panics if it is not.
fn assert_clip_range(clip_range: f64) {
    assert!(clip_range > 0.0, "a clip range of {clip_range}");
}
