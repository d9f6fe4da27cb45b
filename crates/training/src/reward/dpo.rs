//! Direct preference optimization: a policy that learns from comparisons without a reward model, as a
//! baseline for one.

use model::trainable::{MicroBatch, Trainable};

use super::training::RewardTraining;
use super::{RankedCompletions, RewardStep, ranking_loss};
use crate::network::{Network, Stride};
use crate::optimizer::OptimizerOptions;
use crate::packed::{Packed, portions};
use crate::per_token::count;

/// Tokens that go through the model at once.
const MICRO_TOKENS: usize = 2_048;

/// The loss of one comparison, with its gradient.
#[derive(Debug, Clone, PartialEq)]
pub struct DpoLoss {
    /// Mean over pairs, in nats; log 2 where the policy is the reference.
    pub loss: f64,
    /// Its derivative with respect to the log-probability of each completion, which is that with respect
    /// to the one of each of its tokens: `[completions]`.
    pub d_logprobs: Vec<f64>,
}

/// The loss of the implicit rewards of a policy.
///
/// A completion's reward is `beta * (logprob - reference_logprob)`, both summed over its tokens; the
/// loss is [`ranking_loss`] of these, which for two completions is
/// `-log σ(reward[chosen] - reward[rejected])`.
///
/// # Shapes
///
/// - `logprobs`, `reference_logprobs`, `ranks`: `[completions]`
///
/// # Panics
///
/// Panics if the shapes differ or no two completions were compared.
///
/// Source: Rafailov et al. 2023, "Direct preference optimization", arXiv:2305.18290, equation 7; for
/// more than two completions the mean over their pairs, as in Ouyang et al. 2022, not the likelihood
/// of Plackett and Luce of its appendix A.3.
#[must_use]
pub fn dpo_loss(logprobs: &[f64], reference_logprobs: &[f64], ranks: &[u32], beta: f64) -> DpoLoss {
    let (own, reference) = (logprobs.len(), reference_logprobs.len());
    assert!(
        own == reference,
        "{own} log-probabilities of the policy, {reference} of the reference"
    );
    let rewards = rewards(logprobs, reference_logprobs, beta);
    let found = ranking_loss(&rewards, ranks, 0.0);
    let d_logprobs = found.d_scores.into_iter().map(|d_reward| beta * d_reward).collect();
    DpoLoss { loss: found.loss, d_logprobs }
}

fn rewards(logprobs: &[f64], reference_logprobs: &[f64], beta: f64) -> Vec<f64> {
    let drifts = logprobs.iter().zip(reference_logprobs).map(|(own, reference)| own - reference);
    drifts.map(|drift| beta * drift).collect()
}

/// A policy that learns from comparisons directly.
#[derive(Debug)]
pub struct Dpo {
    policy: Network,
    beta: f64,
}

impl Dpo {
    /// A policy as it begins, which is its own reference; `beta` is what a nat of drift from it is
    /// worth.
    #[must_use]
    pub fn new(policy: Trainable, beta: f64, options: OptimizerOptions) -> Self {
        Self { policy: Network::new(policy, None, options), beta }
    }

    /// Learns from some comparisons and gives the completions of others their implicit rewards:
    /// `[comparisons][completions]` of `held_out`. To be called once: what the policy is now is the
    /// reference. `hear` is told of every step, counted from 1.
    ///
    /// The same comparisons, options and seed give the same rewards, to the bit. Centering has no
    /// part in it.
    pub fn learn_and_score(
        &mut self,
        training: &RewardTraining,
        train: &[RankedCompletions],
        held_out: &[RankedCompletions],
        hear: &mut dyn FnMut(u64, &RewardStep),
    ) -> Vec<Vec<f64>> {
        let reference = self.logprobs(train);
        let reference_held_out = self.logprobs(held_out);
        training.each_update(train.len(), &mut |step, batch, stride| {
            let batch: Vec<_> =
                batch.iter().map(|&place| (&train[place], reference[place].as_slice())).collect();
            hear(step, &self.learn(&batch, stride));
        });
        let logprobs = self.logprobs(held_out);
        let pairs = logprobs.iter().zip(&reference_held_out);
        pairs.map(|(own, reference)| rewards(own, reference, self.beta)).collect()
    }

