//! Words that were encoded a moment ago: most words of a text come again.

use std::ops::Range;

/// The longest word that is remembered, in bytes: with its length a key of three words.
const WORD_BYTES_MAX: usize = 23;
/// Shorter texts are encoded before a table pays, in bytes.
const TEXT_BYTES_MIN: usize = 1 << 10;
/// The most words that are remembered, as a power of two: 2 MiB. Of English text with a vocabulary
/// of 32,768, nine words of ten are found.
const SLOTS_MAX_LOG: u32 = 16;

/// Where in the tokens of a text those of its words are.
///
/// A table with one place for each word, where the latest one stays: no text can fill it or make it
/// slow, and it changes no token.
#[derive(Debug)]
pub(crate) struct RecentWords {
    /// A power of two of them, or none.
    slots: Vec<Slot>,
    /// How far a hash is shifted to be a place in `slots`.
    shift: u32,
}

/// A word, and where its tokens are.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    key: Key,
    start: u32,
    count: u32,
}

/// The bytes of a word and, last, its length: 0 only where there is none.
type Key = [u64; 3];

impl RecentWords {
    /// A table for a text of so many bytes.
    pub(crate) fn new(text_bytes: usize) -> Self {
        if text_bytes < TEXT_BYTES_MIN {
            return Self { slots: Vec::new(), shift: 0 };
        }
        let log = (text_bytes / 16).ilog2().min(SLOTS_MAX_LOG);
        Self { slots: vec![Slot::default(); 1 << log], shift: u64::BITS - log }
    }

    /// Appends the tokens of `word`: those that it had before, else what `encode` appends.
    pub(crate) fn append(
        &mut self,
        word: &str,
        tokens: &mut Vec<u32>,
        encode: impl FnOnce(&mut Vec<u32>),
    ) {
        if word.len() > WORD_BYTES_MAX || self.slots.is_empty() {
            return encode(tokens);
        }
        let key = key(word.as_bytes());
        let slot = &mut self.slots[place(key, self.shift)];
        if slot.key == key {
            return tokens.extend_from_within(slot.range());
        }
        let start = tokens.len();
        encode(tokens);
        if let (Ok(start), Ok(count)) = (start.try_into(), (tokens.len() - start).try_into()) {
            *slot = Slot { key, start, count };
        }
    }
}

impl Slot {
    fn range(self) -> Range<usize> {
        let start = self.start as usize;
        start..start + self.count as usize
    }
}

/// The key of a word of at most [`WORD_BYTES_MAX`] bytes.
fn key(word: &[u8]) -> Key {
    let mut bytes = [0; WORD_BYTES_MAX + 1];
    bytes[..word.len()].copy_from_slice(word);
    bytes[WORD_BYTES_MAX] = word.len().to_le_bytes()[0];
    let (parts, _) = bytes.as_chunks::<8>();
    [0, 1, 2].map(|part| u64::from_le_bytes(parts[part]))
}

/// The place of a key among `2^(64 - shift)`.
fn place([first, second, third]: Key, shift: u32) -> usize {
    // Odd numbers without a pattern: the golden ratio, and two of xxHash.
    let mixed = first
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(second.wrapping_mul(0xc2b2_ae3d_27d4_eb4f))
        .wrapping_add(third.wrapping_mul(0x1656_67b1_9e37_79f9));
    let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::try_from(mixed >> shift).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_encoded_once_where_its_place_is_not_taken() {
        let mut recent = RecentWords::new(TEXT_BYTES_MIN);
        let (mut tokens, mut encoded) = (Vec::new(), 0);
        let words = ["a", "a\0", "", "twenty-three bytes, yes", "twenty-three bytes, no?"];
        for word in words.iter().chain(&words[..1]).chain(&words[..1]) {
            recent.append(word, &mut tokens, |tokens| {
                encoded += 1;
                tokens.extend(word.bytes().map(u32::from));
            });
        }
        let expected: String = words.concat() + "aa";
        assert!(tokens.iter().copied().eq(expected.bytes().map(u32::from)));
        assert!((4..=6).contains(&encoded), "{encoded}");
    }

    #[test]
    fn short_texts_and_long_words_are_not_remembered() {
        let long = "x".repeat(WORD_BYTES_MAX + 1);
        for (text_bytes, word) in [(TEXT_BYTES_MIN - 1, "a"), (TEXT_BYTES_MIN, &long)] {
            let mut recent = RecentWords::new(text_bytes);
            let mut tokens = Vec::new();
            for number in 0..2 {
                recent.append(word, &mut tokens, |tokens| tokens.push(number));
            }
            assert_eq!(tokens, [0, 1]);
        }
    }
}
