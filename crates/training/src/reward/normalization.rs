//! The scale on which a reward model speaks.

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::per_token::count;

/// Whether a reward model's scores have a scale. Kept beside its weights.
///
/// A ranking says nothing of height and little of spread. A price of drift in nats, and a penalty of
/// 1 for a completion without an end, fit only scores of a known scale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// As training left them; fit for comparisons alone.
    #[default]
    Raw,
    /// With the gain and bias of samples of the reference.
    Normalized(Normalization),
}

/// `score = gain * raw + bias`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Coefficients", into = "Coefficients")]
pub struct Normalization {
    gain: f64,
    bias: f64,
}

/// Scores that went through a [`Normalization`]; nothing else makes them.
#[derive(Clone, Debug, PartialEq)]
pub struct NormalizedScores(Vec<f64>);

/// What is written of a [`Normalization`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Coefficients {
    gain: f64,
    bias: f64,
}

/// Scores whose spread is a smaller share of their size than this are equal but for rounding.
const LEAST_SPREAD: f64 = 1e-9;

impl Scale {
    /// The scores on their scale: `[completions]`, in and out.
    ///
    /// # Errors
    ///
    /// [`Error::NotNormalized`] where there is none.
    pub fn normalize(&self, raw: &[f64]) -> Result<NormalizedScores, Error> {
        let Self::Normalized(normalization) = self else { return Err(Error::NotNormalized) };
        Ok(normalization.apply(raw))
    }
}

impl Normalization {
    /// The scale by which these scores have mean 0 and deviation 1.
    ///
    /// `gain = 1 / deviation`, `bias = -mean / deviation`; the deviation is the population's, which
    /// divides by the number of scores.
    ///
    /// # Shapes
    ///
    /// `raw`: `[completions]`, of completions sampled from the reference. Done after the reward model
    /// was trained: a head of the deviation that it begins with needs no scale before.
    ///
    /// # Errors
    ///
    /// [`Error::NoScale`] where the scores are equal, not finite, or fewer than two.
    ///
    /// Source: Ziegler et al. 2019, arXiv:1909.08593, section 2.1.
    pub fn fit(raw: &[f64]) -> Result<Self, Error> {
        let samples = raw.len();
        let lowest = raw.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = raw.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let all_finite = raw.iter().all(|score| score.is_finite());
        // Of no score at all, the lowest is above the highest.
        let spread = highest - lowest;
        if !all_finite || spread <= LEAST_SPREAD * lowest.abs().max(highest.abs()) {
            return Err(Error::NoScale { samples, lowest, highest });
        }
        let mean = raw.iter().sum::<f64>() / count(samples);
        let squares: f64 = raw.iter().map(|score| (score - mean) * (score - mean)).sum();
        let deviation = (squares / count(samples)).sqrt();
        let no_scale = |_| Error::NoScale { samples, lowest, highest };
        Coefficients { gain: 1.0 / deviation, bias: -mean / deviation }.try_into().map_err(no_scale)
    }

    /// The scores on this scale: `[completions]`, in and out.
    #[must_use]
    pub fn apply(&self, raw: &[f64]) -> NormalizedScores {
        NormalizedScores(raw.iter().map(|score| self.gain * score + self.bias).collect())
    }

    /// What raw scores are multiplied with, above 0.
    #[must_use]
    pub fn gain(&self) -> f64 {
        self.gain
    }

    /// What is added then.
    #[must_use]
    pub fn bias(&self) -> f64 {
        self.bias
    }
}

impl NormalizedScores {
    /// The scores: `[completions]`.
    #[must_use]
    pub fn as_slice(&self) -> &[f64] {
        &self.0
    }
}

impl TryFrom<Coefficients> for Normalization {
    type Error = String;

    fn try_from(Coefficients { gain, bias }: Coefficients) -> Result<Self, String> {
        if gain > 0.0 && gain.is_finite() && bias.is_finite() {
            Ok(Self { gain, bias })
        } else {
            Err(format!("a gain of {gain} and a bias of {bias} are no scale; fit it anew"))
        }
    }
}

impl From<Normalization> for Coefficients {
    fn from(Normalization { gain, bias }: Normalization) -> Self {
        Self { gain, bias }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::draws;

    #[test]
    fn samples_have_mean_zero_and_deviation_one() {
        let raw: Vec<f64> = draws(1, 500).into_iter().map(|draw| 40.0 + 3.0 * draw).collect();
        let scores = Normalization::fit(&raw).unwrap().apply(&raw);
        let mean = scores.as_slice().iter().sum::<f64>() / 500.0;
        let squares = scores.as_slice().iter().map(|score| score * score).sum::<f64>() / 500.0;
        assert!(mean.abs() < 1e-12 && (squares - 1.0).abs() < 1e-12, "{mean} {squares}");
    }

    #[test]
    fn scores_without_a_scale_are_refused() {
        assert!(matches!(Scale::default().normalize(&[1.0]), Err(Error::NotNormalized)));
        let equal = vec![0.1 + 0.2; 7];
        let nearly = vec![1e9, 1e9 + 0.1];
        for raw in [vec![], vec![1.0], equal, nearly, vec![1.0, f64::NAN], vec![0.0, f64::INFINITY]]
        {
            assert!(matches!(Normalization::fit(&raw), Err(Error::NoScale { .. })), "{raw:?}");
        }
    }

    #[test]
    fn a_scale_comes_back_to_the_bit_and_nonsense_does_not() {
        for seed in 0..50 {
            let scale = Scale::Normalized(Normalization::fit(&draws(seed, 3)).unwrap());
            let written = serde_json::to_string(&scale).unwrap();
            assert_eq!(serde_json::from_str::<Scale>(&written).unwrap(), scale, "{written}");
        }
        assert_eq!(serde_json::from_str::<Scale>("\"raw\"").unwrap(), Scale::Raw);
        for text in [r#"{"gain":0.0,"bias":1.0}"#, r#"{"gain":-1.0,"bias":1.0}"#, r#"{"gain":1.0}"#]
        {
            assert!(serde_json::from_str::<Normalization>(text).is_err(), "{text}");
        }
    }
}
