//! The engine alone: a batch that reads or writes, timed.

use std::sync::Arc;
use std::time::Instant;

use model::{Batch, BatchOptions, Event, Sampling, SequenceRequest};

use super::super::Failure;
use super::Size;
use crate::loading::Weights;

/// What is measured with which options.
pub(super) struct Setup<'a> {
    pub(super) batch: BatchOptions,
    pub(super) size: Size,
    /// Hears how many tokens of all measurements are done.
    pub(super) advance: &'a mut dyn FnMut(u64),
}

/// Tokens per second of each repetition while `streams` sequences write `tokens` tokens each.
pub(super) fn decode(weights: &Weights, setup: Setup<'_>) -> Result<Vec<f64>, Failure> {
    // One token of prompt, so that nothing but writing is timed.
    let tokens = setup.size.tokens;
    repeat(weights, setup, 1, tokens)
}

/// Tokens per second of each repetition while `streams` prompts of `tokens` tokens are read.
pub(super) fn prefill(weights: &Weights, setup: Setup<'_>) -> Result<Vec<f64>, Failure> {
    let tokens = setup.size.tokens;
    repeat(weights, setup, tokens, 1)
}

fn repeat(
    weights: &Weights,
    setup: Setup<'_>,
    prompt_tokens: usize,
    max_tokens: usize,
) -> Result<Vec<f64>, Failure> {
    let Setup { batch: options, size, advance } = setup;
    let mut batch = Batch::new(Arc::clone(&weights.model), options)?;
    // A prompt counts when its one token is written.
    let weight = if max_tokens == 1 { prompt_tokens } else { 1 };
    let mut done = 0;
    let mut samples = Vec::with_capacity(size.repetitions);
    for repetition in 0..=size.repetitions {
        let start = Instant::now();
        for stream in 0..size.streams {
            batch.add(SequenceRequest {
                prompt: tokens(weights.model.config().vocab, prompt_tokens, stream),
                max_tokens,
                sampling: Sampling::greedy(),
                ..SequenceRequest::default()
            })?;
        }
        let counted =
            weight * drain(&mut batch, |written| advance(done + (weight * written) as u64))?;
        let seconds = start.elapsed().as_secs_f64();
        done += counted as u64;
        // The first repetition warms caches and the thread pool.
        if repetition > 0 {
            samples.push(f64::from(u32::try_from(counted)?) / seconds);
        }
    }
    Ok(samples)
}

/// Runs the batch until nothing is live, and counts the tokens that were written.
fn drain(batch: &mut Batch, mut advance: impl FnMut(usize)) -> Result<usize, Failure> {
    let mut written = 0;
    while !batch.is_idle() {
        for event in batch.step()? {
            match event {
                Event::Token { .. } => written += 1,
                Event::Failed { error, .. } => return Err(error.into()),
                _ => {}
            }
        }
        advance(written);
    }
    Ok(written)
}

/// A prompt that is the same each time: the multiples of a prime, within the vocabulary.
fn tokens(vocab: usize, count: usize, stream: usize) -> Vec<u32> {
    let vocab = vocab as u64;
    (1..=count as u64)
        .map(|i| {
            let token = (i * 7919 + stream as u64 * 104_729) % vocab;
            u32::try_from(token).unwrap_or(0)
        })
        .collect()
}
