//! How a judge's score goes with the distance from the reference: two laws, and what fits them.
//!
//! Source: Gao, Schulman and Hilton 2022, arXiv:2210.10760, section 3.2.

/// How the judge's score goes with the distance `d = sqrt(KL(policy ‖ reference))`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// Reinforcement learning: `d * (alpha - beta * log d)`.
    Learned,
    /// The best of so many completions: `d * (alpha - beta * d)`.
    BestOf,
}

/// A law with the coefficients that fit what was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    /// The law.
    pub law: Law,
    /// How fast the score rises at first.
    pub alpha: f64,
    /// How fast that is lost again.
    pub beta: f64,
}

/// A distance, and what the judge said there, less what it says of the reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// `sqrt(KL(policy ‖ reference))` of whole completions, at least 0.
    pub distance: f64,
    /// The judge's mean score over that of the reference, so that it is 0 at distance 0.
    pub gain: f64,
}

impl Law {
    /// The score for `alpha` alone and for `beta` alone.
    fn parts(self, distance: f64) -> [f64; 2] {
        let lost = match self {
            Self::Learned if distance > 0.0 => distance * engine::log(distance),
            Self::Learned => 0.0,
            Self::BestOf => distance * distance,
        };
        [distance, -lost]
    }

    /// The coefficients with the smallest sum of squared errors; `None` where the measurements do not
    /// tell them apart, as with fewer than two distances above 0.
    ///
    /// # Panics
    ///
    /// Panics if a distance is below 0 or a number is not finite.
    #[must_use]
    pub fn fit(self, measured: &[Measured]) -> Option<Fit> {
        // The normal equations of two unknowns: [aa ab; ab bb] [alpha; beta] = [ag; bg].
        let [mut aa, mut ab, mut bb, mut ag, mut bg] = [0.0; 5];
        for point in measured {
            let Measured { distance, gain } = *point;
            assert!(distance >= 0.0 && (distance + gain).is_finite(), "{point:?}");
            let [a, b] = self.parts(distance);
            aa += a * a;
            ab += a * b;
            bb += b * b;
            ag += a * gain;
            bg += b * gain;
        }
        let determinant = aa * bb - ab * ab;
        // By Cauchy and Schwarz it lies between 0 and `aa * bb`; next to nothing is rounding.
        if determinant <= 1e-12 * aa * bb {
            return None;
        }
        let alpha = (ag * bb - bg * ab) / determinant;
        let beta = (aa * bg - ab * ag) / determinant;
        Some(Fit { law: self, alpha, beta })
    }
}

impl Fit {
    /// What the judge is expected to say at a distance.
    #[must_use]
    pub fn gain(&self, distance: f64) -> f64 {
        let [a, b] = self.law.parts(distance);
        self.alpha * a + self.beta * b
    }

    /// The distance where the judge's score is highest: `exp(alpha / beta - 1)`, or
    /// `alpha / (2 * beta)` for the best of many. KL there is its square.
    ///
    /// `None` where the score has no highest point at a distance above 0: nothing is lost with
    /// distance, or nothing gained.
    #[must_use]
    pub fn peak(&self) -> Option<f64> {
        let distance = match self.law {
            Law::Learned => engine::exp(self.alpha / self.beta - 1.0),
            Law::BestOf => self.alpha / (2.0 * self.beta),
        };
        (self.beta > 0.0 && distance > 0.0 && distance.is_finite()).then_some(distance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{draws, slope};

    fn along(fit: &Fit, noise: f64) -> Vec<Measured> {
        let point = |(step, error): (i32, f64)| {
            let distance = f64::from(step) * 0.4;
            Measured { distance, gain: fit.gain(distance) + noise * error }
        };
        (0..25).zip(draws(3, 25)).map(point).collect()
    }

    #[test]
    fn coefficients_are_found_again_and_the_peak_is_level() {
        for law in [Law::Learned, Law::BestOf] {
            let truth = Fit { law, alpha: 1.2, beta: 0.4 };
            let found = law.fit(&along(&truth, 0.0)).unwrap();
            assert!((found.alpha - 1.2).abs() < 1e-10, "{found:?}");
            assert!((found.beta - 0.4).abs() < 1e-10, "{found:?}");
            let peak = found.peak().unwrap();
            assert!(slope(|distance| found.gain(distance), peak).abs() < 1e-9, "{law:?} {peak}");
            let expected = if law == Law::Learned { 2.0_f64.exp() } else { 1.5 };
            assert!((peak - expected).abs() < 1e-8, "{law:?} {peak}");
        }
    }

    #[test]
    fn no_other_coefficients_fit_better() {
        let points = along(&Fit { law: Law::Learned, alpha: 1.0, beta: 0.3 }, 0.1);
        let found = Law::Learned.fit(&points).unwrap();
        let error = |alpha: f64, beta: f64| -> f64 {
            let fit = Fit { law: Law::Learned, alpha, beta };
            points.iter().map(|point| (fit.gain(point.distance) - point.gain).powi(2)).sum()
        };
        assert!(slope(|alpha| error(alpha, found.beta), found.alpha).abs() < 1e-6);
        assert!(slope(|beta| error(found.alpha, beta), found.beta).abs() < 1e-6);
    }

    #[test]
    fn what_cannot_be_told_is_not_told() {
        let at = |distance| Measured { distance, gain: 1.0 };
        for points in [vec![], vec![at(2.0)], vec![at(0.0), at(2.0), at(2.0)]] {
            assert_eq!(Law::Learned.fit(&points), None, "{points:?}");
            assert_eq!(Law::BestOf.fit(&points), None, "{points:?}");
        }
        for (alpha, beta) in [(1.0, 0.0), (1.0, -0.5), (1.0, 1e-4)] {
            assert_eq!(Fit { law: Law::Learned, alpha, beta }.peak(), None, "{alpha} {beta}");
        }
        assert_eq!(Fit { law: Law::BestOf, alpha: -1.0, beta: 0.5 }.peak(), None);
    }
}
