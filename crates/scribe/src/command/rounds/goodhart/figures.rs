//! What a trial showed: the peak, what was lost past it, where the meter would have ended it.

use std::fmt;

use serde::Serialize;
use training::ppo::goodhart::{Curve, Fit, Reading};

use super::TrialFigures;
use super::arms::ARMS;

/// Readings whose mean is one figure: one alone is as much noise as loss.
const TOGETHER: usize = 3;
/// 97.5 % points of Student's distribution with 1, 2, … degrees of freedom; the normal one's beyond.
const STUDENT: [f64; 10] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];
const NORMAL: f64 = 1.96;

/// A reading as it is told.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Point {
    step: u64,
    kl_per_episode: f64,
    /// Both over those of the reference.
    proxy: f64,
    gold: f64,
    completion_tokens: f64,
}

/// What the curve of an arm shows. Gains are those of the judge over the reference.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Figures {
    /// The highest gain, mean of three readings, and where.
    best: f64,
    best_kl: f64,
    /// The last gain, mean of three readings, and where.
    last: f64,
    last_kl: f64,
    /// Where the readings until then would have ended the stage, and the gain there.
    stop: Option<Stop>,
    points: Vec<Point>,
}

/// Where the meter would have ended a stage.
#[derive(Debug, Clone, Copy, Serialize)]
struct Stop {
    step: u64,
    kl_per_episode: f64,
    /// Mean of the three readings around it.
    gain: f64,
    /// What the fit foretold there.
    alpha: f64,
    beta: f64,
    peak_kl: f64,
}

/// What an arm loses past its peak beside the first one.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Comparison {
    arm: &'static str,
    /// Means over the trials.
    lost_of_one: f64,
    lost: f64,
    /// How much less is lost, mean and half of its 95 % interval; none of one trial alone.
    saved: f64,
    saved_error: Option<f64>,
}

impl Figures {
    /// `None` where nothing was read, or nobody judged.
    pub(super) fn of(curve: &Curve) -> Option<Self> {
        let points = points(curve)?;
        let best = (0..points.len())
            .max_by(|&one, &other| around(&points, one).total_cmp(&around(&points, other)))?;
        let last = points.len() - 1;
        Some(Self {
            best: around(&points, best),
            best_kl: points[best].kl_per_episode,
            last: around(&points, last),
            last_kl: points[last].kl_per_episode,
            stop: stop(curve, &points),
            points,
        })
    }

    /// What was lost from the peak to the end.
    fn lost(&self) -> f64 {
        self.best - self.last
    }

    /// As a row of the table.
    pub(super) fn row(&self, seed: u64, arm: &str) -> Vec<String> {
        let nothing = || "none".to_owned();
        let share = |stop: Stop| format!("{:.0} %", 100.0 * stop.gain / self.best);
        vec![
            seed.to_string(),
            arm.to_owned(),
            format!("{:+.3}", self.best),
            format!("{:.1}", self.best_kl),
            format!("{:+.3}", self.last),
            format!("{:.1}", self.last_kl),
            self.stop.map_or_else(nothing, |stop| format!("KL {:.1}", stop.kl_per_episode)),
            self.stop.map_or_else(nothing, share),
        ]
    }
}

fn points(curve: &Curve) -> Option<Vec<Point>> {
    let reference = curve.reference?;
    let begin = reference.gold?;
    let point = |&(step, reading): &(u64, Reading)| {
        Some(Point {
            step,
            kl_per_episode: reading.kl_per_episode,
            proxy: reading.proxy - reference.proxy,
            gold: reading.gold? - begin,
            completion_tokens: reading.completion_tokens,
        })
    };
    let points: Option<Vec<Point>> = curve.readings.iter().map(point).collect();
    points.filter(|points| !points.is_empty())
}

/// The mean gain of the readings around one; of those there are, at the ends.
fn around(points: &[Point], place: usize) -> f64 {
    let to = (place + TOGETHER / 2 + 1).max(TOGETHER).min(points.len());
    let own = &points[to.saturating_sub(TOGETHER)..to];
    mean(own.iter().map(|point| point.gold))
}

/// The first reading after which the stage would have ended, by those until then.
fn stop(curve: &Curve, points: &[Point]) -> Option<Stop> {
    let until = |readings: usize| Curve {
        reference: curve.reference,
        readings: curve.readings[..readings].to_vec(),
    };
    let readings = (1..=points.len()).find(|&readings| until(readings).is_past_peak())?;
    let fit: Fit = until(readings).fit()?;
    let (peak, place) = (fit.peak()?, readings - 1);
    Some(Stop {
        step: points[place].step,
        kl_per_episode: points[place].kl_per_episode,
        gain: around(points, place),
        alpha: fit.alpha,
        beta: fit.beta,
        peak_kl: peak * peak,
    })
}

