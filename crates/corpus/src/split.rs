//! For training or for validation: decided by what a document says, and by nothing else.

use serde::{Deserialize, Serialize};

use crate::Fingerprint;

/// A million, the whole that shares are counted in.
pub const PPM: u32 = 1_000_000;

/// What a document is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// The model learns from it.
    Train,
    /// The model is measured on it, and never learns from it.
    Validation,
}

impl Split {
    /// The split of a document, where `validation_ppm` of a million go to validation.
    ///
    /// Equal texts are on the same side, in whatever order they come and whatever else is there; and
    /// a document that is in validation stays there when the share grows.
    #[must_use]
    pub fn of(fingerprint: &Fingerprint, validation_ppm: u32) -> Self {
        if share(fingerprint.word(2)) < validation_ppm { Self::Validation } else { Self::Train }
    }

    /// Its name in file names and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
        }
    }
}

/// A hash as a number below a million, each equally likely but for one part in 2^44.
pub(crate) fn share(hash: u64) -> u32 {
    let scaled = (u128::from(hash) * u128::from(PPM)) >> 64;
    u32::try_from(scaled).unwrap_or(PPM - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_kept_and_grows_without_exchange() {
        let of = |n: usize, ppm| Split::of(&Fingerprint::of(&format!("document {n}")), ppm);
        let count = |ppm| (0..20_000).filter(|&n| of(n, ppm) == Split::Validation).count();
        assert_eq!((count(0), count(PPM)), (0, 20_000));
        // Five standard deviations of a binomial: 5 * sqrt(20000 * 0.05 * 0.95) is 154.
        let found = count(50_000);
        assert!((846..=1_154).contains(&found), "{found}");
        for n in 0..2_000 {
            assert!(of(n, 10_000) == Split::Train || of(n, 50_000) == Split::Validation);
        }
    }

    #[test]
    fn what_says_the_same_is_on_the_same_side() {
        for n in 0..1_000 {
            let (a, b) = (format!("Document, {n}!"), format!("document {n}"));
            let of = |text: &str| Split::of(&Fingerprint::of(text), 500_000);
            assert_eq!(of(&a), of(&b));
        }
    }
}
