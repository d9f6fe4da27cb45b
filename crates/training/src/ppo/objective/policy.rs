//! The clipped objective of the policy.

use super::{assert_clip_range, share_of};
use crate::PerToken;

/// A token that was sampled, and what the policy says of it now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampledToken {
    /// Its log-probability under the policy that learns.
    pub logprob: f64,
    /// Its log-probability under the policy that sampled it.
    pub old_logprob: f64,
    /// How much better it did than was foretold, whitened.
    pub advantage: f64,
}

/// The loss of one token, not divided by anything.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PolicyToken {
    /// `max(-advantage * ratio, -advantage * clip(ratio))`.
    pub loss: f64,
    /// Its derivative with respect to the new log-probability.
    pub d_logprob: f64,
    /// New over old probability.
    pub ratio: f64,
    /// Whether the clipped loss is the larger one, so that the token has no gradient.
    pub clipped: bool,
}

/// The clipped objective of one token: what a callback asks that holds the logits of one token at a
/// time.
///
/// With `ratio = exp(logprob - old_logprob)`, the larger of `-advantage * ratio` and `-advantage *
/// clip(ratio, 1 - clip_range, 1 + clip_range)`. The derivative with respect to `logprob` is
/// `-advantage * ratio` where the first is at least as large, and 0 where the second is larger, which
/// does not move with the ratio.
///
/// # Panics
///
/// Panics if the clip range is not above 0.
///
/// Source: Schulman et al. 2017, arXiv:1707.06347, equation 7, negated.
#[must_use]
pub fn policy_token(token: &SampledToken, clip_range: f64) -> PolicyToken {
    assert_clip_range(clip_range);
    let ratio = engine::exp(token.logprob - token.old_logprob);
    let unclipped = -token.advantage * ratio;
    let bounded = -token.advantage * ratio.clamp(1.0 - clip_range, 1.0 + clip_range);
    let clipped = bounded > unclipped;
    let (loss, d_logprob) = if clipped { (bounded, 0.0) } else { (unclipped, unclipped) };
    PolicyToken { loss, d_logprob, ratio, clipped }
}

/// Tokens that were sampled, and what the policy says of them now; `[tokens]` each.
#[derive(Clone, Copy, Debug)]
pub struct Tokens<'a> {
    /// Log-probabilities under the policy that learns.
    pub logprobs: &'a PerToken,
    /// Log-probabilities under the policy that sampled them.
    pub old_logprobs: &'a PerToken,
    /// How much better they did than was foretold, whitened.
    pub advantages: &'a PerToken,
}

/// Shares of the minibatch's means: see the [module](super).
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyLoss {
    /// The loss.
    pub loss: f64,
    /// Its derivative with respect to each new log-probability: `[tokens]`.
    pub d_logprobs: PerToken,
    /// The ratio's mean; 1 before the first update of a step.
    pub ratio: f64,
    /// The share of tokens that were clipped; 0 before the first update of a step.
    pub clip_fraction: f64,
    /// KL(old policy ‖ new policy) on tokens sampled from the old, by the estimator k2:
    /// `(logprob - old_logprob)² / 2`; 0 before the first update of a step.
    pub approx_kl: f64,
}