/// What each arm but the first saves of the gold that the first loses, trial by trial.
pub(super) fn compare(trials: &[TrialFigures]) -> Vec<Comparison> {
    let lost = |arm: usize| trials.iter().map(move |trial| trial.arms[arm].lost());
    let of = |arm: usize| {
        let saved: Vec<f64> = lost(0).zip(lost(arm)).map(|(one, other)| one - other).collect();
        Comparison {
            arm: ARMS[arm].name,
            lost_of_one: mean(lost(0)),
            lost: mean(lost(arm)),
            saved: mean(saved.iter().copied()),
            saved_error: half_interval(&saved),
        }
    };
    (1..ARMS.len()).map(of).collect()
}

/// Half of the 95 % interval of a mean; `None` of one number.
fn half_interval(numbers: &[f64]) -> Option<f64> {
    let freedom = numbers.len().checked_sub(1).filter(|&freedom| freedom > 0)?;
    let own = mean(numbers.iter().copied());
    let squares: f64 = numbers.iter().map(|number| (number - own) * (number - own)).sum();
    let error = (squares / count(freedom) / count(numbers.len())).sqrt();
    Some(STUDENT.get(freedom - 1).unwrap_or(&NORMAL) * error)
}

fn mean(numbers: impl ExactSizeIterator<Item = f64>) -> f64 {
    let all = count(numbers.len());
    numbers.sum::<f64>() / all
}

#[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 readings")]
fn count(number: usize) -> f64 {
    number as f64
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { arm, lost_of_one, lost, saved, saved_error } = self;
        write!(f, "{arm}: {lost:.3} lost past the peak, one model {lost_of_one:.3}")?;
        match saved_error {
            Some(error) => write!(f, "; {saved:.3} ± {error:.3} less (95 %)"),
            None => write!(f, "; {saved:.3} less"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A curve whose judge says so at readings one unit of distance apart.
    fn curve(gold: &[f64]) -> Curve {
        let at = |kl_per_episode: f64, gold: f64| Reading {
            kl_per_episode,
            proxy: kl_per_episode,
            gold: Some(gold),
            completion_tokens: 9.0,
        };
        let distance = |step: u64| f64::from(u32::try_from(step).unwrap());
        let read = |(step, &gold): (u64, &f64)| (step, at(distance(step) * distance(step), gold));
        Curve { reference: Some(at(0.0, 1.0)), readings: (1..).zip(gold).map(read).collect() }
    }

    #[test]
    fn three_readings_are_one_figure() {
        let figures = Figures::of(&curve(&[1.0, 2.0, 3.0, 4.0, 2.0, 1.0])).unwrap();
        assert!((figures.best - 2.0).abs() < 1e-12, "{figures:?}");
        assert!((figures.best_kl - 16.0).abs() < 1e-12, "the middle of 3, 4, 2: {figures:?}");
        assert!((figures.last - (4.0 / 3.0)).abs() < 1e-12, "{figures:?}");
        assert!((figures.lost() - 2.0 / 3.0).abs() < 1e-12);
        assert!(Figures::of(&curve(&[])).is_none());
    }

    #[test]
    fn the_stop_knows_nothing_of_what_comes_later() {
        // The law with alpha 2 and beta 1, whose peak is at e.
        let gold: Vec<f64> =
            (1..=9).map(f64::from).map(|d: f64| 1.0 + d * (2.0 - d.ln())).collect();
        let stop = |gold: &[f64]| Figures::of(&curve(gold)).unwrap().stop;
        let whole = stop(&gold).unwrap();
        assert!((whole.peak_kl.sqrt() - 1_f64.exp()).abs() < 1e-9, "{whole:?}");
        assert_eq!(whole.step, 6, "six readings are the fewest");
        let mut other = gold.clone();
        other[7] = 100.0;
        assert_eq!(stop(&other).unwrap().step, 6);
        assert!(stop(&gold[..5]).is_none());
    }

    #[test]
    fn an_interval_is_that_of_student() {
        assert_eq!(half_interval(&[1.0]), None);
        // Deviation 1, four numbers, 3 degrees of freedom.
        let numbers = [-1.0, 1.0, -1.0, 1.0];
        let expected = 3.182 * (4.0_f64 / 3.0 / 4.0).sqrt();
        assert!((half_interval(&numbers).unwrap() - expected).abs() < 1e-12);
    }
}
