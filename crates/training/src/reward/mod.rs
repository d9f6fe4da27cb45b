//! The arithmetic of a reward model: what it learns from rankings, on which scale it speaks, and how
//! well it agrees with people.
//!
//! 1. [`ranking_loss`]: the loss of one ranking of K completions, and its gradient for every score.
//! 2. [`Scale`]: the gain and bias by which samples of the reference have scores of mean 0 and
//!    deviation 1, without which the scores are refused.
//! 3. [`agreement`], [`accuracy`], [`calibration`], [`difference`]: figures for reports, with how sure
//!    they are.

pub mod accuracy;
pub mod agreement;
pub mod calibration;
mod comparison;
pub mod difference;
mod logistic;
mod loss;
mod model;
mod normalization;
mod stage;
mod tokens;
mod training;

pub use comparison::RankedCompletions;
pub use logistic::{log_sigmoid, sigmoid};
pub use loss::{BELOW, RankingLoss, ranking_loss};
pub use model::{Combine, Ensemble, RewardModel, RewardStep, read_value_model};
pub use normalization::{Normalization, NormalizedScores, Scale};
pub use stage::{MemberReport, REPORT_FILE, RewardEvent, RewardReport, RewardStage};
pub use tokens::{EncodedComparisons, Encoding};
pub use training::{RewardTraining, accuracy_of};
