//! The probabilities after any context sum to 1, agree with the formula worked out by hand, and with
//! a slow second form of it.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn learn(order: usize, vocabulary: u32, documents: &[Vec<u32>]) -> Ngram {
    let mut learner = Learner::new(NgramOptions { order, vocabulary }).unwrap();
    documents.iter().for_each(|document| learner.add(document).unwrap());
    learner.learn().unwrap()
}

/// The probability of a token after tokens that begin a document.
fn probability(ngram: &Ngram, before: &[u32], token: u32) -> f64 {
    let document: Vec<u32> = before.iter().copied().chain([token]).collect();
    ngram.logprobs(&document).unwrap().last().unwrap().exp()
}

#[track_caller]
fn check(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-12, "{found} instead of {expected}");
}

#[test]
fn the_formula_worked_out_by_hand() {
    // abab and ac, of a vocabulary of four. Pairs: 2 times a at the beginning, 2 ab, 1 ba, 1 ac.
    // Before a stand 2 different tokens (the beginning, b), before b and c one each (a). No count is
    // 3, so the discounts are 0.5 and 1.
    let [a, b, c, d] = [0, 1, 2, 3];
    let ngram = learn(2, 4, &[vec![a, b, a, b], vec![a, c]]);
    // Single tokens: total 4, gamma = (1 + 0.5 + 0.5) / 4.
    let single = [0.25 + 0.125, 0.125 + 0.125, 0.125 + 0.125, 0.125];
    // Nothing ever follows c.
    for (token, expected) in [a, b, c, d].into_iter().zip(single) {
        check(probability(&ngram, &[c], token), expected);
    }
    // After a: total 3, gamma = (1 + 0.5) / 3.
    check(probability(&ngram, &[a], b), 1.0 / 3.0 + 0.5 * single[1]);
    check(probability(&ngram, &[a], c), 0.5 / 3.0 + 0.5 * single[2]);
    check(probability(&ngram, &[a], a), 0.5 * single[0]);
    check(probability(&ngram, &[a], d), 0.5 * single[3]);
    // At the beginning: total 2, gamma = 1 / 2.
    check(probability(&ngram, &[], a), 0.5 + 0.5 * single[0]);
    check(probability(&ngram, &[], d), 0.5 * single[3]);
    // After b: total 1, gamma = 0.5.
    check(probability(&ngram, &[d, b], a), 0.5 + 0.5 * single[0]);
    assert_eq!(ngram.runs(), 4 + 4);
}

/// The formula read from the top down, with maps of what was counted.
struct Slow {
    vocabulary: u32,
    order: usize,
    /// By length: runs of codes with their counts.
    counts: Vec<BTreeMap<Vec<u32>, u32>>,
}

impl Slow {
    fn new(order: usize, vocabulary: u32, documents: &[Vec<u32>]) -> Self {
        let mut occurrences = vec![BTreeMap::<Vec<u32>, u32>::new(); order + 1];
        for document in documents {
            let codes: Vec<u32> =
                [BEGIN].into_iter().chain(document.iter().map(|&token| code(token))).collect();
            for (length, runs) in occurrences.iter_mut().enumerate().skip(1) {
                codes.windows(length).for_each(|run| *runs.entry(run.to_vec()).or_default() += 1);
            }
        }
        let mut counts = occurrences.clone();
        for length in 1..order {
            for (run, count) in &mut counts[length] {
                let before: BTreeSet<u32> = occurrences[length + 1]
                    .keys()
                    .filter(|longer| longer[1..] == run[..])
                    .map(|longer| longer[0])
                    .collect();
                if run[0] != BEGIN {
                    *count = u32::try_from(before.len()).unwrap();
                }
            }
        }
        counts[1].remove(&vec![BEGIN]);
        Self { vocabulary, order, counts }
    }

    fn probability(&self, before: &[u32], code: u32) -> f64 {
        let runs = &self.counts[before.len() + 1];
        let follows: Vec<(&Vec<u32>, u32)> = runs
            .iter()
            .filter(|(run, _)| run[..before.len()] == *before)
            .map(|(run, count)| (run, *count))
            .collect();
        let shorter = match before.split_first() {
            Some((_, rest)) => self.probability(rest, code),
            None => 1.0 / f64::from(self.vocabulary),
        };
        if follows.is_empty() {
            return shorter;
        }
        let discounts = Discounts::estimate(&runs.values().copied().collect::<Vec<_>>());
        let total: f64 = follows.iter().map(|(_, count)| f64::from(*count)).sum();
        let gamma = follows.iter().map(|(_, count)| discounts.of(*count)).sum::<f64>() / total;
        let own = follows.iter().find(|(run, _)| run[before.len()] == code);
        let own = own.map_or(0.0, |(_, count)| f64::from(*count) - discounts.of(*count));
        own / total + gamma * shorter
    }

