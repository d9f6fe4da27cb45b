//! The sections of a recipe by which a model learns from people: prompts, reward model, PPO.

use comparisons::COMPLETIONS_MAX;
use serde::{Deserialize, Serialize};

use super::check::field;
use super::{LoraRecipe, Precision, STEPS_MAX};
use crate::Error;
use crate::gate::Bounds;
use crate::ppo::{BeyondCut, Discount, KlController, NoEnd};
use crate::reward::Combine;

/// The most completions of one step.
pub const EPISODES_MAX: usize = 1 << 16;
/// The most tokens of a completion.
pub const COMPLETION_TOKENS_MAX: usize = 1 << 14;
/// The most reward models of one round.
pub const REWARD_MODELS_MAX: usize = 16;

/// How a reward model learns what people preferred.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RewardRecipe {
    /// Reward models that learn apart, each from another beginning and in another order.
    pub models: usize,
    /// How the scores of several become one.
    pub combine: Combine,
    /// How often each comparison is learned from; twice is often too much.
    pub epochs: u32,
    /// Comparisons of each update, with all their completions.
    pub comparisons: usize,
    /// The first learning rate; it falls in a straight line to 0.
    pub learning_rate: f64,
    /// Longer gradients are shortened to this norm.
    pub clip: f64,
    /// Share of a matrix, times the rate, that goes in each step.
    pub weight_decay: f64,
    /// What the square of the sum of a pair's scores costs: keeps them around 0.
    pub centering: f64,
    /// The share of prompts whose comparisons are held out to measure on.
    pub held_out: f64,
    /// Completions of the reference on which scores get mean 0 and deviation 1.
    pub samples: usize,
    /// What products round their inputs to.
    pub precision: Precision,
    /// An adapter that learns in place of the model's own weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraRecipe>,
    /// A policy that learns from the same comparisons directly, to be compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dpo: Option<DpoRecipe>,
}

/// How a policy learns from comparisons without a reward model: in the same batches, as a baseline for
/// it. It is not kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DpoRecipe {
    /// What a nat of drift from the model that was taught is worth.
    pub beta: f64,
    /// The first learning rate; that of the reward model if not given.
    pub learning_rate: Option<f64>,
}

impl Default for DpoRecipe {
    fn default() -> Self {
        Self { beta: 0.1, learning_rate: None }
    }
}

impl Default for RewardRecipe {
    fn default() -> Self {
        Self {
            models: 1,
            combine: Combine::Mean,
            epochs: 1,
            comparisons: 8,
            learning_rate: 1e-4,
            clip: 1.0,
            weight_decay: 0.0,
            centering: 0.0,
            held_out: 0.1,
            samples: 256,
            precision: Precision::default(),
            lora: None,
            dpo: None,
        }
    }
}

/// Where a policy's values come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueKind {
    /// A model of its own, which begins as the reward model.
    #[default]
    Own,
    /// One number a token read off the policy's own trunk.
    Trunk,
}

/// How a policy learns from a reward model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PpoRecipe {
    /// Steps: completions are sampled once in each.
    pub steps: u64,
    /// Completions of a step, one of each prompt.
    pub episodes: usize,
    /// Most tokens of a completion, the one that ends it included.
    pub completion_tokens: usize,
    /// Divides the logits, in sampling and wherever log-probabilities are compared.
    pub temperature: f32,
    /// How often the completions of a step are learned from.
    pub epochs: u32,
    /// Parts that they are cut into, with an update after each.
    pub minibatches: usize,
    /// The first learning rate.
    pub learning_rate: f64,
    /// The last rate as a share of the first; it falls in a straight line.
    pub final_share: f64,
    /// Keeps weights with tiny gradients from moving far.
    pub epsilon: f64,
    /// Longer gradients are shortened to this norm.
    pub clip: f64,
    /// How far the ratio of probabilities may count.
    pub clip_range: f64,
    /// How far a value may go from what it was in one step.
    pub value_clip_range: f64,
    /// What the loss of values counts where they are read off the policy's trunk.
    pub value_coefficient: f64,
    /// Where values come from.
    pub values: ValueKind,
    /// What a nat of drift from the reference costs, in deviations of the score.
    pub kl_coefficient: f64,
    /// Nats of drift, summed over a completion, that the price is adapted to; fixed if not given.
    pub kl_target: Option<f64>,
    /// Completions over which the price may change by a fifth; a tenth of all of them if not given.
    pub kl_horizon: Option<f64>,
    /// What later rewards count, token by token.
    pub gamma: f64,
    /// How far advantages look ahead: 0 one token, 1 to the end.
    pub lambda: f64,
    /// What becomes of the score of a completion that was cut by its length: `"keep"`,
    /// `{ fixed = -1.0 }` or `{ subtract = 1.0 }`.
    pub no_end: NoEnd,
    /// What is taken for the value past such a completion: `"nothing"`, as its score says all of it, or
    /// `"value"`, that of the state in which it was cut.
    pub beyond: BeyondCut,
    /// How much of a moving average of the policy's weights stays with each update, such as 0.992:
    /// the average is the policy then. Without it, the policy is what the last update made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,
    /// Whether rewards are scaled to variance 1 over the tokens of a step, their mean kept.
    pub whiten_rewards: bool,
    /// What a token of the text of pretraining counts beside one of an answer; 0 leaves that text
    /// out. It keeps the model from forgetting how to write.
    pub pretraining_coefficient: f64,
    /// Rows of that text for each minibatch.
    pub pretraining_rows: usize,
    /// Steps between two readings of the meter, which lets the policy answer held-out prompts and asks
    /// reward models and, where there is one, the judge; 0 leaves it out.
    pub meter_every: u64,
    /// Answers of each reading.
    pub meter_answers: usize,
    /// Whether to end where the judge's readings say that more drift makes answers worse.
    pub stop_at_peak: bool,
    /// Steps between two checkpoints.
    pub checkpoint_every: u64,
    /// Checkpoints that are kept.
    pub keep: usize,
    /// What products round their inputs to.
    pub precision: Precision,
    /// An adapter that learns in place of the policy's own weights.
    pub lora: Option<LoraRecipe>,
}