    /// The log-probability of each completion, summed over its tokens: `[comparisons][completions]`.
    fn logprobs(&mut self, comparisons: &[RankedCompletions]) -> Vec<Vec<f64>> {
        let mut all = Vec::with_capacity(comparisons.len());
        for portion in portions(comparisons, MICRO_TOKENS, RankedCompletions::tokens) {
            let packed = packed(portion);
            let sums = sums(&self.policy.trunk.losses(&packed.micro_batch(1.0)).logprobs, &packed);
            let mut sums = sums.into_iter();
            let own = |comparison: &RankedCompletions| comparison.completions.len();
            all.extend(portion.iter().map(|one| sums.by_ref().take(own(one)).collect::<Vec<_>>()));
        }
        all
    }

    /// One update by comparisons with the reference's log-probabilities of their completions. Each portion
    /// goes through the model twice: the slope of a token depends on all tokens of a comparison.
    fn learn(&mut self, batch: &[(&RankedCompletions, &[f64])], stride: Stride) -> RewardStep {
        self.policy.clear_gradients();
        let share = 1.0 / count(batch.len());
        let mut loss = 0.0;
        for portion in portions(batch, MICRO_TOKENS, |(comparison, _)| comparison.tokens()) {
            let packed = packed(portion.iter().map(|(comparison, _)| *comparison));
            let trunk = &mut self.policy.trunk;
            let logprobs = sums(&trunk.losses(&packed.micro_batch(1.0)).logprobs, &packed);
            let mut weights = vec![0.0; packed.len()];
            let mut first = 0;
            for (comparison, reference) in portion {
                let own = first..first + comparison.completions.len();
                let found =
                    dpo_loss(&logprobs[own.clone()], reference, &comparison.ranks, self.beta);
                loss += share * found.loss;
                for (rows, d_logprob) in packed.rows()[own.clone()].iter().zip(found.d_logprobs) {
                    // What the model minimizes is minus the weight times the log-probability.
                    weights[rows.clone()].fill(rounded(-share * d_logprob));
                }
                first = own.end;
            }
            let batch = MicroBatch { weights: &weights, ..packed.micro_batch(1.0) };
            let _ = trunk.accumulate(&batch);
        }
        RewardStep { loss, updated: self.policy.update(stride) }
    }
}

fn packed<'a>(comparisons: impl IntoIterator<Item = &'a RankedCompletions>) -> Packed {
    let mut packed = Packed::default();
    for (prompt, completion) in comparisons.into_iter().flat_map(RankedCompletions::sequences) {
        packed.push(prompt, completion);
    }
    packed
}

/// The sum over the tokens of each completion.
fn sums(logprobs: &[f32], packed: &Packed) -> Vec<f64> {
    let sum = |rows: &std::ops::Range<usize>| {
        logprobs[rows.clone()].iter().map(|&logprob| f64::from(logprob)).sum()
    };
    packed.rows().iter().map(sum).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "what goes into f32 is rounded once")]
