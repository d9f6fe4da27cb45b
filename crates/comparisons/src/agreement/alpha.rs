//! Krippendorff's alpha: agreement of any number of labelers, with judgments missing.

use std::collections::BTreeMap;

/// How far two values are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Equal or not: distance 0 or 1.
    Nominal,
    /// By the values between them: the square of how many judgments lie between two values, each
    /// of the two counted by half.
    Ordinal,
}

/// Krippendorff's alpha of `judgments[labeler][unit]`; 1 for agreement, 0 for that of chance.
///
/// `alpha = 1 - observed / expected`: the mean distance of two judgments of the same unit, over
/// that of any two judgments. Units with fewer than two judgments do not count. `None` where no two
/// judgments differ or none can be compared, as nothing is expected then.
///
/// Source: Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011.
#[must_use]
pub fn alpha(judgments: &[Vec<Option<i64>>], level: Level) -> Option<f64> {
    let units = judgments.iter().map(Vec::len).max().unwrap_or(0);
    let columns = (0..units)
        .map(|unit| judgments.iter().filter_map(|row| row.get(unit).copied().flatten()).collect());
    alpha_of_units(columns, level)
}

/// As [`alpha`], from the values of each unit.
pub(super) fn alpha_of_units(units: impl Iterator<Item = Vec<i64>>, level: Level) -> Option<f64> {
    let mut together: BTreeMap<(i64, i64), f64> = BTreeMap::new();
    let mut counts: BTreeMap<i64, f64> = BTreeMap::new();
    for values in units.filter(|values| values.len() >= 2) {
        let weight = 1.0 / (count(values.len()) - 1.0);
        for (a, &value) in values.iter().enumerate() {
            *counts.entry(value).or_default() += 1.0;
            for (_, &other) in values.iter().enumerate().filter(|(b, _)| *b != a) {
                *together.entry((value, other)).or_default() += weight;
            }
        }
    }
    let total: f64 = counts.values().sum();
    let distance = |a: i64, b: i64| distance(&counts, level, a.min(b), a.max(b));
    let observed: f64 = together.iter().map(|((a, b), weight)| weight * distance(*a, *b)).sum();
    let mut expected = 0.0;
    for (a, of_a) in &counts {
        for (b, of_b) in &counts {
            expected += of_a * of_b * distance(*a, *b);
        }
    }
    (expected > 0.0).then(|| 1.0 - observed * (total - 1.0) / expected)
}

/// The square of the distance of two values, of which `a` is not above `b`.
fn distance(counts: &BTreeMap<i64, f64>, level: Level, a: i64, b: i64) -> f64 {
    if a == b {
        return 0.0;
    }
    match level {
        Level::Nominal => 1.0,
        Level::Ordinal => {
            let between: f64 = counts.range(a..=b).map(|(_, count)| count).sum();
            (between - f64::midpoint(counts[&a], counts[&b])).powi(2)
        }
    }
}

/// A count in arithmetic: exact below 2^53.
#[expect(clippy::cast_precision_loss, reason = "lengths of lists in memory are below 2^53")]
pub(super) fn count(count: usize) -> f64 {
    count as f64
}