impl Default for PpoRecipe {
    fn default() -> Self {
        let Discount { gamma, lambda } = Discount::default();
        Self {
            steps: 50,
            episodes: 64,
            completion_tokens: 64,
            temperature: 1.0,
            epochs: 4,
            minibatches: 4,
            learning_rate: 1e-4,
            final_share: 0.0,
            epsilon: 1e-5,
            clip: 1.0,
            clip_range: 0.2,
            value_clip_range: 0.2,
            value_coefficient: 0.1,
            values: ValueKind::Own,
            kl_coefficient: 0.05,
            kl_target: None,
            kl_horizon: None,
            gamma,
            lambda,
            no_end: NoEnd::Keep,
            beyond: BeyondCut::default(),
            ema: None,
            whiten_rewards: false,
            pretraining_coefficient: 0.0,
            pretraining_rows: 4,
            meter_every: 0,
            meter_answers: 64,
            stop_at_peak: false,
            checkpoint_every: 25,
            keep: artifacts::checkpoints::KEEP_MIN,
            precision: Precision::default(),
            lora: None,
        }
    }
}

/// Who compares answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelerKind {
    /// People: a round waits for them.
    #[default]
    People,
    /// A program with a known taste, for tests and for teaching; its rankings say so.
    Synthetic,
}

/// How a round is gone through: answers are compared, a reward model and the policy learn, and the gate
/// decides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoundsRecipe {
    /// Who compares answers.
    pub labeler: LabelerKind,
    /// Prompts whose answers are compared in each round; all where there are fewer.
    pub prompts: usize,
    /// Answers to each.
    pub answers: usize,
    /// The doubts of the synthetic labeler: scores this far apart are told apart in 73 % of all cases.
    pub noise: f64,
    /// Most blinded pairs of answers by which the gate decides.
    pub gate_pairs: u32,
    /// The share of models that are no better and yet promoted.
    pub gate_alpha: f64,
    /// The most by which bits per byte of held-out text may rise, as a share.
    pub bits_per_byte_rise: f64,
    /// The most by which answers may become longer or shorter, as a factor.
    pub length_factor: f64,
}

impl Default for RoundsRecipe {
    fn default() -> Self {
        let Bounds { bits_per_byte_rise, length_factor, .. } = Bounds::default();
        Self {
            labeler: LabelerKind::default(),
            prompts: 100,
            answers: 4,
            noise: 1.0,
            gate_pairs: 400,
            gate_alpha: 0.05,
            bits_per_byte_rise,
            length_factor,
        }
    }
}

impl RoundsRecipe {
    /// Refuses what cannot be meant.
    pub(super) fn check(&self) -> Result<(), Error> {
        field("rounds.prompts", self.prompts, 1..=1 << 20)?;
        field("rounds.answers", self.answers, 2..=COMPLETIONS_MAX)?;
        field("rounds.noise", self.noise, 1e-6..=1e6)?;
        field("rounds.gate_pairs", self.gate_pairs, 1..=1 << 20)?;
        field("rounds.gate_alpha", self.gate_alpha, 1e-6..=0.5)?;
        field("rounds.bits_per_byte_rise", self.bits_per_byte_rise, 0.0..=10.0)?;
        field("rounds.length_factor", self.length_factor, 1.0..=1e3)
    }
}

