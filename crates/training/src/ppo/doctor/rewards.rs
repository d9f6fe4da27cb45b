//! Whether rewards are the score, once and at its place, less the price of drift.

use model::StopReason;

use super::{Diagnosis, Finding, differ};
use crate::per_token::count;
use crate::ppo::PpoOptions;
use crate::ppo::step::Experience;

pub(super) const SCORE_ELSEWHERE: Diagnosis = Diagnosis::fault(
    "score-not-at-the-end",
    "the score of a completion is not given to its last token, so the choice to end earns nothing",
    "report it with the recipe",
);

pub(super) const NO_END_UNPAID: Diagnosis = Diagnosis::fault(
    "missing-end-not-settled",
    "a completion that was cut keeps a score that ppo.no_end changes, or one that ended lost it",
    "check that the stop tokens are those of the tokenizer, and report it with the recipe",
);

pub(super) const OTHER_CHARGE: Diagnosis = Diagnosis::fault(
    "drift-charged-otherwise",
    "a token's reward is not minus the price times its drift from the reference",
    "report it with the recipe",
);

/// `reward[t] = -price * (logprob[t] - reference_logprob[t])`, and at the last token the settled score
/// on top.
pub(super) fn misplaced(experience: &Experience, options: &PpoOptions) -> Option<Finding> {
    let price = experience.kl_coefficient;
    for (completion, rewards) in experience.rewards.rows().enumerate() {
        let own = experience.logprobs.row(completion);
        let reference = experience.reference_logprobs.row(completion);
        let owed = own.iter().zip(reference).map(|(own, reference)| price * (own - reference));
        let rest: Vec<f64> = rewards.iter().zip(owed).map(|(reward, owed)| reward + owed).collect();
        let score = experience.scores[completion];
        let stop_reason = experience.rollouts[completion].stop_reason;
        let settled = options.no_end.settle(score, stop_reason);
        let (&last, before) = rest.split_last()?;
        let elsewhere = before.iter().position(|&rest| differ(rest, 0.0));
        let diagnosis = match elsewhere {
            None if !differ(last, settled) => continue,
            Some(_) if !differ(last, settled) => OTHER_CHARGE,
            // Both of a wrong price and of one that is paid where nothing is owed.
            None if !differ(last, score) || is_settled(score, last, options) => NO_END_UNPAID,
            _ if !differ(last, 0.0) => SCORE_ELSEWHERE,
            _ => OTHER_CHARGE,
        };
        let token = elsewhere.unwrap_or(before.len());
        let evidence = [
            ("completion", count(completion)),
            ("token", count(token)),
            ("found", rest[token]),
            ("expected", if token == before.len() { settled } else { 0.0 }),
        ];
        return Some(diagnosis.found(experience.step, &evidence));
    }
    None
}

/// Whether a score was settled as that of a completion that was cut.
fn is_settled(score: f64, found: f64, options: &PpoOptions) -> bool {
    !differ(found, options.no_end.settle(score, StopReason::Length))
}

pub(super) const SCALED_OTHERWISE: Diagnosis = Diagnosis::fault(
    "rewards-scaled-otherwise",
    "the rewards that advantages are of do not have the mean of the rewards and, where \
     ppo.whiten_rewards is set, variance 1",
    "report it with the recipe, or set ppo.whiten_rewards = false",
);

/// Rewards that are scaled keep their mean and have variance 1; others are not touched.
pub(super) fn scaled_otherwise(experience: &Experience, options: &PpoOptions) -> Option<Finding> {
    let (rewards, scaled) = (&experience.rewards, &experience.scaled_rewards);
    let evidence = match options.whiten_rewards {
        false if rewards == scaled => return None,
        false => [("mean", scaled.mean()), ("expected mean", rewards.mean())].to_vec(),
        true => {
            let variance = |numbers: &crate::PerToken| {
                let mean = numbers.mean();
                numbers.map(|number| (number - mean) * (number - mean)).mean()
            };
            let own = variance(rewards);
            let (found, expected) = (variance(scaled), own / (own + 1e-8));
            if !differ(scaled.mean(), rewards.mean()) && !differ(found, expected) {
                return None;
            }
            let [mean, expected_mean] = [scaled.mean(), rewards.mean()];
            vec![
                ("mean", mean),
                ("expected mean", expected_mean),
                ("variance", found),
                ("expected variance", expected),
            ]
        }
    };
    Some(SCALED_OTHERWISE.found(experience.step, &evidence))
}
