//! Figures of krippendorff and scipy, and what follows from the definitions.

use serde::Deserialize;

use super::*;
use crate::{Candidate, Completion, Judgment, Prompt};

#[derive(Deserialize)]
struct Golden {
    alpha: Vec<GoldenAlpha>,
    tau_b: Vec<GoldenTau>,
}

#[derive(Deserialize)]
struct GoldenAlpha {
    judgments: Vec<Vec<Option<i64>>>,
    nominal: f64,
    ordinal: f64,
}

#[derive(Deserialize)]
struct GoldenTau {
    a: Vec<i64>,
    b: Vec<i64>,
    tau_b: Option<f64>,
}

fn is_close(found: Option<f64>, expected: Option<f64>) -> bool {
    match (found, expected) {
        (Some(found), Some(expected)) => (found - expected).abs() <= 1e-12,
        (found, expected) => found == expected,
    }
}

#[test]
fn figures_are_those_of_the_published_programs() {
    let golden = include_str!("../../../../fixtures/agreement.json");
    let golden: Golden = serde_json::from_str(golden).unwrap();
    assert!(golden.alpha.len() >= 5 && golden.tau_b.len() >= 20);
    for case in golden.alpha {
        for (level, expected) in [(Level::Nominal, case.nominal), (Level::Ordinal, case.ordinal)] {
            let found = alpha(&case.judgments, level);
            assert!(is_close(found, Some(expected)), "{level:?}: {found:?}, not {expected}");
        }
    }
    for GoldenTau { a, b, tau_b: expected } in golden.tau_b {
        let found = tau_b(&a, &b);
        assert!(is_close(found, expected), "{a:?} and {b:?}: {found:?}, not {expected:?}");
    }
}

#[test]
fn what_is_not_defined_is_none() {
    assert_eq!(alpha(&[], Level::Nominal), None);
    assert_eq!(alpha(&[vec![Some(1)], vec![None]], Level::Ordinal), None);
    assert_eq!(alpha(&[vec![Some(1)], vec![Some(1)]], Level::Nominal), None);
    assert_eq!((tau_b(&[], &[]), tau_b(&[1, 1], &[1, 2])), (None, None));
}

/// A candidate of so many completions.
fn candidate(name: &str, completions: usize) -> Candidate {
    let texts = (0..completions).map(|number| Completion::imported(number.to_string(), "a test"));
    Candidate::new(Prompt::Text(name.to_owned()), texts.collect()).unwrap()
}

fn comparison(name: &str, labeler: &str, places: &[i64]) -> Comparison {
    let places: Vec<Option<i64>> = places.iter().copied().map(Some).collect();
    let ranking = Ranking::from_places(&places).unwrap();
    let candidate = candidate(name, places.len());
    Comparison::new(candidate, Judgment::ranked(labeler, ranking, 0)).unwrap()
}

fn agreement(all: &[(&str, &str, &[i64])]) -> Agreement {
    let mut rankings = Rankings::default();
    all.iter().for_each(|(name, who, places)| rankings.add(&comparison(name, who, places)));
    rankings.agreement()
}

#[test]
fn the_same_rankings_agree_and_opposite_ones_do_not() {
    let same = agreement(&[("p", "ada", &[0, 1, 2]), ("p", "bob", &[0, 1, 2])]);
    assert_eq!((same.alpha_nominal, same.alpha_ordinal), (Some(1.0), Some(1.0)));
    let names = || ("ada".to_owned(), "bob".to_owned());
    assert_eq!(same.of_pairs[&names()].mean(), Some(1.0));
    let opposite = agreement(&[("p", "ada", &[0, 1, 2]), ("p", "bob", &[2, 1, 0])]);
    assert!(opposite.alpha_nominal.unwrap() < 0.0);
    assert_eq!(opposite.of_pairs[&names()].mean(), Some(-1.0));
    assert_eq!((opposite.shared_candidates, opposite.of_repeats.len()), (1, 0));
}

#[test]
fn numbers_of_completions_do_not_matter() {
    let first: [(&str, &str, &[i64]); 4] = [
        ("p", "ada", &[0, 1, 2]),
        ("p", "bob", &[0, 2, 1]),
        ("q", "ada", &[0, 0, 1]),
        ("q", "bob", &[0, 1, 1]),
    ];
    let turned: Vec<(&str, &str, Vec<i64>)> = first
        .iter()
        .map(|(name, who, places)| (*name, *who, places.iter().rev().copied().collect()))
        .collect();
    let turned: Vec<(&str, &str, &[i64])> =
        turned.iter().map(|(name, who, places)| (*name, *who, places.as_slice())).collect();
    let (a, b) = (agreement(&first), agreement(&turned));
    assert!(is_close(a.alpha_ordinal, b.alpha_ordinal), "{a:?} {b:?}");
    assert!(is_close(a.alpha_nominal, b.alpha_nominal), "{a:?} {b:?}");
}

#[test]
fn repeats_are_agreement_with_oneself_and_nothing_else() {
    let once = [("p", "ada", &[0, 1, 2][..]), ("p", "bob", &[0, 1, 2][..])];
    let twice = [once[0], once[1], ("p", "ada", &[2, 1, 0])];
    let (once, twice) = (agreement(&once), agreement(&twice));
    assert_eq!(twice.of_repeats["ada"].mean(), Some(-1.0));
    assert_eq!(twice.of_repeats.len(), 1);
    assert_eq!(Agreement { of_repeats: BTreeMap::new(), ..twice }, once);
}
