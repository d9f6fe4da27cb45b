//! What is read off a policy along the way: how far it is, and what is thought of its answers.

use std::fmt;
use std::sync::Arc;

use model::Model;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::per_token::count;
use crate::ppo::{Rollout, RolloutOptions, Rollouts, Scorer, collect};

/// The place of the meter's draws among those of a stage, which no step has.
const DRAWS: u64 = u64::MAX;

/// Says how good completions are, and was never optimized against: a program whose taste is known, in
/// the place of people who are asked again.
pub trait Judge: fmt::Debug {
    /// A number for each completion, in their order; the higher, the better, on any scale.
    fn judge(&mut self, rollouts: &[Rollout]) -> Vec<f64>;
}

/// What was read off a policy at one moment; docs/ppo.md has the formulas.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reading {
    /// KL(policy ‖ reference) of a completion, in nats: the estimate k1, mean over completions.
    pub kl_per_episode: f64,
    /// Mean score of the reward models, as it is learned from.
    pub proxy: f64,
    /// Mean of what the judge says; none where nobody judges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gold: Option<f64>,
    /// Mean tokens of a completion.
    pub completion_tokens: f64,
}

impl Reading {
    /// `sqrt(KL(policy ‖ reference))`; 0 where noise brings the estimate below.
    #[must_use]
    pub fn distance(&self) -> f64 {
        self.kl_per_episode.max(0.0).sqrt()
    }
}

/// Always the same questions with the same draws, so that readings differ by the policy alone.
#[derive(Debug)]
pub struct Meter {
    /// What is asked, in tokens.
    pub prompts: Vec<Vec<u32>>,
    /// How answers are sampled.
    pub rollouts: RolloutOptions,
    /// Decides the draws.
    pub seed: u64,
    /// Who judges, if anybody does.
    pub judge: Option<Box<dyn Judge>>,
}

impl Meter {
    /// The answers of a model.
    ///
    /// # Errors
    ///
    /// As [`collect`].
    pub fn ask(&self, model: Arc<Model>) -> Result<Rollouts, Error> {
        collect(model, &self.prompts, &self.rollouts, (self.seed, DRAWS))
    }

    /// What is thought of answers that are so far from the reference.
    ///
    /// # Errors
    ///
    /// As [`Scorer::score`].
    pub fn read(
        &mut self,
        rollouts: &[Rollout],
        kl_per_episode: f64,
        scorer: &mut dyn Scorer,
    ) -> Result<Reading, Error> {
        let scores = scorer.score(rollouts)?;
        let tokens = rollouts.iter().map(|rollout| count(rollout.completion.len()));
        Ok(Reading {
            kl_per_episode,
            proxy: mean(scores.into_iter()),
            gold: self.judge.as_mut().map(|judge| mean(judge.judge(rollouts).into_iter())),
            completion_tokens: mean(tokens),
        })
    }
}

fn mean(numbers: impl ExactSizeIterator<Item = f64>) -> f64 {
    let all = count(numbers.len());
    numbers.sum::<f64>() / all
}
