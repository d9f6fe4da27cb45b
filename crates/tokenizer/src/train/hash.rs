//! The hash of words and pairs while training: fast on short keys, and keyed, so that no text can be
//! written to collide.
//!
//! Source: the folded multiplication of wyhash and foldhash, in public domain and under Zlib. What
//! is trained does not depend on the keys.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Makes hashers with two keys that are drawn anew for each value of this type.
#[derive(Clone, Debug)]
pub(super) struct Keyed {
    start: u64,
    factor: u64,
}

/// The state of one hash.
pub(super) struct Folding {
    state: u64,
    factor: u64,
}

impl Keyed {
    pub(super) fn new() -> Self {
        let random = RandomState::new();
        // An even factor would lose the highest bit of what it multiplies.
        Self { start: random.hash_one(0), factor: random.hash_one(1) | 1 }
    }
}

impl BuildHasher for Keyed {
    type Hasher = Folding;

    fn build_hasher(&self) -> Folding {
        Folding { state: self.start, factor: self.factor }
    }
}

impl Folding {
    /// Takes 64 bits in: both halves of a product, one upon the other.
    fn mix(&mut self, bits: u64) {
        let product = u128::from(self.state ^ bits) * u128::from(self.factor);
        #[expect(clippy::cast_possible_truncation, reason = "the two halves are meant")]
        let (low, high) = (product as u64, (product >> 64) as u64);
        self.state = low ^ high;
    }
}

impl Hasher for Folding {
    /// Slices say their length first, so the same bytes may be read twice at the end.
    fn write(&mut self, bytes: &[u8]) {
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(word)
        };
        let half = |at: usize| {
            let mut half = [0; 4];
            half.copy_from_slice(&bytes[at..at + 4]);
            u64::from(u32::from_le_bytes(half))
        };
        match bytes.len() {
            0 => {}
            length @ 1..4 => {
                let [first, middle, last] = [0, length / 2, length - 1].map(|at| bytes[at]);
                self.mix(u64::from(u32::from_le_bytes([first, middle, last, 0])));
            }
            length @ 4..8 => self.mix(half(0) | (half(length - 4) << 32)),
            length => {
                for at in (0..length - 8).step_by(8) {
                    self.mix(word(at));
                }
                self.mix(word(length - 8));
            }
        }
    }

    fn write_u64(&mut self, bits: u64) {
        self.mix(bits);
    }

    fn write_usize(&mut self, bits: usize) {
        self.mix(bits as u64);
    }

    fn finish(&self) -> u64 {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn short_words_and_pairs_of_tokens_do_not_collide() {
        let keyed = Keyed::new();
        let text: Vec<u8> = (0..64).collect();
        let mut words: HashSet<&[u8]> = HashSet::new();
        for start in 0..text.len() {
            words.extend((start..=text.len()).map(|end| &text[start..end]));
        }
        let of_words: HashSet<u64> = words.iter().map(|word| keyed.hash_one(word)).collect();
        assert_eq!(of_words.len(), words.len());
        let pairs = (0..300u64).flat_map(|left| (0..300).map(move |right| (left << 32) | right));
        let of_pairs: HashSet<u64> = pairs.map(|pair| keyed.hash_one(pair)).collect();
        assert_eq!(of_pairs.len(), 90_000);
    }
}
