//! Epochs of minibatches: the policy and the values follow their clipped losses.

use engine::random::Series;
use model::trainable::{Prediction, Slopes};

use super::metrics::{Means, PpoMetrics};
use super::{Experience, Ppo, ValueModel, packed};
use crate::Error;
use crate::network::Stride;
use crate::packed::portions;
use crate::per_token::count;
use crate::ppo::doctor;
use crate::ppo::minibatches::minibatches;
use crate::ppo::objective::{ForetoldToken, SampledToken, policy_token, value_token};

/// A token of a step: its completion and its place in it.
type TokenPlace = (usize, usize);

impl Ppo {
    /// Learns from what was sampled, in several epochs of minibatches.
    pub(super) fn improve(
        &mut self,
        experience: &Experience,
        stride: Stride,
        metrics: &mut PpoMetrics,
    ) -> Result<(), Error> {
        let mut means = Means::default();
        for epoch in 0..self.options.epochs {
            let series = Series { seed: self.seed, step: metrics.step, epoch };
            let parts = minibatches(experience.rollouts.len(), self.options.minibatches, series);
            for (number, minibatch) in parts.iter().enumerate() {
                let is_first = (epoch, number) == (0, 0);
                self.learn(experience, (minibatch, is_first), stride, &mut means)?;
            }
            if epoch == 0 {
                metrics.entropy = means.entropy();
            }
        }
        means.write(metrics);
        Ok(())
    }

    /// One minibatch: an update of the policy, and of the value model where it is one of its own.
    fn learn(
        &mut self,
        experience: &Experience,
        (minibatch, is_first): (&[usize], bool),
        stride: Stride,
        means: &mut Means,
    ) -> Result<(), Error> {
        let tokens = minibatch.iter().map(|&index| experience.logprobs.row(index).len()).sum();
        means.tokens += count(tokens);
        self.accumulate_policy(experience, (minibatch, is_first), tokens, means)?;
        if let Some(pretraining) = &mut self.pretraining {
            means.own_gradient_norm += self.policy.gradient_norm();
            means.pretraining_loss += pretraining.accumulate(&mut self.policy.trunk)?;
        }
        means.count_policy(self.policy.update(stride));
        let ValueModel::Own(network) = &mut self.value_model else { return Ok(()) };
        network.clear_gradients();
        for portion in in_portions(experience, minibatch, self.options.micro_tokens) {
            let packed = packed(portion.iter().map(|&index| &experience.rollouts[index]));
            network.accumulate_outputs(packed.documents(), |outputs| {
                let mut slopes = vec![0.0; packed.len()];
                for (row, place) in
                    packed.rows().iter().cloned().flatten().zip(places(experience, portion))
                {
                    let value = f64::from(outputs[row]);
                    slopes[row] = learn_value(experience, place, value, &self.options, means)
                        .slope(1.0 / count(tokens));
                }
                slopes
            });
        }
        means.count_values(network.update(stride));
        Ok(())
    }

    /// The gradient of a minibatch of so many tokens, in micro-batches.
    fn accumulate_policy(
        &mut self,
        experience: &Experience,
        (minibatch, is_first): (&[usize], bool),
        tokens: usize,
        means: &mut Means,
    ) -> Result<(), Error> {
        self.policy.clear_gradients();
        for portion in in_portions(experience, minibatch, self.options.micro_tokens) {
            self.learn_policy(experience, (portion, is_first), tokens, means)?;
        }
        Ok(())
    }