fn rounded(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use engine::ops::matmul::Precision;
    use engine::{Device, DeviceOptions};

    use super::*;
    use crate::reward::{PerPrompt, log_sigmoid, sigmoid};
    use crate::testing::{assert_near, draws, slope};
    use crate::tiny::{moves, trunk};

    #[test]
    fn two_completions_by_the_formula_of_the_paper() {
        let (chosen, rejected) = ((-12.5, -13.0), (-9.0, -8.25));
        for beta in [0.05, 0.1, 0.5] {
            let found = dpo_loss(&[rejected.0, chosen.0], &[rejected.1, chosen.1], &[2, 1], beta);
            let apart = beta * ((chosen.0 - chosen.1) - (rejected.0 - rejected.1));
            assert!((found.loss + log_sigmoid(apart)).abs() < 1e-15);
            // Equation 7's gradient: beta times how wrong the order of the rewards is.
            let wrong = beta * sigmoid(-apart);
            assert_near(&found.d_logprobs, &[wrong, -wrong], 1e-15);
        }
        // A policy that is its reference has learned nothing.
        let found = dpo_loss(&[-3.0, -4.0], &[-3.0, -4.0], &[1, 2], 0.1);
        assert!((found.loss - 2.0_f64.ln()).abs() < 1e-15);
        assert_near(&found.d_logprobs, &[-0.05, 0.05], 1e-15);
    }

    #[test]
    fn the_gradient_is_the_slope() {
        let (logprobs, reference) = (draws(1, 5), draws(2, 5));
        let ranks = [3, 1, 2, 2, 5];
        let found = dpo_loss(&logprobs, &reference, &ranks, 0.7);
        let slopes: Vec<f64> = (0..5)
            .map(|place| {
                let along = |x: f64| {
                    let mut moved = logprobs.clone();
                    moved[place] = x;
                    dpo_loss(&moved, &reference, &ranks, 0.7).loss
                };
                slope(along, logprobs[place])
            })
            .collect();
        assert_near(&found.d_logprobs, &slopes, 1e-8);
    }

    fn device(threads: usize) -> Device {
        let options = DeviceOptions { threads: NonZeroUsize::new(threads), kernels: None };
        Device::cpu(&options).unwrap()
    }

    /// Of two completions the one with more of the token 7 is preferred.
    fn comparisons(first: u64, number: u64) -> Vec<RankedCompletions> {
        let token = |index: u64| engine::random::Philox::new(9).block([index, 0])[0] % 16 + 8;
        let of = |index: u64| {
            let prompt = (0..3).map(|t| token(100 * index + t)).collect();
            let completion =
                |k: u64| (0..5 + k).map(move |t| token(100 * index + 10 * (k + 1) + t));
            let mut completions: Vec<Vec<u32>> = (0..2).map(|k| completion(k).collect()).collect();
            let liked = usize::try_from(index % 2).unwrap();
            completions[liked][1..3].fill(7);
            let ranks = if liked == 0 { vec![1, 2] } else { vec![2, 1] };
            RankedCompletions { prompt, completions, ranks }
        };
        (first..first + number).map(of).collect()
    }

    const TRAINING: RewardTraining = RewardTraining {
        epochs: 1,
        comparisons: 8,
        learning_rate: 1e-3,
        clip: 1.0,
        centering: 0.0,
        seed: 5,
    };

    fn learned(threads: usize, number: u64) -> (Vec<f64>, Vec<Vec<f64>>) {
        let mut dpo = Dpo::new(trunk(&device(threads), Precision::F32, 3), 0.5, moves());
        let (train, held_out) = (comparisons(0, number), comparisons(10_000, 60));
        let mut losses = Vec::new();
        let scores = dpo.learn_and_score(&TRAINING, &train, &held_out, &mut |_, seen| {
            losses.push(seen.loss);
        });
        (losses, scores)
    }

    #[test]
    fn a_planted_preference_is_learned() {
        let (losses, scores) = learned(2, 320);
        assert!((losses[0] - 2.0_f64.ln()).abs() < 1e-4, "{}", losses[0]);
        assert!(losses[39] < 0.5 * losses[0], "{losses:?}");
        let found = PerPrompt::of(&comparisons(10_000, 60), &scores).agreement().unwrap();
        assert!(found.accuracy > 0.95, "{found:?}");
    }

    #[test]
    fn threads_change_no_bit() {
        let bits = |threads| -> Vec<u64> {
            learned(threads, 24).1.into_iter().flatten().map(f64::to_bits).collect()
        };
        assert_eq!(bits(1), bits(2));
    }

    /// The gradient of the first weights that learn, against differences of the loss itself.
    #[test]
    fn the_gradient_reaches_the_weights() {
        let mut dpo = Dpo::new(trunk(&device(1), Precision::F32, 3), 0.5, moves());
        let batch = comparisons(0, 2);
        let other = dpo.logprobs(&comparisons(0, 2));
        // A reference that is not the policy, so that the slopes differ.
        let reference: Vec<Vec<f64>> =
            other.iter().map(|own| vec![own[0] + 0.5, own[1] - 0.25]).collect();
        let with_reference: Vec<_> =
            batch.iter().zip(&reference).map(|(one, own)| (one, own.as_slice())).collect();
        let nowhere = Stride { rate: 0.0, clip: 1e9 };
        let _ = dpo.learn(&with_reference, nowhere);
        let place = 4;
        let gradient = dpo.policy.trunk.gradients()[place].to_vec();
        let step = 0.02_f32;
        let mut at = |column: usize, change: f32| {
            let trunk = &mut dpo.policy.trunk;
            let (weights, _) = trunk.weights_and_gradients();
            let mut values = weights[place].to_vec();
            values[column] += change;
            weights[place].upload(0, &values);
            dpo.policy.trunk.refresh();
            dpo.learn(&with_reference, nowhere).loss
        };
        for column in [0, 3, 17] {
            let above = at(column, step);
            let below = at(column, -2.0 * step);
            let _ = at(column, step);
            let slope = (above - below) / f64::from(2.0 * step);
            let found = f64::from(gradient[column]);
            assert!((slope - found).abs() < 0.02 * found.abs() + 2e-4, "{slope} {found}");
        }
    }
}
