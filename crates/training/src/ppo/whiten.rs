//! Numbers brought to variance 1 over all tokens of a batch.

use crate::PerToken;

/// What becomes of the mean.
///
/// Flags of other programs that are called `shift_mean` say opposite things: with `True`,
/// lm-human-preferences and verl leave a mean of 0, torchtune adds the mean back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mean {
    /// It becomes 0: for advantages.
    Shift,
    /// It stays what it was: for rewards, whose sign says something.
    Keep,
}

/// Added to the variance, so that equal numbers become 0 and not something that is no number.
const LEAST_VARIANCE: f64 = 1e-8;

/// Numbers of variance 1.
///
/// `(value - mean) / sqrt(variance + 1e-8)`, plus the mean where it is kept. Mean and variance are
/// over all tokens of all completions, each counting the same; the variance is the population's,
/// which divides by the tokens and not by one less, as in lm-human-preferences (`tf.nn.moments`).
/// TRL, torchtune and verl divide by one less.
///
/// # Shapes
///
/// `[tokens]`; nothing comes of no tokens.
///
/// Source: `whiten` of `openai/lm-human-preferences`; Huang et al. 2023, "The N implementation
/// details of RLHF with PPO", detail "Reward whitening".
#[must_use]
pub fn whiten(values: &PerToken, mean: Mean) -> PerToken {
    let center = values.mean();
    let variance = values.map(|value| (value - center) * (value - center)).mean();
    let deviation = (variance + LEAST_VARIANCE).sqrt();
    let rest = match mean {
        Mean::Shift => 0.0,
        Mean::Keep => center,
    };
    values.map(|value| (value - center) / deviation + rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_near, numbers};

    /// The example of "The N implementation details of RLHF with PPO", made there with OpenAI's code.
    #[test]
    fn the_published_example_keeps_its_mean() {
        let rewards = PerToken::from_rows(&[[1.2, 1.3, 1.4], [1.5, 1.6, 1.7], [1.8, 1.9, 2.0]]);
        let expected = [0.0508, 0.4381, 0.8254, 1.2127, 1.6000, 1.9873, 2.3746, 2.7619, 3.1492];
        assert_near(whiten(&rewards, Mean::Keep).flat(), &expected, 5e-5);
        let shifted = whiten(&rewards, Mean::Shift).map(|value| value + 1.6);
        assert_near(shifted.flat(), &expected, 5e-5);
    }

    #[test]
    fn mean_and_variance_are_over_tokens_and_lengths_do_not_matter() {
        let values = numbers(5, [1, 9, 30]);
        let whitened = whiten(&values, Mean::Shift);
        let variance = whitened.map(|value| value * value).mean();
        assert!(whitened.mean().abs() < 1e-14 && (variance - 1.0).abs() < 1e-7, "{variance}");
        let other = PerToken::from_flat(values.flat().to_vec(), [20, 20]);
        assert_eq!(whiten(&other, Mean::Shift).flat(), whitened.flat());
        let kept = whiten(&values, Mean::Keep);
        assert!((kept.mean() - values.mean()).abs() < 1e-14);
    }

    #[test]
    fn equal_numbers_have_no_deviation() {
        let equal = PerToken::from_flat(vec![3.0; 4], [1, 3]);
        assert_eq!(whiten(&equal, Mean::Shift).flat(), [0.0; 4]);
        assert_eq!(whiten(&equal, Mean::Keep), equal);
    }
}
