//! Draws a token from `softmax(logits / temperature)`:
//! `argmax_v (logit[v] * inverse_temperature + gumbel(seed, position, v))`, ties to the lower token.
//!
//! The noise is [`random::gumbel`]'s. Logarithms are taken only of random words that can still win:
//! with `small = (word + 1/2) / 2^32` the noise is `-log(-log(1 - small))`, at most `-log small`, so
//! most tokens are out by one comparison of their word. The result is the same on every path, in
//! any batch and on any number of threads (`draws_are_the_largest_sums`).

use crate::Device;
use crate::cpu::lanes::{Kernel, LANES, Lanes, run_same_bits};
use crate::cpu::log_softmax::Maximum;
use crate::math::double;
use crate::random::{self, NoiseWords};

/// Tokens that are looked at together.
const RUN: usize = 4 * LANES;

/// The token that is drawn.
///
/// # Panics
///
/// Panics if the row is empty or `inverse_temperature` is not finite and above 0.
#[must_use]
pub fn row(
    device: &Device,
    logits: &[f32],
    inverse_temperature: f32,
    seed: u64,
    position: u64,
) -> u32 {
    assert!(!logits.is_empty(), "a row of logits");
    let usable = inverse_temperature > 0.0 && inverse_temperature.is_finite();
    assert!(usable, "inverse temperature {inverse_temperature}: it must be finite and above 0");
    run_same_bits(device.kernels(), Draw { logits, inverse_temperature, seed, position })
}

struct Draw<'a> {
    logits: &'a [f32],
    inverse_temperature: f32,
    seed: u64,
    position: u64,
}

/// The best token so far.
struct Best {
    token: u32,
    score: f32,
}

impl Best {
    fn consider(&mut self, token: u32, score: f32) {
        if score > self.score || (score >= self.score && token < self.token) {
            *self = Self { token, score };
        }
    }
}

impl Kernel for Draw<'_> {
    type Output = u32;

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "tokens are 32-bit numbers")]
    fn run<L: Lanes>(self) -> u32 {
        let score = |token: usize| {
            let noise = random::gumbel(self.seed, self.position, token as u32);
            self.logits[token] * self.inverse_temperature + noise
        };
        // Most draws end with the most probable token: with its score most words are too large.
        let largest = Maximum(self.logits).run::<L>();
        let peak = self.logits.iter().position(|logit| *logit >= largest).unwrap_or(0);
        let mut best = Best { token: peak as u32, score: score(peak) };
        let noise = NoiseWords::new(self.seed, self.position);
        for (run, logits) in self.logits.chunks(RUN).enumerate() {
            let most =
                largest_word(best.score, Maximum(logits).run::<L>() * self.inverse_temperature);
            let words = noise.of_run(run);
            let smallest = words.iter().flatten().copied().fold(u32::MAX, u32::min);
            if smallest > most {
                continue;
            }
            for (at, _) in logits.iter().enumerate() {
                if words[at % 4][at / 4] <= most {
                    best.consider((run * RUN + at) as u32, score(run * RUN + at));
                }
            }
        }
        best.token
    }
}

/// The largest word whose noise could lift `scaled` to `best`, rounding errors allowed for.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "saturates at the largest word")]
#[expect(clippy::cast_sign_loss, reason = "exponentials are not negative")]
fn largest_word(best: f32, scaled: f32) -> u32 {
    const WORDS: f64 = 4_294_967_296.0;
    let gap = f64::from(best) - f64::from(scaled);
    let slack = 1e-3 + 1e-6 * f64::from(best).abs();
    // Not a number for infinite logits: then nothing is ruled out.
    if gap > slack { (double::exp(slack - gap) * WORDS) as u32 } else { u32::MAX }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KernelPath;
    use crate::testing::{device, numbers, paths};

    /// The formula, token by token.
    fn slowly(logits: &[f32], inverse_temperature: f32, seed: u64, position: u64) -> u32 {
        let scores = (0..).zip(logits).map(|(token, logit)| {
            (token, logit * inverse_temperature + random::gumbel(seed, position, token))
        });
        let best = scores.reduce(|best, other| if other.1 > best.1 { other } else { best });
        best.unwrap().0
    }

    #[test]
    fn draws_are_the_largest_sums() {
        for length in [1, 2, 63, 64, 65, 1000, 5000] {
            let values = numbers(length as u64, length);
            for (spread, inverse_temperature) in
                [(0.0, 1.0), (1.0, 1.0), (10.0, 1.0), (10.0, 0.5), (10.0, 100.0), (1e30, 1e10)]
            {
                let logits: Vec<f32> = values.iter().map(|value| value * spread).collect();
                for position in 0..20 {
                    let expected = slowly(&logits, inverse_temperature, 5, position);
                    for path in paths().into_iter().chain([KernelPath::Reference]) {
                        let device = device(path, 1);
                        let token = row(&device, &logits, inverse_temperature, 5, position);
                        let what = format!("{length} × {spread} × {inverse_temperature}");
                        assert_eq!(token, expected, "{what} at {position} on {path:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn noise_is_never_above_its_bound() {
        for token in 0..20_000 {
            let noise = random::gumbel(3, 8, token);
            let word = NoiseWords::new(3, 8).of_run(token as usize / RUN)[token as usize % 4]
                [token as usize % RUN / 4];
            assert!(word <= largest_word(noise, 0.0), "{noise} of {word}");
        }
    }
}
