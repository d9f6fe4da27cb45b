//! How often the documents of a source are taken: whole repetitions, and a share chosen by hash.

use crate::Fingerprint;
use crate::mix::fold;
use crate::split::{PPM, share};

/// The most repetitions of a source.
pub const REPETITIONS_MAX: u32 = 64;

/// How often each document of a source is taken, in millionths: 2,500,000 is twice each, and half of
/// them a third time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight {
    ppm: u32,
}

impl Default for Weight {
    fn default() -> Self {
        Self { ppm: PPM }
    }
}

impl Weight {
    /// A weight in millionths; `None` above [`REPETITIONS_MAX`] repetitions.
    #[must_use]
    pub fn from_ppm(ppm: u32) -> Option<Self> {
        (ppm <= REPETITIONS_MAX * PPM).then_some(Self { ppm })
    }

    /// The weight in millionths.
    #[must_use]
    pub fn ppm(self) -> u32 {
        self.ppm
    }

    /// How often a document is taken; its copies stand side by side in the shards.
    ///
    /// Repetition `r` takes it where `r` is below the whole part, or in the last one where the hash
    /// of its fingerprint and `r` falls in the share. So the choice depends on nothing else, and
    /// other documents get the extra turn in another repetition.
    #[must_use]
    pub fn copies(self, fingerprint: &Fingerprint) -> u32 {
        let (whole, part) = (self.ppm / PPM, self.ppm % PPM);
        let chosen = share(fold(fingerprint.word(3), u64::from(whole))) < part;
        whole + u32::from(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprints() -> Vec<Fingerprint> {
        (0..10_000).map(|n| Fingerprint::of(&format!("document {n}"))).collect()
    }

    fn total(ppm: u32) -> u32 {
        let weight = Weight::from_ppm(ppm).unwrap();
        fingerprints().iter().map(|fingerprint| weight.copies(fingerprint)).sum()
    }

    #[test]
    fn copies_follow_the_weight() {
        for (ppm, least, most) in [
            (0, 0, 0),
            (300_000, 2_770, 3_230),
            (PPM, 10_000, 10_000),
            (2_500_000, 24_750, 25_250),
            (3 * PPM, 30_000, 30_000),
        ] {
            let found = total(ppm);
            assert!((least..=most).contains(&found), "{ppm}: {found}");
        }
        assert!(Weight::from_ppm(REPETITIONS_MAX * PPM).is_some());
        assert!(Weight::from_ppm(REPETITIONS_MAX * PPM + 1).is_none());
    }

    #[test]
    fn a_smaller_share_is_a_part_of_a_larger_one_and_repetitions_differ() {
        let copies = |ppm: u32| {
            let weight = Weight::from_ppm(ppm).unwrap();
            fingerprints().iter().map(|f| weight.copies(f)).collect::<Vec<_>>()
        };
        let (small, large, second) = (copies(200_000), copies(400_000), copies(1_200_000));
        assert!(small.iter().zip(&large).all(|(small, large)| small <= large));
        assert!(small.iter().zip(&second).any(|(first, second)| first + 1 != *second));
    }
}