/// The clipped objective of many tokens: the sum of [`policy_token`] over them, divided by the
/// tokens of the whole minibatch.
///
/// # Shapes
///
/// All `[tokens]`; `minibatch_tokens` counts those of all micro-batches together.
///
/// # Panics
///
/// Panics if the shapes differ, there are more tokens than in the minibatch, or the clip range is
/// not above 0.
#[must_use]
pub fn policy(tokens: &Tokens<'_>, clip_range: f64, minibatch_tokens: usize) -> PolicyLoss {
    tokens.logprobs.assert_shape(tokens.old_logprobs);
    tokens.logprobs.assert_shape(tokens.advantages);
    let share = share_of(tokens.logprobs.tokens(), minibatch_tokens);
    let (mut loss, mut ratio, mut clipped, mut approx_kl) = (0.0, 0.0, 0.0, 0.0);
    let mut d_logprobs = Vec::with_capacity(tokens.logprobs.tokens());
    let pairs = tokens.logprobs.flat().iter().zip(tokens.old_logprobs.flat());
    for ((&logprob, &old_logprob), &advantage) in pairs.zip(tokens.advantages.flat()) {
        let token = policy_token(&SampledToken { logprob, old_logprob, advantage }, clip_range);
        loss += token.loss;
        ratio += token.ratio;
        clipped += f64::from(u8::from(token.clipped));
        approx_kl += 0.5 * (logprob - old_logprob) * (logprob - old_logprob);
        d_logprobs.push(token.d_logprob * share);
    }
    PolicyLoss {
        loss: loss * share,
        d_logprobs: PerToken::like(tokens.logprobs, d_logprobs),
        ratio: ratio * share,
        clip_fraction: clipped * share,
        approx_kl: approx_kl * share,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_near, numbers, slope};

    #[test]
    fn the_gradient_is_the_slope_on_both_sides_of_both_clips() {
        for advantage in [-1.5, 0.0, 0.7] {
            for moved in [-0.9, -0.3, -0.1, 0.0, 0.1, 0.3, 0.9] {
                let at = |logprob| {
                    policy_token(&SampledToken { logprob, old_logprob: -2.0, advantage }, 0.2)
                };
                let slope = slope(|logprob| at(logprob).loss, moved - 2.0);
                let found = at(moved - 2.0);
                assert!((found.d_logprob - slope).abs() < 1e-8, "{advantage} {moved}: {found:?}");
                // Clipped is only what has gone where the advantage sends it.
                let gone = (moved > 0.2 && advantage > 0.0) || (moved < -0.25 && advantage < 0.0);
                assert_eq!(found.clipped, gone, "{advantage} {moved}");
            }
        }
    }

    #[test]
    fn a_policy_that_has_not_moved_is_not_clipped_and_not_away() {
        let (logprobs, advantages) = (numbers(1, [3, 8]), numbers(2, [3, 8]));
        let tokens =
            Tokens { logprobs: &logprobs, old_logprobs: &logprobs, advantages: &advantages };
        let found = policy(&tokens, 0.2, 11);
        assert!(found.clip_fraction == 0.0 && found.approx_kl == 0.0, "{found:?}");
        assert!((found.ratio - 1.0).abs() < 1e-15);
        assert!((found.loss + advantages.mean()).abs() < 1e-14);
        assert_near(found.d_logprobs.flat(), advantages.map(|a| -a / 11.0).flat(), 1e-15);
    }

    #[test]
    fn micro_batches_add_up_to_the_minibatch() {
        let lengths = [1, 9, 30, 2];
        let [logprobs, old_logprobs, advantages] = [3, 4, 5].map(|seed| numbers(seed, lengths));
        let of = |rows: &[usize]| {
            let [logprobs, old_logprobs, advantages] =
                [&logprobs, &old_logprobs, &advantages].map(|numbers| numbers.select(rows));
            let tokens = Tokens {
                logprobs: &logprobs,
                old_logprobs: &old_logprobs,
                advantages: &advantages,
            };
            policy(&tokens, 0.2, 42)
        };
        let whole = of(&[0, 1, 2, 3]);
        for cut in 1..4 {
            let (left, right) = ([0, 1, 2, 3][..cut].to_vec(), [0, 1, 2, 3][cut..].to_vec());
            let (left, right) = (of(&left), of(&right));
            assert!((left.loss + right.loss - whole.loss).abs() < 1e-14, "{cut}");
            let both = [left.d_logprobs.flat(), right.d_logprobs.flat()].concat();
            assert_eq!(both, whole.d_logprobs.flat(), "{cut}");
            let clipped = left.clip_fraction + right.clip_fraction;
            assert!((clipped - whole.clip_fraction).abs() < 1e-15 && clipped > 0.0, "{cut}");
        }
    }
}
