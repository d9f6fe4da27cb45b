//! An n-gram model: counts of runs of tokens, smoothed by interpolated modified Kneser-Ney.
//!
//! With `c` the count of a run, `h` the tokens before `w` and `h'` the same without the first:
//!
//! `p(w | h) = (c(hw) - D(c(hw))) / c(h•) + gamma(h) * p(w | h')`,
//! `c(h•) = sum over w of c(hw)`, `gamma(h) = sum over w of D(c(hw)) / c(h•)`,
//!
//! down to single tokens, which are interpolated with `1 / vocabulary`. So the probabilities after
//! any context sum to 1 over the vocabulary, and none is 0. For the longest runs `c` is how often
//! they occur; for shorter ones it is before how many different tokens they occur, but for those at
//! the beginning of a document, before which nothing stands: they are counted as they occur. `D` is
//! `D1`, `D2` or `D3+` for a count of 1, 2 or more, estimated for runs of each length from the numbers `n1` to `n4`
//! of runs with a count of 1 to 4:
//!
//! `Y = n1 / (n1 + 2 n2)`, `D1 = 1 - 2 Y n2 / n1`, `D2 = 2 - 3 Y n3 / n2`, `D3+ = 3 - 4 Y n4 / n3`.
//!
//! Where a number is missing or a discount falls out of its range, as in small texts, all three are
//! 0.5, 1 and 1.5 (as with `KenLM`'s `--discount_fallback`).
//!
//! Source: Chen and Goodman, "An empirical study of smoothing techniques for language modeling",
//! Computer Speech and Language 13 (1999); the counts at the beginning as in Heafield et al.,
//! "Scalable modified Kneser-Ney language model estimation" (2013).

mod discounts;
mod grams;
#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;

use crate::Error;

use discounts::Discounts;
use grams::{BEGIN, Grams, code};

/// The lengths of the longest run that can be asked for.
pub const ORDERS: RangeInclusive<usize> = 2..=5;
/// The most tokens that are counted, the beginnings of documents among them. Learning takes 2 GB then
/// where the text is English, and 4 GB at worst.
pub const TOKENS_MAX: usize = 1 << 25;
/// The largest vocabulary: a run of 5 tokens is one number of 128 bits.
pub const VOCABULARY_MAX: u32 = (1 << grams::CODE_BITS) - 2;

/// What to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NgramOptions {
    /// Tokens of the longest runs, within [`ORDERS`]: a token is predicted from one less.
    pub order: usize,
    /// Tokens of the vocabulary, at most [`VOCABULARY_MAX`].
    pub vocabulary: u32,
}

/// Gathers documents, and counts them.
///
/// Memory at the peak: 47 bytes a token for 3 million tokens of English, 118 where no two runs are
/// alike.
#[derive(Debug)]
pub struct Learner {
    options: NgramOptions,
    windows: grams::Windows,
}

/// A model that was learned.
///
/// Memory: 8 bytes for each different run of the longest kind, and 24 for each shorter one; 34 a token
/// for 3 million tokens of English, 91 where no two runs are alike.
#[derive(Clone, Debug)]
pub struct Ngram {
    options: NgramOptions,
    /// Of runs of `n + 1` tokens.
    levels: Vec<Level>,
    /// Of runs of `n` tokens, from the empty one on: what follows each.
    contexts: Vec<Vec<Context>>,
}

/// Runs of one length, sorted: those with the same beginning stand together.
#[derive(Clone, Debug)]
struct Level {
    /// The code of the last token of each.
    codes: Vec<u32>,
    counts: Vec<u32>,
    discounts: Discounts,
}

/// What follows a run. The runs that are one token longer end where those of the next one begin.
#[derive(Clone, Copy, Debug)]
struct Context {
    /// The first run that is one token longer.
    first: u32,
    /// The sum of the counts of all those.
    total: u32,
    /// The sum of their discounts.
    discounted: f64,
}

impl Learner {
    /// Begins without any document.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] for an order or a vocabulary out of range.
    pub fn new(options: NgramOptions) -> Result<Self, Error> {
        let NgramOptions { order, vocabulary } = options;
        if !ORDERS.contains(&order) {
            let expected = format!("{} to {}", ORDERS.start(), ORDERS.end());
            return Err(Error::Option { option: "order", found: order.to_string(), expected });
        }
        if !(1..=VOCABULARY_MAX).contains(&vocabulary) {
            let (found, expected) = (vocabulary.to_string(), format!("1 to {VOCABULARY_MAX}"));
            return Err(Error::Option { option: "vocabulary", found, expected });
        }
        Ok(Self { options, windows: grams::Windows::new(order) })
    }

    /// Adds a document; no run goes from one into another.
    ///
    /// # Errors
    ///
    /// [`Error::Token`] and [`Error::TooManyTokens`]; the document is not added then.
    pub fn add(&mut self, document: &[u32]) -> Result<(), Error> {
        self.options.check(document)?;
        if self.windows.tokens() + document.len() + 1 > TOKENS_MAX {
            return Err(Error::TooManyTokens { limit: TOKENS_MAX });
        }
        self.windows.add(document);
        Ok(())
    }

