//! The heads: from the end of the stream to what is predicted, and back to the last norm's output.

use std::ops::Range;

use engine::ops::matmul::{self, Store};
use engine::ops::{cross_entropy, rms_norm};

use super::{
    LOGIT_ROWS, Losses, MicroBatch, Prediction, ScalarHead, Slopes, Trainable, backward_copy,
    forward_copy,
};

/// What is to be learned of what a micro-batch predicts.
pub(super) enum Lesson<'a> {
    Nothing,
    /// The mean of the targets' losses by the weights of the micro-batch.
    Weights,
    /// A loss with these derivatives; see [`Trainable::accumulate_weighed`].
    Slopes {
        scalar_head: Option<&'a mut ScalarHead>,
        slopes: &'a mut dyn FnMut(Prediction) -> Slopes,
    },
}

impl Trainable {
    /// The last norm, from the end of the stream to `normed`.
    pub(super) fn normalize_stream(&mut self) {
        let norm = &self.weights[self.places.final_norm];
        let a = &mut self.activations;
        rms_norm::forward(&self.device, &mut a.normed, &a.stream, norm, self.config.norm_epsilon);
    }

    /// The losses, a few rows at a time; where something is to be learned, the gradients of the
    /// heads and of the last norm's output, which goes to `d_normed`.
    pub(super) fn predict(&mut self, batch: &MicroBatch<'_>, mut lesson: Lesson<'_>) -> Losses {
        let rows = batch.tokens.len();
        assert_eq!((batch.targets.len(), batch.weights.len()), (rows, rows), "targets of tokens");
        self.normalize_stream();
        let outputs = match &lesson {
            Lesson::Slopes { scalar_head: Some(head), .. } => {
                head.outputs(&self.device, &self.activations.normed)
            }
            _ => vec![0.0; rows],
        };
        let mut d_outputs = vec![0.0; rows];
        let mut losses = Losses { losses: vec![0.0; rows], logprobs: vec![0.0; rows] };
        for first in (0..rows).step_by(LOGIT_ROWS) {
            let own = first..rows.min(first + LOGIT_ROWS);
            self.compute_logits(own.clone());
            let mut part = Part { batch, own: own.clone(), losses: &mut losses };
            match &mut lesson {
                Lesson::Nothing => {
                    self.measure(&mut part, None);
                    continue;
                }
                Lesson::Weights => {
                    let targets = part.targets(&batch.weights[own.clone()], batch.scale);
                    self.differentiate(&targets, part.results(None));
                }
                Lesson::Slopes { slopes, .. } => {
                    let mut entropies = vec![0.0; own.len()];
                    self.measure(&mut part, Some(&mut entropies));
                    let weights = part.weigh(&entropies, &outputs, &mut d_outputs, *slopes);
                    let (mut unused, mut again) = (entropies, vec![0.0; own.len()]);
                    let results = cross_entropy::Results {
                        losses: &mut unused,
                        logprobs: &mut again,
                        entropies: None,
                    };
                    self.differentiate(&part.targets(&weights, 1.0), results);
                }
            }
            self.leave_logits(own);
        }
        if let Lesson::Slopes { scalar_head: Some(head), .. } = lesson {
            let a = &mut self.activations;
            head.accumulate(&self.device, &mut a.d_normed, &d_outputs, &a.normed);
        }
        losses
    }

    /// The logits of some rows.
    fn compute_logits(&mut self, own: Range<usize>) {
        let head = forward_copy(&self.copies, self.places.head);
        let a = &mut self.activations;
        for tensor in [&mut a.last, &mut a.d_last, &mut a.logits] {
            tensor.resize_rows(own.len());
        }
        for (place, row) in own.enumerate() {
            a.last.copy_row(place, &a.normed, row);
        }
        matmul::forward(&self.device, &mut a.logits, &a.last, head, None, Store::Overwrite);
    }

    /// The losses of rows whose logits are there, and their entropies.
    fn measure(&self, part: &mut Part<'_, '_>, entropies: Option<&mut [f32]>) {
        let batch = part.batch;
        let targets = part.targets(&batch.weights[part.own.clone()], batch.scale);
        cross_entropy::forward(
            &self.device,
            &self.activations.logits,
            &targets,
            part.results(entropies),
        );
    }

    /// Writes the gradient of the logits in their place.
    fn differentiate(
        &mut self,
        targets: &cross_entropy::Targets<'_>,
        results: cross_entropy::Results<'_>,
    ) {
        let logits = &mut self.activations.logits;
        cross_entropy::forward_backward(&self.device, logits, targets, results);
    }

    /// From the gradient of some rows' logits to those of the head and of the last norm's output.
    fn leave_logits(&mut self, own: Range<usize>) {
        let head = backward_copy(&self.copies, self.places.head);
        let (device, a) = (&self.device, &mut self.activations);
        if let Some(d_head) = self.gradients.get_mut(self.places.head) {
            matmul::add_weight_gradient(device, d_head, &a.logits, &a.last, self.precision);
        }
        matmul::forward(device, &mut a.d_last, &a.logits, head, None, Store::Overwrite);
        for (place, row) in own.enumerate() {
            a.d_normed.copy_row(row, &a.d_last, place);
        }
    }
}

/// The rows of a micro-batch whose logits exist, and where what they predict goes.
struct Part<'a, 'b> {
    batch: &'a MicroBatch<'a>,
    own: Range<usize>,
    losses: &'b mut Losses,
}

impl<'a> Part<'a, '_> {
    fn targets<'w>(&self, weights: &'w [f32], scale: f32) -> cross_entropy::Targets<'w>
    where
        'a: 'w,
    {
        let tokens: &'a [u32] = &self.batch.targets[self.own.clone()];
        cross_entropy::Targets { tokens, weights, scale, temperature: self.batch.temperature }
    }

    fn results<'r>(&'r mut self, entropies: Option<&'r mut [f32]>) -> cross_entropy::Results<'r> {
        cross_entropy::Results {
            losses: &mut self.losses.losses[self.own.clone()],
            logprobs: &mut self.losses.logprobs[self.own.clone()],
            entropies,
        }
    }

    /// Asks for the slopes of each row that counts: returns what its log-probability counts, and
    /// writes the slope of its output.
    fn weigh(
        &self,
        entropies: &[f32],
        outputs: &[f32],
        d_outputs: &mut [f32],
        slopes: &mut dyn FnMut(Prediction) -> Slopes,
    ) -> Vec<f32> {
        let weight = |(row, &entropy): (usize, &f32)| {
            if self.batch.weights[row] == 0.0 {
                return 0.0;
            }
            let (logprob, output) = (self.losses.logprobs[row], outputs[row]);
            let Slopes { logprob, output } = slopes(Prediction { row, logprob, entropy, output });
            d_outputs[row] = output;
            // The loss of a row is minus its weight times its log-probability.
            -logprob
        };
        self.own.clone().zip(entropies).map(weight).collect()
    }
}
