//! The step: roll out, score, charge for drift, estimate advantages, improve.

mod experience;
mod improve;
mod metrics;
mod pretraining;
mod reading;
#[cfg(test)]
mod tests;

use model::trainable::Trainable;

pub(super) use self::experience::Experience;
pub use self::metrics::PpoMetrics;
pub use self::pretraining::Pretraining;
use super::advantage::{BeyondCut, Discount};
use super::doctor;
use super::kl::KlController;
use super::rewards::NoEnd;
use super::rollouts::{Rollout, RolloutOptions};
use crate::network::{Network, Stride};
use crate::packed::{Packed, portions};
use crate::{Error, PerToken};

/// Tokens that go through a model at once.
pub(super) const MICRO_TOKENS: usize = 2_048;

/// Gives each completion one number.
pub trait Scorer {
    /// The scores of some completions, in their order.
    ///
    /// # Errors
    ///
    /// Where there can be none, as of a reward model that is not normalized.
    fn score(&mut self, rollouts: &[Rollout]) -> Result<Vec<f64>, Error>;
}

/// What the drift of the policy is measured against.
#[derive(Debug)]
pub enum Reference {
    /// A copy of the policy as it was before PPO, which does not learn.
    Frozen(Box<Trainable>),
    /// The policy without its adapter.
    WithoutAdapter,
}

/// Where values come from.
#[derive(Debug)]
pub enum ValueModel {
    /// A model of its own.
    Own(Box<Network>),
    /// The policy's head of one number, on its trunk.
    OnTrunk,
}

/// How a step is taken.
#[derive(Debug, Clone, PartialEq)]
pub struct PpoOptions {
    /// How completions are sampled.
    pub rollouts: RolloutOptions,
    /// How often all completions of a step are learned from.
    pub epochs: u32,
    /// Parts that they are cut into, with an update after each.
    pub minibatches: usize,
    /// How far the ratio of probabilities may count.
    pub clip_range: f64,
    /// How far a value may go from what it was.
    pub value_clip_range: f64,
    /// What the loss of values counts where they are read off the policy's trunk.
    pub value_coefficient: f64,
    /// Discount and decay of advantages.
    pub discount: Discount,
    /// What becomes of the score of a completion that was cut by its length.
    pub no_end: NoEnd,
    /// What is taken for the value past a completion that was cut by its length.
    pub beyond: BeyondCut,
    /// Whether rewards are scaled to a variance of 1 over the tokens of the step, their mean kept.
    pub whiten_rewards: bool,
    /// Longer gradients are shortened to this norm.
    pub clip: f64,
    /// Tokens that go through a model at once; changes no result.
    pub micro_tokens: usize,
    /// Whether the policy is the reference in step 1.
    pub begins_as_reference: bool,
    /// Whether each step recomputes what it relies on in other ways: several times the work.
    pub thorough: bool,
}

/// A policy that learns from scores.
///
/// The same prompts, scores and seed give the same bytes, on any number of threads.
#[derive(Debug)]
pub struct Ppo {
    /// What learns.
    pub policy: Network,
    /// What its drift is measured against.
    pub reference: Reference,
    /// What foretells returns.
    pub value_model: ValueModel,
    /// Text that is learned beside, if any is.
    pub pretraining: Option<Pretraining>,
    /// The price of drift.
    pub kl: KlController,
    /// How steps are taken.
    pub options: PpoOptions,
    /// Decides every draw.
    pub seed: u64,
    /// Steps so far.
    pub steps: u64,
}

impl Ppo {
    /// One PPO step: roll out, score, charge for drift, estimate advantages, improve.
    ///
    /// # Errors
    ///
    /// [`Error::Fault`] where an invariant of a step is broken, before anything is learned, as where
    /// the first minibatch does not find the log-probabilities that were recorded while decoding, bit
    /// for bit; what sampling and scoring report.
    ///
    /// # Panics
    ///
    /// Panics for fewer prompts than minibatches.
    ///
    /// Source: Ziegler et al. 2019, arXiv:1909.08593; Schulman et al. 2017, arXiv:1707.06347.
    pub fn step(
        &mut self,
        prompts: &[Vec<u32>],
        scorer: &mut dyn Scorer,
        rate: f64,
    ) -> Result<PpoMetrics, Error> {
        let experience = self.experience(prompts, scorer)?;
        doctor::examine(&experience, &self.options)?;
        if self.options.thorough {
            doctor::examine_thoroughly(self, &experience)?;
        }
        let kl_per_episode = experience.kl_per_episode();
        let mut metrics = PpoMetrics { rate, kl_per_episode, ..PpoMetrics::of(&experience) };
        self.improve(&experience, Stride { rate, clip: self.options.clip }, &mut metrics)?;
        self.kl.observe(kl_per_episode, experience.rollouts.len());
        self.steps = experience.step;
        Ok(metrics)
    }

    /// Of each token of each completion, under the reference at the temperature.
    pub(super) fn reference_logprobs(&mut self, rollouts: &[Rollout]) -> PerToken {
        let temperature = self.options.rollouts.temperature;
        let mut rows = Vec::with_capacity(rollouts.len());
        for portion in in_portions(rollouts, self.options.micro_tokens) {
            let packed = packed(portion);
            let batch = packed.micro_batch(temperature);
            let logprobs = match &mut self.reference {
                Reference::Frozen(reference) => reference.losses(&batch),
                Reference::WithoutAdapter => self.policy.trunk.losses_without_adapter(&batch),
            };
            let of_rows = |rows: &std::ops::Range<usize>| -> Vec<f64> {
                logprobs.logprobs[rows.clone()].iter().map(|&logprob| logprob.into()).collect()
            };
            rows.extend(packed.rows().iter().map(of_rows));
        }
        PerToken::from_rows(&rows)
    }

    /// Of each state in which a token of a completion was sampled.
    pub(super) fn values(&mut self, rollouts: &[Rollout]) -> PerToken {
        let portions = in_portions(rollouts, self.options.micro_tokens).into_iter();
        let network = self.value_network();
        let rows: Vec<Vec<f64>> =
            portions.flat_map(|portion| network.outputs(&packed(portion))).collect();
        PerToken::from_rows(&rows)
    }

    /// What foretells returns.
    fn value_network(&mut self) -> &mut Network {
        match &mut self.value_model {
            ValueModel::Own(network) => network,
            ValueModel::OnTrunk => &mut self.policy,
        }
    }
}

/// Completions as they go through a model at once.
fn in_portions(rollouts: &[Rollout], micro_tokens: usize) -> Vec<&[Rollout]> {
    portions(rollouts, micro_tokens, |rollout| rollout.prompt.len() + rollout.completion.len())
}

pub(super) fn packed<'a>(rollouts: impl IntoIterator<Item = &'a Rollout>) -> Packed {
    let mut packed = Packed::default();
    for Rollout { prompt, completion, .. } in rollouts {
        packed.push(prompt, completion);
    }
    packed
}
