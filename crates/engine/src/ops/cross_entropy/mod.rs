//! Softmax cross-entropy of rows of logits, and its gradient in place of the logits.
//!
//! With `factor[t] = weight[t] * scale` and the log-probabilities of [`log_softmax`] at the
//! temperature:
//! `loss[t] = -factor[t] * logprob[t, target[t]]`, so that the sum of `loss` is the mean over all
//! rows if `scale` is 1 over their count (or over the sum of their weights), which is known before;
//! `d_logits[t, v] = factor[t] / temperature * (probability[t, v] - [v = target[t]])`, the
//! derivative of that sum.
//!
//! The caller goes over chunks of tokens, so that the logits of a whole batch are never held.
//! Nothing is divided by the rows of a chunk: chunks, batches and threads change no bit
//! (`rows_stand_alone`). Log-probabilities are those of the sampler to the bit
//! (`log_probabilities_are_those_of_the_sampler`).

#[cfg(test)]
mod tests;

use crate::cpu::{cross_entropy, lanes};
use crate::math::{Real, double};
use crate::ops::{log_softmax, rows_per_task};
use crate::{Device, KernelPath, Tensor};

/// What each row should predict, and what that counts.
#[derive(Clone, Copy, Debug)]
pub struct Targets<'a> {
    /// The next token of each row.
    pub tokens: &'a [u32],
    /// What each row counts. Rows of 0 are ignored, whatever their token: their logits are not
    /// read, and all their results are 0. Other weights may be any number (an advantage, negated).
    pub weights: &'a [f32],
    /// What all weights are multiplied with.
    pub scale: f32,
    /// What logits are divided by; 1 leaves the model's own distribution.
    pub temperature: f32,
}

/// What is written of each row.
#[derive(Debug)]
pub struct Results<'a> {
    /// `-weight * scale * logprob`.
    pub losses: &'a mut [f32],
    /// The log-probability of the target, natural logarithm.
    pub logprobs: &'a mut [f32],
    /// `-Σ_v p log p`, natural logarithm, where asked for.
    pub entropies: Option<&'a mut [f32]>,
}

/// Losses of some rows of logits, which stay.
///
/// # Shapes
///
/// - `logits`: `[rows, vocab]`
/// - every list of `targets` and `results`: `[rows]`, overwritten
///
/// # Panics
///
/// Panics if the shapes differ, the temperature is not above 0, or the target of a row that counts
/// lies outside the vocabulary.
pub fn forward(device: &Device, logits: &Tensor, targets: &Targets<'_>, results: Results<'_>) {
    let vocab = logits.columns();
    let mut rows = rows(logits.rows(), vocab, targets, results);
    let rows_per_task = rows_per_task(vocab);
    device.pool().for_chunks(&mut rows, rows_per_task, |task, rows| {
        for (index, row) in rows.iter_mut().enumerate() {
            let logits = logits.row(task * rows_per_task + index);
            if row.factor != 0.0 {
                let _ = row.measure(device, logits, targets.temperature);
            }
        }
    });
}

/// Losses of some rows of logits, which the gradient overwrites.
///
/// # Shapes
///
/// As those of [`forward`].
///
/// # Panics
///
/// As [`forward`] does.
pub fn forward_backward(
    device: &Device,
    logits: &mut Tensor,
    targets: &Targets<'_>,
    results: Results<'_>,
) {
    let vocab = logits.columns();
    let rows = rows(logits.rows(), vocab, targets, results);
    let mut rows: Vec<_> = rows.into_iter().zip(logits.values_mut().chunks_mut(vocab)).collect();
    device.pool().for_chunks(&mut rows, rows_per_task(vocab), |_, rows| {
        for (row, logits) in rows {
            row.differentiate(device, logits, targets.temperature);
        }
    });
}

/// One row's target and where its results go.
struct Row<'a> {
    target: usize,
    /// Weight times scale; 0 where the row is ignored.
    factor: f32,
    loss: &'a mut f32,
    logprob: &'a mut f32,
    entropy: Option<&'a mut f32>,
}

