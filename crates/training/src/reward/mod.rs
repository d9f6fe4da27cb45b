//! The arithmetic of a reward model: what it learns from rankings, on which scale it speaks, and how
//! well it agrees with people.
//!
//! 1. [`ranking_loss`]: the loss of one ranking of K completions, and its gradient for every score.
//! 2. [`Scale`]: the gain and bias by which samples of the reference have scores of mean 0 and
//!    deviation 1, without which the scores are refused.
//! 3. [`agreement`], [`accuracy`], [`calibration`], [`difference`]: figures for reports, with how sure
//!    they are; [`PerPrompt`] and [`Calibration`] put them together.
//! 4. [`length_scores`], [`bigram_scores`], [`Dpo`]: what it has to be better than.

pub mod accuracy;
pub mod agreement;
mod baselines;
pub mod calibration;
mod comparison;
pub mod difference;
mod dpo;
mod logistic;
mod loss;
mod measure;
mod model;
mod normalization;
mod stage;
mod tokens;
mod training;

pub use baselines::{bigram_scores, length_scores};
pub use comparison::RankedCompletions;
pub use dpo::{Dpo, DpoLoss, dpo_loss};
pub use logistic::{log_sigmoid, sigmoid};
pub use loss::{BELOW, RankingLoss, ranking_loss};
pub use measure::{Agreement, Calibration, CalibrationBin, Lead, PerPrompt};
pub use model::{Combine, Ensemble, Place, RewardModel, RewardStep, read_value_model};
pub use normalization::{Normalization, NormalizedScores, Scale};
pub use stage::{Baseline, MemberReport, REPORT_FILE, RewardEvent, RewardReport, RewardStage};
pub use tokens::{EncodedComparisons, Encoding};
pub use training::{RewardTraining, accuracy_of};
