//! One step: rows forward and backward in micro-batches, gradients clipped, weights moved.

use std::path::Path;

use artifacts::hash::Digest;
use corpus::RowBatch;
use engine::Device;
use engine::ops::gradient_norm;
use model::Adapter;
use model::trainable::{MicroBatch, Trainable};

use crate::checkpoint::{STATE_FILE, digest_of};
use crate::optimizer::Optimizer;
use crate::{Begin, Error, Stage, TrainerOptions};

#[cfg(test)]
mod tests;

/// Tokens that go through the model at once where nothing else is asked for.
const MICRO_TOKENS: usize = 2_048;

/// A model, its optimizer, and how steps are cut.
#[derive(Debug)]
pub(crate) struct Learner {
    pub device: Device,
    pub model: Trainable,
    pub optimizer: Optimizer,
    /// Gradients are shortened to this norm.
    pub clip: f64,
    /// Rows that go through the model at once.
    pub micro_rows: usize,
    /// The weights beside which an adapter learns, if one does.
    pub base: Option<Digest>,
}

/// What a step saw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    /// Mean loss of the learned tokens before the update.
    pub loss: f64,
    pub gradient_norm: f64,
    /// Learned tokens.
    pub tokens: u64,
    /// Whether the weights were moved: not where a gradient was not finite.
    pub updated: bool,
}

impl Learner {
    /// Opens the model and optimizer of a stage, from one of its checkpoints or at its beginning.
    pub(crate) fn open(
        stage: &Stage,
        options: &TrainerOptions,
        checkpoint: Option<&Path>,
    ) -> Result<Self, Error> {
        let device = &options.device;
        let precision = stage.recipe.precision.of_products();
        let mut base_digest = None;
        let mut model = match (checkpoint, &stage.begin) {
            (_, Begin::Adapter { base, options }) => {
                let base = Trainable::read(device, base, precision)?;
                base_digest = Some(digest_of(base.weights())?);
                let config = base.config();
                let adapter = match checkpoint {
                    Some(path) => Adapter::read(device, config, path)?,
                    None => Adapter::new(device, config, options, stage.seed)?,
                };
                base.with_adapter(adapter)?
            }
            (Some(path), _) => Trainable::read(device, path, precision)?,
            (None, Begin::Weights(path)) => Trainable::read(device, path, precision)?,
            (None, Begin::Random(config)) => Trainable::new(device, config, precision, stage.seed)?,
        };
        if stage.recipe.recompute {
            model = model.with_recomputed_layers()?;
        }
        let moves = stage.recipe.optimizer_options();
        let mut optimizer = Optimizer::new(device, model.parameters(), moves);
        if let Some(path) = checkpoint {
            check_shape(path, &model, &stage.begin)?;
            optimizer.read(&path.join(STATE_FILE), model.parameters())?;
        }
        let micro_rows = micro_rows(options.micro_rows, stage.recipe.rows, stage.row_tokens);
        let clip = stage.recipe.clip;
        let (device, base) = (device.clone(), base_digest);
        Ok(Self { device, model, optimizer, clip, micro_rows, base })
    }

    /// Takes a step, counted from 1.
    pub(crate) fn step(&mut self, batch: &RowBatch, step: u64, rate: f64) -> Outcome {
        let tokens = batch.learned.iter().filter(|&&learned| learned).count();
        let scale = mean_of(tokens);
        self.model.clear_gradients();
        let mut loss = 0.0;
        for part in Parts::new(batch, self.micro_rows) {
            let losses = self.model.accumulate(&part.micro_batch(scale));
            loss += losses.losses.iter().map(|&loss| f64::from(loss)).sum::<f64>();
        }
        let norm = gradient_norm::norm(&self.device, self.model.gradients());
        let factor = gradient_norm::clip_factor(norm, self.clip).filter(|_| loss.is_finite());
        if let Some(factor) = factor {
            self.optimizer.step(self.model.weights_and_gradients(), step, rate, factor);
            self.model.refresh();
        }
        let tokens = tokens as u64;
        Outcome { loss, gradient_norm: norm, tokens, updated: factor.is_some() }
    }

    /// The log-probability of every target.
    pub(crate) fn logprobs(&mut self, batch: &RowBatch) -> Vec<f32> {
        let mut logprobs = Vec::with_capacity(batch.targets.len());
        for part in Parts::new(batch, self.micro_rows) {
            logprobs.extend(self.model.losses(&part.micro_batch(1.0)).logprobs);
        }
        logprobs
    }

    /// Rows that go through the model at once.
    pub(crate) fn micro_rows(&self) -> usize {
        self.micro_rows
    }
}

/// Refuses the checkpoint of a model of another shape.
fn check_shape(path: &Path, model: &Trainable, begin: &Begin) -> Result<(), Error> {
    match begin {
        Begin::Random(config) if **config != *model.config() => Err(Error::OtherCheckpoint {
            path: path.to_owned(),
            problem: "its model has another shape than the recipe's".to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Rows that go through the model at once: as many as are asked for, or as fit well.
pub(crate) fn micro_rows(asked: Option<usize>, rows: usize, row_tokens: usize) -> usize {
    asked.unwrap_or(MICRO_TOKENS / row_tokens).clamp(1, rows)
}

/// What makes a sum over so many tokens a mean.
#[expect(clippy::cast_precision_loss, reason = "a batch has fewer than 2^26 tokens")]
pub(crate) fn mean_of(tokens: usize) -> f32 {
    1.0 / tokens.max(1) as f32
}

/// The micro-batches of a batch.
pub(crate) struct Parts<'a> {
    batch: &'a RowBatch,
    micro_rows: usize,
    row: usize,
}

/// A micro-batch's own lists.
pub(crate) struct Part<'a> {
    batch: &'a RowBatch,
    range: std::ops::Range<usize>,
    positions: Vec<u32>,
    weights: Vec<f32>,
}

impl<'a> Parts<'a> {
    pub(crate) fn new(batch: &'a RowBatch, micro_rows: usize) -> Self {
        Self { batch, micro_rows, row: 0 }
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        let Self { batch, micro_rows, row } = *self;
        let end = batch.rows.min(row + micro_rows);
        (row < end).then(|| {
            self.row = end;
            Part::new(batch, row * batch.time..end * batch.time)
        })
    }
}

impl<'a> Part<'a> {
    fn new(batch: &'a RowBatch, range: std::ops::Range<usize>) -> Self {
        let columns = (0..batch.time).cycle();
        let starts = &batch.segment_starts[range.clone()];
        let place = |(column, &start): (usize, &u32)| {
            // A column is below TIME_MAX, and a segment begins at or before it.
            u32::try_from(column).unwrap_or(u32::MAX) - start
        };
        let positions = columns.zip(starts).map(place).collect();
        let learned = &batch.learned[range.clone()];
        let weights = learned.iter().map(|&learned| f32::from(u8::from(learned))).collect();
        Self { batch, range, positions, weights }
    }

    pub(crate) fn micro_batch(&self, scale: f32) -> MicroBatch<'_> {
        MicroBatch {
            tokens: &self.batch.inputs[self.range.clone()],
            positions: &self.positions,
            targets: &self.batch.targets[self.range.clone()],
            weights: &self.weights,
            scale,
            temperature: 1.0,
        }
    }
}
