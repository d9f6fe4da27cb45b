//! Whether advantages and returns are what their definitions say, token by token.

use model::StopReason;

use super::{Diagnosis, Finding, differ};
use crate::per_token::count;
use crate::ppo::step::Experience;
use crate::ppo::{BeyondCut, Discount, PpoOptions};

pub(super) const PAST_THE_END: Diagnosis = Diagnosis::fault(
    "value-past-the-end",
    "a value is expected after the last token of a completion that ended, or of a cut one although \
     ppo.beyond says that nothing comes",
    "report it with the recipe",
);

pub(super) const OTHER_ADVANTAGES: Diagnosis = Diagnosis::fault(
    "advantages-not-as-defined",
    "advantages do not follow reward + gamma * next value - value along a completion",
    "report it with ppo.gamma and ppo.lambda",
);

/// `advantage[t] - gamma lambda advantage[t + 1]` is the error of the value at `t`, and nothing comes
/// after an end.
pub(super) fn advantages(experience: &Experience, options: &PpoOptions) -> Option<Finding> {
    let Discount { gamma, lambda } = options.discount;
    for completion in 0..experience.rollouts.len() {
        let rewards = experience.scaled_rewards.row(completion);
        let values = experience.values.row(completion);
        let advantages = experience.advantages.row(completion);
        let goes_on = options.beyond == BeyondCut::Value
            && experience.rollouts[completion].stop_reason == StopReason::Length;
        let past = if goes_on { experience.next_values[completion] } else { 0.0 };
        for t in 0..rewards.len() {
            let next_value = values.get(t + 1).copied().unwrap_or(past);
            let later = advantages.get(t + 1).copied().unwrap_or(0.0);
            let error = rewards[t] + gamma * next_value - values[t];
            let found = advantages[t] - gamma * lambda * later;
            if differ(found, error) {
                let is_last = t + 1 == rewards.len();
                let diagnosis = if is_last { PAST_THE_END } else { OTHER_ADVANTAGES };
                let evidence = [
                    ("completion", count(completion)),
                    ("token", count(t)),
                    ("found", found),
                    ("expected", error),
                ];
                return Some(diagnosis.found(experience.step, &evidence));
            }
        }
    }
    None
}

pub(super) const OTHER_RETURNS: Diagnosis = Diagnosis::fault(
    "returns-of-whitened-advantages",
    "returns less values are not the advantages before these were whitened, so values learn a number \
     without a meaning",
    "report it with the recipe",
);

/// Returns less values are the advantages, not whitened.
pub(super) fn returns(experience: &Experience, _: &PpoOptions) -> Option<Finding> {
    let rest = experience.returns.zip(&experience.values, |left, right| left - right);
    let pairs = rest.flat().iter().zip(experience.advantages.flat());
    let (token, (found, expected)) =
        pairs.enumerate().find(|(_, (found, expected))| differ(**found, **expected))?;
    let evidence = [("token", count(token)), ("found", *found), ("expected", *expected)];
    Some(OTHER_RETURNS.found(experience.step, &evidence))
}

pub(super) const OTHER_WHITENING: Diagnosis = Diagnosis::fault(
    "advantages-not-whitened",
    "the advantages that are learned from do not have mean 0 and the population's variance 1 over \
     all tokens of the step, or are not in the order of those before",
    "report it with the recipe",
);

/// Mean 0 and variance 1 over all tokens, by a straight line through the advantages.
pub(super) fn whitened(experience: &Experience, _: &PpoOptions) -> Option<Finding> {
    let (raw, whitened) = (&experience.advantages, &experience.whitened);
    let center = raw.mean();
    let variance = raw.map(|advantage| (advantage - center) * (advantage - center)).mean();
    let product = raw.zip(whitened, |raw, whitened| (raw - center) * whitened).mean();
    let (mean, square) = (whitened.mean(), whitened.map(|number| number * number).mean());
    let expected = variance / (variance + 1e-8);
    // A straight line: the covariance is the product of both deviations.
    let is_line = !differ(product * product, variance * square) && product >= 0.0;
    if !differ(mean, 0.0) && !differ(square, expected) && is_line {
        return None;
    }
    let evidence = [("mean", mean), ("variance", square), ("covariance", product)];
    Some(OTHER_WHITENING.found(experience.step, &evidence))
}