    /// The gradient of the policy in the first minibatch, cut into micro-batches of so many tokens:
    /// that of all weights, one after the other. Nothing is updated.
    pub(in crate::ppo) fn gradient_of_first_minibatch(
        &mut self,
        experience: &Experience,
        micro_tokens: usize,
    ) -> Result<Vec<f32>, Error> {
        let series = Series { seed: self.seed, step: experience.step, epoch: 0 };
        let parts = minibatches(experience.rollouts.len(), self.options.minibatches, series);
        let tokens = parts[0].iter().map(|&index| experience.logprobs.row(index).len()).sum();
        let usual = std::mem::replace(&mut self.options.micro_tokens, micro_tokens);
        let done =
            self.accumulate_policy(experience, (&parts[0], true), tokens, &mut Means::default());
        self.options.micro_tokens = usual;
        done?;
        let gradients = self.policy.trunk.gradients().iter().flat_map(engine::Tensor::to_vec);
        let mut gradient: Vec<f32> = gradients.collect();
        if let Some(head) = &mut self.policy.head {
            gradient.extend(head.weight_and_gradient().1.to_vec());
        }
        self.policy.clear_gradients();
        Ok(gradient)
    }

    /// Adds the gradient of some completions of a minibatch.
    fn learn_policy(
        &mut self,
        experience: &Experience,
        (portion, is_first): (&[usize], bool),
        tokens: usize,
        means: &mut Means,
    ) -> Result<(), Error> {
        let Self { policy, value_model, options, .. } = self;
        let share = 1.0 / count(tokens);
        let packed = packed(portion.iter().map(|&index| &experience.rollouts[index]));
        let mut places = places(experience, portion);
        let mut mismatch = Ok(());
        let mut lesson = |prediction: Prediction| {
            let Some(place) = places.next() else { return Slopes::default() };
            let (completion, t) = place;
            let old_logprob = experience.logprobs.row(completion)[t];
            let logprob = f64::from(prediction.logprob);
            if is_first && logprob.to_bits() != old_logprob.to_bits() && mismatch.is_ok() {
                let found = doctor::not_sampled(experience.step, place, (old_logprob, logprob));
                mismatch = Err(Error::Fault { finding: Box::new(found) });
            }
            let advantage = experience.whitened.row(completion)[t];
            let sampled = SampledToken { logprob, old_logprob, advantage };
            let token = policy_token(&sampled, options.clip_range);
            means.add_policy(&sampled, &token, f64::from(prediction.entropy));
            let output = match value_model {
                ValueModel::Own(_) => 0.0,
                ValueModel::OnTrunk => {
                    let value = f64::from(prediction.output);
                    learn_value(experience, place, value, options, means)
                        .slope(options.value_coefficient * share)
                }
            };
            Slopes { logprob: rounded(token.d_logprob * share), output }
        };
        let batch = packed.micro_batch(options.rollouts.temperature);
        let _ = policy.trunk.accumulate_weighed(&batch, policy.head.as_mut(), &mut lesson);
        mismatch
    }
}

/// The derivative of the loss of one value.
struct ValueSlope(f64);

impl ValueSlope {
    fn slope(&self, factor: f64) -> f32 {
        rounded(self.0 * factor)
    }
}

fn learn_value(
    experience: &Experience,
    (completion, t): TokenPlace,
    value: f64,
    options: &super::PpoOptions,
    means: &mut Means,
) -> ValueSlope {
    let old_value = experience.values.row(completion)[t];
    let target = experience.returns.row(completion)[t];
    let token = value_token(&ForetoldToken { value, old_value, target }, options.value_clip_range);
    means.add_value(&token);
    ValueSlope(token.d_value)
}

/// The tokens of some completions, in their order.
fn places<'a>(
    experience: &'a Experience,
    portion: &'a [usize],
) -> impl Iterator<Item = TokenPlace> + 'a {
    let of_completion = |&completion: &usize| {
        (0..experience.logprobs.row(completion).len()).map(move |t| (completion, t))
    };
    portion.iter().flat_map(of_completion)
}

fn in_portions<'a>(
    experience: &Experience,
    minibatch: &'a [usize],
    micro_tokens: usize,
) -> Vec<&'a [usize]> {
    portions(minibatch, micro_tokens, |&index| {
        let rollout = &experience.rollouts[index];
        rollout.prompt.len() + rollout.completion.len()
    })
}

#[expect(clippy::cast_possible_truncation, reason = "slopes are rounded to f32 once")]
fn rounded(slope: f64) -> f32 {
    slope as f32
}
