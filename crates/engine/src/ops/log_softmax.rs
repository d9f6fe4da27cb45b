//! Log-softmax of one row of logits: `logprob[v] = (logit[v] - max) / temperature - log_sum`, with
//! `log_sum = log Σ e^((logit - max) / temperature)` over the row.
//!
//! Sampler and loss call this one function, so that a token's log-probability is the same to the
//! bit in both. The row stands alone; the exponentials are added in a fixed order of lanes, in
//! `f32` over 256 logits and in `f64` from there. `1 / temperature` is rounded once and multiplied.

use crate::cpu::{lanes, log_softmax};
use crate::math::double;
use crate::{Device, KernelPath};

/// What turns a logit of a row into a log-probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogSoftmax {
    /// The largest logit.
    pub max: f32,
    /// The logarithm of the sum of `e^((logit - max) / temperature)`.
    pub log_sum: f32,
    /// What logits are multiplied with.
    pub inverse_temperature: f32,
}

impl LogSoftmax {
    /// The log-probability of a token with this logit.
    #[must_use]
    pub fn logprob(&self, logit: f32) -> f32 {
        (logit - self.max) * self.inverse_temperature - self.log_sum
    }

    /// The probability of a token with this logit.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the result is rounded to f32 once")]
    pub fn probability(&self, logit: f32) -> f32 {
        double::exp(f64::from(self.logprob(logit))) as f32
    }

    /// The logit that a token of this probability would have.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the result is rounded to f32 once")]
    pub fn logit(&self, probability: f32) -> f32 {
        let scaled = double::log(f64::from(probability)) + f64::from(self.log_sum);
        (f64::from(self.max) + scaled / f64::from(self.inverse_temperature)) as f32
    }
}

/// Sums up a row of logits at a temperature; 1 leaves the model's own distribution.
///
/// Logits of minus infinity have probability 0. If the row has a logit that is not a number, or
/// none above minus infinity, the log-probabilities are not numbers.
///
/// # Panics
///
/// Panics if the row is empty or the temperature is not above 0.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "the sum in f64 is rounded to f32 once")]
pub fn row(device: &Device, logits: &[f32], temperature: f32) -> LogSoftmax {
    assert!(!logits.is_empty(), "a row of logits");
    assert!(temperature > 0.0, "temperature {temperature}: it must be above 0");
    let inverse_temperature = 1.0 / temperature;
    let path = device.kernels();
    let (max, sum) = if path == KernelPath::Reference {
        reference(logits, inverse_temperature)
    } else {
        let max = lanes::run(path, log_softmax::Maximum(logits));
        let sum = log_softmax::SumOfExponentials { logits, max, inverse_temperature };
        (max, lanes::run(path, sum))
    };
    LogSoftmax { max, log_sum: double::log(sum) as f32, inverse_temperature }
}

fn reference(logits: &[f32], inverse_temperature: f32) -> (f32, f64) {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let scaled = |logit: f32| (f64::from(logit) - f64::from(max)) * f64::from(inverse_temperature);
    (max, logits.iter().map(|&logit| double::exp(scaled(logit))).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, device, numbers, paths, same_bits};

    #[test]
    fn an_example_by_hand() {
        let device = device(KernelPath::Reference, 1);
        let all = row(&device, &[1.0, 3.0], 2.0);
        // Probabilities 1 / (1 + e^±1).
        let logprobs = [all.logprob(1.0), all.logprob(3.0)];
        assert_close(&logprobs, &[-1.313_261_7, -0.313_261_7], 1e-6, "logits 1 and 3");
        assert!((all.probability(3.0) - 0.731_058_6).abs() < 1e-7);
        assert_close(&[all.logit(0.731_058_6)], &[3.0], 1e-6, "the way back");
        assert_close(&[all.probability(1.0)], &[0.268_941_4], 1e-7, "logit 1");
        assert_close(&[all.logit(0.268_941_4)], &[1.0], 1e-6, "probability of logit 1");
    }

    #[test]
    fn fast_twins_follow_the_reference_at_every_size() {
        let sizes = (1..=70).chain([255, 256, 257, 511, 49_152]);
        for length in sizes {
            let logits: Vec<f32> = numbers(1, length).iter().map(|value| 15.0 * value).collect();
            for temperature in [0.3, 1.0, 2.0] {
                let expected = row(&device(KernelPath::Reference, 1), &logits, temperature);
                for path in paths() {
                    let all = row(&device(path, 1), &logits, temperature);
                    assert!(same_bits(&[all.max], &[expected.max]), "{length} on {path:?}");
                    // Exponents reach 100, where a product's rounding is 4e-6 of the exponential;
                    // the terms that count have exponents near 0.
                    let what = format!("{length} on {path:?}");
                    assert_close(&[all.log_sum], &[expected.log_sum], 1e-6, &what);
                }
            }
        }
    }

    #[test]
    fn probabilities_sum_to_one_and_masked_tokens_have_none() {
        let mut logits = numbers(2, 1000);
        logits[7] = f32::NEG_INFINITY;
        for path in paths() {
            let all = row(&device(path, 1), &logits, 0.7);
            let sum: f64 = logits.iter().map(|&x| f64::from(all.logprob(x)).exp()).sum();
            assert!((sum - 1.0).abs() < 1e-6, "{sum} on {path:?}");
            assert!(all.logprob(logits[7]) == f32::NEG_INFINITY);
            logits[7] = f32::NAN;
            assert!(row(&device(path, 1), &logits, 0.7).log_sum.is_nan());
            logits[7] = f32::NEG_INFINITY;
        }
    }

    #[test]
    #[should_panic(expected = "temperature 0")]
    fn temperature_zero_is_refused() {
        let _ = row(&device(KernelPath::Portable, 1), &[1.0], 0.0);
    }
}
