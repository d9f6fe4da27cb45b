//! Bits per byte of a text under a model.
//!
//! Each document is encoded with the model's own tokenizer and measured by itself, in windows that
//! overlap: the first one is as long as the context window allows and all of it is measured; each
//! further one moves on by half a window, and only its new tokens are measured, so that they have at
//! least half a window before them. Of tokens the bits are counted, of texts the bytes.
//!
//! A document begins with the token that the model wants before every text, or with the one that the
//! caller wants there. Without one, nothing predicts the first token of a document: it is charged as
//! one of equally likely ones. The end of a document is not measured.

use std::sync::Arc;

use model::{BatchOptions, Model};
use tokenizer::Tokenizer;

use crate::passages::{self, Passage};
use crate::{BitsPerByte, Error};

/// A model with its own tokens.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    /// The model.
    pub model: &'a Arc<Model>,
    /// Its tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// How many passages are read at once, and the longest: the context window. The sums are the
    /// same with any number of slots and any size of chunks.
    pub batch: &'a BatchOptions,
    /// The token before every text; none: nothing.
    pub beginning: Option<u32>,
}

/// What a model made of texts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// The bits and the bytes.
    pub figure: BitsPerByte,
    /// The bits of each document, in the order of the documents.
    pub bits_of_documents: Vec<f64>,
    /// Tokens that were measured.
    pub tokens: u64,
    /// Documents whose tokens stand for another text: characters that the vocabulary does not have
    /// or that the tokenizer replaces by equal ones. Their bits are those of the other text.
    pub changed_documents: u64,
}

impl<'a> Reader<'a> {
    /// A model with its own tokens, which reads texts with the token before them that it wants.
    #[must_use]
    pub fn new(model: &'a Arc<Model>, tokenizer: &'a Tokenizer, batch: &'a BatchOptions) -> Self {
        Self { model, tokenizer, batch, beginning: tokenizer.beginning_of_text() }
    }

    /// Measures documents; `progress` hears how many bytes have been taken up.
    ///
    /// # Errors
    ///
    /// What `texts` fail with, [`Error::Model`], [`Error::Option`] for a context window of less than
    /// two tokens, and [`Error::Empty`] where there is no text.
    pub fn bits_per_byte(
        &self,
        texts: impl Iterator<Item = Result<String, Error>>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Measured, Error> {
        let window = self.window()?;
        let mut measured = Measured::default();
        // Of each document the log-probability that comes without a window, and its windows.
        let mut documents = Vec::new();
        let passages = texts.flat_map(|text| {
            let text = match text {
                Ok(text) => text,
                Err(error) => return vec![Err(error)],
            };
            progress(measured.figure.bytes);
            let tokens = self.tokenizer.encode(&text);
            measured.add(&text, &tokens, self.tokenizer);
            let (tokens, unpredicted) = self.begin(tokens);
            let windows = windows(&tokens, window);
            documents.push((unpredicted, windows.len()));
            windows.into_iter().map(Ok).collect()
        });
        let sums = passages::measure(self.model, self.batch, passages)?;
        measured.add_bits(&documents, &sums);
        measured.figure.or_empty()?;
        Ok(measured)
    }

    /// The most tokens that are read at once.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] for less than two.
    pub fn window(&self) -> Result<usize, Error> {
        let window = self.batch.context_tokens.min(self.model.config().context_tokens);
        if window < 2 {
            let (option, found) = ("the context window", format!("{window} tokens"));
            return Err(Error::Option { option, found, expected: "at least 2".to_owned() });
        }
        Ok(window)
    }

    /// The tokens of a text with the one that is to be before it; else the log-probability of
    /// the first of them, which nothing predicts.
    pub(crate) fn begin(&self, mut tokens: Vec<u32>) -> (Vec<u32>, f64) {
        match self.beginning {
            Some(beginning) => {
                tokens.insert(0, beginning);
                (tokens, 0.0)
            }
            None if tokens.is_empty() => (tokens, 0.0),
            None => (tokens, -(self.tokenizer.vocabulary_len() as f64).ln()),
        }
    }
}

impl Measured {
    /// Documents that were measured.
    #[must_use]
    pub fn documents(&self) -> u64 {
        self.bits_of_documents.len() as u64
    }

    /// Adds up the windows' log-probabilities; `documents` has of each document the log-probability
    /// that comes without a window, and how many windows it has.
    fn add_bits(&mut self, documents: &[(f64, usize)], mut sums: &[f64]) {
        for &(unpredicted, windows) in documents {
            let (of_document, rest) = sums.split_at(windows);
            sums = rest;
            let logprob = unpredicted + of_document.iter().sum::<f64>();
            let bits = BitsPerByte::of_logprob(logprob);
            self.figure.bits += bits;
            self.bits_of_documents.push(bits);
        }
    }

    fn add(&mut self, text: &str, tokens: &[u32], tokenizer: &Tokenizer) {
        self.figure.bytes += text.len() as u64;
        self.tokens += tokens.len() as u64;
        let bytes = tokens.iter().flat_map(|&token| tokenizer.token_bytes(token));
        self.changed_documents += u64::from(!bytes.eq(text.as_bytes()));
    }
}

/// The windows of a document: every token but the first is measured once.
fn windows(tokens: &[u32], window: usize) -> Vec<Passage> {
    let step = window - window / 2;
    let mut windows = Vec::new();
    let mut measured = 1;
    while measured < tokens.len() {
        let end = if measured == 1 { window } else { measured + step }.min(tokens.len());
        let begin = end.saturating_sub(window);
        let first = measured - begin;
        windows.push(Passage { tokens: tokens[begin..end].to_vec(), first });
        measured = end;
    }
    windows
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn windows_measure_every_token_but_the_first_once(
            count in 0_usize..200,
            window in 2_usize..40,
        ) {
            let tokens: Vec<u32> = (0..).take(count).collect();
            let mut measured = Vec::new();
            for Passage { tokens, first } in windows(&tokens, window) {
                prop_assert!(tokens.len() <= window && first < tokens.len());
                // In a row, so that what is before is what was before.
                prop_assert!(tokens.windows(2).all(|pair| pair[0] + 1 == pair[1]));
                prop_assert!(tokens[0] == 0 || first >= window / 2);
                measured.extend_from_slice(&tokens[first..]);
            }
            prop_assert_eq!(&measured[..], tokens.get(1..).unwrap_or_default());
        }
    }

    #[test]
    fn the_windows_of_ten_tokens() {
        let tokens: Vec<u32> = (0..10).collect();
        let passage =
            |range: std::ops::Range<u32>, first| Passage { tokens: range.collect(), first };
        assert_eq!(windows(&tokens, 10), [passage(0..10, 1)]);
        assert_eq!(
            windows(&tokens, 4),
            [passage(0..4, 1), passage(2..6, 2), passage(4..8, 2), passage(6..10, 2)]
        );
    }
}
