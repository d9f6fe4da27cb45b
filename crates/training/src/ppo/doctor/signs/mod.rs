//! What the metrics of a run are a sign of: functions of the steps so far and of what the recipe wants.

mod policy;
mod scores;
mod values;

use std::collections::BTreeSet;

use super::{Diagnosis, Finding, Gravity};
use crate::ppo::{KlController, PpoMetrics};

/// What metrics are read against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Background {
    /// The price of drift as it begins.
    pub kl: KlController,
    /// Whether the policy is the reference in step 1, on whose samples scores have a scale.
    pub begins_as_reference: bool,
    /// Whether scores are a mean of those of the reward models, which keeps the scale.
    pub keeps_scale: bool,
}

/// The steps of a run so far, and the signs that were told of it.
///
/// A function of the metrics alone: heard again from the first step, it says the same again.
#[derive(Clone, Debug)]
pub struct Signs {
    background: Background,
    steps: Vec<PpoMetrics>,
    told: BTreeSet<&'static str>,
}

/// What one sign is read from: the steps so far, of which there is at least one.
type Sign = fn(&[PpoMetrics], &Background) -> Option<Finding>;

/// Each with the diagnosis that it may make.
const SIGNS: [(&Diagnosis, Sign); 13] = [
    (&policy::BELOW_ZERO, policy::drift_below_zero),
    (&policy::NOT_FINITE, policy::not_finite),
    (&policy::ENTROPY, policy::entropy),
    (&policy::CLIPPED, policy::clipped),
    (&policy::FAR, policy::far),
    (&policy::PRICE, policy::price),
    (&policy::SWAMPED, policy::swamped),
    (&scores::SCALE, scores::scale),
    (&scores::FLAT, scores::flat),
    (&scores::LENGTH, scores::length),
    (&scores::LENGTH_DRIFT, scores::length_drift),
    (&scores::NO_ENDS, scores::no_ends),
    (&values::DEAD, values::dead),
];

impl Signs {
    /// Before the first step.
    #[must_use]
    pub fn new(background: Background) -> Self {
        Self { background, steps: Vec::new(), told: BTreeSet::new() }
    }

    /// Hears of a step. Returns what it is a sign of that was not told before.
    pub fn hear(&mut self, metrics: &PpoMetrics) -> Vec<Finding> {
        self.steps.push(metrics.clone());
        let mut found = Vec::new();
        for (diagnosis, sign) in SIGNS {
            if self.told.contains(diagnosis.name) {
                continue;
            }
            if let Some(finding) = sign(&self.steps, &self.background) {
                self.told.insert(diagnosis.name);
                found.push(finding);
            }
        }
        // A fault first: it is what ends the run.
        found.sort_by_key(|finding| finding.gravity != Gravity::Fault);
        found
    }
}

/// The last so many steps, where there are as many.
fn last(steps: &[PpoMetrics], window: usize) -> Option<&[PpoMetrics]> {
    steps.len().checked_sub(window).map(|first| &steps[first..])
}

/// The first so many and the last so many, where these do not overlap.
fn ends(steps: &[PpoMetrics], window: usize) -> Option<(&[PpoMetrics], &[PpoMetrics])> {
    (steps.len() >= 2 * window).then(|| (&steps[..window], &steps[steps.len() - window..]))
}

fn mean(steps: &[PpoMetrics], of: impl Fn(&PpoMetrics) -> f64) -> f64 {
    steps.iter().map(of).sum::<f64>() / crate::per_token::count(steps.len())
}

/// The step of the newest metrics.
fn now(steps: &[PpoMetrics]) -> u64 {
    steps.last().map_or(0, |metrics| metrics.step)
}

/// A count as a number.
#[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 of anything that is counted")]
fn of(things: u64) -> f64 {
    things as f64
}
