//! Random numbers as a function of seed and place: Philox4x32-10, and the Gumbel noise of sampling.
//!
//! There is no generator to carry along: the number for a token at a position is the same whoever
//! asks, in any order, in any batch, on any kernel path and thread count. A draw from
//! `softmax(logits / temperature)` is `argmax(logit / temperature + gumbel(seed, position,
//! token))`, ties to the lower token (Gumbel 1954; the "Gumbel-max trick").
//!
//! Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

use crate::cpu::lanes::{Arithmetic, LANES};
use crate::math;

const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
/// Golden ratio and √3 − 1: what the key grows by in each round.
const WEYL: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];
const ROUNDS: usize = 10;

/// The upper half of the second counter when the numbers are noise for sampling.
const SAMPLING: u64 = 0;
/// The same when they are normal draws.
const NORMAL: u64 = 1;
/// The same when they are uniform draws.
const UNIFORM: u64 = 2;
/// The same when they are the key of a series of draws.
const SERIES: u64 = 3;
/// The same when they are draws below a bound.
const BELOW: u64 = 4;

/// The counter-based generator Philox4x32 with ten rounds, keyed by a seed.
#[derive(Clone, Copy, Debug)]
pub struct Philox {
    key: [u32; 2],
}

impl Philox {
    /// The generator of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { key: halves(seed) }
    }

    /// The four random words of a counter; each bit is even odds.
    #[must_use]
    pub fn block(&self, counter: [u64; 2]) -> [u32; 4] {
        let ([c0, c1], [c2, c3]) = (halves(counter[0]), halves(counter[1]));
        self.blocks([[c0], [c1], [c2], [c3]]).map(|[word]| word)
    }

    /// `N` counters at once, as four arrays of words.
    #[inline(always)]
    fn blocks<const N: usize>(&self, mut words: [[u32; N]; 4]) -> [[u32; N]; 4] {
        let mut key = self.key;
        for _ in 0..ROUNDS {
            let [c0, c1, c2, c3] = &mut words;
            for lane in 0..N {
                let [low_0, high_0] = product(MULTIPLIERS[0], c0[lane]);
                let [low_1, high_1] = product(MULTIPLIERS[1], c2[lane]);
                c0[lane] = high_1 ^ c1[lane] ^ key[0];
                c1[lane] = low_1;
                c2[lane] = high_0 ^ c3[lane] ^ key[1];
                c3[lane] = low_0;
            }
            key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
        }
        words
    }
}

/// The lower and the upper half.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the halves of a 64-bit word")]
fn halves(word: u64) -> [u32; 2] {
    [word as u32, (word >> 32) as u32]
}

/// The lower and the upper half of a product.
#[inline(always)]
fn product(left: u32, right: u32) -> [u32; 2] {
    halves(u64::from(left) * u64::from(right))
}

/// Standard Gumbel noise, `-log(-log u)`, for one token at one position.
///
/// `position` is the place in the sequence that the token would take. Values lie between −3.2 and
/// 22.9; `u` has 33 bits, resolved finely at both ends.
#[must_use]
pub fn gumbel(seed: u64, position: u64, token: u32) -> f32 {
    let words = Philox::new(seed).block([position, SAMPLING << 32 | u64::from(token / 4)]);
    let word = words[token as usize % 4];
    gumbel_of(unit(word), unit(!word))
}

/// The random words behind [`gumbel`] at one position, for runs of `4 * LANES` tokens.
pub(crate) struct NoiseWords {
    philox: Philox,
    position: [u32; 2],
}

impl NoiseWords {
    pub(crate) fn new(seed: u64, position: u64) -> Self {
        Self { philox: Philox::new(seed), position: halves(position) }
    }

    /// The words of a run; that of its token `t` is `[t % 4][t / 4]`.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "tokens are 32-bit numbers")]
    pub(crate) fn of_run(&self, run: usize) -> [[u32; LANES]; 4] {
        let first = (run * LANES) as u32;
        let counters = std::array::from_fn(|lane| first + lane as u32);
        let ([low, high], [_, domain]) = (self.position, halves(SAMPLING << 32));
        self.philox.blocks([[low; LANES], [high; LANES], counters, [domain; LANES]])
    }
}

