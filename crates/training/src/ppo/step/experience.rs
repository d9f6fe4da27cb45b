//! What a step knows of its completions before anything is learned from them.

use std::sync::Arc;

use model::StopReason;

use super::{BeyondCut, Ppo, Scorer};
use crate::packed::Packed;
use crate::ppo::advantage::{Beyond, Estimates, advantages};
use crate::ppo::kl::{self, Estimator};
use crate::ppo::rewards::{RewardOptions, Scored, rewards};
use crate::ppo::rollouts::{self, Rollout, Rollouts};
use crate::ppo::whiten::{Mean, whiten};
use crate::{Error, PerToken};

/// Completions with all that is said of them. `[tokens]` each, if not said otherwise.
#[derive(Debug, Clone)]
pub(in crate::ppo) struct Experience {
    /// The step, counted from 1.
    pub step: u64,
    pub rollouts: Vec<Rollout>,
    /// Recorded while decoding.
    pub logprobs: PerToken,
    pub reference_logprobs: PerToken,
    /// Normalized: `[completions]`.
    pub scores: Vec<f64>,
    /// The price of a nat of drift.
    pub kl_coefficient: f64,
    pub rewards: PerToken,
    /// Those that advantages are of: the rewards, brought to variance 1 where that is wanted.
    pub scaled_rewards: PerToken,
    pub values: PerToken,
    /// What is taken for the value past the last token: `[completions]`.
    pub next_values: Vec<f64>,
    /// Not whitened.
    pub advantages: PerToken,
    /// Of mean 0 and variance 1 over all tokens of the step.
    pub whitened: PerToken,
    pub returns: PerToken,
}

impl Experience {
    /// The drift of the step: KL(policy ‖ reference), summed over a completion, mean over completions.
    pub(in crate::ppo) fn kl_per_episode(&self) -> f64 {
        kl::per_episode(&kl::per_token(Estimator::K1, &self.logprobs, &self.reference_logprobs))
    }
}

impl Ppo {
    /// Rolls out, scores, charges for drift, and estimates advantages; nothing learns.
    pub(in crate::ppo) fn experience(
        &mut self,
        prompts: &[Vec<u32>],
        scorer: &mut dyn Scorer,
    ) -> Result<Experience, Error> {
        let options = self.options.clone();
        let step = self.steps + 1;
        let served = Arc::new(self.policy.trunk.served()?);
        let Rollouts { rollouts, logprobs } =
            rollouts::collect(served, prompts, &options.rollouts, (self.seed, step))?;
        let scores = scorer.score(&rollouts)?;
        let reference_logprobs = self.reference_logprobs(&rollouts);
        let stop_reasons: Vec<_> = rollouts.iter().map(|rollout| rollout.stop_reason).collect();
        let scored = Scored {
            logprobs: &logprobs,
            reference_logprobs: &reference_logprobs,
            scores: &scores,
            stop_reasons: &stop_reasons,
        };
        let (kl_coefficient, no_end) = (self.kl.coefficient(), options.no_end);
        let rewards = rewards(&scored, &RewardOptions { kl_coefficient, no_end });
        let scaled_rewards = match options.whiten_rewards {
            true => whiten(&rewards, Mean::Keep),
            false => rewards.clone(),
        };
        let values = self.values(&rollouts);
        let next_values = self.next_values(&rollouts);
        let beyond = Beyond::CutOnes { stop_reasons: &stop_reasons, next_values: &next_values };
        let Estimates { advantages, returns } =
            advantages(&scaled_rewards, &values, beyond, &options.discount);
        let whitened = whiten(&advantages, Mean::Shift);
        Ok(Experience {
            step,
            rollouts,
            logprobs,
            reference_logprobs,
            scores,
            kl_coefficient,
            rewards,
            scaled_rewards,
            values,
            next_values,
            advantages,
            whitened,
            returns,
        })
    }

    /// What is taken for the value past the last token of each completion: nothing, or with
    /// [`BeyondCut::Value`] that of the state in which a completion was cut. One that fills the context
    /// window has no such state.
    fn next_values(&mut self, rollouts: &[Rollout]) -> Vec<f64> {
        let mut next_values = vec![0.0; rollouts.len()];
        if self.options.beyond == BeyondCut::Nothing {
            return next_values;
        }
        let context_tokens = self.policy.trunk.config().context_tokens;
        for (rollout, next_value) in rollouts.iter().zip(&mut next_values) {
            let fits = rollout.prompt.len() + rollout.completion.len() <= context_tokens;
            if rollout.stop_reason == StopReason::Length && fits {
                let mut whole = Packed::default();
                whole.push_whole(&rollout.prompt, &rollout.completion);
                *next_value = self.value_network().outputs(&whole)[0][0];
            }
        }
        next_values
    }
}
