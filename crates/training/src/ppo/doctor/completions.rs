//! What was sampled, and whether all that is said of it are numbers.

use model::StopReason;

use super::{Diagnosis, Finding};
use crate::per_token::count;
use crate::ppo::step::Experience;
use crate::ppo::{PpoOptions, Rollout, RolloutOptions};

pub(super) const NOT_FINITE: Diagnosis = Diagnosis::fault(
    "not-a-number",
    "a log-probability, score, reward or value is not finite",
    "lower ppo.learning_rate; where it is so in step 1, train the reward model again",
);

/// All numbers are finite.
pub(super) fn not_finite(experience: &Experience, _: &PpoOptions) -> Option<Finding> {
    let arrays = [
        ("log-probability of completion", &experience.logprobs),
        ("reference's log-probability of completion", &experience.reference_logprobs),
        ("reward of completion", &experience.rewards),
        ("value of completion", &experience.values),
        ("advantage of completion", &experience.advantages),
    ];
    let of_scores = experience.scores.iter().position(|score| !score.is_finite());
    let of_arrays = arrays.iter().find_map(|(of, numbers)| {
        let place = numbers.rows().position(|row| row.iter().any(|number| !number.is_finite()));
        place.map(|completion| (*of, completion))
    });
    let (of, completion) = of_scores.map(|place| ("score of completion", place)).or(of_arrays)?;
    Some(NOT_FINITE.found(experience.step, &[(of, count(completion))]))
}

pub(super) const ABOVE_ONE: Diagnosis = Diagnosis::fault(
    "probability-above-one",
    "a token was sampled with a probability above 1, so its distribution is not normalized",
    "report it with the recipe and the CPU's name",
);

/// No probability is above 1 by more than the rounding of f32.
pub(super) fn above_one(experience: &Experience, _: &PpoOptions) -> Option<Finding> {
    let arrays = [&experience.logprobs, &experience.reference_logprobs];
    let highest = arrays.iter().flat_map(|numbers| numbers.flat()).copied().fold(0.0, f64::max);
    let is_above = highest > 1e-3;
    is_above.then(|| ABOVE_ONE.found(experience.step, &[("log-probability", highest)]))
}

pub(super) const AFTER_THE_STOP: Diagnosis = Diagnosis::fault(
    "token-after-the-stop",
    "a completion goes on after a token that ends it, so what follows is learned and never served",
    "report it with the tokenizer's folder",
);

/// A token that ends a completion is its last one.
pub(super) fn after_the_stop(experience: &Experience, options: &PpoOptions) -> Option<Finding> {
    let stops = &options.rollouts.stop_tokens;
    let inside = |rollout: &Rollout| {
        let before = rollout.completion.split_last().map_or(&[][..], |(_, before)| before);
        before.iter().position(|token| stops.contains(token))
    };
    let mut places = experience.rollouts.iter().map(inside).enumerate();
    let (completion, token) = places.find_map(|(place, token)| Some((place, token?)))?;
    let evidence = [("completion", count(completion)), ("token", count(token))];
    Some(AFTER_THE_STOP.found(experience.step, &evidence))
}

pub(super) const ENDED_OTHERWISE: Diagnosis = Diagnosis::fault(
    "ended-otherwise",
    "a completion is said to have ended where its last token ends none, or to be cut where it does, \
     so the price of a missing end falls on the wrong ones",
    "check that the tokenizer's end of a turn is the token that the model was taught",
);

/// A completion ended exactly where its last token is one that ends it, and was cut at the most
/// tokens.
pub(super) fn ended_otherwise(experience: &Experience, options: &PpoOptions) -> Option<Finding> {
    let RolloutOptions { stop_tokens, completion_tokens, .. } = &options.rollouts;
    let is_wrong = |rollout: &Rollout| {
        let stops = rollout.completion.last().is_some_and(|last| stop_tokens.contains(last));
        let ended = rollout.stop_reason == StopReason::EndOfTurn;
        stops != ended || rollout.completion.len() > *completion_tokens
    };
    let completion = experience.rollouts.iter().position(is_wrong)?;
    let tokens = experience.rollouts[completion].completion.len();
    let evidence = [("completion", count(completion)), ("tokens", count(tokens))];
    Some(ENDED_OTHERWISE.found(experience.step, &evidence))
}
