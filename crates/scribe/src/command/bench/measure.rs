//! The engine alone: a batch that reads or writes, timed.

use std::sync::Arc;
use std::time::Instant;

use model::{Batch, BatchOptions, Event, Sampling, SequenceRequest};

use super::super::Failure;
use super::Size;
use crate::config::EngineOptions;
use crate::loading::Weights;

/// What is measured with which options.
pub(super) struct Setup<'a> {
    pub(super) engine: &'a EngineOptions,
    pub(super) batch: BatchOptions,
    pub(super) size: Size,
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
    let Setup { engine, batch: mut options, size } = setup;
    if engine.context_tokens.is_none() {
        options.context_tokens = prompt_tokens + max_tokens;
        options.cache_bytes = engine.cache_bytes.map(|size| size.0);
    }
    options.prefix_reuse = false;
    let mut batch = Batch::new(Arc::clone(&weights.model), options)?;
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
        let written = drain(&mut batch)?;
        let seconds = start.elapsed().as_secs_f64();
        let counted = if max_tokens == 1 { prompt_tokens * size.streams } else { written };
        // The first repetition warms caches and the thread pool.
        if repetition > 0 {
            samples.push(f64::from(u32::try_from(counted)?) / seconds);
        }
    }
    Ok(samples)
}

/// Runs the batch until nothing is live, and counts the tokens that were written.
fn drain(batch: &mut Batch) -> Result<usize, Failure> {
    let mut written = 0;
    while !batch.is_idle() {
        for event in batch.step()? {
            match event {
                Event::Token { .. } => written += 1,
                Event::Failed { error, .. } => return Err(error.into()),
                _ => {}
            }
        }
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
