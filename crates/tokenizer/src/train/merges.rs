//! Learning merges: again and again the most frequent pair of neighbors becomes one token.
//!
//! Each pair has its count and a list of the words that hold it. A merge visits those words alone
//! and changes the counts of the pairs beside it. A pair's count only falls once it is there,
//! because new pairs hold the new token; so a queue that is mended when a pair comes out of it
//! always yields the most frequent one, and what is too rare when it is found can be forgotten.
//!
//! Source: Sennrich et al. 2016, arXiv:1508.07909; the order of equals is that of Hugging Face's
//! tokenizers: lower left token first, then lower right one.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::count::CountedWord;
use super::hash::Keyed;

/// A left and a right token; merged, they are one.
pub(super) type PairOfTokens = (u32, u32);

/// Words whose tokens are merged step by step.
#[derive(Debug)]
pub(super) struct Learner {
    words: Words,
    pairs: HashMap<u64, Pair, Keyed>,
    /// Pairs by count. A count here may be too high, never too low.
    queue: BinaryHeap<(u64, Reverse<u64>)>,
    /// The lowest count of a pair that is merged.
    min_frequency: u64,
    before: Neighbors,
    after: Neighbors,
}

/// All words in one array.
#[derive(Debug, Default)]
struct Words {
    /// The tokens of each word begin where its bytes began; what merging leaves behind is unused.
    tokens: Vec<u32>,
    places: Vec<Place>,
}

/// A word.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: u32,
    length: u32,
    /// How often the word occurs in the text.
    count: u64,
}

/// Two neighboring tokens.
#[derive(Debug, Default)]
struct Pair {
    /// How often they are neighbors in the text.
    count: u64,
    /// The words that hold the pair, ascending; some may not hold it any more.
    words: Vec<u32>,
}

/// What stands on one side of the token that is being made.
#[derive(Debug, Default)]
struct Neighbors {
    /// By neighbor; empty between two merges.
    pairs: Vec<Pair>,
    /// The neighbors that are there.
    found: Vec<u32>,
}

/// The merge that is being made.
#[derive(Clone, Copy, Debug)]
struct Merge {
    left: u32,
    right: u32,
    merged: u32,
}

impl Learner {
    /// Begins with a token for each byte.
    ///
    /// # Panics
    ///
    /// Panics if the words have 2^32 bytes or more together.
    pub(super) fn new(
        counted: &[CountedWord],
        byte_tokens: &[u32; 256],
        min_frequency: u64,
    ) -> Self {
        let words = Words::new(counted, byte_tokens);
        let mut learner = Self {
            words,
            pairs: HashMap::with_hasher(Keyed::new()),
            queue: BinaryHeap::new(),
            // A pair that is nowhere is never merged.
            min_frequency: min_frequency.max(1),
            before: Neighbors::default(),
            after: Neighbors::default(),
        };
        for (key, pair) in learner.words.pairs() {
            learner.insert(key, pair);
        }
        learner
    }

    /// The most frequent pair, or `None` where all are too rare.
    pub(super) fn most_frequent(&mut self) -> Option<PairOfTokens> {
        while let Some((count, Reverse(key))) = self.queue.pop() {
            let Some(pair) = self.pairs.get(&key) else { continue };
            if pair.count == count {
                #[expect(clippy::cast_possible_truncation, reason = "the two halves are meant")]
                return Some(((key >> 32) as u32, key as u32));
            }
            self.queue.push((pair.count, Reverse(key)));
        }
        None
    }

    /// Makes one token of a pair, wherever it is. `merged` is above all tokens so far.
    pub(super) fn merge(&mut self, (left, right): PairOfTokens, merged: u32) {
        let Some(pair) = self.pairs.remove(&key(left, right)) else { return };
        let merge = Merge { left, right, merged };
        self.before.make_room(merged);
        self.after.make_room(merged);
        for &word in &pair.words {
            self.words.merge(word, merge, &mut self.before, &mut self.after);
        }
        // Where two new tokens meet, the second was taken for what it was made of when the first
        // was made.
        let twice = self.before.pairs[merged as usize].count;
        self.after.pairs[left as usize].count -= twice;
        for neighbor in std::mem::take(&mut self.after.found) {
            let pair = std::mem::take(&mut self.after.pairs[neighbor as usize]);
            let again = if neighbor == left { twice } else { 0 };
            self.remove(key(right, neighbor), pair.count + again);
            self.insert(key(merged, neighbor), pair);
        }
        for neighbor in std::mem::take(&mut self.before.found) {
            let pair = std::mem::take(&mut self.before.pairs[neighbor as usize]);
            if neighbor != merged {
                self.remove(key(neighbor, left), pair.count);
            }
            self.insert(key(neighbor, merged), pair);
        }
    }

    /// Forgets a pair, so that it is never merged.
    pub(super) fn pass_over(&mut self, (left, right): PairOfTokens) {
        self.pairs.remove(&key(left, right));
    }

    /// Adds a new pair, unless it is too rare ever to be merged.
    fn insert(&mut self, key: u64, pair: Pair) {
        if pair.count >= self.min_frequency {
            self.queue.push((pair.count, Reverse(key)));
            self.pairs.insert(key, pair);
        }
    }