impl RewardRecipe {
    /// Refuses what cannot be meant.
    pub(super) fn check(&self) -> Result<(), Error> {
        field("reward.models", self.models, 1..=REWARD_MODELS_MAX)?;
        if let Combine::Uncertain(factor) = self.combine {
            field("reward.combine.uncertain", factor, 0.0..=1e3)?;
        }
        field("reward.epochs", self.epochs, 1..=1_000)?;
        field("reward.comparisons", self.comparisons, 1..=1 << 16)?;
        field("reward.learning_rate", self.learning_rate, 1e-9..=10.0)?;
        field("reward.clip", self.clip, 1e-9..=1e9)?;
        field("reward.weight_decay", self.weight_decay, 0.0..=10.0)?;
        field("reward.centering", self.centering, 0.0..=10.0)?;
        field("reward.held_out", self.held_out, 0.0..=0.5)?;
        field("reward.samples", self.samples, 2..=1 << 20)?;
        if let Some(dpo) = &self.dpo {
            field("reward.dpo.beta", dpo.beta, 1e-6..=1e3)?;
            let rate = dpo.learning_rate.unwrap_or(self.learning_rate);
            field("reward.dpo.learning_rate", rate, 1e-9..=10.0)?;
        }
        self.lora.as_ref().map_or(Ok(()), |lora| lora.check("reward"))
    }
}

impl PpoRecipe {
    /// Refuses what cannot be meant.
    pub(super) fn check(&self) -> Result<(), Error> {
        field("ppo.steps", self.steps, 1..=STEPS_MAX)?;
        field("ppo.episodes", self.episodes, 1..=EPISODES_MAX)?;
        field("ppo.completion_tokens", self.completion_tokens, 1..=COMPLETION_TOKENS_MAX)?;
        field("ppo.temperature", self.temperature, 0.01..=100.0)?;
        field("ppo.epochs", self.epochs, 1..=1_000)?;
        field("ppo.minibatches", self.minibatches, 1..=self.episodes)?;
        field("ppo.learning_rate", self.learning_rate, 1e-9..=10.0)?;
        field("ppo.final_share", self.final_share, 0.0..=1.0)?;
        field("ppo.epsilon", self.epsilon, 1e-20..=0.1)?;
        field("ppo.clip", self.clip, 1e-9..=1e9)?;
        field("ppo.clip_range", self.clip_range, 1e-6..=1e6)?;
        field("ppo.value_clip_range", self.value_clip_range, 1e-6..=1e6)?;
        field("ppo.value_coefficient", self.value_coefficient, 0.0..=1e3)?;
        field("ppo.kl_coefficient", self.kl_coefficient, 0.0..=1e3)?;
        field("ppo.kl_target", self.kl_target.unwrap_or(1.0), 1e-6..=1e6)?;
        // With fewer, one step could turn the price's sign.
        let least = 0.2 * float(self.episodes);
        field("ppo.kl_horizon", self.horizon(), least.next_up()..=1e12)?;
        field("ppo.gamma", self.gamma, 0.0..=1.0)?;
        field("ppo.lambda", self.lambda, 0.0..=1.0)?;
        if let NoEnd::Fixed(amount) | NoEnd::Subtract(amount) = self.no_end {
            field("ppo.no_end", amount, -1e3..=1e3)?;
        }
        field("ppo.ema", self.ema.unwrap_or(0.0), 0.0..=1.0 - 1e-9)?;
        field("ppo.pretraining_coefficient", self.pretraining_coefficient, 0.0..=1e3)?;
        field("ppo.pretraining_rows", self.pretraining_rows, 1..=1 << 16)?;
        field("ppo.meter_every", self.meter_every, 0..=STEPS_MAX)?;
        field("ppo.meter_answers", self.meter_answers, 1..=EPISODES_MAX)?;
        if self.stop_at_peak && self.meter_every == 0 {
            let expected = "false without `meter_every`";
            return Err(Error::field("ppo.stop_at_peak", self.stop_at_peak, expected));
        }
        field("ppo.checkpoint_every", self.checkpoint_every, 1..=STEPS_MAX)?;
        field("ppo.keep", self.keep, artifacts::checkpoints::KEEP_MIN..=1_000)?;
        self.lora.as_ref().map_or(Ok(()), |lora| lora.check("ppo"))
    }

    /// The price of drift as it begins.
    #[must_use]
    pub fn kl_controller(&self) -> KlController {
        let coefficient = self.kl_coefficient;
        match self.kl_target {
            None => KlController::Fixed { coefficient },
            Some(target) => {
                KlController::Adaptive { coefficient, target, horizon_episodes: self.horizon() }
            }
        }
    }

    /// Completions over which the price may change by a fifth: scaled to the run, so that a short one
    /// can find its price, too.
    fn horizon(&self) -> f64 {
        let steps = usize::try_from(self.steps).unwrap_or(usize::MAX);
        let all = float(self.episodes.saturating_mul(steps));
        self.kl_horizon.unwrap_or((0.1 * all).max(float(self.episodes)))
    }

    /// The learning rate of a step, counted from 0.
    #[must_use]
    pub fn rate(&self, step: u64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 steps")]
        let done = step.min(self.steps) as f64 / self.steps as f64;
        self.learning_rate * (1.0 - (1.0 - self.final_share) * done)
    }
}

#[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 completions")]
fn float(count: usize) -> f64 {
    count as f64
}
