//! How undecided the policy is at one place.

/// The entropy of `softmax(logits / temperature)` in nats, between 0 and `log(vocab)`.
///
/// `entropy = -Σ_v probability[v] * logprob[v]`. A token whose logit is −infinity adds nothing.
///
/// # Shapes
///
/// `[vocab]`, the logits of one place.
///
/// # Panics
///
/// Panics if no logit is finite or the temperature is not above 0.
#[must_use]
pub fn entropy(logits: &[f64], temperature: f64) -> f64 {
    let logprobs = logprobs(logits, temperature);
    -logprobs.into_iter().map(weighted).sum::<f64>()
}

/// The derivative of [`entropy`] with respect to each logit, times `factor`.
///
/// `d_logits[v] = -factor / temperature * probability[v] * (logprob[v] + entropy)`.
///
/// # Shapes
///
/// `[vocab]`, in and out.
///
/// # Panics
///
/// Panics if no logit is finite or the temperature is not above 0.
#[must_use]
pub fn d_entropy(logits: &[f64], temperature: f64, factor: f64) -> Vec<f64> {
    let logprobs = logprobs(logits, temperature);
    let entropy = -logprobs.iter().copied().map(weighted).sum::<f64>();
    let slope =
        |logprob: f64| -factor / temperature * (weighted(logprob) + engine::exp(logprob) * entropy);
    logprobs.into_iter().map(slope).collect()
}

/// `probability * logprob`, which is 0 where the probability is 0.
fn weighted(logprob: f64) -> f64 {
    let probability = engine::exp(logprob);
    if probability > 0.0 { probability * logprob } else { 0.0 }
}

fn logprobs(logits: &[f64], temperature: f64) -> Vec<f64> {
    assert!(temperature > 0.0, "a temperature of {temperature}");
    let highest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    assert!(highest.is_finite(), "the highest of {} logits is {highest}", logits.len());
    let scaled = |logit: &f64| (logit - highest) / temperature;
    let total: f64 = logits.iter().map(|logit| engine::exp(scaled(logit))).sum();
    let total = engine::log(total);
    logits.iter().map(|logit| scaled(logit) - total).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_near, draws, slope};

    #[test]
    fn the_undecided_and_the_decided() {
        assert!((entropy(&[2.0; 8], 0.3) - 8.0_f64.ln()).abs() < 1e-15);
        assert!(entropy(&[1e4, 0.0, f64::NEG_INFINITY], 1.0).abs() < 1e-15);
        // 3/4 and 1/4.
        let expected = 4.0_f64.ln() - 0.75 * 3.0_f64.ln();
        assert!((entropy(&[3.0_f64.ln(), 0.0], 1.0) - expected).abs() < 1e-15);
    }

    #[test]
    fn the_gradient_is_the_slope() {
        let logits = draws(3, 6);
        for temperature in [0.5, 1.0, 2.0] {
            let of = |v: usize| {
                let at = |logit| {
                    let mut moved = logits.clone();
                    moved[v] = logit;
                    1.7 * entropy(&moved, temperature)
                };
                slope(at, logits[v])
            };
            let slopes: Vec<f64> = (0..logits.len()).map(of).collect();
            assert_near(&d_entropy(&logits, temperature, 1.7), &slopes, 1e-9);
        }
    }
}
