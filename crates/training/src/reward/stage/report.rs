//! What the stage says of its models, in its folder.

use std::collections::BTreeMap;

use artifacts::hash::Digest;
use serde::{Deserialize, Serialize};

use crate::reward::{Agreement, Calibration, Lead};

/// What is known of the stage, in its folder.
pub const REPORT_FILE: &str = "report.json";

/// What the stage leaves beside its models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RewardReport {
    /// All that decided what is here.
    pub identity: Digest,
    /// The weights that the models began as.
    pub base: Digest,
    /// Comparisons that were learned from.
    pub comparisons: usize,
    /// Comparisons that were held out.
    pub held_out: usize,
    /// Comparisons that could not be learned from, by why.
    pub left_out: BTreeMap<String, u64>,
    /// How often each baseline agrees with people on what was held out; empty where nothing was.
    #[serde(default)]
    pub baselines: BTreeMap<Baseline, Agreement>,
    /// One for each model.
    pub models: Vec<MemberReport>,
}

/// What a reward model has to be better than.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Baseline {
    /// [`length_scores`](crate::reward::length_scores).
    Length,
    /// [`bigram_scores`](crate::reward::bigram_scores).
    Bigrams,
    /// [`Dpo`](crate::reward::Dpo), where the recipe asks for it.
    Dpo,
}

/// What is known of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberReport {
    /// All that decided it.
    pub identity: Digest,
    /// Mean loss of the last tenth of its steps, in nats.
    pub loss: f64,
    /// How often it agrees with people on comparisons that it learned from.
    pub train_accuracy: f64,
    /// The same on those that were held out; one half where there are none.
    pub accuracy: f64,
    /// Between what shares that lies with 95 % confidence.
    pub accuracy_interval: [f64; 2],
    /// Pairs of the held-out comparisons.
    pub pairs: usize,
    /// What scores are multiplied with.
    pub gain: f64,
    /// What is added then.
    pub bias: f64,
    /// Prompts of the held-out comparisons.
    #[serde(default)]
    pub prompts: usize,
    /// Kendall's tau of its scores with people's held-out rankings, of the pairs that they did not tie.
    #[serde(default)]
    pub tau: f64,
    /// Whether it is as sure as it is right on what was held out.
    #[serde(default)]
    pub calibration: Option<Calibration>,
    /// By how much it agrees more often than each baseline.
    #[serde(default)]
    pub leads: BTreeMap<Baseline, Lead>,
}

impl Baseline {
    /// All that there are, in the order of reports.
    pub const ALL: [Self; 3] = [Self::Length, Self::Bigrams, Self::Dpo];

    /// As files call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Bigrams => "bigrams",
            Self::Dpo => "dpo",
        }
    }
}
