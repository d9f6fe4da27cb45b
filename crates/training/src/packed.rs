//! Whole sequences as one micro-batch.

use std::ops::Range;

use model::trainable::{Documents, MicroBatch};

/// Sequences one after the other. Each begins at an even row, and an odd one is followed by a row
/// that counts nothing: products in bf16 add tokens in pairs, and so a sequence's pairs are its own,
/// whatever is beside it.
#[derive(Debug, Default)]
pub(crate) struct Packed {
    tokens: Vec<u32>,
    positions: Vec<u32>,
    targets: Vec<u32>,
    weights: Vec<f32>,
    rows: Vec<Range<usize>>,
}

impl Packed {
    /// Adds a prompt and its completion; the rows that count are those that predict the
    /// completion's tokens.
    ///
    /// # Panics
    ///
    /// Panics if one of them is empty.
    pub(crate) fn push(&mut self, prompt: &[u32], completion: &[u32]) {
        assert!(!prompt.is_empty() && !completion.is_empty(), "a prompt and a completion");
        let first = self.tokens.len() + prompt.len() - 1;
        let read = &completion[..completion.len() - 1];
        self.read(prompt.iter().chain(read).copied());
        let rows = first..self.tokens.len();
        self.targets.extend(prompt[1..].iter().chain(completion));
        self.weights.resize(first, 0.0);
        self.weights.resize(rows.end, 1.0);
        self.rows.push(rows);
        self.even_out();
    }

    /// Adds a prompt and its completion, every token of which is read; the row that counts is the
    /// last.
    pub(crate) fn push_whole(&mut self, prompt: &[u32], completion: &[u32]) {
        self.read(prompt.iter().chain(completion).copied());
        let last = self.tokens.len() - 1;
        self.targets.resize(self.tokens.len(), 0);
        self.weights.resize(self.tokens.len(), 0.0);
        self.rows.push(last..last + 1);
        self.even_out();
    }

    fn read(&mut self, tokens: impl Iterator<Item = u32>) {
        let before = self.tokens.len();
        self.tokens.extend(tokens);
        self.positions.extend((0..).take(self.tokens.len() - before));
    }

    /// A document of one token, which fits into every context window.
    fn even_out(&mut self) {
        if !self.tokens.len().is_multiple_of(2) {
            self.tokens.push(0);
            self.positions.push(0);
            self.targets.push(0);
            self.weights.push(0.0);
        }
    }

    /// The rows of each sequence that count, in the order in which they were added.
    pub(crate) fn rows(&self) -> &[Range<usize>] {
        &self.rows
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    pub(crate) fn documents(&self) -> Documents<'_> {
        Documents { tokens: &self.tokens, positions: &self.positions }
    }

    pub(crate) fn micro_batch(&self, temperature: f32) -> MicroBatch<'_> {
        MicroBatch {
            tokens: &self.tokens,
            positions: &self.positions,
            targets: &self.targets,
            weights: &self.weights,
            scale: 1.0,
            temperature,
        }
    }
}

/// Cuts things into runs of no more than so many tokens each, or of one thing.
pub(crate) fn portions<T>(
    things: &[T],
    tokens_max: usize,
    tokens: impl Fn(&T) -> usize,
) -> Vec<&[T]> {
    let mut portions = Vec::new();
    let (mut begin, mut held) = (0, 0);
    for (index, thing) in things.iter().enumerate() {
        let own = tokens(thing);
        if index > begin && held + own > tokens_max {
            portions.push(&things[begin..index]);
            (begin, held) = (index, 0);
        }
        held += own;
    }
    if begin < things.len() {
        portions.push(&things[begin..]);
    }
    portions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completions_are_predicted_and_pairs_stay_together() {
        let mut packed = Packed::default();
        packed.push(&[5, 6, 7], &[8, 9]);
        packed.push(&[1], &[2]);
        packed.push(&[3, 4], &[5, 6, 7]);
        assert_eq!(packed.rows(), [2..4, 4..5, 7..10]);
        let batch = packed.micro_batch(0.5);
        assert_eq!(batch.tokens, [5, 6, 7, 8, 1, 0, 3, 4, 5, 6]);
        assert_eq!(batch.positions, [0, 1, 2, 3, 0, 0, 0, 1, 2, 3]);
        for (rows, completion) in packed.rows().iter().zip([&[8, 9][..], &[2], &[5, 6, 7]]) {
            assert_eq!(batch.targets[rows.clone()], *completion);
        }
        assert_eq!(batch.weights, [0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn scores_are_read_at_the_last_token() {
        let mut packed = Packed::default();
        packed.push_whole(&[5, 6], &[7]);
        packed.push_whole(&[1], &[2]);
        assert_eq!(packed.documents().tokens, [5, 6, 7, 0, 1, 2]);
        assert_eq!(packed.rows(), [2..3, 5..6]);
        assert!(packed.micro_batch(1.0).weights.iter().all(|&weight| weight == 0.0));
    }

    #[test]
    fn portions_hold_as_much_as_they_may() {
        let cut = |lengths: &[usize]| -> Vec<usize> {
            portions(lengths, 10, |&length| length).iter().map(|part| part.len()).collect()
        };
        assert_eq!(cut(&[3, 3, 4, 1, 20, 2]), [3, 1, 1, 1]);
        assert_eq!(cut(&[]), [0; 0]);
        assert_eq!(cut(&[99]), [1]);
    }
}
