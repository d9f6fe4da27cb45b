//! How much better a token did than its value foretold.

use model::StopReason;

use crate::PerToken;

/// How far a reward reaches back.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Discount {
    /// What a reward of the next token is worth now, from 0 to 1; 1 for completions, which end.
    pub gamma: f64,
    /// Between trust in the values (0) and in the rewards that came (1); 0.95 in the papers.
    pub lambda: f64,
}

impl Default for Discount {
    fn default() -> Self {
        Self { gamma: 1.0, lambda: 0.95 }
    }
}

/// What a recipe takes for the value past a completion that was cut by its length.
///
/// A cut completion is scored like any other, so the score already says what it is worth: to add what
/// might have come would count that twice. It is for rewards that go on after the cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BeyondCut {
    /// Nothing comes after any completion.
    #[default]
    Nothing,
    /// The value of the state in which it was cut.
    Value,
}

/// What is taken for the value past the last token.
#[derive(Clone, Copy, Debug)]
pub enum Beyond<'a> {
    /// Nothing comes after any completion: the score says all of it.
    Nothing,
    /// Completions that were cut would have gone on; those that ended have no value past it.
    CutOnes {
        /// Why each completion ended: `[completions]`.
        stop_reasons: &'a [StopReason],
        /// The value after the last token of each: `[completions]`. Read where a completion was cut.
        next_values: &'a [f64],
    },
}

impl Beyond<'_> {
    /// The value past the last token of a completion.
    fn value(&self, completion: usize) -> f64 {
        match self {
            Self::CutOnes { stop_reasons, next_values }
                if stop_reasons[completion] == StopReason::Length =>
            {
                next_values[completion]
            }
            Self::Nothing | Self::CutOnes { .. } => 0.0,
        }
    }

    /// # Panics
    ///
    /// Panics if it is not of so many completions.
    fn assert_completions(&self, completions: usize) {
        if let Self::CutOnes { stop_reasons, next_values } = self {
            let given = (stop_reasons.len(), next_values.len());
            assert!(
                given == (completions, completions),
                "{completions} completions, but stop reasons and next values of {given:?}"
            );
        }
    }
}

/// What [`advantages`] estimates.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimates {
    /// How much better each token did than its value foretold; not whitened.
    pub advantages: PerToken,
    /// What the values should have foretold: `advantage + value`, of advantages that are not whitened.
    pub returns: PerToken,
}

/// Generalized advantage estimation, backwards along each completion.
///
/// `advantage[t] = delta[t] + gamma * lambda * advantage[t + 1]` with
/// `delta[t] = reward[t] + gamma * value[t + 1] - value[t]`, and `return[t] = advantage[t] +
/// value[t]`. `value[t]` is of the state before token `t` is sampled. Past the last token the
/// advantage is 0, and the value what [`Beyond`] says: 0 after a completion that ended.
///
/// # Shapes
///
/// - `rewards`, `values`: `[tokens]`
/// - returns `[tokens]` each
///
/// # Panics
///
/// Panics if the shapes differ, or gamma or lambda is not between 0 and 1.
///
/// Source: Schulman et al. 2015, arXiv:1506.02438, equation 16. Not whitened here: see
/// [`whiten`](super::whiten).
#[must_use]
pub fn advantages(
    rewards: &PerToken,
    values: &PerToken,
    beyond: Beyond<'_>,
    discount: &Discount,
) -> Estimates {
    rewards.assert_shape(values);
    beyond.assert_completions(rewards.completions());
    let Discount { gamma, lambda } = *discount;
    let share = 0.0..=1.0;
    assert!(share.contains(&gamma) && share.contains(&lambda), "{discount:?}");
    let mut advantages = PerToken::filled_like(rewards, 0.0);
    for (completion, (rewards, values)) in rewards.rows().zip(values.rows()).enumerate() {
        let mut next_value = beyond.value(completion);
        let mut next_advantage = 0.0;
        let tokens = advantages.row_mut(completion).iter_mut().zip(rewards).zip(values);
        for ((advantage, reward), value) in tokens.rev() {
            let delta = reward + gamma * next_value - value;
            *advantage = delta + gamma * lambda * next_advantage;
            (next_value, next_advantage) = (*value, *advantage);
        }
    }
    let returns = advantages.zip(values, |advantage, value| advantage + value);
    Estimates { advantages, returns }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_near, numbers};

    /// The definition, written out: `advantage[t] = Σ_k (gamma lambda)^k delta[t + k]`.
    fn written_out(rewards: &[f64], values: &[f64], next: f64, discount: &Discount) -> Vec<f64> {
        let at = |t: usize| values.get(t).copied().unwrap_or(next);
        let delta = |t: usize| rewards[t] + discount.gamma * at(t + 1) - at(t);
        let decay = discount.gamma * discount.lambda;
        let from = |t: usize| {
            let mut factor = 1.0;
            (t..rewards.len()).fold(0.0, |sum, s| {
                let term = factor * delta(s);
                factor *= decay;
                sum + term
            })
        };
        (0..rewards.len()).map(from).collect()
    }

    #[test]
    fn the_recursion_is_the_sum_that_defines_it() {
        let (rewards, values) = (numbers(1, [1, 7, 3, 24]), numbers(2, [1, 7, 3, 24]));
        let stop_reasons =
            [StopReason::Length, StopReason::EndOfTurn, StopReason::Length, StopReason::Stopped];
        let next_values = [0.7, f64::NAN, -1.3, f64::NAN];
        for (gamma, lambda) in [(1.0, 0.95), (0.9, 0.8), (1.0, 1.0), (1.0, 0.0), (0.0, 0.5)] {
            let discount = Discount { gamma, lambda };
            let cut = Beyond::CutOnes { stop_reasons: &stop_reasons, next_values: &next_values };
            for (beyond, next) in [(Beyond::Nothing, [0.0; 4]), (cut, [0.7, 0.0, -1.3, 0.0])] {
                let found = advantages(&rewards, &values, beyond, &discount);
                for (row, next) in next.into_iter().enumerate() {
                    let expected = written_out(rewards.row(row), values.row(row), next, &discount);
                    assert_near(found.advantages.row(row), &expected, 1e-13);
                }
                let rest = found.returns.zip(&values, |left, right| left - right);
                assert_near(rest.flat(), found.advantages.flat(), 1e-14);
            }
        }
    }

    #[test]
    fn an_example_by_hand() {
        let (rewards, values) =
            (PerToken::from_rows(&[[0.0, 0.0, 1.0]]), PerToken::from_rows(&[[0.5, 0.25, 0.5]]));
        let discount = Discount { gamma: 1.0, lambda: 0.5 };
        let found = advantages(&rewards, &values, Beyond::Nothing, &discount);
        assert_eq!(found.advantages.flat(), [0.0, 0.5, 0.5]);
        assert_eq!(found.returns.flat(), [0.5, 0.75, 1.0]);
    }
}