/// The rows with their results set to 0.
fn rows<'a>(
    rows: usize,
    vocab: usize,
    targets: &Targets<'_>,
    results: Results<'a>,
) -> Vec<Row<'a>> {
    let Results { losses, logprobs, entropies } = results;
    assert_eq!((targets.tokens.len(), targets.weights.len()), (rows, rows), "targets of the rows");
    assert_eq!((losses.len(), logprobs.len()), (rows, rows), "results of the rows");
    if let Some(entropies) = &entropies {
        assert_eq!(entropies.len(), rows, "entropies of the rows");
    }
    assert!(targets.temperature > 0.0, "temperature {}: it must be above 0", targets.temperature);
    let mut entropies = entropies.into_iter().flatten();
    let lists = targets.tokens.iter().zip(targets.weights).zip(losses.iter_mut().zip(logprobs));
    lists
        .map(|((&token, &weight), (loss, logprob))| {
            assert!(weight == 0.0 || (token as usize) < vocab, "target {token} of {vocab}");
            let mut entropy = entropies.next();
            (*loss, *logprob) = (0.0, 0.0);
            if let Some(entropy) = &mut entropy {
                **entropy = 0.0;
            }
            let factor = weight * targets.scale;
            Row { target: token as usize, factor, loss, logprob, entropy }
        })
        .collect()
}

impl Row<'_> {
    /// Writes the results.
    #[expect(clippy::cast_possible_truncation, reason = "sums in f64 are rounded to f32 once")]
    fn measure(
        &mut self,
        device: &Device,
        logits: &[f32],
        temperature: f32,
    ) -> log_softmax::LogSoftmax {
        let sums = log_softmax::row(device, logits, temperature);
        *self.logprob = sums.logprob(logits[self.target]);
        *self.loss = -self.factor * *self.logprob;
        if let Some(entropy) = &mut self.entropy {
            **entropy = match device.kernels() {
                KernelPath::Reference => reference(logits, self.target, temperature)[1],
                path => lanes::run(path, cross_entropy::Entropy { logits, sums }),
            } as f32;
        }
        sums
    }

    /// Writes the results, and the gradient over the logits.
    fn differentiate(&mut self, device: &Device, logits: &mut [f32], temperature: f32) {
        if self.factor == 0.0 {
            return logits.fill(0.0);
        }
        let sums = self.measure(device, logits, temperature);
        if device.kernels() == KernelPath::Reference {
            let factor = f64::from(self.factor);
            return reference_backward(logits, self.target, factor, temperature);
        }
        let factor = self.factor * sums.inverse_temperature;
        let probabilities = cross_entropy::ScaledProbabilities { logits, sums, factor };
        lanes::run(device.kernels(), probabilities);
        logits[self.target] -= factor;
    }
}

/// Largest logit, and the logarithm of the sum of `e^((logit - max) / temperature)`.
fn reference_sums<T: Real>(logits: &[T], temperature: f32) -> (f64, f64) {
    let max = logits.iter().fold(f64::NEG_INFINITY, |max, &logit| max.max(logit.into()));
    let scaled = |logit: T| (logit.into() - max) / f64::from(temperature);
    (max, double::log(logits.iter().map(|&logit| double::exp(scaled(logit))).sum()))
}

/// Log-probability of the target, and entropy.
fn reference<T: Real>(logits: &[T], target: usize, temperature: f32) -> [f64; 2] {
    let (max, log_sum) = reference_sums(logits, temperature);
    let logprob = |logit: T| (logit.into() - max) / f64::from(temperature) - log_sum;
    let part = |logit: T| double::exp(logprob(logit)) * logprob(logit).max(f64::MIN);
    let entropy = -logits.iter().map(|&logit| part(logit)).sum::<f64>();
    [logprob(logits[target]), entropy]
}

fn reference_backward<T: Real>(logits: &mut [T], target: usize, factor: f64, temperature: f32) {
    let (max, log_sum) = reference_sums(logits, temperature);
    let temperature = f64::from(temperature);
    for (v, logit) in logits.iter_mut().enumerate() {
        let probability = double::exp(((*logit).into() - max) / temperature - log_sum);
        let hit = if v == target { 1.0 } else { 0.0 };
        *logit = T::rounded(factor / temperature * (probability - hit));
    }
}
