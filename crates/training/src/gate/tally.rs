//! How often a model won.

use serde::{Deserialize, Serialize};

use super::Blinded;

/// Lengths of which the shorter one is at least this share of the longer one match.
const MATCHING: f64 = 0.9;

/// What became of pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tally {
    /// Pairs that the new model won.
    pub wins: u32,
    /// Pairs that nobody won.
    pub ties: u32,
    /// Pairs that the old model won.
    pub losses: u32,
}

impl Tally {
    /// Counts a pair.
    pub fn count(&mut self, outcome: Blinded) {
        match outcome {
            Blinded::Win => self.wins += 1,
            Blinded::Tie => self.ties += 1,
            Blinded::Loss => self.losses += 1,
        }
    }

    /// All of them.
    #[must_use]
    pub fn pairs(&self) -> u32 {
        self.wins + self.ties + self.losses
    }

    /// The share that the new model won, a tie counting as half a win; one half where there is no pair.
    #[must_use]
    pub fn win_rate(&self) -> f64 {
        match self.pairs() {
            0 => 0.5,
            pairs => (f64::from(self.wins) + 0.5 * f64::from(self.ties)) / f64::from(pairs),
        }
    }
}

/// Whether two answers are so nearly of one length, within a tenth of the longer one, that neither is
/// preferred for it.
#[must_use]
pub fn lengths_match(tokens: [usize; 2]) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 tokens")]
    let [short, long] = [tokens[0].min(tokens[1]) as f64, tokens[0].max(tokens[1]) as f64];
    short >= MATCHING * long
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tie_is_half_a_win() {
        let mut tally = Tally::default();
        assert!((tally.win_rate() - 0.5).abs() < 1e-300);
        for outcome in [Blinded::Win, Blinded::Win, Blinded::Tie, Blinded::Loss] {
            tally.count(outcome);
        }
        assert_eq!(tally, Tally { wins: 2, ties: 1, losses: 1 });
        assert_eq!(tally.pairs(), 4);
        assert!((tally.win_rate() - 0.625).abs() < 1e-15);
    }

    #[test]
    fn lengths_match_within_a_tenth_of_the_longer_one() {
        for (tokens, expected) in
            [([9, 10], true), ([10, 9], true), ([8, 10], false), ([0, 0], true)]
        {
            assert_eq!(lengths_match(tokens), expected, "{tokens:?}");
        }
    }
}
