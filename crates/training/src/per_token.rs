//! One number for each token of each completion, without padding.
//!
//! Completions differ in length. A rectangle would need numbers where there are no tokens, and every
//! mean, sum and variance would have to leave them out; here there are none to leave out.

use std::ops::Range;
use std::sync::Arc;

/// One number for each token of each completion.
///
/// # Shapes
///
/// `[completion][token]`, ragged: row `i` has as many numbers as completion `i` has tokens, the one
/// that ended it among them. Written `[tokens]` where all rows count one after the other.
///
/// Sums go over completions in their order, and over the tokens of each from first to last: the same
/// bits on every machine.
#[derive(Clone, Debug, PartialEq)]
pub struct PerToken {
    /// All rows, one after the other.
    flat: Vec<f64>,
    /// Where each row begins, and where the last ends; shared by what is computed of it.
    offsets: Arc<[usize]>,
}

impl PerToken {
    /// From a row for each completion.
    ///
    /// # Panics
    ///
    /// Panics if a row is empty: a completion has at least the token that ends it.
    #[must_use]
    pub fn from_rows<R: AsRef<[f64]>>(rows: &[R]) -> Self {
        let flat = rows.iter().flat_map(|row| row.as_ref().iter().copied()).collect();
        Self::from_flat(flat, rows.iter().map(|row| row.as_ref().len()))
    }

    /// From all rows, one after the other, and how many tokens each has.
    ///
    /// # Panics
    ///
    /// Panics if a row is empty, or the lengths do not add up to the numbers.
    #[must_use]
    pub fn from_flat(flat: Vec<f64>, lengths: impl IntoIterator<Item = usize>) -> Self {
        let mut offsets = vec![0];
        let mut end = 0;
        for length in lengths {
            assert!(length > 0, "completion {} has no token", offsets.len() - 1);
            end += length;
            offsets.push(end);
        }
        assert!(end == flat.len(), "lengths add up to {end}, but there are {} numbers", flat.len());
        Self { flat, offsets: offsets.into() }
    }

    /// Other numbers for the tokens of another one.
    ///
    /// # Panics
    ///
    /// Panics if there are more or fewer of them.
    #[must_use]
    pub fn like(other: &Self, flat: Vec<f64>) -> Self {
        let tokens = other.flat.len();
        assert!(flat.len() == tokens, "{} numbers for {tokens} tokens", flat.len());
        Self { flat, offsets: Arc::clone(&other.offsets) }
    }

    /// The same number for every token of another one's shape.
    #[must_use]
    pub fn filled_like(other: &Self, value: f64) -> Self {
        Self::like(other, vec![value; other.flat.len()])
    }

    /// The numbers of a completion, to be written.
    ///
    /// # Panics
    ///
    /// Panics if there is no such completion.
    pub fn row_mut(&mut self, completion: usize) -> &mut [f64] {
        let range = self.range(completion);
        &mut self.flat[range]
    }

    /// The numbers of a completion.
    ///
    /// # Panics
    ///
    /// Panics if there is no such completion.
    #[must_use]
    pub fn row(&self, completion: usize) -> &[f64] {
        &self.flat[self.range(completion)]
    }

    /// The numbers of each completion, in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f64]> {
        self.offsets.windows(2).map(|ends| &self.flat[ends[0]..ends[1]])
    }

    /// All numbers, completion after completion.
    #[must_use]
    pub fn flat(&self) -> &[f64] {
        &self.flat
    }

    /// How many completions there are.
    #[must_use]
    pub fn completions(&self) -> usize {
        self.offsets.len() - 1
    }

    /// How many tokens all completions have together.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.flat.len()
    }

    /// Whether another one has the same completions, each as long.
    #[must_use]
    pub fn same_shape(&self, other: &Self) -> bool {
        self.offsets == other.offsets
    }

    /// The rows of some completions, in the order in which they are named: a minibatch.
    ///
    /// # Panics
    ///
    /// Panics if there is no such completion.
    #[must_use]
    pub fn select(&self, completions: &[usize]) -> Self {
        let rows: Vec<&[f64]> = completions.iter().map(|&index| self.row(index)).collect();
        Self::from_rows(&rows)
    }

    /// A function of each number. Returns the same shape.
    #[must_use]
    pub fn map(&self, function: impl FnMut(f64) -> f64) -> Self {
        Self::like(self, self.flat.iter().copied().map(function).collect())
    }

    /// A function of each number and the one at the same place. Returns the same shape.
    ///
    /// # Panics
    ///
    /// Panics if the shapes differ.
    #[must_use]
    pub fn zip(&self, other: &Self, mut function: impl FnMut(f64, f64) -> f64) -> Self {
        self.assert_shape(other);
        let pairs = self.flat.iter().zip(&other.flat);
        Self::like(self, pairs.map(|(&left, &right)| function(left, right)).collect())
    }

    /// The sum over all tokens.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.flat.iter().sum()
    }

    /// The mean over all tokens, each counting the same: not a mean of the completions' means.
    ///
    /// Not a number where there are no tokens.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.sum() / count(self.tokens())
    }

    /// Stops the program with both shapes where they differ.
    ///
    /// # Panics
    ///
    /// Panics if the shapes differ.
    #[track_caller]
    pub(crate) fn assert_shape(&self, other: &Self) {
        let shapes = (&self.offsets, &other.offsets);
        assert!(self.same_shape(other), "rows begin at {:?} and at {:?}", shapes.0, shapes.1);
    }

    fn range(&self, completion: usize) -> Range<usize> {
        self.offsets[completion]..self.offsets[completion + 1]
    }
}

/// A count as a number to divide by.
#[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 of anything that is counted")]
pub(crate) fn count(things: usize) -> f64 {
    things as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_went_in() {
        let rows: [&[f64]; 3] = [&[1.0, 2.0], &[3.0], &[4.0, 5.0, 6.0]];
        let mut numbers = PerToken::from_rows(&rows);
        assert!(numbers.rows().eq(rows));
        assert_eq!((numbers.completions(), numbers.tokens()), (3, 6));
        assert_eq!(numbers, PerToken::from_flat(numbers.flat().to_vec(), [2, 1, 3]));
        assert!(numbers.select(&[2, 0]).rows().eq([rows[2], rows[0]]));
        numbers.row_mut(1)[0] = 9.0;
        assert_eq!(numbers.row(1), [9.0]);
    }

    #[test]
    fn the_mean_counts_every_token_once() {
        let numbers = PerToken::from_rows(&[&[6.0][..], &[1.0, 2.0, 3.0]]);
        assert!((numbers.mean() - 3.0).abs() < 1e-15 && (numbers.sum() - 12.0).abs() < 1e-15);
        let doubled = numbers.zip(&numbers, |left, right| left + right);
        assert_eq!(doubled, numbers.map(|value| 2.0 * value));
        assert_eq!(PerToken::filled_like(&numbers, 0.5).flat(), [0.5; 4]);
    }

    #[test]
    #[should_panic(expected = "rows begin at [0, 1, 3] and at [0, 2, 3]")]
    fn other_lengths_are_refused() {
        let left = PerToken::from_flat(vec![0.0; 3], [1, 2]);
        let _ = left.zip(&PerToken::from_flat(vec![0.0; 3], [2, 1]), f64::max);
    }

    #[test]
    #[should_panic(expected = "completion 1 has no token")]
    fn a_completion_without_a_token_is_refused() {
        let _ = PerToken::from_flat(vec![0.0], [1, 0]);
    }
}
