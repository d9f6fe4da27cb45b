//! The arithmetic of proximal policy optimization from people's rankings, as functions of arrays.
//!
//! In the order in which a step calls them:
//!
//! 1. [`rewards`]: each token pays for its drift from the reference; the last one is given the score.
//! 2. [`advantages`]: how much better a token did than its value foretold, and the [`Estimates`]'
//!    returns, which the values should have foretold.
//! 3. [`whiten`]: advantages of mean 0 and variance 1 over all tokens of the batch.
//! 4. [`minibatches`]: whole completions, in another order in every epoch.
//! 5. [`objective`]: the loss of policy and values, and its gradient for every token.
//! 6. [`kl`]: how far the policy has drifted, and what a nat of it costs in the next step.
//! 7. [`goodhart`]: where more drift begins to make completions worse.
//! 8. [`doctor`]: which invariants a step keeps, and what its metrics are a sign of.
//!
//! All numbers are `f64`, all additions have an order, and exponentials and logarithms are those of
//! [`engine`]: the same inputs give the same bits on every machine. There is no padding
//! ([`PerToken`](crate::PerToken)).
//!
//! Sources: Schulman et al. 2017, "Proximal policy optimization algorithms", arXiv:1707.06347;
//! Ziegler et al. 2019, "Fine-tuning language models from human preferences", arXiv:1909.08593, with
//! its code `openai/lm-human-preferences`; Ouyang et al. 2022, "Training language models to follow
//! instructions with human feedback", arXiv:2203.02155.

mod advantage;
pub mod doctor;
pub mod goodhart;
pub mod kl;
mod minibatches;
pub mod objective;
mod rewards;
mod rollouts;
mod run;
mod step;
#[cfg(test)]
mod testing;
mod whiten;

pub use advantage::{Beyond, BeyondCut, Discount, Estimates, advantages};
pub use kl::KlController;
pub use minibatches::minibatches;
pub use rewards::{NoEnd, RewardOptions, Scored, rewards};
pub use rollouts::{Rollout, RolloutOptions, Rollouts, collect};
pub use run::{PpoEvent, PpoObserver, PpoStage, PpoTrainer};
pub use step::{Ppo, PpoMetrics, PpoOptions, Pretraining, Reference, Scorer, ValueModel};
pub use whiten::{Mean, whiten};
