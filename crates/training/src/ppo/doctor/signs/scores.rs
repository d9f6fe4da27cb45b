//! Signs that what is rewarded is not what was meant.

use super::{Background, Diagnosis, Finding, ends, last, mean, now, of};
use crate::ppo::PpoMetrics;

/// Steps over which metrics are taken together.
const WINDOW: usize = 5;

pub(in crate::ppo::doctor) const SCALE: Diagnosis = Diagnosis::sign(
    "scores-off-their-scale",
    "scores of the reference's completions are not near mean 0 and deviation 1, so the price of drift \
     does not fit them",
    "train the reward model again on this run's model and prompts, with more reward.samples",
);

/// In step 1 scores have a mean near 0 and a deviation near 1, where the policy is the reference.
pub(super) fn scale(steps: &[PpoMetrics], background: &Background) -> Option<Finding> {
    let [first] = steps else { return None };
    let is_measured = background.begins_as_reference && background.keeps_scale;
    if !is_measured || first.episodes < 2 {
        return None;
    }
    // Five deviations of a mean of as many completions, and as much for other prompts.
    let bound = 0.5 + 5.0 / of(first.episodes).sqrt();
    let is_off = first.score.abs() > bound
        || first.score_deviation > 1.0 + bound
        || (first.episodes >= 16 && first.score_deviation < 0.1);
    let evidence = [("mean", first.score), ("deviation", first.score_deviation)];
    is_off.then(|| SCALE.found(first.step, &evidence))
}

pub(in crate::ppo::doctor) const FLAT: Diagnosis = Diagnosis::sign(
    "scores-do-not-differ",
    "all completions of a step have the same score, so there is nothing to learn from them",
    "train the reward model on more comparisons, or raise ppo.temperature",
);

/// Scores differ.
pub(super) fn flat(steps: &[PpoMetrics], _: &Background) -> Option<Finding> {
    let metrics = steps.last()?;
    let evidence = [("score", metrics.score), ("deviation", metrics.score_deviation)];
    let is_flat = metrics.episodes > 1 && metrics.score_deviation < 1e-6;
    is_flat.then(|| FLAT.found(metrics.step, &evidence))
}

pub(in crate::ppo::doctor) const LENGTH: Diagnosis = Diagnosis::sign(
    "score-is-length",
    "scores follow the length of completions and little else",
    "rank more answers of equal length, or look at how often length alone agrees with the rankings \
     (scribe reward)",
);

/// Scores and lengths are not the same thing said twice.
pub(super) fn length(steps: &[PpoMetrics], _: &Background) -> Option<Finding> {
    let correlation = mean(last(steps, WINDOW)?, |metrics| metrics.length_correlation);
    let evidence = [("correlation", correlation)];
    (correlation.abs() > 0.9).then(|| LENGTH.found(now(steps), &evidence))
}

pub(in crate::ppo::doctor) const LENGTH_DRIFT: Diagnosis = Diagnosis::sign(
    "length-drifts",
    "completions have become far longer or shorter than they were",
    "look at some; raise ppo.kl_coefficient, set ppo.no_end where they are cut, or rank short and long \
     answers against each other",
);

/// Completions stay within a factor of three of the length that they had.
pub(super) fn length_drift(steps: &[PpoMetrics], _: &Background) -> Option<Finding> {
    let (first, last) = ends(steps, WINDOW)?;
    let tokens = [first, last].map(|steps| mean(steps, |metrics| metrics.completion_tokens));
    let evidence = [("tokens at first", tokens[0]), ("tokens now", tokens[1])];
    let factor = tokens[1] / tokens[0];
    (!(1.0 / 3.0..=3.0).contains(&factor)).then(|| LENGTH_DRIFT.found(now(steps), &evidence))
}

pub(in crate::ppo::doctor) const NO_ENDS: Diagnosis = Diagnosis::sign(
    "nothing-ends",
    "hardly a completion ends before it is cut, so scores are of halves of answers",
    "raise ppo.completion_tokens, or set ppo.no_end = { subtract = 1.0 }",
);

/// Some completions end.
pub(super) fn no_ends(steps: &[PpoMetrics], _: &Background) -> Option<Finding> {
    let share = mean(last(steps, WINDOW)?, |metrics| metrics.ended);
    (share < 0.02).then(|| NO_ENDS.found(now(steps), &[("share that ends", share)]))
}
