//! Dropping what was there before: the same words, or nearly the same.
//!
//! The same: documents of one [`Fingerprint`]. Nearly the same: `MinHash` (Broder, "On the resemblance
//! and containment of documents", 1997). A text is the set of its runs of [`SHINGLE_WORDS`] words;
//! [`HASHES`] hash functions each keep their least value over the set, and the share of least values
//! that two texts have in common estimates what part of all their runs they share. [`BANDS`] bands
//! of least values are looked up; a document is compared with the first that had the same band, and
//! dropped where the estimate is at least the asked similarity. A pair that shares a part `s` of its
//! runs meets in a band with probability `1 - (1 - s^8)^16`: 0.06 at 0.5, 0.95 at 0.8.
//!
//! The first document stays, so the result depends on the order of the sources, and on nothing
//! else. A text in a script without blanks between words has few runs and is only found where it is
//! the same. Memory: about 40 bytes for each document that is remembered, and about 1 KiB where near
//! duplicates are looked for. When as many are remembered as the options allow, further ones are
//! still looked up, but not remembered; the report counts them.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::document::words;
use crate::mix::{fold, mix};
use crate::split::PPM;
use crate::{DropReason, Error, Fingerprint};

/// Words in a run.
pub const SHINGLE_WORDS: usize = 5;
/// Least values of a text.
pub const HASHES: usize = 128;
/// Bands of least values, each looked up as a whole.
pub const BANDS: usize = 16;
/// Least values of a band.
const BAND_HASHES: usize = HASHES / BANDS;

/// What counts as a duplicate, and how many documents are remembered.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct DeduplicateOptions {
    /// The most documents whose fingerprints are remembered; 0 keeps exact duplicates.
    pub exact_documents_max: usize,
    /// The most documents whose least values are remembered; 0 keeps near duplicates.
    pub near_documents_max: usize,
    /// The part of their runs that near duplicates share, in millionths.
    pub similarity_ppm: u32,
}

impl Default for DeduplicateOptions {
    fn default() -> Self {
        Self { exact_documents_max: 1 << 25, near_documents_max: 1 << 20, similarity_ppm: 800_000 }
    }
}

impl DeduplicateOptions {
    /// Nothing is a duplicate.
    #[must_use]
    pub fn off() -> Self {
        Self { exact_documents_max: 0, near_documents_max: 0, ..Self::default() }
    }

    /// Whether the similarity makes sense.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if (1..=PPM).contains(&self.similarity_ppm) {
            return Ok(());
        }
        Err(Error::Option {
            option: "similarity_ppm",
            found: self.similarity_ppm.to_string(),
            expected: format!("between 1 and {PPM}"),
        })
    }
}

/// The documents seen so far.
#[derive(Debug)]
pub struct Deduplicator {
    options: DeduplicateOptions,
    exact: HashSet<u128>,
    signatures: Vec<Signature>,
    /// The first document of each band's values.
    bands: HashMap<u64, u32>,
    not_remembered: u64,
}

/// What a document that was not there before is remembered by.
#[derive(Debug)]
pub struct Unseen {
    half: u128,
    signature: Option<Signature>,
}

/// The least values of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Signature([u32; HASHES]);

impl Deduplicator {
    /// Nothing was seen yet.
    #[must_use]
    pub fn new(options: DeduplicateOptions) -> Self {
        Self {
            options,
            exact: HashSet::new(),
            signatures: Vec::new(),
            bands: HashMap::new(),
            not_remembered: 0,
        }
    }

    /// What a document is remembered by, unless one with its text or much of it was remembered.
    ///
    /// # Errors
    ///
    /// [`DropReason::Duplicate`], [`DropReason::NearDuplicate`].
    pub fn look_up(&self, fingerprint: &Fingerprint, text: &str) -> Result<Unseen, DropReason> {
        let half = fingerprint.half();
        if self.exact.contains(&half) {
            return Err(DropReason::Duplicate);
        }
        let signature = (self.options.near_documents_max > 0).then(|| Signature::of(text));
        if signature.is_some_and(|signature| self.is_near(&signature)) {
            return Err(DropReason::NearDuplicate);
        }
        Ok(Unseen { half, signature })
    }

