//! Bits per byte: the unit in which models, counts of tokens and compressors are compared.

use std::ops::AddAssign;

use serde::Serialize;

use crate::Error;

/// How many bits a text takes under a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct BitsPerByte {
    /// The bits: `-log2` of the probability of the text, or the length of its compressed form.
    pub bits: f64,
    /// Bytes of the text in UTF-8.
    pub bytes: u64,
}

impl BitsPerByte {
    /// Bits divided by bytes; 0 for no text.
    #[must_use]
    pub fn value(&self) -> f64 {
        if self.bytes == 0 { 0.0 } else { self.bits / self.bytes as f64 }
    }

    /// The bits of tokens by their natural log-probabilities.
    pub(crate) fn of_logprob(logprob: f64) -> f64 {
        -logprob / std::f64::consts::LN_2
    }

    /// Adds tokens by their natural log-probabilities.
    pub(crate) fn add_logprob(&mut self, logprob: f64) {
        self.bits += Self::of_logprob(logprob);
    }

    /// The figure of some text.
    ///
    /// # Errors
    ///
    /// [`Error::Empty`] where there was none.
    pub(crate) fn or_empty(self) -> Result<Self, Error> {
        if self.bytes == 0 { Err(Error::Empty { what: "text to measure on" }) } else { Ok(self) }
    }
}

impl AddAssign for BitsPerByte {
    fn add_assign(&mut self, other: Self) {
        self.bits += other.bits;
        self.bytes += other.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_is_two_bits() {
        let mut one = BitsPerByte { bits: 0.0, bytes: 4 };
        one.add_logprob(0.25_f64.ln());
        let mut both = one;
        both += BitsPerByte { bits: 4.0, bytes: 2 };
        assert!((one.value() - 0.5).abs() < 1e-15);
        assert!((both.value() - 1.0).abs() < 1e-15);
        assert!(BitsPerByte::default().value().abs() < 1e-15);
    }
}