/// A draw from the normal distribution of mean 0 and variance 1, by its number in the seed's
/// series.
///
/// Source: Box and Muller, "A note on the generation of random normal deviates", 1958.
#[must_use]
pub fn normal(seed: u64, index: u64) -> f32 {
    let words = Philox::new(seed).block([index, NORMAL << 32]);
    let radius = (-2.0 * math::log(unit(words[0]))).sqrt();
    radius * math::sin_cos(std::f32::consts::TAU * unit(words[1])).1
}

/// A draw from the uniform distribution from -1 to 1, by its number in the seed's series.
#[must_use]
pub fn uniform(seed: u64, index: u64) -> f32 {
    let words = Philox::new(seed).block([index, UNIFORM << 32]);
    2.0 * unit(words[0]) - 1.0
}

/// Which of many series of draws: those of one seed, one step and one epoch have nothing in common
/// with any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Series {
    /// The seed of the run.
    pub seed: u64,
    /// Which step of it.
    pub step: u64,
    /// Which epoch of the step.
    pub epoch: u32,
}

impl Series {
    /// A draw from `0..bound` by its number in the series; no value is likelier than another by more
    /// than a share `bound / 2^64`.
    ///
    /// # Panics
    ///
    /// Panics if the bound is 0.
    #[must_use]
    pub fn below(&self, bound: u64, index: u64) -> u64 {
        assert!(bound > 0, "a draw from nothing");
        let words = self.philox().block([index, BELOW << 32]);
        let word = u64::from(words[0]) << 32 | u64::from(words[1]);
        let high = (u128::from(word) * u128::from(bound)) >> 64;
        u64::try_from(high).unwrap_or(bound - 1)
    }

    /// The numbers below `count`, each once, in random order.
    ///
    /// Source: Fisher and Yates; Durstenfeld 1964, "Algorithm 235: random permutation".
    #[must_use]
    pub fn permutation(&self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            let place = last as u64;
            let other = usize::try_from(self.below(place + 1, place)).unwrap_or(last);
            order.swap(last, other);
        }
        order
    }

    /// The generator of the series: its key is what the seed's generator gives for step and epoch.
    fn philox(&self) -> Philox {
        let counter = [self.step, SERIES << 32 | u64::from(self.epoch)];
        let words = Philox::new(self.seed).block(counter);
        Philox::new(u64::from(words[0]) << 32 | u64::from(words[1]))
    }
}

/// A word as a number above 0 and at most 1.
#[inline(always)]
#[expect(clippy::cast_precision_loss, reason = "rounding to the nearest f32 is meant")]
fn unit(word: u32) -> f32 {
    const SCALE: f32 = 1.0 / 4_294_967_296.0;
    (word as f32 + 0.5) * SCALE
}

