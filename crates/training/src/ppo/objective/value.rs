//! The clipped loss of the values.

use super::{assert_clip_range, share_of};
use crate::PerToken;

/// What was foretold of a token, what is foretold now, and what came of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ForetoldToken {
    /// The value now.
    pub value: f64,
    /// The value when the token was sampled.
    pub old_value: f64,
    /// What it should have foretold: the return.
    pub target: f64,
}

/// The loss of one token, not divided by anything.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ValueToken {
    /// `max((value - target)², (clip(value) - target)²) / 2`.
    pub loss: f64,
    /// Its derivative with respect to the new value.
    pub d_value: f64,
    /// Whether the clipped loss is the larger one, so that the token has no gradient.
    pub clipped: bool,
}

/// The clipped loss of one token's value.
///
/// Half the larger of `(value - target)²` and `(clip(value, old_value - clip_range, old_value +
/// clip_range) - target)²`. The derivative with respect to `value` is `value - target` where the
/// first is at least as large, and 0 where the second is larger.
///
/// # Panics
///
/// Panics if the clip range is not above 0.
///
/// Source: `openai/baselines` `ppo2/model.py`; `openai/lm-human-preferences` `train_policy.py`, which
/// takes a clip range of 0.2 and a coefficient of 0.1 for this loss beside the policy's. The
/// coefficient is the caller's.
#[must_use]
pub fn value_token(token: &ForetoldToken, clip_range: f64) -> ValueToken {
    assert_clip_range(clip_range);
    let ForetoldToken { value, old_value, target } = *token;
    let held = value.clamp(old_value - clip_range, old_value + clip_range);
    let (free, bounded) = (value - target, held - target);
    let clipped = bounded * bounded > free * free;
    let (apart, d_value) = if clipped { (bounded, 0.0) } else { (free, free) };
    ValueToken { loss: 0.5 * apart * apart, d_value, clipped }
}

/// What was foretold of many tokens, what is foretold now, and what came of it; `[tokens]` each.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// The values now.
    pub values: &'a PerToken,
    /// The values when the tokens were sampled.
    pub old_values: &'a PerToken,
    /// What they should have foretold.
    pub returns: &'a PerToken,
}

/// Shares of the minibatch's means: see the [module](super).
#[derive(Clone, Debug, PartialEq)]
pub struct ValueLoss {
    /// The loss.
    pub loss: f64,
    /// Its derivative with respect to each new value: `[tokens]`.
    pub d_values: PerToken,
    /// The share of tokens that were clipped.
    pub clip_fraction: f64,
}

/// The clipped loss of many tokens' values: the sum of [`value_token`] over them, divided by the
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
pub fn value(values: &Values<'_>, clip_range: f64, minibatch_tokens: usize) -> ValueLoss {
    values.values.assert_shape(values.old_values);
    values.values.assert_shape(values.returns);
    let share = share_of(values.values.tokens(), minibatch_tokens);
    let (mut loss, mut clipped) = (0.0, 0.0);
    let mut d_values = Vec::with_capacity(values.values.tokens());
    let pairs = values.values.flat().iter().zip(values.old_values.flat());
    for ((&value, &old_value), &target) in pairs.zip(values.returns.flat()) {
        let token = value_token(&ForetoldToken { value, old_value, target }, clip_range);
        loss += token.loss;
        clipped += f64::from(u8::from(token.clipped));
        d_values.push(token.d_value * share);
    }
    let d_values = PerToken::like(values.values, d_values);
    ValueLoss { loss: loss * share, d_values, clip_fraction: clipped * share }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_near, numbers, slope};

    #[test]
    fn the_gradient_is_the_slope_on_both_sides_of_both_clips() {
        for target in [-3.0, 0.05, 3.0] {
            for value in [-1.0, -0.3, -0.1, 0.0, 0.1, 0.3, 1.0] {
                let at = |value| value_token(&ForetoldToken { value, old_value: 0.0, target }, 0.2);
                let slope = slope(|value| at(value).loss, value);
                let found = at(value);
                assert!((found.d_value - slope).abs() < 1e-8, "{target} {value}: {found:?}");
            }
        }
    }

    #[test]
    fn a_value_that_went_too_far_toward_its_target_waits() {
        let token = ForetoldToken { value: 0.5, old_value: 0.0, target: 1.0 };
        let found = value_token(&token, 0.25);
        assert_eq!(found, ValueToken { loss: 0.281_25, d_value: 0.0, clipped: true });
        let away = value_token(&ForetoldToken { target: -1.0, ..token }, 0.25);
        assert_eq!(away, ValueToken { loss: 1.125, d_value: 1.5, clipped: false });
    }

    #[test]
    fn micro_batches_add_up_to_the_minibatch() {
        let [new, old, returns] = [3, 4, 5].map(|seed| numbers(seed, [1, 9, 30]));
        let of = |rows: &[usize]| {
            let [new, old, returns] = [&new, &old, &returns].map(|numbers| numbers.select(rows));
            value(&Values { values: &new, old_values: &old, returns: &returns }, 0.2, 40)
        };
        let (whole, left, right) = (of(&[0, 1, 2]), of(&[0]), of(&[1, 2]));
        assert!((left.loss + right.loss - whole.loss).abs() < 1e-14);
        let both = [left.d_values.flat(), right.d_values.flat()].concat();
        assert_near(&both, whole.d_values.flat(), 0.0);
        assert!(whole.clip_fraction > 0.0 && whole.clip_fraction < 1.0, "{}", whole.clip_fraction);
    }
}
