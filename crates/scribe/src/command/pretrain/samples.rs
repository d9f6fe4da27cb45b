//! What a trained model writes, to be looked at.

use std::path::Path;
use std::sync::Arc;

use artifacts::disk::RealDisk;
use artifacts::folder;
use model::{Batch, BatchOptions, Event, Model, Sampling, SequenceRequest, Source};
use training::{Recipe, RunFolder};

use super::super::Failure;
use crate::config::DeviceArguments;
use crate::loading;
use crate::run_state::{SAMPLES_FILE, Sample};

/// Tokens that are written after each beginning.
const SAMPLE_TOKENS: usize = 100;
/// How they are drawn: near what the model finds likely, and not the same words again.
const TEMPERATURE: f32 = 0.8;
const TOP_P: f32 = 0.95;

/// Lets the model of a checkpoint go on from the recipe's beginnings, and keeps what it wrote.
pub(super) fn write(
    checkpoint: &Path,
    run: &RunFolder,
    recipe: &Recipe,
    device: &DeviceArguments,
) -> Result<Vec<Sample>, Failure> {
    let device = engine::Device::cpu(&device.options())?;
    let model = Model::load(&device, &Source::detect(checkpoint), &mut |_, _| ())?;
    let tokenizer = loading::read_tokenizer(checkpoint)?;
    let context_tokens = model.config().context_tokens;
    let options = BatchOptions { slots: 1, context_tokens, ..BatchOptions::default() };
    let mut batch = Batch::new(Arc::new(model), options)?;
    let mut samples = Vec::new();
    for prompt in &recipe.pretrain.samples {
        let mut tokens: Vec<u32> = tokenizer.beginning_of_text().into_iter().collect();
        tokens.extend(tokenizer.encode(prompt));
        // Of a long beginning the model sees the end, and has room to go on.
        let tokens = tokens.split_off(tokens.len().saturating_sub(context_tokens / 2));
        let room = context_tokens - tokens.len();
        let sampling = Sampling {
            temperature: TEMPERATURE,
            top_p: TOP_P,
            seed: recipe.seed,
            ..Sampling::default()
        };
        let written = go_on(&mut batch, tokens, room.min(SAMPLE_TOKENS), sampling, &tokenizer)?;
        samples.push(Sample { prompt: prompt.clone(), text: tokenizer.decode(&written) });
    }
    let json = serde_json::to_vec_pretty(&samples)?;
    folder::land_bytes(&RealDisk, &run.pretrained().join(SAMPLES_FILE), &json)?;
    Ok(samples)
}

fn go_on(
    batch: &mut Batch,
    prompt: Vec<u32>,
    max_tokens: usize,
    sampling: Sampling,
    tokenizer: &tokenizer::Tokenizer,
) -> Result<Vec<u32>, Failure> {
    let stop_tokens = tokenizer.end_of_turn().to_vec();
    batch.add(SequenceRequest {
        prompt,
        max_tokens,
        sampling,
        stop_tokens,
        ..SequenceRequest::default()
    })?;
    let mut written = Vec::new();
    while !batch.is_idle() {
        for event in batch.step()? {
            match event {
                Event::Token { token, .. } => written.push(token),
                Event::Failed { error, .. } => return Err(error.into()),
                _ => {}
            }
        }
    }
    Ok(written)
}
