//! The readings of a stage, and where they say that more drift makes completions worse.

use super::law::{Fit, Law, Measured};
use super::meter::Reading;
use crate::ppo::PpoMetrics;

/// Readings away from the reference that there have to be before a peak is believed.
const READINGS_MIN: usize = 6;
/// The last readings, all of which have to be past the peak.
const PAST_MIN: usize = 2;

/// What was read along the way.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Curve {
    /// Of the reference itself, from which gains are counted.
    pub reference: Option<Reading>,
    /// The steps after which the others were read, and what was.
    pub readings: Vec<(u64, Reading)>,
}

impl Curve {
    /// The readings in the lines of a stage.
    #[must_use]
    pub fn of(lines: &[PpoMetrics]) -> Self {
        let mut curve = Self::default();
        lines.iter().for_each(|line| curve.hear(line));
        curve
    }

    /// Takes the readings of one more step.
    pub fn hear(&mut self, line: &PpoMetrics) {
        self.reference = self.reference.or(line.reference);
        self.readings.extend(line.meter.map(|reading| (line.step, reading)));
    }

    /// What the judge said, over what it says of the reference; nothing where nobody judges.
    #[must_use]
    pub fn gold(&self) -> Vec<Measured> {
        self.over_reference(|reading| reading.gold)
    }

    /// The same of the reward models' scores.
    #[must_use]
    pub fn proxy(&self) -> Vec<Measured> {
        self.over_reference(|reading| Some(reading.proxy))
    }

    fn over_reference(&self, score: fn(&Reading) -> Option<f64>) -> Vec<Measured> {
        let Some(begin) = self.reference.as_ref().and_then(score) else { return Vec::new() };
        let measured = |(_, reading): &(u64, Reading)| {
            let gain = score(reading)? - begin;
            Some(Measured { distance: reading.distance(), gain })
        };
        self.readings.iter().filter_map(measured).collect()
    }

    /// The law of what is learned that fits the judge's scores so far; `None` with fewer readings than
    /// six away from the reference, or where they do not determine it.
    #[must_use]
    pub fn fit(&self) -> Option<Fit> {
        let gold = self.gold();
        let away = gold.iter().filter(|measured| measured.distance > 0.0).count();
        Law::Learned.fit(&gold).filter(|_| away >= READINGS_MIN)
    }

    /// Whether the peak that [`Self::fit`] predicts is behind: the last two readings are farther from
    /// the reference, so that the fit knows both of its sides.
    #[must_use]
    pub fn is_past_peak(&self) -> bool {
        let Some(peak) = self.fit().and_then(|fit| fit.peak()) else { return false };
        let mut last = self.readings.iter().rev().take(PAST_MIN);
        last.all(|(_, reading)| reading.distance() > peak)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::draws;

    /// Lines of a stage that goes so far, a reading each, along a law with noise.
    fn lines(steps: u64, alpha: f64, beta: f64, noise: f64) -> Vec<PpoMetrics> {
        let at = |kl_per_episode: f64, gain: f64| Reading {
            kl_per_episode,
            proxy: kl_per_episode,
            gold: Some(3.0 + gain),
            completion_tokens: 9.0,
        };
        let fit = Fit { law: Law::Learned, alpha, beta };
        let errors = draws(7, 100);
        let line = |step: u64| {
            let distance = 0.2 * f64::from(u32::try_from(step).unwrap());
            let gain = fit.gain(distance) + noise * errors[usize::try_from(step).unwrap()];
            PpoMetrics {
                step,
                reference: (step == 1).then(|| at(0.0, 0.0)),
                meter: Some(at(distance * distance, gain)),
                ..PpoMetrics::default()
            }
        };
        (1..=steps).map(line).collect()
    }

    #[test]
    fn the_peak_is_behind_when_two_readings_are_past_it() {
        // The peak is at exp(1.5 / 1.5 - 1) = 1, which is step 5.
        let is_past: Vec<u64> = (1..=12)
            .filter(|&steps| Curve::of(&lines(steps, 1.5, 1.5, 0.0)).is_past_peak())
            .collect();
        assert_eq!(is_past, (7..=12).collect::<Vec<_>>());
        let noisy = Curve::of(&lines(20, 1.5, 1.5, 0.05));
        let peak = noisy.fit().unwrap().peak().unwrap();
        assert!((peak - 1.0).abs() < 0.1 && noisy.is_past_peak(), "{peak}");
    }

    #[test]
    fn what_only_rises_has_no_peak_behind() {
        for (alpha, beta) in [(1.0, 0.0), (1.0, -0.2), (1.0, 0.3)] {
            let curve = Curve::of(&lines(20, alpha, beta, 0.0));
            assert!(curve.fit().is_some() && !curve.is_past_peak(), "{alpha} {beta}");
        }
    }

    #[test]
    fn few_readings_and_none_of_a_judge_say_nothing() {
        assert_eq!(Curve::of(&lines(5, 1.5, 1.5, 0.0)).fit(), None);
        let mut silent = lines(20, 1.5, 1.5, 0.0);
        for line in &mut silent {
            line.reference.iter_mut().chain(&mut line.meter).for_each(|read| read.gold = None);
        }
        let curve = Curve::of(&silent);
        assert_eq!((curve.fit(), curve.gold(), curve.is_past_peak()), (None, vec![], false));
        assert_eq!(curve.proxy().len(), 20);
    }
}
