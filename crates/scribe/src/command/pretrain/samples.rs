//! What a trained model writes, to be looked at.

use std::path::Path;
use std::sync::Arc;

use artifacts::disk::RealDisk;
use artifacts::folder;
use engine::Device;
use model::{Batch, BatchOptions, Event, Model, Sampling, SequenceRequest, Source};
use tokenizer::Tokenizer;
use training::{Recipe, RunFolder};

use super::super::Failure;
use crate::loading::{self, SamplingDefaults};
use crate::run_state::{SAMPLES_FILE, Sample};

/// Tokens that are written after each beginning.
const SAMPLE_TOKENS: usize = 100;
/// How they are drawn: near what the model finds likely, and not the same words again.
const TEMPERATURE: f32 = 0.8;
const TOP_P: f32 = 0.95;

/// How tokens are drawn from a model that has learned to write and no more.
pub(in crate::command) fn advice() -> SamplingDefaults {
    SamplingDefaults {
        temperature: Some(TEMPERATURE),
        top_p: Some(TOP_P),
        ..SamplingDefaults::default()
    }
}

/// Lets the model of a checkpoint go on from the recipe's beginnings, and keeps what it wrote.
pub(super) fn write(
    checkpoint: &Path,
    run: &RunFolder,
    recipe: &Recipe,
    device: &Device,
) -> Result<Vec<Sample>, Failure> {
    let mut pen = Pen::open(checkpoint, device)?;
    let sampling = Sampling { seed: recipe.seed, ..advice().complete() };
    let mut samples = Vec::new();
    for prompt in &recipe.pretrain.samples {
        let mut tokens: Vec<u32> = pen.tokenizer.beginning_of_text().into_iter().collect();
        tokens.extend(pen.tokenizer.encode(prompt));
        // Of a long beginning the model sees the end, and has room to go on.
        let tokens = tokens.split_off(tokens.len().saturating_sub(pen.context_tokens / 2));
        let text = pen.go_on(tokens, SAMPLE_TOKENS, sampling.clone())?;
        samples.push(Sample { prompt: prompt.clone(), text });
    }
    let json = serde_json::to_vec_pretty(&samples)?;
    folder::land_bytes(&RealDisk, &run.pretrained().join(SAMPLES_FILE), &json)?;
    Ok(samples)
}

/// A model that writes one text after the other.
#[derive(Debug)]
pub(in crate::command) struct Pen {
    batch: Batch,
    pub(in crate::command) tokenizer: Tokenizer,
    pub(in crate::command) context_tokens: usize,
}

impl Pen {
    /// Reads a checkpoint.
    pub(in crate::command) fn open(checkpoint: &Path, device: &Device) -> Result<Self, Failure> {
        let model = Model::load(device, &Source::detect(checkpoint), &mut |_, _| ())?;
        Self::new(Arc::new(model), loading::read_tokenizer(checkpoint)?)
    }

    /// Writes with a model that is there.
    pub(in crate::command) fn new(
        model: Arc<Model>,
        tokenizer: Tokenizer,
    ) -> Result<Self, Failure> {
        let context_tokens = model.config().context_tokens;
        let options = BatchOptions { slots: 1, context_tokens, ..BatchOptions::default() };
        Ok(Self { batch: Batch::new(model, options)?, tokenizer, context_tokens })
    }

    /// Writes up to so many tokens after a prompt that leaves room for one.
    pub(in crate::command) fn go_on(
        &mut self,
        prompt: Vec<u32>,
        most: usize,
        sampling: Sampling,
    ) -> Result<String, Failure> {
        let max_tokens = self.context_tokens.saturating_sub(prompt.len()).min(most);
        let stop_tokens = self.tokenizer.end_of_turn().to_vec();
        self.batch.add(SequenceRequest {
            prompt,
            max_tokens,
            sampling,
            stop_tokens,
            ..SequenceRequest::default()
        })?;
        let mut written = Vec::new();
        while !self.batch.is_idle() {
            for event in self.batch.step()? {
                match event {
                    Event::Token { token, .. } => written.push(token),
                    Event::Failed { error, .. } => return Err(error.into()),
                    _ => {}
                }
            }
        }
        Ok(self.tokenizer.decode(&written))
    }
}
