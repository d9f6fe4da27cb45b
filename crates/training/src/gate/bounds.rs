//! Within what bounds a model that wins may have become worse elsewhere.

use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize};

use super::Verdict;

/// What was measured of a model beside how often it wins.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Bits that it needs for a byte of held-out text.
    pub bits_per_byte: f64,
    /// The mean length of its completions.
    pub completion_tokens: f64,
    /// The share of harmless questions that it refuses, from 0 to 1.
    pub refusal_rate: f64,
}

/// How far a new model may be from the old one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// The most by which bits per byte may have risen, as a share of the old model's.
    pub bits_per_byte_rise: f64,
    /// The most by which completions may be longer or shorter, as a factor above 1: judges prefer
    /// longer ones whatever they say.
    pub length_factor: f64,
    /// The most by which the share of refusals may have risen.
    pub refusal_rise: f64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { bits_per_byte_rise: 0.01, length_factor: 1.5, refusal_rise: 0.05 }
    }
}

/// Why a model is not promoted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum Reason {
    /// More pairs may show that it is better.
    Undecided,
    /// It is not shown to win more than half of the pairs.
    NotShown,
    /// It predicts text worse than before.
    BitsPerByte {
        /// The rise, as a share of the old model's.
        rise: f64,
        /// The most that it may be.
        most: f64,
    },
    /// Its completions are longer or shorter than before.
    Length {
        /// The new mean length over the old one.
        factor: f64,
        /// The most that it or its inverse may be.
        most: f64,
    },
    /// It refuses more harmless questions than before.
    Refusals {
        /// The rise of the share.
        rise: f64,
        /// The most that it may be.
        most: f64,
    },
    /// A number that has to be judged is none.
    NotMeasured,
}

/// What the gate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// The new model takes the old one's place.
    Promote,
    /// Nothing speaks against the new model but that there are too few pairs yet.
    Wait,
    /// The old model stays.
    Keep,
}

/// What the gate says, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgment {
    /// What it says.
    pub decision: Decision,
    /// All that speaks against a promotion; nothing where there is one.
    pub reasons: Vec<Reason>,
}

/// Judges a new model beside the old one.
///
/// It is promoted where the pairs have shown it to be better and every bound holds. A bound that is
/// met exactly holds; a number that is not finite meets none.
#[must_use]
pub fn judge(verdict: Verdict, old: &Measured, new: &Measured, bounds: &Bounds) -> Judgment {
    let mut reasons = Vec::new();
    match verdict {
        Verdict::Promote => {}
        Verdict::Undecided => reasons.push(Reason::Undecided),
        Verdict::NotShown => reasons.push(Reason::NotShown),
    }
    reasons.extend(beyond(old, new, bounds));
    let decision = match reasons.as_slice() {
        [] => Decision::Promote,
        [Reason::Undecided] => Decision::Wait,
        _ => Decision::Keep,
    };
    Judgment { decision, reasons }
}

/// The bounds that do not hold.
fn beyond(old: &Measured, new: &Measured, bounds: &Bounds) -> Vec<Reason> {
    let rise = new.bits_per_byte / old.bits_per_byte - 1.0;
    let factor = new.completion_tokens / old.completion_tokens;
    let refusals = new.refusal_rate - old.refusal_rate;
    if !(rise + factor + refusals).is_finite() {
        return vec![Reason::NotMeasured];
    }
    let mut reasons = Vec::new();
    // Quotients and differences of what is met exactly may be a rounding away from it.
    let over = |found: f64, most: f64| found > most + 1e-12;
    if over(rise, bounds.bits_per_byte_rise) {
        reasons.push(Reason::BitsPerByte { rise, most: bounds.bits_per_byte_rise });
    }
    if over(factor.max(1.0 / factor), bounds.length_factor) {
        reasons.push(Reason::Length { factor, most: bounds.length_factor });
    }
    if over(refusals, bounds.refusal_rise) {
        reasons.push(Reason::Refusals { rise: refusals, most: bounds.refusal_rise });
    }
    reasons
}

impl Display for Reason {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Undecided => write!(f, "too few pairs were judged yet; judge more"),
            Self::NotShown => write!(f, "it is not shown to win more than half of the pairs"),
            Self::BitsPerByte { rise, most } => {
                let [rise, most] = [rise, most].map(|share| 100.0 * share);
                write!(f, "bits per byte rose by {rise:.2} %, more than {most:.2} %")
            }
            Self::Length { factor, most } => {
                write!(f, "completions are {factor:.2} times as long, beyond a factor of {most:.2}")
            }
            Self::Refusals { rise, most } => {
                let [rise, most] = [rise, most].map(|share| 100.0 * share);
                write!(f, "refusals rose by {rise:.1} points, more than {most:.1}")
            }
            Self::NotMeasured => write!(f, "a number to be judged is missing; measure both models"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Measured =
        Measured { bits_per_byte: 1.0, completion_tokens: 100.0, refusal_rate: 0.10 };

    fn judged(verdict: Verdict, new: Measured) -> (Decision, Vec<String>) {
        let judgment = judge(verdict, &OLD, &new, &Bounds::default());
        (judgment.decision, judgment.reasons.iter().map(Reason::to_string).collect())
    }

    #[test]
    fn a_better_model_within_bounds_is_promoted() {
        let edge = Measured { bits_per_byte: 1.01, completion_tokens: 150.0, refusal_rate: 0.15 };
        let shorter = Measured { completion_tokens: 67.0, ..OLD };
        for new in [OLD, edge, shorter] {
            assert_eq!(judged(Verdict::Promote, new), (Decision::Promote, vec![]), "{new:?}");
            assert_eq!(judged(Verdict::Undecided, new).0, Decision::Wait);
            assert_eq!(judged(Verdict::NotShown, new).0, Decision::Keep);
        }
    }

    #[test]
    fn every_bound_that_is_broken_is_a_reason() {
        let worse = Measured { bits_per_byte: 1.02, completion_tokens: 30.0, refusal_rate: 0.35 };
        let reasons = [
            "bits per byte rose by 2.00 %, more than 1.00 %",
            "completions are 0.30 times as long, beyond a factor of 1.50",
            "refusals rose by 25.0 points, more than 5.0",
        ];
        let (decision, found) = judged(Verdict::Promote, worse);
        assert!(decision == Decision::Keep && found == reasons, "{found:?}");
        let (decision, found) = judged(Verdict::Undecided, worse);
        assert!(decision == Decision::Keep && found.len() == 4, "{found:?}");
    }

    #[test]
    fn what_was_not_measured_is_not_promoted() {
        for new in [
            Measured { bits_per_byte: f64::NAN, ..OLD },
            Measured { completion_tokens: f64::INFINITY, ..OLD },
            Measured { completion_tokens: 0.0, ..OLD },
        ] {
            assert_eq!(judged(Verdict::Promote, new).0, Decision::Keep, "{new:?}");
        }
    }
}