/// `-log(-log(1 - small))`, where `rest` is `1 - small`, each with its own full precision.
#[inline(always)]
fn gumbel_of<A: Arithmetic>(small: A, rest: A) -> A {
    let near_one = math::log_from_parts(small.neg(), A::splat(0.0));
    let exponential = small.select_less(A::splat(0.25), near_one, math::log(rest)).neg();
    math::log(exponential).neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors `philox4x32 10` of the authors' library Random123, file `kat_vectors`.
    #[test]
    fn known_answers() {
        let cases = [
            ([0; 2], 0, [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u64::MAX; 2], u64::MAX, [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x85a3_08d3_243f_6a88, 0x0370_7344_1319_8a2e],
                0x299f_31d0_a409_3822,
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, seed, words) in cases {
            assert_eq!(Philox::new(seed).block(counter), words, "counter {counter:x?}");
        }
    }

    #[test]
    fn noise_follows_the_formula_and_its_moments() {
        let count = 200_000;
        let mut sum = 0.0;
        let mut squares = 0.0;
        for token in 0..count {
            let word = Philox::new(3).block([9, u64::from(token / 4)])[token as usize % 4];
            let small = (f64::from(word) + 0.5) / 4_294_967_296.0;
            let truth = -(-(-small).ln_1p()).ln();
            let value = f64::from(gumbel(3, 9, token));
            assert!((value - truth).abs() < 1e-6 * truth.abs().max(1.0), "{value} {truth}");
            sum += value;
            squares += value * value;
        }
        // Mean 0.5772 (Euler's constant), variance π²/6; four standard errors.
        let mean = sum / f64::from(count);
        assert!((mean - 0.577_216).abs() < 4.0 * 1.2825 / f64::from(count).sqrt(), "{mean}");
        let variance = squares / f64::from(count) - mean * mean;
        assert!((variance - 1.644_934).abs() < 0.035, "{variance}");
    }

    #[test]
    fn normal_draws_have_their_moments() {
        let count = 200_000;
        let mut moments = [0.0; 4];
        for index in 0..count {
            let value = f64::from(normal(5, index));
            for (power, moment) in (1..).zip(&mut moments) {
                *moment += value.powi(power) / count as f64;
            }
        }
        // Four standard errors: the moments' variances are 1, 2, 15 and 96 over the count.
        for ((moment, expected), variance) in
            moments.iter().zip([0.0, 1.0, 0.0, 3.0]).zip([1.0, 2.0, 15.0, 96.0])
        {
            let bound = 4.0 * f64::sqrt(variance / count as f64);
            assert!((moment - expected).abs() < bound, "{moments:?}");
        }
    }

    #[test]
    fn uniform_draws_have_their_moments() {
        let count = 200_000;
        let (mut mean, mut squares) = (0.0, 0.0);
        for index in 0..count {
            let value = f64::from(uniform(5, index));
            assert!(value.abs() <= 1.0, "{value}");
            mean += value / count as f64;
            squares += value * value / count as f64;
        }
        // Four standard errors: the variances are 1/3, and of the squares 4/45.
        let bound = |variance: f64| 4.0 * (variance / count as f64).sqrt();
        assert!(mean.abs() < bound(1.0 / 3.0), "{mean}");
        assert!((squares - 1.0 / 3.0).abs() < bound(4.0 / 45.0), "{squares}");
    }

    #[test]
    fn permutations_hold_every_place_once_and_differ_in_every_key() {
        let series = Series { seed: 1, step: 2, epoch: 3 };
        for count in [0, 1, 2, 3, 64, 1_000] {
            let mut order = series.permutation(count);
            order.sort_unstable();
            assert!(order.into_iter().eq(0..count), "{count} places");
        }
        let first = series.permutation(1_000);
        assert_eq!(first, series.permutation(1_000));
        let others = [
            Series { seed: 2, ..series },
            Series { step: 3, ..series },
            Series { epoch: 4, ..series },
        ];
        for other in others {
            // Two random orders agree in one place on average.
            let order = other.permutation(1_000);
            let same = first.iter().zip(&order).filter(|(a, b)| a == b).count();
            assert!(same < 10, "{other:?}: {same} places are the same");
        }
    }

    #[test]
    fn all_orders_of_four_are_equally_likely() {
        let mut counts = std::collections::HashMap::new();
        let draws = 24_000_u32;
        for step in 0..u64::from(draws) {
            *counts.entry(Series { seed: 7, step, epoch: 0 }.permutation(4)).or_insert(0_u32) += 1;
        }
        let expected = f64::from(draws) / 24.0;
        let squares = |&count: &u32| (f64::from(count) - expected).powi(2) / expected;
        let chi_square: f64 = counts.values().map(squares).sum();
        // 49.7 is exceeded once in a thousand times with 23 degrees of freedom.
        assert!(counts.len() == 24 && chi_square < 49.7, "{chi_square} {counts:?}");
    }

    #[test]
    fn the_ends_are_finite() {
        let lowest = gumbel_of(unit(u32::MAX), unit(0));
        let highest = gumbel_of(unit(0), unit(u32::MAX));
        assert!((lowest + 3.129).abs() < 1e-3, "{lowest}");
        assert!((highest - 22.874).abs() < 1e-3, "{highest}");
    }

    #[test]
    fn draws_follow_the_softmax() {
        let probabilities = [0.5_f32, 0.3, 0.15, 0.05];
        let mut counts = [0_u32; 4];
        let draws = 40_000_u32;
        for position in 0..draws {
            let scores: Vec<f32> = (0..)
                .zip(probabilities)
                .map(|(token, p)| p.ln() + gumbel(11, u64::from(position), token))
                .collect();
            let best = (1..4).fold(0, |best, v| if scores[v] > scores[best] { v } else { best });
            counts[best] += 1;
        }
        for (count, p) in counts.into_iter().zip(probabilities) {
            let expected = f64::from(p) * f64::from(draws);
            let deviation = (expected * (1.0 - f64::from(p))).sqrt();
            assert!((f64::from(count) - expected).abs() < 4.0 * deviation, "{counts:?}");
        }
    }
}
