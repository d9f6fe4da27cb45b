//! A share of successes, with how sure it is.

use crate::per_token::count;

/// The 97.5th percentile of the normal distribution: intervals that hold 95 times in 100.
const TWO_SIDED_95: f64 = 1.959_963_984_540_054;

/// A share of trials that succeeded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Proportion {
    /// What succeeded; a tie counts one half.
    pub successes: f64,
    /// How many trials there were.
    pub trials: usize,
}

/// Between what numbers something lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Proportion {
    /// The share; one half of nothing, which is as good as chance.
    #[must_use]
    pub fn share(&self) -> f64 {
        if self.trials == 0 { 0.5 } else { self.successes / count(self.trials) }
    }

    /// Between what shares the truth lies with 95 % confidence, by Wilson's score interval; from 0 to
    /// 1 where there is no trial.
    ///
    /// `(p + z²/2n ± z sqrt(p (1 - p) / n + z²/4n²)) / (1 + z²/n)` with `z = 1.96`.
    ///
    /// Trials have to be independent: pairs of the same prompt are not, see
    /// [`PerPrompt`](super::PerPrompt).
    ///
    /// Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    #[must_use]
    pub fn interval(&self) -> Interval {
        if self.trials == 0 {
            return Interval { low: 0.0, high: 1.0 };
        }
        Self::wilson(self.share(), count(self.trials))
    }

    /// Wilson's interval of a share of so many independent trials, which need not be a whole number.
    pub(super) fn wilson(share: f64, trials: f64) -> Interval {
        let square = TWO_SIDED_95 * TWO_SIDED_95;
        let center = share + square / (2.0 * trials);
        let inner = share * (1.0 - share) / trials + square / (4.0 * trials * trials);
        let half = TWO_SIDED_95 * inner.sqrt();
        let scale = 1.0 + square / trials;
        let [low, high] = [center - half, center + half].map(|end| (end / scale).clamp(0.0, 1.0));
        Interval { low, high }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(successes: u32, trials: usize) -> [f64; 2] {
        let Interval { low, high } = Proportion { successes: successes.into(), trials }.interval();
        [low, high]
    }

    /// Of `n` trials without a success the upper end is `z² / (n + z²)`; of as many with and without,
    /// the ends are one half, less and more half the root of that.
    #[test]
    fn examples_by_hand() {
        let square = TWO_SIDED_95 * TWO_SIDED_95;
        let [low, high] = interval(0, 10);
        assert!(low.abs() < 1e-15 && (high - square / (10.0 + square)).abs() < 1e-15);
        let [low, high] = interval(10, 10);
        assert!((low - 10.0 / (10.0 + square)).abs() < 1e-15 && (high - 1.0).abs() < 1e-15);
        let [low, high] = interval(50, 100);
        let half = 0.5 * (square / (100.0 + square)).sqrt();
        assert!((low - 0.5 + half).abs() < 1e-15 && (high - 0.5 - half).abs() < 1e-15);
    }

    #[test]
    fn nothing_is_known_of_nothing() {
        let nothing = Proportion { successes: 0.0, trials: 0 };
        assert_eq!(nothing.interval(), Interval { low: 0.0, high: 1.0 });
        assert!((nothing.share() - 0.5).abs() < 1e-15);
    }

    #[test]
    fn intervals_hold_the_truth_about_as_often_as_they_say() {
        // Exactly, by the binomial distribution: of 40 trials that succeed 3 times in 10.
        let (mut probability, mut held) = (0.7_f64.powi(40), 0.0);
        for successes in 0..=40_u32 {
            let [low, high] = interval(successes, 40);
            held += if (low..=high).contains(&0.3) { probability } else { 0.0 };
            let odds = f64::from(40 - successes) / f64::from(successes + 1) * 3.0 / 7.0;
            probability *= odds;
        }
        assert!((0.93..0.97).contains(&held), "{held}");
    }
}
