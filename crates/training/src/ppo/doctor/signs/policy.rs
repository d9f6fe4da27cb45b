//! Signs that the policy leaves where it should stay, or does not learn from what it should.

use super::{Background, Diagnosis, Finding, ends, last, mean, now, of};
pub(super) use crate::ppo::doctor::drift::BELOW_ZERO;
use crate::ppo::doctor::drift::IMPOSSIBLE;
use crate::ppo::{KlController, PpoMetrics};

/// Steps over which metrics are taken together.
const WINDOW: usize = 5;

/// The drift of all completions of the last steps together is not far below 0, by the bound that
/// holds for one step.
pub(super) fn drift_below_zero(steps: &[PpoMetrics], _: &Background) -> Option<Finding> {
    let window = last(steps, steps.len().min(2 * WINDOW))?;
    let sum: f64 = window.iter().map(|one| one.kl_per_episode * of(one.episodes)).sum();
    let completions: f64 = window.iter().map(|one| of(one.episodes)).sum();
    let evidence = [("nats", sum), ("completions", completions)];
    (sum < -IMPOSSIBLE).then(|| BELOW_ZERO.found(now(steps), &evidence))
}

pub(in crate::ppo::doctor) const NOT_FINITE: Diagnosis = Diagnosis::sign(
    "gradients-not-finite",
    "updates were left out because their gradients are not finite",
    "lower ppo.learning_rate",
);

/// No update is left out.
pub(super) fn not_finite(steps: &[PpoMetrics], _: &Background) -> Option<Finding> {
    let metrics = steps.last()?;
    let evidence = [("updates", of(metrics.skipped))];
    (metrics.skipped > 0).then(|| NOT_FINITE.found(metrics.step, &evidence))
}

pub(in crate::ppo::doctor) const ENTROPY: Diagnosis = Diagnosis::sign(
    "entropy-collapsed",
    "the policy has become nearly certain of every token, so it tries nothing new",
    "raise ppo.kl_coefficient or set ppo.kl_target, lower ppo.learning_rate, or take fewer steps",
);

/// Entropy stays above a tenth of what it was.
pub(super) fn entropy(steps: &[PpoMetrics], _: &Background) -> Option<Finding> {
    let (first, last) = ends(steps, WINDOW)?;
    let [before, after] = [first, last].map(|steps| mean(steps, |metrics| metrics.entropy));
    let evidence = [("nats at first", before), ("nats now", after)];
    (after < 0.1 * before).then(|| ENTROPY.found(now(steps), &evidence))
}

pub(in crate::ppo::doctor) const CLIPPED: Diagnosis = Diagnosis::sign(
    "too-much-clipped",
    "most tokens leave the clip range within a step, so epochs after the first teach little",
    "lower ppo.learning_rate or ppo.epochs",
);

/// No more than half of all tokens are clipped.
pub(super) fn clipped(steps: &[PpoMetrics], _: &Background) -> Option<Finding> {
    let share = mean(last(steps, WINDOW)?, |metrics| metrics.clip_fraction);
    (share > 0.5).then(|| CLIPPED.found(now(steps), &[("share of tokens", share)]))
}

pub(in crate::ppo::doctor) const FAR: Diagnosis = Diagnosis::sign(
    "drift-beyond-its-target",
    "the policy drifts much farther from the reference than ppo.kl_target wants, and the price does \
     not hold it",
    "raise ppo.kl_coefficient, or lower ppo.kl_horizon or ppo.learning_rate",
);

/// Where there is a target, drift stays below five times that.
pub(super) fn far(steps: &[PpoMetrics], background: &Background) -> Option<Finding> {
    let KlController::Adaptive { target, .. } = background.kl else { return None };
    let kl = mean(last(steps, WINDOW)?, |metrics| metrics.kl_per_episode);
    let evidence = [("nats", kl), ("target", target)];
    (kl > 5.0 * target).then(|| FAR.found(now(steps), &evidence))
}

pub(in crate::ppo::doctor) const PRICE: Diagnosis = Diagnosis::sign(
    "price-of-drift-out-of-range",
    "the price of drift has left every useful range on the way to its target",
    "set a ppo.kl_target that the policy reaches (a few nats), and a ppo.kl_coefficient near the price \
     that held it",
);

/// An adapted price stays within a factor of a hundred of where it began.
pub(super) fn price(steps: &[PpoMetrics], background: &Background) -> Option<Finding> {
    let (begin, metrics) = (background.kl.coefficient(), steps.last()?);
    let factor = metrics.kl_coefficient / begin;
    let evidence = [("at first", begin), ("now", metrics.kl_coefficient)];
    let is_out = begin > 0.0 && !(0.01..=100.0).contains(&factor);
    is_out.then(|| PRICE.found(metrics.step, &evidence))
}

pub(in crate::ppo::doctor) const SWAMPED: Diagnosis = Diagnosis::sign(
    "text-beside-swamps-the-answers",
    "the gradient of the text of pretraining is so large that next to nothing is learned from scores",
    "lower ppo.pretraining_coefficient",
);

/// The answers' own gradient is at least a fiftieth of all.
pub(super) fn swamped(steps: &[PpoMetrics], _: &Background) -> Option<Finding> {
    let window = last(steps, WINDOW)?;
    let own = mean(window, |metrics| metrics.own_gradient_norm);
    let all = mean(window, |metrics| metrics.gradient_norm);
    let evidence = [("norm of the answers' gradient", own), ("of both", all)];
    (own > 0.0 && own < 0.02 * all).then(|| SWAMPED.found(now(steps), &evidence))
}