    /// Counts all runs.
    ///
    /// # Errors
    ///
    /// [`Error::Empty`] where there was no token.
    pub fn learn(mut self) -> Result<Ngram, Error> {
        let mut longer = self.windows.count();
        let mut levels = Vec::new();
        let mut contexts = Vec::new();
        for length in (0..self.options.order).rev() {
            let discounts = Discounts::estimate(&longer.counts);
            let shorter = self.windows.shorten(&longer, length);
            contexts.push(link(&shorter, &longer, &discounts));
            levels.push(Level::new(longer, discounts));
            longer = shorter;
        }
        levels.reverse();
        contexts.reverse();
        let ngram = Ngram { options: self.options, levels, contexts };
        if ngram.contexts[0][0].total == 0 {
            Err(Error::Empty { what: "text to count" })
        } else {
            Ok(ngram)
        }
    }
}

impl NgramOptions {
    /// Refuses tokens that the vocabulary does not have.
    fn check(&self, document: &[u32]) -> Result<(), Error> {
        let vocabulary = self.vocabulary;
        match document.iter().find(|&&token| token >= vocabulary) {
            Some(&token) => Err(Error::Token { token, vocabulary }),
            None => Ok(()),
        }
    }
}

impl Ngram {
    /// The natural log-probability of each token of a document, given those before it.
    ///
    /// # Errors
    ///
    /// [`Error::Token`] for a token that is not in the vocabulary.
    pub fn logprobs(&self, document: &[u32]) -> Result<Vec<f64>, Error> {
        self.options.check(document)?;
        let codes: Vec<u32> =
            [BEGIN].into_iter().chain(document.iter().map(|&t| code(t))).collect();
        let logprob = |place: usize| {
            let before = &codes[(place + 1).saturating_sub(self.options.order)..place];
            self.probability(before, codes[place]).ln()
        };
        Ok((1..codes.len()).map(logprob).collect())
    }

    /// How many different runs were counted, of all lengths.
    #[must_use]
    pub fn runs(&self) -> usize {
        self.levels.iter().map(|level| level.codes.len()).sum()
    }

    /// The probability of a token after others, by their codes.
    fn probability(&self, before: &[u32], code: u32) -> f64 {
        let mut probability = 1.0 / f64::from(self.options.vocabulary);
        for length in 0..=before.len() {
            let Some(context) = self.context(&before[before.len() - length..]) else { break };
            let Context { total, discounted, first } = self.contexts[length][context];
            let end = self.contexts[length][context + 1].first;
            if total == 0 {
                // Nothing follows this run anywhere, nor any longer one that ends in it.
                break;
            }
            let level = &self.levels[length];
            let own = level.find(first..end, code).map_or(0.0, |run| level.discounted(run));
            probability = (own + discounted * probability) / f64::from(total);
        }
        probability
    }

    /// The number of a run among those of its length, if it was counted.
    fn context(&self, run: &[u32]) -> Option<usize> {
        let mut place = 0;
        for (length, &code) in run.iter().enumerate() {
            let contexts = &self.contexts[length];
            place =
                self.levels[length].find(contexts[place].first..contexts[place + 1].first, code)?;
        }
        Some(place)
    }
}

impl Level {
    fn new(grams: Grams, discounts: Discounts) -> Self {
        let codes = grams.keys.iter().map(|&key| grams::last(key)).collect();
        Self { codes, counts: grams.counts, discounts }
    }

    /// The run of a range that ends in a code.
    fn find(&self, range: std::ops::Range<u32>, code: u32) -> Option<usize> {
        let (first, end) = (range.start as usize, range.end as usize);
        self.codes[first..end].binary_search(&code).ok().map(|place| first + place)
    }

    /// The count of a run less its discount.
    fn discounted(&self, run: usize) -> f64 {
        let count = self.counts[run];
        f64::from(count) - self.discounts.of(count)
    }
}

/// For each shorter run what follows it; then one more, at which the last one ends.
fn link(shorter: &Grams, longer: &Grams, discounts: &Discounts) -> Vec<Context> {
    let mut contexts = Vec::with_capacity(shorter.keys.len() + 1);
    let mut first = 0;
    for &key in &shorter.keys {
        let follows = |&&other: &&u128| grams::before_last(other) == key;
        let count = longer.keys[first..].iter().take_while(follows).count();
        let counts = &longer.counts[first..first + count];
        contexts.push(Context {
            first: grams::place(first),
            total: counts.iter().sum(),
            discounted: counts.iter().map(|&count| discounts.of(count)).sum(),
        });
        first += count;
    }
    contexts.push(Context { first: grams::place(first), total: 0, discounted: 0.0 });
    contexts
}
