//! A shuffled order without a list: a permutation of `0..count` that is computed place by place.

use crate::mix::fold;

/// Rounds of the network; four are enough for what looks random, more cost little.
const ROUNDS: u64 = 6;

/// A permutation of `0..count`, chosen by a seed and an epoch.
///
/// A Feistel network permutes the next larger power of four; a place that falls outside is sent
/// through again until it falls inside (at most a few times on average).
///
/// Source: Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Permutation {
    count: u64,
    /// Bits of one half.
    half_bits: u32,
    key: u64,
}

impl Permutation {
    /// The order of `count` places in an epoch.
    ///
    /// # Panics
    ///
    /// Panics if there is no place, or more than 2^62.
    pub(crate) fn new(count: u64, seed: u64, epoch: u64) -> Self {
        assert!((1..=1 << 62).contains(&count), "{count} places");
        let bits = u64::BITS - (count - 1).leading_zeros();
        let half_bits = bits.div_ceil(2).max(1);
        Self { count, half_bits, key: fold(fold(0, seed), epoch) }
    }

    /// What stands at `place`.
    ///
    /// # Panics
    ///
    /// Panics if `place` is not below the count.
    pub(crate) fn at(&self, place: u64) -> u64 {
        assert!(place < self.count, "place {place} of {}", self.count);
        let mut value = self.once(place);
        while value >= self.count {
            value = self.once(value);
        }
        value
    }

    /// The network: `(left, right) → (right, left ^ hash(right, round))`, which is a bijection.
    fn once(&self, value: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let (mut left, mut right) = (value >> self.half_bits, value & mask);
        for round in 0..ROUNDS {
            let hash = fold(fold(self.key, round), right) & mask;
            (left, right) = (right, left ^ hash);
        }
        left << self.half_bits | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(count: u64, seed: u64, epoch: u64) -> Vec<u64> {
        let permutation = Permutation::new(count, seed, epoch);
        (0..count).map(|place| permutation.at(place)).collect()
    }

    #[test]
    fn every_place_occurs_once() {
        for count in (1..=70).chain([255, 256, 257, 1_000, 4_099]) {
            for seed in [0, 1, u64::MAX] {
                let mut sorted = order(count, seed, 3);
                sorted.sort_unstable();
                assert!(sorted.into_iter().eq(0..count), "{count} places, seed {seed}");
            }
        }
    }

    #[test]
    fn seeds_and_epochs_give_other_orders_that_look_shuffled() {
        let first = order(1_000, 1, 0);
        assert_eq!(first, order(1_000, 1, 0));
        for other in [order(1_000, 2, 0), order(1_000, 1, 1), (0..1_000).collect()] {
            // Two random orders agree in one place on average.
            let same = first.iter().zip(&other).filter(|(a, b)| a == b).count();
            assert!(same < 10, "{same} places are the same");
        }
        // Steps between neighbors of a random order rise half of the time.
        let rises = first.windows(2).filter(|pair| pair[0] < pair[1]).count();
        assert!((440..560).contains(&rises), "{rises} rises");
    }
}
