//! What each token of a completion earns: the score at its end, less the price of drift.

use model::StopReason;

use crate::PerToken;

/// What becomes of the score of a completion that was cut because it was too long.
///
/// Such a completion has no end that a person would see; without a price, a policy that never ends
/// loses nothing by it.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoEnd {
    /// It stays.
    Keep,
    /// It is replaced (Ziegler et al. 2019: by −1).
    Fixed(f64),
    /// It is lowered by so much (TRL's `missing_eos_penalty`: 1).
    Subtract(f64),
}

impl NoEnd {
    /// The score that counts.
    #[must_use]
    pub fn settle(self, score: f64, stop_reason: StopReason) -> f64 {
        match (stop_reason, self) {
            (StopReason::EndOfTurn | StopReason::Stopped, _) | (_, Self::Keep) => score,
            (StopReason::Length, Self::Fixed(fixed)) => fixed,
            (StopReason::Length, Self::Subtract(amount)) => score - amount,
        }
    }
}

/// Completions with what policy, reference and reward model say of them.
#[derive(Clone, Copy, Debug)]
pub struct Scored<'a> {
    /// The policy's, of the tokens that it sampled, the stop token among them: `[tokens]`.
    pub logprobs: &'a PerToken,
    /// The reference's, of the same tokens at the same temperature: `[tokens]`.
    pub reference_logprobs: &'a PerToken,
    /// The reward model's, normalized: `[completions]`.
    pub scores: &'a [f64],
    /// Why each completion ended: `[completions]`.
    pub stop_reasons: &'a [StopReason],
}

/// What drift costs, and what becomes of completions without an end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RewardOptions {
    /// The price of a nat of drift, at least 0 (β in the papers).
    pub kl_coefficient: f64,
    /// What becomes of the score of a completion that was cut.
    pub no_end: NoEnd,
}

/// The reward of every token.
///
/// `reward[t] = -kl_coefficient * (logprob[t] - reference_logprob[t])`, and the score on top at the
/// last token. That is the stop token where the completion ended: the policy's choice to end is what
/// the score is of. The charge is the estimator [`K1`](super::kl::Estimator::K1) of
/// KL(policy ‖ reference) on tokens sampled from the policy; it may be below 0 at single tokens.
///
/// # Shapes
///
/// - `logprobs`, `reference_logprobs`: `[tokens]`
/// - `scores`, `stop_reasons`: `[completions]`
/// - returns `[tokens]`
///
/// # Panics
///
/// Panics if the shapes differ or the coefficient is below 0.
///
/// Source: Ziegler et al. 2019, arXiv:1909.08593, equation 2.
#[must_use]
pub fn rewards(scored: &Scored<'_>, options: &RewardOptions) -> PerToken {
    let coefficient = options.kl_coefficient;
    assert!(coefficient >= 0.0, "the price of drift is {coefficient}");
    let completions = scored.logprobs.completions();
    let given = (scored.scores.len(), scored.stop_reasons.len());
    assert!(
        given == (completions, completions),
        "{completions} completions, but scores and stop reasons of {given:?}"
    );
    let charge = |logprob, reference_logprob| -coefficient * (logprob - reference_logprob);
    let mut rewards = scored.logprobs.zip(scored.reference_logprobs, charge);
    for (index, (&score, &reason)) in scored.scores.iter().zip(scored.stop_reasons).enumerate() {
        if let Some(last) = rewards.row_mut(index).last_mut() {
            *last += options.no_end.settle(score, reason);
        }
    }
    rewards
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_is_given_to_the_last_token_of_every_length() {
        let logprobs = PerToken::from_rows(&[&[-1.0][..], &[-2.0, -0.5, -4.0], &[-1.0, -3.0]]);
        let reference_logprobs =
            PerToken::from_rows(&[&[-2.0][..], &[-2.0, -1.5, -3.0], &[-1.5, -2.0]]);
        let scored = Scored {
            logprobs: &logprobs,
            reference_logprobs: &reference_logprobs,
            scores: &[3.0, -2.0, 7.0],
            stop_reasons: &[StopReason::EndOfTurn, StopReason::Stopped, StopReason::Length],
        };
        for (no_end, last) in
            [(NoEnd::Keep, 7.5), (NoEnd::Fixed(-1.0), -0.5), (NoEnd::Subtract(1.0), 6.5)]
        {
            let rewards = rewards(&scored, &RewardOptions { kl_coefficient: 0.5, no_end });
            let expected: [&[f64]; 3] = [&[2.5], &[-0.0, -0.5, -1.5], &[-0.25, last]];
            assert_eq!(rewards, PerToken::from_rows(&expected), "{no_end:?}");
        }
    }

    #[test]
    #[should_panic(expected = "2 completions, but scores and stop reasons of (1, 2)")]
    fn a_score_for_each_completion() {
        let logprobs = PerToken::from_flat(vec![0.0; 2], [1, 1]);
        let scored = Scored {
            logprobs: &logprobs,
            reference_logprobs: &logprobs,
            scores: &[1.0],
            stop_reasons: &[StopReason::EndOfTurn; 2],
        };
        let _ = rewards(&scored, &RewardOptions { kl_coefficient: 0.1, no_end: NoEnd::Keep });
    }
}