    fn last(&self, document: &[u32]) -> f64 {
        let codes: Vec<u32> =
            [BEGIN].into_iter().chain(document.iter().map(|&token| code(token))).collect();
        let (last, before) = codes.split_last().unwrap();
        self.probability(&before[before.len().saturating_sub(self.order - 1)..], *last)
    }
}

const VOCABULARY: u32 = 6;

fn documents() -> impl Strategy<Value = Vec<Vec<u32>>> {
    let document = prop::collection::vec(0..VOCABULARY - 1, 0..20);
    prop::collection::vec(document, 1..12)
        .prop_filter("no token", |documents| documents.iter().any(|document| !document.is_empty()))
}

proptest! {
    #[test]
    fn probabilities_sum_to_one_and_agree_with_the_slow_form(
        documents in documents(),
        order in 2_usize..=5,
        before in prop::collection::vec(0..VOCABULARY, 0..7),
    ) {
        let ngram = learn(order, VOCABULARY, &documents);
        let slow = Slow::new(order, VOCABULARY, &documents);
        // What was seen in the documents, too, not chance alone.
        let seen = documents.iter().map(|document| &document[..document.len() / 2]);
        for before in seen.chain([&before[..]]) {
            let mut sum = 0.0;
            for token in 0..VOCABULARY {
                let found = probability(&ngram, before, token);
                let document: Vec<u32> = before.iter().copied().chain([token]).collect();
                prop_assert!(found > 0.0);
                prop_assert!((found - slow.last(&document)).abs() < 1e-12);
                sum += found;
            }
            prop_assert!((sum - 1.0).abs() < 1e-12, "{sum} after {before:?}");
        }
    }

    #[test]
    fn the_order_of_documents_changes_no_bit(mut documents in documents()) {
        let bits = |documents: &[Vec<u32>]| {
            let found = learn(4, VOCABULARY, documents).logprobs(&[0, 1, 2, 0, 1, 5, 0]).unwrap();
            found.into_iter().map(f64::to_bits).collect::<Vec<_>>()
        };
        let found = bits(&documents);
        documents.reverse();
        prop_assert_eq!(found, bits(&documents));
    }
}

#[test]
fn a_text_that_was_seen_is_likelier_than_one_that_was_not() {
    let documents: Vec<Vec<u32>> =
        (0..50).map(|n| (0..40).map(|t| (t * 7 + n) % 11).collect()).collect();
    let ngram = learn(5, 12, &documents);
    let sum = |document: &[u32]| ngram.logprobs(document).unwrap().iter().sum::<f64>();
    assert!(sum(&documents[3]) > sum(&[5, 4, 3, 2, 1, 0, 11]) * 40.0 / 7.0 / 4.0);
    assert!(sum(&documents[3]) > -0.1 * 40.0, "{}", sum(&documents[3]));
}

#[test]
fn what_cannot_be_counted_is_refused() {
    let options = NgramOptions { order: 5, vocabulary: 10 };
    for wrong in [
        NgramOptions { order: 1, ..options },
        NgramOptions { order: 6, ..options },
        NgramOptions { vocabulary: 0, ..options },
        NgramOptions { vocabulary: VOCABULARY_MAX + 1, ..options },
    ] {
        assert!(matches!(Learner::new(wrong), Err(Error::Option { .. })), "{wrong:?}");
    }
    let mut learner = Learner::new(options).unwrap();
    assert!(matches!(learner.add(&[3, 10]), Err(Error::Token { token: 10, vocabulary: 10 })));
    learner.add(&[]).unwrap();
    assert!(matches!(learner.learn(), Err(Error::Empty { .. })));
    let largest = NgramOptions { order: 5, vocabulary: VOCABULARY_MAX };
    let mut learner = Learner::new(largest).unwrap();
    let last = VOCABULARY_MAX - 1;
    learner.add(&[last; 9]).unwrap();
    let ngram = learner.learn().unwrap();
    assert!(ngram.logprobs(&[last; 9]).unwrap()[8] > -1.0);
    assert!(matches!(ngram.logprobs(&[VOCABULARY_MAX]), Err(Error::Token { .. })));
}
