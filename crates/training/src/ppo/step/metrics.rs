//! What is told of every PPO step.

use serde::{Deserialize, Serialize};

use super::Experience;
use crate::network::Updated;
use crate::per_token::count;
use crate::ppo::goodhart::Reading;
use crate::ppo::objective::{PolicyToken, SampledToken, ValueToken};
use model::StopReason;

/// What is told of one step; docs/ppo.md has the formula of each.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct PpoMetrics {
    /// The step, counted from 1.
    pub step: u64,
    /// Completions.
    pub episodes: u64,
    /// Mean of the scores, before anything is taken from them.
    pub score: f64,
    /// Their standard deviation, over the completions.
    pub score_deviation: f64,
    /// Mean over completions of the sum of their rewards, the charge for drift included.
    pub reward: f64,
    /// Mean over completions of `Σ_t (logprob - reference_logprob)`.
    pub kl_per_episode: f64,
    /// The price of drift in this step.
    pub kl_coefficient: f64,
    /// Mean entropy of the policy where it sampled a token, in nats, in the first epoch.
    pub entropy: f64,
    /// Mean tokens of a completion.
    pub completion_tokens: f64,
    /// Share of the completions that ended with a stop token.
    pub ended: f64,
    /// Correlation of scores with tokens, over completions; 0 where either does not vary.
    #[serde(default)]
    pub length_correlation: f64,
    /// Mean of the values before the update, over tokens.
    pub value: f64,
    /// Mean of the returns, over tokens.
    pub returns: f64,
    /// `1 - var(returns - values) / var(returns)`, over tokens; 0 where returns do not vary.
    pub explained_variance: f64,
    /// Mean clipped loss of the policy over all minibatches.
    pub policy_loss: f64,
    /// Mean clipped loss of the values over all minibatches.
    pub value_loss: f64,
    /// Mean ratio of new to old probability over all tokens of all minibatches.
    pub ratio: f64,
    /// Share of tokens whose ratio was clipped.
    pub clip_fraction: f64,
    /// Share of tokens whose value was clipped.
    pub value_clip_fraction: f64,
    /// Mean of `(logprob - old_logprob)² / 2` over all tokens of all minibatches.
    pub approx_kl: f64,
    /// Mean norm of the policy's gradient before it was clipped.
    pub gradient_norm: f64,
    /// The same of the policy's own losses, before the gradient of the text beside is added; 0 where
    /// there is no such text.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub own_gradient_norm: f64,
    /// That of the value model, where it is one of its own; else 0.
    pub value_gradient_norm: f64,
    /// Mean loss of the text that was learned beside, in nats a token; 0 where none was.
    pub pretraining_loss: f64,
    /// The learning rate.
    pub rate: f64,
    /// What was read off the reference, before the first step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Reading>,
    /// What was read off the policy after this step, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meter: Option<Reading>,
    /// Updates that were left out because gradients were not finite.
    #[serde(default, skip_serializing_if = "is_none")]
    pub skipped: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &f64) -> bool {
    number.abs() == 0.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_none(count: &u64) -> bool {
    *count == 0
}

impl PpoMetrics {
    /// What is known before anything is learned.
    pub(super) fn of(experience: &Experience) -> Self {
        let Experience { rollouts, scores, values, returns, .. } = experience;
        let episodes = rollouts.len();
        let (score, score_variance) = moments(scores);
        let ended = rollouts.iter().filter(|rollout| rollout.stop_reason == StopReason::EndOfTurn);
        let (_, returns_variance) = moments(returns.flat());
        let rest = returns.zip(values, |returns, value| returns - value);
        let (_, rest_variance) = moments(rest.flat());
        let explained = |variance: f64| 1.0 - rest_variance / variance;
        Self {
            step: experience.step,
            kl_coefficient: experience.kl_coefficient,
            episodes: episodes as u64,
            score,
            score_deviation: score_variance.sqrt(),
            reward: experience.scaled_rewards.sum() / count(episodes),
            completion_tokens: count(values.tokens()) / count(episodes),
            ended: count(ended.count()) / count(episodes),
            length_correlation: length_correlation(experience),
            value: values.mean(),
            returns: returns.mean(),
            explained_variance: Some(returns_variance)
                .filter(|&variance| variance > 0.0)
                .map_or(0.0, explained),
            ..Self::default()
        }
    }
}

/// Correlation of scores with tokens, over completions.
fn length_correlation(experience: &Experience) -> f64 {
    let lengths: Vec<f64> =
        experience.rollouts.iter().map(|rollout| count(rollout.completion.len())).collect();
    let ((score, score_variance), (length, length_variance)) =
        (moments(&experience.scores), moments(&lengths));
    let products = experience.scores.iter().zip(&lengths).map(|(s, l)| (s - score) * (l - length));
    let covariance = products.sum::<f64>() / count(lengths.len());
    let scale = (score_variance * length_variance).sqrt();
    if scale > 0.0 { covariance / scale } else { 0.0 }
}

/// Mean and population variance.
fn moments(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / count(values.len());
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    (mean, squares / count(values.len()))
}

/// Sums over all minibatches of a step.
#[derive(Debug, Default)]
pub(super) struct Means {
    /// Tokens of the minibatches so far.
    pub tokens: f64,
    entropy: f64,
    policy_loss: f64,
    ratio: f64,
    clipped: f64,
    approx_kl: f64,
    value_loss: f64,
    value_clipped: f64,
    updates: f64,
    /// Sum over updates of the mean loss of the text beside.
    pub pretraining_loss: f64,
    gradient_norm: f64,
    /// Sum over updates of the norm of the policy's gradient before that of the text beside.
    pub own_gradient_norm: f64,
    value_gradient_norm: f64,
    skipped: u64,
}

impl Means {
    pub(super) fn add_policy(&mut self, sampled: &SampledToken, token: &PolicyToken, entropy: f64) {
        let moved = sampled.logprob - sampled.old_logprob;
        self.entropy += entropy;
        self.policy_loss += token.loss;
        self.ratio += token.ratio;
        self.clipped += f64::from(u8::from(token.clipped));
        self.approx_kl += 0.5 * moved * moved;
    }

    pub(super) fn add_value(&mut self, token: &ValueToken) {
        self.value_loss += token.loss;
        self.value_clipped += f64::from(u8::from(token.clipped));
    }

    pub(super) fn count_policy(&mut self, updated: Updated) {
        self.updates += 1.0;
        self.gradient_norm += updated.gradient_norm;
        self.skipped += u64::from(!updated.applied);
    }

    pub(super) fn count_values(&mut self, updated: Updated) {
        self.value_gradient_norm += updated.gradient_norm;
        self.skipped += u64::from(!updated.applied);
    }

    /// Mean entropy of the tokens so far.
    pub(super) fn entropy(&self) -> f64 {
        self.entropy / self.tokens
    }

    pub(super) fn write(&self, metrics: &mut PpoMetrics) {
        metrics.policy_loss = self.policy_loss / self.tokens;
        metrics.value_loss = self.value_loss / self.tokens;
        metrics.ratio = self.ratio / self.tokens;
        metrics.clip_fraction = self.clipped / self.tokens;
        metrics.value_clip_fraction = self.value_clipped / self.tokens;
        metrics.approx_kl = self.approx_kl / self.tokens;
        metrics.pretraining_loss = self.pretraining_loss / self.updates;
        metrics.gradient_norm = self.gradient_norm / self.updates;
        metrics.own_gradient_norm = self.own_gradient_norm / self.updates;
        metrics.value_gradient_norm = self.value_gradient_norm / self.updates;
        metrics.skipped = self.skipped;
    }
}