    /// Takes occurrences from a pair; one that is too rare then is forgotten.
    fn remove(&mut self, key: u64, count: u64) {
        let Some(pair) = self.pairs.get_mut(&key) else { return };
        pair.count -= count;
        if pair.count < self.min_frequency {
            self.pairs.remove(&key);
        }
    }
}

impl Words {
    fn new(counted: &[CountedWord], byte_tokens: &[u32; 256]) -> Self {
        let mut words = Self::default();
        // A single byte has no neighbors.
        for (word, count) in counted.iter().filter(|(word, _)| word.len() > 1) {
            let number = |n: usize| u32::try_from(n).expect("fewer than 2^32 bytes in all words");
            let (start, length) = (number(words.tokens.len()), number(word.len()));
            words.tokens.extend(word.iter().map(|&byte| byte_tokens[usize::from(byte)]));
            words.places.push(Place { start, length, count: *count });
        }
        words
    }

    /// All pairs of neighbors.
    fn pairs(&self) -> HashMap<u64, Pair, Keyed> {
        let mut pairs: HashMap<u64, Pair, Keyed> = HashMap::with_hasher(Keyed::new());
        for (word, place) in (0u32..).zip(&self.places) {
            for neighbors in self.tokens_of(*place).windows(2) {
                pairs.entry(key(neighbors[0], neighbors[1])).or_default().add(place.count, word);
            }
        }
        pairs
    }

    fn tokens_of(&self, place: Place) -> &[u32] {
        &self.tokens[place.start as usize..][..place.length as usize]
    }

    /// Merges a pair in one word, from left to right, and notes the neighbors of the new tokens.
    fn merge(&mut self, word: u32, merge: Merge, before: &mut Neighbors, after: &mut Neighbors) {
        let place = &mut self.places[word as usize];
        let tokens = &mut self.tokens[place.start as usize..][..place.length as usize];
        let (mut read, mut written) = (0, 0u32);
        while let Some(&token) = tokens.get(read) {
            let at = written as usize;
            if token == merge.left && tokens.get(read + 1) == Some(&merge.right) {
                if at > 0 {
                    before.add(tokens[at - 1], place.count, word);
                }
                if let Some(&next) = tokens.get(read + 2) {
                    after.add(next, place.count, word);
                }
                tokens[at] = merge.merged;
                read += 2;
            } else {
                tokens[at] = token;
                read += 1;
            }
            written += 1;
        }
        place.length = written;
    }
}

impl Pair {
    /// Adds an occurrence; words come in ascending order.
    fn add(&mut self, count: u64, word: u32) {
        self.count += count;
        if self.words.last() != Some(&word) {
            self.words.push(word);
        }
    }
}

impl Neighbors {
    fn make_room(&mut self, token: u32) {
        self.pairs.resize_with(token as usize + 1, Pair::default);
    }

    fn add(&mut self, neighbor: u32, count: u64, word: u32) {
        let pair = &mut self.pairs[neighbor as usize];
        if pair.words.is_empty() {
            self.found.push(neighbor);
        }
        pair.add(count, word);
    }
}

/// A pair as one number, in the order of the left token and then of the right one.
fn key(left: u32, right: u32) -> u64 {
    (u64::from(left) << 32) | u64::from(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes' tokens are the bytes themselves.
    fn learner(words: &[(&str, u64)], min_frequency: u64) -> Learner {
        let counted: Vec<CountedWord> =
            words.iter().map(|&(word, count)| (word.as_bytes().into(), count)).collect();
        let tokens = std::array::from_fn(|byte| u32::try_from(byte).unwrap());
        Learner::new(&counted, &tokens, min_frequency)
    }

    /// The counts of all pairs that are left, counted anew.
    fn check(learner: &Learner) {
        let expected = learner.words.pairs();
        for (key, pair) in &expected {
            let found = learner.pairs.get(key).map_or(0, |pair| pair.count);
            let counts = pair.count >= learner.min_frequency;
            assert_eq!(found, if counts { pair.count } else { 0 }, "{key:x}");
        }
        assert!(learner.pairs.keys().all(|key| expected.contains_key(key)));
    }

    #[test]
    fn counts_stay_right_where_the_same_letter_repeats() {
        for min_frequency in [1, 3] {
            let words = [("aaaaa", 3), ("aabaab", 2), ("abababa", 5), ("ba", 1), ("aaaaaaaa", 1)];
            let mut learner = learner(&words, min_frequency);
            let mut merged = 256;
            while let Some(pair) = learner.most_frequent() {
                learner.merge(pair, merged);
                check(&learner);
                merged += 1;
            }
            assert!(merged > 260);
        }
    }

    /// Of equals, the lower left token goes first, then the lower right one.
    #[test]
    fn equals_go_in_the_order_of_their_tokens() {
        let mut learner = learner(&[("xyz", 2), ("bz", 2), ("bc", 2)], 0);
        let [b, c, x, y, z] = [b'b', b'c', b'x', b'y', b'z'].map(u32::from);
        for (expected, merged) in [((b, c), 256), ((b, z), 257), ((x, y), 258), ((258, z), 259)] {
            assert_eq!(learner.most_frequent(), Some(expected));
            learner.merge(expected, merged);
        }
        assert_eq!(learner.most_frequent(), None);
    }
}