    /// Refuses a document that was looked up before, where one like it was remembered since.
    ///
    /// # Errors
    ///
    /// As [`Deduplicator::look_up`].
    pub fn look_again(&self, unseen: &Unseen) -> Result<(), DropReason> {
        if self.exact.contains(&unseen.half) {
            return Err(DropReason::Duplicate);
        }
        match unseen.signature.is_some_and(|signature| self.is_near(&signature)) {
            true => Err(DropReason::NearDuplicate),
            false => Ok(()),
        }
    }

    /// Remembers a document that is kept, where there is room.
    pub fn remember(&mut self, unseen: &Unseen) {
        let mut is_remembered =
            unseen.signature.is_none_or(|signature| self.remember_signature(&signature));
        if self.options.exact_documents_max > 0 {
            let has_room = self.exact.len() < self.options.exact_documents_max;
            is_remembered &= has_room && self.exact.insert(unseen.half);
        }
        self.not_remembered += u64::from(!is_remembered);
    }

    /// Documents that were kept but not remembered, for near duplicates or at all.
    #[must_use]
    pub fn not_remembered(&self) -> u64 {
        self.not_remembered
    }

    /// Remembers a signature where there is room.
    fn remember_signature(&mut self, signature: &Signature) -> bool {
        let room = self.signatures.len() < self.options.near_documents_max;
        let number = u32::try_from(self.signatures.len()).ok().filter(|_| room);
        let Some(number) = number else { return false };
        self.signatures.push(*signature);
        for key in signature.bands() {
            self.bands.entry(key).or_insert(number);
        }
        true
    }

    /// Whether a document like this was there.
    fn is_near(&self, signature: &Signature) -> bool {
        let asked = u64::from(self.options.similarity_ppm) * HASHES as u64;
        let candidates = signature.bands().into_iter().filter_map(|key| self.bands.get(&key));
        candidates
            .map(|&before| signature.same(&self.signatures[before as usize]) as u64)
            .any(|same| same * u64::from(PPM) >= asked)
    }
}

impl Signature {
    fn of(text: &str) -> Self {
        let mut least = [u32::MAX; HASHES];
        let mut last_words = [0; SHINGLE_WORDS];
        let mut count = 0;
        for word in words(text) {
            last_words.rotate_left(1);
            last_words[SHINGLE_WORDS - 1] = word_hash(word);
            count += 1;
            if count >= SHINGLE_WORDS {
                keep_least(&mut least, &last_words);
            }
        }
        if count < SHINGLE_WORDS {
            // One run of all its words; of none at all the text itself.
            last_words[0] = if count == 0 { word_hash(text) } else { count as u64 };
            keep_least(&mut least, &last_words);
        }
        Self(least)
    }

    /// The values of each band in one word, different for each band.
    fn bands(&self) -> [u64; BANDS] {
        std::array::from_fn(|band| {
            let values = &self.0[band * BAND_HASHES..][..BAND_HASHES];
            values.iter().fold(mix(band as u64), |hash, &value| fold(hash, u64::from(value)))
        })
    }

    /// How many least values are the same.
    fn same(&self, other: &Self) -> usize {
        self.0.iter().zip(&other.0).filter(|(a, b)| a == b).count()
    }
}

/// A word in lowercase as a hash.
fn word_hash(word: &str) -> u64 {
    word.chars().flat_map(char::to_lowercase).fold(0, |hash, c| fold(hash, u64::from(c)))
}

/// Hash function `i` is the upper half of `x * a_i + b_i`, with an odd `a_i`.
fn keep_least(least: &mut [u32; HASHES], run: &[u64; SHINGLE_WORDS]) {
    let x = run.iter().fold(0, |hash, &word| fold(hash, word));
    for (value, [factor, offset]) in least.iter_mut().zip(&FACTORS) {
        let hash = x.wrapping_mul(*factor).wrapping_add(*offset);
        *value = (*value).min((hash >> 32) as u32);
    }
}

/// The factors of the hash functions, from SplitMix64.
static FACTORS: [[u64; 2]; HASHES] = factors();

const fn factors() -> [[u64; 2]; HASHES] {
    let mut factors = [[0; 2]; HASHES];
    let mut i = 0;
    while i < HASHES {
        factors[i] = [mix(2 * i as u64) | 1, mix(2 * i as u64 + 1)];
        i += 1;
    }
    factors
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text of `count` words from a series.
    fn text(seed: u64, count: u64) -> Vec<String> {
        (0..count).map(|n| format!("w{}", mix(seed << 32 | n) % 5_000)).collect()
    }

    fn see(deduplicator: &mut Deduplicator, text: &str) -> Option<DropReason> {
        match deduplicator.look_up(&Fingerprint::of(text), text) {
            Ok(unseen) => {
                deduplicator.remember(&unseen);
                None
            }
            Err(reason) => Some(reason),
        }
    }

    #[test]
    fn the_same_words_are_a_duplicate_and_changed_ones_nearly() {
        let mut deduplicator = Deduplicator::new(DeduplicateOptions::default());
        let words = text(1, 400);
        let first = words.join(" ");
        assert_eq!(see(&mut deduplicator, &first), None);
        assert_eq!(see(&mut deduplicator, &first), Some(DropReason::Duplicate));
        let shouted = first.to_uppercase().replace(' ', "\n\n");
        assert_eq!(see(&mut deduplicator, &shouted), Some(DropReason::Duplicate));
        // Three words of 400 changed: 15 of 396 runs differ on each side, similarity 0.93.
        let mut changed = words.clone();
        for at in [50, 200, 350] {
            changed[at] = "changed".to_owned();
        }
        assert_eq!(see(&mut deduplicator, &changed.join(" ")), Some(DropReason::NearDuplicate));
        // Half of the words are others: similarity 0.33.
        let half: Vec<String> = [&words[..200], &text(2, 200)].concat();
        assert_eq!(see(&mut deduplicator, &half.join(" ")), None);
        assert_eq!(see(&mut deduplicator, &text(3, 400).join(" ")), None);
    }

    #[test]
    fn short_texts_are_only_the_same_where_their_words_are() {
        let mut deduplicator = Deduplicator::new(DeduplicateOptions::default());
        for text in ["one two", "one three", "two one", "one", "", "!", "?"] {
            assert_eq!(see(&mut deduplicator, text), None, "{text}");
        }
        for text in ["one, two!", "One"] {
            assert_eq!(see(&mut deduplicator, text), Some(DropReason::Duplicate), "{text}");
        }
    }

    #[test]
    fn the_estimate_is_near_the_similarity() {
        for (shared, count) in [(50, 400), (200, 400), (360, 400)] {
            let words = text(1, count);
            let at = usize::try_from(shared).unwrap();
            let other = [&words[..at], &text(2, count - shared)].concat();
            let (a, b) = (Signature::of(&words.join(" ")), Signature::of(&other.join(" ")));
            let runs = (count - 4) as f64;
            let common = (shared - 4) as f64;
            let similarity = common / (2.0 * runs - common);
            let estimate = a.same(&b) as f64 / HASHES as f64;
            // Four standard deviations of a mean of 128.
            let deviation = (similarity * (1.0 - similarity) / HASHES as f64).sqrt();
            assert!((estimate - similarity).abs() < 4.0 * deviation, "{estimate} {similarity}");
        }
    }

    #[test]
    fn what_does_not_fit_is_kept_and_counted() {
        let options = DeduplicateOptions {
            exact_documents_max: 2,
            near_documents_max: 1,
            ..DeduplicateOptions::default()
        };
        let mut deduplicator = Deduplicator::new(options);
        let texts: Vec<String> = (1..5).map(|seed| text(seed, 50).join(" ")).collect();
        assert!(texts.iter().all(|text| see(&mut deduplicator, text).is_none()));
        // The second has no signature, the third and fourth neither that nor a fingerprint.
        assert_eq!(deduplicator.not_remembered(), 3);
        assert_eq!(see(&mut deduplicator, &texts[1]), Some(DropReason::Duplicate));
        assert_eq!(see(&mut deduplicator, &texts[3]), None);

        let mut off = Deduplicator::new(DeduplicateOptions::off());
        assert!((0..2).all(|_| see(&mut off, &texts[0]).is_none()));
        assert_eq!(off.not_remembered(), 0);
    }
}
